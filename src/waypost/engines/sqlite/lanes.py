"""Lanes in SQLite: one file a shard, one transaction a cycle, WAL with `synchronous=FULL`.

Owns: `lanes/shard-N.db` and its lock file. Reads and writes nothing else; never decides when something is sent.

What is taken and begun in one batch is written as one row, a block of flights (see `lanes_flights.py`), and most of it
never becomes more. A row of its own in `items` has what waits, what begins later, what ended otherwise than delivered,
what has a key, and what is still in flight in a block that is one of too many.

What makes a lost row show: each lane's row counts what became a row and was removed and what stands in which state, and
keeps the sum of the places (seq) that stand, so one missing item is named by the difference; the shard's row counts
and sums lanes and sources in the same way, and names the flights of every block. All of it is kept in the transaction
that changes the items.

Many rows go into one statement (as JSON where a row is a number or a few, as rows of VALUES where it is long): each
step of a statement lets go of the interpreter's lock, and the sender's thread takes it then.
"""

import heapq
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from waypost.engines.sqlite.connection import connect, store_error, transaction
from waypost.engines.sqlite.lanes_counts import Tally, insert_items, write_tally
from waypost.engines.sqlite.lanes_flights import BLOCKS_MAX, SPAN_MAX, Blocks, Flight, flights_of, lost_flights
from waypost.engines.sqlite.lanes_problems import lane_store_problems
from waypost.engines.sqlite.lanes_queues import depths_of, queues_of, queues_with_work
from waypost.engines.sqlite.lanes_tables import (
    COLUMNS,
    FORM,
    bring_to_form,
    item_of,
    make_tables,
    take_lock,
)
from waypost.errors import WaypostError
from waypost.model.frames import Outcome, PostbackOut, SendResult
from waypost.model.wire import decode_frame, encode_frame
from waypost.ports.lanes import Chore, ItemState, LaneBatch, LaneControl, LaneDepth, LaneItem, LaneQueue, LaneState

_DELIVERED, _GIVEN_UP, _UNKNOWN = SendResult.DELIVERED, SendResult.GIVEN_UP, SendResult.UNKNOWN
_HELD_RESULT, _REDRIVEN = SendResult.HELD, SendResult.REDRIVEN
_REMOVES = frozenset({SendResult.SUPERSEDED, SendResult.DROPPED})
_NEVER_IN_FLIGHT = _REMOVES | {SendResult.REDRIVEN}
_WITHOUT_ATTEMPT = _REMOVES | {SendResult.HELD, SendResult.REDRIVEN}  # may be of an item that is not in flight
_QUEUED, _IN_FLIGHT, _DEAD, _HELD = (int(state) for state in ItemState)
_STATE_AFTER = {SendResult.GIVEN_UP: _DEAD, SendResult.HELD: _HELD}  # queued after all others
UNKNOWN_CODE = "outcome_unknown"  # of an item that is held because a crash took its outcome

_SORTED_MAX = 5000
_QUEUED_SORTED = "lane = ? AND state = 0 AND +seq > ? AND +seq < ? ORDER BY +seq LIMIT ?"
_QUEUED_WALKED = "+lane = ? AND state = 0 AND seq > ? AND seq < ? ORDER BY seq LIMIT ?"
_DELETE = "DELETE FROM items WHERE seq IN (SELECT value FROM json_each(?))"
_ROWS_OF_JSON = "(SELECT value ->> 0 AS a, value ->> 1 AS b, value ->> 2 AS c FROM json_each(?)) AS new"
_ENDED_OF_JSON = (
    "(SELECT value ->> 0 AS a, value ->> 1 AS b, value ->> 2 AS c, value ->> 3 AS d, value ->> 4 AS e, value ->> 5 AS f"
    " FROM json_each(?)) AS new"
)
_END = (
    "UPDATE items SET state = b, due_ms = c, unknown = d, code = e,"
    f" excused = CASE f WHEN -1 THEN attempt ELSE excused + f END FROM {_ENDED_OF_JSON} WHERE seq = a"
)
_QUEUED_OF = (
    "SELECT json_group_array(json_array(seq, lane, attempt)) FROM items"
    " WHERE state = 0 AND seq IN (SELECT value FROM json_each(?))"
)
_BEGIN = (
    "UPDATE items SET state = 1, attempt = b, due_ms = c, unknown = 0,"
    f" first_ms = CASE first_ms WHEN 0 THEN c ELSE first_ms END FROM {_ROWS_OF_JSON} WHERE seq = a"
)


