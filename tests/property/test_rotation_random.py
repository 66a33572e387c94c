"""Rotation: shares are those of the weights, arms stay, and what drops out moves nobody else."""

from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.catalog.model import Facet, Targeting
from waypost.model.facts import Facts
from waypost.stages.rotation import Kept, Rotation, first_by_user, mixed
from waypost.stages.targeting import Gate, Visit

COUNTRIES = ("DE", "FR", "US")
FIRST_MS = 1_790_000_000_000


class Arm(NamedTuple):
    route: int
    weight: int
    offer: int
    gates: tuple[tuple[str, Gate], ...] = ()


def arm(route: int, weight: int, *countries: str) -> Arm:
    facet = Facet("country", "text", countries)
    return Arm(route, weight, route + 100, (("", Gate(Targeting((facet,)), {})),) if countries else ())


ROWS = st.lists(st.tuples(st.integers(1, 9), st.sets(st.sampled_from(COUNTRIES))), min_size=1, max_size=6)
ARMS = ROWS.map(lambda rows: tuple(arm(no, weight, *sorted(wanted)) for no, (weight, wanted) in enumerate(rows, 1)))


def visit(nth: int, country: str = "DE") -> Visit:
    return Visit(FIRST_MS + nth // 16, f"192.0.{nth >> 8 & 255}.{nth & 255}", Facts.of({"country": country}), b"")


def chosen(arms: tuple[Arm, ...], by: str, nth: int, country: str = "DE", used_up: frozenset[int] = frozenset()) -> int:
    found, _ = Rotation(arms, by).choose(visit(nth, country), nth % 16, b"agent", used_up)
    return found.route if found is not None else 0


@given(ARMS, st.sampled_from(COUNTRIES), st.sampled_from(("weight", "order", "user")), st.integers(0, 60_000))
@settings(max_examples=300, deadline=None)
def test_who_is_chosen_can_take_the_click_and_the_others_say_why_not(
    arms: tuple[Arm, ...], country: str, by: str, nth: int
) -> None:
    rotation = Rotation(arms, by)
    used_up = frozenset({arms[nth % len(arms)].offer})
    for exhausted in (frozenset[int](), used_up):
        found, skipped = rotation.choose(visit(nth, country), nth % 16, b"agent", exhausted)
        codes = {}
        for one in arms:
            if any(gate.by_facts(visit(nth, country)) for _, gate in one.gates):
                codes[one.offer] = "country"
            elif one.offer in exhausted:
                codes[one.offer] = "cap_reached"
        assert dict(skipped) == codes and len(skipped) == len(codes)
        assert (found is None) == (len(codes) == len(arms))
        assert found is None or found.offer not in codes


@given(ARMS, st.integers(0, 60_000))
@settings(max_examples=200, deadline=None)
def test_an_arm_that_drops_out_moves_its_own_users_only(arms: tuple[Arm, ...], nth: int) -> None:
    free = tuple(one._replace(gates=()) for one in arms)
    before = chosen(free, "user", nth)
    for gone in free:
        after = chosen(free, "user", nth, used_up=frozenset({gone.offer}))
        assert after == before or before == gone.route


@given(ARMS, st.integers(0, 60_000), st.integers(1, 20))
@settings(max_examples=200, deadline=None)
def test_a_weight_that_grows_takes_users_and_moves_none_between_others(
    arms: tuple[Arm, ...], nth: int, more: int
) -> None:
    free = tuple(one._replace(gates=()) for one in arms)
    grown = (free[0]._replace(weight=free[0].weight + more), *free[1:])
    before, after = chosen(free, "user", nth), chosen(grown, "user", nth)
    assert after in (before, grown[0].route)


@pytest.mark.parametrize("by", ["weight", "user"])
def test_shares_are_those_of_the_weights_among_the_arms_that_can(by: str) -> None:
    arms = (arm(1, 1), arm(2, 3, "FR"), arm(3, 2, "DE"), arm(4, 6, "DE", "US"))
    rotation = Rotation(arms, by)
    count = 30_000
    for country, shares in (("DE", {1: 1, 3: 2, 4: 6}), ("FR", {1: 1, 2: 3})):
        taken = Counter(
            found.route
            for nth in range(count)
            if (found := rotation.choose(visit(nth, country), nth % 16, b"agent", ())[0]) is not None
        )
        total = sum(shares.values())
        assert taken.keys() == shares.keys()
        for route, share in shares.items():
            assert abs(taken[route] / count - share / total) < 0.015, (country, taken)


@given(
    ARMS, st.sampled_from(("weight", "order", "user")), st.integers(0, 7), st.lists(st.integers(0, 60_000), min_size=9)
)
@settings(max_examples=200, deadline=None)
def test_what_is_drawn_at_once_is_what_would_be_chosen(
    arms: tuple[Arm, ...], by: str, asking: int, clicks: list[int]
) -> None:
    """Of a set of facts that was met before; never where a parameter decides too, or a user's arm."""
    more = ("", Gate(Targeting((Facet("sub1", "text", ("a",)),)), {}))
    arms = tuple(one._replace(gates=(*one.gates, more)) if asking == nth else one for nth, one in enumerate(arms))
    rotation = Rotation(arms, by)
    for nth in clicks:
        asked = visit(nth, COUNTRIES[nth % 3])
        for _ in range(2):
            drawn = rotation.at_once(asked.facts, asked.ms, nth % 16)
            found, skipped = rotation.choose(asked, nth % 16, b"agent", ())
            assert drawn is None or (drawn.target, drawn.skipped) == (found, skipped)
        able = [one for one in arms if not any(gate.by_facts(asked) for _, gate in one.gates)]
        is_asked = any(gate.has_more for one in able for _, gate in one.gates)
        assert (drawn is not None) == (bool(able) and not is_asked and (by != "user" or len(able) == 1))


def test_a_user_keeps_to_an_arm_whatever_the_time_and_a_parameter_may_name_the_user() -> None:
    arms = tuple(arm(no, 1) for no in range(1, 6))
    rotation = Rotation(arms, "external_id")
    for user in range(50):
        query = f"external_id=u{user}".encode()
        routes = {
            found.route
            for step in range(20)
            if (found := rotation.choose(Visit(step * 10**7, f"10.0.0.{step}", Facts(), query), step, b"", ())[0])
        }
        assert len(routes) == 1
    by_address = {rotation.choose(Visit(1, f"10.0.0.{n}", Facts(), b""), 1, b"", ())[0] for n in range(50)}
    assert len(by_address) == 5  # without the parameter, address and user agent


def test_in_order_the_first_that_can_takes_the_click() -> None:
    arms = (arm(1, 1, "FR"), arm(2, 1, "DE"), arm(3, 9))
    assert [chosen(arms, "order", nth, "DE") for nth in range(50)] == [2] * 50
    assert chosen(arms, "order", 1, "US") == 3


def test_mixing_spreads_neighbours() -> None:
    halves = Counter(mixed(nth) >> 63 for nth in range(10_000))
    assert abs(halves[0] - 5_000) < 300
    assert len({mixed(nth) for nth in range(10_000)}) == 10_000
    alone = (arm(7, 1),)
    assert first_by_user(alone, 12345) is alone[0]


def test_rotations_that_share_a_memory_keep_apart_and_within_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waypost.stages.rotation.KEPT_MAX", 50)
    kept: Kept = {}
    rotations = [Rotation((arm(no, 1, f"C{no}"), arm(100 + no, 1)), "order", kept) for no in range(10)]
    for nth in range(600):
        rotation, country = rotations[nth % 10], f"C{nth % 7}"
        found, _ = rotation.choose(visit(nth, country), 0, b"", ())
        assert found is not None and found.route == (nth % 10 if nth % 10 == nth % 7 else 100 + nth % 10)
        assert len(kept) <= 50


def test_a_part_of_a_rotation_that_is_made_for_one_visit_leaves_nothing_in_the_memory() -> None:
    kept: Kept = {}
    whole = Rotation([arm(1, 1), arm(2, 1)], kept=kept)
    for seq in range(100):
        whole.only(whole.candidates[:1]).choose(visit(seq), seq, b"", ())
    assert not kept
    for seq in range(100):  # all of them are the rotation itself, with its memory
        whole.only(whole.candidates).choose(visit(seq), seq, b"", ())
    assert len(kept) == 1
