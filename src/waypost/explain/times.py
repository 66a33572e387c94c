"""Times as people read them. Pure."""

from datetime import UTC, datetime


def time_text(ms: int) -> str:
    """`2026-01-31 12:00:00.123Z`."""
    if ms <= 0:
        return "unknown time"
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}.{ms % 1000:03d}Z"
