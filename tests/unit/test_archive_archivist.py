"""`runtime/archivist.py` and `stages/archive_rows.py`: every frame of every feed becomes a row, once."""

import contextlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from support.clock import FakeClock
from support.feeds import MemoryFeed, MemoryPositions
from waypost.engines.parquet.archive import ParquetArchive
from waypost.engines.parquet.tables import TABLES
from waypost.errors import WaypostError
from waypost.model.frames import (
    Attempt,
    AttemptReason,
    Auth,
    BatchRecord,
    Claim,
    Click,
    Decision,
    Event,
    Frame,
    Impression,
    OperatorChange,
    Outcome,
    PostbackIn,
    PostbackOut,
    RuleOutcome,
    SendResult,
    SetAside,
    SourceRange,
    Verdict,
)
from waypost.model.money import Money
from waypost.model.wire import decode_frame
from waypost.ports.feed import Feed
from waypost.runtime.archivist import Archivist
from waypost.settings import ArchiveSettings
from waypost.stages.archive_rows import rows_of
from waypost.telemetry.stats import Stats

SETTINGS = ArchiveSettings(interval_ms=1000, rows_max=10, compact_at=4, memory_mb_max=128, niceness=5)

_DECISION = Decision(
    "door-0",
    3,
    7,
    1,
    2,
    Verdict.NEW,
    conversion=7,
    details={"caps": 'full "\0'},
    payout=Money(Decimal("1E+2"), "JPY"),
    rules=(RuleOutcome(1, "p1.1"), RuleOutcome(2, "", "no")),
)
_OUTCOME = Outcome("p7.1", 0, 2, SendResult.RETRY, "c", 9)
ONE_OF_EACH: tuple[tuple[str, Frame], ...] = (
    ("clicks", Click(1, 2, 3, 4, 0, 5, 1, b"\xff", "10.0.0.0", b"\x80", b"\x00")),
    ("clicks", Impression(1, 2, 3, 4, 0, 5, 1, b"")),
    ("calls", PostbackIn(7, 1, 2, 3, 4, Auth.DEFERRED, 1, "POST", b"a\xfe", b"{}", "application/json", test=True)),
    ("decisions", _DECISION),
    ("batches", BatchRecord(1, 2, 3, (SourceRange("door-0", 0, 5, 9, 1, 2, 3),), 4, 5, 6, 7)),
    ("postbacks", PostbackOut("p7.1", 1, 2, 3, 0, 5, 6, 7, 8, {"sub1": 'x"\u20ac'})),
    ("attempts", Attempt(1, 2, 3, AttemptReason.RETRY, "GET", "http://a/", (_OUTCOME,), 503, body=b"\xff")),
    ("changes", OperatorChange(1, "pause", "geozo", "yes", "me")),
    ("set_aside", SetAside("outbox", 3, 4, "poisonous_item", "why", b"\x00\xff")),
    ("others", Event(1, 2, 3, 4, "shop", b"{}")),
    ("others", Claim(1, 2, "net", "who", 3, b"{}")),
)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[ParquetArchive]:
    archive = ParquetArchive(tmp_path / "archive", SETTINGS)
    with contextlib.closing(archive):
        yield archive


class Feeds:
    """Journals by name."""

    def __init__(self, *feeds: MemoryFeed) -> None:
        self.by_name = {feed.name: feed for feed in feeds}

    def sources(self) -> list[str]:
        return sorted(self.by_name)

    def open(self, source: str) -> Feed:
        return self.by_name[source]


class Bench:
    """An archivist over feeds in memory."""

    def __init__(self, archive: ParquetArchive) -> None:
        self.log, self.outbox, self.door = MemoryFeed("ledger-log"), MemoryFeed("outbox"), MemoryFeed("door-0")
        self.feeds = Feeds(self.door)
        self.positions, self.clock, self.stats = MemoryPositions(), FakeClock(), Stats("archivist")
        self.archive = archive
        self.archivist = self.again()

    def again(self) -> Archivist:
        return Archivist(
            feeds=self.feeds,
            log=self.log,
            outbox=self.outbox,
            archive=self.archive,
            positions=self.positions,
            settings=SETTINGS,
            clock=self.clock,
            stats=self.stats,
        )


def change(nth: int) -> OperatorChange:
    return OperatorChange(nth, "pause", f"partner-{nth}", "yes")


