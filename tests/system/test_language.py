"""The template language through real processes: what a catalog's author writes is what the partner receives."""

import hashlib
import hmac
import json
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from support.installation import fetch, until
from support.sink import Sink
from support.waypost_process import WaypostProcess

pytestmark = pytest.mark.system

CATALOG = """
waypost: 1
advertisers:
  acme: {token: s3cret}
offers:
  vpn:
    advertiser: acme
    url: http://127.0.0.1:9000/land?cid={click_id}{?sub2}&s={sub2}{end}&v={if sub1 == 'a&b'}1{else}2{end}
    goals:
      install: {payout: 1.20 USD}
partners:
  net:
    postbacks:
      - on: {goal: install}
        get: "http://127.0.0.1:PORT/get?id={sub1}&s2={sub2?}&k={secret('file:KEY')}\\
              &m={click_id|append({payout})|hmac_sha256('file:KEY')}&c={payout|mul(100)}\\
              &big={if payout > 1 and sub1 matches 'a*'}yes{else}no{end}&w={reason}"
      - on: {goal: install}
        post:
          url: http://127.0.0.1:PORT/json
          headers: {Content-Type: application/json}
          body: '{{"id": "{sub1}", "none": "{sub3?}", "pay": {payout}, "at": "{conversion_time|date(%Y)}"}}'
      - on: {goal: install}
        missing: refuse
        get: http://127.0.0.1:PORT/refused?a={sub4}
links:
  demo: {partner: net, offer: vpn}
"""


def test_what_is_written_is_what_is_received(tmp_path: Path) -> None:
    key = tmp_path / "partner.key"
    key.write_text("k3y&more\n")
    with Sink() as sink:
        catalog = CATALOG.replace("PORT", str(sink.port)).replace("KEY", str(key))
        with WaypostProcess(tmp_path / "house", catalog) as waypost:
            _converts(waypost, sink)


def _converts(waypost: WaypostProcess, sink: Sink) -> None:
    redirect = fetch(waypost.port, "/c/demo", {"sub1": "a&b", "sub2": ""})
    target = dict(parse_qsl(urlsplit(redirect.headers["Location"]).query))
    assert redirect.status == 302 and list(target) == ["cid", "v"] and target["v"] == "1"
    other = fetch(waypost.port, "/c/demo", {"sub1": "x", "sub2": "ü"}).headers["Location"]
    assert other.endswith("&s=%C3%BC&v=2")

    answer = waypost.postback(click_id=target["cid"], goal="install", txn_id="t-1", token="s3cret")
    assert answer.status == 200
    received = until(lambda: list(sink.received) if len(sink.received) >= 2 else None, "the partner is called twice")
    called = {urlsplit(one.target).path: one for one in received}
    query = dict(parse_qsl(urlsplit(called["/get"].target).query))
    signature = hmac.digest(b"k3y&more", (target["cid"] + "1.20").encode(), "sha256").hex()
    assert query == {"id": "a&b", "k": "k3y&more", "m": signature, "c": "120", "big": "yes", "w": "first"}
    body = json.loads(called["/json"].body)
    assert (body["id"], body["pay"], len(body["at"])) == ("a&b", 1.2, 4) and "none" not in body

    receipt = answer.json["receipt"]
    story = until(lambda: _story(waypost, receipt), "every postback has its outcome")
    assert "sub4} has no value (macro_no_value)" in story
    assert "k=***&m=***" in story
    for secret in ("k3y", signature, hashlib.sha256(b"k3y&more").hexdigest()):
        assert secret not in story, secret
    assert all("/refused" not in one.target for one in sink.received)
    stored = [file for file in waypost.data.rglob("*") if file.is_file()]
    assert [file for file in stored if b"k3y" in file.read_bytes()] == []
    assert any(b"k=***" in file.read_bytes() for file in stored)


def _story(waypost: WaypostProcess, receipt: str) -> str:
    """What trace tells, once it tells of all three outcomes."""
    story = json.dumps(waypost.trace(receipt))
    return story if "macro_no_value" in story and story.count('"delivered"') >= 2 else ""
