"""The journal's writer on a disk that fails: at each place of an append, before and after it has taken effect."""

import errno
import os
import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.clock import FakeClock
from support.crash import run_and_kill
from waypost.engines.sqlite import journal as engine
from waypost.engines.sqlite.journal import SqliteFeed, SqliteFeeds, SqliteJournal
from waypost.errors import WaypostError
from waypost.model.frames import OperatorChange
from waypost.model.wire import decode_block, encode_frame
from waypost.settings import load_settings

SETTINGS = load_settings(None, {}).journal


def frames(*numbers: int, size: int = 50) -> list[bytes]:
    return [encode_frame(OperatorChange(nth, "test", str(nth), "x" * size)) for nth in numbers]


def numbers(feed: SqliteFeed, position: int = 0) -> list[int]:
    """What a reader finds from a position on."""
    found: list[int] = []
    while blocks := feed.read(position, 10_000):
        for block in blocks:
            assert block.first == position
            found += [int(frame.subject) for frame in decode_block(block.data, block.count)]
            position = block.end
    return found


def open_journal(folder: Path, **changes: int) -> SqliteJournal:
    return SqliteJournal(folder, "door-0", msgspec.structs.replace(SETTINGS, **changes), FakeClock(1_790_000_000_000))


def append(journal: SqliteJournal, *subjects: int) -> int:
    return journal.append(frames(*subjects), at_ms=1, watermark_ms=max(subjects))


def refused(journal: SqliteJournal, *subjects: int) -> str:
    with pytest.raises(WaypostError) as caught:
        append(journal, *subjects)
    return caught.value.code


def segments(folder: Path) -> list[int]:
    return sorted(int(file.stem) for file in (folder / "door-0").glob("*.db"))


class FailingConnection(sqlite3.Connection):
    """Raises what SQLite raises when the disk does, at statements that begin with `fails_at`."""

    fails_at = ""
    takes_effect = False  # whether the statement has been carried out when it says that it has not
    code = sqlite3.SQLITE_IOERR_FSYNC

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        kind = type(self)
        if not kind.fails_at or not sql.startswith(kind.fails_at):
            return super().execute(sql, *values)
        if kind.takes_effect:
            super().execute(sql, *values)
        elif sql == "COMMIT":
            super().execute("ROLLBACK")
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = kind.code
        raise error


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FailingConnection]]:
    """The engine's connections, made to fail; `fails_at = ""` mends the disk."""

    class Disk(FailingConnection):
        pass

    def connect(file: Path, *, read_only: bool = False) -> sqlite3.Connection:
        if read_only:
            return real(file, read_only=True)
        with monkeypatch.context() as patched:
            made = sqlite3.connect
            patched.setattr(sqlite3, "connect", lambda *words, **options: made(*words, factory=Disk, **options))
            return real(file)

    real = engine.connect
    monkeypatch.setattr(engine, "connect", connect)
    yield Disk
    Disk.fails_at = ""


@pytest.mark.parametrize("takes_effect", [False, True])
def test_after_an_fsync_error_nothing_is_written_behind_it(
    tmp_path: Path, disk: type[FailingConnection], takes_effect: bool
) -> None:
    journal = open_journal(tmp_path)
    append(journal, 0, 1)
    reader = SqliteFeed(tmp_path, "door-0")
    assert numbers(reader) == [0, 1]
    disk.takes_effect, disk.fails_at = takes_effect, "INSERT INTO blocks"
    assert refused(journal, 100, 101, 102) == "journal_unavailable"
    disk.fails_at = ""
    end = 5 if takes_effect else 2  # its outcome is unknown to us; readers and writer agree on it
    assert append(journal, 7) == end
    assert segments(tmp_path) == [0, end], "a new file from the error on"
    assert append(journal, 8) == end + 1
    found = [0, 1, 100, 101, 102, 7, 8] if takes_effect else [0, 1, 7, 8]
    assert numbers(SqliteFeed(tmp_path, "door-0")) == found
    assert numbers(reader, 2) == found[2:], "a reader that was open all the time sees the same"
    assert SqliteFeed(tmp_path, "door-0").problems() == []
    journal.close()
    again = open_journal(tmp_path)
    assert again.end == len(found)
    again.close()


