"""Templates: what a render emits, whichever way it is rendered, and whatever is written or arrives."""

import json
import random
import re
import string
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from support.macro_grammar import Drawing, Grammar
from waypost.errors import WaypostError
from waypost.macros.encoding import Position
from waypost.macros.generated import write_function
from waypost.macros.pieces import Missing
from waypost.macros.scanner import MacroError, Scanner
from waypost.macros.syntax import Parser, parse
from waypost.macros.template import Context, Template, compile_template

DOCS = (Path(__file__).parents[2] / "docs/macros.md").read_text("utf-8")
NAMES = ("sub1", "sub2", "payout", "status", "click.x")
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=30)
HARMLESS = st.text(st.sampled_from(string.ascii_letters + "0189-._~"), max_size=30)
VALUE = st.one_of(
    HARMLESS, ANY_TEXT, st.sampled_from(["", ".", "..", "1.20", "a&b", "&=?#/;", "\r\nX: y", '"', "\0", "é"])
)
VALUES = st.dictionaries(st.sampled_from(NAMES), VALUE, max_size=5)
CONTEXT = Context(secrets=lambda reference: "k&" + reference, rates={"EUR": Decimal(1), "USD": Decimal("1.1")})

MACRO = st.sampled_from(
    ["{sub1}", "{sub2}", "{click.x}", "{sub1!}", "{sub2|lower}", "{payout|round(2)}", "{sub1|default('a b')}",
     "{status|map(approved=lead, *='x&y')}", "{sub2|default({sub1})}", "{sub1|json}", "{sub1|md5}", "{secret('env:A')}",
     "{payout}", "{payout|convert(EUR, USD)}", "{sub1|hmac_sha256('env:A')}", "{sub1|urldecode}",
     "{sub1|prepend('../')}"]
)  # fmt: skip
DROPPED = st.sampled_from(["{sub1?}", "{sub2?|trim}"])
CONDITION = st.sampled_from(
    ["sub1", "payout > 1", "status == 'approved' or sub2", "not click.x", "sub1|lower in ('a', 'b')"]
)


def blocks(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Conditions around pieces."""
    optional = inner.map(lambda one: f"{{?sub2}}{one}{{end}}")
    either = st.tuples(CONDITION, inner, CONDITION, inner, inner).map(
        lambda parts: "{{if {}}}{}{{elif {}}}{}{{else}}{}{{end}}".format(*parts)
    )
    return st.one_of(optional, either, st.lists(inner, min_size=2, max_size=3).map("".join))


def written(literals: list[str], macros: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Templates of these pieces."""
    return st.lists(st.recursive(st.one_of(st.sampled_from(literals), macros), blocks, max_leaves=5), max_size=6).map(
        "".join
    )


TEMPLATES: dict[Position, st.SearchStrategy[str]] = {
    Position.URL: st.tuples(
        written(["a", "/", "-"], MACRO), written(["&b=", "x", "%20"], st.one_of(MACRO, DROPPED))
    ).map(lambda parts: f"http://h/{parts[0]}?q={parts[1]}"),
    Position.FORM: written(["&b=", "x", "="], st.one_of(MACRO, DROPPED)),
    Position.HEADER: written(["Bearer ", "x", ": "], MACRO),
    Position.JSON: written(['"a": 1, ', "[", "]", ", "], st.one_of(MACRO, DROPPED)),
    Position.XML: written(["<a>", "</a>", "x"], MACRO),
    Position.RAW: written(["\n", "x", "é"], MACRO),
}


def outcome(render: Callable[[], str]) -> str:
    """The text, or the error as text."""
    try:
        return render()
    except WaypostError as error:
        assert error.code.startswith("macro_")
        return f"error: {error}"


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(TEMPLATES)).flatmap(lambda position: st.tuples(st.just(position), TEMPLATES[position])),
       st.sampled_from(list(Missing)), st.lists(VALUES, min_size=1, max_size=3), st.integers(1, 200))  # fmt: skip
