"""The journal's writer on a disk that fails, at each call that it makes, and on a machine that lost its power."""

import errno
import os
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.clock import FakeClock
from support.crash import run_and_kill
from waypost.engines.segments import form, mark
from waypost.engines.segments import journal as engine
from waypost.engines.segments.feed import SegmentFeed, SegmentFeeds
from waypost.engines.segments.form import segments as starts_of
from waypost.engines.segments.journal import SegmentJournal
from waypost.engines.segments.room import ROOM_MAX, ROOM_MIN
from waypost.engines.segments.segment import Segment, behind
from waypost.errors import WaypostError
from waypost.model.frames import OperatorChange
from waypost.model.wire import decode_block, encode_frame
from waypost.settings import load_settings

SETTINGS = load_settings(None, {}).journal


def frames(*numbers: int, size: int = 50) -> list[bytes]:
    return [encode_frame(OperatorChange(nth, "test", str(nth), "x" * size)) for nth in numbers]


def numbers(feed: SegmentFeed, position: int = 0) -> list[int]:
    """What a reader finds from a position on."""
    found: list[int] = []
    while blocks := feed.read(position, 10_000):
        for block in blocks:
            assert block.first == position
            found += [int(frame.subject) for frame in decode_block(block.data, block.count)]
            position = block.end
    return found


def open_journal(folder: Path, **changes: int) -> SegmentJournal:
    return SegmentJournal(folder, "door-0", msgspec.structs.replace(SETTINGS, **changes), FakeClock(1_790_000_000_000))


def append(journal: SegmentJournal, *subjects: int, size: int = 50) -> int:
    return journal.append(frames(*subjects, size=size), at_ms=1, watermark_ms=max(subjects))


def refused(journal: SegmentJournal, *subjects: int) -> str:
    with pytest.raises(WaypostError) as caught:
        append(journal, *subjects)
    return caught.value.code


def segments(folder: Path) -> list[int]:
    return starts_of(folder / "door-0")


