"""docs/visits.md: its query counts visitors exactly over all doors, its catalogs compile, its values are the code's."""

import re
from pathlib import Path

from support.catalog_text import errors
from support.visits import CATALOG
from waypost.catalog.outside import ADDRESS_KEPT, REFERRER_KEPT, USER_AGENT_KEPT
from waypost.engines.parquet.archive import ParquetArchive
from waypost.model.frames import AnyFrame, Click, Impression
from waypost.model.ids import FLAG_TEST
from waypost.settings import load_settings
from waypost.stages.archive_rows import rows_of

PAGE = (Path(__file__).parents[2] / "docs" / "visits.md").read_text("utf-8")
ANNA, BERT, CARL = b"annaanna", b"bertbert", b"carlcarl"


def click(
    ms: int,
    seq: int,
    user: bytes,
    *,
    flags: int = 0,
    marks: tuple[str, ...] = (),
    visitor: dict[str, str] | None = None,
) -> Click:
    return Click(ms, 0, seq, 7, flags, 0, 1, b"", user=user, marks=marks, visitor=visitor or {})


def test_the_query_counts_each_visitor_once_whatever_door_he_came_through(tmp_path: Path) -> None:
    archive = ParquetArchive(tmp_path, load_settings(environment={}).archive)
    first: list[AnyFrame] = [
        click(100, 0, ANNA),
        click(101, 1, ANNA, marks=("duplicate", "returning")),
        click(102, 2, BERT, marks=("prefetch",)),
        click(103, 3, CARL, visitor={"device": "bot", "bot": "1"}),
        click(104, 4, CARL, flags=FLAG_TEST),
        Impression(105, 0, 5, 7, 0, 0, 1, b"", user=CARL),
    ]
    second: list[AnyFrame] = [
        click(100, 0, ANNA),
        click(110, 1, BERT),
        click(9_999, 2, CARL),
    ]  # another door: no mark, same visitor
    archive.apply("door-0", 0, len(first), rows_of("door-0", 0, first))
    archive.apply("door-1", 0, len(second), rows_of("door-1", 0, second))
    found = re.search(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    assert archive.query(found[1].replace("…", "0", 1).replace("…", "9000", 1)) == [
        {"route": 7, "visits": 4, "visitors": 2}
    ]
    archive.close()


def test_the_pages_catalogs_compile() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    privacy = next(block for block in blocks if block.startswith("privacy"))
    assert errors(CATALOG + privacy) == []
    deep_link = next(block for block in blocks if "deep_link" in block)
    fields = re.search(r"    deep_link:\n(?:      .*\n)+", deep_link)
    assert fields is not None
    offer = "  web:\n    advertiser: acme\n    url: http://shop.example/\n    goals: {order: {payout: 1 USD}}\n"
    assert errors(CATALOG.replace("  elsewhere:\n    adv", f"{offer}{fields[0]}  elsewhere:\n    adv")) == []


def test_every_way_of_keeping_is_explained() -> None:
    table = PAGE[PAGE.index("## What is kept of a visitor") : PAGE.index("## Pages")]
    for word in (*ADDRESS_KEPT, *USER_AGENT_KEPT, *REFERRER_KEPT):
        assert f"`{word}`" in table or f" {word}" in table
