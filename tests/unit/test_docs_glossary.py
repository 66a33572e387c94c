"""docs/glossary.md has every status, verdict, result, reason and macro-visible form of an id that the code has."""

import re
from enum import Enum
from pathlib import Path

import pytest

from waypost.model.frames import AttemptReason, SendResult, Status, Verdict
from waypost.model.ids import CLICK_ID_LENGTH, DOORS_MAX, looks_like_click_id, parse_numbered, parse_postback
from waypost.model.partition import NO_PARTITION
from waypost.runtime.roles import RoleState

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "glossary.md").read_text("utf-8")


@pytest.mark.parametrize("kind", [Status, Verdict, SendResult, AttemptReason, RoleState])
def test_every_value_is_explained(kind: type[Enum]) -> None:
    assert [member.value for member in kind if not re.search(rf"\b{re.escape(member.value)}\b", PAGE)] == []


def test_the_examples_are_ids() -> None:
    rows = dict(re.findall(r"^\| ([\w' ]+) \|.*\| `([^`]+)` \|$", PAGE, re.MULTILINE))
    assert looks_like_click_id(rows["click id"]) and len(rows["click id"]) == CLICK_ID_LENGTH
    receipt = parse_numbered(rows["receipt"], "r")
    assert receipt is not None and receipt == parse_numbered(rows["conversion"], "c")
    postback = parse_postback(rows["postback"])
    assert postback is not None and postback[0] == receipt


def test_bounds_are_those_of_the_code() -> None:
    assert f"0 to {DOORS_MAX - 1}" in PAGE
    assert f"{NO_PARTITION}: the door could not know it" in PAGE
