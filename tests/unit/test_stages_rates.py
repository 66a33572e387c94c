"""Rate limits: stages/rates.py."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.rates import most_within
from waypost.catalog.model import Rate
from waypost.stages.rates import Rates

NOW = 1_700_000_000_000
SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000


def taken(rates: Rates, now_ms: int, most: int = 10_000) -> int:
    """Takes all that may be begun at a moment."""
    count = 0
    while count < most and not rates.free_ms(now_ms):
        rates.take(now_ms)
        count += 1
    return count


def begun(rates: Rates, start_ms: int, end_ms: int, step_ms: int = 1) -> list[int]:
    """When requests were begun that were tried at every step."""
    return [ms for ms in range(start_ms, end_ms, step_ms) for _ in range(taken(rates, ms))]


def test_a_burst_and_then_the_pace() -> None:
    rates = Rates([Rate(10, SECOND, 3)])
    times = begun(rates, NOW, NOW + 1000)
    assert times[:5] == [NOW, NOW, NOW, NOW + 100, NOW + 200]
    assert times[-1] == NOW + 700  # the tenth
    assert rates.free_ms(NOW + 999) == NOW + 1000


def test_the_limit_holds_in_every_span_though_the_bucket_was_full() -> None:
    rates = Rates([Rate(100, SECOND, 100)])
    assert taken(rates, NOW) == 100
    assert rates.free_ms(NOW + 500) == NOW + SECOND  # the bucket alone would have had fifty again
    assert taken(rates, NOW + SECOND) == 100


@pytest.mark.parametrize("limit", [7, 100, 1000])
def test_what_is_allowed_is_used(limit: int) -> None:
    times = begun(Rates([Rate(limit, SECOND, 1)]), NOW, NOW + 10 * SECOND)
    assert 0.95 * limit * 10 <= len(times) <= limit * 10


def test_several_limits_hold_at_once() -> None:
    rates = Rates([Rate(10, SECOND, 10), Rate(30, MINUTE, 30)])
    times = begun(rates, NOW, NOW + 2 * MINUTE, 10)
    assert len(times) == 60
    assert (most_within(times, SECOND), most_within(times, MINUTE)) == (10, 30)


def test_a_day_survives_being_written_down() -> None:
    rate = Rate(1000, DAY, 1000)
    rates = Rates([rate])
    for _ in range(600):
        rates.take(NOW)
    assert rates.is_changed
    again = Rates([rate], rates.encoded())
    assert not rates.is_changed
    assert taken(again, NOW + HOUR) == 400
    assert again.free_ms(NOW + HOUR) == NOW + DAY
    assert len(again.encoded()) < 1500


def test_a_change_of_the_catalog_is_taken_over() -> None:
    rates = Rates([Rate(100, DAY, 100)])
    taken(rates, NOW)
    assert taken(Rates([Rate(150, DAY, 150)], rates.encoded()), NOW + 1) == 50
    assert taken(Rates([Rate(50, DAY, 50)], rates.encoded()), NOW + HOUR) == 0
    # A limit of another span knows what was begun within it.
    assert taken(Rates([Rate(120, HOUR, 120)], rates.encoded()), NOW + 1000) == 20
    assert taken(Rates([Rate(120, HOUR, 120)], rates.encoded()), NOW + 2 * HOUR) == 120


def test_a_clock_that_is_set_back_frees_nothing_and_stops_nothing() -> None:
    rates = Rates([Rate(10, HOUR, 10)])
    taken(rates, NOW)
    back = NOW - 5 * HOUR
    assert rates.free_ms(back) == back + HOUR
    assert taken(rates, back + HOUR) == 10


def test_what_is_begun_late_counts_once_and_from_then_on() -> None:
    rates = Rates([Rate(10, SECOND, 10), Rate(14, MINUTE, 14)])
    taken(rates, NOW, 3)
    taken(rates, NOW + 5, 4)
    rates.encoded()
    rates.late(NOW + 900, 4)
    assert rates.is_changed
    rates = Rates([Rate(10, SECOND, 10), Rate(14, MINUTE, 14)], rates.encoded())
    assert taken(rates, NOW + 1100) == 6
    assert taken(rates, NOW + 1900) == 1  # … and not four less: the minute's limit is used up
    assert rates.free_ms(NOW + 1900) == NOW + 900 + MINUTE  # within a 64th of a span all count as of the last


def test_the_pace_goes_on_from_what_was_begun_late() -> None:
    rates = Rates([Rate(10, SECOND, 2)])
    assert taken(rates, NOW) == 2
    rates.late(NOW + 5000, 2)
    assert rates.free_ms(NOW + 5000) == NOW + 5100


@pytest.mark.parametrize("state", [b"", b"\xc1", b"\x92\x01\x90", b"nonsense"])
def test_a_state_that_cannot_be_read_counts_as_nothing(state: bytes) -> None:
    assert taken(Rates([Rate(5, SECOND, 5)], state), NOW) == 5


_RATES = st.lists(
    st.builds(
        lambda limit, per, burst: Rate(limit, per, min(limit, burst)),
        st.integers(1, 60),
        st.sampled_from((SECOND, MINUTE, HOUR, DAY)),
        st.integers(1, 60),
    ),
    min_size=1,
    max_size=3,
)


@given(_RATES, st.integers(0, 1 << 32))
@settings(deadline=None, max_examples=120)
def test_no_limit_is_exceeded_in_any_span_over_kills(rules: list[Rate], seed: int) -> None:
    dice = random.Random(seed)
    rates, now_ms = Rates(rules), NOW
    times: list[int] = []
    for _ in range(300):
        now_ms += dice.choice((0, 1, 7, 300, 1100, 20_000, 2_000_000))
        count = taken(rates, now_ms, dice.randrange(1, 9))
        while count and dice.random() < 0.2:  # they go out only later
            now_ms += dice.choice((1, 300, 20_000))
            rates.late(now_ms, count)
        times += [now_ms] * count
        if dice.random() < 0.2:
            rates = Rates(rules, rates.encoded())
    for rule in rules:
        assert most_within(times, rule.per_ms) <= rule.limit
        assert max((times.count(ms) for ms in set(times)), default=0) <= rule.burst
