"""Replay: recorded batches through the pipeline once more, under the same catalog or another. It never sends.

Owns: the stand-ins that make the pipeline take exactly what was taken, at the time at which it was. Reads a recording;
writes to stores of its own that the caller throws away. Never compares: `replay_report.py` does.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from waypost.catalog.view import CatalogView
from waypost.model.frames import BatchRecord, SourceRange
from waypost.model.wire import decode_frame, split_block
from waypost.ports.catalog_source import CatalogSource
from waypost.ports.click_store import ClickRange, ClickStore
from waypost.ports.feed import Block, Feed
from waypost.ports.ledger import Ledger, LedgerChanges
from waypost.ports.recording import RecordedBatch, Recording, StartState
from waypost.runtime.journal_reader import DOOR, Taken, take_blocks
from waypost.runtime.pipeline import Pipeline
from waypost.settings import PipelineSettings
from waypost.telemetry.stats import Stats

_SEED_BATCH = 1  # the stores' first batch holds what the recording starts from


class ReplayStores(NamedTuple):
    """Empty stores of the replay's own, and the recording's catalog versions (with the new one, if there is one)."""

    ledger: Ledger
    clicks: ClickStore
    catalogs: CatalogSource


class ReplayedBatch(NamedTuple):
    """What was recorded, and what came of it this time."""

    recorded: RecordedBatch
    decisions: tuple[bytes, ...]
    postbacks: tuple[bytes, ...]


class RecordedReading:
    """Takes what `record` says was taken. See `journal_reader.Reading`."""

    def __init__(self, blocks: Callable[[str, int, int], list[Block]]) -> None:
        """`blocks` answers a journal's blocks between two positions."""
        self._blocks = blocks
        self.record: BatchRecord | None = None
        self.watermarks: dict[str, int] = {}
        self.lag = 0

    def reset(self) -> None:
        self.watermarks = {}

    def take(self, applied: Mapping[str, int], now_ms: int, frames_max: int) -> Taken:
        """All ranges of the record, whatever the arguments say."""
        taken = Taken([], [], [], [], [])
        assert self.record is not None
        for one in self.record.ranges:
            self.watermarks[one.source] = max(self.watermarks.get(one.source, 0), one.watermark_ms)
            if one.start < one.end and (one.source.startswith(DOOR) or one.resends):
                blocks = self._blocks(one.source, one.start, one.end)
                take_blocks(taken, one.source, one.start, blocks, one.watermark_ms)
            else:
                taken.ranges.append(one)
        return taken

    def close(self) -> None: ...


class RecordedClock:
    """Stands at the batch's time."""

    def __init__(self) -> None:
        self.at_ms = 0

    def now_ms(self) -> int:
        return self.at_ms

    def now_us(self) -> int:
        """See `ports.clock.Clock.now_us`."""
        return self.now_ms() * 1000

    def monotonic_ms(self) -> float:
        return 0.0

    def sleep_ms(self, duration_ms: float) -> None: ...


class ReplayCatalogs:
    """The version that was in force at each batch; or one version in place of all."""

    def __init__(self, base: CatalogSource, instead: int = 0) -> None:
        self._base = base
        self._instead = instead
        self.in_force = 0

    def current(self) -> int:
        return self._instead or self.in_force

    def open(self, version: int) -> CatalogView:
        return self._base.open(self._instead or version)

    def versions(self) -> list[int]:
        return self._base.versions()

    def problems(self) -> list[str]:
        return []


class _NoPositions:
    """Nobody trims behind a replay."""

    def publish(self, reader: str, source: str, position: int) -> None: ...

    def of(self, source: str) -> dict[str, int]:
        return {}


def replay(
    recording: Recording, stores: ReplayStores, settings: PipelineSettings, *, instead: int = 0
) -> Iterator[ReplayedBatch]:
    """Each recorded batch, and what the present code makes of it; with `instead`, under that catalog version.

    Raises WaypostError: what stores and recording raise.
    """
    clock, reading = RecordedClock(), RecordedReading(recording.blocks)
    catalogs = ReplayCatalogs(stores.catalogs, instead)
    seed(stores, recording.start())
    pipeline = Pipeline(
        reading=reading,
        positions=_NoPositions(),
        clicks=stores.clicks,
        ledger=stores.ledger,
        catalogs=catalogs,
        ring=recording.ring(),
        settings=settings,
        clock=clock,
        stats=Stats("replay"),
    )
    log, outbox = _Tail(stores.ledger.log()), _Tail(stores.ledger.outbox())
    log.take()  # what was seeded
    for batch in recording.batches():
        reading.record = batch.record
        catalogs.in_force = batch.record.catalog
        clock.at_ms = batch.record.now_ms
        pipeline.step()
        raws = log.take()
        yield ReplayedBatch(batch, decisions_of(raws), outbox.take())
    pipeline.close()


def seed(stores: ReplayStores, state: StartState) -> None:
    """Makes the stores hold what they held when the first batch began."""
    ranges = tuple(SourceRange(source, 0, position, 0) for source, position in sorted(state.positions.items()))
    record = BatchRecord(_SEED_BATCH, 0, 0, ranges, 0, 0)
    changes = LedgerChanges(record, [], list(state.conversions), [], [], dict(state.caps), list(state.parked), [])
    changes.fired = list(state.fired)
    changes.keyed = list(state.keyed)
    changes.jobs = list(state.jobs)
    stores.ledger.apply(changes)
    clicks = [ClickRange(one.source, 0, one.end, ()) for one in ranges]
    if clicks:
        clicks[0] = ClickRange(clicks[0].source, 0, clicks[0].end, state.clicks)
    stores.clicks.apply(clicks)


def decisions_of(raws: Sequence[bytes]) -> tuple[bytes, ...]:
    """The decisions among the frames of a block of the ledger's log."""
    if not raws:
        return ()
    record = decode_frame(raws[0])
    assert isinstance(record, BatchRecord)
    return tuple(raws[1 : 1 + record.decisions])


class _Tail:
    """What a feed has got since it was asked last."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._position = 0

    def take(self) -> tuple[bytes, ...]:
        found: list[bytes] = []
        while blocks := self._feed.read(self._position, 1):
            found += [raw for block in blocks for raw in split_block(block.data)]
            self._position = blocks[-1].end
        return tuple(found)
