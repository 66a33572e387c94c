"""A reader that lags: what is kept for it, and when it is named."""

from pathlib import Path

import msgspec

from support.clock import FakeClock
from waypost.doors.trimming import Trimmer
from waypost.engines.local.positions import FilePositions
from waypost.engines.segments.journal import SegmentJournal
from waypost.model.frames import OperatorChange
from waypost.model.wire import encode_frame
from waypost.settings import load_settings
from waypost.telemetry.stats import Stats


def test_a_lagging_reader_is_named_before_the_journal_is_full_and_again_when_it_has_caught_up(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(
        load_settings(None, {}).journal, segment_bytes_max=1, disk_bytes_max=600_000, lag_alarm_share=0.5
    )
    journal = SegmentJournal(tmp_path / "journal", "door-0", settings, FakeClock())
    positions = FilePositions(tmp_path / "positions")
    stats = Stats("door-0")
    trimmer = Trimmer(journal, positions, settings, stats)
    frame = encode_frame(OperatorChange(1, "test", "1", "x" * 5000))
    positions.publish("pipeline", "door-0", 0)
    trimmer.run()
    assert stats.values["journal_lag_alarm"] == 0

    while not stats.values["journal_lag_alarm"]:
        journal.append([frame], at_ms=1, watermark_ms=1)  # raises if the bound comes first
        positions.publish("pipeline", "door-0", journal.end)  # the archivist has said nothing at all
        trimmer.run()
    end = journal.end
    assert stats.values["journal_lag_frames"] == end
    assert journal.trim(0) == 0, "nothing was dropped that a reader has not finished with"
    assert 300_000 < journal.bytes_on_disk < 600_000

    positions.publish("archivist", "door-0", end - 1)
    trimmer.run()
    assert (stats.values["journal_lag_alarm"], stats.values["journal_lag_frames"]) == (0, 1)
    assert journal.trim(0) == end - 1
    journal.close()
