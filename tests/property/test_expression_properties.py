"""Conditions: whatever is written and whatever arrives, nothing crashes; what holds is what a plain reading says."""

import contextlib
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.macros.expression import Builder, compile_expression, number_of, parse_condition
from waypost.macros.scanner import MacroError, Scanner, quote_text

NAMES = ("a", "b", "sub1", "click.x")
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
VALUE = st.one_of(ANY_TEXT, st.sampled_from(["1", "1.0", "01", "-2", "2", "", "x", "10.0.0.1", "::1"]))
VALUES = st.dictionaries(st.sampled_from(NAMES), VALUE, max_size=4)
PIECES = ["a", "b", "==", "!=", "<", "and", "or", "not", "in", "(", ")", "'x'", "1", ",", "matches", "within", "|",
          "lower", "'10.0.0.0/8'", "=", "{", "}", "'", '"', "\\", "k0", "values", "__class__", ";", "\n"]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), ANY_TEXT), max_size=16).map(" ".join), VALUES)
def test_nothing_crashes(text: str, values: dict[str, str]) -> None:
    try:
        expression = compile_expression(text)
    except MacroError as error:
        assert error.code.startswith("macro_") and 0 <= error.column <= len(text) + 1
        return
    assert expression.holds(values) in (True, False)


# A condition as a text and, beside it, as a function that says it in the plainest way.
Meaning = tuple[str, "Plain"]


class Plain:
    """What a condition means, spelled out."""

    def __init__(self, kind: str, *parts: object) -> None:
        self.kind = kind
        self.parts = parts

    def holds(self, values: Mapping[str, str]) -> bool:
        if self.kind == "and":
            return all(part.holds(values) for part in self.parts)  # type: ignore[attr-defined]
        if self.kind == "or":
            return any(part.holds(values) for part in self.parts)  # type: ignore[attr-defined]
        if self.kind == "not":
            return not self.parts[0].holds(values)  # type: ignore[attr-defined]
        left, right = (values.get(str(part), "") if is_name else str(part) for is_name, part in self.parts)  # type: ignore[misc]
        one, other = number_of(left), number_of(right)
        numeric = one is not None and other is not None
        if self.kind == "==":
            return one == other if numeric else left == right
        if self.kind == "!=":
            return one != other if numeric else left != right
        return numeric and {"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}[self.kind]  # type: ignore[operator]


def _compared(left: tuple[bool, str], sign: str, right: tuple[bool, str]) -> Meaning:
    written = [text if is_name else quote_text(text) for is_name, text in (left, right)]
    return f"{written[0]} {sign} {written[1]}", Plain(sign, left, right)


OPERAND = st.one_of(st.tuples(st.just(True), st.sampled_from(NAMES)), st.tuples(st.just(False), VALUE))
LEAF = st.builds(_compared, OPERAND, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), OPERAND)
MEANING = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).flatmap(
            lambda some: st.sampled_from(["and", "or"]).map(
                lambda word: (
                    "(" + f" {word} ".join(text for text, _ in some) + ")",
                    Plain(word, *(p for _, p in some)),
                )
            )
        ),
        inner.map(lambda one: (f"not {one[0]}", Plain("not", one[1]))),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(MEANING, VALUES)
def test_what_holds_is_what_a_plain_reading_says(meaning: Meaning, values: dict[str, str]) -> None:
    text, plain = meaning
    assert compile_expression(text).holds(values) is plain.holds(values)


@settings(deadline=None)
@given(ANY_TEXT, ANY_TEXT)
def test_no_character_of_a_text_gets_into_the_function(one: str, other: str) -> None:
    """The compiled source depends on a condition's form alone."""

    def source(first: str, second: str) -> str:
        text = f"a == {quote_text(first + 'x')} or b|default({quote_text(second)}) matches {quote_text(second)}"
        return Builder().test(parse_condition(Scanner(text, "")))

    assert source(one, other) == source("", "")


@settings(deadline=None)
@given(st.text(st.sampled_from("ab"), max_size=12), st.lists(st.text(st.sampled_from("ab"), max_size=3), min_size=1))
def test_a_pattern_matches_what_a_search_of_all_splits_finds(text: str, parts: list[str]) -> None:
    def fits(rest: str, left: list[str]) -> bool:
        if len(left) == 1:
            return rest.endswith(left[0])
        return any(
            fits(rest[at + len(left[0]) :], left[1:]) for at in range(len(rest) + 1) if rest.startswith(left[0], at)
        )

    pattern = "*".join(parts)
    plain = text == pattern if len(parts) == 1 else text.startswith(parts[0]) and fits(text[len(parts[0]) :], parts[1:])
    assert compile_expression(f"a matches {quote_text(pattern)}").holds({"a": text}) is plain


def test_the_work_of_reading_grows_with_the_text_alone() -> None:
    for unit in (
        "a or ",
        "(",
        "not ",
        "a == 'x' and ",
        "a in ('x','y') or ",
        "a|lower|upper or ",
        "'",
        "a matches ('x',",
    ):
        steps = []
        for count in (64, 512):
            scanner = Scanner((unit * count)[:4096], "")
            with contextlib.suppress(MacroError):
                parse_condition(scanner)
            steps.append(scanner.steps / len(scanner.text))
        assert max(steps) < 16, unit
