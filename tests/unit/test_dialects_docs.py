"""docs/dialects.md names every dialect and form, its table of codes holds, and the tables are those of the code."""

import importlib.util
import re
from pathlib import Path

import pytest

from waypost.errors import ERRORS
from waypost.macros.dialects import DIALECTS, NAMED
from waypost.macros.lint import check

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs/dialects.md").read_text("utf-8")
CODES = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in DOCS.splitlines()
    if re.match(r"\| `macro_\w+` \| (error|warning) \|", line)
]


def test_the_tables_are_those_of_the_code() -> None:
    spec = importlib.util.spec_from_file_location("docs_generate_dialects", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert generate.PAGES["dialect-tables.md"]() == (ROOT / "docs/dialect-tables.md").read_text("utf-8"), (
        "run `make docs`"
    )


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_is_named(name: str) -> None:
    assert f"| `{name}` | {DIALECTS[name].title} |" in DOCS if name in NAMED else f"`{name}`" in DOCS


@pytest.mark.parametrize("name", NAMED)
def test_the_macros_shown_are_the_dialect_s(name: str) -> None:
    row = next(line for line in DOCS.splitlines() if line.startswith(f"| `{name}` |"))
    for example in re.findall(r"`([^`]+)`", row.split("|", 3)[3]):
        checked = check(f"https://h.com/?a={example}", dialect=name)
        assert checked.translation.text is not None and "macro_foreign" not in {p.code for p in checked.problems}, (
            example
        )


@pytest.mark.parametrize(
    "row", [row for row in CODES if row[3].strip("|").strip()], ids=lambda row: f"{row[0]}-{row[3]}"
)
def test_the_examples_get_what_the_table_says(row: list[str]) -> None:
    checked = check(row[3].strip("| `"))
    first = checked.foremost
    assert first is not None and (f"`{first.code}`", checked.result) == (row[0], row[1])


def test_every_code_of_a_check_is_in_the_table() -> None:
    listed = {row[0].strip("| `") for row in CODES}
    of_templates = {code for code in ERRORS if code.startswith("macro_")}
    elsewhere = of_templates - listed
    macros = (ROOT / "docs/macros.md").read_text("utf-8")
    assert all(f"`{code}`" in macros for code in elsewhere)
