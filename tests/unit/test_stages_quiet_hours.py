"""Quiet hours and outages: stages/quiet_hours.py, stages/outage.py."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.catalog.model import Schedule
from waypost.stages.outage import WINDOW_MS, Outage
from waypost.stages.quiet_hours import QuietHours
from waypost.stages.targeting import is_open

NOW = 1_700_000_000_000
WEEK = (0, 1, 2, 3, 4, 5, 6)
BERLIN = ZoneInfo("Europe/Berlin")
MINUTE, HOUR = 60_000, 3_600_000


def ms(text: str, fold: int = 0, zone: ZoneInfo = BERLIN) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp() * 1000)


def quiet(*hours: tuple[int, int], days: tuple[int, ...] = WEEK, zone: str = "Europe/Berlin") -> QuietHours:
    return QuietHours([Schedule(zone, days, hours)])


@pytest.mark.parametrize(
    ("when", "end"),
    [
        ("2026-11-21 21:59", ""),
        ("2026-11-21 22:00", "2026-11-22 07:30"),
        ("2026-11-22 03:00", "2026-11-22 07:30"),
        ("2026-11-22 07:29:59", "2026-11-22 07:30"),
        ("2026-11-22 07:30", ""),
        ("2026-03-28 23:00", "2026-03-29 07:30"),  # the night has an hour less
        ("2026-10-24 23:00", "2026-10-25 07:30"),  # and one more
    ],
)
def test_a_night(when: str, end: str) -> None:
    assert quiet((22 * 60, 7 * 60 + 30)).end_ms(ms(when)) == (ms(end) if end else 0)


def test_an_hour_that_the_clock_skips_ends_the_quiet_at_once() -> None:
    half_past = quiet((90, 150))  # 01:30 to 02:30
    assert half_past.end_ms(ms("2026-03-29 01:45")) == ms("2026-03-29 03:00")


def test_an_hour_that_the_clock_has_twice_is_quiet_twice() -> None:
    two = quiet((120, 150))  # 02:00 to 02:30
    assert two.end_ms(ms("2026-10-25 02:10")) == ms("2026-10-25 02:30")
    assert two.end_ms(ms("2026-10-25 02:40")) == 0
    assert two.end_ms(ms("2026-10-25 02:10", fold=1)) == ms("2026-10-25 02:30", fold=1)


def test_days_and_several_schedules() -> None:
    weekend = QuietHours([Schedule("Europe/Berlin", (5, 6), ((0, 1440),)), Schedule("UTC", (6, 0), ((1380, 600),))])
    assert weekend.end_ms(ms("2026-11-21 12:00")) == ms("2026-11-23 10:00", zone=ZoneInfo("UTC"))
    assert weekend.end_ms(ms("2026-11-24 12:00")) == 0


def test_where_every_hour_is_quiet_it_is_asked_again() -> None:
    assert quiet((0, 1440)).end_ms(NOW) > NOW + 23 * HOUR


_ZONES = st.sampled_from(("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"))
_HOURS = st.lists(st.tuples(st.integers(0, 1439), st.integers(1, 1440)).filter(lambda h: h[0] != h[1]), min_size=1, max_size=3)  # fmt: skip  # noqa: E501


@given(_ZONES, _HOURS, st.sets(st.integers(0, 6), min_size=1), st.integers(ms("2026-01-01"), ms("2026-12-31")))
@settings(deadline=None, max_examples=150)
def test_the_end_is_the_first_minute_that_is_not_quiet(
    zone: str, hours: list[tuple[int, int]], days: set[int], now_ms: int
) -> None:
    schedule = Schedule(zone, tuple(sorted(days)), tuple(hours))
    end_ms = QuietHours([schedule]).end_ms(now_ms)
    start_ms = now_ms // MINUTE * MINUTE
    expected = next(
        (at for at in range(start_ms, start_ms + 9 * 24 * HOUR, MINUTE) if not is_open(schedule, ZoneInfo(zone), at)),
        -1,
    )
    assert end_ms == (0 if expected == start_ms else start_ms + 24 * HOUR if expected < 0 else expected)


# --- outages -----------------------------------------------------------------------------------------


def test_most_lanes_at_once_and_enough_of_them() -> None:
    outage = Outage(5)
    for lane in range(10):
        outage.heard(lane, NOW)
    for lane in range(7):
        outage.failed(lane, NOW + 100)
    assert not outage.is_on(NOW + 100, 0.8)
    outage.failed(7, NOW + 200)
    assert outage.is_on(NOW + 200, 0.8)
    assert not outage.is_on(NOW + 200, 0.0)
    assert not outage.is_on(NOW + 200, 1.0)
    assert outage.lanes()[:4] == [7, 9, 6, 8]
    outage.heard(3, NOW + 300)
    assert not outage.is_on(NOW + 300, 0.8)


def test_few_lanes_never() -> None:
    outage = Outage(5)
    for lane in range(4):
        for _ in range(50):
            outage.failed(lane, NOW)
    assert not outage.is_on(NOW, 0.8)


def test_what_was_long_ago_says_nothing() -> None:
    outage = Outage(5)
    for lane in range(20):
        outage.failed(lane, NOW)
    assert outage.is_on(NOW + WINDOW_MS - 1, 0.8)
    assert not outage.is_on(NOW + WINDOW_MS, 0.8)
    assert outage.lanes() == []
