"""docs/catalog-tests.md: its example runs, what it shows of a failure is what is printed, and it has every key."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from waypost import assembly
from waypost.catalog.case_keys import CASE_KEYS
from waypost.catalog.keys import Key
from waypost.cli.main import app
from waypost.settings import load_settings

DOC = (Path(__file__).parents[2] / "docs" / "catalog-tests.md").read_text("utf-8")
CATALOG, CASES = re.findall(r"```yaml\n(.*?)```", DOC, re.DOTALL)


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    file = tmp_path / "catalog.yaml"
    file.write_text(CATALOG)
    (tmp_path / "catalog.test.yaml").write_text(CASES)
    return file


def test_the_example_comes_out_as_it_says(catalog: Path) -> None:
    results = assembly.run_cases(catalog, [], load_settings(None, {}))
    assert len(results) == 3 and [problem for result in results for problem in result.problems] == []


def test_a_failure_reads_as_the_page_shows_it(catalog: Path) -> None:
    wrong = CASES.replace("1.20 USD", "1.30 USD", 1).replace("goal: install}", "goal: install, status: pending}", 1)
    cases = catalog.with_name("catalog.test.yaml")
    cases.write_text(wrong)
    shown = (
        CliRunner().invoke(app, ["catalog", "test", "--catalog", str(catalog)]).stdout.replace(f"{cases.parent}/", "")
    )
    block = "FAIL" + DOC.partition("```\nFAIL")[2].partition("```")[0]
    assert len(block.splitlines()) == 8
    assert [line for line in block.splitlines() if line not in shown.splitlines()] == []


@pytest.mark.parametrize("key", CASE_KEYS, ids=lambda key: key.path)
def test_every_key_is_documented(key: Key) -> None:
    default = "**required**" if key.required else key.default or "none"
    assert f"| `{key.path}` | {key.takes} | {default} | {key.meaning} |" in DOC.splitlines()
