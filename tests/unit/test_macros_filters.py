"""Each filter, against values worked out elsewhere."""

import pytest

from waypost.errors import WaypostError
from waypost.macros.filters import FILTERS
from waypost.macros.syntax import MacroError
from waypost.macros.template import Position, compile_template

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
    ("date", "1732147200", "2024-11-21T00:00:00Z"),
    ("date('%Y-%m-%d %H:%M:%S %j %y %s%%')", "1732147200", "2024-11-21 00:00:00 326 24 1732147200%"),
]


def test_every_filter_has_a_case() -> None:
    assert {case[0].partition("(")[0] for case in CASES} == set(FILTERS)


@pytest.mark.parametrize(("filter_", "value", "expected"), CASES)
def test_filter(filter_: str, value: str, expected: str) -> None:
    assert compile_template(f"{{sub1|{filter_}}}", position=Position.RAW).render({"sub1": value}) == expected


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
    ],
)
def test_a_value_that_a_filter_cannot_take(filter_: str, value: str) -> None:
    with pytest.raises(WaypostError, match="macro_value"):
        compile_template(f"{{sub1|{filter_}}}", position=Position.RAW).render({"sub1": value})
