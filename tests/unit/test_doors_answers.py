"""What a running door answers: every path, every refusal, and what it puts into its journal."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from support.catalogs import MemoryCatalogs, MemoryView, design_view
from support.doors import OPERATOR_KEY, RING, Client, DoorJournal, RunningDoor, door_settings, running_door
from waypost.catalog.model import Advertiser, Goal, Link, Offer, Partner, Target, Terms
from waypost.doors.refusal_search import Wanted, search_refusals
from waypost.errors import WaypostError
from waypost.model.frames import Auth, Click, PostbackIn
from waypost.model.ids import (
    CLICK_ID_LENGTH,
    FLAG_TEST,
    FLAG_UNRECORDED,
    ClickIdCodec,
    looks_like_click_id,
    parse_numbered,
)
from waypost.model.partition import NO_PARTITION, partition_of
from waypost.stages.visitor_data import truncated

FORM = "Content-Type: application/x-www-form-urlencoded"
JSON = "Content-Type: application/json"


def _catalog() -> MemoryCatalogs:
    """The design's catalog, and beside it what is not active, not sound, aliased, or has two targets."""
    goals = (Goal("lead", Terms("fixed")),)
    url = "https://shop.example/{offer}/{partner}/{link}?c={click_id}&s={sub1}&k={click.foo}"
    offers = [
        Offer(1, "acme-vpn", 1, "http://127.0.0.1:9000/land?cid={click_id}&s={sub1}", goals),
        Offer(2, "closed", 1, url, goals, active=False),
        Offer(3, "broken", 1, "http://shop.example/{nope", goals),
        Offer(4, "full", 2, url, goals),
        Offer(5, "strict", 2, "http://shop.example/?c={click_id}&n={cost|round(2)}", goals),
        Offer(6, "gone", 3, url, goals),
    ]
    advertisers = [
        Advertiser(1, "acme", partition_of("acme"), "s3cret"),
        Advertiser(2, "aliased", partition_of("aliased"), "a+b c", {"token": ("pass_phrase",)}),
        Advertiser(3, "left", partition_of("left"), "left", active=False),
    ]
    links = [
        Link("demo", 1, (Target(1, 1),)),
        Link("closed", 1, (Target(2, 2),)),
        Link("broken", 1, (Target(3, 3),)),
        Link("full", 1, (Target(4, 4),)),
        Link("strict", 1, (Target(5, 5),)),
        Link("gone", 1, (Target(6, 6),)),
        Link("paused", 1, (Target(7, 1),), active=False),
        Link("banned", 2, (Target(8, 1),)),
        Link("both", 1, (Target(9, 1, 3), Target(10, 4, 1), Target(11, 2, 50))),
        Link("größe", 1, (Target(12, 1),)),
    ]
    partners = [Partner(1, "geozo", ()), Partner(2, "banned", (), active=False)]
    return MemoryCatalogs(MemoryView(7, advertisers, offers, partners, links))


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDoor]:
    with running_door(tmp_path_factory.mktemp("door"), catalogs=_catalog()) as running:
        yield running


def _last_click(door: RunningDoor) -> Click:
    frame = door.journal.frames[-1]
    assert isinstance(frame, Click)
    return frame


def _last_call(door: RunningDoor) -> PostbackIn:
    frame = door.journal.frames[-1]
    assert isinstance(frame, PostbackIn)
    return frame


def test_click_redirects_with_an_id_that_is_in_the_journal(door: RunningDoor) -> None:
    answer = door.get("/c/demo?sub1=a%20b&x=1", f"User-Agent: {'m' * 600}", f"Referer: http://r.example/{'q' * 2000}")
    assert answer.status == 302
    head, _, tail = answer.headers["location"].partition("&s=")
    assert tail == "a%20b"
    prefix = "http://127.0.0.1:9000/land?cid="
    assert head.startswith(prefix)
    click_id = ClickIdCodec(RING).decode(head.removeprefix(prefix))
    click = _last_click(door)
    assert click_id == (click.ms, click.door, click.seq, click.route, click.flags) == (click.ms, 3, click.seq, 1, 0)
    assert (click.partition, click.catalog, click.query) == (partition_of("acme"), 7, b"sub1=a%20b&x=1")
    assert click.ip == "127.0.0.0"
    assert (len(click.user_agent), len(click.referrer)) == (512, 1024)


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/c/full?foo=1&foo=2&sub1=%C3%A9+%26", "https://shop.example/full/geozo/full?c=ID&s=%C3%A9%20%26&k=1"),
        ("/c/full?fo%6F=7", "https://shop.example/full/geozo/full?c=ID&s=&k=7"),
        ("/c?offer=full&partner=geozo", "https://shop.example/full/geozo/both?c=ID&s=&k="),
        ("/c?partner=geozo&offer=acme-vpn&sub1=%0d%0aX:1", "http://127.0.0.1:9000/land?cid=ID&s=%0D%0AX%3A1"),
        ("/c/" + quote("größe"), "http://127.0.0.1:9000/land?cid=ID&s="),
        ("/c/%64emo", "http://127.0.0.1:9000/land?cid=ID&s="),
        ("/c/demo#fragment", "http://127.0.0.1:9000/land?cid=ID&s="),
        ("http://door/c/demo?sub1=q", "http://127.0.0.1:9000/land?cid=ID&s=q"),
        ("/c/strict?cost=none", "http://shop.example/?c=ID&n="),
    ],
)
def test_a_target_is_rendered(door: RunningDoor, target: str, location: str) -> None:
    answer = door.get(target)
    assert answer.status == 302, answer.body
    found = answer.headers["location"]
    click_id = found.partition("c=" if "?c=" in found else "cid=")[2][:CLICK_ID_LENGTH]
    assert looks_like_click_id(click_id)
    assert found.replace(click_id, "ID") == location


