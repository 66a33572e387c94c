"""The tables of a shard of lanes, their forms, and the lock of whoever writes them.

Owns: the form of `lanes/shard-N.db` and how an older one is brought to it. Never changes an item.
"""

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Any

from waypost.engines.sqlite.connection import store_error
from waypost.errors import WaypostError
from waypost.ports.lanes import ItemState, LaneItem

FORM = 3  # of the tables; 1 had neither ranks, keys and reasons nor what an operator makes of lanes, 2 no flights

LANES_MASK = (1 << 61) - 1  # lane numbers have 60 bits: their sum is kept within this, for SQLite adds in 63

_TABLES = """
CREATE TABLE shard (
  one INTEGER PRIMARY KEY CHECK (one = 1), form INTEGER NOT NULL, shard INTEGER NOT NULL, shards INTEGER NOT NULL,
  fence INTEGER NOT NULL, outbox_end INTEGER NOT NULL, sources INTEGER NOT NULL,
  lanes INTEGER NOT NULL, lane_sum INTEGER NOT NULL, aloft TEXT NOT NULL DEFAULT '');
CREATE TABLE positions (source TEXT PRIMARY KEY, end INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE lanes (
  lane INTEGER PRIMARY KEY, taken INTEGER NOT NULL, removed INTEGER NOT NULL, queued INTEGER NOT NULL,
  in_flight INTEGER NOT NULL, dead INTEGER NOT NULL, seq_sum INTEGER NOT NULL, held INTEGER NOT NULL DEFAULT 0);
CREATE TABLE items (
  seq INTEGER PRIMARY KEY, lane INTEGER NOT NULL, id TEXT NOT NULL, state INTEGER NOT NULL, attempt INTEGER NOT NULL,
  due_ms INTEGER NOT NULL, first_ms INTEGER NOT NULL, unknown INTEGER NOT NULL, frame BLOB NOT NULL,
  rank INTEGER NOT NULL DEFAULT 0, key TEXT NOT NULL DEFAULT '', code TEXT NOT NULL DEFAULT '',
  excused INTEGER NOT NULL DEFAULT 0);
"""
_TABLES_OF_FORM_2 = """
CREATE INDEX items_in_flight ON items (seq) WHERE state = 1;
CREATE INDEX items_queued ON items (lane, rank, due_ms, seq) WHERE state = 0;
CREATE INDEX items_keyed ON items (lane, key, seq) WHERE key <> '';
CREATE INDEX items_ended ON items (lane, seq) WHERE state > 1;
CREATE TABLE controls (lane INTEGER PRIMARY KEY, control TEXT NOT NULL);
CREATE TABLE chores (number INTEGER PRIMARY KEY, chore TEXT NOT NULL);
CREATE TABLE buckets (lane INTEGER PRIMARY KEY, bucket BLOB NOT NULL);
"""
_TABLES_OF_FORM_3 = "CREATE TABLE flights (first INTEGER PRIMARY KEY, items BLOB NOT NULL);\n"
_FROM_FORM_1 = (
    "ALTER TABLE items ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;\n"
    "ALTER TABLE items ADD COLUMN key TEXT NOT NULL DEFAULT '';\n"
    "ALTER TABLE items ADD COLUMN code TEXT NOT NULL DEFAULT '';\n"
    "ALTER TABLE items ADD COLUMN excused INTEGER NOT NULL DEFAULT 0;\n"
    "ALTER TABLE lanes ADD COLUMN held INTEGER NOT NULL DEFAULT 0;\n"
    "DROP INDEX items_due;\n"
    "DROP INDEX items_in_flight;\n" + _TABLES_OF_FORM_2 + "UPDATE shard SET form = 2;\n"
)
_FROM_FORM_2 = (
    "ALTER TABLE shard ADD COLUMN aloft TEXT NOT NULL DEFAULT '';\n"
    + _TABLES_OF_FORM_3
    + "UPDATE shard SET form = 3;\n"
)
COLUMNS = "seq, lane, id, state, attempt, due_ms, first_ms, frame, unknown, rank, key, code, excused"


def sum_of_lanes(connection: sqlite3.Connection) -> tuple[int, int]:
    """How many lanes have a row, and the sum of their numbers."""
    count, low, high = connection.execute(
        "SELECT count(*), ifnull(sum(lane & 0x3fffffff), 0), ifnull(sum(lane >> 30), 0) FROM lanes"
    ).fetchone()
    return count, (low + (high << 30)) & LANES_MASK


def make_tables(connection: sqlite3.Connection) -> None:
    """An empty shard's tables, but for the shard's own row. Within a transaction."""
    execute_all(connection, _TABLES + _TABLES_OF_FORM_2 + _TABLES_OF_FORM_3)


def bring_to_form(connection: sqlite3.Connection, form: int) -> None:
    """Brings tables of an older form to this release's. Within a transaction."""
    if form < 2:
        execute_all(connection, _FROM_FORM_1)
    if form < 3:
        execute_all(connection, _FROM_FORM_2)


def take_lock(file: Path) -> int:
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


def execute_all(connection: sqlite3.Connection, script: str) -> None:
    for statement in filter(str.strip, script.split(";\n")):
        connection.execute(statement)


def item_of(row: tuple[Any, ...]) -> LaneItem:
    seq, lane, id, state, attempt, due_ms, first_ms, frame, unknown, *rest = row
    return LaneItem(seq, lane, id, ItemState(state), attempt, due_ms, first_ms, frame, bool(unknown), *rest)
