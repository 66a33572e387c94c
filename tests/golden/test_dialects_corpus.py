"""Every published definition of the two collections: what is said of it, and what it becomes.

The golden files were read one by one; `source_checks.json` is what is said of a source's postback when nobody says
what its click brings, `network_calls.json` what becomes of the URLs that networks are to call.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from waypost.macros.dialects.calls import export_call, is_call
from waypost.macros.dialects.guess import common_language, guess
from waypost.macros.dialects.translation import Problem
from waypost.macros.lint import Kind, check

HERE = Path(__file__).parent


def load(name: str) -> Any:
    return json.loads((HERE / name).read_text("utf-8"))


NETWORKS: list[dict[str, str]] = load("corpus/affiliate-networks.json")
SOURCES: list[dict[str, Any]] = [source for source in load("corpus/traffic-sources.json") if source["postback"]]
CALLS: dict[str, Any] = load("network_calls.json")
CHECKS: dict[str, Any] = load("source_checks.json")
TEXTS = [source["postback"] for source in SOURCES]


def said(problems: tuple[Problem, ...]) -> list[str]:
    return [f"{problem.severity.value} {problem.code} at {problem.column}: {problem.detail}" for problem in problems]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network["name"])
def test_a_network_s_url(network: dict[str, str]) -> None:
    checked = check(network["postback"])
    offer = check(network["offer_parameters"], dialect="keitaro")
    assert (checked.kind, offer.kind) == (Kind.CALL, Kind.PIECE)
    assert CALLS[network["name"]] == {
        "dialect": checked.dialect,
        "result": checked.result,
        "translation": checked.translation.text,
        "problems": said(checked.problems),
        "offer_parameters": offer.translation.text,
        "offer_problems": said(offer.problems),
    }


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network["name"])
def test_a_network_s_url_comes_back(network: dict[str, str]) -> None:
    text = check(network["postback"]).translation.text
    assert text is not None and text.startswith("http://{domain}/postback?token={postback_key}&click_id=")
    assert is_call(text) and export_call(text) == network["postback"]


def test_every_network_is_in_the_golden_file_and_imports() -> None:
    assert [network["name"] for network in NETWORKS] == list(CALLS)
    assert all(row["translation"] for row in CALLS.values())
    assert Counter(row["result"] for row in CALLS.values()) == {"ok": 135, "warning": 55}
    refused = [name for name, row in CALLS.items() if row["offer_parameters"] is None]
    assert refused == ["leaddealer.net"]  # {sub_id}: did you mean {subid}?


@pytest.mark.parametrize("text", dict.fromkeys(TEXTS))
def test_a_source_s_postback(text: str) -> None:
    checked = check(text, prefer="keitaro")
    first = checked.foremost
    found = [checked.result, checked.dialect, first.code if first else "", first.column if first else 0]
    assert found == CHECKS[text]


def test_the_collection_says_its_language() -> None:
    assert common_language(guess(text) for text in TEXTS) == "keitaro"
    assert set(CHECKS) == set(TEXTS)


def test_a_clean_definition_imports() -> None:
    """With what its click brings, all but two: a misspelled macro, and one that nothing fills."""
    refused = {}
    for source in SOURCES:
        checked = check(source["postback"], dialect="keitaro", click_parameters=source["click_parameters"])
        if checked.translation.text is None:
            refused[source["name"]] = checked.foremost
    assert {name: (problem.code, problem.column) for name, problem in refused.items() if problem} == {
        "adset.tools": ("macro_unknown", 43),
        "mobivion.com": ("macro_unknown", 40),
    }
    assert "did you mean {external_id}?" in refused["mobivion.com"].hint  # type: ignore[union-attr]
