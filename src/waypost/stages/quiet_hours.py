"""Hours in which a partner wants to hear nothing. Pure; time comes from the caller.

Owns: when such hours end. What an hour is and which days it belongs to is said in `stages/targeting.py`, by the wall
clock of the schedule's zone: hours that a clock skips are not quiet, hours that it goes through twice are quiet twice.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from waypost.catalog.model import Schedule
from waypost.stages.targeting import is_open

_MINUTE_MS = 60_000
_DAYS_AHEAD = 9
_ASK_AGAIN_MS = 24 * 3_600_000  # where every hour is quiet
_SHIFT_MS = 4 * 3_600_000  # no clock is moved by more at once


class QuietHours:
    """Of one lane."""

    def __init__(self, schedules: Sequence[Schedule]) -> None:
        self._schedules = [(schedule, ZoneInfo(schedule.timezone)) for schedule in schedules]
        self._minute = -1  # of the last answer
        self._end_ms = 0

    def end_ms(self, now_ms: int) -> int:
        """When the lane may send again; 0: now."""
        minute = now_ms // _MINUTE_MS
        if minute != self._minute:
            self._minute = minute
            self._end_ms = self._next(minute * _MINUTE_MS) if self._are(now_ms) else 0
        return self._end_ms

    def _are(self, ms: int) -> bool:
        return any(is_open(schedule, zone, ms) for schedule, zone in self._schedules)

    def _next(self, now_ms: int) -> int:
        """The first minute that is not quiet. Quiet hours end where one of the schedules says so, or at a shift."""
        ends = {
            end_ms
            for schedule, zone in self._schedules
            for end_ms in _ends(schedule, zone, now_ms)
            if end_ms > now_ms and not self._are(end_ms)
        }
        if not ends:
            return now_ms + _ASK_AGAIN_MS
        end_ms = min(ends)
        for _, zone in self._schedules:
            if _offset(zone, now_ms) != _offset(zone, end_ms):
                earlier = range(max(now_ms, end_ms - _SHIFT_MS), end_ms, _MINUTE_MS)
                return next((ms for ms in earlier if not self._are(ms)), end_ms)
        return end_ms


def _ends(schedule: Schedule, zone: ZoneInfo, now_ms: int) -> list[int]:
    """Whenever one of the schedule's spans may end within the next days."""
    today = _local(zone, now_ms).date()
    found = []
    for day in range(_DAYS_AHEAD):
        midnight = datetime.combine(today + timedelta(days=day), time(), zone)
        for _, minute in [*schedule.hours, (0, 0)]:  # a day that is not among theirs begins at midnight
            wall = midnight + timedelta(minutes=minute)
            found += [int(wall.replace(fold=fold).timestamp() * 1000) for fold in (0, 1)]
    return found


def _local(zone: ZoneInfo, ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone)


def _offset(zone: ZoneInfo, ms: int) -> timedelta | None:
    return _local(zone, ms).utcoffset()
