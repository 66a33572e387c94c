"""Visits through a whole installation: the board closes and opens an offer, a page's report waits for its server."""

import os
import signal
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
import pytest

from support.installation import until
from support.waypost_process import WaypostProcess, of_event

pytestmark = pytest.mark.system

SHOP = "https://shop.example"
CATALOG = f"""waypost: 1
advertisers:
  acme: {{token: s3cret, browser: {{origins: ["{SHOP}"]}}}}
offers:
  small:
    advertiser: acme
    url: http://127.0.0.1:9000/small?cid={{click_id}}
    goals: {{install: {{payout: 1 USD}}}}
    caps: [{{count: conversions, limit: 2, per: total}}]
    fallback: {{offer: large}}
  large:
    advertiser: acme
    url: http://127.0.0.1:9000/large?cid={{click_id}}
    goals: {{install: {{payout: 1 USD}}}}
partners: {{geozo: {{}}}}
links:
  demo: {{partner: geozo, offer: small}}
  other: {{partner: geozo, offer: large}}
"""
SETTINGS = "[pipeline]\nboard_lifetime_ms = 2000\n"


def ask(waypost: WaypostProcess, method: str, target: str, **values: str) -> Any:
    """The JSON answer of a door to a page of the shop."""
    connection = HTTPConnection("127.0.0.1", waypost.port, timeout=10)
    headers = {"Origin": SHOP, "Content-Type": "application/x-www-form-urlencoded"}
    connection.request(method, target, urlencode(values) if values else None, headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 200, body
    return msgspec.json.decode(body)


def led_to(waypost: WaypostProcess) -> str:
    return urlsplit(str(ask(waypost, "GET", "/c/demo?mode=json")["url"])).path


def test_an_offer_closes_when_its_cap_is_used_up_and_opens_when_nobody_says_so_any_more(tmp_path: Path) -> None:
    with WaypostProcess(tmp_path / "one", CATALOG, SETTINGS) as waypost:
        for _ in range(2):
            click_id = ask(waypost, "GET", "/c/demo?mode=json")["click_id"]
            waypost.postback(click_id=click_id, goal="install", token="s3cret")
        until(lambda: {led_to(waypost) for _ in range(8)} == {"/large"}, "every door passes the used-up offer over")
        last = ask(waypost, "GET", "/c/demo?mode=json")["click_id"]
        until(lambda: waypost.trace(last)["events"][0]["is_stored"], "the pipeline has the click")
        (click,) = of_event(waypost.trace(last), "click")
        assert [(one["offer"], one["code"]) for one in click["skipped"]] == [("small", "cap_reached")]
        pipeline = waypost.snapshot("pipeline")["pid"]
        os.kill(pipeline, signal.SIGSTOP)
        try:
            until(lambda: {led_to(waypost) for _ in range(8)} == {"/small"}, "a board that is not renewed expires")
        finally:
            os.kill(pipeline, signal.SIGCONT)
        until(lambda: {led_to(waypost) for _ in range(8)} == {"/large"}, "the pipeline says it again")


def test_a_pages_report_is_pending_until_the_server_confirms_it_and_an_impression_is_found(tmp_path: Path) -> None:
    with WaypostProcess(tmp_path / "one", CATALOG, SETTINGS) as waypost:
        click_id = ask(waypost, "POST", "/b/click/other", sub1="direct")["click_id"]
        report = ask(waypost, "POST", "/b/goal", click_id=click_id, goal="install")["receipt"]
        until(lambda: of_event(waypost.trace(report), "decision"), "the report is judged")
        (decision,) = of_event(waypost.trace(report), "decision")
        assert (decision["verdict"], decision["status"]) == ("new", "pending")
        assert [one["result"] for one in decision["checks"] if one["name"] == "from_server"] == ["fail"]
        confirmed = waypost.postback(click_id=click_id, goal="install", token="s3cret").json["receipt"]
        until(lambda: len(of_event(waypost.trace(confirmed), "decision")) == 2, "the call is judged")
        statuses = [one["status"] for one in of_event(waypost.trace(confirmed), "decision")]
        assert statuses == ["pending", "approved"]
        seen = ask(waypost, "GET", "/i/other?mode=json&sub1=seen")["impression_id"]
        until(lambda: of_event(waypost.trace(seen), "click"), "the impression is found")
        (view,) = of_event(waypost.trace(seen), "click")
        assert (view["kind"], view["parameters"]["sub1"], view["ip"]) == ("impression", "seen", "127.0.0.0")
        waypost.audit()
