"""Conditions: what each comparison means, and what is said of one that is written wrongly."""

import pytest

from waypost.errors import WaypostError
from waypost.macros.expression import DEPTH_MAX, compile_expression
from waypost.macros.names import IN_POSTBACK
from waypost.macros.scanner import MacroError

VALUES = {
    "goal": "purchase", "sum": "10.50", "payout": "10.5", "country": "DE", "sub1": "007", "source": "ad-7-x",
    "ip": "10.1.2.3", "status": "approved", "click.utm_source": "News", "currency": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("goal == 'purchase'", True),
        ("'purchase' == goal", True),
        ("goal != 'purchase'", False),
        ("goal == 'Purchase'", False),
        ("goal|upper == 'PURCHASE'", True),
        ("goal|slice(0, 3)|upper == 'PUR'", True),
        ("sum == 10.5", True),
        ("sum == '10.5'", True),
        ("sum == payout", True),
        ("sum != payout", False),
        ("sum != 10.49", True),
        ("sum > 10", True),
        ("sum > 10.5", False),
        ("sum >= 10.5", True),
        ("sum < 9", False),
        ("9 < sum", True),
        ("sum <= +10.50", True),
        ("sum > -.5", True),
        ("goal > 1", False),
        ("goal <= 1", False),
        ("missing < 1", False),
        ("sub1 == 7", True),
        ("sub1 == '7x'", False),
        ("goal", True),
        ("missing", False),
        ("currency", False),
        ("currency == ''", True),
        ("not missing", True),
        ("not not goal", True),
        ("click.utm_source == 'News'", True),
        ("goal in ('lead', 'purchase')", True),
        ("goal in ('lead')", False),
        ("goal not in ('lead', 'sale')", True),
        ("sum in (1, 10.500)", True),
        ("sum in (payout)", True),
        ("goal in ('lead', payout)", False),
        ("source matches 'ad-*'", True),
        ("source matches '*-x'", True),
        ("source matches 'a*7*x'", True),
        ("source matches 'ad-7'", False),
        ("source matches '*'", True),
        ("source matches 'ad-7-x*ad-7-x'", False),
        ("source matches ('b*', 'a*')", True),
        ("source not matches 'a*'", False),
        ("ip within '10.0.0.0/8'", True),
        ("ip within ('192.168.0.0/16', '10.1.2.3')", True),
        ("ip not within '10.0.0.0/8'", False),
        ("goal within '0.0.0.0/0'", False),
        ("missing within '::/0'", False),
        ("goal == 'x' or sum > 1 and country == 'DE'", True),
        ("(goal == 'x' or sum > 1) and country == 'US'", False),
        ("goal == 'x' or (sum > 1 and not (country == 'US'))", True),
        ("sum|round(0) == 11", True),
        ("goal|round(0) == ''", True),  # what a filter cannot take is empty
        ("  goal=='purchase'and(sum>1)  ", True),
        ("goal == 'it\\'s'", False),
        ("notable", False),
    ],
)
def test_what_holds(text: str, holds: bool) -> None:
    expression = compile_expression(text)
    assert expression.holds(VALUES) is holds
    assert expression.holds(VALUES) is holds  # the second time it is the compiled one


def test_addresses_of_both_kinds() -> None:
    expression = compile_expression("ip within ('10.0.0.0/8', '2001:db8::/32')")
    for ip, holds in (("2001:db8::1", True), ("2001:db9::1", False), ("::ffff:10.0.0.1", True), ("10", False)):
        assert expression.holds({"ip": ip}) is holds
    assert expression.holds({"ip": "1" * 5000}) is False


def test_names_are_those_it_asks_for() -> None:
    expression = compile_expression("a == b and not (c in (a, d)) or e matches '*' or f|lower within '::1'")
    assert expression.names == ("a", "b", "c", "d", "e", "f")
    assert expression.text.startswith("a == b")


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "the condition ends where"),
        ("goal ==", 8, "the condition ends where"),
        ("goal = 'a'", 6, "= is no comparison"),
        ("(goal", 6, "no closing )"),
        ("(goal]", 6, "']' is not expected"),
        ("goal)", 5, "')' is not expected"),
        ("goal sum", 6, "'s' is not expected"),
        ("goal == 'a", 9, "no closing '"),
        ("goal in 'a'", 9, "in needs a list"),
        ("goal in ('a' 'b')", 14, "not expected in a list"),
        ("goal in ('a'", 13, "no closing )"),
        ("goal not 'a'", 10, "missing after not"),
        ("goal matches a", 14, "needs a text in quotes"),
        ("'goal'", 1, "no condition"),
        ("5", 1, "no condition"),
        ("5x == 5", 2, "right behind the number"),
        ("and goal", 1, "'and' stands where"),
        ("goal and or sum", 10, "'or' stands where"),
        ("ip within '10.0.0.1/8'", 4, "no address or network"),
        ("goal|", 6, "filter's name is missing"),
        ("{goal}", 1, "'{' stands where"),
        ("goal == __import__('os')", 19, "not expected"),
    ],
)
def test_errors_name_their_column(text: str, column: int, message: str) -> None:
    with pytest.raises(MacroError, match="macro_syntax") as raised:
        compile_expression(text, place="catalog.yaml:7")
    assert (raised.value.column, raised.value.place) == (column, "catalog.yaml:7")
    assert message in raised.value.detail


def test_unknown_names_and_filters() -> None:
    with pytest.raises(MacroError) as raised:
        compile_expression("goal == 'a' and statsu == 'b'", names=IN_POSTBACK)
    assert (raised.value.code, raised.value.column) == ("macro_unknown", 17)
    assert "did you mean {status}?" in raised.value.hint
    with pytest.raises(MacroError, match="nothing is called x"):
        compile_expression("x", names={"goal"})
    with pytest.raises(MacroError, match="macro_unknown_filter"):
        compile_expression("goal|lowr == 'a'")
    assert compile_expression("click.anything", names=IN_POSTBACK).names == ("click.anything",)


def test_bounds() -> None:
    with pytest.raises(WaypostError, match="macro_too_large"):
        compile_expression("a" * 100, bytes_max=99)
    with pytest.raises(WaypostError, match="macro_too_large"):
        compile_expression("(" * (DEPTH_MAX + 1) + "a" + ")" * (DEPTH_MAX + 1))
    with pytest.raises(WaypostError, match="macro_too_large"):
        compile_expression("not " * 2000 + "a")
    deepest = "(b or c and " * (DEPTH_MAX - 1) + "a" + ")" * (DEPTH_MAX - 1)
    assert compile_expression(deepest).holds({"a": "1", "c": "1"}) is True
    widest = compile_expression(" or ".join(f"a == '{number}'" for number in range(500)))
    assert widest.holds({"a": "499"}) is True
