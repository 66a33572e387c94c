"""The design's catalog, unchanged, from a click to a partner's server, and every question about it afterwards."""

import fcntl
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.catalog_text import DESIGN
from support.installation import fetch, until
from support.sink import Sink
from support.waypost_process import WaypostProcess, of_event

pytestmark = pytest.mark.system

PARTNER_PORT = 9001  # the design's catalog calls its partner there
CHECKS_MIN = 20


class House(NamedTuple):
    waypost: WaypostProcess
    sink: Sink


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One at a time on this machine, because of the port."""
    with (Path(tempfile.gettempdir()) / "waypost-port-9001.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sink = Sink(PARTNER_PORT)
        until(lambda: _is_free(PARTNER_PORT), f"port {PARTNER_PORT}, which the design's catalog names, is free")
        with sink, WaypostProcess(tmp_path_factory.mktemp("walkthrough"), DESIGN) as waypost:
            yield House(waypost, sink)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Ids(NamedTuple):
    """Of one conversion and its postback."""

    click: str
    receipt: str
    txn: str
    conversion: str
    postback: str


@pytest.fixture(scope="module")
def ids(house: House) -> Ids:
    """A click, then a postback; answers and the partner's side are checked on the way."""
    redirect = fetch(house.waypost.port, "/c/demo", {"sub1": "abc"})
    assert redirect.status == 302
    target = re.fullmatch(r"http://127\.0\.0\.1:9000/land\?cid=(\w{23})&s=abc", redirect.headers["Location"])
    assert target is not None, redirect
    answer = house.waypost.postback(click_id=target[1], goal="install", txn_id="t-77", token="s3cret")
    assert answer.status == 200
    assert re.fullmatch(r'\{"status":1,"receipt":"r[0-9a-f]{16}"\}', answer.text)
    (received,) = until(lambda: list(house.sink.received), "the partner is called")
    assert received.method == "GET"
    assert received.target == "/pb?cid=abc&money=1.20&type=lead"
    assert received.attempt == 1
    assert not received.is_repeat
    receipt = answer.json["receipt"]
    assert received.id == f"p{receipt[1:]}.1"
    return Ids(target[1], receipt, "t-77", f"c{receipt[1:]}", received.id)


@pytest.mark.parametrize("name", Ids._fields)
def test_a_trace_by_any_id_tells_the_whole_story(house: House, ids: Ids, name: str) -> None:
    def told() -> Any:
        story = house.waypost.trace(getattr(ids, name))
        return story if of_event(story, "attempt") else None

    story = until(told, "the attempt is recorded")
    (click,) = of_event(story, "click")
    assert (click["click_id"], click["link"], click["parameters"]) == (ids.click, "demo", {"sub1": "abc"})
    assert click["is_stored"]
    (call,) = of_event(story, "call")
    assert call["receipt"] == ids.receipt
    assert "s3cret" not in call["query"]
    (decision,) = of_event(story, "decision")
    assert (decision["verdict"], decision["payout"], decision["conversion"]) == ("new", "1.20 USD", ids.conversion)
    assert (decision["catalog"], decision["terms_catalog"]) == (1, 1)
    results = {check["name"]: check["result"] for check in decision["checks"]}
    assert len(results) >= CHECKS_MIN
    assert set(results.values()) <= {"pass", "skip"}
    assert {results[check] for check in ("token", "click_found", "click_age", "goal_known", "caps")} == {"pass"}
    assert [rule["postback"] for rule in decision["rules"]] == [ids.postback]
    (postback,) = of_event(story, "postback")
    assert (postback["id"], postback["state"], postback["partner"]) == (ids.postback, "delivered", "geozo")
    (attempt,) = of_event(story, "attempt")
    assert attempt["url"] == "http://127.0.0.1:9001/pb?cid=abc&money=1.20&type=lead"
    assert (attempt["status"], attempt["result"], attempt["is_repeat"]) == (200, "delivered", False)
    assert 0 < attempt["first_byte_ms"] <= attempt["total_ms"]
    assert [event["at_ms"] for event in story["events"]] == sorted(event["at_ms"] for event in story["events"])
    text = house.waypost.waypost("trace", getattr(ids, name), "--data", str(house.waypost.data))
    assert text.returncode == 0, text.stderr
    for said in (ids.click, ids.receipt, ids.conversion, ids.postback, "1.20 USD", "click_age", "type=lead", "200"):
        assert said in text.stdout, said
    assert text.stdout.count("version 1") >= 2
    assert "s3cret" not in text.stdout


def test_an_id_that_nobody_made_is_not_found(house: House, ids: Ids) -> None:
    for unknown in ("t-78", "r0000000000000001", ids.click[:-1] + ("a" if ids.click[-1] != "a" else "b")):
        done = house.waypost.waypost("trace", unknown, "--data", str(house.waypost.data))
        assert done.returncode == 1
        assert "[not_found]" in done.stderr
        assert "Traceback" not in done.stderr