def test_a_refused_block_is_shown_to_nobody_while_the_segment_is_in_doubt(
    tmp_path: Path, disk: type[FailingConnection]
) -> None:
    """The log holds the block's bytes, but only recovery would find them: a connection stays, so there is none."""
    journal = open_journal(tmp_path)
    append(journal, 0)
    disk.fails_at = "INSERT INTO blocks"
    refused(journal, 100)
    refused(journal, 101)
    assert journal._given_up is not None
    assert numbers(SqliteFeed(tmp_path, "door-0")) == [0]
    disk.fails_at = ""
    append(journal, 1)
    assert journal._given_up is None
    assert numbers(SqliteFeed(tmp_path, "door-0")) == [0, 1]


@pytest.mark.parametrize("place", ["BEGIN", "COMMIT", "UPDATE head SET closed", "PRAGMA journal_mode"])
def test_an_error_while_the_segment_is_being_closed_or_opened_is_tried_again(
    tmp_path: Path, disk: type[FailingConnection], place: str
) -> None:
    journal = open_journal(tmp_path)
    append(journal, 0, 1, 2)
    disk.fails_at = "INSERT INTO blocks"
    assert refused(journal, 50) == "journal_unavailable"
    disk.fails_at = place
    for _ in range(3):
        assert refused(journal, 60) == "journal_unavailable"
    disk.fails_at = ""
    assert append(journal, 3) == 3
    assert append(journal, 4) == 4
    assert numbers(SqliteFeed(tmp_path, "door-0")) == [0, 1, 2, 3, 4]
    assert SqliteFeed(tmp_path, "door-0").problems() == []


def test_a_checkpoint_that_fails_refuses_nobody(tmp_path: Path, disk: type[FailingConnection]) -> None:
    """What it would copy is durable in the log."""
    journal = open_journal(tmp_path, segment_bytes_max=1)
    disk.fails_at = "PRAGMA wal_"
    for nth in range(3):
        assert append(journal, nth) == nth
    assert segments(tmp_path) == [0, 1, 2]
    assert numbers(SqliteFeed(tmp_path, "door-0")) == [0, 1, 2]


def test_an_error_at_a_heartbeat_counts_as_much(tmp_path: Path, disk: type[FailingConnection]) -> None:
    journal = open_journal(tmp_path)
    append(journal, 0)
    disk.fails_at = "UPDATE head"
    with pytest.raises(WaypostError):
        journal.heartbeat(at_ms=1, watermark_ms=50)
    disk.fails_at = ""
    journal.heartbeat(at_ms=1, watermark_ms=60)
    assert segments(tmp_path) == [0, 1]
    assert SqliteFeeds(tmp_path).open("door-0").head().watermark_ms == 60


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY])
def test_want_of_room_makes_no_new_files(tmp_path: Path, disk: type[FailingConnection], code: int) -> None:
    journal = open_journal(tmp_path)
    append(journal, 0)
    for nth in range(1, 6):
        disk.code, disk.fails_at = code, "INSERT INTO blocks"
        assert refused(journal, 100) == "journal_unavailable"
        disk.fails_at = ""
        append(journal, nth)
    assert segments(tmp_path) == [0]
    assert numbers(SqliteFeed(tmp_path, "door-0")) == [0, 1, 2, 3, 4, 5]


