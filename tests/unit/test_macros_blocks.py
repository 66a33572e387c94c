"""Conditions in templates, policies for missing values, and secrets."""

import json

import pytest

from waypost.errors import WaypostError
from waypost.macros.names import IN_OFFER_URL, IN_POSTBACK
from waypost.macros.syntax import BLOCKS_DEPTH_MAX, MacroError
from waypost.macros.template import Context, Missing, Position, Template, compile_template

IF = "e={if goal == 'purchase' and sum > 10}big-{sub1}{elif goal == 'lead'}lead{else}other{end}&z=1"
SECRETS = Context(secrets={"env:KEY": "s3cr&t", "file:/run/key": "filed"}.__getitem__)


def rendered(template: Template, values: dict[str, str], context: Context = SECRETS) -> str:
    """What both ways of rendering answer."""
    carefully = template.render_carefully(values, context)
    assert template.render(values, context) == carefully
    assert template.render(values, context) == carefully  # the second time surely by the function
    return carefully


def render(text: str, position: Position = Position.FORM, missing: Missing = Missing.EMPTY, **values: str) -> str:
    return rendered(compile_template(text, position=position, missing=missing), values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"goal": "purchase", "sum": "10.01", "sub1": "a"}, "e=big-a&z=1"),
        ({"goal": "purchase", "sum": "10.01", "sub1": "a&b"}, "e=big-a%26b&z=1"),
        ({"goal": "purchase", "sum": "10"}, "e=other&z=1"),
        ({"goal": "lead", "sum": "99"}, "e=lead&z=1"),
        ({}, "e=other&z=1"),
    ],
)
def test_the_first_condition_that_holds_is_rendered(values: dict[str, str], expected: str) -> None:
    template = compile_template(IF, position=Position.FORM, names=IN_POSTBACK)
    assert template.names == ("goal", "sum", "sub1")
    assert rendered(template, values) == expected


def test_an_optional_piece() -> None:
    text = "http://h/?a={click_id}{?sub3}&s3={sub3}{end}"
    assert render(text, Position.URL, click_id="7") == "http://h/?a=7"
    assert render(text, Position.URL, click_id="7", sub3="é") == "http://h/?a=7&s3=%C3%A9"
    assert render("{?sub3}yes{else}no{end}") == "no"


def test_conditions_stand_in_one_another() -> None:
    text = "{if sub1}1{if sub2}2{?sub3}3{end}{else}-{end}{end}."
    for values, expected in (("123", "123."), ("12 ", "12."), ("1 3", "1-."), (" 23", ".")):
        given = {f"sub{nth}": value.strip() for nth, value in enumerate(values, 1)}
        assert render(text, **given) == expected
    deep = "{if sub1}" * BLOCKS_DEPTH_MAX + "x" + "{end}" * BLOCKS_DEPTH_MAX
    assert render(deep, sub1="1") == "x"
    with pytest.raises(MacroError, match="macro_too_large"):
        compile_template("{if sub1}" + deep + "{end}", position=Position.RAW)


def test_a_thousand_branches() -> None:
    text = "{if sub1 == '0'}x" + "".join(f"{{elif sub1=='{number}'}}{number}" for number in range(1, 350)) + "{end}"
    assert (render(text, sub1="349"), render(text, sub1="0"), render(text, sub1="350")) == ("349", "x", "")


def test_a_branch_that_is_not_taken_refuses_nothing() -> None:
    text = "{if sub1}{payout|round(2)}{sub2!}{end}ok"
    assert render(text, payout="lots") == "ok"
    with pytest.raises(WaypostError, match="macro_value"):
        render(text, sub1="x", payout="lots")
    with pytest.raises(WaypostError, match="macro_no_value"):
        render(text, sub1="x", payout="1")


