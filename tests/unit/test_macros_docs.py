"""docs/macros.md names every macro, filter, position and error code, and its examples hold."""

import re
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest

from waypost.errors import ERRORS
from waypost.macros import expression, syntax
from waypost.macros.encoding import Position
from waypost.macros.filters import FILTERS
from waypost.macros.names import CLICK_FIELD, MACROS
from waypost.macros.template import Context, compile_template

DOCS = (Path(__file__).parents[2] / "docs/macros.md").read_text("utf-8")
NUMBERED = re.compile(r"sub(_id_)?\d+")


@pytest.mark.parametrize(
    "name", [*(name for name in MACROS if not NUMBERED.fullmatch(name)), "sub1", "sub30", CLICK_FIELD.name]
)
def test_every_macro_is_documented(name: str) -> None:
    row = next(line for line in DOCS.splitlines() if line.startswith("| `{") and f"`{{{name}}}`" in line.split("|")[1])
    if not NUMBERED.fullmatch(name):
        meaning = (MACROS.get(name) or CLICK_FIELD).meaning
        assert meaning in row


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_is_documented(name: str) -> None:
    assert f"| `{FILTERS[name].signature}` | {FILTERS[name].meaning} |" in DOCS


@pytest.mark.parametrize("position", Position)
def test_every_position_is_documented(position: Position) -> None:
    assert f"`{position.value}`" in DOCS


@pytest.mark.parametrize("code", [code for code in ERRORS if code.startswith("macro_")])
def test_every_code_is_documented(code: str) -> None:
    assert f"`{code}`" in DOCS


@pytest.mark.parametrize("module", [syntax, expression], ids=["templates", "conditions"])
def test_the_grammar_is_the_modules(module: ModuleType) -> None:
    assert module.__doc__ is not None
    rules = [line.strip() for line in module.__doc__.splitlines() if line.startswith("    ")]
    assert len(rules) >= 10
    for rule in rules:
        assert rule in DOCS


CONTEXT = Context(secrets={"env:ACME_KEY": "Jefe"}.__getitem__, rates={"EUR": Decimal(1), "USD": Decimal("1.25")})
EXAMPLE = re.compile(r"`(.+)`: (?:`(.*)`|nothing) → (?:`(.*)`|nothing)")


@pytest.mark.parametrize("name", FILTERS)
def test_a_filters_example_holds(name: str) -> None:
    row = next(line for line in DOCS.splitlines() if line.startswith(f"| `{FILTERS[name].signature}` |"))
    found = EXAMPLE.fullmatch(row.strip("| ").replace("\\|", "|").rpartition(" | ")[2])
    assert found is not None and found[1].startswith(name)
    values = {"sub1": found[2] or "", "payout": "2.50", "currency": "USD"}
    template = compile_template(f"{{sub1|{found[1]}}}", position=Position.RAW)
    assert template.render(values, CONTEXT) == (found[3] or "")


def _rows(heading: str, columns: str) -> list[list[str]]:
    """The cells of the table with these columns under a heading."""
    _, _, table = DOCS.partition(f"\n## {heading}\n")[2].partition(columns + "\n")
    rows = [line.replace("\\|", "\0") for line in table.split("\n\n")[0].splitlines()[1:]]
    return [[cell.strip().replace("\0", "|") for cell in row.strip("|").split("|")] for row in rows]


LANGUAGE = _rows("The language", "| template | with | becomes |")


@pytest.mark.parametrize(("template", "given", "becomes"), LANGUAGE, ids=[row[0] for row in LANGUAGE])
def test_an_example_of_the_language_holds(template: str, given: str, becomes: str) -> None:
    values = dict(pair.split("=", 1) for pair in re.findall(r"`([^`]+)`", given))
    assert compile_template(template.strip("`"), position=Position.FORM).render(values) == becomes.strip("`")


def test_the_examples_of_conditions_compile() -> None:
    rows = _rows("Conditions", "| condition | holds where |")
    assert len(rows) >= 8
    for cell, _ in rows:
        for text in re.findall(r"`([^`]+)`", cell):
            assert expression.compile_expression(text, names=[*MACROS, "ip"]).names
    for text, holds in (("10", True), ("10.00", True), ("+10", True), ("11", False)):
        assert expression.compile_expression("sum == 10").holds({"sum": text}) is holds
    assert expression.compile_expression(rows[-1][0].strip("`")).holds({"status": "hold"}) is True
