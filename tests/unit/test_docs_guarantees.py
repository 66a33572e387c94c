"""docs/guarantees.md names a test for each promise: the tests must exist, and each promise must have one."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))
PROMISES = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_named_test_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in found


@pytest.mark.parametrize("promise", PROMISES, ids=[part.splitlines()[0] for part in PROMISES])
def test_a_promise_is_held_by_a_test(promise: str) -> None:
    assert "\nTests: `tests/" in promise


def test_every_mention_of_a_test_is_checked() -> None:
    assert PAGE.count("::test_") == len(re.findall(r"`tests/[\w/]+\.py::\w+`", PAGE)) >= len(PROMISES)