def test_what_was_acknowledged_and_is_gone_is_never_written_over(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    append(journal, 0, 1, 2)
    journal._failed(OSError(errno.EIO, "the disk is gone"))
    for file in (tmp_path / "door-0").glob("*.db*"):
        file.unlink()
    assert refused(journal, 3) == "journal_unavailable"
    assert refused(journal, 3) == "journal_unavailable"


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process may grow beyond it: writes fail, for real (EFBIG; Python ignores SIGXFSZ)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_writes_that_fail_for_real_lose_nothing_and_end_with_their_cause(tmp_path: Path) -> None:
    """A block that does not fit is cut off in the middle of the log, as on a full disk."""
    journal = open_journal(tmp_path)
    for nth in range(3):
        append(journal, nth)
    log = next((tmp_path / "door-0").glob("*-wal")).stat().st_size
    for limit in (log, log + 10, log + 5000, log + 20_000):
        with file_size_limit(limit), pytest.raises(WaypostError) as caught:
            journal.append(frames(999, size=200_000), at_ms=1, watermark_ms=1)
        assert caught.value.code == "journal_unavailable"
        assert numbers(SqliteFeed(tmp_path, "door-0")) == list(range(journal.end))
        append(journal, journal.end)
        log = max(file.stat().st_size for file in (tmp_path / "door-0").glob("*-wal"))
    assert numbers(SqliteFeed(tmp_path, "door-0")) == list(range(7))
    assert SqliteFeed(tmp_path, "door-0").problems() == []


def test_a_reader_that_stands_still_holds_up_neither_a_roll_nor_the_start(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes_max=1)
    append(journal, 0)
    (file,) = (tmp_path / "door-0").glob("*.db")
    reader = sqlite3.connect(f"file:{file}?mode=ro", uri=True, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM blocks").fetchone() == (1,)
    began_ms = os.times().elapsed * 1000
    for nth in range(1, 4):
        append(journal, nth)
    journal.close()
    journal = open_journal(tmp_path)
    assert os.times().elapsed * 1000 - began_ms < 5000, "half of what SQLite would wait for a lock"
    assert numbers(SqliteFeed(tmp_path, "door-0")) == [0, 1, 2, 3]
    assert reader.execute("SELECT count(*) FROM blocks").fetchone() == (1,)
    reader.close()


@pytest.mark.parametrize("survivors", [0, 1, 2, 3])
def test_a_crash_between_two_unlinks_of_a_trim_is_harmless(tmp_path: Path, survivors: int) -> None:
    def work(die: Callable[[], None]) -> None:
        journal = open_journal(tmp_path, segment_bytes_max=1)
        reader = SqliteFeed(tmp_path, "door-0")
        for nth in range(4):
            append(journal, nth)
            numbers(reader, nth)  # keeps logs beside the segments
        left = [survivors]

        def unlink(path: Path, missing_ok: bool = False) -> None:
            if not left[0]:
                die()
            left[0] -= 1
            real(path, missing_ok=missing_ok)

        real = Path.unlink
        Path.unlink = unlink  # type: ignore[method-assign]
        journal.trim(2)

    run_and_kill(work)
    assert SqliteFeed(tmp_path, "door-0").problems() == []
    first = 0 if survivors == 0 else 1
    assert numbers(SqliteFeed(tmp_path, "door-0"), first) == list(range(first, 4))
    journal = open_journal(tmp_path)
    assert journal.trim(2) == 2
    assert not [file for file in (tmp_path / "door-0").iterdir() if file.name < f"{2:016d}"], "nothing is left over"
    append(journal, 4)
    assert numbers(SqliteFeed(tmp_path, "door-0"), 2) == [2, 3, 4]


def test_a_segment_whose_writer_died_is_not_written_on_in(tmp_path: Path) -> None:
    """It may have been killed between a failed fsync and the closing of the segment: nobody can know."""

    def work(die: Callable[[], None]) -> None:
        journal = open_journal(tmp_path)
        append(journal, 0, 1)
        die()

    run_and_kill(work)
    journal = open_journal(tmp_path)
    append(journal, 2)
    assert segments(tmp_path) == [0, 2]
    journal.close()
    journal = open_journal(tmp_path)
    append(journal, 3)
    assert segments(tmp_path) == [0, 2], "this one had ended well"
    assert numbers(SqliteFeed(tmp_path, "door-0")) == [0, 1, 2, 3]
    assert SqliteFeed(tmp_path, "door-0").problems() == []


def test_a_folder_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    append(journal, 0)
    journal.close()
    with file_size_limit(0), pytest.raises(WaypostError):
        open_journal(tmp_path / "elsewhere")
    assert open_journal(tmp_path).end == 1, "and leaves no lock behind"
