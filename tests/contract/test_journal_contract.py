"""What every journal engine promises (`ports/feed.py`). A later engine is added to `ENGINES` and must pass as it is."""

import errno
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest

from support.clock import FakeClock
from support.crash import run_and_kill
from waypost.engines.segments.feed import SegmentFeeds
from waypost.engines.segments.journal import SegmentJournal
from waypost.engines.segments.mark import MarkWriter
from waypost.errors import WaypostError
from waypost.model.frames import OperatorChange
from waypost.model.wire import decode_block, encode_frame
from waypost.ports.feed import Feeds, Journal
from waypost.settings import JournalSettings, load_settings


class SegmentJournals:
    """The engine of plain files behind the suite."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = FakeClock(1_790_000_000_000)

    def settings(self, **changes: int) -> JournalSettings:
        return msgspec.structs.replace(load_settings(None, {}).journal, **changes)

    def writer(self, source: str = "door-0", **changes: int) -> Journal:
        return SegmentJournal(self.root, source, self.settings(**changes), self.clock)

    def feeds(self) -> Feeds:
        return SegmentFeeds(self.root)


ENGINES: dict[str, Callable[[Path], Any]] = {"segments": SegmentJournals}


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return ENGINES[request.param](tmp_path)


def frames(start: int, count: int) -> list[bytes]:
    return [encode_frame(OperatorChange(nth, "test", str(nth), "x" * 50)) for nth in range(start, start + count)]


def subjects(engine: Any, source: str = "door-0", start: int = 0, frames_max: int = 10_000) -> list[int]:
    feed = engine.feeds().open(source)
    found: list[int] = []
    position = start
    while blocks := feed.read(position, frames_max):
        for block in blocks:
            assert block.first == position
            found += [int(frame.subject) for frame in decode_block(block.data, block.count)]
            position = block.end
    feed.close()
    return found


def test_what_was_appended_is_read_in_order_with_positions(engine: Any) -> None:
    journal = engine.writer()
    assert journal.append(frames(0, 3), at_ms=1, watermark_ms=5) == 0
    assert journal.append(frames(3, 2), at_ms=2, watermark_ms=7) == 3
    assert journal.end == 5
    assert subjects(engine) == [0, 1, 2, 3, 4]
    assert subjects(engine, start=3) == [3, 4]
    head = engine.feeds().open("door-0").head()
    assert (head.first, head.end, head.watermark_ms) == (0, 5, 7)


def test_a_reader_sees_later_blocks_without_being_opened_again(engine: Any) -> None:
    journal = engine.writer()
    feed = engine.feeds().open("door-0")
    assert feed.read(0, 10) == []
    journal.append(frames(0, 1), at_ms=1, watermark_ms=1)
    assert [block.first for block in feed.read(0, 10)] == [0]
    assert feed.read(1, 10) == []
    journal.append(frames(1, 1), at_ms=1, watermark_ms=1)
    assert [block.first for block in feed.read(1, 10)] == [1]


def test_a_read_stops_at_the_bound_on_whole_blocks(engine: Any) -> None:
    journal = engine.writer()
    for nth in range(5):
        journal.append(frames(nth * 4, 4), at_ms=1, watermark_ms=1)
    feed = engine.feeds().open("door-0")
    assert sum(block.count for block in feed.read(0, 6)) == 8
    assert sum(block.count for block in feed.read(8, 1)) == 4


def test_a_reader_goes_to_and_fro_between_blocks_and_segments(engine: Any) -> None:
    journal = engine.writer(segment_bytes_max=60_000)
    starts = []
    for nth in range(300):
        starts.append(journal.append(frames(nth * 3, 1 + nth % 5), at_ms=nth, watermark_ms=nth))
    feed = engine.feeds().open("door-0")
    dice = random.Random(7)
    for _ in range(500):
        nth = dice.randrange(300)
        block = feed.read(starts[nth], 1 + dice.randrange(20))[0]
        assert (block.first, block.count, block.at_ms) == (starts[nth], 1 + nth % 5, nth)
        assert int(decode_block(block.data, block.count)[0].subject) == nth * 3


def test_a_heartbeat_moves_the_watermark_only(engine: Any) -> None:
    journal = engine.writer()
    journal.append(frames(0, 1), at_ms=1, watermark_ms=10)
    journal.heartbeat(at_ms=2, watermark_ms=50)
    head = engine.feeds().open("door-0").head()
    assert (head.end, head.watermark_ms) == (1, 50)
    journal.heartbeat(at_ms=2, watermark_ms=40)
    assert engine.feeds().open("door-0").head().watermark_ms == 50


def test_positions_and_time_go_on_after_reopening(engine: Any) -> None:
    journal = engine.writer()
    journal.append(frames(0, 2), at_ms=1, watermark_ms=99)
    journal.close()
    journal = engine.writer()
    assert (journal.end, journal.last_ms) == (2, 99)
    journal.append(frames(2, 1), at_ms=1, watermark_ms=100)
    assert subjects(engine) == [0, 1, 2]


def test_one_writer_only(engine: Any) -> None:
    journal = engine.writer()
    with pytest.raises(WaypostError) as caught:
        engine.writer()
    assert caught.value.code == "journal_in_use"
    journal.close()
    engine.writer().close()


def test_segments_are_rolled_read_across_and_trimmed_whole(engine: Any) -> None:
    journal = engine.writer(segment_bytes_max=1)
    for nth in range(6):
        journal.append(frames(nth, 1), at_ms=1, watermark_ms=nth)
    assert subjects(engine) == [0, 1, 2, 3, 4, 5]
    slow = engine.feeds().open("door-0")
    assert slow.read(0, 1)[0].first == 0
    assert journal.trim(3) == 3
    assert subjects(engine, start=3) == [3, 4, 5]
    with pytest.raises(WaypostError) as caught:
        subjects(engine, start=0)
    assert caught.value.code == "store_gap"
    assert journal.trim(10_000) == 5, "the segment that is written to is kept"
    journal.append(frames(6, 1), at_ms=1, watermark_ms=6)
    assert subjects(engine, start=5) == [5, 6]


def test_segments_are_rolled_by_age(engine: Any) -> None:
    journal = engine.writer(segment_age_ms=1000)
    journal.append(frames(0, 1), at_ms=engine.clock.now_ms(), watermark_ms=0)
    journal.append(frames(1, 1), at_ms=engine.clock.now_ms() + 1500, watermark_ms=0)
    assert journal.trim(1) == 1


def test_a_closed_segment_at_the_end_is_gone_on_from(engine: Any) -> None:
    """A writer that died between closing a segment and making the next one."""
    journal = engine.writer(segment_bytes_max=1)
    journal.append(frames(0, 1), at_ms=1, watermark_ms=1)
    journal.append(frames(1, 1), at_ms=1, watermark_ms=1)
    journal.close()
    for nth in range(3):
        journal = engine.writer(segment_bytes_max=1)
        assert journal.end == 2 + nth
        journal.append(frames(2 + nth, 1), at_ms=1, watermark_ms=1)
        journal.close()
    assert subjects(engine) == [0, 1, 2, 3, 4]


def test_a_position_inside_a_block_is_refused(engine: Any) -> None:
    engine.writer().append(frames(0, 3), at_ms=1, watermark_ms=1)
    with pytest.raises(WaypostError) as caught:
        engine.feeds().open("door-0").read(1, 10)
    assert caught.value.code == "store_gap"


def test_a_full_journal_refuses_and_takes_again_after_trimming(engine: Any) -> None:
    journal = engine.writer(segment_bytes_max=1, disk_bytes_max=60_000)
    with pytest.raises(WaypostError) as caught:
        for nth in range(100):
            journal.append(frames(nth, 1), at_ms=1, watermark_ms=1)
    assert caught.value.code == "journal_full"
    assert caught.value.spec.http_status == 503
    journal.trim(journal.end)
    journal.append(frames(100, 1), at_ms=1, watermark_ms=1)


def test_sources_appear_when_they_are_written(engine: Any) -> None:
    feeds = engine.feeds()
    assert feeds.sources() == []
    engine.writer("door-1").append(frames(0, 1), at_ms=1, watermark_ms=1)
    engine.writer("courier-0")
    assert feeds.sources() == ["courier-0", "door-1"]


@pytest.mark.parametrize("appends", [1, 3, 40])
def test_after_a_kill_all_that_was_acknowledged_is_there(engine: Any, appends: int) -> None:
    acknowledged = engine.root / "acknowledged"

    def work(die: Callable[[], None]) -> None:
        journal = engine.writer(segment_bytes_max=2000)
        for nth in range(appends):
            journal.append(frames(nth * 10, 10), at_ms=1, watermark_ms=nth)
            acknowledged.write_text(str(nth + 1))
        die()

    run_and_kill(work)
    assert subjects(engine) == list(range(int(acknowledged.read_text()) * 10))
    journal = engine.writer(segment_bytes_max=2000)
    journal.append(frames(journal.end, 1), at_ms=1, watermark_ms=100)
    assert subjects(engine) == list(range(appends * 10 + 1))
    assert engine.feeds().open("door-0").problems() == []


@pytest.mark.parametrize("written", [0, 1, 20, 100, 150])
def test_a_kill_within_a_commit_leaves_all_of_the_block_or_nothing(engine: Any, written: int) -> None:
    """Killed in the midst of the one call that writes, with so many bytes of the record in the file."""

    def work(die: Callable[[], None]) -> None:
        journal = engine.writer()
        journal.append(frames(0, 2), at_ms=1, watermark_ms=1)

        def write(descriptor: int, pieces: Sequence[bytes], offset: int) -> int:
            os.pwrite(descriptor, b"".join(pieces)[:written], offset)
            die()
            return 0

        with mock.patch.object(os, "pwritev", write):
            journal.append(frames(2, 2), at_ms=1, watermark_ms=1)

    run_and_kill(work)
    assert subjects(engine) == [0, 1]
    journal = engine.writer()
    assert journal.append(frames(2, 1), at_ms=1, watermark_ms=1) == 2
    assert subjects(engine) == [0, 1, 2]
    assert engine.feeds().open("door-0").problems() == []


def test_a_kill_between_the_write_and_its_telling_leaves_all_of_the_block_or_nothing(engine: Any) -> None:
    def work(die: Callable[[], None]) -> None:
        journal = engine.writer()
        journal.append(frames(0, 2), at_ms=1, watermark_ms=1)
        with mock.patch.object(MarkWriter, "write", lambda *_: die()):
            journal.append(frames(2, 2), at_ms=1, watermark_ms=1)

    run_and_kill(work)
    assert subjects(engine) in ([0, 1], [0, 1, 2, 3])
    journal = engine.writer()
    end = journal.end
    assert end in (2, 4)
    assert journal.append(frames(end, 1), at_ms=1, watermark_ms=1) == end
    assert subjects(engine) == list(range(end + 1))
    assert engine.feeds().open("door-0").problems() == []


@pytest.mark.parametrize("lost", [0, 1, 2])
@pytest.mark.parametrize("at", [0, 9, 30, 60])
def test_a_block_that_is_damaged_anywhere_is_a_problem_that_names_it(engine: Any, lost: int, at: int) -> None:
    journal = engine.writer()
    offsets = []
    for nth in range(3):
        offsets.append(journal._offset)
        journal.append(frames(nth * 2, 2), at_ms=1, watermark_ms=1)
    journal.close()
    (file,) = (engine.root / "door-0").glob("*.seg")
    data = bytearray(file.read_bytes())
    data[offsets[lost] + at] ^= 1
    file.write_bytes(data)
    (problem,) = engine.feeds().open("door-0").problems()
    assert problem == f"journal door-0: positions {lost * 2} to 5 are missing"
    with pytest.raises(WaypostError) as caught:
        subjects(engine)
    assert caught.value.code == "store_corrupt"


@pytest.mark.parametrize("size", [0, 100, 4096])
def test_a_mark_that_is_gone_or_damaged_is_a_problem_and_loses_nothing(engine: Any, size: int) -> None:
    journal = engine.writer()
    journal.append(frames(0, 2), at_ms=1, watermark_ms=1)
    journal.close()
    (engine.root / "door-0" / "mark").write_bytes(bytes(size))
    assert engine.feeds().open("door-0").problems() == ["journal door-0: its mark is missing or damaged"]
    assert subjects(engine) == [0, 1]
    journal = engine.writer()
    assert journal.append(frames(2, 1), at_ms=1, watermark_ms=1) == 2
    assert subjects(engine) == [0, 1, 2]
    assert engine.feeds().open("door-0").problems() == []


def test_the_loss_of_a_segment_is_a_problem(engine: Any) -> None:
    journal = engine.writer(segment_bytes_max=1)
    for nth in range(4):
        journal.append(frames(nth, 1), at_ms=1, watermark_ms=1)
    journal.close()
    sorted((engine.root / "door-0").glob("*.seg"))[1].unlink()
    assert "positions 0 to 1 are missing" not in engine.feeds().open("door-0").problems()
    assert "positions 1 to 1 are missing" in engine.feeds().open("door-0").problems()[0]


def test_a_write_that_fails_is_said_and_the_next_one_works(engine: Any) -> None:
    journal = engine.writer()
    journal.append(frames(0, 1), at_ms=1, watermark_ms=1)
    with mock.patch.object(os, "pwritev", side_effect=OSError(errno.ENOSPC, "no room")):
        with pytest.raises(WaypostError) as caught:
            journal.append(frames(1, 1), at_ms=1, watermark_ms=1)
        assert caught.value.code == "journal_unavailable"
    assert journal.append(frames(1, 1), at_ms=1, watermark_ms=1) == 1
    assert subjects(engine) == [0, 1]
