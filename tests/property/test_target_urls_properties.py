"""The address of a click by the short way and step by step: the same for all templates, queries and facts."""

import re
import string
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from waypost.errors import WaypostError
from waypost.macros.in_place import Origins, write_in_place
from waypost.macros.pieces import Missing
from waypost.macros.template import Position, compile_template
from waypost.model.facts import AnyFacts, Facts
from waypost.stages.target_urls import NO_URL, TargetUrl

ID = "a0123456789012345678901"
FIXED = {"link": "demo", "offer": "Häuser & more", "partner": "."}
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=12)
PLAIN = st.text(st.sampled_from(string.ascii_letters + "09-._~"), max_size=12)
VALUE = st.one_of(PLAIN, PLAIN, ANY_TEXT, st.sampled_from(["", ".", "..", "a=b", "{sub1}", "a:b", "é", "x" * 40]))

NAME = st.sampled_from(
    ["click_id", "sub1", "sub1", "sub10", "source", "country", "browser", "click.sub1", "click.x-y", "click.country",
     "click.email", "click.link", "link", "offer", "partner"]
)  # fmt: skip
CALLS = st.sampled_from(
    ["", "", "", "", "", "!", "?", "|lower", "|raw", "|default('a b')", "|round(2)", "|urldecode", "|map(a=1, *='x&y')"]
)
MACRO = st.tuples(NAME, CALLS).map(lambda parts: f"{{{parts[0]}{parts[1]}}}")
IN_PATH = st.tuples(NAME, CALLS.filter(lambda calls: calls not in ("?", "|raw"))).map(
    lambda two: f"{{{two[0]}{two[1]}}}"
)
CHOICE = st.tuples(NAME, MACRO, MACRO).map("{{if {0[0]} == 'a' or link == 'x'}}{0[1]}{{else}}-{0[2]}{{end}}".format)
TEMPLATES = st.tuples(
    st.sampled_from(["http://h", "http://h", "http://h", "http://é@h"]),
    st.lists(st.one_of(st.just("/"), st.just("a"), IN_PATH), max_size=3),
    st.lists(st.one_of(st.just("&p="), MACRO, MACRO, CHOICE), max_size=6),
).map(lambda parts: f"{parts[0]}/{''.join(parts[1])}?q={''.join(parts[2])}")

KEY = st.one_of(
    st.sampled_from(["sub1", "sub1", "sub10", "source", "country", "x-y", "link", "email", "s", "", "s%75b1", "sub1+"]),
    st.text("sub1%+&=é", max_size=5),
)
WRITTEN = st.one_of(VALUE, VALUE.map(lambda text: quote(text, errors="replace")), st.just("a+b"))
PAIR = st.one_of(st.tuples(KEY, WRITTEN).map("=".join), KEY, ANY_TEXT).map(
    lambda text: text.encode("utf-8", "surrogatepass")
)
WANTED = st.sampled_from(
    ["sub1", "sub1=", "sub1=1", "sub1=2", "sub1=.", "sub1=a=b", "sub1=sub1=3", "sub1=a+b", "sub1=%2E", "sub1=%ff",
     "sub1=é", "s%75b1=4", "s%75b1", "sub%2B1=5", "sub+1=6", "xsub1=7", "sub10=8", "=sub1=9", "", "source=a", "source",
     "c+d=b", "click.e+f=c", "sub1=" + "x" * 400]
).map(str.encode)  # fmt: skip
QUERIES = st.one_of(st.lists(PAIR, max_size=8).map(b"&".join), st.binary(max_size=20))
FACTS = st.dictionaries(
    st.sampled_from(["country", "browser", "os"]),
    VALUE.filter(lambda text: not re.search("[\ud800-\udfff]", text)),  # none can be in a frame
    max_size=3,
)
NAMES = st.sampled_from([{}, {}, {}, {"aff": "sub1"}])


def outcome(render: Callable[[str, bytes, AnyFacts], str], query: bytes, facts: AnyFacts) -> str:
    """The address, or the error as text."""
    try:
        return render(ID, query, facts)
    except WaypostError as error:
        return f"{error.code}: {error}"


def agree(
    text: str, missing: Missing, names: dict[str, str], bytes_max: int, clicks: list[tuple[bytes, dict[str, str]]]
) -> None:
    """Both ways, the careful one with a render that is careful too, come to the same."""
    one, other = (
        compile_template(text, position=Position.URL, missing=missing, names=None, output_bytes_max=bytes_max)
        for _ in range(2)
    )
    other.render = other.render_carefully
    short, careful = TargetUrl(one, FIXED, names).shortest(), TargetUrl(other, FIXED, names).careful
    for query, facts in clicks:
        for each in (Facts.of(facts), facts):
            assert outcome(short, query, each) == outcome(careful, query, facts)