def test_conditions_use_only_what_the_template_may() -> None:
    with pytest.raises(MacroError) as raised:
        compile_template("http://h/?a={if payuot > 1}1{end}", position=Position.URL, names=IN_POSTBACK)
    assert (raised.value.code, raised.value.column, raised.value.hint) == (
        "macro_unknown",
        17,
        "did you mean {payout}?",
    )
    with pytest.raises(MacroError, match="macro_unknown"):
        compile_template("http://h/?a={if payout > 1}1{end}", position=Position.URL, names=IN_OFFER_URL)
    with pytest.raises(MacroError, match="use no secrets"):
        compile_template("{if sub1|hmac_sha256('env:KEY') == 'x'}1{end}", position=Position.RAW)


@pytest.mark.parametrize(
    ("text", "position", "code"),
    [
        ("http://{if sub1}a{end}.h/", Position.URL, "macro_in_host"),
        ("{if sub1}http://h/{end}", Position.URL, "macro_in_host"),
        ("http://h/x{if sub1}?a=1{end}&b={sub2}", Position.URL, "macro_syntax"),
        ("http://h/?a{if sub1}#x{end}", Position.URL, "macro_syntax"),
        ('{{"a": {if sub1}"{sub1}{else}1{end}}}', Position.JSON, "macro_syntax"),
        ("<a>{if sub1}<b{end}</a>", Position.XML, "macro_syntax"),
    ],
)
def test_the_pieces_of_a_condition_end_in_the_same_part(text: str, position: Position, code: str) -> None:
    with pytest.raises(MacroError) as raised:
        compile_template(text, position=position)
    assert raised.value.code == code and raised.value.column > 0


def test_a_condition_may_begin_the_query_whichever_way_it_goes() -> None:
    text = "http://h/x{if sub1}?a={sub1}{else}?{end}&b={sub2}"
    assert render(text, Position.URL, sub1=".", sub2="..") == "http://h/x?a=.&b=.."
    assert render(text, Position.URL, sub2="1") == "http://h/x?&b=1"


# --- missing values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("http://h/p?a=1&s={sub3?}&b=2", Position.URL, "http://h/p?a=1&b=2"),
        ("http://h/p?s={sub3?}&b=2#f&g", Position.URL, "http://h/p?b=2#f&g"),
        ("http://h/p?s={sub3?}", Position.URL, "http://h/p"),
        ("http://h/p?s={sub3?}#f", Position.URL, "http://h/p#f"),
        ("http://h/p?a=1&s=x-{sub3|lower}{sub3?}-y&b=2", Position.URL, "http://h/p?a=1&b=2"),
        ("http://h/p?{sub3?}=1&b=2", Position.URL, "http://h/p?b=2"),
        ("http://h/p?a=1{if click_id}&s={sub3?}{end}&b=2", Position.URL, "http://h/p?a=1&b=2"),
        ("http://h/p?s={status?|map(approved=1, *='')}&b=2", Position.URL, "http://h/p?b=2"),
        ("a=1&s={sub3?}", Position.FORM, "a=1"),
        ("s={sub3?}", Position.QUERY, ""),
        ('{{"a": 1, "s": "{sub3?}", "b": 2}}', Position.JSON, '{"a": 1, "b": 2}'),
        ('{{"s": {sub3?}, "b": 2}}', Position.JSON, '{ "b": 2}'),
        ('{{"a": 1, "s": "{sub3?}"}}', Position.JSON, '{"a": 1}'),
        ('{{"s": "x{sub3?}y"}}', Position.JSON, "{}"),
        ('{{"a": [1, {sub3?}, "{sub3?}"], "b": {{"c": "{sub3?}"}}}}', Position.JSON, '{"a": [1], "b": {}}'),
        (
            '{{"a,{{}}": [",", "}}", {sub3?}], "b": ["{sub3?}", "\\"]"]}}',
            Position.JSON,
            '{"a,{}": [",", "}"], "b": [ "\\"]"]}',
        ),
        ("{sub3?}", Position.JSON, ""),
    ],
)
def test_drop(text: str, position: Position, expected: str) -> None:
    assert render(text, position, click_id="7") == expected
    if position is Position.JSON and expected:
        json.loads(expected)