def test_json_mode_answers_the_id_and_the_target(door: RunningDoor) -> None:
    answer = door.get("/c/demo?sub1=u&mode=json")
    assert answer.status == 200
    assert answer.json["url"] == f"http://127.0.0.1:9000/land?cid={answer.json['click_id']}&s=u"
    assert ClickIdCodec(RING).decode(answer.json["click_id"]) is not None
    assert door.get("/c/demo?somemode=json").status == 302


def test_head_redirects_like_get_and_has_no_body(door: RunningDoor) -> None:
    answer = door.get("/c/demo?mode=json", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 50
    assert door.get("/c/demo", method="HEAD").status == 302


def test_a_link_with_several_targets_takes_the_active_ones_by_weight(door: RunningDoor) -> None:
    for _ in range(120):
        assert door.get("/c/both").status == 302
    routes = [frame.route for frame in door.journal.frames[-120:] if isinstance(frame, Click)]
    assert set(routes) == {9, 10}
    assert 60 < routes.count(9) < 118


@pytest.mark.parametrize(
    ("request_line", "headers", "status", "code"),
    [
        ("GET /c/none", [], 404, "unknown_link"),
        ("GET /c/", [], 400, "missing_link"),
        ("GET /c", [], 400, "missing_link"),
        ("GET /c?offer=acme-vpn", [], 400, "missing_link"),
        ("GET /c?offer=acme-vpn&partner=banned", [], 410, "link_inactive"),
        ("GET /c?offer=acme-vpn&partner=nobody", [], 404, "unknown_pair"),
        ("GET /c?offer=nothing&partner=geozo", [], 404, "unknown_pair"),
        ("GET /c/closed", [], 410, "link_inactive"),
        ("GET /c/paused", [], 410, "link_inactive"),
        ("GET /c/banned", [], 410, "link_inactive"),
        ("GET /c/gone", [], 410, "link_inactive"),
        ("GET /c/broken", [], 500, "bad_target"),
        ("PUT /c/demo", ["Content-Length: 0"], 405, "method_not_allowed"),
        ("POST /c/demo", ["Content-Length: 0"], 403, "missing_token"),
        ("GET /c/demo", ["Waypost-Test: wrong"], 403, "wrong_test_key"),
        ("GET /", [], 404, "unknown_path"),
        ("GET /nothing", [], 404, "unknown_path"),
        ("GET /a/b/postback", [], 404, "unknown_path"),
        ("GET /i/nothing", [], 404, "unknown_link"),
        ("POST /i/demo", ["Content-Length: 0"], 405, "method_not_allowed"),
        ("POST /postbacks", ["Content-Length: 0"], 403, "missing_token"),
        ("GET /postbacks?token=s3cret", [], 405, "method_not_allowed"),
        ("POST /postback?token=s3cret&x=/postbacks", ["Content-Length: 70000"], 413, "body_too_large"),
        ("POST /postbacks?token=s3cret", ["Content-Length: 2000000"], 413, "body_too_large"),
        ("POST /event", ["Content-Length: 0"], 404, "unknown_path"),
        ("GET /postback?goal=x", [], 403, "missing_token"),
        ("GET /postback", [], 403, "missing_token"),
        ("GET /postback?token=", [], 403, "wrong_token"),
        ("GET /postback?token=wrong", [], 403, "wrong_token"),
        ("GET /postback?mytoken=s3cret", [], 403, "missing_token"),
        ("GET /postback?pass_phrase=s3cret", [], 403, "missing_token"),
        ("GET /wrong/postback", [], 403, "wrong_token"),
        ("GET /wrong/postback?token=s3cret", [], 403, "wrong_token"),
        ("GET /postback?token=s3cret", ["Waypost-Token: wrong"], 403, "wrong_token"),
        ("GET /postback?token=s3cret", ["Waypost-Test: wrong"], 403, "wrong_test_key"),
        ("PUT /postback?token=s3cret", ["Content-Length: 0"], 405, "method_not_allowed"),
        ("DELETE /healthz", [], 405, "method_not_allowed"),
        ("GET /c/demo", ["X: " + "y" * 20_000], 431, "headers_too_large"),
        ("GET /c/" + "d" * 9000, [], 414, "url_too_long"),
        ("POST /postback?token=s3cret", ["Content-Length: 70000"], 413, "body_too_large"),
        ("POST /postback?token=s3cret", ["Content-Length: 99999999999999999999999999"], 400, "malformed_request"),
        ("GOT /", [], 400, "malformed_request"),
    ],
)
def test_a_refusal_is_clear(door: RunningDoor, request_line: str, headers: list[str], status: int, code: str) -> None:
    before = len(door.journal.frames)
    lines = "".join(f"{line}\r\n" for line in headers)
    answer = door.ask(f"{request_line} HTTP/1.1\r\nHost: door\r\n{lines}\r\n".encode())
    assert (answer.status, answer.json["status"], answer.json["error"]) == (status, 0, code)
    assert answer.json["message"]
    assert len(door.journal.frames) == before
    if code == "method_not_allowed":
        assert answer.headers["allow"]


@pytest.mark.parametrize("path", ["/event", "/event/x"])
def test_what_is_reserved_says_that_it_is_not_available_yet(door: RunningDoor, path: str) -> None:
    assert "not available yet" in door.get(path).json["message"]


@pytest.mark.parametrize(
    ("target", "body", "headers", "advertiser"),
    [
        ("/postback?a=1&token=s3cret&b=2", b"", [], 1),
        ("/postback?token=s3cret", b"", [], 1),
        ("/postback?mytoken=1&token=%733cret", b"", [], 1),
        ("/postback?token=a%2Bb+c", b"", [], 2),
        ("/postback?x=1&pass_phrase=a%2Bb%20c", b"", [], 2),
        ("/postback?token=unrelated&pass_phrase=a%2Bb%20c", b"", [], 2),
        ("/s3cret/postback?goal=x", b"", [], 1),
        ("/a+b%20c/postback", b"", [], 2),
        ("/postback?goal=x", b"", ["Waypost-Token: s3cret"], 1),
        ("/postback", b"goal=x&token=s3cret", [FORM], 1),
        ("/postback", b"goal=x&token=s3cret", [FORM + "; charset=utf-8"], 1),
        ("/postback", b"pass_phrase=a%2Bb+c", [FORM], 2),
        ("/postback?token=s3cret", b'{"goal":"x"}', [JSON], 1),
    ],
)
def test_a_call_with_a_token_is_journaled_and_gets_its_receipt(
    door: RunningDoor, target: str, body: bytes, headers: list[str], advertiser: int
) -> None:
    for method in ("POST",) if body else ("POST", "GET"):
        answer = door.post(target, body, *headers) if method == "POST" else door.get(target, *headers)
        assert (answer.status, answer.json["status"]) == (200, 1), answer.body
        call = _last_call(door)
        assert parse_numbered(answer.json["receipt"], "r") == call.receipt
        assert (call.advertiser, call.auth, call.catalog) == (advertiser, Auth.TOKEN, 7)
        assert call.partition == partition_of({1: "acme", 2: "aliased"}[advertiser])
        assert call.method == method
        assert (call.query, call.body) == (target.partition("?")[2].encode(), body)
        assert (call.door, call.at_ms, call.ip, call.test) == (3, call.receipt >> 22, "127.0.0.1", False)


def test_a_call_that_needs_parsing_is_stored_for_the_pipeline_to_judge(door: RunningDoor) -> None:
    body = json.dumps({"token": "whatever"}).encode()
    answer = door.post("/postback?goal=x", body, JSON)
    assert (answer.status, answer.json["status"]) == (200, 1)
    call = _last_call(door)
    assert (call.auth, call.advertiser, call.partition) == (Auth.DEFERRED, 0, NO_PARTITION)
    assert (call.method, call.body, call.content_type) == ("POST", body, "application/json")


def test_the_operators_key_marks_tests(door: RunningDoor) -> None:
    mark = f"Waypost-Test: {OPERATOR_KEY}"
    assert door.get("/postback?token=s3cret", mark).status == 200
    assert _last_call(door).test is True
    answer = door.get("/c/demo?mode=json", mark)
    found = ClickIdCodec(RING).decode(answer.json["click_id"])
    assert found is not None and found.flags == FLAG_TEST == _last_click(door).flags


def test_health(door: RunningDoor) -> None:
    answer = door.get("/healthz")
    assert answer.status == 200
    assert answer.json == {
        "status": "ok",
        "door": 3,
        "catalog": 7,
        "journal": "ok",
        "pending": 0,
        "draining": False,
    }
    assert door.get("/healthz", method="HEAD").body == b""


def test_ids_never_repeat_and_grow(tmp_path: Path) -> None:
    ahead_ms = 1_900_000_000_000  # the journal ends in the future: the door's time goes on from there
    with running_door(tmp_path, journal=DoorJournal(last_ms=ahead_ms)) as door:
        receipts = [door.get("/postback?token=s3cret").json["receipt"] for _ in range(30)]
        ids = [door.get("/c/demo?mode=json").json["click_id"] for _ in range(30)]
    assert receipts == sorted(set(receipts))
    keys = [ClickIdCodec(RING).decode(text) for text in ids]
    assert all(key is not None and key.ms > ahead_ms and key.door == 3 for key in keys)
    assert len(set(keys)) == 30
    assert [frame.receipt for frame in door.journal.frames if isinstance(frame, PostbackIn)] == [
        parse_numbered(text, "r") for text in receipts
    ]


def test_without_a_catalog_everything_is_unavailable_until_one_comes(tmp_path: Path) -> None:
    catalogs = MemoryCatalogs()
    settings = door_settings(catalog_poll_ms=5)
    with running_door(tmp_path, catalogs=catalogs, settings=settings) as door:
        for path in ("/c/demo", "/postback?token=s3cret"):
            answer = door.get(path)
            assert (answer.status, answer.json["error"], answer.headers["retry-after"]) == (503, "no_catalog", "1")
        assert door.get("/healthz").json["status"] == "degraded"
        catalogs.views[1] = design_view()
        while door.get("/healthz").json["catalog"] != 1:
            pass
        assert door.get("/c/demo").status == 302
        catalogs.views[2] = design_view(2, token="other")
        while door.get("/healthz").json["catalog"] != 2:
            pass
        assert door.get("/postback?token=s3cret").status == 403
        assert door.get("/postback?token=other").status == 200
        assert _last_call(door).catalog == 2


def test_a_version_that_does_not_open_leaves_the_old_one_in_force(tmp_path: Path) -> None:
    class Broken(MemoryCatalogs):
        said = 1

        def current(self) -> int:
            return self.said

    catalogs = Broken(design_view())
    with running_door(tmp_path, catalogs=catalogs, settings=door_settings(catalog_poll_ms=2)) as door:
        assert door.get("/c/demo").status == 302
        catalogs.said = 5
        while not door.stats.values["catalog_refused"]:
            assert door.get("/c/demo").status == 302
        assert door.get("/healthz").json["catalog"] == 1
    assert door.stats.values["catalog_refused"] == 1


def test_a_catalog_folder_that_cannot_be_read_is_said_once_and_stops_nothing(tmp_path: Path) -> None:
    class Unreadable(MemoryCatalogs):
        asked = 0
        is_broken = False

        def current(self) -> int:
            self.asked += 1
            if self.is_broken:
                raise WaypostError("store_corrupt", "cannot be read")
            return super().current()

    catalogs = Unreadable(design_view())
    with running_door(tmp_path, catalogs=catalogs, settings=door_settings(catalog_poll_ms=2)) as door:
        assert door.get("/c/demo").status == 302
        catalogs.is_broken = True
        asked = catalogs.asked
        while catalogs.asked < asked + 20:
            assert door.get("/c/demo").status == 302
        assert door.stats.values["errors"] == 1


@pytest.mark.parametrize("code", ["journal_unavailable", "journal_full"])
def test_a_failing_journal_refuses_calls_and_redirects_clicks_unrecorded(tmp_path: Path, code: str) -> None:
    with running_door(tmp_path) as door:
        door.journal.failing = code
        answer = door.get("/postback?token=s3cret")
        assert (answer.status, answer.json["error"], answer.headers["retry-after"]) == (503, code, "1")
        click = door.get("/c/demo?sub1=kept&mode=json")
        assert click.json["url"].endswith("&s=kept")
        found = ClickIdCodec(RING).decode(click.json["click_id"])
        assert found is not None and found.flags == FLAG_UNRECORDED
        assert door.get("/c/demo").status == 302
        assert door.get("/healthz").json["journal"] == code
        assert door.journal.frames == []
        door.journal.failing = ""
        assert door.get("/postback?token=s3cret").status == 200
        assert door.get("/healthz").json["journal"] == "ok"
        assert len(door.journal.frames) == 1
        assert door.stats.values["door_clicks_unrecorded"] == 2


def test_more_frames_than_may_wait_are_turned_away_at_once(tmp_path: Path) -> None:
    with running_door(tmp_path, settings=door_settings(pending_frames_max=2)) as door:
        door.journal.gate.clear()
        held = [Client(door.address) for _ in range(2)]
        for client in held:
            client.send(b"GET /postback?token=s3cret HTTP/1.1\r\nHost: d\r\n\r\n")
        while door.get("/healthz").json["pending"] < 2:
            pass
        answer = door.get("/postback?token=s3cret")
        assert (answer.status, answer.json["error"]) == (503, "journal_unavailable")
        found = ClickIdCodec(RING).decode(door.get("/c/demo?mode=json").json["click_id"])
        assert found is not None and found.flags == FLAG_UNRECORDED
        door.journal.gate.set()
        assert [client.read().status for client in held] == [200, 200]
        for client in held:
            client.close()


@pytest.mark.parametrize(
    "left",
    [
        b"Authorization: Bearer s3cret\r\n\r\n",
        b"Waypost-Token: s3cret\r\n\r\n",
        b"token=s3cret&click_id=1 \r\n\r\n",
        b"a: token=another-secret\r\n\r\n",
        b'{"token": "another-secret"}\r\n\r\n',
        b"GET /postback?token=another-secret&x=1 HTTP/1.1 junk\r\n\r\n",
        b"GET /postback/token=another-secret HTTP/1.1\r\nBad Header: another-secret\r\n\r\n",
    ],
)
def test_of_what_begins_no_request_no_secret_is_kept(tmp_path: Path, left: bytes) -> None:
    with running_door(tmp_path) as door:
        assert door.ask(left).status == 400
    (entry,) = search_refusals(tmp_path, Wanted(code="malformed_request"))
    assert "secret" not in entry.url and "s3cret" not in entry.url
    assert entry.url.startswith("/postback") if left.startswith(b"GET") else not entry.url


def test_refusals_are_kept_searchable_and_without_tokens(tmp_path: Path) -> None:
    settings = door_settings(refusals_max=5)
    with running_door(tmp_path, settings=settings) as door:
        for nth in range(9):
            door.get(f"/c/none-{nth}?sub1=x")
        door.get("/postback?token=almost-s3cret&txn_id=77")
        door.get("/wr0ng/postback?goal=a")
        assert door.get("/postback?token=s3cret").status == 200  # from here on the door knows it as a secret
        door.get("/elsewhere?phrase=s3cret")
    kept = search_refusals(tmp_path, Wanted())
    assert len(kept) == 5
    assert [(entry.code, entry.url) for entry in kept[:3]] == [
        ("unknown_path", "/elsewhere?phrase=***"),
        ("wrong_token", "/***/postback?goal=a"),
        ("wrong_token", "/postback?token=***&txn_id=77"),
    ]
    assert {entry.address for entry in kept} == {"127.0.0.1", "127.0.0.0"}  # a visitor's is cut
    assert [entry.url for entry in search_refusals(tmp_path, Wanted(contains="txn_id=77"))] == [
        "/postback?token=***&txn_id=77"
    ]
    assert len(search_refusals(tmp_path, Wanted(code="unknown_link"))) == 2
    assert search_refusals(tmp_path, Wanted(address="10.0.0.1")) == []
    assert search_refusals(tmp_path, Wanted(since_ms=kept[0].at_ms + 1)) == []
    assert door.stats.values["door_refused"] == 12
    assert door.stats.values["door_requests"] == 13


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("203.0.113.77", "203.0.113.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("::ffff:203.0.113.77", "203.0.113.0"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
        ("unix", ""),
    ],
)
def test_addresses_are_truncated(address: str, kept: str) -> None:
    assert truncated(address) == kept


@pytest.mark.parametrize(
    "target",
    [*(f"/postback?token={token}" for token in ("s3cret", "nobodys")), "/postback?token=s3cret&return=OK", "/c/demo",
     "/c/none", "/c/demo?mode=json", "/i/demo", "/b/goal", "/nothing", "/healthz"],
)  # fmt: skip
def test_no_cache_answers_in_our_place(door: RunningDoor, target: str) -> None:
    assert door.get(target).headers["cache-control"] == "no-store"
