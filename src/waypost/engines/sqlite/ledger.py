"""The ledger in SQLite: one file, one transaction a batch.

Owns: `ledger/ledger.db`. The log and the outbox are feeds in the same file, so a decision, its conversion, its caps
and its postbacks are committed together or not at all. Counters in `state` make the loss of any row visible.
Never judges anything.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from waypost.engines.sqlite.blocks import BlockTable
from waypost.engines.sqlite.connection import connect, store_error, transaction
from waypost.errors import WaypostError
from waypost.model.frames import Conversion, PostbackIn, ResendJob
from waypost.model.ids import ClickKey
from waypost.model.wire import decode_frame, encode_frame, join_block
from waypost.ports.feed import Block, Head
from waypost.ports.ledger import Keyed, LedgerChanges, Parked

LOG = "ledger-log"
OUTBOX = "outbox"
_LOOKUP = 128
_FORGET_MAX = 20_000
_BY_IDENTITY = f"SELECT data FROM conversions WHERE identity IN ({','.join('?' * _LOOKUP)})"
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS state (one INTEGER PRIMARY KEY CHECK (one = 1), next_batch INT, sources INT,"
    " conversions INT, caps INT, parked INT)",
    "CREATE TABLE IF NOT EXISTS positions (source TEXT PRIMARY KEY, position INT) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS conversions (receipt INTEGER PRIMARY KEY, identity BLOB NOT NULL, data BLOB NOT NULL)",
    "CREATE UNIQUE INDEX IF NOT EXISTS conversions_identity ON conversions (identity)",
    "CREATE TABLE IF NOT EXISTS caps (key TEXT PRIMARY KEY, counted INT) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS parked (source TEXT, position INT, parked_ms INT, due_ms INT, click_ms INT,"
    " click_door INT, call BLOB, PRIMARY KEY (source, position)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS fired (ms INT, door INT, seq INT, rule INT, PRIMARY KEY (ms, door, seq, rule))"
    " WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS fired_count (one INTEGER PRIMARY KEY CHECK (one = 1), counted INT)",
    "INSERT OR IGNORE INTO fired_count SELECT 1, 0 WHERE NOT EXISTS (SELECT 1 FROM fired)",
    "CREATE TABLE IF NOT EXISTS keyed (receipt INTEGER PRIMARY KEY, source TEXT, position INT, at_ms INT,"
    " content BLOB)",
    "CREATE INDEX IF NOT EXISTS keyed_at ON keyed (at_ms)",
    "CREATE TABLE IF NOT EXISTS keyed_count (one INTEGER PRIMARY KEY CHECK (one = 1), counted INT)",
    "INSERT OR IGNORE INTO keyed_count SELECT 1, 0 WHERE NOT EXISTS (SELECT 1 FROM keyed)",
    "CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS jobs_count (one INTEGER PRIMARY KEY CHECK (one = 1), counted INT)",
    "INSERT OR IGNORE INTO jobs_count SELECT 1, 0 WHERE NOT EXISTS (SELECT 1 FROM jobs)",
)


class SqliteFeedOfLedger:
    """A feed that stands in the ledger's file, read over a connection of its own."""

    def __init__(self, file: Path, name: str) -> None:
        self._file = file
        self._name = name
        self._connection: sqlite3.Connection | None = None
        self._table: BlockTable | None = None

    @property
    def name(self) -> str:
        return self._name

    def read(self, position: int, frames_max: int) -> list[Block]:
        """See `ports.feed.Feed.read`. Empty as long as there is no ledger."""
        try:
            table = self._opened()
            return table.read(position, frames_max) if table is not None else []
        except sqlite3.Error as error:
            raise store_error(error, self._name) from error

    def head(self) -> Head:
        try:
            table = self._opened()
            return table.head() if table is not None else Head(0, 0, 0)
        except sqlite3.Error as error:
            raise store_error(error, self._name) from error

    def problems(self) -> list[str]:
        try:
            table = self._opened()
            return table.problems() if table is not None else []
        except sqlite3.Error as error:
            return [f"{self._name}: {error}"]

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._table = None

    def _opened(self) -> BlockTable | None:
        if self._table is None and self._file.exists():
            connection = connect(self._file, read_only=True)
            found = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'parked'").fetchone()
            if not found[0]:
                connection.close()  # its writer is making it
                return None
            self._connection = connection
            self._table = BlockTable(connection, _prefix(self._name), self._name)
        return self._table


