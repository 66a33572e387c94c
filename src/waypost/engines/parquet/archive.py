"""The archive as Parquet segments, written and read by DuckDB.

Owns: how rows become segments, how small segments are merged, and the views that SQL sees.
Reads and writes the archive's folder (layout: `segments.py`; columns: `tables.py`). One writer, held by a lock file;
any number of readers, none of which takes a lock. Never knows what a row means.

Rows go through newline-delimited JSON (bytes as base64) into `read_json` with explicit types: DuckDB has no faster way
in without pyarrow; 200,000 click rows take 0.6 s on one core, a small segment 5 ms, fsyncs apart.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from waypost.engines.parquet import segments as places
from waypost.engines.parquet.segments import Segment
from waypost.engines.parquet.tables import TABLES
from waypost.errors import WaypostError
from waypost.ports.archive import ArchiveRange
from waypost.settings import ArchiveSettings

_RELIST_MAX = 50  # readers start again so often when segments are merged under them
_NAMED_MAX = 20  # lost rows that are named one by one, a segment
_encoder = msgspec.json.Encoder()


class ParquetArchive:
    """`ports.archive.Archive` over a folder. An instance belongs to one thread."""

    def __init__(self, folder: Path, settings: ArchiveSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._lock: int | None = None
        self._viewed: list[Segment] | None = None
        self._tables: dict[Segment, frozenset[str]] = {}  # of the segments last seen
        spill = folder / f".spill-{os.getpid()}-{id(self):x}"  # with the data: rows are nobody else's business
        self._db = duckdb.connect(
            ":memory:",
            config={
                "threads": 1,
                "memory_limit": f"{settings.memory_mb_max}MB",
                "temp_directory": str(spill),  # made only when memory does not suffice, removed with the connection
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )

    # --- the writer ------------------------------------------------------------------------------------

    def apply(self, feed: str, start: int, end: int, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """See the port. A range costs a few ms and three fsyncs besides those of its files."""
        places.check_feed_name(feed)
        self._own()
        position = self.positions().get(feed, 0)
        if end <= position:
            return
        if start != position:
            raise WaypostError("store_out_of_order", f"archive stands at {position}, got [{start}, {end})", place=feed)
        filled = {table: rows for table, rows in tables.items() if rows}
        _check_rows(feed, start, end, filled)
        with _disk_errors(self._folder):
            temporary = places.prepare(self._folder, feed, start, end)
            source = temporary.parent / ".rows.json"
            for table, rows in filled.items():
                source.write_bytes(_encoder.encode_lines(rows))
                self._db.execute(_import_sql(feed, table, source, temporary / f"{table}.parquet"))
            source.unlink(missing_ok=True)
            places.publish(temporary)

    def compact(self) -> int:
        """Merges runs of small neighbours; answers how many segments went into larger ones."""
        self._own()
        merged = 0
        for feed in places.list_feeds(self._folder):
            held, _ = places.list_segments(self._folder, feed)
            for group in places.plan_merges(held, self._settings.compact_at, self._settings.rows_max):
                with _disk_errors(self._folder):
                    self._merge(feed, group)
                merged += len(group)
        return merged

    def _merge(self, feed: str, group: list[Segment]) -> None:
        start, end = group[0].start, group[-1].end
        temporary = places.prepare(self._folder, feed, start, end)
        rows = 0
        for table in TABLES:
            files = [segment.file(table) for segment in group if segment.file(table).exists()]
            if files:
                target = temporary / f"{table}.parquet"
                select = f"SELECT * FROM read_parquet({_list(files)}, union_by_name=true)"
                found = self._db.execute(f"COPY ({select}) TO {_text(target)} (FORMAT parquet, COMPRESSION zstd)")
                rows += found.fetchall()[0][0]
        if rows != end - start:
            raise WaypostError(
                "store_corrupt", f"segments of [{start}, {end}) hold {rows} rows", place=f"archive {feed}"
            )
        places.publish(temporary)
        for segment in group:
            places.discard(segment.folder)

    def _own(self) -> None:
        """Becomes the writer: takes the lock and removes what a crash left."""
        if self._lock is not None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._folder / ".writer", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise WaypostError("data_unwritable", str(error), place=str(self._folder)) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise WaypostError("data_in_use", "another archivist writes here", place=str(self._folder)) from error
        self._lock = lock
        with _disk_errors(self._folder):
            places.clean(self._folder)

    # --- readers ---------------------------------------------------------------------------------------

    def positions(self) -> dict[str, int]:
        found = {}
        for feed in places.list_feeds(self._folder):
            held, _ = places.list_segments(self._folder, feed)
            if held:
                found[feed] = held[-1].end
        return found

    def ranges(self) -> list[ArchiveRange]:
        found: list[ArchiveRange] = []
        for feed in places.list_feeds(self._folder):
            for segment in places.list_segments(self._folder, feed)[0]:
                if found and found[-1].feed == feed and found[-1].end == segment.start:
                    found[-1] = ArchiveRange(feed, found[-1].start, segment.end)
                else:
                    found.append(ArchiveRange(feed, segment.start, segment.end))
        return found

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        for _ in range(_RELIST_MAX):
            try:
                self._refresh_views()
                cursor = self._db.execute(sql, list(parameters))
                names = [column[0] for column in cursor.description or ()]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            except (duckdb.IOException, duckdb.InvalidInputException) as error:
                if self._held() == self._viewed:
                    raise WaypostError("store_corrupt", str(error), place=str(self._folder)) from error
                # segments were merged while the query began: look again
        raise self._unsteady()

    def problems(self) -> list[str]:
        """What is wrong inside: holes, overlaps, files that cannot be read, positions without a row or with two."""
        for _ in range(_RELIST_MAX):
            self._tables.clear()
            held = self._held_tables()
            found = self._hole_problems(held)
            counts = self._rows_by_folder(held, found)
            for segment in held:
                found.extend(self._segment_problems(segment, *counts.get(segment.folder, (0, 0))))
            if all(segment.folder.exists() for segment in held):
                return found
        raise self._unsteady()

    def close(self) -> None:
        self._db.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # --- inside ----------------------------------------------------------------------------------------

    def _held(self) -> list[Segment]:
        return [
            segment
            for feed in places.list_feeds(self._folder)
            for segment in places.list_segments(self._folder, feed)[0]
        ]

    def _held_tables(self) -> list[Segment]:
        """All segments in force, with the tables of each in `_tables`."""
        for _ in range(_RELIST_MAX):
            held = self._held()
            known = {segment: self._tables.get(segment) or places.tables_of(segment) for segment in held}
            self._tables = {segment: tables for segment, tables in known.items() if tables is not None}
            if len(self._tables) == len(held):
                return held
        raise self._unsteady()

    def _files(self, held: list[Segment], table: str) -> list[Path]:
        return [segment.file(table) for segment in held if table in self._tables[segment]]

    def _unsteady(self) -> WaypostError:
        return WaypostError("store_corrupt", "segments change faster than they can be read", place=str(self._folder))

    def _refresh_views(self) -> None:
        held = self._held_tables()
        if held == self._viewed:
            return
        for table, columns in TABLES.items():
            files = self._files(held, table)
            empty = ", ".join(f"NULL::{kind} AS {_name(name)}" for name, kind in {"feed": "VARCHAR", **columns}.items())
            select = f"SELECT {empty} WHERE false"
            if files:
                select += f" UNION ALL BY NAME SELECT * FROM read_parquet({_list(files)}, union_by_name=true)"
            self._db.execute(f"CREATE OR REPLACE VIEW {_name(table)} AS {select}")
        self._viewed = held

    def _hole_problems(self, held: list[Segment]) -> list[str]:
        found = []
        feed, end = "", 0
        for segment in held:
            if segment.folder.parent.name != feed:
                feed, end = segment.folder.parent.name, 0
            if segment.start > end:
                found.append(f"archive: {feed} positions {end} to {segment.start - 1} are missing")
            elif segment.start < end:
                found.append(f"archive: {feed} positions {segment.start} to {end - 1} are held twice")
            end = max(end, segment.end)
        return found

    def _rows_by_folder(self, held: list[Segment], found: list[str]) -> dict[Path, tuple[int, int]]:
        """Rows and the sum of their positions for each segment; files that cannot be read go to `found`."""
        counts: dict[Path, tuple[int, int]] = {}
        for table in TABLES:
            files = self._files(held, table)
            try:
                rows = self._counts(files)
            except duckdb.Error:
                rows = []
                for file in files:
                    try:
                        rows.extend(self._counts([file]))
                    except duckdb.Error as error:
                        if file.exists():
                            found.append(f"archive: {_place(file)} cannot be read: {str(error).splitlines()[0]}")
            for name, count, total in rows:
                folder = Path(name).parent
                before = counts.get(folder, (0, 0))
                counts[folder] = (before[0] + count, before[1] + total)
        return counts

    def _counts(self, files: list[Path]) -> list[tuple[str, int, int]]:
        if not files:
            return []
        sql = f"SELECT filename, count(*), sum(position) FROM read_parquet({_list(files)}, filename=true) GROUP BY ALL"
        return [(name, int(count), int(total or 0)) for name, count, total in self._db.execute(sql).fetchall()]

    def _segment_problems(self, segment: Segment, count: int, total: int) -> list[str]:
        whole = (segment.start + segment.end - 1) * segment.length // 2
        if count == segment.length and total == whole:
            return []
        times: dict[int, int] = {}
        for file in sorted(segment.folder.glob("*.parquet")):
            try:
                rows = self._db.execute("SELECT position FROM read_parquet(?)", [str(file)]).fetchall()
            except duckdb.Error:
                continue
            for (position,) in rows:
                times[position] = times.get(position, 0) + 1
        feed = segment.folder.parent.name
        lost = [position for position in range(segment.start, segment.end) if position not in times]
        odd = [position for position, seen in times.items() if seen > 1 or not segment.start <= position < segment.end]
        found = [f"archive: {feed} position {position} has no row" for position in lost[:_NAMED_MAX]]
        if len(lost) > _NAMED_MAX:
            found.append(f"archive: {feed} {len(lost)} positions of {_place(segment.folder)} have no row")
        found += [f"archive: {feed} position {position} is out of place or double" for position in odd[:_NAMED_MAX]]
        return found


def _check_rows(feed: str, start: int, end: int, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """One row for each position and the table's columns in each: anything else is the caller's mistake."""
    count = sum(len(rows) for rows in tables.values())
    if count != end - start:
        raise ValueError(f"{feed} [{start}, {end}) must give {end - start} rows, got {count}")
    for table, rows in tables.items():
        if rows[0].keys() != TABLES[table].keys():
            raise ValueError(f"columns of {table} are not those of its schema: {sorted(rows[0])}")


def _import_sql(feed: str, table: str, source: Path, target: Path) -> str:
    columns = TABLES[table]
    read = ", ".join(f"{_text(name)}: {_text('VARCHAR' if kind == 'BLOB' else kind)}" for name, kind in columns.items())
    select = ", ".join(
        f"from_base64({_name(name)}) AS {_name(name)}" if kind == "BLOB" else _name(name)
        for name, kind in columns.items()
    )
    rows = f"read_json({_text(source)}, format='newline_delimited', columns={{{read}}})"
    return (
        f"COPY (SELECT {_text(feed)} AS feed, {select} FROM {rows}) TO {_text(target)}"
        " (FORMAT parquet, COMPRESSION zstd)"
    )


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _name(name: str) -> str:
    return f'"{name}"'


def _list(files: Sequence[Path]) -> str:
    return "[" + ", ".join(_text(file) for file in files) + "]"


def _place(path: Path) -> str:
    return "/".join(path.parts[-3:] if path.suffix else path.parts[-2:])


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Maps the disk's and DuckDB's errors while writing to `data_unwritable`."""
    try:
        yield
    except (OSError, duckdb.Error) as error:
        raise WaypostError("data_unwritable", str(error).splitlines()[0], place=str(folder)) from error