def test_rows_have_the_columns_of_their_tables(archive: ParquetArchive) -> None:
    for table, frame in ONE_OF_EACH:
        tables = rows_of("x", 0, [frame])
        assert list(tables) == [table]
        assert tables[table][0].keys() == TABLES[table].keys()
    rows: dict[str, list[dict[str, object]]] = rows_of("x", 0, [frame for _, frame in ONE_OF_EACH])
    archive.apply("x", 0, len(ONE_OF_EACH), rows)
    for table, wanted in rows.items():
        assert archive.query(f"SELECT * FROM {table} ORDER BY position") == [{"feed": "x", **row} for row in wanted]
    amounts = archive.query("SELECT payout, payout_currency, sum, conversion, receipt FROM decisions")
    assert amounts == [
        {"payout": "100", "payout_currency": "JPY", "sum": "", "conversion": "c0000000000000007",
         "receipt": "r0000000000000007"}
    ]  # fmt: skip


def test_every_frame_becomes_a_row_once(archive: ParquetArchive) -> None:
    bench = Bench(archive)
    for feed in (bench.log, bench.outbox, bench.door):
        for nth in range(3):
            feed.put([change(nth * 2), change(nth * 2 + 1)])
    assert bench.archivist.step() == 18
    assert bench.archivist.step() == 0
    late = MemoryFeed("door-1")
    late.put([change(1)])
    bench.feeds.by_name["door-1"] = late
    assert bench.archivist.step() == 1
    assert archive.positions() == {"ledger-log": 6, "outbox": 6, "door-0": 6, "door-1": 1}
    assert bench.positions.published == {("archivist", name): end for name, end in archive.positions().items()}
    assert archive.query("SELECT count(*) AS n, count(DISTINCT (feed, position)) AS d FROM changes") == [
        {"n": 19, "d": 19}
    ]


def test_an_unreadable_frame_is_kept_with_its_bytes(archive: ParquetArchive) -> None:
    bench = Bench(archive)
    bench.door.put([change(0), b"\x92\x63\x01", change(2)])
    assert bench.archivist.step() == 3
    rows = archive.query("SELECT source, source_position, code, raw FROM set_aside")
    assert rows == [{"source": "door-0", "source_position": 1, "code": "unreadable_frame", "raw": b"\x92\x63\x01"}]


def test_others_keep_their_bytes(archive: ParquetArchive) -> None:
    bench = Bench(archive)
    event = Event(1, 2, 3, 4, "shop", b"{}")
    bench.door.put([event])
    bench.archivist.step()
    (row,) = archive.query("SELECT kind, raw FROM others")
    assert (row["kind"], decode_frame(row["raw"])) == ("Event", event)


def test_a_feed_that_cannot_be_read_holds_up_no_other(archive: ParquetArchive) -> None:
    bench = Bench(archive)
    bench.log.put([change(0)])
    bench.log.first = 1  # trimmed though the archive lacks it
    bench.door.put([change(0)])
    assert bench.archivist.step() == 1
    assert archive.positions() == {"door-0": 1}
    assert ("archivist", "ledger-log") not in bench.positions.published
    assert bench.stats.values["errors"] == 1


def test_a_disk_that_fails_loses_nothing(archive: ParquetArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(archive)
    bench.door.put([change(0), change(1)])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        assert bench.archivist.step() == 0
    assert bench.positions.published.get(("archivist", "door-0")) is None
    assert bench.archivist.step() == 2
    assert archive.query("SELECT count(*) AS n FROM changes") == [{"n": 2}]


def test_it_goes_on_where_the_archive_stands(archive: ParquetArchive) -> None:
    bench = Bench(archive)
    bench.door.put([change(0)])
    bench.archivist.step()
    bench.positions.published.clear()  # stopped before it published
    bench.door.put([change(1)])
    assert bench.again().step() == 1
    assert bench.positions.published["archivist", "door-0"] == 2
    assert archive.problems() == []


def test_run_steps_every_interval_and_once_more_at_the_end(archive: ParquetArchive) -> None:
    bench = Bench(archive)
    began_ms = bench.clock.now_ms()
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        if asked % 20 == 0:
            bench.door.put([change(asked)])
        return asked > 100

    bench.archivist.run(stop)
    assert archive.positions()["door-0"] == bench.door.end
    assert 4000 < bench.clock.now_ms() - began_ms < 6000


def test_a_journal_far_ahead_is_caught_up_with_in_cuts(archive: ParquetArchive) -> None:
    bench = Bench(archive)
    for nth in range(12):
        bench.door.put([change(nth)] * 5)
    assert bench.archivist.step() == 10
    assert bench.stats.values["archive_lag_frames"] == 50
    bench.archivist.run(lambda: bench.door.end == archive.positions()["door-0"])
    assert archive.positions()["door-0"] == 60


def test_a_newer_releases_block_is_left_where_it_is(archive: ParquetArchive) -> None:
    bench = Bench(archive)
    bench.door.put([change(0)])
    bench.door.blocks[0] = type(bench.door.blocks[0])(0, 1, 0, 0, b"\x02newer")
    assert bench.archivist.step() == 0
    assert archive.positions() == {}
    with pytest.raises(WaypostError):
        archive.apply("../door", 0, 1, {"changes": []})
