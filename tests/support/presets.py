"""Presets in catalogs: each with the values of its example, for what it sends and for what it is called with.

A preset's example is written by hand. In it NAME is the partner, OFFER the offer, LINK the link; a secret's value is
`secret-` and its parameter's name; everything else is as in `VALUES`.
"""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import yaml

from waypost.catalog.preset import Preset
from waypost.catalog.presets import shipped
from waypost.catalog.problems import Problems
from waypost.catalog.sections.presets import expand_presets
from waypost.catalog.source import Items, Mapping, Node, Scalar, read_sources

CLICK = {
    "external_id": "x1y2", "source": "s9", "ad_campaign_id": "c77", "creative_id": "cr5", "keyword": "vpn",
    "cost": "0.05",
}  # fmt: skip
VALUES = {
    "click_id": "00B7zCSd92BAroN9h8YCbaQ", "goal": "purchase", "status": "approved", "payout": "1.20",
    "currency": "USD", "revenue": "2.00", "sum": "10.00", "sum_currency": "USD", "txn_id": "T-100",
    "conversion_id": "c687eeab99f400000", "click_time": "1795223643", "conversion_time": "1795224000",
    "verdict": "new", "advertiser": "acme",
}  # fmt: skip
POSTBACK_ID = "p687eeab99f400000.1"
SHELF = shipped()
PRESETS = {name: SHELF.preset(name) for name in SHELF.names}
SENDERS = {name: preset for name, preset in PRESETS.items() if preset.partner is not None}
CALLERS = {name: preset for name, preset in PRESETS.items() if preset.advertiser is not None}


class Sent(NamedTuple):
    """One request as an example says it; `answer` is what the partner says to it."""

    request: str
    headers: dict[str, str]
    body: str
    answer: str

    def named(self, name: str, offer: str, link: str) -> "Sent":
        """With the names of a catalog in the body."""
        body = self.body.replace('"NAME', f'"{name}').replace("OFFER", offer).replace('"LINK"', f'"{link}"')
        return self._replace(body=body)


def sends(preset: Preset) -> list[Sent]:
    """What its example sends, in the order of its rules."""
    found = []
    for entry in preset.example["sends"]:
        row: dict[str, Any] = {"request": entry} if isinstance(entry, str) else entry
        found.append(Sent(row["request"], row.get("headers", {}), row.get("body", ""), row.get("answer", "")))
    return found


def variable(preset: Preset, parameter: str) -> str:
    """The environment variable that holds a secret in a test."""
    return f"SECRET_{preset.name}_{parameter}".replace("-", "_").upper()


def secrets(preset: Preset) -> dict[str, str]:
    """The values of those variables."""
    found = preset.parameters.values()
    return {variable(preset, p.name): f"secret-{p.name}" for p in found if p.is_secret}


def entry(preset: Preset, side: str) -> dict[str, Any]:
    """The preset as it stands in a catalog, its parameters filled in as its example has them."""
    values = {
        p.name: f"env:{variable(preset, p.name)}" if p.is_secret else p.example for p in preset.used(side)
    }  # fmt: skip
    return {"preset": preset.name, **({"with": values} if values else {})}


def click_values(preset: Preset) -> dict[str, str]:
    """What the click of its example brings."""
    return {**CLICK, **preset.example.get("click", {})}


def catalog_of(partners: dict[str, Any], goal: str = "purchase") -> str:
    """A catalog with these partners, and one offer that each of them has a link to."""
    return yaml.safe_dump(
        {
            "waypost": 1,
            "advertisers": {"acme": {"token": "s3cret"}},
            "offers": {
                "shop": {
                    "advertiser": "acme",
                    "url": "http://127.0.0.1:9/land?c={click_id}",
                    "goals": {goal: {"payout": "1.20 USD", "revenue": "2.00 USD"}},
                }
            },
            "partners": partners,
            "links": {f"to-{name}": {"partner": name, "offer": "shop"} for name in partners},
        },
        sort_keys=False,
    )


def expanded(text: str, at: Callable[[str], str]) -> str:
    """A catalog as its presets make it, written out as JSON, for a test that has other hosts: `at` says, for a
    partner, what stands in place of a URL's scheme and host."""
    problems = Problems()
    tree = read_sources([("c.yaml", text)], problems)
    expand_presets(tree, problems, SHELF)
    problems.raise_any()
    partners = tree.entries["partners"]
    assert isinstance(partners, Mapping)
    for entries in (partners, tree.entries["advertisers"]):
        assert isinstance(entries, Mapping)
        for name, entry in entries.entries.items():
            assert isinstance(entry, Mapping)
            for key in ("preset", "with"):
                entry.entries.pop(key, None)
            if entries is partners:
                _rehost(entry.entries.get("postbacks"), at(name))
    return _json(tree)


def _rehost(node: Node | None, host: str) -> None:
    """Other hosts for the URLs of requests."""
    if isinstance(node, Items):
        for entry in node.nodes:
            _rehost(entry, host)
    elif isinstance(node, Mapping):
        for key, entry in node.entries.items():
            if key in ("get", "url") and isinstance(entry, Scalar):
                entry.text = re.sub(r"\Ahttps?://[^/]+", lambda _: host, entry.text)
            elif key in ("post", "request"):
                _rehost(entry, host)


def _json(node: Node) -> str:
    """As JSON, which is YAML; plain scalars that are JSON stay plain."""
    if isinstance(node, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)}: {_json(entry)}" for key, entry in node.entries.items()) + "}"
    if isinstance(node, Items):
        return "[" + ", ".join(map(_json, node.nodes)) + "]"
    return node.text if node.plain and re.fullmatch(r"-?[0-9.]+|true|false", node.text) else json.dumps(node.text)