def _prefix(feed: str) -> str:
    return "log_" if feed == LOG else "outbox_"


class SqliteLedger:
    """See `ports.ledger.Ledger`. Used by one thread."""

    def __init__(self, file: Path, *, read_only: bool = False) -> None:
        self._file = file
        if read_only and not file.exists():
            raise WaypostError("data_missing", "there is no ledger", place=str(file))
        self._connection = connect(file, read_only=read_only)
        self._log = BlockTable(self._connection, _prefix(LOG), LOG)
        self._outbox = BlockTable(self._connection, _prefix(OUTBOX), OUTBOX)
        if not read_only:
            with transaction(self._connection, "ledger"):
                self._log.create(0)
                self._outbox.create(0)
                for statement in _SCHEMA:
                    self._connection.execute(statement)
                if not self._connection.execute("SELECT count(*) FROM positions").fetchone()[0]:
                    self._connection.execute("INSERT OR IGNORE INTO state VALUES (1, 1, 0, 0, 0, 0)")

    def apply(self, changes: LedgerChanges) -> None:
        """See the port."""
        record = changes.record
        expected = self.next_batch()
        if record.batch < expected:
            return
        if record.batch > expected:
            raise WaypostError("store_out_of_order", f"batch {record.batch}, expected {expected}", place="ledger")
        known = self.positions()
        for taken in record.ranges:
            if taken.start != known.get(taken.source, 0):
                raise WaypostError(
                    "store_out_of_order",
                    f"{taken.source} starts at {taken.start}, applied up to {known.get(taken.source, 0)}",
                    place="ledger",
                )
        frames = [encode_frame(record), *changes.decisions]
        if changes.before is not None:
            frames.append(encode_frame(changes.before))
        with transaction(self._connection, "ledger"):
            self._log.append(len(frames), record.now_ms, record.now_ms, join_block(frames))
            if changes.postbacks:
                data = join_block(changes.postbacks)
                self._outbox.append(len(changes.postbacks), record.now_ms, record.now_ms, data)
            self._write(changes)

    def _write(self, changes: LedgerChanges) -> None:
        many = self._connection.executemany
        many(
            "INSERT INTO conversions VALUES (?, ?, ?)",
            [(new.receipt, new.identity, encode_frame(new)) for new in changes.created],
        )
        many(
            "UPDATE conversions SET data=? WHERE receipt=?",
            [(encode_frame(changed), changed.receipt) for changed in changes.updated],
        )
        added = 0
        if changes.caps:
            added = many("INSERT OR IGNORE INTO caps VALUES (?, 0)", [(key,) for key in changes.caps]).rowcount
            many(
                "UPDATE caps SET counted=counted+? WHERE key=?",
                [(counted, key) for key, counted in changes.caps.items()],
            )
        many("INSERT OR REPLACE INTO parked VALUES (?, ?, ?, ?, ?, ?, ?)", [_parked_row(p) for p in changes.parked])
        many("DELETE FROM parked WHERE source=? AND position=?", changes.released)
        if changes.fired:
            rows = [(*click, rule) for click, rule in changes.fired]
            fresh = many("INSERT OR IGNORE INTO fired VALUES (?, ?, ?, ?)", rows).rowcount
            self._connection.execute("UPDATE fired_count SET counted=counted+?", (fresh,))
        if changes.keyed:
            self._note_keyed(changes.keyed)
        if changes.jobs:
            known = self.jobs([job.id for job in changes.jobs])
            many("INSERT OR REPLACE INTO jobs VALUES (?, ?)", [(job.id, encode_frame(job)) for job in changes.jobs])
            fresh = sum(job.id not in known for job in changes.jobs)
            self._connection.execute("UPDATE jobs_count SET counted=counted+?", (fresh,))
        many(
            "INSERT INTO positions VALUES (?, ?) ON CONFLICT (source) DO UPDATE SET position=excluded.position",
            [(taken.source, taken.end) for taken in changes.record.ranges],
        )
        self._connection.execute(
            "UPDATE state SET next_batch=?, sources=(SELECT count(*) FROM positions), conversions=conversions+?,"
            " caps=caps+?, parked=parked+?",
            (changes.record.batch + 1, len(changes.created), added, len(changes.parked) - len(changes.released)),
        )

    def _note_keyed(self, keyed: Sequence[Keyed]) -> None:
        many = self._connection.executemany
        gone = many("DELETE FROM keyed WHERE receipt=?", [(one.receipt,) for one in keyed]).rowcount
        rows = [(one.receipt, one.source, one.position, one.at_ms, one.content) for one in keyed]
        many("INSERT INTO keyed VALUES (?, ?, ?, ?, ?)", rows)
        self._connection.execute("UPDATE keyed_count SET counted=counted+?", (len(rows) - gone,))

    def positions(self) -> dict[str, int]:
        return dict(self._connection.execute("SELECT source, position FROM positions").fetchall())

    def next_batch(self) -> int:
        found = self._connection.execute("SELECT next_batch FROM state").fetchone()
        if found is None:
            raise WaypostError("store_corrupt", "the row of state is missing", place="ledger")
        return int(found[0])

    def conversions_by_identity(self, identities: Sequence[bytes]) -> dict[bytes, Conversion]:
        found: dict[bytes, Conversion] = {}
        for at in range(0, len(identities), _LOOKUP):
            part = list(identities[at : at + _LOOKUP])
            part += [b""] * (_LOOKUP - len(part))
            for (data,) in self._connection.execute(_BY_IDENTITY, part):
                conversion = _conversion(data)
                found[conversion.identity] = conversion
        return found

    def conversion(self, receipt: int) -> Conversion | None:
        found = self._connection.execute("SELECT data FROM conversions WHERE receipt=?", (receipt,)).fetchone()
        return _conversion(found[0]) if found else None

    def conversions(self) -> Iterator[Conversion]:
        for (data,) in self._connection.execute("SELECT data FROM conversions ORDER BY receipt"):
            yield _conversion(data)

    def caps(self) -> dict[str, int]:
        return dict(self._connection.execute("SELECT key, counted FROM caps").fetchall())

    def fired(self, clicks: Sequence[ClickKey]) -> dict[ClickKey, set[int]]:
        """See the port."""
        found: dict[ClickKey, set[int]] = {}
        keys = list(dict.fromkeys(clicks))
        for at in range(0, len(keys), _LOOKUP):
            part = keys[at : at + _LOOKUP]
            values = ",".join(["(?,?,?)"] * len(part))
            query = f"SELECT ms, door, seq, rule FROM fired WHERE (ms, door, seq) IN (VALUES {values})"
            for ms, door, seq, rule in self._connection.execute(query, [number for key in part for number in key]):
                found.setdefault(ClickKey(ms, door, seq), set()).add(rule)
        return found

    def forget_fired(self, below_ms: int) -> None:
        """See the port."""
        if self._connection.execute("SELECT 1 FROM fired WHERE ms < ? LIMIT 1", (below_ms,)).fetchone() is None:
            return
        with transaction(self._connection, "ledger"):
            gone = self._connection.execute("DELETE FROM fired WHERE ms < ?", (below_ms,)).rowcount
            self._connection.execute("UPDATE fired_count SET counted=counted-?", (gone,))

    def keyed(self, receipts: Sequence[int]) -> dict[int, Keyed]:
        """See the port."""
        found: dict[int, Keyed] = {}
        wanted = list(dict.fromkeys(receipts))
        for at in range(0, len(wanted), _LOOKUP):
            part = wanted[at : at + _LOOKUP]
            query = f"SELECT receipt, source, position, at_ms, content FROM keyed WHERE receipt IN ({_marks(part)})"
            for row in self._connection.execute(query, part):
                found[row[0]] = Keyed(*row)
        return found

    def forget_keyed(self, below_ms: int) -> None:
        """See the port."""
        if self._connection.execute("SELECT 1 FROM keyed WHERE at_ms < ? LIMIT 1", (below_ms,)).fetchone() is None:
            return
        oldest = "SELECT receipt FROM keyed WHERE at_ms < ? ORDER BY at_ms LIMIT ?"
        with transaction(self._connection, "ledger"):
            delete = f"DELETE FROM keyed WHERE receipt IN ({oldest})"
            gone = self._connection.execute(delete, (below_ms, _FORGET_MAX)).rowcount
            self._connection.execute("UPDATE keyed_count SET counted=counted-?", (gone,))

    def jobs(self, ids: Sequence[str] | None = None) -> dict[str, ResendJob]:
        """See the port."""
        execute = self._connection.execute
        if ids is None:
            if not execute("SELECT 1 FROM sqlite_master WHERE name = 'jobs'").fetchone():
                return {}  # the ledger is an older release's, and no pipeline of this one has opened it yet
            rows = execute("SELECT data FROM jobs ORDER BY id").fetchall()
        else:
            rows = [row for one in dict.fromkeys(ids) for row in execute("SELECT data FROM jobs WHERE id=?", (one,))]
        found = [decode_frame(data) for (data,) in rows]
        return {job.id: job for job in found if isinstance(job, ResendJob)}

    def parked(self) -> list[Parked]:
        rows = self._connection.execute("SELECT * FROM parked ORDER BY source, position").fetchall()
        found = []
        for source, position, parked_ms, due_ms, click_ms, click_door, data in rows:
            call = decode_frame(data)
            assert isinstance(call, PostbackIn)
            found.append(Parked(source, position, parked_ms, due_ms, click_ms, click_door, call))
        return found

    def log(self) -> SqliteFeedOfLedger:
        return SqliteFeedOfLedger(self._file, LOG)

    def outbox(self) -> SqliteFeedOfLedger:
        return SqliteFeedOfLedger(self._file, OUTBOX)

    def trim(self, log_below: int, outbox_below: int) -> None:
        with transaction(self._connection, "ledger"):
            self._log.trim(log_below)
            self._outbox.trim(outbox_below)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """See the port: a read transaction."""
        self._connection.execute("BEGIN")
        try:
            self._connection.execute("SELECT count(*) FROM state").fetchone()  # a snapshot begins with the first read
            yield
        finally:
            self._connection.execute("ROLLBACK")

    def problems(self) -> list[str]:
        """Gaps in the feeds, and counts that differ from what is held."""
        found = [*self._log.problems(), *self._outbox.problems()]
        state = self._connection.execute("SELECT sources, conversions, caps, parked FROM state").fetchone()
        if state is None:
            return [*found, "ledger: the row of state is missing"]
        for table, counted in zip(("positions", "conversions", "caps", "parked"), state, strict=True):
            held = self._connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            if held != counted:
                found.append(f"ledger: {counted} rows were written to {table}, {held} are held")
        for table in ("fired", "keyed", "jobs"):
            counted = self._connection.execute(f"SELECT counted FROM {table}_count").fetchone()
            held = self._connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            if counted is None or counted[0] != held:
                found.append(f"ledger: {counted[0] if counted else 'no'} rows were written to {table}, {held} are held")
        return found

    def close(self) -> None:
        self._connection.close()


def _marks(values: Sequence[int]) -> str:
    return ",".join("?" * len(values))


def _conversion(data: bytes) -> Conversion:
    found = decode_frame(data)
    assert isinstance(found, Conversion)
    return found


def _parked_row(parked: Parked) -> tuple[str, int, int, int, int, int, bytes]:
    return (
        parked.source,
        parked.position,
        parked.parked_ms,
        parked.due_ms,
        parked.click_ms,
        parked.click_door,
        encode_frame(parked.call),
    )
