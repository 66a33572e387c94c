"""docs/catalog.md names every key, as the table of keys has it; its examples and those in examples/ are right."""

import re
from pathlib import Path

import pytest

from support.catalog_text import DESIGN, SETTINGS
from waypost.catalog.compile import compile_catalog
from waypost.catalog.keys import KEYS, Key
from waypost.catalog.source import ALIAS_NODES_MAX, DEPTH_MAX
from waypost.engines.sqlite.catalog import check_catalog
from waypost.errors import ERRORS

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "catalog.md").read_text("utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", DOC, re.DOTALL)


def row(key: Key) -> str:
    if not key.available:
        return f"| `{key.path}` | {key.meaning} |"
    default = "**required**" if key.required else key.default or "none"
    return f"| `{key.path}` | {key.takes} | {default} | {key.meaning} |"


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_every_key_is_documented(key: Key) -> None:
    assert row(key) in DOC.splitlines()


def test_no_key_is_documented_that_is_not_there() -> None:
    paths = set(re.findall(r"^\| `((?:advertisers|offers|partners|links)[^`]*)` \|", DOC, re.MULTILINE))
    assert paths <= {key.path for key in KEYS}


def test_every_code_is_documented() -> None:
    for code in ERRORS:
        if code.startswith("catalog_") and ERRORS[code].http_status == 0:
            assert f"| `{code}` |" in DOC


def test_bounds_are_those_of_the_code() -> None:
    assert f"{ALIAS_NODES_MAX:,} nodes" in DOC and f"bounded at {DEPTH_MAX}" in DOC


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_each_example_compiles(example: str) -> None:
    head = "" if example.startswith("waypost: 1") else DESIGN
    compiled = compile_catalog([("design.yaml", head or example), *([("doc.yaml", example)] if head else [])], SETTINGS)
    assert compiled.counts()["links"] == 1


def test_the_example_catalog_is_right_and_stays_on_loopback() -> None:
    compiled = check_catalog(ROOT / "examples" / "catalog", SETTINGS)
    counts = compiled.counts()
    assert counts["advertisers"] >= 2 and counts["partners"] >= 3 and counts["offers"] >= 3 and counts["links"] >= 5
    for url in [offer.url for offer in compiled.offers] + [r.url for p in compiled.partners for r in p.rules]:
        assert url.startswith(("http://127.0.0.1:9000/", "http://127.0.0.1:9001/"))
