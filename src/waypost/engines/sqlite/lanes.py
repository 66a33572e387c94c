"""Lanes in SQLite: one file a shard, one transaction a cycle, WAL with `synchronous=FULL`.

Owns: `lanes/shard-N.db` and its lock file. Reads and writes nothing else; never decides when something is sent.

What makes a lost row show: each lane's row counts what was taken and removed and what stands in which state, and
keeps the sum of the places (seq) that stand, so one missing item is named by the difference; the shard's row counts
and sums lanes and sources in the same way. All of it is kept in the transaction that changes the items.

Many rows go into one statement (as JSON where a row is a number or a few, as rows of VALUES where it is long): each
step of a statement lets go of the interpreter's lock, and the sender's thread takes it then.
"""

import fcntl
import itertools
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from waypost.engines.sqlite.connection import connect, store_error, transaction
from waypost.errors import WaypostError
from waypost.model.frames import Outcome, SendResult
from waypost.ports.lanes import ItemState, LaneBatch, LaneDepth, LaneItem

_FORM = 1  # of the tables
_DELIVERED, _GIVEN_UP, _UNKNOWN = SendResult.DELIVERED, SendResult.GIVEN_UP, SendResult.UNKNOWN
_QUEUED, _IN_FLIGHT, _DEAD = int(ItemState.QUEUED), int(ItemState.IN_FLIGHT), int(ItemState.DEAD)

_TABLES = """
CREATE TABLE shard (
  one INTEGER PRIMARY KEY CHECK (one = 1), form INTEGER NOT NULL, shard INTEGER NOT NULL, shards INTEGER NOT NULL,
  fence INTEGER NOT NULL, outbox_end INTEGER NOT NULL, sources INTEGER NOT NULL,
  lanes INTEGER NOT NULL, lane_sum INTEGER NOT NULL);
CREATE TABLE positions (source TEXT PRIMARY KEY, end INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE lanes (
  lane INTEGER PRIMARY KEY, taken INTEGER NOT NULL, removed INTEGER NOT NULL, queued INTEGER NOT NULL,
  in_flight INTEGER NOT NULL, dead INTEGER NOT NULL, seq_sum INTEGER NOT NULL);
CREATE TABLE items (
  seq INTEGER PRIMARY KEY, lane INTEGER NOT NULL, id TEXT NOT NULL, state INTEGER NOT NULL, attempt INTEGER NOT NULL,
  due_ms INTEGER NOT NULL, first_ms INTEGER NOT NULL, unknown INTEGER NOT NULL, frame BLOB NOT NULL);
CREATE INDEX items_due ON items (lane, due_ms, seq) WHERE state = 0;
CREATE INDEX items_in_flight ON items (seq) WHERE state = 1;
"""
_COLUMNS = "seq, lane, id, state, attempt, due_ms, first_ms, frame, unknown"
_LANES_WITH_WORK = """
WITH RECURSIVE found (lane) AS (
  SELECT min(lane) FROM items WHERE state = 0
  UNION ALL
  SELECT (SELECT min(lane) FROM items WHERE state = 0 AND lane > found.lane) FROM found WHERE found.lane IS NOT NULL)
SELECT lane, (SELECT min(due_ms) FROM items WHERE state = 0 AND items.lane = found.lane) FROM found
WHERE lane IS NOT NULL
"""


_INSERT = "INSERT INTO items (seq, lane, id, state, attempt, due_ms, first_ms, unknown, frame) VALUES "
_INSERTS = {count: _INSERT + ",".join(["(?,?,?,?,?,?,?,?,?)"] * count) for count in (64, 16, 4, 1)}
_DELETE = "DELETE FROM items WHERE seq IN (SELECT value FROM json_each(?))"
_ROWS_OF_JSON = (
    "(SELECT value ->> 0 AS a, value ->> 1 AS b, value ->> 2 AS c, value ->> 3 AS d FROM json_each(?)) AS new"
)
_END = f"UPDATE items SET state = b, due_ms = c, unknown = d FROM {_ROWS_OF_JSON} WHERE seq = a"
_QUEUED_OF = (
    "SELECT json_group_array(json_array(seq, lane, attempt)) FROM items"
    " WHERE state = 0 AND seq IN (SELECT value FROM json_each(?))"
)
_BEGIN = (
    "UPDATE items SET state = 1, attempt = b, due_ms = c, unknown = 0,"
    f" first_ms = CASE first_ms WHEN 0 THEN c ELSE first_ms END FROM {_ROWS_OF_JSON} WHERE seq = a"
)
_COUNTS = {
    count: "UPDATE lanes SET taken = taken + column1, removed = removed + column2, queued = queued + column3,"
    " in_flight = in_flight + column4, dead = dead + column5, seq_sum = seq_sum + column6"
    f" FROM (VALUES {','.join(['(?,?,?,?,?,?,?)'] * count)}) WHERE lane = column7"
    for count in (64, 16, 4, 1)
}


