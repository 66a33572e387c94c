"""What every ledger promises (`ports/ledger.py`)."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.crash import run_and_kill
from support.traffic import START_MS, call
from waypost.engines.sqlite.ledger import SqliteLedger
from waypost.errors import WaypostError
from waypost.model.frames import BatchRecord, Conversion, Decision, PostbackOut, ResendJob, SourceRange, Status, Verdict
from waypost.model.wire import decode_block, encode_frame
from waypost.ports.ledger import Keyed, Ledger, LedgerChanges, Parked


class SqliteLedgers:
    def __init__(self, root: Path) -> None:
        self.file = root / "ledger.db"

    def open(self) -> Ledger:
        return SqliteLedger(self.file)


ENGINES: dict[str, Callable[[Path], Any]] = {"sqlite": SqliteLedgers}


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return ENGINES[request.param](tmp_path)


def conversion(receipt: int, status: Status = Status.APPROVED, txn_id: str = "") -> Conversion:
    return Conversion(
        receipt, b"identity-%08d" % receipt, 3, status, START_MS, 0, receipt, 1, 1, 1, "install", 1, txn_id,
        None, None, None, None, 1, START_MS, START_MS,
    )  # fmt: skip


def decision(position: int, receipt: int = 1) -> bytes:
    return encode_frame(Decision("door-0", position, receipt, START_MS, START_MS, Verdict.NEW))


def postback(number: int) -> bytes:
    return encode_frame(PostbackOut(f"p{number}", 1, 1, 3, 1, 1, 1, START_MS, START_MS, {}))


def changes(batch: int, start: int, end: int, source: str = "door-0", **parts: Any) -> LedgerChanges:
    record = BatchRecord(batch, START_MS, 1, (SourceRange(source, start, end, START_MS),), end - start, 0)
    whole: dict[str, Any] = {
        "decisions": [], "created": [], "updated": [], "postbacks": [], "caps": {}, "parked": [], "released": [],
    }  # fmt: skip
    whole.update(parts)
    return LedgerChanges(record, **whole)


def read(feed: Any) -> list[Any]:
    found: list[Any] = []
    position = 0
    while blocks := feed.read(position, 100):
        for block in blocks:
            found += decode_block(block.data, block.count)
            position = block.end
    feed.close()
    return found


def test_a_batch_is_applied_whole(engine: Any) -> None:
    ledger = engine.open()
    new = conversion(1, txn_id="t-1")
    ledger.apply(changes(1, 0, 1, decisions=[decision(0)], created=[new], postbacks=[postback(1)], caps={"o1@2026": 1}))
    assert ledger.positions() == {"door-0": 1} and ledger.next_batch() == 2
    assert ledger.conversions_by_identity([new.identity, b"none"]) == {new.identity: new}
    assert ledger.conversion(1) == new and ledger.conversion(2) is None
    assert ledger.caps() == {"o1@2026": 1}
    assert [type(frame).__name__ for frame in read(ledger.log())] == ["BatchRecord", "Decision"]
    assert [frame.id for frame in read(ledger.outbox())] == ["p1"]
    assert ledger.problems() == []


def test_a_batch_taken_again_has_no_effect(engine: Any) -> None:
    ledger = engine.open()
    batch = changes(1, 0, 1, decisions=[decision(0)], created=[conversion(1)], caps={"k": 1}, postbacks=[postback(1)])
    ledger.apply(batch)
    ledger.apply(batch)
    assert ledger.caps() == {"k": 1} and len(read(ledger.outbox())) == 1 and ledger.problems() == []


def test_what_does_not_start_where_the_ledger_stands_is_refused(engine: Any) -> None:
    ledger = engine.open()
    for wrong in (changes(2, 0, 1), changes(1, 3, 4)):
        with pytest.raises(WaypostError) as caught:
            ledger.apply(wrong)
        assert caught.value.code == "store_out_of_order"
    assert ledger.next_batch() == 1 and read(ledger.log()) == []


def test_updates_caps_and_parked_calls(engine: Any) -> None:
    ledger = engine.open()
    parked = Parked("door-0", 0, START_MS, START_MS + 5, START_MS + 1, 0, call(START_MS, "click_id=x"))
    ledger.apply(changes(1, 0, 2, created=[conversion(1)], caps={"k": 1}, parked=[parked]))
    assert ledger.parked() == [parked]
    ledger.apply(
        changes(2, 2, 3, updated=[conversion(1, Status.DECLINED)], caps={"k": -1, "l": 1}, released=[("door-0", 0)])
    )
    found = ledger.conversion(1)
    assert found is not None and found.status is Status.DECLINED
    assert ledger.caps() == {"k": 0, "l": 1} and ledger.parked() == []
    assert [one.receipt for one in ledger.conversions()] == [1]
    assert ledger.problems() == []


def test_many_identities_at_once(engine: Any) -> None:
    ledger = engine.open()
    many = [conversion(nth) for nth in range(1, 400)]
    ledger.apply(changes(1, 0, 1, created=many))
    found = ledger.conversions_by_identity([one.identity for one in many])
    assert len(found) == 399 and found[many[7].identity] == many[7]


def test_feeds_are_trimmed_by_whole_blocks(engine: Any) -> None:
    ledger = engine.open()
    for nth in range(4):
        ledger.apply(changes(nth + 1, nth, nth + 1, decisions=[decision(nth)], postbacks=[postback(nth)]))
    ledger.trim(5, 2)
    assert (ledger.log().head().first, ledger.outbox().head().first) == (4, 2)
    assert [frame.id for block in ledger.outbox().read(2, 9) for frame in decode_block(block.data, block.count)] == [
        "p2",
        "p3",
    ]
    ledger.trim(1000, 1000)
    assert ledger.outbox().head().first == 3, "the last block stays"
    assert ledger.problems() == []


def test_the_feeds_of_a_ledger_that_is_not_there_yet_are_empty(tmp_path: Path) -> None:
    from waypost.engines.sqlite.ledger import SqliteFeedOfLedger

    feed = SqliteFeedOfLedger(tmp_path / "ledger.db", "outbox")
    assert feed.read(0, 10) == [] and feed.head().end == 0
    SqliteLedger(tmp_path / "ledger.db").apply(changes(1, 0, 1, postbacks=[postback(1)]))
    assert feed.head().end == 1


def test_a_kill_within_a_batch_leaves_all_or_nothing(engine: Any) -> None:
    def work(die: Callable[[], None]) -> None:
        ledger = engine.open()
        ledger.apply(changes(1, 0, 1, decisions=[decision(0)], created=[conversion(1)], caps={"k": 1}))
        ledger._write = _then(ledger._write, die)  # everything is written, nothing committed
        ledger.apply(changes(2, 1, 2, decisions=[decision(1)], created=[conversion(2)], caps={"k": 1}))

    run_and_kill(work)
    ledger = engine.open()
    assert (ledger.next_batch(), ledger.positions(), ledger.caps()) == (2, {"door-0": 1}, {"k": 1})
    assert ledger.problems() == []
    ledger.apply(changes(2, 1, 2, decisions=[decision(1)], created=[conversion(2)], caps={"k": 1}))
    assert ledger.caps() == {"k": 2}


def _then(function: Callable[..., Any], after: Callable[[], None]) -> Callable[..., Any]:
    def whole(*arguments: Any) -> None:
        function(*arguments)
        after()

    return whole


ROWS = [
    "state", "positions", "conversions WHERE receipt=1", "conversions WHERE receipt=2", "caps", "parked", "log_head",
    "outbox_head", "log_blocks WHERE row=1", "log_blocks WHERE row=2", "outbox_blocks WHERE row=1",
    "outbox_blocks WHERE row=2",
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_the_loss_of_any_row_is_a_problem(tmp_path: Path, row: str) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.db")
    parked = Parked("door-0", 9, START_MS, START_MS + 5, START_MS + 1, 0, call(START_MS, "click_id=x"))
    ledger.apply(changes(1, 0, 1, created=[conversion(1)], caps={"k": 1}, parked=[parked], postbacks=[postback(1)]))
    ledger.apply(changes(2, 1, 2, created=[conversion(2)], postbacks=[postback(2)]))
    assert ledger.problems() == []
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.execute(f"DELETE FROM {row}")
    connection.commit()
    connection.close()
    assert ledger.problems()


def test_first_calls_with_keyed_receipts(engine: Any) -> None:
    ledger = engine.open()
    first = Keyed(7, "door-0", 0, START_MS, b"content1")
    ledger.apply(changes(1, 0, 1, keyed=[first, Keyed(8, "door-0", 1, START_MS + 1, b"")]))
    assert ledger.keyed([7, 9, 7]) == {7: first}
    again = Keyed(7, "door-1", 5, START_MS + 9, b"content2")
    ledger.apply(changes(2, 1, 2, keyed=[again]))
    assert ledger.keyed(range(1000))[7] == again and ledger.problems() == []
    ledger.forget_keyed(START_MS + 2)
    assert set(ledger.keyed([7, 8])) == {7} and ledger.problems() == []


def test_a_lost_keyed_receipt_is_noticed(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.db")
    ledger.apply(changes(1, 0, 1, keyed=[Keyed(7, "door-0", 0, START_MS, b"")]))
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("DELETE FROM keyed")
    assert ledger.problems() == ["ledger: 1 rows were written to keyed, 0 are held"]


def test_jobs_of_resends_are_kept_as_they_stand_last(engine: Any) -> None:
    ledger = engine.open()
    job = ResendJob("j1", START_MS, "me", "{}", 20_000, 7, START_MS * 1000, 3, {"rule_gone": 1}, "adding")
    ledger.apply(changes(1, 0, 1, jobs=[job, ResendJob("j0", state="added")]))
    assert list(ledger.jobs()) == ["j0", "j1"] and ledger.jobs(["j1", "nobody"]) == {"j1": job}
    ended = msgspec.structs.replace(job, taken=9, state="cancelled", why="a mistake")
    ledger.apply(changes(2, 1, 2, jobs=[ended]))
    assert ledger.jobs(["j1"]) == {"j1": ended} and ledger.problems() == []


def test_a_ledger_of_an_older_release_has_no_jobs(tmp_path: Path) -> None:
    SqliteLedger(tmp_path / "ledger.db").close()
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("DROP TABLE jobs")
    reader = SqliteLedger(tmp_path / "ledger.db", read_only=True)
    assert reader.jobs() == {}
    reader.close()