def test_what_is_refused_is_found_again(house: House, ids: Ids) -> None:
    port = house.waypost.port
    query = {"click_id": ids.click, "goal": "install"}
    assert fetch(port, "/postback", query | {"token": "wr0ng"}).status == 403
    assert fetch(port, "/postback", query).status == 403
    assert fetch(port, "/c/nobody").status == 404
    assert fetch(port, "/c", {"offer": "acme-vpn", "partner": "nobody"}).status == 404
    assert fetch(port, "/nowhere").status == 404
    assert fetch(port, "/c/demo", {"sub1": "x" * 9000}).status == 414
    assert _raw(port, b"BREW /pot HTCPCP/1.0\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    wanted = {
        "wrong_token", "missing_token", "unknown_link", "unknown_pair", "unknown_path", "url_too_long",
        "malformed_request",
    }  # fmt: skip

    def lines() -> str:
        found = house.waypost.waypost("refusals", "--data", str(house.waypost.data), "--limit", "1000")
        assert found.returncode == 0, found.stderr
        return found.stdout

    until(lambda: all(code in lines() for code in wanted), "all refusals are in the log")
    assert "wr0ng" not in lines()
    only = house.waypost.waypost("refusals", "--data", str(house.waypost.data), "--code", "unknown_link")
    assert "/c/nobody" in only.stdout
    assert "wrong_token" not in only.stdout


def _raw(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data)
        found = b""
        while piece := connection.recv(4096):
            found += piece
        return found


def test_other_ways_to_click(house: House) -> None:
    answer = fetch(house.waypost.port, "/c/demo", {"sub1": "j", "mode": "json"})
    assert answer.status == 200
    assert answer.json["url"] == f"http://127.0.0.1:9000/land?cid={answer.json['click_id']}&s=j"
    pair = fetch(house.waypost.port, "/c", {"offer": "acme-vpn", "partner": "geozo", "sub1": "p"})
    assert pair.status == 302
    assert re.fullmatch(r"http://127\.0\.0\.1:9000/land\?cid=\w{23}&s=p", pair.headers["Location"])
    assert fetch(house.waypost.port, "/healthz").status == 200


def test_duplicates_updates_and_shares_are_judged(house: House) -> None:
    waypost = house.waypost
    click_id = waypost.click("demo", sub1="xyz")

    def decided(**parameters: str) -> dict[str, Any]:
        answer = waypost.postback(click_id=click_id, token="s3cret", **parameters)
        assert answer.status == 200

        def told() -> Any:
            events = of_event(waypost.trace(answer.json["receipt"]), "decision")
            return [event for event in events if event["receipt"] == answer.json["receipt"]]

        return dict(until(told, "a verdict")[0])

    first = decided(goal="install", txn_id="u-1", status="pending")
    assert (first["verdict"], first["status"]) == ("new", "pending")
    assert "status is pending" in first["rules"][0]["stopped_by"]
    approved = decided(goal="install", txn_id="u-1", status="approved")
    assert (approved["verdict"], approved["status_before"], approved["status"]) == ("updated", "pending", "approved")
    assert approved["conversion"] == first["conversion"]
    again = decided(goal="install", txn_id="u-1", status="approved")
    assert (again["verdict"], again["code"]) == ("duplicate", "duplicate")
    share = decided(goal="purchase", txn_id="u-2", sum="19.99")
    assert (share["verdict"], share["sum"], share["payout"]) == ("new", "19.99 USD", "6.00 USD")
    refused = decided(goal="instal", txn_id="u-3")
    assert (refused["verdict"], refused["code"]) == ("refused", "goal_unknown")
    sent = until(lambda: [r for r in house.sink.received if "cid=xyz" in r.target], "the approval is sent")
    assert [request.target for request in sent] == ["/pb?cid=xyz&money=1.20&type=lead"]


def test_test_calls_are_marked_throughout_and_touch_no_cap(house: House, ids: Ids) -> None:
    waypost = house.waypost
    place = ("--data", str(waypost.data), "--port", str(waypost.port))
    before = _caps(waypost)
    assert sum(before.values()) >= 1, ids
    click = waypost.waypost("test", "click", "demo", *place, "--param", "sub1=tested")
    assert click.returncode == 0, click.stderr
    call = waypost.waypost("test", "postback", "demo", *place, "--goal", "install", "--txn", "test-1")
    assert call.returncode == 0, call.stderr
    assert "verdict   new" in call.stdout
    story = waypost.trace("test-1")
    assert {event["event"] for event in story["events"]} == {"click", "call", "decision", "postback", "attempt"}
    assert all(event["test"] for event in story["events"])
    sent = [request for request in house.sink.received if request.headers.get("waypost-test") == "1"]
    assert [request.id for request in sent] == [of_event(story, "postback")[0]["id"]]
    assert _caps(waypost) == before
    forged = fetch(waypost.port, "/c/demo", {}, Waypost_Test="guessed")
    assert forged.status == 403


def _caps(waypost: WaypostProcess) -> dict[str, int]:
    sources = waypost.sources()
    try:
        assert sources.ledger is not None
        return dict(sources.ledger.caps())
    finally:
        sources.close()


def test_the_console_answers(house: House, ids: Ids) -> None:
    def shown() -> str:
        page = fetch(house.waypost.console_port, "/")
        assert page.status == 200
        return page.text if "geozo" in page.text else ""

    # The courier publishes its lanes a moment after they were used.
    assert "pipeline" in until(shown, "the partner's lane is on the page")
    assert house.waypost.health().status == 200


def test_the_audit_holds(house: House, ids: Ids) -> None:
    text = house.waypost.waypost("audit", "--data", str(house.waypost.data))
    assert text.returncode == 0, text.stdout
    assert "every store agrees" in text.stdout
    assert house.waypost.audit()["counts"]["accepted"] >= 1
