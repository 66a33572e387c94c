"""A data folder whose traffic was judged, batch after batch, by the pipeline, with all that replay has to put right:
updates, duplicates, early calls, caps that are used up, rules that fire once a click, two catalogs in force in turn.
"""

import random
from contextlib import closing
from pathlib import Path

import msgspec

from support.clock import FakeClock
from support.traffic import RING, START_MS, call, click, click_id
from waypost.engines.local.positions import FilePositions
from waypost.engines.segments.feed import SegmentFeeds
from waypost.engines.segments.journal import SegmentJournal
from waypost.engines.sqlite.catalog import SqliteCatalogStore, apply_catalog
from waypost.engines.sqlite.click_store import SqliteClickStore
from waypost.engines.sqlite.ledger import SqliteLedger
from waypost.engines.sqlite.recording import SqliteRecordingWriter
from waypost.layout import Layout
from waypost.model.frames import BatchRecord, Click, Frame, PostbackIn, PostbackOut, Resend
from waypost.model.ids import KeyedReceipts
from waypost.model.wire import decode_block, encode_frame
from waypost.ports.recording import RecordingInfo
from waypost.runtime.journal_reader import JournalReader
from waypost.runtime.pipeline import Pipeline
from waypost.runtime.recorder import RecorderSources, record
from waypost.settings import load_settings
from waypost.telemetry.stats import Stats

CATALOG = """
waypost: 1
advertisers:
  acme: {token: s3cret}
offers:
  vpn:
    advertiser: acme
    url: http://127.0.0.1:9000/land?cid={click_id}&s={sub1}
    goals:
      install: {payout: 1.20 USD}
      purchase: {payout: 30%}
    caps:
      - {count: conversions, limit: 45, per: day}
  game:
    advertiser: acme
    url: http://127.0.0.1:9000/game?cid={click_id}
    goals:
      install: {payout: 0.85 EUR}
partners:
  geozo:
    delivery: {corrections: true, ordering: click}
    postbacks:
      - on: {goal: install, status: approved}
        get: http://127.0.0.1:9001/pb?cid={sub1}&money={payout}&type={status|map(approved=lead, declined=cancel)}
      - on: {goal: purchase}
        first_only: true
        post: {url: http://127.0.0.1:9001/sale, headers: {Content-Type: application/json}, body: '{{"sum": "{sum}"}}'}
      - name: every-sale
        on: {goal: purchase}
        lane: sales
        get: http://127.0.0.1:9001/any?sum={sum}&status={status}&was={corrects}
links:
  one: {partner: geozo, offer: vpn}
  two: {partner: geozo, offer: game}
"""
KEYED_KEPT_MS = 9_000  # some keys are forgotten on the way
SETTINGS = load_settings(None, {"WAYPOST_PIPELINE_KEYED_KEPT_MS": str(KEYED_KEPT_MS)})


