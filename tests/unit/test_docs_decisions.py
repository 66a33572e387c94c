"""docs/decisions: numbered without gaps, indexed, each with its parts; and links within docs/ lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RECORDS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), ROOT / "bench" / "README.md"])


def test_records_are_numbered_without_gaps() -> None:
    assert [int(record.name[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))


def test_the_index_has_each_record_under_its_title() -> None:
    index = (DOCS / "decisions" / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| \[(\d{4})\]\(([\w-]+\.md)\) \| (.+) \|$", index, re.MULTILINE)
    titles = [record.read_text("utf-8").splitlines()[0].removeprefix("# ") for record in RECORDS]
    assert [f"{number}: {title}" for number, _, title in rows] == titles
    assert [name for _, name, _ in rows] == [record.name for record in RECORDS]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_record_says_what_was_asked_decided_and_what_follows(record: Path) -> None:
    text = record.read_text("utf-8")
    assert "**Decision.**" in text
    if record.stem != "0002-group-commit":  # a comparison of measurements, with parts of its own
        assert all(f"**{part}.**" in text for part in ("Status", "Context", "Consequence"))
    assert len(text.splitlines()) <= 60


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_named_files_are_there(page: Path) -> None:
    text = page.read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    named = re.findall(r"`((?:src|tests|bench|docs|examples)/[\w./-]+\.\w+)(?:::(\w+))?`", text)
    assert [file for file, _ in named if not (ROOT / file).exists() and "results/" not in file] == []
    missing = [name for file, name in named if name and f"def {name}(" not in (ROOT / file).read_text("utf-8")]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_headings_lead_to_one(page: Path) -> None:
    for file, heading in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", page.read_text("utf-8")):
        target = (page.parent / file) if file else page
        headings = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.MULTILINE)
        assert heading in {re.sub(r"[^\w\- ]", "", text).strip().lower().replace(" ", "-") for text in headings}
