"""The published traffic-source definitions: each postback template, its translation and the URL it must render to.

The URLs of the golden file were worked out from the published templates by Keitaro's own rules and read one by one.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from waypost.macros.dialects.keitaro import translate
from waypost.macros.names import IN_POSTBACK
from waypost.macros.template import Position, compile_template

HERE = Path(__file__).parent
SOURCES: list[dict[str, Any]] = [
    source for source in json.loads((HERE / "corpus/traffic-sources.json").read_text("utf-8")) if source["postback"]
]
GOLDEN: dict[str, Any] = json.loads((HERE / "keitaro_postbacks.json").read_text("utf-8"))


def test_every_template_is_in_the_golden_file() -> None:
    assert len(SOURCES) == 68
    assert [source["name"] for source in SOURCES] == list(GOLDEN["templates"])
    assert sum(row["url"] is not None for row in GOLDEN["templates"].values()) >= 60


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source["name"])
def test_postback(source: dict[str, Any]) -> None:
    expected = GOLDEN["templates"][source["name"]]
    assert source["postback"] == expected["template"]
    answer = translate(source["postback"], click_parameters=source["click_parameters"])
    problems = [
        f"{problem.severity.value} {problem.code} at {problem.column}: {problem.detail}" for problem in answer.problems
    ]
    assert (answer.text, problems) == (expected["translation"], expected["problems"])
    if answer.text is None:
        assert expected["url"] is None and answer.errors
        return
    template = compile_template(answer.text, position=Position.URL, names=IN_POSTBACK)
    assert set(template.names) <= set(GOLDEN["values"])
    assert template.render(GOLDEN["values"]) == expected["url"]


def test_names_alone_translate_at_least_sixty() -> None:
    """Without the sources' own macros fewer templates can be put right, but none is put right wrongly."""
    texts = [
        translate(source["postback"], click_parameters=list(source["click_parameters"])).text for source in SOURCES
    ]
    assert sum(text is not None for text in texts) >= 60
