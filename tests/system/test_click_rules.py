"""Clicks by rules through a whole installation: several doors behind a named proxy, a geo file, and the trace."""

from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from support.geo_file import city, write_geo_file
from support.installation import until
from support.waypost_process import WaypostProcess, of_event

pytestmark = pytest.mark.system

CATALOG = """waypost: 1
advertisers: {acme: {token: s3cret}}
offers:
  german:
    advertiser: acme
    url: http://127.0.0.1:9000/german?id={click_id}&city={city}
    goals: {install: {payout: 1 USD}}
    targeting: {country: DE, os: Android}
    fallback: {offer: anyone}
  anyone:
    advertiser: acme
    url: http://127.0.0.1:9000/anyone?id={click_id}
    goals: {install: {payout: 1 USD}}
    targeting: {bot: false}
partners: {geozo: {}}
links:
  demo: {partner: geozo, offer: german, fallback: {url: 'http://127.0.0.1:9000/none?id={click_id}'}}
"""
SETTINGS = """
[door]
count = 2
proxies = ["127.0.0.0/8"]
[visitors]
city_file = "{}"
files_check_ms = 200
"""
ANDROID = "Mozilla/5.0 (Linux; Android 14; SM-G991B) AppleWebKit/537.36 Chrome/126.0.0.0 Mobile Safari/537.36"


def clicked(waypost: WaypostProcess, address: str, agent: str = ANDROID) -> tuple[str, str]:
    """Where a click was sent, and its id."""
    connection = HTTPConnection("127.0.0.1", waypost.port, timeout=10)
    connection.request("GET", "/c/demo", headers={"X-Forwarded-For": address, "User-Agent": agent})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == 302
    url = urlsplit(str(answer.getheader("location")))
    return url.path, parse_qs(url.query)["id"][0]


def test_clicks_go_by_rules_and_the_trace_says_why(tmp_path: Path) -> None:
    geo = tmp_path / "city.mmdb"
    write_geo_file(geo)
    with WaypostProcess(tmp_path / "one", CATALOG, SETTINGS.format(geo)) as waypost:
        assert clicked(waypost, "192.0.2.7")[0] == "/german"
        assert clicked(waypost, "192.0.2.200")[0] == "/anyone"
        path, unplaced = clicked(waypost, "192.0.2.200", "curl/8.5.0")
        assert path == "/none"
        until(lambda: waypost.trace(unplaced)["events"][0]["is_stored"], "the pipeline has the click")
        (click,) = of_event(waypost.trace(unplaced), "click")
        assert [(one["offer"], one["code"]) for one in click["skipped"]] == [("german", "country"), ("anyone", "bot")]
        assert (click["link"], click["partner"], click["offer"]) == ("demo", "geozo", "")
        assert click["visitor"]["city"] == "Paris" and click["target"].startswith("http://127.0.0.1:9000/none?id=")
        call = waypost.postback(click_id=unplaced, goal="install", token="s3cret").json["receipt"]
        until(lambda: len(waypost.trace(call)["events"]) > 1, "the call is judged")
        (decision,) = of_event(waypost.trace(call), "decision")
        assert decision["verdict"] == "refused"
        write_geo_file(geo, {"192.0.2.0/24": city("DE", "BY", "Munich")})
        until(
            lambda: all(clicked(waypost, "192.0.2.200")[0] == "/german" for _ in range(8)),
            "every door has the new file",
        )
