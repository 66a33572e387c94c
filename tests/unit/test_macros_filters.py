"""Each filter, against values worked out elsewhere."""

import re
import uuid
from decimal import Decimal

import pytest

from waypost.errors import WaypostError
from waypost.macros.filters import FILTERS
from waypost.macros.syntax import MacroError
from waypost.macros.template import NOTHING, Context, Position, compile_template

CASES = [
    ("map(a=b, c=d)", "a", "b"),
    ("map(a=b, c=d)", "x", "x"),
    ("map(a=b, *=other)", "x", "other"),
    ("map(a=b, *=other)", "", "other"),
    ("map(a=)", "a", ""),
    ("default(none)", "", "none"),
    ("default(none)", "x", "x"),
    ("round(2)", "1.005", "1.01"),
    ("round(2)", "-1.005", "-1.01"),
    ("round(2)", "3", "3.00"),
    ("round", "2.5", "3"),
    ("round(1)", "-0.04", "0.0"),
    ("round(2)", "", ""),
    ("lower", "ÀB", "àb"),
    ("upper", "àb", "ÀB"),
    ("trim", " \ta ", "a"),
    ("replace('-', '')", "a-b-c", "abc"),
    ("slice(0, 3)", "abcdef", "abc"),
    ("slice(-2)", "abcdef", "ef"),
    ("md5", "abc", "900150983cd24fb0d6963f7d28e17f72"),
    ("sha1", "abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
    ("sha256", "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ("sha256", "", ""),
    ("base64", "ab?>", "YWI/Pg=="),
    ("base64url", "ab?>", "YWI_Pg"),
    ("hex", "é", "c3a9"),
    ("urlencode", "a b&ü", "a%20b%26%C3%BC"),
    ("json", 'a"b', '"a\\"b"'),
    ("urldecode", "a%20b%26%C3%BC+%zz", "a b&ü+%zz"),
    ("raw", "a&b", "a&b"),
    ("append('-x')", "a", "a-x"),
    ("append(x)", "", ""),
    ("append({sub2})", "a", "a(two)"),
    ("prepend(x)", "a", "xa"),
    ("join('|', {sub2}, '', b)", "a", "a|(two)|b"),
    ("join(', ', b)", "", "b"),
    ("default({sub2})", "", "(two)"),
    ("replace({sub2}, '')", "a(two)b", "ab"),
    ("map(a={sub2}, *={sub1})", "a", "(two)"),
    ("truncate(3)", "añcd", "añc"),
    ("split('-', 1)", "a-b-c", "b"),
    ("split('-', -1)", "a-b-c", "c"),
    ("split('-', 3)", "a-b-c", ""),
    ("split('-', -4)", "a-b-c", ""),
    ("first('-')", "a-b-c", "a"),
    ("first('-')", "abc", "abc"),
    ("int", "-2.9", "-2"),
    ("int", "-0.9", "0"),
    ("abs", "-2.90", "2.90"),
    ("number('0.00')", "1234.5", "1234.50"),
    ("number('#,##0.00')", "1234567.005", "1,234,567.01"),
    ("number('# ##0,00')", "-1234.5", "-1 234,50"),
    ("number('#.##0,0#')", "999.999", "1.000,0"),
    ("number('0.##')", "1.50", "1.5"),
    ("number('0.##')", "1.001", "1"),
    ("number('0')", "2.5", "3"),
    ("add(0.2)", "0.1", "0.3"),
    ("add({payout})", "1", "3.5"),
    ("sub({payout})", "2.50", "0"),
    ("mul(100)", "1.20", "120"),
    ("mul(-1)", "0", "0"),
    ("div(3)", "1", "0.333333333333"),
    ("div(0.5)", "1", "2"),
    ("minor(USD)", "1.2", "120"),
    ("minor(JPY)", "120", "120"),
    ("minor({currency})", "1.005", "101"),
    ("convert(EUR, USD)", "10.80", "10.00"),
    ("convert(JPY, {currency})", "1", "150"),
    ("convert(USD, USD)", "1.234", "1.23"),
    ("unix", "2024-11-21T02:00:00+02:00", "1732147200"),
    ("unix", "1732147200123", "1732147200"),
    ("unix_ms", "1732147200", "1732147200000"),
    ("unix_ms", "2024-11-21", "1732147200000"),
    ("date('%d.%m.%Y %H:%M %z', 'Europe/Kyiv')", "1732147200", "21.11.2024 02:00 +0200"),
    ("date('%H%:z', 'Europe/Kyiv')", "1721520000", "03+03:00"),
    ("date('%H:%M%:z', 'America/St_Johns')", "1732147200", "20:30-03:30"),
    ("date('%a, %d %b %Y')", "1732147200", "Thu, 21 Nov 2024"),
    ("random(1, 6)", "0000abc", "5"),
    ("random(1, 6, salt)", "0000abc", "6"),
    ("random(7, 7)", "x", "7"),
    ("uuid", "0000abc", "de8ec911-e0e9-858f-8d12-d229a1624988"),
    ("uuid(salt)", "0000abc", "7104abd4-b29d-8b43-883c-0e1dd04a895f"),
    ("sha512|slice(0, 32)", "abc", "ddaf35a193617abacc417349ae204131"),
    # RFC 4231, test case 2, and RFC 2202, test case 2
    (
        "hmac_sha256('env:JEFE')",
        "what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    (
        "hmac_sha256({secret('env:JEFE')}, base64)",
        "what do ya want for nothing?",
        "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=",
    ),
    (
        "hmac_sha256('env:JEFE', base64url)",
        "what do ya want for nothing?",
        "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM",
    ),
    ("hmac_sha1('env:JEFE')", "what do ya want for nothing?", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
    ("hmac_sha512('env:JEFE')|slice(0, 32)", "what do ya want for nothing?", "164b7a7bfcf819e2e395fbe73b56e0a3"),
    ("append({secret('file:/run/key')})|md5", "a", "17540aef7b8470cc3ea8b2b9046af3b6"),
    ("date", "1732147200", "2024-11-21T00:00:00Z"),
    ("date('%Y-%m-%d %H:%M:%S %j %y %s%%')", "1732147200", "2024-11-21 00:00:00 326 24 1732147200%"),
]


OTHERS = {"sub2": "(two)", "payout": "2.50", "currency": "USD"}
CONTEXT = Context(
    secrets={"env:JEFE": "Jefe", "file:/run/key": "k"}.__getitem__,
    rates={"EUR": Decimal(1), "USD": Decimal("1.08"), "JPY": Decimal(162)},
)


def test_every_filter_has_a_case() -> None:
    assert {call for case in CASES for call in re.findall(r"(?:^|\|)([a-z_0-9]+)", case[0])} >= set(FILTERS)


@pytest.mark.parametrize(("filter_", "value", "expected"), CASES)
def test_filter(filter_: str, value: str, expected: str) -> None:
    template = compile_template(f"{{sub1|{filter_}}}", position=Position.RAW)
    assert template.render({"sub1": value} | OTHERS, CONTEXT) == expected
    assert template.render_carefully({"sub1": value} | OTHERS, CONTEXT) == expected


def test_filters_apply_in_order() -> None:
    template = compile_template("{sub1|trim|lower|replace(a, b)|upper}", position=Position.RAW)
    assert template.render({"sub1": " Aa "}) == "BB"


@pytest.mark.parametrize(
    ("filter_", "code"),
    [
        ("rond(2)", "macro_unknown_filter"),
        ("round(x)", "macro_bad_argument"),
        ("round(13)", "macro_bad_argument"),
        ("round(1, 2)", "macro_bad_argument"),
        ("lower(1)", "macro_bad_argument"),
        ("map", "macro_bad_argument"),
        ("map(a)", "macro_bad_argument"),
        ("map(a=b, a=c)", "macro_bad_argument"),
        ("default(a=b)", "macro_bad_argument"),
        ("default", "macro_bad_argument"),
        ("replace('', x)", "macro_bad_argument"),
        ("slice(a)", "macro_bad_argument"),
        ("date('%Q')", "macro_bad_argument"),
        ("date('%')", "macro_bad_argument"),
        ("date('%Y', 'Europe/Kiew')", "macro_bad_argument"),
        ("date('%Y', '../etc/passwd')", "macro_bad_argument"),
        ("truncate(0)", "macro_bad_argument"),
        ("split('', 1)", "macro_bad_argument"),
        ("split('-')", "macro_bad_argument"),
        ("first('')", "macro_bad_argument"),
        ("number('1.0')", "macro_bad_argument"),
        ("number('#,##0,0')", "macro_bad_argument"),
        ("mul(x)", "macro_bad_argument"),
        ("div(0)", "macro_bad_argument"),
        ("minor(dollars)", "macro_bad_argument"),
        ("convert(EUR)", "macro_bad_argument"),
        ("convert(euro, USD)", "macro_bad_argument"),
        ("random(6, 1)", "macro_bad_argument"),
        ("hmac_sha256", "macro_bad_argument"),
        ("hmac_sha256('my key')", "macro_bad_argument"),
        ("hmac_sha256({sub2})", "macro_bad_argument"),
        ("hmac_sha256('env:K', hex32)", "macro_bad_argument"),
        ("raw|lower", "macro_bad_argument"),
        ("raw|raw", "macro_bad_argument"),
    ],
)
def test_a_wrong_filter_is_refused_when_compiled(filter_: str, code: str) -> None:
    with pytest.raises(MacroError) as raised:
        compile_template(f"ab{{sub1|{filter_}}}", position=Position.RAW)
    assert raised.value.code == code
    assert raised.value.column > 7


def test_an_unknown_filter_gets_a_hint() -> None:
    with pytest.raises(MacroError) as raised:
        compile_template("{sub1|rond(2)}", position=Position.RAW)
    assert (raised.value.hint, raised.value.column) == ("did you mean round?", 7)


@pytest.mark.parametrize(
    ("filter_", "value"),
    [
        ("round(2)", "1e5"),
        ("round(2)", "NaN"),
        ("round(2)", "١"),
        ("round(2)", "9" * 41),
        ("date", "x"),
        ("date", "9" * 12),
        ("date", "2024-13-01"),
        ("date('%H', 'Asia/Tokyo')", "253402300799"),
        ("unix", "-1"),
        ("unix", "1969-12-31"),
        ("unix_ms", "tomorrow"),
        ("int", "1e3"),
        ("mul(2)", "x"),
        ("div({sub2})", "1"),
        ("minor({sub2})", "1"),
        ("convert(EUR, {sub2})", "1"),
        ("slice({sub2})", "1"),
        ("random({sub2}, 1)", "1"),
    ],
)
def test_a_value_that_a_filter_cannot_take(filter_: str, value: str) -> None:
    with pytest.raises(WaypostError, match="macro_value"):
        compile_template(f"{{sub1|{filter_}}}", position=Position.RAW).render({"sub1": value})


def test_payout_and_sum_know_their_currency() -> None:
    template = compile_template("{payout|convert(EUR)} {sum|convert('EUR')}", position=Position.RAW)
    assert template.names == ("payout", "currency", "sum", "sum_currency")
    values = {"payout": "1.08", "currency": "USD", "sum": "162", "sum_currency": "JPY"}
    assert template.render(values, CONTEXT) == "1.00 1.00"
    with pytest.raises(WaypostError, match="macro_bad_argument"):
        compile_template("{revenue|convert(EUR)}", position=Position.RAW)


def test_no_rate_is_an_error_of_its_own() -> None:
    template = compile_template("{payout|convert(EUR)}", position=Position.RAW, place="catalog.yaml:3")
    for context in (NOTHING, Context(rates={"EUR": Decimal(1)}), Context(rates={"EUR": Decimal(1), "USD": Decimal(0)})):
        with pytest.raises(WaypostError) as raised:
            template.render({"payout": "1", "currency": "USD"}, context)
        assert (raised.value.code, raised.value.place) == ("macro_no_rate", "catalog.yaml:3")


def test_what_is_drawn_follows_from_the_value_and_is_spread_evenly() -> None:
    template = compile_template("{postback_id|random(0, 9)} {postback_id|uuid}", position=Position.RAW)
    drawn = [template.render({"postback_id": f"p{number}"}).split() for number in range(2000)]
    assert drawn == [template.render({"postback_id": f"p{number}"}).split() for number in range(2000)]
    counts = [sum(digit == str(number) for digit, _ in drawn) for number in range(10)]
    assert min(counts) > 140 and max(counts) < 260  # 200 each, give or take four and a half standard deviations
    parsed = {uuid.UUID(text) for _, text in drawn}
    assert len(parsed) == 2000
    assert {(one.version, one.variant) for one in parsed} == {(8, uuid.RFC_4122)}


def test_a_raw_value_stays_in_its_place_as_far_as_it_can() -> None:
    value = 'a=1&b=2#c d\r\né"<'
    template = compile_template("http://h/?x=1&{sub1|raw}&y={sub1}", position=Position.URL)
    assert template.render({"sub1": value}).startswith("http://h/?x=1&a=1&b=2%23c%20d%0D%0A%C3%A9%22%3C&y=a%3D1")
    assert compile_template("{sub1|raw}", position=Position.HEADER).render({"sub1": "a\r\nb"}) == "a%0D%0Ab"
    template = compile_template('{{"a": {sub1|raw}}}', position=Position.JSON)
    assert template.render({"sub1": '{"b": [1]}'}) == '{"a": {"b": [1]}}'
    assert template.render({}) == '{"a": null}'
    for wrong in ('1, "b": 2', '"', "NaN", "[" * 100 + "]" * 100):
        with pytest.raises(WaypostError, match="macro_value"):
            template.render({"sub1": wrong})


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("http://h/{sub1|raw}", Position.URL),
        ('{{"a": "{sub1|raw}"}}', Position.JSON),
        ("<a>{sub1|raw}</a>", Position.XML),
    ],
)
def test_raw_is_refused_where_a_value_could_leave(text: str, position: Position) -> None:
    with pytest.raises(MacroError, match="raw is not possible here"):
        compile_template(text, position=position)