class ReplayWorld:
    """Its stores stand below `root` as in a data folder."""

    def __init__(self, root: Path, *, batch_frames_max: int = 15) -> None:
        self.layout = Layout(root)
        self.clock = FakeClock(START_MS + 1_000_000)
        self.apply(CATALOG)
        self.sent: list[str] = []
        self.late: list[Click] = []
        self.doors = [
            SegmentJournal(self.layout.journals, f"door-{number}", SETTINGS.journal, self.clock) for number in (0, 1, 2)
        ]
        self.operator = SegmentJournal(self.layout.journals, "operator", SETTINGS.journal, self.clock)
        self.settings = msgspec.structs.replace(
            SETTINGS.pipeline, batch_frames_max=batch_frames_max, keyed_kept_ms=KEYED_KEPT_MS
        )
        self.receipts = KeyedReceipts(RING)

    def apply(self, text: str) -> int:
        file = self.layout.root / "catalog.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        return apply_catalog(file, self.layout.catalog, SETTINGS.catalog).version

    def catalogs(self) -> SqliteCatalogStore:
        return SqliteCatalogStore(self.layout.catalog, cache_items_max=1000)

    def append(self, door: int, *frames: Frame) -> None:
        latest = max(getattr(frame, "ms", 0) or getattr(frame, "at_ms", 0) for frame in frames)
        self.doors[door].append([encode_frame(frame) for frame in frames], at_ms=latest, watermark_ms=latest)

    def order(self, *steps: Resend) -> None:
        """Steps of a job of resends, a block."""
        now_ms = self.clock.now_ms()
        self.operator.append([encode_frame(step) for step in steps], at_ms=now_ms, watermark_ms=now_ms)

    def outbox(self) -> list[tuple[int, PostbackOut]]:
        """All postbacks with their places."""
        with closing(SqliteLedger(self.layout.ledger, read_only=True)) as ledger:
            blocks = ledger.outbox().read(0, 1 << 20)
            assert ledger.problems() == []
        found = enumerate(frame for block in blocks for frame in decode_block(block.data, block.count))
        return [(place, frame) for place, frame in found if isinstance(frame, PostbackOut)]

    def ledger(self) -> SqliteLedger:
        return SqliteLedger(self.layout.ledger, read_only=True)

    def judge(self) -> None:
        """Batches until nothing is left, each at a time of its own."""
        pipeline = Pipeline(
            reading=JournalReader(SegmentFeeds(self.layout.journals), self.clock),
            positions=FilePositions(self.layout.positions),
            clicks=SqliteClickStore(self.layout.clicks),
            ledger=SqliteLedger(self.layout.ledger),
            catalogs=self.catalogs(),
            ring=RING,
            settings=self.settings,
            clock=self.clock,
            stats=Stats("pipeline"),
        )
        with closing(pipeline):
            while pipeline.step():
                self.clock.advance(250)

    def live(self, seed: int, count: int = 320, from_ms: int = START_MS) -> None:
        """Traffic in two halves, the second under a catalog that pays more."""
        rng = random.Random(seed)
        self.key_rng = random.Random(-1 - seed)
        known: list[str] = []
        now = from_ms
        for half in (0, 1):
            for nth in range(half * count // 2, (half + 1) * count // 2):
                now += rng.randrange(1, 50)
                self._one(rng, now, nth, known)
                if nth % 20 == 19:
                    self.judge()
                    for one in self.late:
                        self.append(2, one)
                    self.late.clear()
            for door in self.doors:
                door.heartbeat(at_ms=now, watermark_ms=now + 1)
            self.judge()
            self.apply(CATALOG.replace("1.20 USD", "1.30 USD"))

    def _one(self, rng: random.Random, now: int, nth: int, known: list[str]) -> None:
        door = rng.randrange(2)
        if rng.random() < 0.4 or not known:
            one = click(now, nth % 100, door=door, route=rng.choice((1, 1, 2)), query=f"sub1=s{nth}")
            known.append(click_id(one))
            if rng.random() < 0.25:  # through a door that is behind: its call comes first, and waits
                one = msgspec.structs.replace(one, door=2)
                known[-1] = click_id(one)
                early = call(now, f"click_id={click_id(one)}&goal=install&txn_id=e{nth}", door=door)
                self.append(door, self._keyed(early))
                self.late.append(one)
            else:
                self.append(door, one)
            return
        goal = rng.choice(("install", "purchase", "nothing"))
        status = rng.choice(("", "approved", "pending", "declined"))
        query = f"click_id={rng.choice(known[-15:])}&goal={goal}&sum={rng.randrange(1, 99)}&status={status}"
        query += rng.choice(("", f"&txn_id=t{rng.randrange(12)}"))
        if self.sent and rng.random() < 0.15:
            query = rng.choice(self.sent[-5:])  # a sender who tries again
        self.sent.append(query)
        self.append(door, self._keyed(call(now, query, nth % 1000, door=door)))

    def _keyed(self, one: PostbackIn) -> PostbackIn:
        """Every third call carries one of a few idempotency keys."""
        if self.key_rng.random() < 0.67:
            return one
        receipt = self.receipts.number(one.advertiser, b"key-%d" % self.key_rng.randrange(30))
        return msgspec.structs.replace(one, receipt=receipt, keyed=True)

    def batch_times(self) -> list[int]:
        with closing(SqliteLedger(self.layout.ledger, read_only=True)) as ledger:
            blocks = ledger.log().read(0, 1 << 20)
        frames = [frame for block in blocks for frame in decode_block(block.data, block.count)]
        return [frame.now_ms for frame in frames if isinstance(frame, BatchRecord)]

    def record(self, out: Path, *, from_ms: int | None = None, to_ms: int | None = None) -> RecordingInfo:
        writer = SqliteRecordingWriter(out, self.layout.catalog)
        try:
            with (
                closing(SqliteLedger(self.layout.ledger, read_only=True)) as ledger,
                closing(SqliteClickStore(self.layout.clicks, read_only=True)) as clicks,
            ):
                sources = RecorderSources(
                    SegmentFeeds(self.layout.journals),
                    ledger,
                    clicks,
                    self.catalogs(),
                    RING,
                    SETTINGS.pipeline.park_max_ms,
                )
                return record(sources, writer, from_ms=from_ms, to_ms=to_ms)
        finally:
            writer.abandon()
