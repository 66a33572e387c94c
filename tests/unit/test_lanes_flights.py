"""Blocks of flights in a shard of lanes: what is written, what is left of it, what is said when it is lost."""

import sqlite3
from pathlib import Path

import pytest

from support.lane_batches import ended, outcome, states, taking
from waypost.engines.sqlite.lanes import SqliteLanes
from waypost.errors import WaypostError
from waypost.model.frames import SendResult

_BACK_TO_FORM_2 = """
DROP TABLE flights;
ALTER TABLE shard DROP COLUMN aloft;
UPDATE shard SET form = 2;
"""


def test_a_shard_from_before_flights_is_read_as_it_is_and_taken_over_with_what_is_in_flight(tmp_path: Path) -> None:
    file = tmp_path / "shard-0.db"
    lanes = SqliteLanes(file, shard=0, shards=1, blocks_max=0)
    lanes.apply(taking(0, 6, lanes=2, intents=[(seq, 1, 1000) for seq in range(4)]))
    lanes.apply(ended(0, outcome(0, 1, SendResult.DELIVERED), outcome(1, 1, SendResult.RETRY, 2000)))
    before, depths = list(lanes.items()), lanes.depths()
    lanes.close()
    with sqlite3.connect(file) as connection:
        connection.executescript(_BACK_TO_FORM_2)
    connection.close()
    reader = SqliteLanes(file, shard=0, shards=1, read_only=True)
    assert list(reader.items()) == before and reader.depths() == depths and reader.problems() == []
    assert [one.seq for one in reader.in_flight()] == [2, 3] == [one.seq for one in reader.at([2, 3, 9])]
    assert reader.item("p2") == before[1]
    reader.close()
    lanes = SqliteLanes(file, shard=0, shards=1)
    assert list(lanes.items()) == before
    lanes.apply(ended(2, outcome(2, 1, SendResult.DELIVERED)))
    lanes.apply(taking(6, 8, intents=[(6, 1, 1000)]))
    assert [one.seq for one in lanes.in_flight()] == [3, 6]
    assert lanes.problems() == []
    lanes.close()


def _rows_of(file: Path, table: str) -> int:
    with sqlite3.connect(file) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.close()
    return int(count)


def test_what_is_begun_as_it_is_taken_and_delivered_is_never_a_row(tmp_path: Path) -> None:
    """A block a batch, which goes with the last of its flights."""
    file = tmp_path / "shard-0.db"
    lanes = SqliteLanes(file, shard=0, shards=1)
    for start in (0, 10, 20):
        lanes.apply(taking(start, start + 10, lanes=3, intents=[(seq, 1, 1) for seq in range(start, start + 10)]))
    assert (_rows_of(file, "flights"), _rows_of(file, "items"), _rows_of(file, "lanes")) == (3, 0, 0)
    delivered = [seq for seq in range(25) if seq != 3]
    lanes.apply(ended(0, *(outcome(seq, 1, SendResult.DELIVERED) for seq in delivered)))
    assert (_rows_of(file, "flights"), _rows_of(file, "items")) == (2, 0)
    assert sorted(states(lanes)) == [3, 25, 26, 27, 28, 29]
    lanes.apply(ended(24, outcome(3, 1, SendResult.RETRY, 9)))
    assert (_rows_of(file, "flights"), _rows_of(file, "items")) == (1, 1)
    assert lanes.problems() == []
    lanes.close()


def test_flights_that_take_long_leave_their_block_and_hold_no_others_space(tmp_path: Path) -> None:
    file = tmp_path / "shard-0.db"
    lanes = SqliteLanes(file, shard=0, shards=1, blocks_max=4)
    end = 0
    for start in range(0, 200, 10):
        lanes.apply(taking(start, start + 10, intents=[(seq, 1, 1) for seq in range(start, start + 10)]))
        lanes.apply(ended(end, *(outcome(seq, 1, SendResult.DELIVERED) for seq in range(start + 1, start + 10))))
        end += 9
        assert _rows_of(file, "flights") <= 4
    assert sorted(states(lanes)) == list(range(0, 200, 10)) == [one.seq for one in lanes.in_flight()]
    assert (_rows_of(file, "flights"), _rows_of(file, "items")) == (4, 16)
    lanes.apply(ended(end, *(outcome(seq, 1, SendResult.DELIVERED) for seq in range(0, 200, 10))))
    assert states(lanes) == {} and lanes.depths() == []
    assert (_rows_of(file, "flights"), _rows_of(file, "items")) == (0, 0)
    assert lanes.problems() == []
    lanes.close()


def test_a_block_of_flights_that_is_lost_is_told_for_good(tmp_path: Path) -> None:
    """It does not keep a courier from going on, and whoever has the shard next says it too."""
    file = tmp_path / "shard-0.db"
    lanes = SqliteLanes(file, shard=0, shards=1)
    for start in (0, 3):
        lanes.apply(taking(start, start + 3, intents=[(seq, 1, 1) for seq in range(start, start + 3)]))
    lanes.apply(ended(0, outcome(1, 1, SendResult.DELIVERED)))
    lanes.close()
    with sqlite3.connect(file) as connection:
        connection.execute("DELETE FROM flights WHERE first = 0")
    connection.close()
    said = ["lanes shard-0.db: the block of flights from place 0 on is missing, and so are the items in flight 0, 2"]
    for position in (6, 9):
        lanes = SqliteLanes(file, shard=0, shards=1)
        assert [one.seq for one in lanes.in_flight()] == list(range(3, position))
        assert lanes.problems() == said
        lanes.apply(taking(position, position + 3, intents=[(seq, 1, 1) for seq in range(position, position + 3)]))
        assert lanes.problems() == said
        lanes.close()


def test_a_block_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    file = tmp_path / "shard-0.db"
    lanes = SqliteLanes(file, shard=0, shards=1)
    lanes.apply(taking(0, 3, intents=[(seq, 1, 1) for seq in range(3)]))
    lanes.close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE flights SET items = x'93c1'")
    connection.close()
    reader = SqliteLanes(file, shard=0, shards=1, read_only=True)
    (problem,) = reader.problems()
    assert "the block of flights from place 0 on" in problem
    with pytest.raises(WaypostError, match="store_corrupt"):
        list(reader.items())
    reader.close()