class _Begun(msgspec.Struct, frozen=True, gc=False):
    """A row whose outcome may come: in flight, of unknown outcome since a crash, or at rest."""

    lane: int
    attempt: int
    state: int
    unknown: int = 0


class _Changes:
    """What a batch changes in its owner's memory, once it is committed."""

    __slots__ = ("blocks", "ended", "flights", "flying", "outbox_end", "tally")

    def __init__(self, blocks: Blocks, outbox_end: int) -> None:
        self.blocks, self.outbox_end = blocks, outbox_end
        self.tally = Tally()
        self.flying: dict[int, _Begun | Flight | None] = {}
        self.flights: list[Flight] = []  # the batch's own block
        self.ended: list[int] = []  # places of flights that leave their blocks


class SqliteLanes:
    """One shard; see `ports.lanes.Lanes`. A writer is used by one thread at a time; readers open it read-only."""

    def __init__(
        self, file: Path, *, shard: int, shards: int, read_only: bool = False, blocks_max: int = BLOCKS_MAX
    ) -> None:
        """Raises WaypostError `data_in_use` if another courier holds the shard, `store_corrupt` if its own row is
        missing or speaks of another shard. So many blocks of flights may be open."""
        self._place = f"lanes {file.name}"
        self._file, self._inode = file, 0
        self._shard, self._shards = shard, shards
        self._fence = 0
        self._lock = -1
        self._connection: sqlite3.Connection | None = None
        self._flying: dict[int, _Begun | Flight] = {}
        self._blocks, self._blocks_max = Blocks(), blocks_max
        self._outbox_end = 0
        self._known_lanes: set[int] = set()
        if not read_only:
            self._lock = take_lock(file)
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

    def check(self) -> None:
        """See `ports.lanes.Lanes.check`."""
        try:
            inode = self._file.stat().st_ino
        except OSError as error:
            raise WaypostError("fenced", f"the shard's file is gone: {error}", place=self._place) from error
        if inode != self._inode:
            raise WaypostError("fenced", "the shard's file was replaced by another", place=self._place)
        try:
            self._check_fence()
        except sqlite3.Error as error:
            raise store_error(error, self._place) from error

    def apply(self, batch: LaneBatch) -> None:
        """See `ports.lanes.Lanes.apply`."""
        changes = _Changes(self._blocks.copy(), self._outbox_end)
        with transaction(self._open, self._place):
            self._check_fence()
            intents = {seq: (attempt, at_ms) for seq, attempt, at_ms in batch.intents}
            self._take(batch, intents, changes)
            self._apply_outcomes(batch, changes)
            if intents:
                self._begin(intents, changes)
            self._write_flights(changes)
            write_tally(self._open, changes.tally, self._known_lanes)
            if batch.controls or batch.chores or batch.chores_done or batch.control_end or batch.buckets:
                self._write_controls(batch)
        for seq, begun in changes.flying.items():
            if begun is None:
                self._flying.pop(seq, None)
            else:
                self._flying[seq] = begun
        self._known_lanes.update(changes.tally)
        self._blocks, self._outbox_end = changes.blocks, changes.outbox_end

    def _write_controls(self, batch: LaneBatch) -> None:
        """What an operator or a partner makes of lanes, and where their rate limits stand."""
        execute = self._open.execute
        if batch.buckets:
            self._open.executemany("INSERT OR REPLACE INTO buckets VALUES (?, ?)", batch.buckets.items())
        if batch.control_source:
            row = execute("SELECT end FROM positions WHERE source = ?", (batch.control_source,)).fetchone()
            if row is not None and batch.control_end <= row[0]:
                return
            self._move_position(batch.control_source, batch.control_end, is_new=row is None)
        for control in batch.controls:
            if control.state is LaneState.OPEN:
                execute("DELETE FROM controls WHERE lane = ?", (control.lane,))
            else:
                execute("INSERT OR REPLACE INTO controls VALUES (?, ?)", (control.lane, _json(control)))
        for chore in batch.chores:
            execute("INSERT OR REPLACE INTO chores VALUES (?, ?)", (chore.number, _json(chore)))
        for number in batch.chores_done:
            execute("DELETE FROM chores WHERE number = ?", (number,))

    def _move_position(self, source: str, end: int, *, is_new: bool) -> None:
        if is_new:
            self._open.execute("UPDATE shard SET sources = sources + 1")
        self._open.execute(
            "INSERT INTO positions (source, end) VALUES (?, ?) ON CONFLICT (source) DO UPDATE SET end = excluded.end",
            (source, end),
        )

    def _take(self, batch: LaneBatch, intents: dict[int, tuple[int, int]], changes: _Changes) -> None:
        """New items. What is begun in the same batch becomes its block of flights; all else a row."""
        position = changes.outbox_end
        if batch.taken_end <= batch.taken_start:
            return
        if batch.taken_start > position:
            raise WaypostError(
                "store_out_of_order",
                f"outbox range starts at {batch.taken_start}, shard at {position}",
                place=self._place,
            )
        if batch.taken_end <= position:
            return
        tally, flying, flights = changes.tally, changes.flying, changes.flights
        rows: list[tuple[Any, ...]] = []
        above, below = -1, 1 << 63  # which places may be added to the block
        for item in batch.taken:
            seq = item.seq
            if seq < position:
                continue
            state, attempt, due_ms, first_ms = int(item.state), item.attempt, item.due_ms, item.first_ms
            intent = intents.pop(seq, None)
            if intent is not None and intent[0] == attempt + 1 and state == _QUEUED:
                attempt, at_ms = intent
                if not item.key and above < seq < below:
                    flight = Flight(seq, item.lane, item.id, attempt, at_ms, first_ms or at_ms, item.rank, item.frame)
                    flying[seq] = flight
                    flights.append(flight)
                    if above < 0:
                        below = seq + SPAN_MAX
                    above = seq
                    continue
                state, due_ms, first_ms = _IN_FLIGHT, at_ms, first_ms or at_ms
                flying[seq] = _Begun(item.lane, attempt, _IN_FLIGHT)
            tally[item.lane].take(seq, state)
            unknown = int(item.unknown and state != _IN_FLIGHT)
            rows.append(
                (seq, item.lane, item.id, state, attempt, due_ms, first_ms, unknown, item.frame, item.rank, item.key,
                 "", 0)
            )  # fmt: skip
        insert_items(self._open, rows)
        changes.outbox_end = batch.taken_end

    def _apply_outcomes(self, batch: LaneBatch, changes: _Changes) -> None:
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
        others = self._end_flights(batch.outcomes, changes)
        if others:
            self._end_rows(others, changes)
        self._move_position(batch.source, batch.outcomes_end, is_new=row is None)

    def _end_flights(self, outcomes: Sequence[Outcome], changes: _Changes) -> list[Outcome]:
        """Outcomes of flights: what was not delivered becomes a row. Answers those of rows."""
        known, flying, ended = self._flying, changes.flying, changes.ended
        others: list[Outcome] = []
        rows: list[tuple[Any, ...]] = []
        for outcome in outcomes:
            seq, result = outcome.seq, outcome.result
            flight = known.get(seq)
            if type(flight) is not Flight:
                others.append(outcome)
                continue
            if flight.attempt != outcome.attempt or seq in flying:
                continue
            if result is not _DELIVERED:
                if result in _NEVER_IN_FLIGHT:
                    continue
                state = _STATE_AFTER.get(result, _QUEUED)
                unknown = int(result is _UNKNOWN or (result is _HELD_RESULT and outcome.code == UNKNOWN_CODE))
                excused = int(not outcome.counted)
                rows.append(flight.row(state, outcome.next_due_ms, unknown, outcome.code, excused))
                changes.tally[flight.lane].take(seq, state)
            flying[seq] = None
            ended.append(seq)
        insert_items(self._open, rows)
        return others

    def _end_rows(self, outcomes: Sequence[Outcome], changes: _Changes) -> None:
        removed: list[int] = []
        changed: list[tuple[int, int, int, int, str, int]] = []  # seq, state, due_ms, unknown, code, excused
        begun = self._begun_of(outcomes, changes)
        for outcome in outcomes:
            seq, result = outcome.seq, outcome.result
            item = begun.pop(seq, None)
            if item is None or item.attempt != outcome.attempt:
                continue
            if (
                (result is _REDRIVEN and item.state <= _IN_FLIGHT)
                or (result in _REMOVES and item.state == _IN_FLIGHT)
                or (result is _HELD_RESULT and item.state > _IN_FLIGHT)
            ):
                continue
            changes.flying[seq] = None
            counts = changes.tally[item.lane]
            if result is _DELIVERED or result in _REMOVES:
                counts.remove(seq, item.state)
                removed.append(seq)
                if outcome.successor:
                    self._tell_first(outcome.successor, changes)
                continue
            unknown = int(result is _UNKNOWN)
            if unknown and item.state == _QUEUED:
                continue  # it stands so already
            if result is _HELD_RESULT or result is _REDRIVEN:
                unknown = item.unknown or int(outcome.code == UNKNOWN_CODE)
            state = _STATE_AFTER.get(result, _QUEUED)
            counts.move(item.state, state)
            excused = -1 if result is _REDRIVEN else int(not outcome.counted)
            changed.append((seq, state, outcome.next_due_ms, unknown, outcome.code, excused))
        if removed:
            self._open.execute(_DELETE, (_json(removed),))
        if changed:
            self._open.execute(_END, (_json(changed),))

    def _tell_first(self, seq: int, changes: _Changes) -> None:
        """A correction whose original was never sent corrects nothing."""
        flight = changes.flying.get(seq, self._flying.get(seq))
        if type(flight) is Flight:
            if flight in changes.flights:
                changes.flights.remove(flight)
            else:
                changes.ended.append(seq)
            self._unpack([flight], changes)
        row = self._open.execute("SELECT frame FROM items WHERE seq = ?", (seq,)).fetchone()
        post = decode_frame(row[0]) if row is not None else None
        if isinstance(post, PostbackOut):
            frame = encode_frame(msgspec.structs.replace(post, corrects=""))
            self._open.execute("UPDATE items SET frame = ? WHERE seq = ?", (frame, seq))

    def _unpack(self, flights: Sequence[Flight], changes: _Changes) -> None:
        """Makes rows of flights that leave their blocks while they are in flight."""
        insert_items(self._open, [flight.row() for flight in flights])
        for flight in flights:
            changes.tally[flight.lane].take(flight.seq, _IN_FLIGHT)
            changes.flying[flight.seq] = _Begun(flight.lane, flight.attempt, _IN_FLIGHT)

    def _write_flights(self, changes: _Changes) -> None:
        blocks = changes.blocks
        if changes.flights:
            blocks.add(changes.flights)
        if changes.ended:
            blocks.end(changes.ended)
        while len(blocks) > self._blocks_max:
            found = [changes.flying.get(seq) or self._flying[seq] for seq in blocks.end_oldest()]
            self._unpack([flight for flight in found if type(flight) is Flight], changes)
        if changes.flights or changes.ended or changes.outbox_end != self._outbox_end:
            blocks.write(self._open, changes.outbox_end)

    def _begun_of(self, outcomes: Iterable[Outcome], changes: _Changes) -> dict[int, _Begun]:
        """The rows that these outcomes may be of: in flight, from memory; from disk those of unknown outcome, and
        those at rest where the outcome is one that needs no attempt."""
        known = self._flying
        begun: dict[int, _Begun] = {}
        elsewhere = []
        for outcome in outcomes:
            item = known.get(outcome.seq)
            if type(item) is _Begun:
                begun[outcome.seq] = item
            elif outcome.seq not in changes.flying:
                elsewhere.append(outcome)
        for outcome in elsewhere:
            row = self._open.execute(
                "SELECT lane, attempt, state, unknown FROM items WHERE seq = ?", (outcome.seq,)
            ).fetchone()
            if row is not None and (outcome.result in _WITHOUT_ATTEMPT or (row[2] == _QUEUED and row[3])):
                begun[outcome.seq] = _Begun(*row)
        return begun

    def _begin(self, intents: dict[int, tuple[int, int]], changes: _Changes) -> None:
        """Intents of items that stood already. One that was begun before, or is gone, is skipped."""
        (found,) = self._open.execute(_QUEUED_OF, (_json(list(intents)),)).fetchone()
        rows = []
        for seq, lane, before in msgspec.json.decode(found):
            attempt, at_ms = intents[seq]
            if before + 1 == attempt:
                changes.tally[lane].move(_QUEUED, _IN_FLIGHT)
                changes.flying[seq] = _Begun(lane, attempt, _IN_FLIGHT)
                rows.append((seq, attempt, at_ms))
        if rows:
            self._open.execute(_BEGIN, (_json(rows),))

    # --- reading -------------------------------------------------------------------------------------

    def outbox_position(self) -> int:
        """See `ports.lanes.Lanes.outbox_position`."""
        row = self._open.execute("SELECT outbox_end FROM shard").fetchone()
        return int(row[0]) if row else 0

    def outcome_positions(self) -> dict[str, int]:
        """See `ports.lanes.Lanes.outcome_positions`."""
        return dict(self._open.execute("SELECT source, end FROM positions"))

    def in_flight(self) -> list[LaneItem]:
        """See `ports.lanes.Lanes.in_flight`."""
        with self._snapshot():
            found = [flight.item() for flight in flights_of(self._open)] + self._select("state = 1 ORDER BY seq")
        return sorted(found, key=_place_of)

    def due(self, lane: int, now_ms: int, after: tuple[int, int], count_max: int, rank: int = 0) -> list[LaneItem]:
        """See `ports.lanes.Lanes.due`. Those of the same time first, then the later ones: two ranges of the index."""
        due_ms, seq = after
        found: list[LaneItem] = []
        if due_ms <= now_ms:
            found = self._select(
                "state = 0 AND lane = ? AND rank = ? AND due_ms = ? AND seq > ? ORDER BY seq LIMIT ?",
                (lane, rank, due_ms, seq, count_max),
            )
        if len(found) < count_max:
            found += self._select(
                "state = 0 AND lane = ? AND rank = ? AND due_ms > ? AND due_ms <= ? ORDER BY due_ms, seq LIMIT ?",
                (lane, rank, due_ms, now_ms, count_max - len(found)),
            )
        return found

    def lanes_with_work(self) -> list[tuple[int, int, int]]:
        """See `ports.lanes.Lanes.lanes_with_work`."""
        return queues_with_work(self._open)

    def keyed(self, lane: int, key: str, count_max: int) -> list[LaneItem]:
        """See `ports.lanes.Lanes.keyed`."""
        return self._select(
            "key <> '' AND lane = ? AND key = ? AND state < 2 ORDER BY seq LIMIT ?", (lane, key, count_max)
        )

    def standing(
        self, lane: int, states: Sequence[int], after_seq: int, until_seq: int, count_max: int
    ) -> list[LaneItem]:
        """See `ports.lanes.Lanes.standing`."""
        found: list[LaneItem] = []
        wanted = [int(state) for state in states if state != _IN_FLIGHT]
        if _QUEUED in wanted:
            # In order by seq: a short queue is sorted; in a long one, walking over all lanes' items finds enough soon.
            row = self._open.execute("SELECT queued FROM lanes WHERE lane = ?", (lane,)).fetchone()
            is_short = row is None or row[0] <= _SORTED_MAX
            found += self._select(
                _QUEUED_SORTED if is_short else _QUEUED_WALKED, (lane, after_seq, until_seq, count_max)
            )
        ended = [state for state in wanted if state != _QUEUED]
        if ended:
            found += self._select(
                f"state > 1 AND state IN ({','.join(map(str, ended))}) AND lane = ? AND seq > ? AND seq < ?"
                " ORDER BY seq LIMIT ?",
                (lane, after_seq, until_seq, count_max),
            )
        found.sort(key=lambda item: item.seq)
        return found[:count_max]

    def _select(self, condition: str, values: Sequence[Any] = ()) -> list[LaneItem]:
        return [item_of(row) for row in self._open.execute(f"SELECT {COLUMNS} FROM items WHERE {condition}", values)]

    def controls(self) -> dict[int, LaneControl]:
        """See `ports.lanes.Lanes.controls`."""
        rows = self._open.execute("SELECT lane, control FROM controls")
        return {lane: msgspec.json.decode(text, type=LaneControl) for lane, text in rows}

    def chores(self) -> list[Chore]:
        """See `ports.lanes.Lanes.chores`."""
        rows = self._open.execute("SELECT chore FROM chores ORDER BY number")
        return [msgspec.json.decode(text, type=Chore) for (text,) in rows]

    def buckets(self) -> dict[int, bytes]:
        """See `ports.lanes.Lanes.buckets`."""
        return dict(self._open.execute("SELECT lane, bucket FROM buckets"))

    def depths(self) -> list[LaneDepth]:
        """See `ports.lanes.Lanes.depths`."""
        with self._snapshot():
            return depths_of(self._open)

    def queues(self) -> list[LaneQueue]:
        """See `ports.lanes.Lanes.queues`."""
        return queues_of(self._open)

    def items(self) -> Iterator[LaneItem]:
        """See `ports.lanes.Lanes.items`."""
        with self._snapshot():
            flights = [flight.item() for flight in flights_of(self._open)]
            rows = self._open.execute(f"SELECT {COLUMNS} FROM items ORDER BY seq")  # goes on in the same snapshot
        yield from heapq.merge(flights, map(item_of, rows), key=_place_of)

    def at(self, places: Sequence[int]) -> list[LaneItem]:
        """See `ports.lanes.Lanes.at`."""
        wanted = set(places)
        with self._snapshot():
            found = [flight.item() for flight in flights_of(self._open) if flight.seq in wanted]
            found += self._select("seq IN (SELECT value FROM json_each(?))", (_json(list(wanted)),))
        return sorted(found, key=_place_of)

    def item(self, id: str) -> LaneItem | None:
        """See `ports.lanes.Lanes.item`. Reads all items: an index would cost every send, and this is asked rarely."""
        with self._snapshot():
            found = [flight.item() for flight in flights_of(self._open) if flight.id == id]
            found += self._select("id = ? ORDER BY seq DESC LIMIT 1", (id,))
        return max(found, key=_place_of, default=None)

    def problems(self) -> list[str]:
        """See `ports.lanes.Lanes.problems`. Reads all items, in one snapshot."""
        try:
            with self._snapshot():
                return [f"{self._place}: {problem}" for problem in lane_store_problems(self._open)]
        except sqlite3.Error as error:
            return [str(store_error(error, self._place))]

    def close(self) -> None:
        """Gives the shard up; another may take it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # --- opening -------------------------------------------------------------------------------------

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """All that is asked within sees the shard at one moment."""
        self._open.execute("BEGIN")
        try:
            yield
        finally:
            if self._open.in_transaction:
                self._open.execute("COMMIT")

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise WaypostError("data_unwritable", "the shard is closed", place=self._place)
        return self._connection

    def _open_shard(self) -> None:
        connection = self._open
        with transaction(connection, self._place):
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'shard'").fetchone():
                make_tables(connection)
                connection.execute(
                    "INSERT INTO shard VALUES (1, ?, ?, ?, 0, 0, 0, 0, 0, '')", (FORM, self._shard, self._shards)
                )
            row = connection.execute("SELECT form, shard, shards, fence FROM shard").fetchone()
            if row is None:
                raise WaypostError("store_corrupt", "the shard's own row is missing", place=self._place)
            if row[0] > FORM:
                raise WaypostError("wire_version", f"form {row[0]}, this release reads {FORM}", place=self._place)
            if row[1:3] != (self._shard, self._shards):
                raise WaypostError(
                    "store_corrupt",
                    f"the file is shard {row[1]} of {row[2]}, it was opened as {self._shard} of {self._shards}",
                    place=self._place,
                    hint="lanes/deal.json says how lanes are dealt; restore the folder whole",
                )
            if row[0] < FORM:
                bring_to_form(connection, row[0])
            self._fence = row[3] + 1
            self._inode = self._file.stat().st_ino
            connection.execute("UPDATE shard SET fence = ?", (self._fence,))
            self._known_lanes = {row[0] for row in connection.execute("SELECT lane FROM lanes")}
            (self._outbox_end,) = connection.execute("SELECT outbox_end FROM shard").fetchone()
            self._unpack_all()
        self._flying = {
            row[0]: _Begun(*row[1:])
            for row in connection.execute("SELECT seq, lane, attempt, state FROM items WHERE state = 1")
        }

    def _unpack_all(self) -> None:
        """What the owner before left in flight becomes rows, whatever comes of it. What is lost stays said."""
        self._blocks = Blocks(lost_flights(self._open))
        changes = _Changes(self._blocks, self._outbox_end)
        self._unpack(flights_of(self._open), changes)
        self._open.execute("DELETE FROM flights")
        self._blocks.write(self._open, self._outbox_end)
        write_tally(self._open, changes.tally, self._known_lanes)
        self._known_lanes.update(changes.tally)

    def _check_fence(self) -> None:
        row = self._open.execute("SELECT fence FROM shard").fetchone()
        if row is None:
            raise WaypostError("store_corrupt", "the shard's own row is missing", place=self._place)
        if row[0] != self._fence:
            raise WaypostError("fenced", f"fence {row[0]} is in force, ours is {self._fence}", place=self._place)


def _json(rows: Any) -> str:
    """For `json_each`, or to be kept."""
    return msgspec.json.encode(rows).decode()


def _place_of(item: LaneItem) -> int:
    return item.seq
