"""What a shard of lanes says of itself: its rows counted and summed, against what its own rows say they should be.

Owns: the words for what is missing. Reads one shard; writes nothing. `lanes.py` says which sums are kept.
"""

import sqlite3
from collections.abc import Iterator

from waypost.engines.sqlite.lanes_flights import flight_problems
from waypost.engines.sqlite.lanes_tables import LANES_MASK, sum_of_lanes


def lane_store_problems(connection: sqlite3.Connection) -> Iterator[str]:
    """See `ports.lanes.Lanes.problems`."""
    shard = connection.execute("SELECT sources, lanes, lane_sum, outbox_end FROM shard").fetchone()
    if shard is None:
        yield "the shard's own row is missing"
        return
    sources, lanes, lane_sum, outbox_end = shard
    found = connection.execute("SELECT count(*) FROM positions").fetchone()[0]
    if found != sources:
        yield f"positions of {sources} journals are expected, {found} are there"
    count, total = sum_of_lanes(connection)
    if count == lanes - 1:
        yield f"the row of lane {(lane_sum - total) & LANES_MASK} is missing"
    elif (count, total) != (lanes, lane_sum & LANES_MASK):
        yield f"{lanes} lanes are expected, {count} are there"
    held = {
        row[0]: row[1:]
        for row in connection.execute(
            "SELECT lane, count(*), sum(state = 0), sum(state = 1), sum(state = 2), sum(state = 3), sum(seq)"
            " FROM items GROUP BY lane"
        )
    }
    for lane, taken, removed, *states, seq_sum in connection.execute(
        "SELECT lane, taken, removed, queued, in_flight, dead, held, seq_sum FROM lanes"
    ):
        yield from _lane_problems(lane, taken - removed, states, seq_sum, held.pop(lane, (0, 0, 0, 0, 0, 0)))
    for lane, (count, *_) in held.items():
        yield f"lane {lane} has {count} items and no row of its own"
    yield from flight_problems(connection, outbox_end)
    last = connection.execute("SELECT max(seq) FROM items").fetchone()[0]
    if last is not None and last >= outbox_end:
        yield f"item {last} stands beyond the outbox position {outbox_end}"


def _lane_problems(lane: int, live: int, states: list[int], seq_sum: int, held: tuple[int, ...]) -> Iterator[str]:
    """What one lane's row and its items say of each other."""
    count, *found, total = held
    if count == live - 1:
        yield f"item {seq_sum - total} of lane {lane} is missing"
    elif (count, total) != (live, seq_sum):
        yield f"lane {lane} should hold {live} items, {count} are there"
    elif found != states:
        yield f"lane {lane} should hold (queued, in flight, dead, held) {tuple(states)}, it holds {tuple(found)}"
