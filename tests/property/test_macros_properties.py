"""Whatever is written and whatever arrives: nothing crashes, nothing leaves its position."""

import json
import sys
import time
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.errors import WaypostError
from waypost.macros.dialects.keitaro import translate
from waypost.macros.lint import check_template
from waypost.macros.names import IN_POSTBACK, MACROS
from waypost.macros.syntax import parse, quote_argument
from waypost.macros.template import Position, compile_template

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
SIGNS = "{}|(),='\\ *:%#[]$<>_.?!&/-"
TEMPLATE_LIKE = st.lists(
    st.one_of(
        st.sampled_from(["{sub1}", "{payout|round(2)}", "{status: lead=1}", "{", "}", "{{", "{sub1|map(a=b)}",
                         "REPLACE", "http://h/", "[x]", "##a##", "${a}", "{date:U}", "{_keyword}",
                         "{if a}", "?a=", "&b="]),
        st.text(st.sampled_from(SIGNS + "abX1"), max_size=8),
        ANY_TEXT,
    ),
    max_size=12,
).map("".join)  # fmt: skip
VALUES = st.dictionaries(st.sampled_from(sorted(MACROS)), ANY_TEXT, max_size=6)


@settings(max_examples=300)
@given(TEMPLATE_LIKE, st.sampled_from(list(Position)), VALUES)
def test_nothing_crashes_the_compiler_or_a_render(text: str, position: Position, values: dict[str, str]) -> None:
    try:
        compile_template(text, position=position, names=None).render(values)
    except WaypostError as error:
        assert error.code.startswith("macro_")
    check_template(text, position=position, names=IN_POSTBACK)


@settings(max_examples=300)
@given(TEMPLATE_LIKE, st.sets(st.text(min_size=1, max_size=5), max_size=3))
def test_nothing_crashes_the_translation_and_what_it_answers_compiles(text: str, parameters: set[str]) -> None:
    answer = translate(text, click_parameters=parameters)
    assert (answer.text is None) == bool(answer.errors)
    if answer.text is not None:
        compile_template(answer.text, position=Position.URL, names=IN_POSTBACK)


@given(ANY_TEXT)
def test_a_literal_renders_as_itself(text: str) -> None:
    assert compile_template(text.replace("{", "{{").replace("}", "}}"), position=Position.RAW).render({}) == text


@given(st.text(max_size=40), st.text(max_size=40))
def test_quoted_arguments_round_trip(key: str, value: str) -> None:
    node = parse(f"{{sub1|map({quote_argument(key)}={quote_argument(value)})}}")[0]
    assert node.calls[0].arguments[0][:2] == (key, value)  # type: ignore[union-attr]


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_a_value_stays_in_its_part_of_the_url(path: str, key: str, value: str, fragment: str) -> None:
    template = compile_template("http://h:81/a/{sub1}/b?x{sub2}=1&y={sub3}&z=2#{sub4}", position=Position.URL)
    try:
        url = template.render({"sub1": path, "sub2": key, "sub3": value, "sub4": fragment})
    except WaypostError as error:
        assert error.code == "macro_value" and path in (".", "..")
        return
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc) == ("http", "h:81")
    assert [unquote(segment) for segment in parts.path.split("/")] == ["", "a", path, "b"]
    assert parse_qsl(parts.query, keep_blank_values=True) == [("x" + key, "1"), ("y", value), ("z", "2")]
    assert unquote(parts.fragment) == fragment


@given(ANY_TEXT, ANY_TEXT)
def test_a_value_stays_in_its_json_string_and_header(inside: str, outside: str) -> None:
    template = compile_template('{{"a": "<{sub1}>", "b": {sub2}, "c": 1}}', position=Position.JSON)
    answer = json.loads(template.render({"sub1": inside, "sub2": outside}))
    assert answer["a"] == f"<{inside}>"
    assert list(answer) == ["a", "b", "c"] and answer["c"] == 1
    assert isinstance(answer["b"], int | float) or answer["b"] == outside
    header = compile_template("x {sub1}", position=Position.HEADER).render({"sub1": inside})
    assert header.isascii() and header.isprintable()


UNITS = [
    "{",
    "{{",
    "}",
    "{a",
    "{sub1}",
    "{a|",
    "{a|b(",
    "{a|b(',",
    "[a",
    "[[",
    "<a",
    "__A",
    "_",
    "##a",
    "#",
    "%aa",
    "${",
    "{_ ",
    "{status:a=b ",
    "{date:,",
    "(a",
    "=(a",
    "{zz}",
    "REPLACE/",
    ", ",
    "\\",
    "{if a}",
    "{?a}",
    "{if a}{end}",
    "{if not ",
    "{if (",
    "{if a and ",
    "{if a}{elif b}",
    "{a|join(',',",
    "{sub1?}&",
    "'",
    "{a|map('",
    "{secret(",
]


@pytest.mark.parametrize("unit", UNITS)
def test_the_work_is_linear_in_the_text(unit: str) -> None:
    """Counted, not timed: calls of functions, ours and those of the interpreter, for each character of the text."""

    def work(count: int) -> float:
        text = ("http://h/?a=" + unit * count)[:8192]
        calls = 0

        def count_call(frame: object, event: str, argument: object) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        sys.setprofile(count_call)
        try:
            translate(text)
            check_template(text, position=Position.URL, names=IN_POSTBACK)
        finally:
            sys.setprofile(None)
        return calls / len(text)

    assert work(1600 // len(unit)) < 1.5 * max(work(200 // len(unit)), 4)


@pytest.mark.parametrize("unit", UNITS)
def test_no_expression_looks_at_the_text_again_and_again(unit: str) -> None:
    """What a count of calls does not see. Sixteen times the text takes nowhere near 16² = 256 times this thread's
    processor time, which others on the machine do not add to."""

    def seconds(count: int) -> float:
        text = ("http://h/?a=" + unit * count)[:8192]
        best = 1e9
        for _ in range(3):
            start = time.thread_time()
            translate(text)
            check_template(text, position=Position.URL, names=IN_POSTBACK)
            best = min(best, time.thread_time() - start)
        return best

    assert seconds(1600 // len(unit)) < max(seconds(100 // len(unit)), 0.001) * 120
