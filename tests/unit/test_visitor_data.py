"""What is kept of a visitor, by the catalog's privacy section."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.catalog.outside import Privacy
from waypost.stages.visitor_data import (
    UserHash,
    has_visitor_data,
    kept_address,
    kept_facts,
    kept_query,
    kept_referrer,
    kept_user_agent,
    origin_of,
)

KEY, OTHER = b"k" * 32, b"o" * 32
USUAL = Privacy()


@pytest.mark.parametrize(
    ("address", "how", "kept"),
    [
        ("203.0.113.77", "truncated", "203.0.113.0"),
        ("2001:db8:aa:bb:cc::1", "truncated", "2001:db8:aa::"),
        ("::ffff:203.0.113.77", "truncated", "203.0.113.0"),
        ("fe80::1%eth0", "truncated", "fe80::"),
        ("203.0.113.77", "whole", "203.0.113.77"),
        ("203.0.113.77", "none", ""),
        ("no address", "truncated", ""),
        ("no address", "whole", ""),
        ("no address", "hashed", ""),
    ],
)
def test_an_address_is_kept_as_the_catalog_says(address: str, how: str, kept: str) -> None:
    assert kept_address(address, how, KEY) == kept


def test_a_hashed_address_is_the_same_under_one_key_and_another_under_the_next() -> None:
    first = kept_address("203.0.113.77", "hashed", KEY)
    assert first == kept_address("203.0.113.77", "hashed", KEY) != kept_address("203.0.113.78", "hashed", KEY)
    assert first != kept_address("203.0.113.77", "hashed", OTHER) and len(first) == 17 and "203" not in first[:4]


def test_a_users_key_hangs_on_address_agent_and_the_days_key() -> None:
    keys = {
        UserHash(KEY).of("203.0.113.77", b"Firefox"),
        UserHash(KEY).of("203.0.113.78", b"Firefox"),
        UserHash(KEY).of("203.0.113.77", b"Safari"),
        UserHash(OTHER).of("203.0.113.77", b"Firefox"),
    }
    assert len(keys) == 4 and UserHash(KEY).of("203.0.113.77", b"Firefox") in keys


def test_a_user_agent_is_whole_a_family_or_nothing() -> None:
    facts = {"os": "iOS", "os_version": "17.4", "browser": "Safari", "browser_version": "17.4"}
    assert kept_user_agent(b"Mozilla/5.0 (iPhone)", "whole", facts) == b"Mozilla/5.0 (iPhone)"
    assert kept_user_agent(b"Mozilla/5.0 (iPhone)", "family", facts) == b"iOS/Safari"
    assert kept_user_agent(b"Mozilla/5.0 (iPhone)", "family", {}) == b""
    assert kept_user_agent(b"Mozilla/5.0 (iPhone)", "none", facts) == b""


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        (b"https://Shop.example/a?b=c#d", "https://shop.example"),
        (b"https://shop.example:443/", "https://shop.example"),
        (b"http://shop.example:8080", "http://shop.example:8080"),
        (b"https://user:secret@shop.example/", "https://shop.example"),
        (b"http://[2001:db8::1]:81/x", "http://[2001:db8::1]:81"),
        (b"null", ""),
        (b"file:///etc/passwd", ""),
        (b"https://shop.example:99999/", ""),
        (b"https://[broken", ""),
        (b"", ""),
    ],
)
def test_an_origin_is_what_browsers_write(url: bytes, origin: str) -> None:
    assert origin_of(url) == origin
    assert kept_referrer(url, "origin") == origin.encode()


def test_facts_that_are_as_good_as_the_address_or_agent_go_with_it() -> None:
    facts = {"country": "DE", "city": "Bonn", "device": "mobile", "browser": "Safari", "bot": ""}
    assert kept_facts(facts, USUAL) is facts
    assert kept_facts(facts, Privacy(ip="none")) == {
        "country": "DE",
        "device": "mobile",
        "browser": "Safari",
        "bot": "",
    }
    assert kept_facts(facts, Privacy(user_agent="none")) == {
        "country": "DE",
        "city": "Bonn",
        "device": "mobile",
        "bot": "",
    }


@pytest.mark.parametrize(
    ("query", "privacy", "kept"),
    [
        (b"sub1=a&ip=203.0.113.77&sub2=b", USUAL, b"sub1=a&ip=203.0.113.0&sub2=b"),
        (b"%69p=203.0.113.77", USUAL, b"%69p=203.0.113.0"),
        (b"IP=203.0.113.77&user_ip=2001%3Adb8%3Aaa%3Abb%3A%3A1", USUAL, b"IP=203.0.113.0&user_ip=2001:db8:aa::"),
        (b"ip={ip}&sub1=a", USUAL, b"sub1=a"),
        (b"ip=203.0.113.77", Privacy(ip="whole"), b"ip=203.0.113.77"),
        (b"ua=Firefox&x=1", USUAL, b"ua=Firefox&x=1"),
        (b"ua=Firefox&x=1", Privacy(user_agent="none"), b"x=1"),
        (b"referrer=https%3A%2F%2Fa.example%2Fb%3Fc", Privacy(referrer="origin"), b"referrer=https://a.example"),
        (b"a&&b=&ip=", USUAL, b"a&&b=&ip="),
        (b"sub1=a&IP=203.0.113.77", USUAL, b"sub1=a&IP=203.0.113.0"),
    ],
)
def test_a_query_is_cut_where_it_speaks_of_the_visitor(query: bytes, privacy: Privacy, kept: bytes) -> None:
    assert has_visitor_data(query) or query == kept
    assert kept_query(query, privacy, KEY) == kept


def test_what_shall_not_be_kept_at_all_is_left_out() -> None:
    query = b"sub1=a&token=s3cret&ip=203.0.113.77&sub2=b"
    assert kept_query(query, USUAL, KEY, without=frozenset((b"token", b"ip"))) == b"sub1=a&sub2=b"


@given(st.binary(max_size=60))
def test_a_query_that_does_not_speak_of_the_visitor_stays_byte_for_byte(query: bytes) -> None:
    if not has_visitor_data(query):
        assert kept_query(query, Privacy("none", "none", "none"), KEY) == query


@given(
    st.tuples(st.integers(1, 223), st.integers(0, 255), st.integers(0, 255), st.integers(1, 255)),
    st.sampled_from(["ip=", "user_ip=", "IP=", "%69p=", "i%70="]),
    st.booleans(),
)
def test_no_whole_address_comes_through(parts: tuple[int, int, int, int], name: str, is_first: bool) -> None:
    address = ".".join(map(str, parts))
    query = f"{name}{address}&sub1=x" if is_first else f"sub1=x&{name}{address}"
    kept = kept_query(query.encode(), USUAL, KEY)
    assert address.encode() not in kept.split(b"=") and b"sub1=x" in kept
    assert f"={address}&".encode() not in kept + b"&"