@settings(max_examples=500, deadline=None)
@given(
    TEMPLATES, st.sampled_from(list(Missing)), NAMES, st.integers(30, 200),
    st.lists(st.tuples(QUERIES, FACTS), min_size=1, max_size=6),
)  # fmt: skip
def test_both_ways_come_to_the_same(
    text: str, missing: Missing, names: dict[str, str], bytes_max: int, clicks: list[tuple[bytes, dict[str, str]]]
) -> None:
    agree(text, missing, names, bytes_max, clicks)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.sampled_from(["{sub1}", "{source}", "{country}"]), min_size=1, max_size=3),
    st.sampled_from(["", "", "{sub1}", "{source!}", "{source?}"]),
    st.lists(st.tuples(st.lists(WANTED, max_size=5).map(b"&".join), FACTS), min_size=1, max_size=6),
)
@example(["{sub1}"], "", [(b"sub1&sub1=1", {}), (b"sub1=1&sub1", {}), (b"s%75b1&sub1=1", {}), (b"sub1=.", {})])
def test_both_ways_read_a_query_alike(path: list[str], rest: str, clicks: list[tuple[bytes, dict[str, str]]]) -> None:
    agree(f"http://h/{'/'.join(path)}?q={rest}", Missing.EMPTY, {}, 1000, clicks)


@given(st.lists(st.tuples(st.text("abc123_.-", min_size=1), PLAIN).map("=".join), max_size=8), FACTS, st.booleans())
def test_a_usual_query_goes_the_short_way(pairs: list[str], facts: dict[str, str], is_encoded: bool) -> None:
    def careful(click_id: str, query: bytes, facts: AnyFacts) -> str:
        pytest.fail(f"the careful way: {query!r}")

    text = "http://h/{sub1}?c={click_id}&s={sub2}&f={country}&b={browser}&p={partner}&o={offer}"
    template = compile_template(text, position=Position.URL)
    origins = Origins({"sub1": "sub1", "sub2": "sub2"}, FIXED, ("country", "browser"))
    value = "a%20b+c%C3%A9" if is_encoded else "a:b"
    query = "&".join(("sub1=1", *(pair for pair in pairs if "sub" not in pair), f"sub2={value}", "ref=a%26"))
    found = template.in_place(origins, careful)(ID, query.encode(), Facts.of(facts))
    said = {"click_id": ID, "sub1": "1", "sub2": "a b cé" if is_encoded else "a:b", "country": "", "browser": ""}
    assert found == template.render_carefully(said | facts | FIXED)


@given(ANY_TEXT, ANY_TEXT, st.text(st.sampled_from(string.ascii_letters + "09_.-"), max_size=9), ANY_TEXT)
def test_no_character_of_a_user_gets_into_the_functions_text(literal: str, fixed: str, name: str, value: str) -> None:
    """The source depends on the template's form alone."""

    def source(literal: str, fixed: str, name: str, value: str) -> str:
        literal = quote(literal, safe="", errors="replace") + "."
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        text = f"http://h/{literal}?a={{click.x{name}}}{{if link == '{quoted}x'}}{literal}{{end}}"
        text += f"{{sub1|default('{quoted}')}}"
        template = compile_template(text, position=Position.URL, names=None)
        origins = Origins({f"click.x{name}": f"x{name}", "sub1": "sub1"}, {"link": fixed}, ())
        return write_in_place(template.pieces, template.names, origins, NO_URL.careful, output_bytes_max=100)[0]

    assert source(literal, fixed, name, value) == source("", "", "", "")


def test_functions_of_one_form_share_their_code_and_nothing_else() -> None:
    one, other = (
        TargetUrl(
            compile_template(f"http://{host}/?c={{click_id}}&s={{{name}}}&l={{link}}", position=Position.URL),
            {"link": link},
        )
        for host, name, link in (("one", "sub1", "a"), ("other", "sub2", "b"))
    )
    for _ in range(40):  # first step by step, then the short way
        assert one.of(ID, b"sub1=1&sub2=2", Facts()) == f"http://one/?c={ID}&s=1&l=a"
        assert other.of(ID, b"sub1=1&sub2=2", Facts()) == f"http://other/?c={ID}&s=2&l=b"
    assert one.of.__code__ is other.of.__code__  # type: ignore[attr-defined]
