"""Reading journals: what one batch of the pipeline takes from them.

Owns: the order of reading, how far each journal is read, and the watermarks that were seen. Reads feeds; writes
nothing. Never judges, and never moves a position: what was taken counts when the ledger has committed it.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from waypost.errors import WaypostError
from waypost.model.frames import Click, PostbackIn, Resend, SourceRange
from waypost.model.ids import ClickKey
from waypost.model.wire import Decoded, Unreadable, decode_block, encode_frame, split_block
from waypost.ports.click_store import ClickRange
from waypost.ports.clock import Clock
from waypost.ports.feed import Block, Feed, Feeds
from waypost.stages.case import Where

DOOR = "door-"  # how the names of doors' journals begin
_SOURCES_EVERY_MS = 200
_TICK_MS = 1.0  # what watermarks are counted in: two calls of one tick may be in either order


class Taken(NamedTuple):
    """What one batch took from the journals."""

    ranges: list[SourceRange]
    clicks: list[ClickRange]
    calls: list[tuple[Where, PostbackIn]]
    unreadable: list[tuple[Where, Unreadable]]
    resends: list[tuple[Where, Resend]]


class Reading(Protocol):
    """Where the pipeline's batches come from: journals as they grow, or a recording of what was taken before."""

    watermarks: dict[str, int]
    """By journal: no frame with an older time will follow what was taken."""

    lag: int
    """Frames that are there and were not taken."""

    def take(self, applied: Mapping[str, int], now_ms: int, frames_max: int) -> Taken:
        """The next batch, from the positions in `applied` on."""

    def reset(self) -> None:
        """Forgets watermarks: the ledger is read anew."""

    def close(self) -> None: ...


class JournalReader:
    """See `Reading`: every journal there is, those that appear later included."""

    def __init__(self, feeds: Feeds, clock: Clock) -> None:
        self._feeds = feeds
        self._clock = clock
        self._open: dict[str, Feed] = {}
        self._sources_at_ms = -_SOURCES_EVERY_MS * 1.0
        self._newest_ms = 0  # the newest watermark that was read …
        self._newest_at_ms = -_TICK_MS  # … and when, on the monotonic clock
        self.watermarks: dict[str, int] = {}
        self.lag = 0

    def reset(self) -> None:
        self.watermarks = {}

    def take(self, applied: Mapping[str, int], now_ms: int, frames_max: int) -> Taken:
        """The next blocks of every journal, within the batch's size, and of all doors up to the same moment.

        So a call that was answered before another was sent is judged before it, whatever doors they came through:
        every door is taken up to a moment that was over when the first of them was read, and not beyond a door that
        has more to read. What is newer waits for the next reading; if there is nothing else, that follows at once.
        """
        taken = Taken([], [], [], [], [])
        feeds = self._sources()
        share = max(1, frames_max // max(1, len(feeds)))
        self.lag = 0
        read: list[tuple[str, int, list[Block]]] = []
        until_ms = now_ms - 1  # the millisecond that goes on may bring a call to a door that was read already
        if self._clock.monotonic_ms() - self._newest_at_ms >= _TICK_MS:
            until_ms = max(until_ms, self._newest_ms)  # a clock that was set back must not hold up what is written
        for source, feed in feeds:
            start = applied.get(source, 0)
            blocks = feed.read(start, share)
            head = feed.head()
            if blocks:
                read.append((source, start, blocks))
                more = max(0, head.end - blocks[-1].end)
                self.lag += more
                if more and source.startswith(DOOR):
                    until_ms = min(until_ms, blocks[-1].watermark_ms)
            elif head.end == start:
                self.watermarks[source] = max(self.watermarks.get(source, 0), head.watermark_ms)
        newest_ms = max((blocks[-1].watermark_ms for _, _, blocks in read), default=0)
        if newest_ms > self._newest_ms:
            self._newest_ms, self._newest_at_ms = newest_ms, self._clock.monotonic_ms()
        for source, start, blocks in read:
            if source.startswith(DOOR):
                blocks = [block for block in blocks if block.watermark_ms <= until_ms]
            if blocks:
                watermark_ms = max(self.watermarks.get(source, 0), blocks[-1].watermark_ms)
                self.watermarks[source] = watermark_ms
                take_blocks(taken, source, start, blocks, watermark_ms)
        if read and not taken.ranges:
            self._clock.sleep_ms(_TICK_MS)
            return self.take(applied, now_ms, frames_max)  # all is newer than `now_ms`, but older than this reading
        return taken

    def _sources(self) -> list[tuple[str, Feed]]:
        now = self._clock.monotonic_ms()
        if now - self._sources_at_ms >= _SOURCES_EVERY_MS:
            self._sources_at_ms = now
            for source in self._feeds.sources():
                if source not in self._open:
                    self._open[source] = self._feeds.open(source)
        return sorted(self._open.items())

    def close(self) -> None:
        for feed in self._open.values():
            feed.close()


def take_blocks(taken: Taken, source: str, start: int, blocks: Sequence[Block], watermark_ms: int) -> None:
    """Adds a journal's blocks to what was taken, each frame where it belongs."""
    clicks: list[tuple[ClickKey, bytes]] = []
    calls = others = resends = 0
    for block in blocks:
        frames = decode_block(block.data, block.count)
        raws: list[bytes] | None = None
        for nth, frame in enumerate(frames):
            if type(frame) is PostbackIn:
                taken.calls.append((Where(source, block.first + nth), frame))
                calls += 1
            elif type(frame) is Click:
                if raws is None:
                    raws = _raws(block, frames)
                clicks.append((ClickKey(frame.ms, frame.door, frame.seq), raws[nth]))
            else:
                others += 1
                if type(frame) is Resend:
                    resends += 1
                    taken.resends.append((Where(source, block.first + nth), frame))
                elif type(frame) is Unreadable:
                    taken.unreadable.append((Where(source, block.first + nth), frame))
    end = blocks[-1].end if blocks else start
    taken.ranges.append(SourceRange(source, start, end, watermark_ms, len(clicks), calls, others, resends))
    taken.clicks.append(ClickRange(source, start, end, clicks))


def _raws(block: Block, frames: Sequence[Decoded]) -> list[bytes]:
    """The frames' own bytes; a block in which one is damaged is encoded again frame by frame."""
    try:
        return split_block(block.data)
    except WaypostError:
        return [encode_frame(frame) if isinstance(frame, Click) else b"" for frame in frames]
