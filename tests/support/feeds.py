"""Journals and feeds in memory, for tests of rooms that read and write them."""

from collections.abc import Sequence

from waypost.errors import WaypostError
from waypost.model.frames import Frame
from waypost.model.wire import Decoded, decode_block, encode_frame, join_block
from waypost.ports.feed import Block, Head


class MemoryFeed:
    """`ports.feed.Feed` over a list of blocks; `put` appends one."""

    def __init__(self, name: str = "feed") -> None:
        self._name = name
        self.blocks: list[Block] = []
        self.first = 0
        self.watermark_ms = 0
        self.is_closed = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def end(self) -> int:
        return self.blocks[-1].end if self.blocks else self.first

    def put(self, frames: Sequence[Frame | bytes], *, at_ms: int = 0, watermark_ms: int = 0) -> int:
        """Appends a block; answers its first position."""
        encoded = [frame if isinstance(frame, bytes) else encode_frame(frame) for frame in frames]
        first = self.end
        self.watermark_ms = max(self.watermark_ms, watermark_ms)
        self.blocks.append(Block(first, len(encoded), at_ms, self.watermark_ms, join_block(encoded)))
        return first

    def read(self, position: int, frames_max: int) -> list[Block]:
        if position < self.first:
            raise WaypostError("store_gap", f"position {position} was dropped", place=self._name)
        found: list[Block] = []
        frames = 0
        for block in self.blocks:
            if block.end <= position:
                continue
            if block.first < position:
                raise WaypostError("store_gap", f"position {position} lies inside a block", place=self._name)
            if frames >= frames_max:
                break
            found.append(block)
            frames += block.count
        return found

    def frames(self) -> list[Decoded]:
        """Everything it holds, decoded."""
        return [frame for block in self.blocks for frame in decode_block(block.data, block.count)]

    def head(self) -> Head:
        return Head(self.first, self.end, self.watermark_ms)

    def problems(self) -> list[str]:
        return []

    def close(self) -> None:
        self.is_closed = True


class MemoryJournal:
    """`ports.feed.Journal` that writes into a MemoryFeed; `failures` makes so many next writes fail."""

    def __init__(self, feed: MemoryFeed) -> None:
        self.feed = feed
        self.failures = 0
        self.fails_after_writing = False
        self.heartbeats = 0
        self._last_ms = feed.watermark_ms

    @property
    def source(self) -> str:
        return self.feed.name

    @property
    def end(self) -> int:
        return self.feed.end

    @property
    def bytes_on_disk(self) -> int:
        return 0

    @property
    def last_ms(self) -> int:
        return self._last_ms

    def append(self, frames: Sequence[bytes], *, at_ms: int, watermark_ms: int) -> int:
        if self.failures and not self.fails_after_writing:
            self._fail()
        first = self.feed.put(frames, at_ms=at_ms, watermark_ms=watermark_ms)
        if self.failures:
            self._fail()
        self._last_ms = max(self._last_ms, watermark_ms)
        return first

    def _fail(self) -> None:
        self.failures -= 1
        raise WaypostError("journal_unavailable", "no space left on device", place=self.source)

    def heartbeat(self, *, at_ms: int, watermark_ms: int) -> None:
        if self.failures:
            self._fail()
        self.heartbeats += 1
        self.feed.watermark_ms = self._last_ms = max(self._last_ms, watermark_ms)

    def trim(self, below: int) -> int:
        self.feed.blocks = [block for block in self.feed.blocks if block.end > below]
        self.feed.first = self.feed.blocks[0].first if self.feed.blocks else below
        return self.feed.first

    def close(self) -> None: ...


class MemoryPositions:
    """`ports.feed.Positions` in a dict."""

    def __init__(self) -> None:
        self.published: dict[tuple[str, str], int] = {}

    def publish(self, reader: str, source: str, position: int) -> None:
        self.published[reader, source] = position

    def of(self, source: str) -> dict[str, int]:
        return {reader: position for (reader, name), position in self.published.items() if name == source}
