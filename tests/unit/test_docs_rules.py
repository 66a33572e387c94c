"""docs/rules.md: every example is a rule that the catalog takes and that renders; what it promises of words is so."""

import json
import re
from pathlib import Path

import pytest

from support.catalog_text import compiled
from support.catalogs import MemoryCatalogs, MemoryView
from waypost.catalog.model import Partner
from waypost.courier.render import Renderer
from waypost.macros.names import IN_POSTBACK
from waypost.model.frames import AttemptReason, PostbackOut
from waypost.stages.rules import REASONS_KEPT_MAX

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text("utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
HEAD = """
waypost: 1
advertisers: {acme: {token: s3cret}}
offers:
  vpn:
    advertiser: acme
    url: "https://a.example/?c={click_id}"
    goals: {install: {payout: 1 USD}, purchase: {payout: 10%}}
links: {demo: {partner: geozo, offer: vpn}}
partners:
  geozo:
    postbacks:
"""
VALUES = {
    "sub1": 'a"&<b', "payout": "1.20", "goal": "purchase", "partner": "geozo", "currency": "USD",
    "click_time": "1700000000", "conversion_id": "c0",
}  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.splitlines()[0] for example in EXAMPLES])
def test_an_example_is_a_rule_and_renders(example: str) -> None:
    (partner,) = compiled(HEAD + "".join(f"      {line}\n" for line in example.splitlines())).partners
    (rule,) = partner.rules
    assert all(name in IN_POSTBACK for name in rule.macros)
    view = MemoryView(1, [], [], [Partner(1, "geozo", (rule,))], [])
    post = PostbackOut("p1.1", 1, 1, 0, 1, 1, 1, 0, 0, VALUES, batched=rule.batch is not None)
    renderer = Renderer(MemoryCatalogs(view))
    if rule.batch is not None:
        rendered = renderer.render_batch([post, post], attempt=1, reason=AttemptReason.FIRST, first_ms=1)
        assert len(json.loads(rendered.body)["events"]) == 2
    else:
        rendered = renderer.render(post, attempt=1, reason=AttemptReason.FIRST, first_ms=1)
        kind = dict(rendered.headers).get("Content-Type", "")
        assert json.loads(rendered.body) if kind == "application/json" else True
    assert rendered.url.startswith("https://") and "{" not in rendered.url


def test_the_page_has_examples_and_its_bound_is_the_codes() -> None:
    assert len(EXAMPLES) >= 6
    assert f"more than {REASONS_KEPT_MAX} rules" in PAGE