class Disk:
    """Calls of the operating system that fail as a disk does; `fails_at` names the call, "" mends the disk."""

    def __init__(self) -> None:
        self.fails_at = ""
        self.takes_effect = False  # whether the call has done its work when it says that it has not
        self.number = errno.EIO

    def call(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            if self.fails_at != name:
                return real(*arguments)
            if self.takes_effect:
                real(*arguments)
            raise OSError(self.number, os.strerror(self.number))

        return called


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    for name in ("pwritev", "pwrite", "ftruncate", "fsync"):
        monkeypatch.setattr(os, name, disk.call(name, getattr(os, name)))
    monkeypatch.setattr(engine, "sync_path", disk.call("sync_path", engine.sync_path))
    return disk


@pytest.mark.parametrize("takes_effect", [False, True])
def test_after_an_io_error_nothing_is_written_behind_it(tmp_path: Path, disk: Disk, takes_effect: bool) -> None:
    journal = open_journal(tmp_path)
    append(journal, 0, 1)
    reader = SegmentFeed(tmp_path, "door-0")
    assert numbers(reader) == [0, 1]
    disk.takes_effect, disk.fails_at = takes_effect, "pwritev"
    assert refused(journal, 100, 101, 102) == "journal_unavailable"
    assert numbers(reader, 2) == numbers(SegmentFeed(tmp_path, "door-0"), 2) == [], "nobody is shown what was refused"
    disk.fails_at = ""
    assert append(journal, 7) == 2
    assert segments(tmp_path) == [0, 2], "a new file from the error on"
    assert append(journal, 8) == 3
    assert numbers(SegmentFeed(tmp_path, "door-0")) == [0, 1, 7, 8]
    assert numbers(reader, 2) == [7, 8], "a reader that was open all the time sees the same"
    assert SegmentFeed(tmp_path, "door-0").problems() == []
    journal.close()
    again = open_journal(tmp_path)
    assert again.end == 4
    again.close()


@pytest.mark.parametrize("place", ["pwritev", "sync_path"])
def test_an_error_while_the_next_segment_is_begun_is_tried_again(tmp_path: Path, disk: Disk, place: str) -> None:
    journal = open_journal(tmp_path)
    append(journal, 0, 1, 2)
    disk.fails_at = "pwritev"
    assert refused(journal, 50) == "journal_unavailable"
    disk.fails_at = place
    for _ in range(3):
        assert refused(journal, 60) == "journal_unavailable"
    assert numbers(SegmentFeed(tmp_path, "door-0")) == [0, 1, 2]
    disk.fails_at = ""
    assert append(journal, 3) == 3
    assert append(journal, 4) == 4
    assert numbers(SegmentFeed(tmp_path, "door-0")) == [0, 1, 2, 3, 4]
    assert SegmentFeed(tmp_path, "door-0").problems() == []


@pytest.mark.parametrize("place", ["ftruncate", "fsync"])
def test_room_that_cannot_be_given_back_refuses_nobody(tmp_path: Path, disk: Disk, place: str) -> None:
    journal = open_journal(tmp_path, segment_bytes_max=1)
    for nth in range(3):
        disk.fails_at = "ftruncate"
        assert append(journal, nth) == nth
    disk.fails_at = place
    journal.close()
    disk.fails_at = ""
    assert segments(tmp_path) == [0, 1, 2]
    assert numbers(SegmentFeed(tmp_path, "door-0")) == [0, 1, 2]
    journal = open_journal(tmp_path)
    assert append(journal, 3) == 3
    assert segments(tmp_path) == [0, 1, 2, 3], "the last one was not ended well"


def test_an_error_at_a_heartbeat_counts_as_much(tmp_path: Path, disk: Disk) -> None:
    journal = open_journal(tmp_path)
    append(journal, 0)
    disk.fails_at = "pwritev"
    with pytest.raises(WaypostError):
        journal.heartbeat(at_ms=1, watermark_ms=50)
    assert SegmentFeeds(tmp_path).open("door-0").head().watermark_ms == 0
    disk.fails_at = ""
    journal.heartbeat(at_ms=1, watermark_ms=60)
    assert segments(tmp_path) == [0, 1]
    assert SegmentFeeds(tmp_path).open("door-0").head().watermark_ms == 60


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_want_of_room_makes_no_new_files(tmp_path: Path, disk: Disk, number: int) -> None:
    journal = open_journal(tmp_path)
    append(journal, 0)
    for nth in range(1, 6):
        disk.number, disk.fails_at = number, "pwritev"
        assert refused(journal, 100) == "journal_unavailable"
        disk.fails_at = ""
        append(journal, nth)
    assert segments(tmp_path) == [0]
    assert numbers(SegmentFeed(tmp_path, "door-0")) == [0, 1, 2, 3, 4, 5]


def test_what_was_refused_for_want_of_room_is_never_read_though_its_bytes_are_there(tmp_path: Path, disk: Disk) -> None:
    """Not even after a loss of power, when the records themselves say how far the journal goes."""
    journal = open_journal(tmp_path)
    append(journal, 0)
    disk.number, disk.takes_effect, disk.fails_at = errno.ENOSPC, True, "pwritev"
    refused(journal, *range(100, 140))
    disk.fails_at = ""
    append(journal, 1)
    journal._marks.close()  # type: ignore[union-attr]
    os.close(journal._lock)
    (tmp_path / "door-0" / "mark").unlink()
    assert numbers(SegmentFeed(tmp_path, "door-0")) == [0, 1]


def test_room_is_made_ahead_and_given_back(tmp_path: Path, disk: Disk) -> None:
    journal = open_journal(tmp_path)
    room, file = journal._room, tmp_path / "door-0" / f"{0:016d}.seg"
    append(journal, 0)
    small = file.stat().st_size
    assert small < 1000, "who writes little takes little"
    nth = 1
    while journal._offset < 200_000:
        append(journal, nth, size=2000)
        room.settle()
        nth += 1
        held = file.stat().st_size
        assert journal.bytes_on_disk >= held == max(room.until, journal._offset)
        if journal._written > 2 * ROOM_MIN:
            assert held - journal._offset >= min(ROOM_MAX, journal._written) // 2 - 3000, "before it is needed"
    disk.number, disk.fails_at = errno.ENOSPC, "pwrite"
    while journal._offset < held + 10_000:  # a disk too full to make room still takes what it can
        append(journal, nth, size=2000)
        nth += 1
    disk.fails_at = ""
    append(journal, nth, size=2000)
    assert file.stat().st_size > journal._offset, "made again where there is place for it"
    journal.close()
    assert file.stat().st_size == journal._offset
    assert numbers(SegmentFeed(tmp_path, "door-0")) == list(range(nth + 1))
    assert SegmentFeed(tmp_path, "door-0").problems() == []


def test_an_error_where_room_is_made_refuses_the_next_append_and_nothing_is_written_behind_it(
    tmp_path: Path, disk: Disk
) -> None:
    journal = open_journal(tmp_path)
    nth = 0
    while journal._written < ROOM_MIN:
        append(journal, nth, size=2000)
        nth += 1
    append(journal, nth, size=2000)
    journal._room.settle()
    disk.fails_at = "pwrite"  # the thread's call, and nobody's who appends within the room that there is
    following = nth + 1
    while journal._room.error is None:
        append(journal, following, size=2000)
        journal._room.settle()
        following += 1
    assert refused(journal, 10_000) == "journal_unavailable"
    disk.fails_at = ""
    assert append(journal, following, size=2000) == following
    assert segments(tmp_path) == [0, following]
    assert numbers(SegmentFeed(tmp_path, "door-0")) == list(range(following + 1))
    assert SegmentFeed(tmp_path, "door-0").problems() == []


def test_room_is_made_by_a_descriptor_of_its_own(tmp_path: Path) -> None:
    """The kernel tells each opening of a file once of a write that was lost: one told must not be told for another."""
    journal = open_journal(tmp_path)
    for nth in range(30):
        append(journal, nth, size=2000)
    journal._room.settle()
    assert journal._room._descriptor not in (-1, journal._descriptor)
    journal.close()
    assert journal._room._descriptor == -1 and journal._room._thread is None


def test_segments_end_while_room_is_made_for_them(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes_max=100_000)
    for nth in range(600):
        assert append(journal, nth, size=nth * 37 % 5000) == nth
    journal.close()
    starts = segments(tmp_path)
    assert len(starts) > 10
    assert numbers(SegmentFeed(tmp_path, "door-0")) == list(range(600))
    assert SegmentFeed(tmp_path, "door-0").problems() == []
    for start in starts:
        segment = Segment(form.segment_file(tmp_path / "door-0", start))
        offset = form.RECORDS_AT
        while (record := segment.record(offset, segment.size)) is not None:
            offset = behind(offset, record)
        assert offset == segment.size, "no room is left in one that has ended"
        segment.close()


def test_what_was_acknowledged_and_is_gone_is_never_written_over(tmp_path: Path, disk: Disk) -> None:
    journal = open_journal(tmp_path)
    append(journal, 0, 1, 2)
    disk.fails_at = "pwritev"
    assert refused(journal, 3) == "journal_unavailable"
    disk.fails_at = ""
    for file in (tmp_path / "door-0").glob("*.seg"):
        file.unlink()
    assert refused(journal, 3) == "journal_unavailable"
    assert refused(journal, 3) == "journal_unavailable"
    assert segments(tmp_path) == []


def test_a_writer_whose_lock_was_taken_from_it_writes_nothing(tmp_path: Path) -> None:
    """Somebody has removed the lock's file, and another writer has begun."""
    old = open_journal(tmp_path)
    append(old, 0)
    (tmp_path / "door-0" / "writer.lock").unlink()
    new = open_journal(tmp_path)
    append(new, 1)
    assert refused(old, 100) == "journal_unavailable"
    append(new, 2)
    old.close()
    append(new, 3)
    new.close()
    assert numbers(SegmentFeed(tmp_path, "door-0")) == [0, 1, 2, 3]
    assert SegmentFeed(tmp_path, "door-0").problems() == []


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
    """A block that does not fit is cut off in its midst, as on a full disk."""
    journal = open_journal(tmp_path)
    for nth in range(3):
        append(journal, nth)
    for more in (0, 10, 5000, 20_000):
        with file_size_limit(journal._offset + more), pytest.raises(WaypostError) as caught:
            journal.append(frames(999, size=200_000), at_ms=1, watermark_ms=1)
        assert caught.value.code == "journal_unavailable"
        assert numbers(SegmentFeed(tmp_path, "door-0")) == list(range(journal.end))
        append(journal, journal.end)
    assert numbers(SegmentFeed(tmp_path, "door-0")) == list(range(7))
    assert SegmentFeed(tmp_path, "door-0").problems() == []


@pytest.mark.parametrize("survivors", [0, 1, 2, 3])
def test_a_crash_between_two_unlinks_of_a_trim_is_harmless(tmp_path: Path, survivors: int) -> None:
    def work(die: Callable[[], None]) -> None:
        journal = open_journal(tmp_path, segment_bytes_max=1)
        for nth in range(5):
            append(journal, nth)
        left = [survivors]

        def unlink(path: Path, missing_ok: bool = False) -> None:
            if not left[0]:
                die()
            left[0] -= 1
            real(path, missing_ok=missing_ok)

        real = Path.unlink
        Path.unlink = unlink  # type: ignore[method-assign]
        journal.trim(3)
        die()

    run_and_kill(work)
    assert SegmentFeed(tmp_path, "door-0").problems() == []
    assert numbers(SegmentFeed(tmp_path, "door-0"), survivors) == list(range(survivors, 5))
    journal = open_journal(tmp_path)
    assert journal.trim(3) == 3
    assert segments(tmp_path) == [3, 4], "nothing is left over"
    append(journal, 5)
    assert numbers(SegmentFeed(tmp_path, "door-0"), 3) == [3, 4, 5]


def test_a_segment_whose_writer_died_is_not_written_on_in(tmp_path: Path) -> None:
    """It may have been killed between a write that failed and the next segment: nobody can know."""

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
    assert numbers(SegmentFeed(tmp_path, "door-0")) == [0, 1, 2, 3]
    assert SegmentFeed(tmp_path, "door-0").problems() == []


@pytest.mark.parametrize("stale", [0, 1, 3])
def test_records_behind_an_old_mark_are_taken_over_and_written_again(
    tmp_path: Path, stale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that went and came back while the machine ran: the mark is of this boot, and older than the records."""

    def work(die: Callable[[], None]) -> None:
        journal = open_journal(tmp_path)
        for nth in range(4):
            if nth == stale:
                (tmp_path / "old").write_bytes((tmp_path / "door-0" / "mark").read_bytes())
            append(journal, nth)
        journal.heartbeat(at_ms=1, watermark_ms=99)
        die()

    run_and_kill(work)
    (tmp_path / "door-0" / "mark").write_bytes((tmp_path / "old").read_bytes())
    assert numbers(SegmentFeed(tmp_path, "door-0")) == list(range(stale)), "what nobody has told of yet"
    written: list[int] = []
    real = engine.write_through

    def write_through(descriptor: int, pieces: Sequence[bytes], offset: int) -> None:
        written.append(offset)
        real(descriptor, pieces, offset)

    monkeypatch.setattr(engine, "write_through", write_through)
    journal = open_journal(tmp_path)
    assert len(written) == 4 - stale
    assert (journal.end, journal.last_ms) == (4, 99)
    assert append(journal, 4) == 4
    assert numbers(SegmentFeed(tmp_path, "door-0")) == [0, 1, 2, 3, 4]
    assert SegmentFeed(tmp_path, "door-0").problems() == []
    assert segments(tmp_path) == [0, 4]


def test_a_new_segment_that_holds_what_nobody_told_of_is_not_written_over(tmp_path: Path) -> None:
    """It cannot be by what this program does: then nothing is thrown away, and somebody is told."""
    killed_after(tmp_path, range(2))
    label, record = form.Label(2, 0, 7), b"\x91\x01"
    header = form.encode_header(label, 2, 1, 1, 1, record)
    (tmp_path / "door-0" / f"{2:016d}.seg").write_bytes(form.encode_label(label) + header + record)
    journal = open_journal(tmp_path)
    assert refused(journal, 5) == "journal_unavailable"
    with pytest.raises(WaypostError, match="holds what the mark does not know"):
        append(journal, 6)


def test_a_kill_between_a_new_segment_and_its_telling_is_harmless(tmp_path: Path) -> None:
    def work(die: Callable[[], None]) -> None:
        journal = open_journal(tmp_path, segment_bytes_max=1)
        append(journal, 0)
        mark.MarkWriter.write = lambda *_: die()  # type: ignore[method-assign]
        append(journal, 1)

    run_and_kill(work)
    assert segments(tmp_path) == [0, 1]
    reader = SegmentFeed(tmp_path, "door-0")
    assert numbers(reader) == [0]
    assert reader.problems() == []
    journal = open_journal(tmp_path)
    assert append(journal, 1) == 1
    assert numbers(reader, 1) == [1]
    assert numbers(SegmentFeed(tmp_path, "door-0")) == [0, 1]


def killed_after(folder: Path, appends: Sequence[int], heartbeat_ms: int = 0) -> None:
    """A writer that was killed, and left a mark of this boot."""

    def work(die: Callable[[], None]) -> None:
        journal = open_journal(folder)
        for nth in appends:
            append(journal, nth)
        if heartbeat_ms:
            journal.heartbeat(at_ms=1, watermark_ms=heartbeat_ms)
        die()

    run_and_kill(work)


@pytest.fixture
def power_lost(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on the machine has been started anew: marks that were not synced are of another boot."""
    return lambda: monkeypatch.setattr(mark, "_BOOT", bytes(range(16)))


@pytest.mark.parametrize("stale", [0, 1, 2, 3])
def test_after_a_loss_of_power_all_that_was_acknowledged_is_read_though_the_mark_is_old(
    tmp_path: Path, power_lost: Callable[[], None], stale: int
) -> None:
    """The mark on disk is the one that `stale` appends left; the segment has all three, and a torn one behind them."""
    folder = tmp_path / "door-0"
    killed_after(tmp_path, range(stale))
    old = (folder / "mark").read_bytes()
    file = folder / f"{0:016d}.seg"
    journal = open_journal(tmp_path / "whole")
    for nth in range(3):
        append(journal, nth)
    journal.heartbeat(at_ms=1, watermark_ms=77)
    journal.close()
    data = (tmp_path / "whole" / "door-0" / file.name).read_bytes()
    file.write_bytes(data + data[520:560])
    (folder / "mark").write_bytes(old)
    power_lost()
    reader = SegmentFeed(tmp_path, "door-0")
    assert numbers(reader) == [0, 1, 2]
    assert reader.head().watermark_ms == 77
    assert reader.problems() == []
    journal = open_journal(tmp_path)
    assert (journal.end, journal.last_ms) == (3, 77)
    assert append(journal, 80) == 3
    assert segments(tmp_path) == [0, 3]
    assert numbers(reader, 3) == [80], "a reader that was there before goes on"
    assert reader.problems() == []


def test_after_a_loss_of_power_what_was_acknowledged_and_is_gone_is_named_and_not_written_over(
    tmp_path: Path, power_lost: Callable[[], None]
) -> None:
    killed_after(tmp_path, range(5))
    file = tmp_path / "door-0" / f"{0:016d}.seg"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    power_lost()
    assert SegmentFeed(tmp_path, "door-0").problems() == ["journal door-0: positions 4 to 4 are missing"]
    with pytest.raises(WaypostError) as caught:
        open_journal(tmp_path)
    assert caught.value.code == "store_corrupt"
    assert "positions 4 to 4" in caught.value.detail


def test_after_a_loss_of_power_a_journal_without_segments_does_not_begin_anew(
    tmp_path: Path, power_lost: Callable[[], None]
) -> None:
    """Its mark knows that there was something: positions are never given twice."""
    killed_after(tmp_path, range(5))
    (tmp_path / "door-0" / f"{0:016d}.seg").unlink()
    power_lost()
    with pytest.raises(WaypostError, match="positions 0 to 4") as caught:
        open_journal(tmp_path)
    assert caught.value.code == "store_corrupt"
    assert segments(tmp_path) == []


def test_a_clean_end_holds_over_a_restart_of_the_machine(tmp_path: Path, power_lost: Callable[[], None]) -> None:
    journal = open_journal(tmp_path)
    append(journal, 0)
    journal.close()
    power_lost()
    journal = open_journal(tmp_path)
    append(journal, 1)
    assert segments(tmp_path) == [0]
    assert numbers(SegmentFeed(tmp_path, "door-0")) == [0, 1]


def test_a_mark_that_is_cut_off_leaves_the_one_before(tmp_path: Path) -> None:
    """A writer is killed while it writes the mark: whichever bytes of it are there, readers have one of two marks."""
    journal = open_journal(tmp_path)
    append(journal, 0)
    file = tmp_path / "door-0" / "mark"
    before = file.read_bytes()
    append(journal, 1)
    after = file.read_bytes()
    changed = [at for at in range(len(after)) if before[at] != after[at]]
    for cut in range(min(changed), max(changed) + 2):
        file.write_bytes(after[:cut] + before[cut:])
        assert numbers(SegmentFeed(tmp_path, "door-0")) in ([0], [0, 1])
        assert SegmentFeed(tmp_path, "door-0").problems() == []


def test_a_reader_that_goes_back_a_little_does_not_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline does so with each batch: it reads what it may not take yet."""
    journal = open_journal(tmp_path)
    for nth in range(2000):
        append(journal, nth, size=200)
    feed = SegmentFeed(tmp_path, "door-0")
    numbers(feed)
    looks = []
    real = Segment.header
    monkeypatch.setattr(Segment, "header", lambda *words: looks.append(words) or real(*words))
    for position in (1990, 1995, 1991, 1000, 1001):
        assert feed.read(position, 1)[0].first == position
    assert len(looks) < 5 * 16 * 1024 / 200 + 10, "no more than lies between two places that it remembers"


def test_segments_of_an_older_form_are_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "door-0"
    folder.mkdir()
    (folder / "0000000000000000.db").write_bytes(b"SQLite format 3")
    for refuse in (lambda: open_journal(tmp_path), lambda: SegmentFeeds(tmp_path).sources()):
        with pytest.raises(WaypostError) as caught:
            refuse()
        assert caught.value.code == "wire_version"
        assert "0000000000000000.db" in caught.value.detail


def test_a_segment_of_a_later_form_is_refused_by_name(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    append(journal, 0)
    journal.close()
    file = tmp_path / "door-0" / f"{0:016d}.seg"
    data = bytearray(file.read_bytes())
    data[7] += 1
    file.write_bytes(data)
    with pytest.raises(WaypostError) as caught:
        numbers(SegmentFeed(tmp_path, "door-0"))
    assert caught.value.code == "wire_version"


def test_a_folder_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    append(journal, 0)
    journal.close()
    with file_size_limit(0), pytest.raises(WaypostError):
        open_journal(tmp_path / "elsewhere")
    assert open_journal(tmp_path).end == 1, "and leaves no lock behind"
