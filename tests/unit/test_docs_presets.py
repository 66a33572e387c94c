"""docs/presets.md: its examples are right, and its promise of what `add` prints is what it prints."""

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from support.catalog_text import compiled
from waypost.cli.main import app

PAGE = (Path(__file__).parents[2] / "docs" / "presets.md").read_text("utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
AROUND = """waypost: 1
advertisers: {acme: {token: s3cret}}
offers:
  acme-vpn:
    advertiser: acme
    url: https://acme.example/?c={click_id}
    goals: {install: {payout: 1 USD}, registration: {payout: 1 USD}}
"""


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_each_example_compiles(example: str) -> None:
    (partner,) = compiled(AROUND + example).partners
    own = yaml.safe_load(example)["partners"][partner.name]
    assert len(partner.rules) == 1 + len(own.get("postbacks", []))
    assert partner.delivery.concurrency == own.get("delivery", {}).get("concurrency", 0)


def test_add_prints_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("catalog.yaml").write_text(AROUND, "utf-8")
    shown = re.search(r"\$ waypost (.*)\n((?:.*\n)*?)```", PAGE)
    assert shown is not None
    done = CliRunner().invoke(app, shown[1].split())
    assert done.output == shown[2]
