"""How every SQLite engine opens its files, and how SQLite's errors become ours.

Owns: pragmas and the mapping of errors. Never keeps a connection itself.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waypost.errors import WaypostError

BUSY_TIMEOUT_MS = 10_000


def connect(file: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Opens a store's file: WAL, `synchronous=FULL`, explicit transactions.

    A commit is durable when it returns. Raises WaypostError `store_corrupt` or `data_unwritable`.
    """
    try:
        if read_only:
            connection = sqlite3.connect(
                f"file:{file}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
            )
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        if not read_only:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA cache_size=-65536")
        connection.execute("PRAGMA mmap_size=268435456")
        # Some builds have this on: each page that is freed is then overwritten with zeros, and written out for it.
        connection.execute("PRAGMA secure_delete=FAST")
    except (sqlite3.Error, OSError) as error:
        raise store_error(error, str(file)) from error
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection, place: str) -> Iterator[None]:
    """One write transaction; rolled back on any exception, SQLite's errors mapped."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise store_error(error, place) from error


def store_error(error: Exception, place: str) -> WaypostError:
    """The coded error for what SQLite or the file system said."""
    text = str(error)
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return WaypostError("store_corrupt", text, place=place)
    if "malformed" in text or "not a database" in text or "no such table" in text:
        return WaypostError("store_corrupt", text, place=place)
    return WaypostError("data_unwritable", text, place=place)
