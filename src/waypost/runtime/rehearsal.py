"""A pipeline for those who try something out: one frame at a time, at the time that a clock of theirs says.

Owns: the stand-ins for journals and clock. Writes to stores that the caller throws away. Never judges: the pipeline
does, and what it decides is read back from its ledger.
"""

from collections.abc import Mapping
from typing import NamedTuple

from waypost.model.frames import Decision, PostbackOut
from waypost.model.ids import KeyRing
from waypost.model.wire import decode_frame, join_block, split_block
from waypost.ports.board import Board
from waypost.ports.catalog_source import CatalogSource
from waypost.ports.click_store import ClickStore
from waypost.ports.feed import Block, Feed
from waypost.ports.ledger import Ledger
from waypost.runtime.journal_reader import Taken, take_blocks
from waypost.runtime.pipeline import Pipeline
from waypost.settings import PipelineSettings
from waypost.telemetry.stats import Stats

SOURCE = "door-0"


class SetClock:
    """Stands where it is put."""

    def __init__(self, at_ms: int) -> None:
        self.at_ms = at_ms

    def now_ms(self) -> int:
        return self.at_ms

    def now_us(self) -> int:
        """See `ports.clock.Clock.now_us`."""
        return self.now_ms() * 1000

    def monotonic_ms(self) -> float:
        return float(self.at_ms)

    def sleep_ms(self, duration_ms: float) -> None: ...


class Judged(NamedTuple):
    """What came of a frame: a call's decision, and the postbacks that it caused."""

    decision: Decision | None = None
    postbacks: tuple[PostbackOut, ...] = ()


class RehearsalPipeline:
    """The pipeline behind one door. What it decides, counts and remembers lasts as long as its stores."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        clicks: ClickStore,
        catalogs: CatalogSource,
        ring: KeyRing,
        settings: PipelineSettings,
        clock: SetClock,
    ) -> None:
        self._reading = _OneFrame()
        self._board = _KeptBoard()
        self._pipeline = Pipeline(
            reading=self._reading,
            positions=_NoPositions(),
            clicks=clicks,
            ledger=ledger,
            catalogs=catalogs,
            ring=ring,
            settings=settings,
            clock=clock,
            stats=Stats("rehearsal"),
            board=self._board,
        )
        self._clock = clock
        self._log, self._outbox = ledger.log(), ledger.outbox()
        self._read: dict[str, int] = {}

    @property
    def board(self) -> Board | None:
        """What doors are told now."""
        self._pipeline.step()  # nothing to take: only what the clock brings about
        return self._board.latest

    def take(self, frame: bytes) -> Judged:
        """Journals the frame, so to speak, and judges it."""
        self._reading.give(frame, self._clock.at_ms)
        self._pipeline.step()
        decisions = [one for one in map(decode_frame, self._news(self._log)) if isinstance(one, Decision)]
        outs = [one for one in map(decode_frame, self._news(self._outbox)) if isinstance(one, PostbackOut)]
        return Judged(decisions[-1] if decisions else None, tuple(outs))

    def close(self) -> None:
        """Closes the stores."""
        self._pipeline.close()

    def _news(self, feed: Feed) -> list[bytes]:
        found: list[bytes] = []
        while blocks := feed.read(self._read.get(feed.name, 0), 1):
            found += [raw for block in blocks for raw in split_block(block.data)]
            self._read[feed.name] = blocks[-1].end
        return found


class _OneFrame:
    """A journal of which the pipeline has read all but the frame that it is given. See `journal_reader.Reading`."""

    def __init__(self) -> None:
        self.watermarks: dict[str, int] = {}
        self.lag = 0
        self._end = 0
        self._block: Block | None = None

    def give(self, frame: bytes, at_ms: int) -> None:
        self._block = Block(self._end, 1, at_ms, at_ms + 1, join_block([frame]))
        self._end += 1

    def take(self, applied: Mapping[str, int], now_ms: int, frames_max: int) -> Taken:
        taken = Taken([], [], [], [], [])
        block, self._block = self._block, None
        if block is not None:
            self.watermarks[SOURCE] = block.watermark_ms
            take_blocks(taken, SOURCE, block.first, [block], block.watermark_ms)
        return taken

    def reset(self) -> None:
        self.watermarks = {}

    def close(self) -> None: ...


class _KeptBoard:
    """See `ports.board.BoardWriter`."""

    def __init__(self) -> None:
        self.latest: Board | None = None

    def publish(self, board: Board) -> None:
        self.latest = board


class _NoPositions:
    """Nobody trims behind a rehearsal."""

    def publish(self, reader: str, source: str, position: int) -> None: ...

    def of(self, source: str) -> dict[str, int]:
        return {}