def test_what_has_a_value_is_not_dropped() -> None:
    assert render("http://h/?a={sub1?}&b={sub2?}", Position.URL, sub1="x", sub2="&") == "http://h/?a=x&b=%26"
    assert render('{{"a": {sub1?}, "b": "{sub2?}"}}', Position.JSON, sub1="1", sub2="\0") == '{"a": 1, "b": "\\u0000"}'
    assert render("a={sub1?}", sub1="\0") == "a=%00"
    assert render("{sub1}", Position.RAW, sub1="\0") == "\0"


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("http://h/{sub1?}", Position.URL), ("http://h/#{sub1?}", Position.URL), ("{sub1?}", Position.HEADER),
        ("{sub1?}", Position.RAW), ("<a>{sub1?}</a>", Position.XML),
    ],
)  # fmt: skip
def test_drop_where_there_is_no_parameter(text: str, position: Position) -> None:
    with pytest.raises(MacroError, match="no parameter that could be dropped") as raised:
        compile_template(text, position=position)
    assert raised.value.hint == "write {?sub1}…{end} around what depends on it"
    compile_template(text.replace("?}", "}"), position=position, missing=Missing.DROP)


def test_a_sign_that_says_dropped_cannot_be_written() -> None:
    for position in (Position.FORM, Position.JSON, Position.QUERY):
        with pytest.raises(MacroError, match="macro_syntax"):
            compile_template('["\0"]', position=position)


def test_refuse() -> None:
    template = compile_template("a={sub1!}&b={sub2!|trim|upper}", position=Position.FORM, place="catalog.yaml:4")
    assert rendered(template, {"sub1": "x", "sub2": "y"}) == "a=x&b=Y"
    for values, name in (({"sub2": "y"}, "sub1"), ({"sub1": "x"}, "sub2"), ({"sub1": "x", "sub2": "  "}, "sub2")):
        for one in (template.render, template.render_carefully):
            with pytest.raises(WaypostError) as raised:
                one(values)
            assert (raised.value.code, raised.value.place) == ("macro_no_value", "catalog.yaml:4")
            assert f"{{{name}}} has no value" in raised.value.detail


def test_the_templates_policy_is_for_macros_without_their_own() -> None:
    text = "http://h/{sub5}?a={sub1}&b={sub2|default(none)}&c={sub3?}&d={sub4|default('')}"
    assert render(text, Position.URL) == "http://h/?a=&b=none&d="
    assert render(text, Position.URL, Missing.DROP) == "http://h/?b=none&d="
    assert render(text, Position.URL, Missing.REFUSE, sub1="x", sub5="y") == "http://h/y?a=x&b=none&d="
    with pytest.raises(WaypostError, match="macro_no_value"):
        render(text, Position.URL, Missing.REFUSE, sub5="y")
    with pytest.raises(WaypostError, match="macro_no_value"):
        render("{sub1!}", Position.RAW, Missing.EMPTY)


# --- secrets ---------------------------------------------------------------------------------------------

SIGNED = (
    "http://h/?id={click_id}&key={secret('env:KEY')}&sig={click_id|append({secret('file:/run/key')})|md5}"
    "&mac={payout|hmac_sha256('env:KEY')}{if sub1}&k={ secret( 'env:KEY' ) }{end}"
)


def test_secrets_are_rendered_and_redacted() -> None:
    template = compile_template(SIGNED, position=Position.URL, names=IN_POSTBACK)
    assert template.secrets == ("env:KEY", "file:/run/key")
    assert template.names == ("click_id", "payout", "sub1")
    values = {"click_id": "7", "payout": "1", "sub1": "x"}
    url = rendered(template, values)
    assert url.startswith("http://h/?id=7&key=s3cr%26t&sig=") and url.endswith("&k=s3cr%26t")
    assert template.render_redacted(values, SECRETS) == "http://h/?id=7&key=***&sig=***&mac=***&k=***"
    assert template.render_redacted(values) == "http://h/?id=7&key=***&sig=***&mac=***&k=***"  # needs no secrets


