"""docs/checks.md says what the registry says, and holds every code that a decision can carry."""

import importlib.util
import re
from pathlib import Path

from waypost.errors import ERRORS
from waypost.stages.checks import CHECKS, OTHER_CODES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "checks.md").read_text("utf-8")
JUDGING = ("stages/judgement.py", "runtime/pipeline.py")


def test_the_page_is_the_one_that_the_code_makes() -> None:
    spec = importlib.util.spec_from_file_location("docs_generate_checks", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert generate.PAGES["checks.md"]() == PAGE, "run `make docs`"


def test_each_check_has_a_row_in_the_order_of_stored_results() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| `(\w+)` \| (refuse|review) \| ", PAGE, re.MULTILINE)
    assert [(int(nth), name, code) for nth, name, code, _ in rows] == [
        (nth, check.name, check.code) for nth, check in enumerate(CHECKS, 1)
    ]


def test_every_code_that_judging_sets_is_on_the_page() -> None:
    texts = [(ROOT / "src" / "waypost" / file).read_text("utf-8") for file in JUDGING]
    quoted = {word for text in texts for word in re.findall(r'"(\w+)"', text)}
    codes = {"duplicate", *OTHER_CODES, *(check.code for check in CHECKS), *(quoted & ERRORS.keys())}
    codes -= {"data_unwritable", "catalog_version"}  # the first stops a batch, the second is a gauge here
    assert codes >= {"duplicate", "poisonous_item", "unreadable_frame", "click_not_arrived"}
    assert [code for code in sorted(codes) if f"`{code}`" not in PAGE] == []
