"""Postbacks and attempts rendered to requests."""

import msgspec
import pytest

from support.catalogs import MemoryCatalogs, MemoryView
from waypost.catalog.model import Partner, PostbackRule
from waypost.courier.own_headers import time_text
from waypost.courier.render import Rendered, Renderer, redacted
from waypost.errors import WaypostError
from waypost.model.frames import AttemptReason, PostbackOut

FIRST_MS = 1_700_000_000_250


def rule(url: str = "http://a.example/pb?c={sub1}", *, no: int = 1, **more: object) -> PostbackRule:
    values: dict[str, object] = {"method": "GET", "url": url, "headers": {}, "body": "", "macros": ()}
    return PostbackRule(no, (), (), (), (), **{**values, **more})  # type: ignore[arg-type]


def renderer(*rules: PostbackRule, version: int = 1) -> Renderer:
    return Renderer(MemoryCatalogs(MemoryView(version, [], [], [Partner(1, "geozo", rules)], [])))


def post(*, catalog: int = 1, number: int = 1, test: bool = False, **values: str) -> PostbackOut:
    return PostbackOut("p00.1", 1, 1, 0, 7, catalog, number, 0, 0, values, test)


def rendered(
    made: Renderer, out: PostbackOut, *, attempt: int = 1, reason: AttemptReason = AttemptReason.FIRST
) -> Rendered:
    return made.render(out, attempt=attempt, reason=reason, first_ms=FIRST_MS)


def test_a_first_attempt() -> None:
    request = rendered(renderer(rule()), post(sub1="a b&c"))
    assert request.method == "GET"
    assert request.url == "http://a.example/pb?c=a%20b%26c"
    assert request.headers == [
        ("Waypost-Id", "p00.1"),
        ("Waypost-Attempt", "1"),
        ("Waypost-First-Attempt", "2023-11-14T22:13:20.250Z"),
    ]
    assert request.body == b""


def test_a_repeat_says_so_and_why() -> None:
    made = renderer(rule())
    for reason, text in ((AttemptReason.RETRY, "retry"), (AttemptReason.UNKNOWN_AFTER_CRASH, "unknown-after-crash")):
        headers = dict(rendered(made, post(sub1="x"), attempt=3, reason=reason).headers)
        assert headers["Waypost-Attempt"] == "3"
        assert headers["Waypost-Repeat"] == "1"
        assert headers["Waypost-Repeat-Reason"] == text
        assert headers["Waypost-First-Attempt"] == time_text(FIRST_MS)


def test_a_correction_names_what_it_corrects() -> None:
    made = renderer(rule("http://a.example/pb?c={sub1}&was={corrects}&why={reason}"))
    out = msgspec.structs.replace(post(sub1="x"), corrects="p00.0")
    request = rendered(made, out, reason=AttemptReason.CORRECTION)
    assert request.url == "http://a.example/pb?c=x&was=p00.0&why=correction"
    assert dict(request.headers)["Waypost-Corrects"] == "p00.0"
    assert "Waypost-Repeat" not in dict(request.headers), "its first attempt repeats nothing"
    other = rendered(made, post(sub1="x"))
    assert other.url.endswith("&was=&why=first") and "Waypost-Corrects" not in dict(other.headers)


def test_a_test_is_marked() -> None:
    headers = dict(rendered(renderer(rule()), post(sub1="x", test=True)).headers)
    assert headers["Waypost-Test"] == "1"


def test_macros_of_the_attempt() -> None:
    made = renderer(rule("http://a.example/?i={postback_id}&n={attempt}&r={is_repeat}"))
    assert rendered(made, post()).url == "http://a.example/?i=p00.1&n=1&r=0"
    assert rendered(made, post(), attempt=2, reason=AttemptReason.RETRY).url == "http://a.example/?i=p00.1&n=2&r=1"


def test_an_attempt_says_why_and_when() -> None:
    made = renderer(rule("http://a.example/?w={reason}&f={first_attempt_time}&t={attempt_time|date('%H:%M:%S')}"))
    assert rendered(made, post()).url == "http://a.example/?w=first&f=1700000000&t=22%3A13%3A20"
    crash, again_ms = AttemptReason.UNKNOWN_AFTER_CRASH, FIRST_MS + 61_000
    again = made.render(post(), attempt=2, reason=crash, first_ms=FIRST_MS, at_ms=again_ms)
    assert again.url == "http://a.example/?w=unknown-after-crash&f=1700000000&t=22%3A14%3A21"


def test_a_value_that_was_not_committed_renders_as_nothing() -> None:
    made = renderer(rule("http://a.example/?a={sub1}&b={sub2}&n={attempt}"))
    assert rendered(made, post(sub1="x")).url == "http://a.example/?a=x&b=&n=1"


def test_headers_and_bodies() -> None:
    made = renderer(
        rule(
            method="POST",
            headers={"Content-Type": "application/json", "X-Click": "{sub1}"},
            body='{{"c":"{sub1}","n":"{attempt}"}}',
        )
    )
    request = rendered(made, post(sub1='q"\n'))
    assert request.method == "POST"
    assert request.body == b'{"c":"q\\"\\n","n":"1"}'
    (value,) = [value for name, value in request.headers if name == "X-Click"]
    assert "\n" not in value


def test_the_template_is_that_of_the_postbacks_version() -> None:
    old = MemoryView(1, [], [], [Partner(1, "geozo", (rule("http://old.example/"),))], [])
    new = MemoryView(2, [], [], [Partner(1, "geozo", (rule("http://new.example/"),))], [])
    made = Renderer(MemoryCatalogs(old, new))
    assert rendered(made, post(catalog=1)).url == "http://old.example/"
    assert rendered(made, post(catalog=2)).url == "http://new.example/"


@pytest.mark.parametrize("out", [post(catalog=9), post(number=9)])
def test_a_template_that_is_gone(out: PostbackOut) -> None:
    with pytest.raises(WaypostError, match="template_missing"):
        rendered(renderer(rule()), out)


def test_a_template_that_does_not_compile_or_render() -> None:
    with pytest.raises(WaypostError, match="render_failed"):
        rendered(renderer(rule("http://a.example/?c={no_such_macro")), post())
    with pytest.raises(WaypostError, match="render_failed"):
        rendered(renderer(rule("http://a.example/?c={sub1}")), post(sub1="x" * 70_000))


def test_a_line_break_cannot_enter_the_headers() -> None:
    with pytest.raises(WaypostError, match=r"render_bad_header|render_failed"):
        rendered(renderer(rule(headers={"X-A": "a\r\nX-B: b"})), post())
    request = rendered(renderer(rule(headers={"X-A": "{sub1}"})), post(sub1="a\r\nX-B: b"))
    assert all("\r" not in value and "\n" not in value for _, value in request.headers)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://user:secret@a.example/p?c=1", "http://***@a.example/p?c=1"),
        ("http://a.example/p?mail=a@b.c", "http://a.example/p?mail=a@b.c"),
        ("http://a.example/", "http://a.example/"),
    ],
)
def test_urls_are_kept_without_passwords(url: str, kept: str) -> None:
    assert redacted(url) == kept
