"""docs/clicks.md: its examples compile, and it names every key of targeting, every code and every fact."""

import re
from pathlib import Path

import pytest

from support.catalog_text import DESIGN, errors
from waypost.catalog.sections.targeting import DEVICES
from waypost.macros.names import VISITOR
from waypost.model.facts import AGENT_FACTS, GEO_FACTS
from waypost.stages.targeting import skip_meaning

DOC = (Path(__file__).parents[2] / "docs" / "clicks.md").read_text("utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", DOC, re.DOTALL)
CODES = ("country", "schedule", "condition", "not_started", "expired", "cap_reached", "inactive", "link_…")


def test_the_examples_are_one_right_catalog() -> None:
    found = errors(_merged(DESIGN, *EXAMPLES))
    assert found == [] and len(EXAMPLES) == 2


def _merged(design: str, offers: str, links: str) -> str:
    """The design's catalog with the page's examples in their sections."""
    first, _, rest = offers.partition("groups:\n")
    text = design.replace("offers:\n", first, 1)
    return text.replace("links:\n", links, 1) + "groups:\n" + rest


@pytest.mark.parametrize("name", [*VISITOR, "visitor", "ip", "schedule", *DEVICES, *AGENT_FACTS, *GEO_FACTS, *CODES])
def test_each_name_is_there(name: str) -> None:
    assert f"`{name}`" in DOC


def test_a_reason_reads_as_the_page_shows_it() -> None:
    for offer, code in re.findall(r"(vpn-\w+): .* \((\w+)\)$", DOC, re.MULTILINE):
        assert f"{offer}: {skip_meaning(code)} ({code})" in DOC
