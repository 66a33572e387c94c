"""Journals in SQLite: segment files per writer, one row a group commit, WAL with `synchronous=FULL`.

Owns: `journal/SOURCE/START.db` and the writer's lock beside them. A segment is named by its first position; when it
is closed the next one starts where it ends. Never decides who has finished reading: positions come from the caller.
Never waits for a reader, and never writes on in a segment that has met an I/O error
(docs/decisions/0016-journal-under-stress.md).
"""

import contextlib
import errno
import fcntl
import itertools
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from waypost.engines.local.durable import sync_path
from waypost.engines.sqlite.blocks import BlockTable
from waypost.engines.sqlite.connection import connect, store_error
from waypost.errors import WaypostError
from waypost.model.wire import join_block
from waypost.ports.clock import Clock
from waypost.ports.feed import Block, Head
from waypost.settings import JournalSettings

_SIDE_FILES = ("", "-wal", "-shm")
# Errors that say that nothing was written, and leave all that was fsynced before as it is.
_HARMLESS = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


def _segments(folder: Path) -> list[int]:
    """First positions of a journal's segments, in order."""
    if not folder.exists():
        return []
    return sorted(int(file.stem) for file in folder.glob("*.db") if file.stem.isdigit())


def _segment_file(folder: Path, start: int) -> Path:
    return folder / f"{start:016d}.db"


def _bytes_of(file: Path) -> int:
    return sum(side.stat().st_size for side in (Path(f"{file}{end}") for end in _SIDE_FILES) if side.exists())


def _is_harmless(error: BaseException | None) -> bool:
    if isinstance(error, WaypostError):
        error = error.__cause__
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _HARMLESS
    return isinstance(error, OSError) and error.errno in _NO_ROOM


