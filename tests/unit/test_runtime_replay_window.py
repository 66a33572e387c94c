"""What stays for replay once everybody has read it: bounded by age and frames, kept over a restart."""

import msgspec

from support.feeds import MemoryFeed, MemoryJournal, MemoryPositions
from waypost.doors.trimming import Trimmer
from waypost.model.frames import OperatorChange
from waypost.runtime.replay_window import READER, ReplayWindow
from waypost.settings import load_settings
from waypost.telemetry.stats import Stats


def test_what_is_older_is_let_go() -> None:
    positions = MemoryPositions()
    window = ReplayWindow(positions, kept_ms=100, frames_max=10_000)
    floors = [window.note(at_ms, {"door-0": at_ms * 2})["door-0"] for at_ms in range(0, 400, 20)]
    assert floors[:6] == [0] * 6
    assert floors[-1] == 2 * (380 - 100)
    assert positions.of("door-0") == {READER: floors[-1]}


def test_frames_are_bounded_over_all_feeds() -> None:
    window = ReplayWindow(MemoryPositions(), kept_ms=10**9, frames_max=500)
    for at_ms in range(50):
        floor = window.note(at_ms, {"door-0": at_ms * 60, "outbox": at_ms * 40})
        assert at_ms * 100 - sum(floor.values()) <= 500
    assert sum(floor.values()) == 49 * 100 - 500


def test_a_restart_goes_on_keeping_what_was_kept() -> None:
    positions = MemoryPositions()
    positions.publish(READER, "door-0", 300)
    window = ReplayWindow(positions, kept_ms=100, frames_max=10_000)
    assert window.note(1_000, {"door-0": 900, "door-1": 50}) == {"door-0": 300, "door-1": 50}
    assert window.note(1_050, {"door-0": 950, "door-1": 60}) == {"door-0": 300, "door-1": 50}
    assert window.note(1_150, {"door-0": 999, "door-1": 70}) == {"door-0": 950, "door-1": 60}


def test_a_journal_near_its_bound_is_trimmed_without_regard_to_replay() -> None:
    class Big(MemoryJournal):
        bytes_on_disk = 0

    journal = Big(MemoryFeed("door-0"))
    for nth in range(10):
        journal.feed.put([OperatorChange(nth, "x", "y", "z")], at_ms=nth)
    positions = MemoryPositions()
    for reader, position in (("pipeline", 8), ("archivist", 6), (READER, 2)):
        positions.publish(reader, "door-0", position)
    settings = msgspec.structs.replace(load_settings(None, {}).journal, disk_bytes_max=1000, lag_alarm_share=0.5)
    stats = Stats("door-0")
    trimmer = Trimmer(journal, positions, settings, stats)
    trimmer.run()
    assert journal.feed.first == 2 and stats.values["journal_lag_frames"] == 4, "replay is no reader that lags"
    journal.bytes_on_disk = 600
    trimmer.run()
    assert journal.feed.first == 6
