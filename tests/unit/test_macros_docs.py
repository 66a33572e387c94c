"""docs/macros.md names every macro, filter, position, dialect placeholder and error code, and its examples hold."""

import re
from pathlib import Path

import pytest

from waypost.errors import ERRORS
from waypost.macros import syntax
from waypost.macros.dialects.keitaro import PLACEHOLDERS
from waypost.macros.encoding import Position
from waypost.macros.filters import FILTERS
from waypost.macros.names import CLICK_FIELD, MACROS

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


@pytest.mark.parametrize(
    "name", [name for name, row in PLACEHOLDERS.items() if row.ours and not NUMBERED.fullmatch(name)]
)
def test_every_translated_placeholder_is_documented(name: str) -> None:
    assert f"| `{{{name}}}` | `{{{PLACEHOLDERS[name].ours}}}` |" in DOCS


def test_the_grammar_is_the_parsers() -> None:
    assert syntax.__doc__ is not None
    rules = [line.strip() for line in syntax.__doc__.splitlines() if re.match(r"    \w+ +=", line)]
    assert len(rules) >= 10
    for rule in rules:
        assert rule in DOCS