class SqliteJournal:
    """The writer of one source. Used by one thread at a time."""

    def __init__(self, folder: Path, source: str, settings: JournalSettings, clock: Clock) -> None:
        self._folder = folder / source
        self._source = source
        self._settings = settings
        self._clock = clock
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._folder / "writer.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise WaypostError("journal_in_use", f"journal {source} has another writer", place=source) from error
        self._connection: sqlite3.Connection | None = None
        self._given_up: sqlite3.Connection | None = None  # what a failure left, until the segment is open anew
        self._is_doubtful = False  # whether the segment has met an I/O error, or its writer died
        self._start = self._end = self._rows = 0
        self._bytes = self._closed_bytes = 0
        self._last_ms = self._opened_ms = 0
        try:
            self._is_doubtful = self._ended_badly()
            self._open_last()
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise store_error(error, str(self._folder)) from error

    @property
    def source(self) -> str:
        return self._source

    @property
    def end(self) -> int:
        return self._end

    @property
    def last_ms(self) -> int:
        return self._last_ms

    @property
    def bytes_on_disk(self) -> int:
        """Bytes of all segments, as known without asking the disk."""
        return self._closed_bytes + self._bytes

    def append(self, frames: Sequence[bytes], *, at_ms: int, watermark_ms: int) -> int:
        """See `ports.feed.Journal.append`."""
        self._check_room()
        data = join_block(frames)
        try:
            self._prepare(at_ms)
            first = self._end
            self._table.append_at(self._rows + 1, first, len(frames), at_ms, watermark_ms, data)
        except (sqlite3.Error, OSError, WaypostError) as error:
            raise self._failed(error) from error
        self._rows += 1
        self._end = first + len(frames)
        self._bytes += len(data) + 64
        self._last_ms = max(self._last_ms, watermark_ms)
        return first

    def heartbeat(self, *, at_ms: int, watermark_ms: int) -> None:
        """See `ports.feed.Journal.heartbeat`."""
        try:
            self._prepare(at_ms)
            self._table.move_watermark(watermark_ms)
        except (sqlite3.Error, OSError, WaypostError) as error:
            raise self._failed(error) from error
        self._last_ms = max(self._last_ms, watermark_ms)
        self._check_room()  # the watermark moves all the same: readers must get on

    def trim(self, below: int) -> int:
        """See `ports.feed.Journal.trim`. The segment that is written to is never dropped."""
        starts = _segments(self._folder)
        for start, following in itertools.pairwise(starts):
            if following > below:
                break
            for end in _SIDE_FILES:  # the file itself first: a segment is there whole, or is none
                Path(f"{_segment_file(self._folder, start)}{end}").unlink(missing_ok=True)
        kept = _segments(self._folder)
        for left in self._folder.glob("*.db-*"):  # by a crash between two of these unlinks
            start_text = left.name.partition(".")[0]
            if start_text.isdigit() and int(start_text) < kept[0]:
                left.unlink(missing_ok=True)
        self._closed_bytes = sum(_bytes_of(_segment_file(self._folder, start)) for start in kept[:-1])
        return kept[0]

    def close(self) -> None:
        if self._connection is not None and not self._is_doubtful:
            self._checkpoint()  # an empty log says to the next writer that this one ended well
        for connection in (self._connection, self._given_up):
            if connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    connection.close()
        self._connection = self._given_up = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _failed(self, error: Exception) -> WaypostError:
        """Gives up the connection, whose state is unknown now; the next append opens the segment anew.

        It stays open until then: SQLite has not shown the refused block to anybody, and goes on so while one
        connection lives. With none left, the next to come would read the log from the disk, and might find it.
        """
        self._is_doubtful |= not _is_harmless(error)
        if self._given_up is None:
            self._given_up = self._connection
            if self._given_up is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._given_up.rollback()  # and with it the lock
        elif self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None
        return WaypostError("journal_unavailable", str(error), place=self._source)

    def _check_room(self) -> None:
        held, bound = self.bytes_on_disk, self._settings.disk_bytes_max
        if held > bound:
            raise WaypostError("journal_full", f"{held} bytes, the bound is {bound}", place=self._source)

    def _prepare(self, at_ms: int) -> None:
        """Opens the segment anew after a failure, and begins the next one when it is time."""
        if self._connection is None:
            self._reopen()
        if self._rows and (
            self._is_doubtful
            or self._bytes >= self._settings.segment_bytes_max
            or at_ms - self._opened_ms >= self._settings.segment_age_ms
        ):
            self._roll()
        self._is_doubtful = False

    def _reopen(self) -> None:
        """Opens anew what a failure left."""
        acknowledged = self._end
        self._open_last()
        if self._end < acknowledged:
            lost = f"positions {self._end} to {acknowledged - 1} were acknowledged and are gone"
            self._end = acknowledged
            raise WaypostError("store_corrupt", lost, place=self._source)
        if self._given_up is not None:
            with contextlib.suppress(sqlite3.Error):
                self._given_up.close()
            self._given_up = None

    def _ended_badly(self) -> bool:
        """Whether the writer before left a log: it died, or a reader was at it (which cannot be told apart)."""
        starts = _segments(self._folder)
        log = Path(f"{_segment_file(self._folder, starts[-1])}-wal") if starts else None
        return log is not None and log.exists() and log.stat().st_size > 0

    def _open_last(self) -> None:
        starts = _segments(self._folder)
        start = starts[-1] if starts else 0
        self._open(start)
        if self._table.head_row().closed:
            self._open(self._end)
        self._closed_bytes = sum(_bytes_of(_segment_file(self._folder, old)) for old in starts if old != self._start)

    def _open(self, start: int) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()
        file = _segment_file(self._folder, start)
        is_new = not file.exists()
        self._connection = connect(file)
        self._table = BlockTable(self._connection, "", f"journal {self._source}")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._table.create(start)
            self._table.move_watermark(self._last_ms)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise store_error(error, str(file)) from error
        if is_new:
            sync_path(self._folder)
        head = self._table.head_row()
        self._start = start
        self._end = head.end
        self._rows = head.rows
        self._last_ms = max(self._last_ms, head.watermark_ms)
        self._bytes = _bytes_of(file)
        self._opened_ms = self._clock.now_ms()

    def _roll(self) -> None:
        """Closes the segment, which takes an fsync of all that it holds that succeeds, and begins the next."""
        assert self._connection is not None
        self._connection.execute("BEGIN IMMEDIATE")
        self._table.close_segment()
        self._connection.execute("COMMIT")
        self._checkpoint()
        closed = _bytes_of(_segment_file(self._folder, self._start))
        self._open(self._end)
        self._closed_bytes += closed

    def _checkpoint(self) -> None:
        """Empties the log into the file, unless a reader is at it: one that stands still holds up nobody."""
        assert self._connection is not None
        with contextlib.suppress(sqlite3.Error):  # what is in the log is durable there
            self._connection.execute("PRAGMA busy_timeout=0")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


