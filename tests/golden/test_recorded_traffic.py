"""Traffic that was recorded once comes out the same, to the byte, under every later release.

A difference is a change of decisions or of what partners are sent. If it is meant, make the recording anew
(`tests/golden/make_recording.py` says how) and say in the changelog what changes.
"""

from golden.make_recording import GOLDEN
from support.replay_world import SETTINGS
from waypost.assembly import replay_recording
from waypost.cli.replay import report_text
from waypost.engines.sqlite.recording import SqliteRecording


def test_recorded_traffic_comes_out_the_same() -> None:
    report = replay_recording(GOLDEN, SETTINGS)
    assert report.is_same, report_text(report)
    info = SqliteRecording(GOLDEN).info
    assert (report.calls_same, report.postbacks_same, report.clicks) == (info.calls, info.postbacks, info.clicks)
    assert info.calls > 100 and info.postbacks > 40 and info.clicks > 50
