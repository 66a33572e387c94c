"""A small world through the real engines, for tests of trace and audit: two doors' journals, pipeline, courier with a
sender that sends nothing, archivist. Part of it is archived, part is not; items stand in every place there is.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from support.catalogs import MemoryCatalogs, design_view
from support.clock import FakeClock
from support.sender import FakeSender, answered
from support.traffic import RING, START_MS, call, click, click_id
from waypost.courier.courier import Courier
from waypost.engines.local.positions import FilePositions
from waypost.engines.parquet.archive import ParquetArchive
from waypost.engines.segments.feed import SegmentFeed, SegmentFeeds
from waypost.engines.segments.journal import SegmentJournal
from waypost.engines.sqlite.click_store import SqliteClickStore
from waypost.engines.sqlite.lanes import SqliteLanes
from waypost.engines.sqlite.ledger import SqliteLedger
from waypost.explain.sources import ExplainSources
from waypost.layout import Layout
from waypost.model.frames import Click, Frame, Impression, OperatorChange, Resend
from waypost.model.ids import receipt_text
from waypost.model.wire import encode_frame
from waypost.ports.sender import SendReport, SendRequest
from waypost.runtime.archivist import Archivist
from waypost.runtime.journal_reader import JournalReader
from waypost.runtime.pipeline import Pipeline
from waypost.settings import load_settings
from waypost.telemetry.stats import Stats

Store = TypeVar("Store", SegmentJournal, SqliteLedger, SqliteLanes, SqliteClickStore, ParquetArchive)
SETTINGS = load_settings(environment={"WAYPOST_ARCHIVE_COMPACT_AT": "3"})


def answer(request: SendRequest) -> SendReport | None:
    """Partner geozo delivers, but not what names `later` (retried) or `never` (given up); `hangs` stays in flight."""
    if "later" in request.url:
        return answered(request, status=503)
    if "never" in request.url:
        return answered(request, code="address_forbidden")
    return None if "hangs" in request.url else answered(request)


class World:
    """Its stores stand below `folder` as in a data folder. `close` ends the writers."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder)
        self.clock = FakeClock(START_MS + 1000)
        self.catalogs = MemoryCatalogs(design_view())
        self._stack = ExitStack()
        self.positions = FilePositions(self.layout.positions)
        self.journals = {name: self._journal(name) for name in ("door-0", "door-1", "courier-0", "operator")}
        self.ledger = self._kept(SqliteLedger(self.layout.ledger))
        self.lanes = self._kept(SqliteLanes(self.layout.lane_shard(0), shard=0, shards=1))
        self.pipeline = Pipeline(
            reading=JournalReader(SegmentFeeds(self.layout.journals), self.clock),
            positions=self.positions,
            clicks=self._kept(SqliteClickStore(self.layout.clicks)),
            ledger=self.ledger,
            catalogs=self.catalogs,
            ring=RING,
            settings=SETTINGS.pipeline,
            clock=self.clock,
            stats=Stats("pipeline"),
        )
        self.courier = Courier(
            outbox=self.ledger.outbox(),
            lanes=self.lanes,
            journal=self.journals["courier-0"],
            own_feed=SegmentFeed(self.layout.journals, "courier-0"),
            catalogs=self.catalogs,
            sender=FakeSender(answer),
            settings=SETTINGS.courier,
            clock=self.clock,
            stats=Stats("courier"),
            positions=self.positions,
            words=SegmentFeed(self.layout.journals, "operator"),
        )
        self.archivist = Archivist(
            feeds=SegmentFeeds(self.layout.journals),
            log=self.ledger.log(),
            outbox=self.ledger.outbox(),
            archive=self._kept(ParquetArchive(self.layout.archive, SETTINGS.archive)),
            positions=self.positions,
            settings=SETTINGS.archive,
            clock=self.clock,
            stats=Stats("archivist"),
        )
        self.clicks: dict[str, Click] = {}

    def _journal(self, name: str) -> SegmentJournal:
        return self._kept(SegmentJournal(self.layout.journals, name, SETTINGS.journal, self.clock))

    def _kept(self, store: Store) -> Store:
        self._stack.callback(store.close)
        return store

    def put(self, source: str, *frames: Frame | bytes) -> None:
        """One block of a journal, at the clock's time."""
        now = self.clock.now_ms()
        encoded = [frame if isinstance(frame, bytes) else encode_frame(frame) for frame in frames]
        self.journals[source].append(encoded, at_ms=now, watermark_ms=now)

    def click(self, sub1: str, *, door: int = 0, route: int = 1) -> str:
        """A click of its own millisecond; answers its id."""
        self.clock.advance(1)
        frame = click(self.clock.now_ms(), door=door, route=route, query=f"sub1={sub1}&source=news")
        self.put(f"door-{door}", frame)
        self.clicks[click_id(frame)] = frame
        return click_id(frame)

    def call(self, query: str, *, door: int = 0) -> str:
        """An accepted call; answers its receipt."""
        self.clock.advance(1)
        frame = call(self.clock.now_ms(), query + "&token=s3cret", door=door)
        self.put(f"door-{door}", frame)
        return receipt_text(frame.receipt)

    def work(self, *, archive: bool) -> None:
        """Pipeline and courier until nothing is left to do, then perhaps the archivist."""
        while self.pipeline.step():
            pass
        for _ in range(6):
            self.courier.step()
            self.clock.advance(300)
        while self.pipeline.step():  # it reads the courier's journal too
            pass
        if archive:
            while self.archivist.step():
                pass

    def sources(self) -> ExplainSources:
        """What explanations read."""
        layout = self.layout
        return ExplainSources(
            feeds=SegmentFeeds(layout.journals),
            clicks=SqliteClickStore(layout.clicks, read_only=True),
            ledger=SqliteLedger(layout.ledger, read_only=True),
            lanes=[SqliteLanes(layout.lane_shard(0), shard=0, shards=1, read_only=True)],
            archive=ParquetArchive(layout.archive, SETTINGS.archive),
            catalogs=self.catalogs,
            ring=RING,
            positions=FilePositions(layout.positions),
        )

    def close(self) -> None:
        self._stack.close()