class _Begun(msgspec.Struct, frozen=True, gc=False):
    """An attempt whose outcome may come: in flight, or unknown since a crash."""

    lane: int
    attempt: int
    state: int


class _Counts:
    """What a batch changes in one lane's row."""

    __slots__ = ("dead", "in_flight", "queued", "removed", "seq_sum", "taken")

    def __init__(self) -> None:
        self.taken = self.removed = self.queued = self.in_flight = self.dead = self.seq_sum = 0

    def move(self, before: int, after: int) -> None:
        """One item goes from a state to another."""
        self.add(before, -1)
        self.add(after, 1)

    def add(self, state: int, amount: int) -> None:
        if state == _QUEUED:
            self.queued += amount
        elif state == _IN_FLIGHT:
            self.in_flight += amount
        else:
            self.dead += amount


class _Tally(dict[int, _Counts]):
    """Counts by lane."""

    def __missing__(self, lane: int) -> _Counts:
        counts = self[lane] = _Counts()
        return counts


class SqliteLanes:
    """One shard; see `ports.lanes.Lanes`. A writer is used by one thread at a time; readers open it read-only."""

    def __init__(self, file: Path, *, shard: int, shards: int, read_only: bool = False) -> None:
        """Raises WaypostError `data_in_use` if another courier holds the shard, `store_corrupt` if its own row is
        missing or speaks of another shard."""
        self._place = f"lanes {file.name}"
        self._shard, self._shards = shard, shards
        self._fence = 0
        self._lock = -1
        self._connection: sqlite3.Connection | None = None
        self._flying: dict[int, _Begun] = {}
        self._known_lanes: set[int] = set()
        if not read_only:
            self._lock = _take_lock(file)
        try:
            self._connection = connect(file, read_only=read_only)
            if not read_only:
                self._open_shard()
        except BaseException:
            self.close()
            raise

    def owns(self, lane: int) -> bool:
        """See `ports.lanes.Lanes.owns`."""
        return lane % self._shards == self._shard

    @property
    def fence(self) -> int:
        """See `ports.lanes.Lanes.fence`."""
        return self._fence

    # --- writing -------------------------------------------------------------------------------------

    def apply(self, batch: LaneBatch) -> None:
        """See `ports.lanes.Lanes.apply`."""
        tally = _Tally()
        flying: dict[int, _Begun | None] = {}  # changes to `_flying`, made once they are committed
        with transaction(self._open, self._place):
            self._check_fence()
            intents = {seq: (attempt, at_ms) for seq, attempt, at_ms in batch.intents}
            self._take(batch, intents, tally, flying)
            self._apply_outcomes(batch, tally, flying)
            if intents:
                self._begin(intents, tally, flying)
            self._write_tally(tally)
        for seq, begun in flying.items():
            if begun is None:
                self._flying.pop(seq, None)
            else:
                self._flying[seq] = begun
        self._known_lanes.update(tally)

    def recover(self, at_ms: int) -> list[LaneItem]:
        """See `ports.lanes.Lanes.recover`."""
        with transaction(self._open, self._place):
            self._check_fence()
            tally = _Tally()
            found = [_item(row) for row in self._open.execute(f"SELECT {_COLUMNS} FROM items WHERE state = 1")]
            self._open.execute("UPDATE items SET state = 0, unknown = 1, due_ms = ? WHERE state = 1", (at_ms,))
            for item in found:
                tally[item.lane].move(_IN_FLIGHT, _QUEUED)
            self._write_tally(tally)
        self._flying.clear()
        return [_recovered(item, at_ms) for item in found]

    def _take(
        self, batch: LaneBatch, intents: dict[int, tuple[int, int]], tally: _Tally, flying: dict[int, _Begun | None]
    ) -> None:
        """New items. One that is begun in the same batch is written as in flight at once: one write, no index."""
        if batch.taken_end <= batch.taken_start:
            return
        position = self.outbox_position()
        if batch.taken_start > position:
            raise WaypostError(
                "store_out_of_order",
                f"outbox range starts at {batch.taken_start}, shard at {position}",
                place=self._place,
            )
        if batch.taken_end <= position:
            return
        rows = []
        for item in batch.taken:
            seq = item.seq
            if seq < position:
                continue
            counts = tally[item.lane]
            counts.taken += 1
            counts.seq_sum += seq
            intent = intents.pop(seq, None)
            if intent is not None and intent[0] == item.attempt + 1 and item.state == _QUEUED:
                attempt, at_ms = intent
                counts.in_flight += 1
                flying[seq] = _Begun(item.lane, attempt, _IN_FLIGHT)
                rows.append((seq, item.lane, item.id, _IN_FLIGHT, attempt, at_ms, at_ms, 0, item.frame))
            else:
                counts.add(item.state, 1)
                rows.append(
                    (seq, item.lane, item.id, int(item.state), item.attempt, item.due_ms, item.first_ms,
                     int(item.unknown), item.frame)
                )  # fmt: skip
        self._execute_rows(_INSERTS, rows)
        self._open.execute("UPDATE shard SET outbox_end = ?", (batch.taken_end,))

    def _apply_outcomes(self, batch: LaneBatch, tally: _Tally, flying: dict[int, _Begun | None]) -> None:
        if not batch.source or batch.outcomes_end <= batch.outcomes_start:
            return
        row = self._open.execute("SELECT end FROM positions WHERE source = ?", (batch.source,)).fetchone()
        position = row[0] if row else 0
        if batch.outcomes_start > position:
            raise WaypostError(
                "store_out_of_order",
                f"outcomes of {batch.source} start at {batch.outcomes_start}, shard at {position}",
                place=self._place,
            )
        if batch.outcomes_end <= position:
            return
        removed: list[int] = []
        changed: list[tuple[int, int, int, int]] = []  # seq, state, due_ms, unknown
        begun = self._begun_of(batch.outcomes, flying)
        for outcome in batch.outcomes:
            seq = outcome.seq
            item = begun.pop(seq, None)
            if item is None or item.attempt != outcome.attempt:
                continue
            flying[seq] = None
            counts = tally[item.lane]
            if outcome.result is _DELIVERED:
                counts.add(item.state, -1)
                counts.removed += 1
                counts.seq_sum -= seq
                removed.append(seq)
                continue
            state = _DEAD if outcome.result is _GIVEN_UP else _QUEUED
            unknown = int(outcome.result is _UNKNOWN)
            if unknown and item.state == _QUEUED:
                continue  # recovery has done it
            counts.move(item.state, state)
            changed.append((seq, state, outcome.next_due_ms, unknown))
        if removed:
            self._open.execute(_DELETE, (_json(removed),))
        if changed:
            self._open.execute(_END, (_json(changed),))
        if row is None:
            self._open.execute("UPDATE shard SET sources = sources + 1")
        self._open.execute(
            "INSERT INTO positions (source, end) VALUES (?, ?) ON CONFLICT (source) DO UPDATE SET end = excluded.end",
            (batch.source, batch.outcomes_end),
        )

    def _begun_of(self, outcomes: Iterable[Outcome], flying: dict[int, _Begun | None]) -> dict[int, _Begun]:
        """The attempts that these outcomes may be of: from memory, and from disk those of unknown outcome."""
        known = self._flying
        begun = {}
        elsewhere = []
        for outcome in outcomes:
            item = known.get(outcome.seq)
            if item is not None:
                begun[outcome.seq] = item
            elif outcome.seq not in flying:
                elsewhere.append((outcome.seq,))
        for wanted in elsewhere:
            row = self._open.execute(
                "SELECT lane, attempt, state FROM items WHERE seq = ? AND state = 0 AND unknown = 1", wanted
            ).fetchone()
            if row is not None:
                begun[wanted[0]] = _Begun(*row)
        return begun

    def _begin(self, intents: dict[int, tuple[int, int]], tally: _Tally, flying: dict[int, _Begun | None]) -> None:
        """Intents of items that stood already. One that was begun before, or is gone, is skipped."""
        (found,) = self._open.execute(_QUEUED_OF, (_json(list(intents)),)).fetchone()
        rows = []
        for seq, lane, before in msgspec.json.decode(found):
            attempt, at_ms = intents[seq]
            if before + 1 == attempt:
                tally[lane].move(_QUEUED, _IN_FLIGHT)
                flying[seq] = _Begun(lane, attempt, _IN_FLIGHT)
                rows.append((seq, attempt, at_ms))
        if rows:
            self._open.execute(_BEGIN, (_json(rows),))

    def _write_tally(self, tally: _Tally) -> None:
        new = [lane for lane in tally if lane not in self._known_lanes]
        if new:
            self._open.executemany("INSERT INTO lanes VALUES (?, 0, 0, 0, 0, 0, 0)", [(lane,) for lane in new])
            self._open.execute("UPDATE shard SET lanes = lanes + ?, lane_sum = lane_sum + ?", (len(new), sum(new)))
        rows = [(c.taken, c.removed, c.queued, c.in_flight, c.dead, c.seq_sum, lane) for lane, c in tally.items()]
        self._execute_rows(_COUNTS, rows)

    def _execute_rows(self, statements: Mapping[int, str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Executes a statement for rows, by how many it takes at once: the most first, one at last."""
        start = 0
        for count, statement in statements.items():
            while len(rows) - start >= count:
                self._open.execute(statement, list(itertools.chain.from_iterable(rows[start : start + count])))
                start += count

    # --- reading -------------------------------------------------------------------------------------

    def outbox_position(self) -> int:
        """See `ports.lanes.Lanes.outbox_position`."""
        row = self._open.execute("SELECT outbox_end FROM shard").fetchone()
        return int(row[0]) if row else 0

    def outcome_positions(self) -> dict[str, int]:
        """See `ports.lanes.Lanes.outcome_positions`."""
        return dict(self._open.execute("SELECT source, end FROM positions"))

    def due(self, lane: int, now_ms: int, after: tuple[int, int], count_max: int) -> list[LaneItem]:
        """See `ports.lanes.Lanes.due`."""
        rows = self._open.execute(
            f"SELECT {_COLUMNS} FROM items WHERE state = 0 AND lane = ? AND due_ms <= ? AND (due_ms, seq) > (?, ?)"
            " ORDER BY due_ms, seq LIMIT ?",
            (lane, now_ms, *after, count_max),
        )
        return [_item(row) for row in rows]

    def lanes_with_work(self) -> list[tuple[int, int]]:
        """See `ports.lanes.Lanes.lanes_with_work`: one step down the index a lane, never a look at every item."""
        return list(self._open.execute(_LANES_WITH_WORK))

    def depths(self) -> list[LaneDepth]:
        """See `ports.lanes.Lanes.depths`; from the lanes' own rows, so it costs O(lanes)."""
        due = dict(self.lanes_with_work())
        rows = self._open.execute("SELECT lane, queued, in_flight, dead FROM lanes ORDER BY lane")
        return [
            LaneDepth(lane, queued, in_flight, dead, due.get(lane, 0))
            for lane, queued, in_flight, dead in rows
            if queued or in_flight or dead
        ]

    def items(self) -> Iterator[LaneItem]:
        """See `ports.lanes.Lanes.items`."""
        for row in self._open.execute(f"SELECT {_COLUMNS} FROM items ORDER BY seq"):
            yield _item(row)

    def item(self, id: str) -> LaneItem | None:
        """See `ports.lanes.Lanes.item`. Reads all items: an index would cost every send, and this is asked rarely."""
        row = self._open.execute(f"SELECT {_COLUMNS} FROM items WHERE id = ?", (id,)).fetchone()
        return _item(row) if row else None

    def problems(self) -> list[str]:
        """See `ports.lanes.Lanes.problems`. Reads all items, in one snapshot."""
        self._open.execute("BEGIN")
        try:
            return [f"{self._place}: {problem}" for problem in self._problems()]
        except sqlite3.Error as error:
            return [str(store_error(error, self._place))]
        finally:
            if self._open.in_transaction:
                self._open.execute("ROLLBACK")

    def _problems(self) -> Iterator[str]:
        shard = self._open.execute("SELECT sources, lanes, lane_sum, outbox_end FROM shard").fetchone()
        if shard is None:
            yield "the shard's own row is missing"
            return
        sources, lanes, lane_sum, outbox_end = shard
        found = self._open.execute("SELECT count(*) FROM positions").fetchone()[0]
        if found != sources:
            yield f"positions of {sources} journals are expected, {found} are there"
        count, total = self._open.execute("SELECT count(*), ifnull(sum(lane), 0) FROM lanes").fetchone()
        if count == lanes - 1:
            yield f"the row of lane {lane_sum - total} is missing"
        elif (count, total) != (lanes, lane_sum):
            yield f"{lanes} lanes are expected, {count} are there"
        held = {
            row[0]: row[1:]
            for row in self._open.execute(
                "SELECT lane, count(*), sum(state = 0), sum(state = 1), sum(state = 2), sum(seq)"
                " FROM items GROUP BY lane"
            )
        }
        for lane, taken, removed, *states, seq_sum in self._open.execute(
            "SELECT lane, taken, removed, queued, in_flight, dead, seq_sum FROM lanes"
        ):
            yield from _lane_problems(lane, taken - removed, states, seq_sum, held.pop(lane, (0, 0, 0, 0, 0)))
        for lane, (count, *_) in held.items():
            yield f"lane {lane} has {count} items and no row of its own"
        last = self._open.execute("SELECT max(seq) FROM items").fetchone()[0]
        if last is not None and last >= outbox_end:
            yield f"item {last} stands beyond the outbox position {outbox_end}"

    def close(self) -> None:
        """Gives the shard up; another may take it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # --- opening -------------------------------------------------------------------------------------

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise WaypostError("data_unwritable", "the shard is closed", place=self._place)
        return self._connection

    def _open_shard(self) -> None:
        connection = self._open
        with transaction(connection, self._place):
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'shard'").fetchone():
                for statement in filter(str.strip, _TABLES.split(";\n")):
                    connection.execute(statement)
                connection.execute(
                    "INSERT INTO shard VALUES (1, ?, ?, ?, 0, 0, 0, 0, 0)", (_FORM, self._shard, self._shards)
                )
            row = connection.execute("SELECT form, shard, shards, fence FROM shard").fetchone()
            if row is None:
                raise WaypostError("store_corrupt", "the shard's own row is missing", place=self._place)
            if row[0] > _FORM:
                raise WaypostError("wire_version", f"form {row[0]}, this release reads {_FORM}", place=self._place)
            if row[1:3] != (self._shard, self._shards):
                raise WaypostError(
                    "store_corrupt",
                    f"the file is shard {row[1]} of {row[2]}, it was opened as {self._shard} of {self._shards}",
                    place=self._place,
                    hint="courier.shards cannot be changed while its shard files are there",
                )
            self._fence = row[3] + 1
            connection.execute("UPDATE shard SET fence = ?", (self._fence,))
        self._known_lanes = {row[0] for row in connection.execute("SELECT lane FROM lanes")}
        self._flying = {
            row[0]: _Begun(*row[1:])
            for row in connection.execute("SELECT seq, lane, attempt, state FROM items WHERE state = 1")
        }

    def _check_fence(self) -> None:
        row = self._open.execute("SELECT fence FROM shard").fetchone()
        if row is None:
            raise WaypostError("store_corrupt", "the shard's own row is missing", place=self._place)
        if row[0] != self._fence:
            raise WaypostError("fenced", f"fence {row[0]} is in force, ours is {self._fence}", place=self._place)


def _json(rows: Sequence[Any]) -> str:
    """Numbers for `json_each`."""
    return msgspec.json.encode(rows).decode()


def _take_lock(file: Path) -> int:
    """Holds the shard. A file of its own: closing any descriptor of SQLite's file would drop SQLite's locks."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise store_error(error, str(file)) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise WaypostError("data_in_use", "another courier holds this shard", place=str(file)) from error
    return lock


def _item(row: tuple[int, int, str, int, int, int, int, bytes, int]) -> LaneItem:
    seq, lane, id, state, attempt, due_ms, first_ms, frame, unknown = row
    return LaneItem(seq, lane, id, ItemState(state), attempt, due_ms, first_ms, frame, bool(unknown))


def _recovered(item: LaneItem, at_ms: int) -> LaneItem:
    return LaneItem(
        item.seq, item.lane, item.id, ItemState.QUEUED, item.attempt, at_ms, item.first_ms, item.frame, True
    )


def _lane_problems(
    lane: int, live: int, states: list[int], seq_sum: int, held: tuple[int, int, int, int, int]
) -> Iterator[str]:
    """What one lane's row and its items say of each other."""
    count, *found, total = held
    if count == live - 1:
        yield f"item {seq_sum - total} of lane {lane} is missing"
    elif (count, total) != (live, seq_sum):
        yield f"lane {lane} should hold {live} items, {count} are there"
    elif found != states:
        yield f"lane {lane} should hold (queued, in flight, dead) {tuple(states)}, it holds {tuple(found)}"