class SqliteFeed:
    """The reader of one source; opens segments as it goes along. Writes nothing."""

    def __init__(self, folder: Path, source: str) -> None:
        self._folder = folder / source
        self._name = source
        self._start = -1
        self._connection: sqlite3.Connection | None = None
        self._table: BlockTable | None = None

    @property
    def name(self) -> str:
        return self._name

    def read(self, position: int, frames_max: int) -> list[Block]:
        """See `ports.feed.Feed.read`; a read ends at a segment's end."""
        try:
            if (self._start < 0 or position < self._start) and not self._open_for(position):
                return []
            while True:
                assert self._table is not None
                if self._is_behind(position):
                    blocks = []
                else:
                    blocks = self._table.read(position, frames_max)
                if blocks:
                    return blocks
                head = self._table.head_row()
                if not (head.closed and position >= head.end and self._open_for(position)):
                    return []
        except sqlite3.Error as error:
            raise store_error(error, f"journal {self._name}") from error

    def head(self) -> Head:
        """See `ports.feed.Feed.head`."""
        starts = _segments(self._folder)
        if not starts:
            return Head(0, 0, 0)
        try:
            if self._start == starts[-1] and self._table is not None:
                last = self._table.head()
            else:
                last = self._head_of(starts[-1])
        except sqlite3.Error as error:
            raise store_error(error, f"journal {self._name}") from error
        return Head(starts[0], last.end, last.watermark_ms)

    def problems(self) -> list[str]:
        """Gaps within segments and between them."""
        found: list[str] = []
        starts = _segments(self._folder)
        end_before: int | None = None
        for start in starts:
            if end_before is not None and end_before != start:
                found.append(f"journal {self._name}: positions {end_before} to {start - 1} are missing")
            connection = connect(_segment_file(self._folder, start), read_only=True)
            try:
                table = BlockTable(connection, "", f"journal {self._name}")
                found.extend(table.problems())
                head = table.head_row()
                if not head.closed and start != starts[-1] and _segments(self._folder)[-1] != start:
                    found.append(f"journal {self._name}: segment {start} was never closed")
                end_before = head.end
            except WaypostError as error:
                found.append(str(error))
                end_before = None
            except sqlite3.Error as error:
                found.append(f"journal {self._name}: segment {start}: {error}")
                end_before = None
            finally:
                connection.close()
        return list(dict.fromkeys(found))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._table = None
        self._start = -1

    def _is_behind(self, position: int) -> bool:
        """Whether the segment ends before the position (the next one is not there yet)."""
        assert self._table is not None
        return position > self._table.head_row().end

    def _head_of(self, start: int) -> Head:
        connection = connect(_segment_file(self._folder, start), read_only=True)
        try:
            return BlockTable(connection, "", f"journal {self._name}").head()
        except (sqlite3.OperationalError, WaypostError):
            return Head(start, start, 0)  # its tables are being made
        finally:
            connection.close()

    def _open_for(self, position: int) -> bool:
        """Opens the segment that holds the position; False if it is not there yet."""
        starts = _segments(self._folder)
        if not starts:
            return False
        if position < starts[0]:
            raise WaypostError(
                "store_gap", f"position {position} was dropped; the first held is {starts[0]}", place=self._name
            )
        start = max(start for start in starts if start <= position)
        if start == self._start:
            return False
        connection = connect(_segment_file(self._folder, start), read_only=True)
        table = BlockTable(connection, "", f"journal {self._name}")
        try:
            table.head_row()
        except (sqlite3.OperationalError, WaypostError):
            connection.close()
            return False  # the writer has just made the file
        self.close()
        self._connection, self._table, self._start = connection, table, start
        return True


class SqliteFeeds:
    """The journals of a data folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def sources(self) -> list[str]:
        if not self._folder.exists():
            return []
        return sorted(entry.name for entry in self._folder.iterdir() if _segments(entry))

    def open(self, source: str) -> SqliteFeed:
        return SqliteFeed(self._folder, source)
