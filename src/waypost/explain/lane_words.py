"""What an operator, or a partner's 410, has made of a lane, in words.

Owns: these words. Reads and writes nothing.
"""

from waypost.explain.times import time_text
from waypost.ports.lanes import LaneControl, LaneState


def control_text(control: LaneControl | None) -> str:
    """`paused by ann since 2026-01-31 12:00:00.123Z: their release`; empty for a lane that is open."""
    if control is None or control.state is LaneState.OPEN:
        return ""
    by = f" by {control.by}" if control.by else ""
    since = f" since {time_text(control.since_ms)}" if control.since_ms else ""
    return f"{control.state}{by}{since}" + (f": {control.why}" if control.why else "")
