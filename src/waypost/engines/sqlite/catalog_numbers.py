"""The numbers of catalog things: assigned once at apply, kept for ever, in `catalog/numbers.db`.

Owns: that file. A number is never reused: a thing that disappears keeps its number, and has it again when it comes
back. Also keeps which versions were made, and which of them was announced.
Never drops a row.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

from waypost.engines.sqlite.connection import connect, store_error, transaction
from waypost.errors import WaypostError
from waypost.model.ids import ROUTES_MAX

_SCHEMA = """
CREATE TABLE IF NOT EXISTS numbers (kind TEXT, name TEXT, no INTEGER NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS numbers_by_no ON numbers (kind, no);
CREATE TABLE IF NOT EXISTS versions (
  version INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL, announced INTEGER NOT NULL
);
"""
_UNPLACED_MAX = ROUTES_MAX // 4  # routes of clicks that no offer takes; they count down from the largest number
_LIMITS = {"route": ROUTES_MAX - 1 - _UNPLACED_MAX, "unplaced": _UNPLACED_MAX}  # what fits into a click id
_NO_LIMIT = (1 << 53) - 1


class Numbers:
    """One applier at a time holds it (under the catalog's lock)."""

    def __init__(self, file: Path, *, read_only: bool = False) -> None:
        self._file = str(file)
        self._connection = connect(file, read_only=read_only)
        try:
            if not read_only:
                self._connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            self._connection.close()
            raise store_error(error, self._file) from error

    def assign(self, wanted: Mapping[str, Iterable[str]]) -> dict[str, dict[str, int]]:
        """By kind, the number of each name wanted; new ones get the next. One transaction, durable on return.

        Raises WaypostError `catalog_too_large` if a kind has no numbers left.
        """
        with transaction(self._connection, self._file):
            return {kind: self._assign(kind, names) for kind, names in wanted.items()}

    def _assign(self, kind: str, names: Iterable[str]) -> dict[str, int]:
        execute = self._connection.execute
        known: dict[str, int] = dict(execute("SELECT name, no FROM numbers WHERE kind = ?", (kind,)))
        (last,) = execute("SELECT coalesce(max(no), 0) FROM numbers WHERE kind = ?", (kind,)).fetchone()
        found: dict[str, int] = {}
        new: list[tuple[str, str, int]] = []
        for name in names:
            no = known.get(name)
            if no is None:
                last += 1
                no = known[name] = last
                new.append((kind, name, no))
            found[name] = no
        if last > _LIMITS.get(kind, _NO_LIMIT):
            detail = f"there are no numbers left for a {kind}: {_LIMITS.get(kind)} have been given out"
            raise WaypostError("catalog_too_large", detail, place=self._file)
        self._connection.executemany("INSERT INTO numbers VALUES (?, ?, ?)", new)
        return found

    def begin_version(self, fingerprint: str, at_least: int) -> int:
        """Takes the next version number, durably; never one that was taken before, nor one below `at_least`."""
        with transaction(self._connection, self._file):
            (last,) = self._connection.execute("SELECT coalesce(max(version), 0) FROM versions").fetchone()
            version = max(int(last) + 1, at_least)
            self._connection.execute("INSERT INTO versions VALUES (?, ?, 0)", (version, fingerprint))
        return version

    def fingerprint(self, version: int) -> str:
        """That of a version's content; empty if the version is not known here."""
        found = self._connection.execute("SELECT fingerprint FROM versions WHERE version = ?", (version,)).fetchone()
        return "" if found is None else str(found[0])

    def is_announced(self, version: int) -> bool:
        """Whether the version's activation was told to whoever keeps the operator's journal."""
        found = self._connection.execute("SELECT announced FROM versions WHERE version = ?", (version,)).fetchone()
        return found is None or bool(found[0])

    def mark_announced(self, version: int) -> None:
        with transaction(self._connection, self._file):
            self._connection.execute("UPDATE versions SET announced = 1 WHERE version = ?", (version,))

    def rows(self) -> list[tuple[str, str, int]]:
        """Every number: kind, name, number."""
        return list(self._connection.execute("SELECT kind, name, no FROM numbers ORDER BY kind, no"))

    def restore(self, rows: Iterable[tuple[str, str, int]]) -> None:
        """Takes numbers that were given out elsewhere; for a file that has none yet."""
        with transaction(self._connection, self._file):
            self._connection.executemany("INSERT INTO numbers VALUES (?, ?, ?)", rows)

    def close(self) -> None:
        self._connection.close()
