"""The language: grammar, names, bounds, and what a template renders."""

import pytest

from waypost.errors import WaypostError
from waypost.macros.names import IN_OFFER_URL, IN_POSTBACK
from waypost.macros.syntax import MacroError, parse, quote_argument
from waypost.macros.template import Position, compile_template

URL = "http://127.0.0.1:9001/pb?cid={sub1}&money={payout}&type={status|map(approved=lead, declined=cancel)}"


def render(text: str, position: Position = Position.RAW, **values: str) -> str:
    return compile_template(text, position=position).render(values)


def test_the_designs_template_renders() -> None:
    template = compile_template(URL, position=Position.URL, names=IN_POSTBACK)
    assert template.names == ("sub1", "payout", "status")
    values = {"sub1": "a&b", "payout": "1.20", "status": "approved"}
    assert template.render(values) == "http://127.0.0.1:9001/pb?cid=a%26b&money=1.20&type=lead"
    assert template.render({**values, "status": "pending"}).endswith("type=pending")


def test_a_missing_value_is_an_empty_text() -> None:
    assert compile_template(URL, position=Position.URL).render({}) == "http://127.0.0.1:9001/pb?cid=&money=&type="


def test_braces_are_doubled() -> None:
    assert render("{{{sub1}}} {{x}}", sub1="v") == "{v} {x}"


def test_white_space_is_allowed_around_signs() -> None:
    assert render("{ status | map( approved = 'a b' , * = other ) | upper }", status="approved") == "A B"


@pytest.mark.parametrize("value", ["a", "a b", "it's", "back\\slash", "a=b,c", "", "{x}", "line\nbreak", "*"])
def test_a_quoted_argument_means_what_was_quoted(value: str) -> None:
    assert render(f"{{sub1|default({quote_argument(value)})}}") == value


@pytest.mark.parametrize(
    ("text", "column"),
    [("{#if sub1}", 1), ("ab{/if}", 3), ("{@x}", 1), ("{!x}", 1), ("a{for x}", 2), ("{set x}", 1)],
)
def test_forms_of_other_languages_are_not_available(text: str, column: int) -> None:
    with pytest.raises(MacroError, match="not available") as raised:
        parse(text)
    assert (raised.value.code, raised.value.column) == ("macro_syntax", column)


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("ab}", 3, "without its {"),
        ("ab{sub1", 3, "no closing }"),
        ("{}", 1, "without a name"),
        ("{ 1 }", 1, "opens no macro"),
        ("{status:lead=1}", 8, "no part of this language"),
        ("{sub1|}", 7, "name is missing"),
        ("{sub1|round(2}", 14, "not expected"),
        ("{sub1|default('x)}", 15, "no closing '"),
        ("{sub1|default(not set)}", 19, "not expected"),
        ("{sub1|map(=a)}", 11, "before = is missing"),
        ("{sub1|slice(1,)}", 15, "argument is missing"),
        ("{sub1 sub2}", 7, "not expected"),
        ("{else}", 1, "without its {if …}"),
        ("{end}", 1, "without its {if …}"),
        ("a{elif sub1}", 2, "without its {if …}"),
        ("a{if sub1}b", 2, "no {end}"),
        ("a{if sub1}b{else}c", 2, "no {end}"),
        ("{if sub1}{else}{else}{end}", 16, "{else} after {else}"),
        ("{if sub1}{else}{elif sub2}{end}", 16, "{elif} after {else}"),
        ("{if}a{end}", 4, "a name, number or text should"),
        ("{if sub1 = 'a'}{end}", 10, "= is no comparison"),
        ("{if sub1 == 'a' sub2}{end}", 17, "not expected"),
        ("{? }a{end}", 4, "a name is missing after {?"),
        ("{?sub1|lower}a{end}", 7, "not expected"),
        ("{sub1!?}", 7, "not expected"),
        ("{sub1|default({sub2|lower})}", 20, "its name in braces"),
        ("{sub1|map({sub2}=a)}", 11, "before = is missing"),
        ("{secret(ACME)}", 9, "a reference in quotes"),
    ],
)
def test_syntax_errors_name_their_column(text: str, column: int, message: str) -> None:
    with pytest.raises(MacroError, match="macro_syntax") as raised:
        parse(text, place="catalog.yaml:7")
    assert raised.value.column == column
    assert message in raised.value.detail
    assert raised.value.place == "catalog.yaml:7"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("externa_id", "did you mean {external_id}?"),
        ("clickid", "did you mean {click_id}?"),
        ("sub", "did you mean {sub1}?"),
        ("sub31", "did you mean {sub1}?"),
        ("uid", "a click's own parameter is {click.uid}"),
    ],
)
def test_an_unknown_macro_is_refused_with_a_hint(name: str, hint: str) -> None:
    with pytest.raises(MacroError) as raised:
        compile_template(f"http://x/?a={{{name}}}", position=Position.URL, names=IN_POSTBACK)
    assert (raised.value.code, raised.value.column, raised.value.hint) == ("macro_unknown", 13, hint)


