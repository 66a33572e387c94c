"""One preset: a partner or an advertiser as data, with what must be filled in and an example worked out by hand.

Owns: the form of a preset's file. Reads its text; writes nothing. Never expands anything: `sections/presets.py` does.

A file has:
  title, kind, source (pages, or `published definition` for an entry of a published collection of definitions), seen
  (the day on which it was read), note
  parameters: NAME: {meaning, example, secret, pattern, default, host}
  click: our click parameter → their macro, for the link that they are given; `click_note` says what it cannot
  offer: what is added to an offer's URL, for those who call us
  call: the parameters of the URL that they are given to call, in their macros
  partner, advertiser: keys lent to `partners.NAME`, `advertisers.NAME`; `{with.NAME}` is a parameter
  example: written by hand from the published form; `click`: what their macros stand for; `sends`: each rule's request,
  `METHOD URL` or {request, headers, body, answer}; `called`: the call as they fill it in, `means`: what it says
"""

import re
from collections.abc import Mapping as Map
from typing import Any, NamedTuple

from waypost.catalog import source
from waypost.catalog.problems import Problems
from waypost.catalog.source import Items, Mapping, Node, Scalar

KINDS = ("traffic_source", "network", "self_attributing", "tracker", "mmp", "analytics", "notification")
PUBLISHED = "published definition"
SIDES = {"partner": "partners", "advertiser": "advertisers"}
VALUE = r"[!-~]{1,512}"
HOST = r"[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?)*(:\d{1,5})?"

_KEYS = {"title", "kind", "source", "seen", "parameters", "partner", "advertiser", "example"}
_TEXTS = {"note", "click_note", "offer", "call"}


class Parameter(NamedTuple):
    """What a user fills in. `default` is None where a value must be given."""

    name: str
    meaning: str
    example: str
    is_secret: bool
    is_host: bool
    pattern: str
    default: str | None

    def fits(self, value: str) -> bool:
        """Whether the value has the parameter's form."""
        return re.fullmatch(self.pattern, value) is not None


class Preset(NamedTuple):
    """One preset. `partner` and `advertiser` are trees whose nodes know the lines of the preset's file."""

    name: str
    title: str
    kind: str
    sources: tuple[str, ...]
    seen: str
    note: str
    parameters: Map[str, Parameter]
    click: Map[str, str]
    click_note: str
    offer: str
    call: str
    partner: Mapping | None
    advertiser: Mapping | None
    example: Map[str, Any]

    @property
    def sides(self) -> tuple[str, ...]:
        """The sections of a catalog that it can stand in."""
        lent = {"partner": self.partner, "advertiser": self.advertiser}
        return tuple(side for side in SIDES if lent[side] is not None)

    @property
    def directions(self) -> tuple[str, ...]:
        """What it is good for: clicks that come, postbacks that are sent, calls that are taken."""
        sends = self.partner is not None and "postbacks" in self.partner.entries
        found = {"clicks in": self.click or self.click_note, "postbacks out": sends, "calls in": self.call}
        return tuple(name for name, there in found.items() if there)

    def lent(self, side: str) -> Mapping | None:
        """What it lends to an entry of `partners` or `advertisers`."""
        return self.partner if side == "partner" else self.advertiser

    def used(self, side: str) -> tuple[Parameter, ...]:
        """The parameters that what is lent to this side asks for."""
        lent = self.lent(side)
        names = {name for text in _texts(lent) for name in PLACEHOLDER.findall(text)} if lent is not None else set()
        return tuple(parameter for parameter in self.parameters.values() if parameter.name in names)


PLACEHOLDER = re.compile(r"\{with\.([a-z][a-z0-9_]*)\}")


def read_preset(name: str, text: str) -> Preset:
    """The preset that a file of this release says. Raises ValueError or CatalogErrors for a file that is none."""
    problems = Problems()
    tree = source.read_sources([(name, text)], problems)
    problems.raise_any()
    plain = {key: plain_of(node) for key, node in tree.entries.items() if key not in SIDES}
    unknown = set(tree.entries) - _KEYS - _TEXTS - {"click"}
    if unknown or plain.get("kind") not in KINDS:
        raise ValueError(f"preset {name}: {sorted(unknown) or plain.get('kind')}")
    listed = plain["source"]
    return Preset(
        name=name,
        title=plain["title"],
        kind=plain["kind"],
        sources=tuple(listed) if isinstance(listed, list) else (listed,),
        seen=plain["seen"],
        note=plain.get("note", ""),
        parameters={key: _parameter(key, row) for key, row in plain.get("parameters", {}).items()},
        click=plain.get("click", {}),
        click_note=plain.get("click_note", ""),
        offer=plain.get("offer", ""),
        call=plain.get("call", ""),
        partner=_side(tree, "partner"),
        advertiser=_side(tree, "advertiser"),
        example=plain.get("example", {}),
    )


def _parameter(name: str, row: Map[str, str]) -> Parameter:
    is_host = row.get("host") == "true"
    return Parameter(
        name=name,
        meaning=row["meaning"],
        example=row.get("example", ""),
        is_secret=row.get("secret") == "true",
        is_host=is_host,
        pattern=row.get("pattern", HOST if is_host else VALUE),
        default=row.get("default"),
    )


def _side(tree: Mapping, name: str) -> Mapping | None:
    node = tree.entries.get(name)
    if isinstance(node, Scalar) and node.empty:
        return Mapping(node.at)
    return node if isinstance(node, Mapping) else None


def plain_of(node: Node) -> Any:
    """A tree as texts, lists and dictionaries."""
    if isinstance(node, Mapping):
        return {key: plain_of(entry) for key, entry in node.entries.items()}
    if isinstance(node, Items):
        return [plain_of(entry) for entry in node.nodes]
    return "" if node.empty else node.text


def _texts(node: Node) -> list[str]:
    if isinstance(node, Mapping):
        return [text for entry in node.entries.values() for text in _texts(entry)]
    if isinstance(node, Items):
        return [text for entry in node.nodes for text in _texts(entry)]
    return [node.text]