def test_without_secrets_a_redacted_text_is_the_text() -> None:
    template = compile_template(IF, position=Position.FORM)
    values = {"goal": "purchase", "sum": "11", "sub1": "a b"}
    assert template.render_redacted(values) == template.render(values) == "e=big-a%20b&z=1"
    assert template.secrets == ()


def test_a_secret_that_is_not_at_hand() -> None:
    with pytest.raises(WaypostError) as raised:
        compile_template(SIGNED, position=Position.URL).render({"click_id": "7"})
    assert raised.value.code == "macro_secret" and "env:KEY" in raised.value.detail


def test_errors_never_show_a_secret() -> None:
    template = compile_template("{secret('env:KEY')|round(2)}", position=Position.RAW)
    with pytest.raises(WaypostError) as raised:
        template.render({}, SECRETS)
    assert raised.value.code == "macro_value"
    seen = [str(raised.value), repr(raised.value.__cause__)]
    template = compile_template("{sub1|mul({secret('env:KEY')})}", position=Position.RAW)
    with pytest.raises(WaypostError) as raised:
        template.render({"sub1": "1"}, SECRETS)
    seen.append(str(raised.value))
    with pytest.raises(MacroError) as wrong:
        compile_template("{secret('s3cr&t')}", position=Position.RAW)
    seen += [str(wrong.value), wrong.value.hint]
    with pytest.raises(MacroError) as wrong:
        compile_template("{sub1|hmac_sha256('s3cr&t')}", position=Position.RAW)
    seen += [str(wrong.value), wrong.value.hint]
    assert wrong.value.code == "macro_bad_argument" and "'env:NAME'" in wrong.value.hint
    assert not any("s3cr" in text for text in seen)


@pytest.mark.parametrize(
    "macro", ["{secret('env:KEY')}", "{sub1|hmac_sha256('env:KEY')}", "{sub1|append({secret('env:KEY')})|md5}",
              "{cost|convert(EUR, USD)}"]
)  # fmt: skip
def test_an_offers_url_has_no_secrets(macro: str) -> None:
    with pytest.raises(MacroError, match="the visitor would see") as raised:
        compile_template(f"http://h/?a={macro}", position=Position.URL, names=IN_OFFER_URL)
    assert raised.value.column > 12
    compile_template(f"http://h/?a={macro}", position=Position.URL)


def test_a_name_that_is_only_like_a_secret_is_a_macro() -> None:
    with pytest.raises(MacroError, match="macro_unknown"):
        compile_template("{secret}", position=Position.RAW)
    assert compile_template("{click.secret}", position=Position.RAW).names == ("click.secret",)


# --- XML -------------------------------------------------------------------------------------------------


def test_xml() -> None:
    text = '<?xml version="1.0"?><!-- a > b --><r id="{sub1}" b=\'{sub2}\'><s>{sub3}</s></r>'
    template = compile_template(text, position=Position.XML)
    values = {"sub1": "a\"<b>'&", "sub2": "it's\t", "sub3": "é\0x]]>"}
    assert rendered(template, values) == (
        '<?xml version="1.0"?><!-- a > b --><r id="a&quot;&lt;b&gt;&#39;&amp;" b=\'it&#39;s&#9;\'>'
        "<s>&#233;&#65533;x]]&gt;</s></r>"
    )
    assert rendered(template, {"sub1": "a-b", "sub2": "1.5", "sub3": "x y"}).endswith("b='1.5'><s>x y</s></r>")


@pytest.mark.parametrize(
    "text",
    ["<{sub1}/>", "<a {sub1}='x'/>", "<a b={sub1}/>", "<!-- {sub1} -->", "<![CDATA[{sub1}]]>", "<?php {sub1} ?>",
     "</{sub1}>", "<a b='x", "<!-- x"],
)  # fmt: skip
def test_xml_that_a_value_could_leave(text: str) -> None:
    with pytest.raises(MacroError, match="macro_syntax"):
        compile_template(text, position=Position.XML)
