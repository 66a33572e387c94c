"""Clicks by rules through a running door: who goes where, what is kept of it, and what if nobody can."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.catalog_text import SETTINGS
from support.doors import Answer, RunningDoor, door_settings, running_door
from support.geo_file import write_geo_file
from waypost.engines.local.board import FileBoard
from waypost.engines.sqlite.catalog import SqliteCatalogStore, apply_catalog
from waypost.engines.visitors.facts import LocalVisitors
from waypost.model.frames import Click
from waypost.model.wire import encode_frame
from waypost.ports.board import Board, CapRoom
from waypost.settings import load_settings
from waypost.stages.rotation import Known, Skipped
from waypost.telemetry.stats import Stats

CATALOG = """waypost: 1
advertisers: {acme: {token: s3cret}}
offers:
  android:
    advertiser: acme
    url: http://x.example/android?id={click_id}&c={country}&v={os_version}
    goals: {install: {payout: 1 USD}}
    targeting: {country: [DE, AT], os: Android, os_version: '>= 12'}
    fallback: {offer: german, group: states}
  german:
    advertiser: acme
    url: http://x.example/german?id={click_id}&city={city}
    goals: {install: {payout: 1 USD}}
    targeting: {country: DE, bot: false}
  sleeping:
    {advertiser: acme, url: 'http://x.example/s', goals: {install: {payout: 1 USD}}, active: false}
  west:
    {advertiser: acme, url: 'http://x.example/west', goals: {i: {payout: 1 USD}}, targeting: {country: US}}
  east:
    {advertiser: acme, url: 'http://x.example/east', goals: {i: {payout: 1 USD}}, targeting: {country: US}}
groups: {states: {offers: {west: 3, east: 1}}}
partners: {geozo: {}}
links:
  demo:
    partner: geozo
    targets: [{offer: android}, {offer: sleeping}]
    fallback: {url: 'http://x.example/none?l={link}&c={country}'}
  blank: {partner: geozo, offer: android, fallback: blank}
  test: {partner: geozo, targets: [{offer: west}, {offer: east}], split: {by: user}}
  alone: {partner: geozo, offer: sleeping}
