"""Targeting: what takes a click, what does not, and the code of what stood in the way."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from waypost.catalog.model import Facet, Schedule, Targeting
from waypost.model.facts import Facts
from waypost.stages.targeting import Gate, Visit, is_open, skip_meaning

BERLIN = ZoneInfo("Europe/Berlin")
NOW_MS = 1_790_000_000_000
FACTS = {
    "country": "DE", "region": "DE-BE", "city": "Berlin", "isp": "Telekom AG", "device": "mobile", "os": "Android",
    "os_version": "12.1", "browser": "Chrome Mobile", "browser_version": "126.0", "language": "de",
}  # fmt: skip


def visit(query: bytes = b"sub1=fb-7&channel=x", *, ms: int = NOW_MS, **facts: str) -> Visit:
    known = {name: value for name, value in {**FACTS, **facts}.items() if value}
    return Visit(ms, "192.0.2.7", Facts.of(known), query)


def refusal(targeting: Targeting, seen: Visit) -> str:
    gate = Gate(targeting, {"link": "demo", "offer": "vpn", "partner": "geozo"})
    return gate.by_facts(seen) or gate.beyond_facts(seen)


def facet(name: str, *values: str, kind: str = "text", excluded: bool = False) -> Targeting:
    return Targeting((Facet(name, kind, values, excluded),))


@pytest.mark.parametrize(
    ("targeting", "code"),
    [
        (facet("country", "DE", "AT"), ""),
        (facet("country", "AT"), "country"),
        (facet("country", "de"), ""),
        (facet("country", "DE", excluded=True), "country"),
        (facet("country", "AT", excluded=True), ""),
        (facet("region", "DE-*"), ""),
        (facet("city", "B*n"), ""),
        (facet("city", "B*m"), "city"),
        (facet("isp", "telekom*"), ""),
        (facet("brand", "Samsung"), "brand"),  # not known: in no list …
        (facet("brand", "Samsung", excluded=True), ""),  # … and excluded by none
        (facet("bot", "1", kind="exact", excluded=True), ""),
        (facet("bot", "1", kind="exact"), "bot"),
        (facet("os_version", "12", kind="version"), ""),
        (facet("os_version", ">= 12", kind="version"), ""),
        (facet("os_version", "> 12", kind="version"), "os_version"),  # every 12.x is 12
        (facet("os_version", "> 12.0", kind="version"), ""),
        (facet("os_version", "<= 12", kind="version"), ""),
        (facet("os_version", "< 12.1", kind="version"), "os_version"),
        (facet("os_version", "12.1.5", kind="version"), "os_version"),
        (facet("os_version", "9 - 11", "12.1 - 13", kind="version"), ""),
        (facet("os_version", "9", "10", kind="version"), "os_version"),
        (facet("browser_version", ">= 99", kind="version"), ""),  # as numbers: 126 is above 99
        (facet("ip", "192.0.2.0/24", kind="network"), ""),
        (facet("ip", "10.0.0.0/8", "2001:db8::/32", kind="network"), "ip"),
        (facet("sub1", "fb-*"), ""),
        (facet("sub1", "gg-*"), "sub1"),
        (facet("sub2", "*"), "sub2"),  # not there: nothing fits
        (facet("click.channel", "x"), ""),
        (facet("returning", "1", kind="exact"), "returning"),
        (facet("returning", "1", kind="exact", excluded=True), ""),
        (Targeting(condition="country == 'DE' and os_version >= 12 and sub1 matches 'fb-*'"), ""),
        (Targeting(condition="click.channel == 'y' or returning"), "condition"),
        (Targeting(condition="offer == 'vpn' and link == 'demo' and ip within '192.0.2.0/24'"), ""),
        (Targeting(condition="brand"), "condition"),
        (Targeting(starts_ms=NOW_MS), ""),
        (Targeting(starts_ms=NOW_MS + 1), "not_started"),
        (Targeting(ends_ms=NOW_MS + 1), ""),
        (Targeting(ends_ms=NOW_MS), "expired"),
    ],
)
def test_each_rule(targeting: Targeting, code: str) -> None:
    assert refusal(targeting, visit()) == code


def test_every_facet_must_fit_and_the_first_that_does_not_is_named() -> None:
    both = Targeting((*facet("country", "DE").facets, *facet("device", "tv").facets, *facet("os", "iOS").facets))
    assert refusal(both, visit()) == "device"
    assert refusal(both, visit(device="tv")) == "os"
    assert refusal(both, visit(device="tv", os="iOS")) == ""


def test_an_answer_is_remembered_and_stays_right_beyond_the_bound() -> None:
    gate = Gate(facet("sub1", "fb-*"), {})
    codes = [gate.beyond_facts(visit(f"sub1={'fb' if nth % 2 else 'gg'}-{nth}".encode())) for nth in range(25_000)]
    assert codes == ["sub1", ""] * 12_500


def test_an_unknown_version_is_in_no_range() -> None:
    assert refusal(facet("os_version", ">= 0", kind="version"), visit(os_version="")) == "os_version"
    assert refusal(facet("os_version", ">= 0", kind="version"), visit(os_version="Vista")) == "os_version"
    assert refusal(facet("os_version", "14", kind="version"), visit(os_version="14.x.2")) == ""


def local(text: str, zone: ZoneInfo = BERLIN, *, fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp() * 1000)


WEEK = tuple(range(7))
SHOP = Schedule("Europe/Berlin", (0, 1, 2, 3, 4), ((540, 1080),))
NIGHT = Schedule("Europe/Berlin", (4,), ((1320, 120),))  # Friday 22:00 to 02:00


@pytest.mark.parametrize(
    ("schedule", "when", "opens"),
    [
        (SHOP, "2026-11-16 09:00", True),
        (SHOP, "2026-11-16 08:59", False),
        (SHOP, "2026-11-16 17:59:59", True),
        (SHOP, "2026-11-16 18:00", False),
        (SHOP, "2026-11-21 12:00", False),
        (NIGHT, "2026-11-20 22:00", True),
        (NIGHT, "2026-11-21 01:59", True),
        (NIGHT, "2026-11-21 02:00", False),
        (NIGHT, "2026-11-20 01:00", False),  # the small hours belong to the day on which they begin
        (NIGHT, "2026-11-21 22:00", False),
        (Schedule("Europe/Berlin", (6,), ((0, 1440),)), "2026-11-22 23:59", True),
    ],
)
def test_schedules(schedule: Schedule, when: str, opens: bool) -> None:
    assert is_open(schedule, BERLIN, local(when)) is opens


def test_days_on_which_clocks_are_set() -> None:
    two_to_three = Schedule("Europe/Berlin", WEEK, ((120, 180),))
    spring = [local("2026-03-29 00:00") + minute * 60_000 for minute in range(23 * 60)]
    assert not any(is_open(two_to_three, BERLIN, ms) for ms in spring)  # the hour does not come
    autumn = [local("2026-10-25 00:00") + minute * 60_000 for minute in range(25 * 60)]
    assert sum(is_open(two_to_three, BERLIN, ms) for ms in autumn) == 120  # and here it comes twice
    assert is_open(two_to_three, BERLIN, local("2026-10-25 02:30", fold=0))
    assert is_open(two_to_three, BERLIN, local("2026-10-25 02:30", fold=1))


def test_a_gate_follows_the_clock_from_minute_to_minute() -> None:
    gate = Gate(Targeting(schedules=(SHOP,)), {})
    begin = local("2026-11-16 08:59")
    codes = [gate.beyond_facts(visit(ms=begin + step * 10_000)) for step in range(12)]
    assert codes == ["schedule"] * 6 + [""] * 6


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("country", "its targeting leaves this country out"),
        ("link_schedule", "outside its hours (the link's rule)"),
        ("cap_reached", "a cap has no room left"),
    ],
)
def test_what_a_code_means(code: str, meaning: str) -> None:
    assert skip_meaning(code) == meaning
