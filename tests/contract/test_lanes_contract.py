"""What every engine of `ports.lanes.Lanes` must do. An engine is plugged in by one more entry in ENGINES."""

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from support.crash import run_and_kill
from support.lane_batches import ended, item, outcome, states, taking
from waypost.engines.sqlite.lanes import SqliteLanes
from waypost.errors import WaypostError
from waypost.model.frames import Outcome, PostbackOut, SendResult
from waypost.model.lanes import lane_number
from waypost.model.wire import decode_frame, encode_frame
from waypost.ports.lanes import Chore, ItemState, LaneBatch, LaneControl, LaneItem, LaneQueue, Lanes, LaneState, Rank

Open = Callable[..., Lanes]


def _sqlite(**options: int) -> Callable[[Path], Open]:
    return lambda folder: (
        lambda shard=0, shards=1: SqliteLanes(folder / f"shard-{shard}.db", shard=shard, shards=shards, **options)
    )


ENGINES: dict[str, Callable[[Path], Open]] = {
    "sqlite": _sqlite(),
    "sqlite that keeps one block of flights": _sqlite(blocks_max=1),
    "sqlite that keeps no block": _sqlite(blocks_max=0),
}
FAR = 1 << 60


@pytest.fixture(params=list(ENGINES))
def open_lanes(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    return ENGINES[request.param](tmp_path)


def test_an_item_lives_from_the_outbox_to_its_delivery(open_lanes: Open) -> None:
    lanes = open_lanes()
    lanes.apply(taking(0, 3))
    assert states(lanes) == dict.fromkeys(range(3), (ItemState.QUEUED, 0))
    assert lanes.item("p1") == item(1)
    lanes.apply(LaneBatch(intents=[(0, 1, 1000), (1, 1, 1000), (2, 1, 1000)]))
    begun = lanes.item("p1")
    assert begun is not None
    assert (begun.state, begun.attempt, begun.first_ms) == (ItemState.IN_FLIGHT, 1, 1000)
    lanes.apply(
        ended(
            0,
            outcome(0, 1, SendResult.DELIVERED),
            outcome(1, 1, SendResult.RETRY, 5000),
            outcome(2, 1, SendResult.GIVEN_UP),
        )
    )
    assert states(lanes) == {1: (ItemState.QUEUED, 1), 2: (ItemState.DEAD, 1)}
    assert lanes.item("p0") is None
    assert [found.seq for found in lanes.due(1, 4999, (0, -1), 10)] == []
    (due,) = lanes.due(1, 5000, (0, -1), 10)
    assert (due.seq, due.attempt, due.first_ms, due.due_ms, due.unknown) == (1, 1, 1000, 5000, False)
    lanes.apply(LaneBatch(intents=[(1, 2, 6000)]))
    lanes.apply(ended(3, outcome(1, 2, SendResult.DELIVERED)))
    assert states(lanes) == {2: (ItemState.DEAD, 1)}
    assert lanes.outbox_position() == 3
    assert lanes.outcome_positions() == {"courier-0": 4}
    assert lanes.problems() == []
    lanes.close()


def test_taken_and_begun_in_one_batch(open_lanes: Open) -> None:
    lanes = open_lanes()
    lanes.apply(taking(0, 4, intents=[(1, 1, 1000), (3, 1, 1000)]))
    assert states(lanes) == {
        0: (ItemState.QUEUED, 0),
        1: (ItemState.IN_FLIGHT, 1),
        2: (ItemState.QUEUED, 0),
        3: (ItemState.IN_FLIGHT, 1),
    }
    (depth,) = lanes.depths()
    assert (depth.queued, depth.in_flight, depth.dead) == (2, 2, 0)
    lanes.apply(ended(0, outcome(3, 1, SendResult.DELIVERED)))
    assert 3 not in states(lanes)
    assert lanes.problems() == []
    lanes.close()


def test_what_is_applied_again_changes_nothing(open_lanes: Open) -> None:
    lanes = open_lanes()
    batches = [
        taking(0, 3, intents=[(0, 1, 1000)]),
        LaneBatch(intents=[(1, 1, 1100), (2, 1, 1100)]),
        ended(0, outcome(0, 1, SendResult.DELIVERED), outcome(1, 1, SendResult.RETRY, 5000)),
        LaneBatch(intents=[(1, 2, 5000)]),
    ]
    for batch in batches:
        lanes.apply(batch)
        before = list(lanes.items())
        lanes.apply(batch)
        assert list(lanes.items()) == before
    for batch in batches:
        lanes.apply(batch)
    assert states(lanes) == {1: (ItemState.IN_FLIGHT, 2), 2: (ItemState.IN_FLIGHT, 1)}
    assert lanes.problems() == []
    lanes.close()


def test_ranges_that_overlap_are_taken_and_gaps_are_refused(open_lanes: Open) -> None:
    lanes = open_lanes()
    lanes.apply(taking(0, 3))
    lanes.apply(taking(1, 5))
    assert sorted(states(lanes)) == [0, 1, 2, 3, 4]
    with pytest.raises(WaypostError, match="store_out_of_order"):
        lanes.apply(taking(6, 7))
    with pytest.raises(WaypostError, match="store_out_of_order"):
        lanes.apply(ended(1, outcome(0, 1, SendResult.DELIVERED)))
    assert sorted(states(lanes)) == [0, 1, 2, 3, 4]
    assert lanes.outbox_position() == 5
    assert lanes.problems() == []
    lanes.close()


def test_a_range_without_items_moves_the_position(open_lanes: Open) -> None:
    lanes = open_lanes()
    lanes.apply(LaneBatch(taken_start=0, taken_end=9))
    assert lanes.outbox_position() == 9
    lanes.close()


def test_an_outcome_counts_for_its_own_attempt_only(open_lanes: Open) -> None:
    lanes = open_lanes()
    lanes.apply(taking(0, 2, intents=[(0, 1, 1000)]))
    lanes.apply(ended(0, outcome(0, 1, SendResult.RETRY, 2000)))
    lanes.apply(LaneBatch(intents=[(0, 2, 2000)]))
    lanes.apply(ended(1, outcome(0, 1, SendResult.DELIVERED), outcome(1, 1, SendResult.DELIVERED)))
    assert states(lanes) == {0: (ItemState.IN_FLIGHT, 2), 1: (ItemState.QUEUED, 0)}
    assert lanes.outcome_positions() == {"courier-0": 3}
    lanes.close()


def test_what_is_given_up_is_not_held_by_an_outcome_that_comes_late(open_lanes: Open) -> None:
    lanes = open_lanes()
    lanes.apply(taking(0, 1, intents=[(0, 1, 1000)]))
    lanes.apply(ended(0, outcome(0, 1, SendResult.GIVEN_UP)))
    lanes.apply(ended(1, outcome(0, 1, SendResult.HELD)))
    assert states(lanes) == {0: (ItemState.DEAD, 1)}
    assert lanes.problems() == []
    lanes.close()


def test_after_a_crash_the_items_in_flight_are_known_and_marked(open_lanes: Open) -> None:
    lanes = open_lanes()
    lanes.apply(taking(0, 3, intents=[(0, 1, 1000), (2, 1, 1000)]))
    lanes.close()
    lanes = open_lanes()
    assert [(one.seq, one.state, one.attempt) for one in lanes.in_flight()] == [
        (0, ItemState.IN_FLIGHT, 1),
        (2, ItemState.IN_FLIGHT, 1),
    ]
    lanes.apply(ended(0, outcome(0, 1, SendResult.UNKNOWN, 9000), outcome(2, 1, SendResult.UNKNOWN, 9000)))
    assert lanes.in_flight() == []
    assert [(one.seq, one.attempt, one.unknown) for one in lanes.items() if one.seq != 1] == [
        (0, 1, True),
        (2, 1, True),
    ]
    assert [one.seq for one in lanes.due(1, 9000, (0, -1), 10)] == [1, 0, 2]
    lanes.apply(LaneBatch(intents=[(0, 2, 9100)]))
    again = lanes.item("p0")
    assert again is not None and (again.attempt, again.first_ms, again.unknown) == (2, 1000, False)
    assert lanes.problems() == []
    lanes.close()


def test_outcomes_from_the_journal_come_before_recovery(open_lanes: Open) -> None:
    lanes = open_lanes()
    lanes.apply(taking(0, 3, intents=[(seq, 1, 1000) for seq in range(3)]))
    lanes.close()
    lanes = open_lanes()
    lanes.apply(ended(0, outcome(0, 1, SendResult.DELIVERED), outcome(1, 1, SendResult.RETRY, 5000)))
    assert [one.seq for one in lanes.in_flight()] == [2]
    lanes.apply(ended(2, outcome(2, 1, SendResult.UNKNOWN, 9000)))
    lanes.apply(ended(3, outcome(2, 1, SendResult.DELIVERED)))  # a late one: its attempt's outcome is known after all
    assert states(lanes) == {1: (ItemState.QUEUED, 1)}
    assert lanes.problems() == []
    lanes.close()


def test_due_items_come_in_order_and_page_by_page(open_lanes: Open) -> None:
    lanes = open_lanes()
    lanes.apply(taking(0, 20, lanes=2, intents=[(0, 1, 1), (2, 1, 1)]))
    lanes.apply(ended(0, outcome(2, 1, SendResult.RETRY, 50), outcome(0, 1, SendResult.RETRY, 60)))
    seen: list[int] = []
    after = (0, -1)
    while page := lanes.due(1, 100, after, 3):
        seen += [one.seq for one in page]
        after = (page[-1].due_ms, page[-1].seq)
    assert seen == [4, 6, 8, 10, 12, 14, 16, 18, 2, 0]
    lanes.close()


def test_lanes_with_work(open_lanes: Open) -> None:
    lanes = open_lanes()
    assert lanes.lanes_with_work() == []
    lanes.apply(taking(0, 5, lanes=5, intents=[(1, 1, 1), (4, 1, 1)]))
    lanes.apply(ended(0, outcome(1, 1, SendResult.RETRY, 70), outcome(4, 1, SendResult.GIVEN_UP)))
    assert lanes.lanes_with_work() == [(1, 0, 0), (2, 0, 70), (3, 0, 0), (4, 0, 0)]
    assert [(depth.lane, depth.queued, depth.dead) for depth in lanes.depths()] == [
        (1, 1, 0),
        (2, 1, 0),
        (3, 1, 0),
        (4, 1, 0),
        (5, 0, 1),
    ]
    lanes.close()


def test_a_shard_has_one_owner_and_each_owner_a_higher_fence(open_lanes: Open) -> None:
    lanes = open_lanes()
    first = lanes.fence
    with pytest.raises(WaypostError, match="data_in_use"):
        open_lanes()
    lanes.close()
    lanes = open_lanes()
    assert lanes.fence > first
    assert lanes.owns(0) and lanes.owns(7)
    other = open_lanes(shard=1, shards=2)
    assert other.owns(7) and not other.owns(8)
    other.close()
    lanes.close()


def _write_until_killed(open_lanes: Open, told: int, die: Callable[[], None]) -> None:
    lanes = open_lanes()
    for nth in range(1000):
        start = nth * 10
        lanes.apply(taking(start, start + 10, lanes=3, intents=[(start, 1, 1), (start + 1, 1, 1)]))
        lanes.apply(ended(nth * 2, outcome(start, 1, SendResult.DELIVERED), outcome(start + 1, 1, SendResult.RETRY, 9)))
        os.write(told, b"%d\n" % nth)
        if nth == 40:
            die()


def test_what_was_acknowledged_survives_a_kill(open_lanes: Open) -> None:
    reader, writer = os.pipe()
    run_and_kill(lambda die: _write_until_killed(open_lanes, writer, die))
    os.close(writer)
    with os.fdopen(reader) as lines:
        assert len(lines.read().split()) == 41
    lanes = open_lanes()
    assert lanes.outbox_position() == 410
    assert lanes.outcome_positions() == {"courier-0": 82}
    assert len(states(lanes)) == 410 - 41
    assert lanes.problems() == []
    lanes.close()


def test_a_kill_in_the_middle_leaves_nothing_half_applied(open_lanes: Open) -> None:
    for _ in range(5):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                _keep_writing(open_lanes, writer)
            finally:
                os._exit(1)
        os.close(writer)
        with os.fdopen(reader, "rb") as told:
            told.read(60)
            os.kill(child, signal.SIGKILL)
            rest = told.read()
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        lanes = open_lanes()
        position = lanes.outbox_position()
        assert position % 50 == 0 and position >= 50 * (60 + len(rest))
        found = states(lanes)
        assert len(found) == position - sum(lanes.outcome_positions().values())
        assert lanes.problems() == []
        for one in lanes.in_flight():
            assert one.attempt == 1
        lanes.close()


def _keep_writing(open_lanes: Open, told: int) -> None:
    lanes = open_lanes()
    while True:
        start = lanes.outbox_position()
        lanes.apply(taking(start, start + 50, lanes=4, intents=[(seq, 1, 1) for seq in range(start, start + 25)]))
        position = lanes.outcome_positions().get("courier-0", 0)
        delivered = [outcome(seq, 1, SendResult.DELIVERED) for seq in range(start, start + 25)]
        lanes.apply(ended(position, *delivered))
        os.write(told, b".")


def test_what_waits_is_counted_queue_by_queue(open_lanes: Open) -> None:
    lanes = open_lanes()
    resent = msgspec.structs.replace(item(6, 2), rank=Rank.RESEND)
    delayed = msgspec.structs.replace(item(7, 2), due_ms=9000)
    lanes.apply(LaneBatch(0, 8, [*(item(seq) for seq in range(6)), resent, delayed], intents=[(0, 1, 1), (1, 1, 1)]))
    lanes.apply(ended(0, outcome(0, 1, SendResult.RETRY, 5000), outcome(1, 1, SendResult.GIVEN_UP)))
    assert lanes.queues() == [
        LaneQueue(1, Rank.LIVE, False, 4, 0, b"frame 2"),
        LaneQueue(1, Rank.LIVE, True, 1, 5000, b"frame 0"),
        LaneQueue(2, Rank.LIVE, True, 1, 9000, b"frame 7"),
        LaneQueue(2, Rank.RESEND, False, 1, 0, b"frame 6"),
    ]


def test_what_is_held_or_dead_stands_until_somebody_decides(open_lanes: Open) -> None:
    lanes = open_lanes()
    lanes.apply(taking(0, 4, intents=[(seq, 1, 1000) for seq in range(3)]))
    lanes.apply(
        ended(
            0,
            Outcome("p0", 0, 1, SendResult.HELD, "outcome_unknown"),
            Outcome("p1", 1, 1, SendResult.GIVEN_UP, "http_4xx"),
            Outcome("p2", 2, 1, SendResult.RETRY, "send_timeout", 5000, counted=False),
        )
    )
    (depth,) = lanes.depths()
    assert (depth.queued, depth.in_flight, depth.dead, depth.held) == (2, 0, 1, 1)
    found = lanes.standing(1, (ItemState.DEAD, ItemState.HELD), -1, 100, 10)
    assert [(one.seq, one.state, one.code) for one in found] == [
        (0, ItemState.HELD, "outcome_unknown"),
        (1, ItemState.DEAD, "http_4xx"),
    ]
    assert [one.seq for one in lanes.standing(1, (ItemState.QUEUED, ItemState.DEAD), 0, 3, 10)] == [1, 2]
    (waiting,) = (one for one in lanes.items() if one.seq == 2)
    assert (waiting.code, waiting.excused) == ("send_timeout", 1)
    lanes.apply(
        ended(
            3,
            outcome(0, 1, SendResult.REDRIVEN, 7000),
            outcome(1, 1, SendResult.DROPPED),
            outcome(2, 0, SendResult.DROPPED),  # of an attempt that is not its last
            outcome(3, 0, SendResult.SUPERSEDED),
        )
    )
    assert states(lanes) == {0: (ItemState.QUEUED, 1), 2: (ItemState.QUEUED, 1)}
    (again,) = lanes.due(1, 7000, (6000, -1), 10)
    assert (again.seq, again.unknown, again.excused) == (0, True, 1)
    lanes.apply(LaneBatch(intents=[(0, 2, 8000)]))
    lanes.apply(ended(7, outcome(0, 2, SendResult.DROPPED), outcome(0, 2, SendResult.SUPERSEDED)))
    assert states(lanes)[0] == (ItemState.IN_FLIGHT, 2)  # what is under way cannot be taken back
    assert lanes.problems() == []
    lanes.close()


def test_resends_stand_in_a_queue_of_their_own(open_lanes: Open) -> None:
    lanes = open_lanes()
    resends = [msgspec.structs.replace(item(seq), rank=Rank.RESEND) for seq in (0, 2)]
    lanes.apply(LaneBatch(0, 3, [resends[0], item(1), resends[1]]))
    assert [one.seq for one in lanes.due(1, 0, (0, -1), 10)] == [1]
    assert [one.seq for one in lanes.due(1, 0, (0, -1), 10, Rank.RESEND)] == [0, 2]
    assert lanes.lanes_with_work() == [(1, 0, 0), (1, 1, 0)]
    lanes.close()


def test_items_are_found_by_their_places(open_lanes: Open) -> None:
    lanes = open_lanes()
    lanes.apply(taking(0, 5, intents=[(1, 1, 1000)]))
    lanes.apply(ended(0, outcome(1, 1, SendResult.DELIVERED)))
    assert [item.seq for item in lanes.at([4, 0, 1, 99, 0])] == [0, 4] and lanes.at([]) == []
    lanes.close()


def test_items_of_one_key_are_found_in_their_order(open_lanes: Open) -> None:
    lanes = open_lanes()
    keyed = [msgspec.structs.replace(item(seq, 1 + seq // 5), key="ab"[seq % 2]) for seq in range(6)]
    lanes.apply(LaneBatch(0, 6, keyed, intents=[(0, 1, 1000), (2, 1, 1000)]))
    assert [one.seq for one in lanes.keyed(1, "a", 10)] == [0, 2, 4]
    assert [one.seq for one in lanes.keyed(1, "b", 1)] == [1]
    lanes.apply(ended(0, outcome(0, 1, SendResult.DELIVERED), outcome(2, 1, SendResult.GIVEN_UP)))
    assert [one.seq for one in lanes.keyed(1, "a", 10)] == [4]
    assert lanes.keyed(1, "", 10) == []
    lanes.close()


def test_what_an_operator_makes_of_lanes_is_kept_once(open_lanes: Open) -> None:
    lanes = open_lanes()
    paused = LaneControl(1, LaneState.PAUSED, "they asked for it", "ann", 1000)
    chore = Chore(4, "retry", 1, (ItemState.DEAD,), 99, codes=("http_4xx",))
    asked = LaneBatch(controls=[paused], chores=[chore], control_source="operator", control_end=5, buckets={1: b"x"})
    lanes.apply(asked)
    lanes.close()
    lanes = open_lanes()
    assert lanes.controls() == {1: paused}
    assert lanes.chores() == [chore]
    assert lanes.buckets() == {1: b"x"}
    assert lanes.outcome_positions() == {"operator": 5}
    lanes.apply(LaneBatch(controls=[LaneControl(1, LaneState.OPEN)], control_source="operator", control_end=6))
    lanes.apply(asked)  # again: it counts no more
    assert lanes.controls() == {}
    lanes.apply(LaneBatch(chores=[msgspec.structs.replace(chore, after_seq=7)]))
    assert lanes.chores()[0].after_seq == 7
    lanes.apply(LaneBatch(chores_done=[4]))
    assert lanes.chores() == []
    assert lanes.problems() == []
    lanes.close()


@pytest.mark.parametrize("table", ["shard", "positions", "lanes", "items", "flights"])
def test_any_one_row_that_is_deleted_is_named(tmp_path: Path, table: str) -> None:
    """SQLite only: each row of each table in turn."""
    file = tmp_path / "shard-0.db"
    lanes = SqliteLanes(file, shard=0, shards=1)
    lanes.apply(taking(0, 12, lanes=4, intents=[(seq, 1, 1) for seq in range(6)]))
    lanes.apply(
        ended(
            0,
            outcome(0, 1, SendResult.DELIVERED),
            outcome(1, 1, SendResult.RETRY, 9),
            outcome(2, 1, SendResult.GIVEN_UP),
        )
    )
    lanes.close()
    database = sqlite3.connect(file, isolation_level=None)
    key = {"shard": "one", "positions": "source", "lanes": "lane", "items": "seq", "flights": "first"}[table]
    keys = [row[0] for row in database.execute(f"SELECT {key} FROM {table}")]
    assert keys
    for value in keys:
        database.execute("BEGIN")
        database.execute(f"CREATE TEMP TABLE kept AS SELECT * FROM {table} WHERE {key} = ?", (value,))
        database.execute(f"DELETE FROM {table} WHERE {key} = ?", (value,))
        database.execute("COMMIT")
        reader = SqliteLanes(file, shard=0, shards=1, read_only=True)
        problems = reader.problems()
        reader.close()
        assert problems, (table, value)
        if table in ("items", "lanes"):
            assert f" {value} " in f"{problems[0]} ", problems
        if table == "flights":
            assert problems[0].endswith("items in flight 3, 4, 5"), problems
        database.execute(f"INSERT INTO {table} SELECT * FROM kept")
        database.execute("DROP TABLE kept")
    reader = SqliteLanes(file, shard=0, shards=1, read_only=True)
    assert reader.problems() == []
    reader.close()
    database.close()


def test_a_lost_shard_row_is_not_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "shard-0.db"
    SqliteLanes(file, shard=0, shards=1).close()
    database = sqlite3.connect(file)
    database.execute("DELETE FROM shard")
    database.commit()
    database.close()
    with pytest.raises(WaypostError, match="store_corrupt"):
        SqliteLanes(file, shard=0, shards=1)


def test_an_owner_that_was_replaced_cannot_write(tmp_path: Path) -> None:
    file = tmp_path / "shard-0.db"
    lanes = SqliteLanes(file, shard=0, shards=1)
    database = sqlite3.connect(file)
    database.execute("UPDATE shard SET fence = fence + 1")
    database.commit()
    database.close()
    with pytest.raises(WaypostError, match="fenced"):
        lanes.apply(taking(0, 1))
    lanes.close()


def test_an_owner_whose_file_was_replaced_by_a_copy_is_told_before_it_writes_elsewhere(tmp_path: Path) -> None:
    """SQLite only: a data folder that was restored under a courier that slept. Its open file is nobody's any more."""
    file = tmp_path / "shard-0.db"
    lanes = SqliteLanes(file, shard=0, shards=1)
    lanes.apply(taking(0, 3))
    lanes.check()
    copy = tmp_path / "copy.db"
    shutil.copyfile(file, copy)
    copy.replace(file)
    with pytest.raises(WaypostError, match="replaced by another"):
        lanes.check()
    file.unlink()
    with pytest.raises(WaypostError, match="fenced"):
        lanes.check()
    lanes.close()


def test_another_count_of_shards_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "shard-0.db"
    SqliteLanes(file, shard=0, shards=1).close()
    with pytest.raises(WaypostError, match="shard 0 of 1"):
        SqliteLanes(file, shard=0, shards=2)


def test_work_is_found_through_indexes(tmp_path: Path) -> None:
    lanes = SqliteLanes(tmp_path / "shard-0.db", shard=0, shards=1)
    asked: list[str] = []
    lanes._open.set_trace_callback(asked.append)
    lanes.due(1, 5, (0, 1), 5)
    lanes.lanes_with_work()
    lanes.in_flight()
    lanes.keyed(1, "k", 5)
    lanes.standing(1, (ItemState.DEAD, ItemState.HELD), 0, 99, 5)
    lanes._open.set_trace_callback(None)
    asked = [query for query in asked if "FROM items" in query]
    assert len(asked) == 7  # two steps each for what is due and for queues
    for query in asked:
        plan = " ".join(row[3] for row in lanes._open.execute(f"EXPLAIN QUERY PLAN {query}"))
        assert "INDEX items_" in plan and "TEMP B-TREE" not in plan, plan
    lanes.close()


def test_a_shard_of_the_form_before_is_taken_over(tmp_path: Path) -> None:
    """SQLite only."""
    file = tmp_path / "shard-0.db"
    old = sqlite3.connect(file)
    old.executescript(
        """
CREATE TABLE shard (one INTEGER PRIMARY KEY, form INTEGER, shard INTEGER, shards INTEGER, fence INTEGER,
  outbox_end INTEGER, sources INTEGER, lanes INTEGER, lane_sum INTEGER);
CREATE TABLE positions (source TEXT PRIMARY KEY, end INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE lanes (lane INTEGER PRIMARY KEY, taken INTEGER, removed INTEGER, queued INTEGER, in_flight INTEGER,
  dead INTEGER, seq_sum INTEGER);
CREATE TABLE items (seq INTEGER PRIMARY KEY, lane INTEGER, id TEXT, state INTEGER, attempt INTEGER, due_ms INTEGER,
  first_ms INTEGER, unknown INTEGER, frame BLOB);
CREATE INDEX items_due ON items (lane, due_ms, seq) WHERE state = 0;
CREATE INDEX items_in_flight ON items (seq) WHERE state = 1;
INSERT INTO shard VALUES (1, 1, 0, 1, 3, 2, 0, 1, 1);
INSERT INTO lanes VALUES (1, 2, 0, 1, 1, 0, 1);
INSERT INTO items VALUES (0, 1, 'p0', 1, 1, 1000, 1000, 0, x'00'), (1, 1, 'p1', 0, 0, 0, 0, 0, x'01');
"""
    )
    old.close()
    lanes = SqliteLanes(file, shard=0, shards=1)
    assert states(lanes) == {0: (ItemState.IN_FLIGHT, 1), 1: (ItemState.QUEUED, 0)}
    assert [one.seq for one in lanes.due(1, 0, (0, -1), 10)] == [1]
    lanes.apply(taking(2, 4, intents=[(2, 1, 1000)]))
    assert lanes.problems() == []
    lanes.close()
    SqliteLanes(file, shard=0, shards=1).close()


def test_places_far_apart_are_in_flight_all_the_same(open_lanes: Open) -> None:
    lanes = open_lanes()
    places = [0, 1, 3999, 5000, 1 << 40]
    lanes.apply(LaneBatch(0, (1 << 40) + 1, [item(seq) for seq in places], intents=[(seq, 1, 1) for seq in places]))
    assert [one.seq for one in lanes.in_flight()] == places
    lanes.apply(ended(0, outcome(3999, 1, SendResult.DELIVERED), outcome(1 << 40, 1, SendResult.DELIVERED)))
    assert [one.seq for one in lanes.in_flight()] == [0, 1, 5000]
    assert lanes.problems() == []
    lanes.close()


def test_what_takes_the_place_of_something_superseded_corrects_nothing_though_it_is_in_flight(open_lanes: Open) -> None:
    def correction(seq: int) -> LaneItem:
        post = PostbackOut(f"p{seq}", 1, 1, 0, 0, 1, 1, 1, 1, {}, corrects="p0")
        return msgspec.structs.replace(item(seq), frame=encode_frame(post))

    lanes = open_lanes()
    lanes.apply(LaneBatch(0, 4, [item(0), item(1), correction(2), correction(3)], intents=[(2, 1, 1), (3, 1, 1)]))
    first, second = (Outcome(f"p{seq}", seq, 0, SendResult.SUPERSEDED, successor=seq + 2) for seq in (0, 1))
    lanes.apply(ended(0, first))
    batch = LaneBatch(4, 5, [correction(4)], [(4, 1, 1)], source="courier-0", outcomes_start=1, outcomes_end=3)
    batch.outcomes = [msgspec.structs.replace(second, successor=4), outcome(3, 1, SendResult.DELIVERED)]
    lanes.apply(batch)
    found = {one.seq: decode_frame(one.frame) for one in lanes.items()}
    assert [(seq, post.corrects) for seq, post in found.items() if isinstance(post, PostbackOut)] == [(2, ""), (4, "")]
    assert [one.seq for one in lanes.in_flight()] == [2, 4]
    assert lanes.problems() == []
    lanes.close()


def test_any_number_of_named_lanes_is_counted_and_one_that_is_gone_is_named(tmp_path: Path) -> None:
    numbers = [lane_number(1, f"lane-{n}") for n in range(100)]  # of 60 bits: their sum is beyond SQLite's integers
    lanes = SqliteLanes(tmp_path / "shard-0.db", shard=0, shards=1)
    lanes.apply(LaneBatch(0, 100, [item(seq, lane) for seq, lane in enumerate(numbers)]))
    assert lanes.problems() == []
    assert {depth.lane for depth in lanes.depths()} == set(numbers)
    lanes.close()
    with sqlite3.connect(tmp_path / "shard-0.db") as connection:
        connection.execute("DELETE FROM lanes WHERE lane = ?", (numbers[7],))
    connection.close()
    lanes = SqliteLanes(tmp_path / "shard-0.db", shard=0, shards=1)
    assert any(f"the row of lane {numbers[7]} is missing" in problem for problem in lanes.problems())
    lanes.close()