def test_a_macro_is_refused_where_it_has_no_value() -> None:
    with pytest.raises(MacroError, match="macro_unknown") as raised:
        compile_template("http://x/?a={attempt}", position=Position.URL, names=IN_OFFER_URL)
    assert raised.value.hint == "it has a value in: attempt"
    assert compile_template("http://x/?a={click.utm_source}", position=Position.URL, names=IN_OFFER_URL)


def test_more_values_pass_through_a_filter_than_are_remembered() -> None:
    template = compile_template("{status|map(approved=lead)}/{sub1|upper}", position=Position.RAW)
    values = [{"status": "approved" if nth % 2 else f"s{nth}", "sub1": "a" * nth} for nth in range(50)]
    expected = [f"{'lead' if nth % 2 else f's{nth}'}/{'A' * nth}" for nth in range(50)]
    for _ in range(2):
        assert [template.render(each) for each in values] == expected


def test_a_value_that_a_filter_refuses_is_refused_each_time() -> None:
    template = compile_template("{sub1|round(2)}", position=Position.RAW)
    for value in ("no number", "1.005", "no number"):
        if value == "1.005":
            assert template.render({"sub1": value}) == "1.01"
            continue
        with pytest.raises(WaypostError, match="macro_value"):
            template.render({"sub1": value})


def test_bounds() -> None:
    with pytest.raises(WaypostError, match="macro_too_large"):
        compile_template("x" * 100, position=Position.RAW, template_bytes_max=99)
    with pytest.raises(WaypostError, match="macro_too_large"):
        compile_template("é" * 60, position=Position.RAW, template_bytes_max=99)
    with pytest.raises(WaypostError, match="macro_too_large"):
        compile_template("{sub1|lower|lower|lower}", position=Position.RAW, template_depth_max=3)
    template = compile_template("{sub1}{sub1}", position=Position.RAW, output_bytes_max=10)
    assert template.render({"sub1": "12345"}) == "1234512345"
    with pytest.raises(WaypostError, match="macro_too_large"):
        template.render({"sub1": "123456"})
    with pytest.raises(WaypostError, match="macro_too_large"):
        template.render({"sub1": "éééé"})


def test_a_value_cannot_swell_on_its_way() -> None:
    swelling = "{sub1" + "|hex" * 15 + "}"
    with pytest.raises(WaypostError, match="macro_too_large"):
        render(swelling, sub1="x" * 1000)


def test_a_render_error_names_macro_and_place() -> None:
    template = compile_template("{payout|round(2)}", position=Position.RAW, place="catalog.yaml:9")
    with pytest.raises(WaypostError) as raised:
        template.render({"payout": "lots"})
    assert raised.value.code == "macro_value"
    assert raised.value.place == "catalog.yaml:9"
    assert "{payout}: round: 'lots' is not a number" in raised.value.detail
