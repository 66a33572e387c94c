"""What pages report by script and pixel: who may, what is answered, what becomes a frame."""

import re
from pathlib import Path

import pytest

from support.doors import RING, RunningDoor
from support.visits import CATALOG, DESKTOP, SHOP, form, preflight, visit, visited_door
from waypost.doors.pages import SCRIPT, SCRIPT_TAG
from waypost.model.frames import Auth, Click, PostbackIn
from waypost.model.ids import FLAG_UNRECORDED, ClickIdCodec, receipt_text

ORIGIN = f"Origin: {SHOP}"
STRANGE = "Origin: https://evil.example"


def click_of(door: RunningDoor, link: str = "demo") -> str:
    return str(visit(door, f"/c/{link}?mode=json").json["click_id"])


# --- the script ------------------------------------------------------------------------------------------


def test_the_script_is_kept_by_browsers_and_known_by_its_tag(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        first = door.get("/waypost.js")
        again = door.get("/waypost.js", f"If-None-Match: {SCRIPT_TAG}")
        other = door.get("/waypost.js", 'If-None-Match: "other"')
        head = door.get("/waypost.js", method="HEAD")
    assert (first.status, first.body) == (200, SCRIPT) and first.headers["etag"] == SCRIPT_TAG
    assert first.headers["content-type"].startswith("text/javascript")
    assert first.headers["cache-control"] == "public, max-age=3600"
    assert (again.status, again.body, "content-length" in again.headers) == (304, b"", False)
    assert (other.status, head.status, head.body) == (200, 200, b"")


def test_the_script_is_small_and_asks_nobody_else() -> None:
    text = SCRIPT.decode("ascii")
    assert len(SCRIPT) < 6000
    assert set(re.findall(r'"(/b/[a-z/]+)"', text)) == {"/b/click/", "/b/goal"}
    assert "eval" not in text and "innerHTML" not in text and "document.write" not in text
    assert re.findall(r"https?://[a-z.]+", text) == ["https://go.example.com"] * 2  # in its comment


# --- clicks of direct traffic ----------------------------------------------------------------------------


def test_a_page_gets_a_click_for_a_visitor_who_came_without(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        answer = form(door, "/b/click/demo", "sub1=a&referrer=https%3A%2F%2Fsearch.example%2F", ORIGIN)
        click = door.journal.frames[-1]
    assert answer.status == 200 and list(answer.json) == ["click_id"]
    assert answer.headers["access-control-allow-origin"] == SHOP and answer.headers["vary"] == "Origin"
    found = ClickIdCodec(RING).decode(answer.json["click_id"])
    assert isinstance(click, Click) and found is not None and found.key == (click.ms, click.door, click.seq)
    assert (click.mode, click.query) == ("script", b"sub1=a&referrer=https%3A%2F%2Fsearch.example%2F")


def test_a_script_is_answered_whatever_its_pages_parameters_are_called(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        answer = form(door, "/b/click/demo", "mode=gif&sub1=a", ORIGIN)
        assert len(answer.json["click_id"]) == 23


def test_a_pixel_clicks_for_pages_without_script(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        answer = visit(door, "/b/click/demo?mode=gif&sub1=a", DESKTOP, f"Referer: {SHOP}/landing?x=1")
        click = door.journal.frames[-1]
    assert answer.headers["content-type"] == "image/gif" and answer.body[:6] == b"GIF89a"
    assert isinstance(click, Click) and (click.mode, click.query) == ("pixel", b"sub1=a")


@pytest.mark.parametrize("header", [STRANGE, "Origin: null", f"Origin: {SHOP}.evil.example", "X-Nothing: 1"])
def test_pages_of_other_origins_are_refused(tmp_path: Path, header: str) -> None:
    with visited_door(tmp_path) as door:
        click_id = click_of(door)
        held = len(door.journal.frames)
        for answer in (
            form(door, "/b/click/demo", "sub1=a", header),
            form(door, "/b/goal", f"click_id={click_id}&goal=order", header),
            preflight(door, "/b/click/demo", header.partition(": ")[2]),
        ):
            assert (answer.status, answer.json["error"]) == (403, "origin_not_allowed")
            assert "access-control-allow-origin" not in answer.headers
        assert len(door.journal.frames) == held


def test_a_page_speaks_for_its_own_advertiser_only(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        assert form(door, "/b/click/elsewhere", "", ORIGIN).status == 403
        routes = set()
        for _ in range(20):
            assert form(door, "/b/click/mixed", "", ORIGIN).status == 200
            click = door.journal.frames[-1]
            assert isinstance(click, Click)
            routes.add(click.route)
        assert len(routes) == 1  # 99 of 100 would go to the other advertiser's offer
        foreign = click_of(door, "elsewhere")
        assert form(door, "/b/goal", f"click_id={foreign}&goal=order", ORIGIN).status == 403


def test_a_browser_that_asks_first_is_told(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        answer = preflight(door, "/b/click/demo", SHOP)
        assert (answer.status, answer.body) == (204, b"") and "content-length" not in answer.headers
        assert answer.headers["access-control-allow-origin"] == SHOP
        assert answer.headers["access-control-allow-methods"] == "GET, POST"
        assert answer.headers["access-control-allow-headers"] == "content-type"
        click_id = click_of(door)
        assert preflight(door, f"/b/goal?click_id={click_id}", SHOP).status == 204
        assert [type(frame) for frame in door.journal.frames] == [Click]


def test_a_page_gets_an_unrecorded_id_while_the_journal_fails(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        door.journal.failing = "journal_unavailable"
        found = ClickIdCodec(RING).decode(form(door, "/b/click/demo", "", ORIGIN).json["click_id"])
        assert found is not None and found.flags & FLAG_UNRECORDED


# --- goals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain;charset=UTF-8"])
def test_a_page_reports_a_goal(tmp_path: Path, kind: str) -> None:
    with visited_door(tmp_path) as door:
        click_id = click_of(door)
        body = f"click_id={click_id}&goal=order&sum=49.90&currency=EUR&txn_id=A-1"
        answer = form(door, "/b/goal", body, ORIGIN, kind=kind)
        report = door.journal.frames[-1]
    assert isinstance(report, PostbackIn)
    assert (answer.status, answer.json) == (200, {"status": 1, "receipt": receipt_text(report.receipt)})
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert (report.auth, report.origin, report.query, report.body) == (Auth.BROWSER, "browser", body.encode(), b"")
    assert (report.ip, report.test, report.offer) == ("127.0.0.0", False, 0)
    assert door.stats.values["door_browser_reports"] == 1


def test_a_thank_you_pixel_reports_a_goal(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        click_id = click_of(door)
        answer = visit(door, f"/b/goal?mode=gif&click_id={click_id}&goal=order", DESKTOP, f"Referer: {SHOP}/")
        report = door.journal.frames[-1]
    assert answer.body[:6] == b"GIF89a" and isinstance(report, PostbackIn) and report.auth is Auth.BROWSER


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("click_id=ID&goal=lead", 403, "goal_not_allowed"),
        ("click_id=ID", 403, "goal_not_allowed"),
        ("goal=order", 400, "bad_click"),
        ("click_id=00000000000000000000000&goal=order", 400, "bad_click"),
        ("click_id=%00&goal=order", 400, "bad_click"),
    ],
)
def test_what_a_page_may_not_report(tmp_path: Path, body: str, status: int, code: str) -> None:
    with visited_door(tmp_path) as door:
        answer = form(door, "/b/goal", body.replace("ID", click_of(door)), ORIGIN)
        assert (answer.status, answer.json["error"]) == (status, code)
        assert len(door.journal.frames) == 1


def test_a_page_that_sends_json_is_told_to_send_a_form(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        answer = form(door, "/b/goal", '{"goal":"order"}', ORIGIN, kind="application/json")
        assert (answer.status, answer.json["error"]) == (415, "not_a_form")


def test_an_advertiser_without_pages_gets_nothing_from_pages(tmp_path: Path) -> None:
    text = re.sub(r"    browser: .*\n", "", CATALOG)
    with visited_door(tmp_path, text) as door:
        click_id = click_of(door)
        assert form(door, "/b/goal", f"click_id={click_id}&goal=order", ORIGIN).status == 403
        assert form(door, "/b/click/demo", "", ORIGIN).status == 403


def test_a_report_that_cannot_be_journaled_is_answered_503_that_the_page_may_read(tmp_path: Path) -> None:
    with visited_door(tmp_path) as door:
        click_id = click_of(door)
        door.journal.failing = "journal_unavailable"
        answer = form(door, "/b/goal", f"click_id={click_id}&goal=order", ORIGIN)
        assert (answer.status, answer.json["error"]) == (503, "journal_unavailable")
        assert answer.headers["access-control-allow-origin"] == SHOP and answer.headers["retry-after"] == "1"