def test_the_function_renders_what_the_careful_way_does(
    written: tuple[Position, str], missing: Missing, values: list[dict[str, str]], bytes_max: int
) -> None:
    position, text = written
    template = compile_template(text, position=position, missing=missing, names=None, output_bytes_max=bytes_max)
    for each in values * 2:  # what filters make of a value is remembered
        careful = outcome(lambda each=each: template.render_carefully(each, CONTEXT))  # type: ignore[misc]
        assert outcome(lambda each=each: template.render(each, CONTEXT)) == careful  # type: ignore[misc]
        if not careful.startswith("error:"):
            assert len(careful.encode("utf-8", "surrogatepass")) <= bytes_max
            assert position is not Position.URL or re.fullmatch(r"http://h/[!-~]*", careful)


@settings(deadline=None)
@given(VALUES, VALUES)
def test_no_secret_is_in_a_redacted_text(values: dict[str, str], others: dict[str, str]) -> None:
    text = "http://h/?a={sub1}&b={secret('env:A')}{?sub2}&c={sub2|append({secret('env:A')})}{end}"
    template = compile_template(text, position=Position.URL)
    redacted = template.render_redacted(values, CONTEXT)
    assert "k%26env" not in redacted and "k%26env" in template.render(values, CONTEXT)
    assert redacted == template.render_redacted(values, Context(secrets=lambda _: "another"))


# --- separators ------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(VALUE, VALUE, VALUE, VALUE)
def test_a_value_adds_no_part_to_a_url(path: str, key: str, value: str, fragment: str) -> None:
    text = "http://h:81/a/{sub1}/b{if payout > 1}?{else}?z=0&{end}x{sub2}=1&y={click.x}{?sub1}&s={sub1}{end}#{status}"
    template = compile_template(text, position=Position.URL)
    values = {"sub1": path, "sub2": key, "click.x": value, "status": fragment, "payout": "2"}
    url = outcome(lambda: template.render(values))
    if url.startswith("error:"):
        assert path in (".", "..")
        return
    assert re.fullmatch(r"[A-Za-z0-9\-._~%/?#&=:]+", url)
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.path.count("/")) == ("http", "h:81", 3)
    assert [unquote(each) for each in parts.path.split("/")] == ["", "a", _utf8(path), "b"]
    pairs = [("x" + _utf8(key), "1"), ("y", _utf8(value))] + ([("s", _utf8(path))] if path else [])
    assert parse_qsl(parts.query, keep_blank_values=True) == pairs
    assert unquote(parts.fragment) == _utf8(fragment)


@settings(max_examples=200, deadline=None)
@given(VALUE, VALUE)
def test_a_value_adds_no_part_to_a_form_header_json_or_xml(one: str, other: str) -> None:
    values = {"sub1": one, "sub2": other}
    form = compile_template("a={sub1}&{sub2}=b", position=Position.FORM).render(values)
    assert parse_qsl(form, keep_blank_values=True) == [("a", _utf8(one)), (_utf8(other), "b")]
    header = compile_template("a={sub1}; b={sub2}", position=Position.HEADER).render(values)
    assert header.isascii() and header.isprintable()
    answer = json.loads(compile_template('{{"a": "x{sub1}", "b": [{sub2}]}}', position=Position.JSON).render(values))
    assert answer["a"] == "x" + one and list(answer) == ["a", "b"] and len(answer["b"]) == 1
    xml = compile_template("<r a='{sub1}' b=\"{sub1}\"><s>{sub2}</s><t/></r>", position=Position.XML).render(values)
    root = ElementTree.fromstring(xml)
    assert [child.tag for child in root] == ["s", "t"]
    assert root.attrib == {"a": _xml(one), "b": _xml(one)}
    assert (root[0].text or "") == _xml(other)


@settings(deadline=None)
@given(st.lists(st.tuples(VALUE, st.booleans()), min_size=1, max_size=5))
def test_dropping_leaves_the_other_parameters_as_they_were(pairs: list[tuple[str, bool]]) -> None:
    values = {f"sub{nth}": value for nth, (value, _) in enumerate(pairs, 1)}
    query = "&".join(f"k{nth}={{sub{nth}{'?' if drops else ''}}}" for nth, (_, drops) in enumerate(pairs, 1))
    members = ", ".join(f'"k{nth}": "{{sub{nth}{"?" if drops else ""}}}"' for nth, (_, drops) in enumerate(pairs, 1))
    left = {f"k{nth}": value for nth, (value, drops) in enumerate(pairs, 1) if value or not drops}
    url = compile_template(f"http://h/?{query}#f", position=Position.URL).render(values)
    assert dict(parse_qsl(urlsplit(url).query, keep_blank_values=True)) == {k: _utf8(v) for k, v in left.items()}
    assert json.loads(compile_template(f"{{{{{members}}}}}", position=Position.JSON).render(values)) == left