"""
ANDROID = "Mozilla/5.0 (Linux; Android {}; SM-G991B) AppleWebKit/537.36 Chrome/126.0.0.0 Mobile Safari/537.36"
NUMBERS = {"android": 1, "german": 2, "sleeping": 3, "west": 4, "east": 5}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> tuple[SqliteCatalogStore, LocalVisitors]:
    folder = tmp_path_factory.mktemp("rules")
    (folder / "c.yaml").write_text(CATALOG, "utf-8")
    apply_catalog(folder / "c.yaml", folder / "catalog", SETTINGS)
    write_geo_file(folder / "city.mmdb")
    settings = msgspec.structs.replace(load_settings(environment={}).visitors, city_file=str(folder / "city.mmdb"))
    return SqliteCatalogStore(folder / "catalog", cache_items_max=100), LocalVisitors(settings, Stats("door-3"))


@pytest.fixture
def door(tmp_path: Path, installation: tuple[SqliteCatalogStore, LocalVisitors]) -> Iterator[RunningDoor]:
    catalogs, visitors = installation
    settings = door_settings(proxies=("127.0.0.0/8",))
    with running_door(tmp_path, catalogs=catalogs, visitors=visitors, settings=settings) as running:
        yield running


def visit(door: RunningDoor, link: str, address: str, agent: str = ANDROID.format(14)) -> Answer:
    return door.get(f"/c/{link}", f"X-Forwarded-For: {address}", f"User-Agent: {agent}", "Accept-Language: de-DE")


def place(answer: Answer) -> str:
    assert answer.status == 302, answer
    return urlsplit(answer.headers["location"]).path.removeprefix("/")


def last(door: RunningDoor) -> Click:
    frame = door.journal.frames[-1]
    assert isinstance(frame, Click)
    return frame


def test_a_click_that_a_target_takes(door: RunningDoor) -> None:
    answer = visit(door, "demo", "192.0.2.7")
    assert place(answer) == "android"
    values = parse_qs(urlsplit(answer.headers["location"]).query)
    assert (values["c"], values["v"]) == (["DE"], ["14"])
    click = last(door)
    assert {name: click.visitor[name] for name in ("country", "city", "os", "os_version", "language", "device")} == {
        "country": "DE", "city": "Berlin", "os": "Android", "os_version": "14", "language": "de", "device": "mobile"
    }  # fmt: skip
    assert click.skipped == ()


def test_the_fallback_order_and_the_reason_of_each_refusal(door: RunningDoor) -> None:
    assert place(visit(door, "demo", "192.0.2.7", ANDROID.format(9))) == "german"
    assert last(door).skipped == ((1, "os_version"), (3, "inactive"))
    assert place(visit(door, "demo", "198.51.100.3")) in ("west", "east")
    assert last(door).skipped == ((1, "country"), (3, "inactive"), (2, "country"))
    answer = visit(door, "demo", "203.0.113.3")  # nothing is known of it: no list of countries has it
    assert answer.headers["location"] == "http://x.example/none?l=demo&c="
    assert last(door).skipped == ((1, "country"), (3, "inactive"), (2, "country"), (4, "country"), (5, "country"))
    assert door.stats.values["door_clicks_passed_on"] == 2 and door.stats.values["door_clicks_unplaced"] == 1


def test_a_click_that_finds_no_offer_is_recorded_on_the_link_s_own_route(
    door: RunningDoor, installation: tuple[SqliteCatalogStore, LocalVisitors]
) -> None:
    assert visit(door, "demo", "203.0.113.3").status == 302
    view = installation[0].open(1)
    route = view.route(last(door).route)
    view.close()
    assert route is not None and (route.link, route.offer) == ("demo", 0)


def test_the_blank_page(door: RunningDoor) -> None:
    answer = visit(door, "blank", "203.0.113.3")
    assert (answer.status, answer.body) == (200, b"") and "location" not in answer.headers
    assert last(door).skipped == ((1, "country"), (2, "country"), (4, "country"), (5, "country"))


def test_a_link_whose_only_offer_sleeps_is_refused_as_before(door: RunningDoor) -> None:
    assert visit(door, "alone", "192.0.2.7").status == 410


def test_a_split_test_keeps_its_users_on_their_arms(door: RunningDoor) -> None:
    arms = {}
    for no in range(24):
        address = f"198.51.100.{no}"
        found = {place(visit(door, "test", address)) for _ in range(3)}
        assert len(found) == 1
        arms[address] = found.pop()
    assert set(arms.values()) == {"west", "east"}


def test_an_offer_whose_cap_has_no_room_is_passed_over(
    tmp_path: Path, installation: tuple[SqliteCatalogStore, LocalVisitors]
) -> None:
    catalogs, visitors = installation
    room = CapRoom(1, "o1:conversions:day:UTC@2026-01-01", 5, 0, 1 << 60)
    FileBoard(tmp_path / "board" / "current.json").publish(Board(1, 1, 1, 1 << 60, (room,)))
    settings = door_settings(proxies=("127.0.0.0/8",))
    with running_door(tmp_path, catalogs=catalogs, visitors=visitors, settings=settings) as door:
        assert place(visit(door, "demo", "192.0.2.7")) == "german"
        assert last(door).skipped[0] == (1, "cap_reached")


def test_where_a_click_leads_is_never_the_request_s_to_say(door: RunningDoor) -> None:
    for query in ("url=http://evil.example/", "country=DE", "os_version=http://evil.example", "c=//evil.example"):
        answer = door.get(f"/c/demo?{query}", "X-Forwarded-For: 203.0.113.3")
        assert urlsplit(answer.headers["location"]).netloc == "x.example"
        assert "evil" not in answer.headers["location"] and "DE" not in answer.headers["location"]


@given(st.lists(st.tuples(st.integers(0, 2**26), st.text(max_size=9))).map(tuple))
def test_what_was_encoded_beforehand_stands_in_a_frame_as_what_was_not(skipped: Skipped) -> None:
    known = Known.of(skipped)
    plain = Click(1, 2, 3, 4, 0, 5, 6, b"sub1=a", skipped=skipped)
    assert known == skipped
    assert encode_frame(msgspec.structs.replace(plain, skipped=known.encoded)) == encode_frame(plain)
