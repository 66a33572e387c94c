"""What a batch changes in the lanes' own rows, and statements for many rows at once.

Owns: counting, and how counts are added to the rows. Never decides what counts as what.
"""

import itertools
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from waypost.engines.sqlite.lanes_tables import LANES_MASK
from waypost.ports.lanes import ItemState

_QUEUED, _IN_FLIGHT, _DEAD = int(ItemState.QUEUED), int(ItemState.IN_FLIGHT), int(ItemState.DEAD)
_MANY = (64, 16, 4, 1)
_COUNTS = {
    count: "INSERT INTO lanes (taken, removed, queued, in_flight, dead, seq_sum, held, lane) VALUES "
    + ",".join(["(?,?,?,?,?,?,?,?)"] * count)
    + " ON CONFLICT (lane) DO UPDATE SET taken = taken + excluded.taken, removed = removed + excluded.removed,"
    " queued = queued + excluded.queued, in_flight = in_flight + excluded.in_flight, dead = dead + excluded.dead,"
    " seq_sum = seq_sum + excluded.seq_sum, held = held + excluded.held"
    for count in _MANY
}
_INSERT = (
    "INSERT INTO items (seq, lane, id, state, attempt, due_ms, first_ms, unknown, frame, rank, key, code, excused)"
    " VALUES "
)
_INSERTS = {count: _INSERT + ",".join(["(?,?,?,?,?,?,?,?,?,?,?,?,?)"] * count) for count in _MANY}


class Counts:
    """What a batch changes in one lane's row."""

    __slots__ = ("dead", "held", "in_flight", "queued", "removed", "seq_sum", "taken")

    def __init__(self) -> None:
        self.taken = self.removed = self.queued = self.in_flight = self.dead = self.held = self.seq_sum = 0

    def take(self, seq: int, state: int) -> None:
        """An item becomes a row."""
        self.taken += 1
        self.seq_sum += seq
        self.add(state, 1)

    def remove(self, seq: int, state: int) -> None:
        """A row goes."""
        self.removed += 1
        self.seq_sum -= seq
        self.add(state, -1)

    def move(self, before: int, after: int) -> None:
        """One item goes from a state to another."""
        self.add(before, -1)
        self.add(after, 1)

    def add(self, state: int, amount: int) -> None:
        if state == _QUEUED:
            self.queued += amount
        elif state == _IN_FLIGHT:
            self.in_flight += amount
        elif state == _DEAD:
            self.dead += amount
        else:
            self.held += amount


class Tally(dict[int, Counts]):
    """Counts by lane."""

    def __missing__(self, lane: int) -> Counts:
        counts = self[lane] = Counts()
        return counts


def write_tally(connection: sqlite3.Connection, tally: Tally, known_lanes: set[int]) -> None:
    """Adds the counts to the lanes' rows; a lane that is not known yet gets one."""
    new = [lane for lane in tally if lane not in known_lanes]
    if new:
        connection.execute(
            f"UPDATE shard SET lanes = lanes + ?, lane_sum = ((lane_sum & {LANES_MASK}) + ?) & {LANES_MASK}",
            (len(new), sum(new) & LANES_MASK),
        )
    rows = [(c.taken, c.removed, c.queued, c.in_flight, c.dead, c.seq_sum, c.held, lane) for lane, c in tally.items()]
    _execute_rows(connection, _COUNTS, rows)


def insert_items(connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """New rows of `items`, their values in the order above."""
    _execute_rows(connection, _INSERTS, rows)


def _execute_rows(
    connection: sqlite3.Connection, statements: Mapping[int, str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Executes a statement for rows, by how many it takes at once: the most first, one at last."""
    start = 0
    for count, statement in statements.items():
        while len(rows) - start >= count:
            connection.execute(statement, list(itertools.chain.from_iterable(rows[start : start + count])))
            start += count
