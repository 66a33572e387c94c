"""Caps: which counter a conversion falls into, and whether there is room.

Pure: the counters' values are the caller's. The period is that of the call's acceptance (of the click, where clicks
are counted), in the cap's timezone.
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


def period_end_ms(cap: Cap, at_ms: int) -> int | None:
    """When the period that `at_ms` falls into ends; None if it never does.

    Looked for among the periods' names, so that it is right where clocks are set forward or back.
    """
    if cap.per == "total":
        return None
    within = at_ms // _QUARTER_MS
    name = _period(cap.per, cap.timezone, within)
    beyond = within + 1
    while _period(cap.per, cap.timezone, beyond) == name:
        within, beyond = beyond, beyond + 2 * (beyond - at_ms // _QUARTER_MS)
    while beyond - within > 1:
        middle = (within + beyond) // 2
        if _period(cap.per, cap.timezone, middle) == name:
            within = middle
        else:
            beyond = middle
    return beyond * _QUARTER_MS


def offer_of_key(key: str) -> int:
    """The number of the offer that a counter's key belongs to; 0 if it is no offer's."""
    number = key.partition(":")[0].removeprefix("o")
    return int(number) if key.startswith("o") and number.isdecimal() else 0
