"""Caps: which counter a conversion falls into, and whether there is room.

Pure: the counters' values are the caller's. The period is that of the call's acceptance, in the cap's timezone.
"""

from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from waypost.catalog.model import Cap

_QUARTER_MS = 900_000


@lru_cache(maxsize=4096)
def _period(per: str, zone: str, quarter: int) -> str:
    """The name of the period that a quarter of an hour (counted since 1970) falls into."""
    if per == "total":
        return "total"
    moment = datetime.fromtimestamp(quarter * 900, UTC).astimezone(_zone(zone))
    if per == "hour":
        return f"{moment:%Y-%m-%dT%H}{moment:%z}"
    if per == "day":
        return f"{moment:%Y-%m-%d}"
    if per == "week":
        year, week, _ = moment.isocalendar()
        return f"{year}-W{week:02d}"
    return f"{moment:%Y-%m}"


def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)


def counter_key(cap: Cap, at_ms: int) -> str:
    """The ledger's key of the counter that a conversion at this time uses.

    Asked by quarters of an hour: no timezone's midnight falls inside one.
    """
    return f"{cap.key}@{_period(cap.per, cap.timezone, at_ms // _QUARTER_MS)}"