def some_of_everything(world: World) -> dict[str, str]:
    """Fills it; answers ids by what became of them. The second half is not archived."""
    ids = {}
    for half in ("a", "b"):
        world.put("operator", OperatorChange(world.clock.now_ms(), "catalog_activated", "1", half))
        world.put("operator", Resend(world.clock.now_ms(), f"job-{half}", "begin"))  # it finds nothing to send
        for name in ("plain", "later", "never", "hangs"):
            ids[f"click {name} {half}"] = world.click(f"{name}-{half}", door=int(half == "b"))
            query = f"click_id={ids[f'click {name} {half}']}&goal=install&txn_id=t-{name}-{half}"
            ids[f"call {name} {half}"] = world.call(query, door=int(half == "b"))
        plain = ids[f"click plain {half}"]
        ids[f"duplicate {half}"] = world.call(f"click_id={plain}&goal=install&txn_id=t-plain-{half}")
        ids[f"declined {half}"] = world.call(f"click_id={plain}&goal=install&txn_id=t-plain-{half}&status=declined")
        ids[f"forged {half}"] = world.call("click_id=a0123456789ABCDEFabcdef&goal=install")
        ids[f"refused {half}"] = world.call(f"click_id={world.click('no', route=2)}&goal=nothing")
        now = world.clock.now_ms()
        world.put("door-0", Impression(now, 0, 9, 1, 0, 1, 1, b""), b"\x92\x63\x01")
        missing = click_id(click(now + 3_600_000, door=1))
        ids[f"parked {half}"] = world.call(f"click_id={missing}&goal=install")
        world.work(archive=half == "a")
    ids["unread"] = world.call(f"click_id={ids['click plain b']}&goal=purchase&sum=10")
    return ids
