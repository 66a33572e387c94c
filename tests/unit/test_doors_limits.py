"""Limits by address: they fill up again, stay bounded, count a customer's /64 as one, and never meet a known caller."""

from fractions import Fraction
from ipaddress import IPv6Address
from math import ceil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.doors import Client, door_settings, running_door
from waypost.doors.limits import Buckets, Limits, limited_by
from waypost.doors.refusal_search import Wanted, search_refusals
from waypost.settings import load_settings


class Someone:
    def __init__(self, *, is_known: bool = False) -> None:
        self.is_known = is_known


def test_a_bucket_gives_its_burst_and_then_so_many_a_second() -> None:
    buckets = Buckets(10, 3, 100)
    assert [buckets.take("a", 0) for _ in range(4)] == [0, 0, 0, 1]
    assert buckets.take("b", 0) == 0
    assert [buckets.take("a", 100), buckets.take("a", 100)] == [0, 1]
    assert [buckets.take("a", 10_000) for _ in range(4)] == [0, 0, 0, 1]
    assert Buckets(0, 0, 100).take("a", 0) == 0


@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from("abcdef")), max_size=200), st.integers(1, 50))
def test_no_address_ever_gets_more_than_burst_and_rate(acts: list[tuple[int, str]], per_s: int) -> None:
    buckets = Buckets(per_s, 5, 100)
    now, given_to = 0, dict.fromkeys("abcdef", 0)
    for pause, address in acts:
        now += pause
        given_to[address] += not buckets.take(address, now)
    assert max(given_to.values()) <= 5 + now * per_s / 1000 + 1e-6


addresses = st.sampled_from(["a", "b", "c", "d", "e", "2001:db8::1", "2001:db8::2", "2001:db8:1::1", "no:address"])
turns = st.lists(st.tuples(st.integers(0, 900), st.lists(addresses, max_size=9)))


@given(turns, st.integers(0, 4), st.integers(1, 3), st.integers(1, 9))
def test_a_turns_addresses_draw_as_they_would_one_by_one(
    acts: list[tuple[int, list[str]]], per_s: int, burst: int, addresses_max: int
) -> None:
    together, each, now = Buckets(per_s, burst, addresses_max), Buckets(per_s, burst, addresses_max), 0
    for pause, addresses in acts:
        now += pause
        assert together.take_each(addresses, now) == [each.take(address, now) for address in addresses]
        assert (together._young, together._old) == (each._young, each._old)


@given(turns, st.integers(1, 4), st.integers(1, 3), st.integers(2, 9))
def test_a_bucket_is_what_it_is_by_definition_and_forgotten_only_behind_half_as_many_others(
    acts: list[tuple[int, list[str]]], per_s: int, burst: int, addresses_max: int
) -> None:
    """Tokens that grow with time up to the burst; a new address has them all."""
    buckets, now = Buckets(per_s, burst, addresses_max), 0
    tokens: dict[str, tuple[Fraction, int]] = {}
    seen: list[str] = []  # the newest last, each once
    for pause, addresses in acts:
        now += pause
        for address in addresses:
            key = limited_by(address)
            had, at_ms = tokens.get(key, (Fraction(burst), now))
            has = min(Fraction(burst), had + Fraction((now - at_ms) * per_s, 1000))
            if key in seen:
                if key not in buckets._young and key not in buckets._old:
                    assert len(seen) - seen.index(key) - 1 > addresses_max // 2
                    has = Fraction(burst)
                seen.remove(key)
            seen.append(key)
            wait_s = buckets.take(address, now)
            assert wait_s == (0 if has >= 1 else max(1, ceil((1 - has) / per_s)))
            tokens[key] = (has if wait_s else has - 1, now)
            assert len(buckets) <= addresses_max


def test_of_a_turns_visits_those_wait_that_are_too_many_and_nobody_of_our_own_networks() -> None:
    limits = Limits(door_settings(address_clicks_per_s=1, address_clicks_burst=1).door)
    assert limits.visits(["203.0.113.7", "203.0.113.7", "10.0.0.1", "203.0.113.8", "10.0.0.1"], 0) == [0, 1, 0, 0, 0]


def test_what_was_quiet_longest_is_forgotten() -> None:
    buckets = Buckets(1, 1, 4)
    for address in "ab":
        assert buckets.take(address, 0) == 0
    assert buckets.take("c", 0) == 0  # a and b are the old half now
    assert buckets.take("a", 1) == 1  # and a is young again
    assert buckets.take("d", 2) == 0  # b is gone
    assert len(buckets) == 3
    assert [buckets.take(address, 3) for address in "acd"] == [1, 1, 1]
    assert buckets.take("b", 3) == 0
    for nth in range(10_000):
        buckets.take(str(nth), 4)
    assert len(buckets) <= 4


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.7", "203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "", True),
        ("no:address", "no:address", True),
    ],
)
def test_ipv6_counts_by_64(one: str, other: str, same: bool) -> None:
    assert (limited_by(one) == limited_by(other)) is same


@given(st.text("0123456789abcdefABCDEF:.% g\0é", max_size=45) | st.ip_addresses(v=6).map(str))
def test_an_address_is_counted_by_what_the_library_takes_it_for(text: str) -> None:
    try:
        network = int(IPv6Address(text.partition("%")[0])) >> 64
    except ValueError:
        assert limited_by(text) == text
    else:
        assert limited_by(text) == f"{network:016x}/64"


