"""Visits over HTTP: the modes of a click, impressions, prefetch and duplicates, the board, apps and hosts."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from support.doors import OPERATOR_KEY, RING, RunningDoor, door_settings
from support.visits import ANDROID, CATALOG, DESKTOP, FINGERPRINT, IPHONE, form, visit, visited_door
from waypost.doors.app_page import POLICY
from waypost.engines.local.board import FileBoard
from waypost.model.frames import Click, Impression, PostbackIn
from waypost.model.ids import FLAG_TEST, ClickIdCodec
from waypost.ports.board import FORM, NEVER_MS, Board, CapRoom


def last_touch(door: RunningDoor) -> Click | Impression:
    found = door.journal.frames[-1]
    assert isinstance(found, Click | Impression)
    return found


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
    raise AssertionError("it did not come to hold")


def id_in(url: str, name: str = "cid") -> str:
    return parse_qs(urlsplit(url).query)[name][0]


# --- redirects -------------------------------------------------------------------------------------------


def test_a_redirect_has_the_links_status_and_headers_that_keep_it_to_the_visitor(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        usual, quiet = visit(door, "/c/demo?sub1=a"), visit(door, "/c/quiet?sub1=a")
    assert (usual.status, quiet.status) == (302, 307)
    assert usual.headers["referrer-policy"] == "no-referrer-when-downgrade"
    assert quiet.headers["referrer-policy"] == "no-referrer"
    for answer in (usual, quiet):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-robots-tag"] == "noindex, nofollow"


@pytest.mark.parametrize("name", ["url", "to", "redirect", "target", "r", "sub1", "offer", "host", "deep_link"])
@pytest.mark.parametrize(
    "value", ["http://evil.example/", "//evil.example", "@evil.example", "\\\\evil.example", "%00"]
)
def test_no_parameter_decides_the_targets_host(tmp_path: Path, name: str, value: str) -> None:
    with visited_door(tmp_path) as door:
        for link, agent in (("demo", DESKTOP), ("universal", IPHONE), ("app", IPHONE), ("app", ANDROID)):
            answer = visit(door, f"/c/{link}?{name}={quote(value)}&mode=json", agent, "X-Forwarded-Host: evil.example")
            target = urlsplit(answer.json["url"])
            assert (target.scheme, target.netloc) in {
                ("http", "shop.example"),
                ("https", "app.shop.example"),
                ("shopapp", "product"),
                ("intent", "product"),
            }


def test_json_answers_id_and_address_without_a_redirect(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        answer = visit(door, "/c/demo?sub1=a&mode=json")
        assert answer.status == 200 and id_in(answer.json["url"]) == answer.json["click_id"]
        assert last_touch(door).mode == "json"


# --- prefetch, bots, duplicates --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "header"),
    [
        ("GET", "Sec-Purpose: prefetch;prerender"),
        ("GET", "Purpose: prefetch"),
        ("GET", "X-Moz: prefetch"),
        ("HEAD", "Accept: */*"),
    ],
)
def test_who_looks_ahead_is_answered_and_marked_and_is_no_visit(tmp_path: Path, method: str, header: str) -> None:
    with visited_door(tmp_path) as door:
        assert visit(door, "/c/demo", DESKTOP, header, method=method).status == 302
        assert last_touch(door).marks == ("prefetch",)
        assert visit(door, "/c/demo").status == 302
        assert last_touch(door).marks == ()
        assert door.stats.values["door_clicks_prefetch"] == 1


def test_a_second_click_of_a_visitor_is_marked(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        marks = []
        for target, agent in (
            ("/c/demo", DESKTOP),
            ("/c/demo?sub1=other", DESKTOP),
            ("/c/quiet", DESKTOP),
            ("/c/demo", IPHONE),
            ("/i/demo", IPHONE),
            ("/i/demo", IPHONE),
        ):
            assert visit(door, target, agent).status < 400
            marks.append(last_touch(door).marks)
        users = [frame.user for frame in door.journal.frames if isinstance(frame, Click | Impression)]
    assert marks == [(), ("duplicate", "returning"), ("returning",), (), ("returning",), ("duplicate", "returning")]
    assert len(set(users)) == 2 and all(len(user) == 8 for user in users)
    assert door.stats.values["door_clicks_duplicate"] == 2


def test_a_view_is_no_visit_of_another_link_whose_name_is_like_it(tmp_path: Path) -> None:
    text = CATALOG.replace("  quiet:", "  iquiet: {partner: geozo, offer: shop}\n  quiet:")
    with visited_door(tmp_path, text) as door:
        for target in ("/i/quiet", "/c/iquiet", "/c/quiet"):
            assert visit(door, target).status < 400
            assert "duplicate" not in last_touch(door).marks


def test_tests_are_never_duplicates(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        for _ in range(2):
            assert visit(door, "/c/demo", DESKTOP, f"Waypost-Test: {OPERATOR_KEY}").status == 302
            assert (last_touch(door).marks, last_touch(door).flags) == ((), FLAG_TEST)


def test_a_window_of_nothing_marks_nothing(tmp_path: Path) -> None:
    with visited_door(tmp_path, settings=door_settings(duplicate_window_ms=0)) as door:
        for _ in range(2):
            visit(door, "/c/demo")
        assert last_touch(door).marks == ("returning",)


# --- privacy ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ip", ["truncated", "hashed", "none"])
def test_no_byte_of_the_journal_has_a_whole_address(tmp_path: Path, ip: str) -> None:
    text = CATALOG + f"privacy: {{ip: {ip}}}\n"
    with visited_door(tmp_path, text) as door:
        visit(door, "/c/demo?ip=203.0.113.77&sub1=a&user_ip=2001:db8:1:2::3", DESKTOP, "Referer: http://a.example/")
        visit(door, "/i/demo?IP=203.0.113.77")
        form(door, "/c/demo", "token=p4rtner&ip=198.51.100.23&user_agent=Firefox&sub2=b")
        click_id = id_in(visit(door, "/c/demo").headers["location"])
        goal = form(door, "/b/goal", f"click_id={click_id}&goal=order&ip=203.0.113.77", "Origin: https://shop.example")
        assert goal.status == 200
        data = b"".join(b"".join(frames) for frames, _ in door.journal.blocks)
        assert len(door.journal.frames) == 5
    for address in (b"127.0.0.1", b"203.0.113.77", b"198.51.100.23", b"2001:db8:1:2"):
        assert address not in data
    assert (b"203.0.113.0" in data) == (ip == "truncated") and b"sub1=a" in data and b"p4rtner" not in data


def test_what_is_kept_of_agent_and_referrer_is_the_catalogs_to_say(tmp_path: Path) -> None:
    header = "Referer: https://blog.example/post?reader=anna"
    with visited_door(tmp_path) as door:
        visit(door, "/c/demo", IPHONE, header)
        usual = last_touch(door)
    with visited_door(tmp_path, CATALOG + "privacy: {user_agent: none, referrer: origin}\n") as door:
        visit(door, "/c/demo", IPHONE, header)
        cut = last_touch(door)
    assert (usual.user_agent, usual.referrer) == (IPHONE.encode(), b"https://blog.example/post?reader=anna")
    assert (cut.user_agent, cut.referrer) == (b"", b"https://blog.example")


def test_a_refused_visitors_address_is_cut_like_a_clicks(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        visit(door, "/c/nothing?ip=203.0.113.77&sub1=a")
    log = b"".join(file.read_bytes() for file in tmp_path.glob("door-0.db*"))
    assert b"/c/nothing?ip=203.0.113.0&sub1=a" in log and b"127.0.0.1" not in log and b"203.0.113.77" not in log


@pytest.mark.parametrize(
    "target", ["/aff_c?offer_id=no&aff_id=no&ip={}", "/click.php?key=no&ip={}", "http://d/c/no?ip={}"]
)
def test_a_refused_visitor_is_cut_whatever_his_url_is_called(tmp_path: Path, target: str) -> None:
    with visited_door(tmp_path, settings=door_settings(address_refused_per_s=1, address_refused_burst=2)) as door:
        statuses = [visit(door, target.format("203.0.113.77")).status for _ in range(3)]
    assert statuses == [404, 404, 429]
    log = b"".join(file.read_bytes() for file in tmp_path.glob("door-0.db*"))
    assert b"ip=203.0.113.0" in log and b"127.0.0.1" not in log and b"203.0.113.77" not in log


def test_a_pages_report_is_hashed_under_the_days_key(tmp_path: Path) -> None:
    with visited_door(tmp_path, CATALOG + "privacy: {ip: hashed}\n") as door:
        click_id = id_in(visit(door, "/c/demo?ip=203.0.113.77").headers["location"])
        form(door, "/b/goal", f"click_id={click_id}&goal=order&token=x&ip=203.0.113.77", "Origin: https://shop.example")
        click, report = door.journal.frames[-2:]
    assert isinstance(click, Click) and isinstance(report, PostbackIn)
    assert re.search(rb"ip=h[0-9a-f]{16}", click.query) and click.query.split(b"ip=")[1] in report.query
    assert b"token" not in report.query


# --- server to server ------------------------------------------------------------------------------------


def test_a_partners_server_clicks_for_a_visitor(tmp_path: Path) -> None:
    facts = f"ip=198.51.100.23&user_agent={quote(IPHONE)}&referrer={quote('https://blog.example/p')}"
    with visited_door(tmp_path) as door:
        answers = [
            form(door, "/c/universal?sub1=a", f"token=p4rtner&{facts}"),
            door.post(f"/c/universal?sub1=a&{facts}", b"", "Waypost-Token: p4rtner"),
            door.get(f"/c/universal?mode=s2s&sub1=a&token=p4rtner&{facts}"),
        ]
        clicks = [frame for frame in door.journal.frames if isinstance(frame, Click)]
    for answer, click in zip(answers, clicks, strict=True):
        assert answer.status == 200 and id_in(answer.json["url"]) == answer.json["click_id"]
        assert urlsplit(answer.json["url"]).netloc == "app.shop.example"  # led as the visitor's phone would be
        assert (click.mode, click.ip, click.user_agent, click.query) == (
            "server",
            "198.51.100.0",
            IPHONE.encode(),
            b"sub1=a",
        )
        assert click.referrer == b"https://blog.example/p"
    assert [click.marks for click in clicks] == [(), ("duplicate", "returning"), ("duplicate", "returning")]


@pytest.mark.parametrize(
    ("link", "body", "kind", "status", "code"),
    [
        ("demo", "ip=198.51.100.23", "", 403, "missing_token"),
        ("demo", "token=wrong&ip=198.51.100.23", "", 403, "wrong_token"),
        ("demo", "token=s3cret&ip=198.51.100.23", "", 403, "wrong_token"),  # an advertiser's is no partner's
        ("tokenless", "token=&ip=198.51.100.23", "", 403, "missing_token"),
        ("tokenless", "token=x&ip=198.51.100.23", "", 403, "wrong_token"),
        ("demo", "token=p4rtner", "", 400, "bad_visitor"),
        ("demo", "token=p4rtner&ip=nowhere", "", 400, "bad_visitor"),
        ("demo", '{"token":"p4rtner"}', "application/json", 415, "not_a_form"),
    ],
)
def test_a_stranger_cannot_click_for_others(
    tmp_path: Path, link: str, body: str, kind: str, status: int, code: str
) -> None:
    with visited_door(tmp_path) as door:
        answer = form(door, f"/c/{link}", body, kind=kind)
        assert (answer.status, answer.json["error"]) == (status, code)
        assert door.journal.frames == []


def test_what_an_ordinary_click_says_of_the_visitor_is_not_believed(tmp_path: Path) -> None:
    with visited_door(tmp_path, CATALOG + "privacy: {ip: whole}\n") as door:
        visit(door, "/c/demo?ip=198.51.100.23&user_agent=Other")
        click = last_touch(door)
    assert (click.ip, click.user_agent) == ("127.0.0.1", DESKTOP.encode())


# --- impressions -----------------------------------------------------------------------------------------


def test_an_impression_is_a_pixel_and_a_frame(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        answer = visit(door, "/i/demo?sub1=a")
        assert (answer.status, answer.headers["content-type"]) == (200, "image/gif")
        assert answer.body[:6] == b"GIF89a" and answer.headers["cache-control"] == "no-store"
        view = last_touch(door)
        assert isinstance(view, Impression) and (view.mode, view.query) == ("pixel", b"sub1=a")
        named = visit(door, "/i/demo?mode=json").json["impression_id"]
        found = ClickIdCodec(RING).decode(named)
        assert found is not None and found.key == (last_touch(door).ms, last_touch(door).door, last_touch(door).seq)
    values = door.stats.values
    assert (values["door_impressions"], values["door_clicks"], values["door_postbacks"]) == (2, 0, 0)


def test_a_page_gets_its_pixel_though_the_journal_fails(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        door.journal.failing = "journal_unavailable"
        assert visit(door, "/i/demo").body[:6] == b"GIF89a"
        assert door.stats.values["door_impressions_unrecorded"] == 1


# --- the board -------------------------------------------------------------------------------------------


def test_an_offer_that_is_used_up_is_skipped_until_the_board_expires(tmp_path: Path) -> None:
    writer = FileBoard(tmp_path / "board" / "current.json")
    with visited_door(tmp_path, settings=door_settings(catalog_poll_ms=5)) as door:
        offer = door.catalogs.open(1).offer_named("shop")
        assert offer is not None
        room = CapRoom(offer.no, "o1:conversions:day:UTC@x", 5, 0, NEVER_MS)
        writer.publish(Board(FORM, 1, 0, NEVER_MS, (room,)))
        wait_until(lambda: visit(door, "/c/demo").status == 410)
        taken = {urlsplit(visit(door, "/c/mixed?mode=json").json["url"]).netloc for _ in range(20)}
        reasons = {reason for frame in door.journal.frames if isinstance(frame, Click) for _, reason in frame.skipped}
        assert (taken, reasons) == ({"elsewhere.example"}, {"cap_reached"})
        writer.publish(Board(FORM, 1, 0, 1, (room,)))  # one that has expired: nobody has written since
        wait_until(lambda: visit(door, "/c/demo").status == 302)


# --- apps and hosts --------------------------------------------------------------------------------------


def test_a_phone_is_led_to_the_app_and_the_others_to_the_web(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        web = visit(door, "/c/app?sub1=7", DESKTOP)
        android = visit(door, "/c/app?sub1=a%20b", ANDROID)
        universal = visit(door, "/c/universal", IPHONE)
        store = visit(door, "/c/universal", ANDROID)
        plain = visit(door, "/c/universal", DESKTOP)
    assert (web.status, web.headers["location"].split("?")[0]) == (302, "http://shop.example/app")
    intent = android.headers["location"]
    asked, fallback = intent.split(";S.browser_fallback_url=")
    assert asked == "intent://product/a%20b#Intent;scheme=shopapp;package=com.example.shop" and android.status == 302
    assert fallback.startswith("http%3A%2F%2Fshop.example%2Fapp%3Fcid%3D") and fallback.endswith(";end")
    assert universal.status == 307 and universal.headers["location"].startswith("https://app.shop.example/p?cid=")
    assert (store.status, store.headers["location"]) == (307, "http://play.example/?id=shop")
    assert plain.headers["location"].startswith("http://shop.example/web?cid=")


def test_an_apps_own_scheme_comes_as_a_page_that_goes_on_to_the_store(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        page = visit(door, "/c/app?sub1=%22%3E%3Cscript%3E", IPHONE)
        told = visit(door, "/c/app?sub1=7&mode=json", IPHONE).json
        head = visit(door, "/c/app?sub1=7", IPHONE, method="HEAD")
    text = page.body.decode()
    found = re.search('id="app" href="([^"]*)".*id="web" href="([^"]*)"', text)
    assert found is not None and page.status == 200 and page.headers["content-type"] == "text/html"
    assert found[1].startswith("shopapp://product/%22%3E%3Cscript%3E?cid=") and text.count("<script>") == 1
    assert found[2].startswith("https://apps.example/id1?ct=")
    assert page.headers["content-security-policy"] in POLICY and page.headers["x-robots-tag"] == "noindex, nofollow"
    assert told["url"].startswith("shopapp://product/7?cid=") and told["fallback"].startswith("https://apps.example/")
    assert (head.status, head.body) == (200, b"")


def at(door: RunningDoor, host: str, target: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    data = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    answer = door.ask(data, is_head=method == "HEAD")
    return answer.status, answer.headers, answer.body


def test_a_host_has_the_files_that_phones_look_for(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        status, headers, apple = at(door, "Go.Example.com:443", "/.well-known/apple-app-site-association")
        assert (status, headers["content-type"]) == (200, "application/json")
        assert at(door, "go.example.com", "/apple-app-site-association")[2] == apple
        status, headers, google = at(door, "go.example.com.", "/.well-known/assetlinks.json")
        assert (status, headers["content-type"]) == (200, "application/json")
        assert at(door, "other.example.com", "/.well-known/assetlinks.json")[0] == 404
        assert at(door, "go.example.com", "/robots.txt")[2] == b"User-agent: *\nDisallow: /\n"
        assert at(door, "go.example.com", "/.well-known/assetlinks.json", "HEAD")[2] == b""
    assert json.loads(apple)["applinks"] == {
        "apps": [],
        "details": [
            {
                "appIDs": ["ABCDE12345.com.example.shop"],
                "components": [{"/": "/c/*"}, {"/": "/c/web-*", "exclude": True}],
                "appID": "ABCDE12345.com.example.shop",
                "paths": ["/c/*", "NOT /c/web-*"],
            }
        ],
    }
    assert json.loads(google) == [
        {
            "relation": ["delegate_permission/common.handle_all_urls"],
            "target": {
                "namespace": "android_app",
                "package_name": "com.example.shop",
                "sha256_cert_fingerprints": [FINGERPRINT],
            },
        }
    ]


def test_a_host_leads_to_its_link_and_a_closed_one_nowhere(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        status, headers, _ = at(door, "go.example.com", "/?sub1=a")
        assert status == 302 and headers["location"].startswith("http://shop.example/?cid=")
        assert headers["location"].endswith("&s=a")
        assert at(door, "other.example.com", "/")[0] == 404
        status, _, body = at(door, "closed.example.com", "/c/demo")
        assert (status, json.loads(body)["error"]) == (421, "unknown_host")
        assert at(door, "closed.example.com", "/postback?token=s3cret")[0] == 421
        assert at(door, "closed.example.com", "/healthz")[0] == 200
        assert len([frame for frame in door.journal.frames if isinstance(frame, Click)]) == 1