def _utf8(value: str) -> str:
    return value.encode("utf-8", "replace").decode()


def _xml(value: str) -> str:
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", value)


# --- the grammar and the function's text -----------------------------------------------------------------

EBNF = "\n".join(block for block in re.findall(r"```\n(.*?)```", DOCS, re.DOTALL) if re.match(r"\w+ += ", block))
GRAMMAR = Grammar(
    EBNF, spaced=frozenset({"block", "condition", "both", "test", "relation", "operand", "patterns", "networks"})
)


def _any_but(signs: str) -> Callable[[random.Random], str]:
    allowed = [sign for sign in string.printable + "éß€\u2028\0" if sign not in signs]
    return lambda draw: draw.choice(allowed)


SPECIALS: dict[str, Callable[[random.Random], str]] = {
    "any character but { and }": _any_but("{}"),
    "one or more characters but white space and , = ( ) | { } ' \"": _any_but(
        "{},=()|'\"" + string.whitespace + "\u2028"
    ),
    "any character but ' and \\": _any_but("'\\"),
    "one or more characters but white space, ' and \\": _any_but("'\\\0\u2028" + string.whitespace),
    "any character": _any_but(""),
    "A to Z, a to z, or _": lambda draw: draw.choice("xyzQ_"),  # no word of the language can be made of these
    "0 to 9": lambda draw: draw.choice(string.digits),
    "an address, or a network such as 10.0.0.0/8": lambda draw: draw.choice(["10.0.0.0/8", "::1", "192.0.2.7"]),
}


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 1 << 32))
def test_what_the_documented_grammar_allows_is_parsed(seed: int) -> None:
    text = GRAMMAR.draw("template", Drawing(seed, SPECIALS))
    try:
        parse(text)
    except MacroError as error:
        around = text[max(error.column - 60, 0) : error.column + 20]
        assert error.code == "macro_too_large", f"{error}: {around}"  # depth has a bound


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(0, 200), st.sampled_from("{}|()'?!=&<x \\"))
def test_one_wrong_sign_is_an_error_with_a_column_or_means_something(seed: int, at: int, sign: str) -> None:
    text = GRAMMAR.draw("template", Drawing(seed, SPECIALS))
    parser = Parser(text[:at] + sign + text[at:], "")
    try:
        parser.template()
    except MacroError as error:
        assert 0 < error.column <= len(text) + 2
    assert parser.scan.steps < 16 * len(text) + 64


@settings(deadline=None)
@given(ANY_TEXT, st.text(st.sampled_from(string.ascii_letters + "09_.-"), max_size=9), ANY_TEXT)
def test_no_character_of_a_template_gets_into_the_functions_text(one: str, name: str, other: str) -> None:
    """The source depends on the template's form alone."""

    def source(literal: str, click: str, argument: str) -> str:
        literal = literal.replace("{", "{{").replace("}", "}}") + "."
        quoted = argument.replace("\\", "\\\\").replace("'", "\\'")
        text = (
            f"{literal}{{click.x{click}}}{literal}{{if a == '{quoted}x'}}{literal}{{sub1|default('{quoted}')}}{{end}}"
        )
        template = compile_template(text, position=Position.RAW, names=None)
        return write_function(template.pieces, template.render_carefully, output_bytes_max=100)[0]

    assert source(one, name, other) == source("", "", "")


def test_reading_takes_a_bounded_number_of_steps_for_each_character() -> None:
    for unit in ("{sub1}", "{if a}{end}", "{?a}x{end}", "{{", "{a|b(c,d=e)}", "{if a == 'x' and (b or not c)}x{end}"):
        for count in (10, 1000):
            parser = Parser(unit * count, "")
            parser.template()
            assert parser.scan.steps < 8 * len(unit) * count, unit
    scanner = Scanner("x" * 1000, "")
    assert scanner.take_name() and scanner.steps == 1


def test_templates_are_rendered_by_a_function_once_they_are_rendered() -> None:
    template: Template = compile_template("{sub1}", position=Position.FORM)
    before = template.render
    assert template.render({"sub1": "x"}) == "x"
    assert template.render is not before and before({"sub1": "y"}) == "y"