def test_connections_are_counted_unless_a_known_caller_is_among_them() -> None:
    limits = Limits(door_settings(address_connections_max=2).door)
    first, second, third = Someone(), Someone(), Someone()
    assert [limits.admits(one, "a") for one in (first, second, third)] == [True, True, False]
    limits.left(third, "a")
    assert limits.admits(Someone(), "b")
    second.is_known = True
    assert limits.admits(third, "a")
    for one in (first, second, third):
        limits.left(one, "a")
    limits.left(first, "a")
    assert list(limits._connections) == ["b"]


def test_calls_that_nobody_vouches_for_are_limited_and_others_are_not(tmp_path: Path) -> None:
    settings = door_settings(address_deferred_per_s=1, address_deferred_burst=2)
    kind = "Content-Type: application/json"
    with running_door(tmp_path, settings=settings) as door:
        answers = [door.post("/postback", b'{"token":"s3cret"}', kind) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert answers[-1].headers["retry-after"] == "1"
        assert door.post("/postback?token=s3cret", b"{}", kind).status == 200
        assert door.post("/postback", b"{}", kind, "Waypost-Token: s3cret").status == 200
        assert len(door.journal.frames) == 4
    (entry,) = search_refusals(tmp_path, Wanted(code="too_many_requests"))
    assert entry.detail == "calls whose token is in their JSON"


def test_what_is_refused_is_limited_and_who_is_known_is_not(tmp_path: Path) -> None:
    settings = door_settings(address_refused_per_s=1, address_refused_burst=3)
    with running_door(tmp_path, settings=settings) as door:
        asked = ["/nothing", "/postback?token=wrong", "/c/none", "/nothing", "/postback?token=wrong"]
        answers = [door.get(path) for path in asked]
        assert [answer.status for answer in answers] == [404, 403, 404, 429, 429]
        assert answers[-1].json["error"] == "too_many_requests"
        assert int(answers[-1].headers["retry-after"]) >= 1
        for _ in range(20):
            assert door.get("/postback?token=s3cret").status == 200
            assert door.get("/c/demo").status == 302
            assert door.get("/healthz").status == 200
    assert door.stats.values["door_limited"] == 2
    assert door.stats.values["door_refused"] == 3
    limited = search_refusals(tmp_path, Wanted(code="too_many_requests"))
    assert [(entry.address, entry.detail) for entry in limited] == [
        ("127.0.0.1", "wrong_token"),
        ("127.0.0.1", "unknown_path"),
    ]


def test_visits_are_limited_by_public_address(tmp_path: Path) -> None:
    settings = door_settings(address_clicks_per_s=1, address_clicks_burst=2, proxies=["127.0.0.0/8"])
    with running_door(tmp_path, settings=settings) as door:

        def statuses(address: str, path: str, count: int) -> list[int]:
            return [door.get(path, f"X-Forwarded-For: {address}").status for _ in range(count)]

        assert statuses("203.0.113.7", "/c/demo", 4) == [302, 302, 429, 429]
        assert statuses("203.0.113.7", "/b/click/demo", 1) == statuses("203.0.113.7", "/b/goal", 1) == [429]
        assert statuses("203.0.113.7", "/i/demo", 1) == [429]
        assert statuses("203.0.113.7", "/postback?token=s3cret", 3) == [200] * 3
        assert statuses("203.0.113.8", "/c/demo?x=1", 2) == [302, 302]
        for ours in ("10.1.2.3", "192.168.0.9", "127.0.0.1", "fd00::1"):
            assert statuses(ours, "/c/demo", 4) == [302] * 4, "a proxy that nobody named"


def test_a_named_proxy_that_says_nothing_of_its_visitors_is_not_taken_for_one() -> None:
    limits = Limits(door_settings(address_clicks_per_s=1, address_clicks_burst=1, proxies=["203.0.113.7/24"]).door)
    assert not any(limits.visit("203.0.113.200", 0) for _ in range(5))
    assert [limits.visit("203.0.114.1", 0) for _ in range(2)] == [0, 1]


def test_clicks_are_limited_by_default_and_no_carrier_ever_feels_it() -> None:
    limits = Limits(load_settings(environment={}).door)
    day_of_a_large_carrier = [limits.visit("203.0.113.7", nth * 10.0) for nth in range(50_000)]
    assert not any(day_of_a_large_carrier), "100 a second"
    flood = [limits.visit("203.0.113.9", nth * 0.2) for nth in range(50_000)]
    assert 10_000 < flood.count(0) < 13_000 and flood[-1] == 1


def test_one_address_holds_so_many_connections(tmp_path: Path) -> None:
    with running_door(tmp_path, settings=door_settings(address_connections_max=2)) as door:
        held = [Client(door.address) for _ in range(3)]
        answer = held[2].read()
        assert (answer.status, answer.json["error"]) == (429, "too_many_from_address")
        assert held[2].is_closed()
        held[0].send(b"GET /postback?token=s3cret HTTP/1.1\r\nHost: d\r\n\r\n")
        assert held[0].read().status == 200
        held.append(Client(door.address))  # a known caller is there now
        held[3].send(b"GET /healthz HTTP/1.1\r\nHost: d\r\n\r\n")
        assert held[3].read().status == 200
        for client in held:
            client.close()
