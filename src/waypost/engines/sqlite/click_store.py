"""The click store in SQLite: one file a day, keys that grow with time, retention by unlinking a day.

Owns: `clicks/DAY.db` and `clicks/positions.db`. A key within its day is ms 27 bits, door 12, sequence 14: 53 bits, an
SQLite rowid. A batch's clicks are committed before the positions, so a crash in between only applies them again.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from waypost.engines.sqlite.connection import connect, store_error, transaction
from waypost.errors import WaypostError
from waypost.model.ids import ClickKey
from waypost.ports.click_store import ClickRange

DAY_MS = 86_400_000
_LOOKUP = 256  # keys in one SELECT
_SELECT = f"SELECT key, data FROM clicks WHERE key IN ({','.join('?' * _LOOKUP)})"
_ABSENT = -1  # pads a SELECT: no key is negative


def _rowid(key: ClickKey) -> int:
    return key.ms % DAY_MS << 26 | key.door << 14 | key.seq


def _key(day: int, rowid: int) -> ClickKey:
    return ClickKey(day * DAY_MS + (rowid >> 26), rowid >> 14 & 0xFFF, rowid & 0x3FFF)


class SqliteClickStore:
    """See `ports.click_store.ClickStore`. Used by one thread."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self._folder = folder
        self._read_only = read_only
        self._days: dict[int, sqlite3.Connection] = {}
        if read_only and not (folder / "positions.db").exists():
            raise WaypostError("data_missing", "there is no click store", place=str(folder))
        self._positions = connect(folder / "positions.db", read_only=read_only)
        if not read_only:
            with transaction(self._positions, "click store"):
                self._positions.execute("CREATE TABLE IF NOT EXISTS positions (source TEXT PRIMARY KEY, position INT)")
                self._positions.execute(
                    "CREATE TABLE IF NOT EXISTS state"
                    " (one INTEGER PRIMARY KEY CHECK (one = 1), sources INT, dropped INT)"
                )
                if not self._positions.execute("SELECT count(*) FROM positions").fetchone()[0]:
                    self._positions.execute("INSERT OR IGNORE INTO state VALUES (1, 0, 0)")

    def apply(self, ranges: Sequence[ClickRange]) -> None:
        """See the port."""
        known = self.positions()
        by_day: dict[int, list[tuple[int, bytes]]] = {}
        for taken in ranges:
            if taken.start > known.get(taken.source, 0):
                raise WaypostError(
                    "store_out_of_order",
                    f"{taken.source} starts at {taken.start}, applied up to {known.get(taken.source, 0)}",
                    place="click store",
                )
            for key, data in taken.clicks:
                by_day.setdefault(key.ms // DAY_MS, []).append((_rowid(key), data))
        for day, rows in by_day.items():
            connection = self._day_for_writing(day)
            with transaction(connection, f"clicks of day {day}"):
                connection.executemany("INSERT OR IGNORE INTO clicks VALUES (?, ?)", rows)
        moved = [(taken.source, taken.end) for taken in ranges if taken.end > known.get(taken.source, 0)]
        if moved:
            with transaction(self._positions, "click store"):
                self._positions.executemany(
                    "INSERT INTO positions VALUES (?, ?) ON CONFLICT (source) DO UPDATE SET position=excluded.position",
                    moved,
                )
                self._positions.execute("UPDATE state SET sources=(SELECT count(*) FROM positions)")

    def positions(self) -> dict[str, int]:
        return dict(self._positions.execute("SELECT source, position FROM positions").fetchall())

    def get_many(self, keys: Sequence[ClickKey]) -> dict[ClickKey, bytes]:
        """See the port."""
        by_day: dict[int, dict[int, ClickKey]] = {}
        for key in keys:
            ms, door, seq = key
            day, in_day_ms = divmod(ms, DAY_MS)
            by_day.setdefault(day, {})[in_day_ms << 26 | door << 14 | seq] = key
        found: dict[ClickKey, bytes] = {}
        for day, wanted in by_day.items():
            connection = self._day(day)
            if connection is None:
                continue
            rowids = sorted(wanted)  # neighbours share pages
            try:
                for at in range(0, len(rowids), _LOOKUP):
                    part = rowids[at : at + _LOOKUP]
                    part += [_ABSENT] * (_LOOKUP - len(part))
                    for rowid, data in connection.execute(_SELECT, part):
                        found[wanted[rowid]] = data
            except sqlite3.Error as error:
                raise store_error(error, f"clicks of day {day}") from error
        return found

    def keys(self, start_ms: int = 0, end_ms: int = 1 << 42) -> Iterator[ClickKey]:
        """See the port."""
        for day in self.days():
            if (day + 1) * DAY_MS <= start_ms or day * DAY_MS >= end_ms:
                continue
            connection = self._day(day)
            if connection is None:
                continue
            for (rowid,) in connection.execute("SELECT key FROM clicks ORDER BY key"):
                key = _key(day, rowid)
                if start_ms <= key.ms < end_ms:
                    yield key

    def days(self) -> Iterable[int]:
        return sorted(int(file.stem) for file in self._folder.glob("*.db") if file.stem.isdigit())

    def drop_before(self, day: int) -> list[int]:
        """See the port. The day is recorded first: a crash leaves files to drop again, never a day half known."""
        dropped = [held for held in self.days() if held < day]
        if dropped:
            with transaction(self._positions, "click store"):
                self._positions.execute("UPDATE state SET dropped=max(dropped, ?)", (day,))
            for held in dropped:
                connection = self._days.pop(held, None)
                if connection is not None:
                    connection.close()
                for end in ("-shm", "-wal", ""):
                    (self._folder / f"{held:06d}.db{end}").unlink(missing_ok=True)
        return dropped

    def dropped_before(self) -> int:
        found = self._positions.execute("SELECT dropped FROM state").fetchone()
        return int(found[0]) if found else 0

    def problems(self) -> list[str]:
        """The state row and the count of sources; which clicks ought to be here only the journals know."""
        found = self._positions.execute("SELECT sources FROM state").fetchone()
        if found is None:
            return ["click store: the row of state is missing"]
        held = len(self.positions())
        if held != found[0]:
            return [f"click store: {found[0]} sources have been applied, the positions of {held} are there"]
        return []

    def close(self) -> None:
        for connection in self._days.values():
            connection.close()
        self._days.clear()
        self._positions.close()

    def _file(self, day: int) -> Path:
        return self._folder / f"{day:06d}.db"

    def _day(self, day: int) -> sqlite3.Connection | None:
        connection = self._days.get(day)
        if connection is None and self._file(day).exists():
            opened = connect(self._file(day), read_only=self._read_only)
            if not opened.execute("SELECT count(*) FROM sqlite_master WHERE name = 'clicks'").fetchone()[0]:
                opened.close()  # its writer is making it
                return None
            connection = self._days[day] = opened
        return connection

    def _day_for_writing(self, day: int) -> sqlite3.Connection:
        connection = self._days.get(day)
        if connection is None:
            connection = self._days[day] = connect(self._file(day))
            with transaction(connection, f"clicks of day {day}"):
                connection.execute("CREATE TABLE IF NOT EXISTS clicks (key INTEGER PRIMARY KEY, data BLOB NOT NULL)")
        return connection
