"""Breaker and adaptive concurrency: stages/breaker.py, stages/adaptive.py."""

import random

from waypost.catalog.model import Breaker as Rule
from waypost.stages.adaptive import Adaptive
from waypost.stages.breaker import Breaker, BreakerState

NOW = 1_700_000_000_000
RULE = Rule(0.5, 10, 10_000, 1000, 8000)


def opened(rule: Rule = RULE, lane: int = 7) -> Breaker:
    breaker = Breaker(lane, rule)
    assert breaker.count(0, rule.calls, NOW)
    return breaker


def probe(breaker: Breaker, is_good: bool) -> int:
    """Waits until one may be begun, and ends it; answers when that was."""
    now_ms = max(breaker.until_ms, breaker.since_ms)
    assert breaker.free_ms(now_ms) == 0
    breaker.begin(now_ms)
    assert breaker.free_ms(now_ms) == -1  # one at a time
    breaker.ended(is_good, now_ms, now_ms + 1)
    return now_ms


def test_it_opens_at_its_share_of_enough_requests_within_the_window() -> None:
    breaker = Breaker(1, RULE)
    assert not breaker.count(0, 9, NOW)
    assert not breaker.count(9, 0, NOW + 1)
    assert breaker.share == 0.5
    assert not breaker.count(11, 0, NOW + 10)
    assert not breaker.count(0, 5, NOW + 20)
    assert not breaker.count(0, 9, NOW + 15_000)  # what was before is forgotten
    assert breaker.count(0, 1, NOW + 15_001)
    assert breaker.state is BreakerState.OPEN


def test_a_share_of_nothing_never_opens() -> None:
    breaker = Breaker(1, Rule(0.0, 1, 10_000, 1000, 8000))
    assert not breaker.count(0, 1000, NOW)
    assert breaker.share == 1.0


def test_pauses_double_up_to_the_longest_and_differ_by_lane() -> None:
    breaker = opened()
    pauses = []
    for _ in range(6):
        pauses.append(breaker.until_ms - breaker.since_ms)
        assert breaker.free_ms(breaker.until_ms - 1) == breaker.until_ms
        probe(breaker, False)
        assert breaker.state is BreakerState.OPEN
    for pause_ms, most_ms in zip(pauses, (1000, 2000, 4000, 8000, 8000, 8000), strict=True):
        assert 0.8 * most_ms <= pause_ms <= most_ms
    firsts = {opened(lane=lane).until_ms for lane in range(50)}
    assert len(firsts) > 30


def test_a_few_good_probes_close_it() -> None:
    breaker = opened()
    for _ in range(2):
        probe(breaker, True)
        assert breaker.state is BreakerState.HALF_OPEN
    probe(breaker, True)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.free_ms(breaker.since_ms) == 0
    # It opens again soon after: that is the same illness.
    assert breaker.count(0, 10, breaker.since_ms + 500)
    assert breaker.until_ms - breaker.since_ms >= 1600


def test_what_was_begun_before_says_nothing_of_a_probe() -> None:
    breaker = opened()
    assert breaker.free_ms(breaker.until_ms) == 0
    breaker.begin(breaker.until_ms)
    assert not breaker.ended(True, NOW, breaker.until_ms + 5)
    assert not breaker.ended(False, NOW, breaker.until_ms + 5)
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.free_ms(breaker.until_ms + 6) == -1
    breaker.abandon()
    assert breaker.free_ms(breaker.until_ms + 6) == 0


# --- adaptive concurrency ----------------------------------------------------------------------------


def rounds(adaptive: Adaptive, count: int, mean_us: float = 50_000, now_ms: int = NOW) -> None:
    for _ in range(count):
        adaptive.answers(adaptive.limit, mean_us, adaptive.limit, True)


def test_it_doubles_up_to_the_catalogs_limit_where_it_is_what_holds_back() -> None:
    adaptive = Adaptive(100, True)
    assert adaptive.limit == 16
    adaptive.answers(10, 50_000, 5, False)
    assert adaptive.limit == 16
    rounds(adaptive, 3)
    assert adaptive.limit == 100


def test_failures_halve_it_once_a_round_and_never_below_one() -> None:
    adaptive = Adaptive(64, True)
    rounds(adaptive, 5)
    for _ in range(64):
        adaptive.failed(NOW, NOW + 10)
    assert adaptive.limit == 32
    for later in range(1, 20):
        adaptive.failed(NOW + later * 100, NOW + later * 100)
    assert adaptive.limit == 1
    rounds(adaptive, 5)
    assert 1 < adaptive.limit <= 6  # one a round


def test_answers_that_take_longer_than_ever_shrink_it_and_get_used_to() -> None:
    adaptive = Adaptive(100, True)
    rounds(adaptive, 20, 30_000)
    rounds(adaptive, 20, 300_000)
    low = adaptive.limit
    assert low < 25
    rounds(adaptive, 400, 300_000)
    assert adaptive.limit > 4 * low


def test_jitter_of_a_few_milliseconds_is_no_illness() -> None:
    adaptive, dice = Adaptive(100, True), random.Random(1)
    for _ in range(500):
        rounds(adaptive, 1, dice.choice((500, 2000, 9000)))
    assert adaptive.limit == 100


def test_silence_shrinks_it_before_any_timeout() -> None:
    adaptive = Adaptive(64, True)
    rounds(adaptive, 5, 20_000)
    for now_ms in range(NOW, NOW + 8000, 100):
        adaptive.silent(64, NOW, now_ms)
    assert adaptive.limit == 1
    other = Adaptive(64, True)
    for now_ms in range(NOW, NOW + 8000, 100):
        other.silent(2, NOW, now_ms)  # two that take long are no proof
    assert other.limit == 16


def test_without_adapting_only_a_return_is_slow() -> None:
    adaptive = Adaptive(64, False)
    adaptive.failed(NOW, NOW)
    adaptive.silent(64, NOW, NOW + 60_000)
    assert adaptive.limit == 64
    adaptive.restart()
    assert adaptive.limit == 4
    rounds(adaptive, 4)
    assert adaptive.limit == 64


def test_a_change_of_the_catalog_is_taken_over() -> None:
    adaptive = Adaptive(64, True)
    rounds(adaptive, 5)
    adaptive.follow(10, True)
    assert adaptive.limit == 10
    adaptive.follow(40, True)
    rounds(adaptive, 3)
    assert adaptive.limit == 40
    adaptive.follow(80, False)
    assert adaptive.limit == 80
