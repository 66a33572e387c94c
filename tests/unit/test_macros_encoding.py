"""Positions: what a value becomes in each, and what a template may not do."""

import json

import pytest

from waypost.errors import WaypostError
from waypost.macros.syntax import MacroError
from waypost.macros.template import Position, compile_template

NASTY = "a/b?c=d&e#f g%h;é\r\n\"'"
ENCODED = "a%2Fb%3Fc%3Dd%26e%23f%20g%25h%3B%C3%A9%0D%0A%22%27"


@pytest.mark.parametrize(
    "text",
    ["http://h/{sub1}/x", "https://h?{sub1}=1", "http://h/?a={sub1}", "http://h/#{sub1}", "http://h:81/a?b=c&{sub1}"],
)
def test_every_part_of_a_url_is_percent_encoded(text: str) -> None:
    template = compile_template(text, position=Position.URL)
    assert template.render({"sub1": NASTY}) == text.replace("{sub1}", ENCODED)


@pytest.mark.parametrize(
    "position", [Position.PATH, Position.QUERY, Position.QUERY_KEY, Position.FRAGMENT, Position.FORM]
)
def test_parts_on_their_own(position: Position) -> None:
    assert compile_template("x={sub1}", position=position).render({"sub1": NASTY}) == f"x={ENCODED}"


def test_a_header_carries_no_control_and_no_other_script() -> None:
    template = compile_template("Bearer {sub1}", position=Position.HEADER)
    assert template.render({"sub1": "a b\r\nX: 1\x00é"}) == "Bearer a b%0D%0AX: 1%00%C3%A9"
    with pytest.raises(MacroError, match="macro_syntax"):
        compile_template("a\r\nb: {sub1}", position=Position.HEADER)


def test_json_inside_and_outside_of_strings() -> None:
    template = compile_template('{{"id": "x{sub1}", "pay": {payout}, "s": {sub2}}}', position=Position.JSON)
    values = {"sub1": 'q"\\\n', "payout": "1.20", "sub2": "007, 1"}
    assert json.loads(template.render(values)) == {"id": 'xq"\\\n', "pay": 1.2, "s": "007, 1"}
    assert json.loads(template.render({})) == {"id": "x", "pay": "", "s": ""}


@pytest.mark.parametrize("text", ['{{"a": "\\{sub1}"}}', '{{"a": "x'])
def test_json_that_a_value_could_leave(text: str) -> None:
    with pytest.raises(MacroError, match="macro_syntax"):
        compile_template(text, position=Position.JSON)


@pytest.mark.parametrize(
    "text",
    [
        "{sub1}",
        "{sub1}://h/",
        "http://{sub1}/",
        "http://a.{sub1}.com/",
        "http://h:{sub1}/",
        "http://h{sub1}",
        "http://{sub1}@h/",
    ],
)
def test_no_macro_in_scheme_host_or_port(text: str) -> None:
    with pytest.raises(MacroError) as raised:
        compile_template(text, position=Position.URL)
    assert (raised.value.code, raised.value.column) == ("macro_in_host", text.index("{") + 1)


@pytest.mark.parametrize(
    "text",
    ["", "h/x", "ftp://h/", "http:///x", "http://h:0/", "http://h:99999/", "http://h y/", "http://ü.de/", "http://h/ x",
     "http://h/\n", "http://", "//h/x", "javascript:alert(1)//://x"],
)  # fmt: skip
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(MacroError, match="macro_not_url"):
        compile_template(text, position=Position.URL)


@pytest.mark.parametrize(
    "text", ["HTTPS://h", "http://[::1]:9/x", "http://u:p@h/x", "http://h?a", "http://h#f", "http://10.0.0.1:8080"]
)
def test_what_is_a_url(text: str) -> None:
    assert compile_template(text, position=Position.URL).render({}) == text


def test_literals_that_no_url_may_hold_are_spelled_in_percent() -> None:
    template = compile_template('http://h/ü/{{x}}?q="<é>"', position=Position.URL)
    assert template.render({}) == "http://h/%C3%BC/%7Bx%7D?q=%22%3C%C3%A9%3E%22"


@pytest.mark.parametrize("value", [".", ".."])
def test_a_value_never_climbs_a_path(value: str) -> None:
    with pytest.raises(WaypostError, match="macro_value"):
        compile_template("http://h/a/{sub1}/b", position=Position.URL).render({"sub1": value})
    assert (
        compile_template("http://h/?a={sub1}", position=Position.URL).render({"sub1": value}) == f"http://h/?a={value}"
    )


def test_half_a_character_does_not_break_a_render() -> None:
    assert (
        compile_template("http://h/?a={sub1}", position=Position.URL).render({"sub1": "x\ud800"}) == "http://h/?a=x%3F"
    )


def test_a_dot_is_refused_in_the_path_only_whatever_stands_beside_it() -> None:
    for text in ("http://h/{sub1}?a={sub2}&b={sub3}", "http://h/?b={sub3}&a={sub2}"):
        template = compile_template(text, position=Position.URL)
        url = template.render({"sub1": "x", "sub2": ".", "sub3": "a b"})
        assert "a=." in url and "b=a%20b" in url
