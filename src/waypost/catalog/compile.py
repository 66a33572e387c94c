"""From text to a compiled catalog, or to everything that is wrong with it.

Owns: the order of the sections. Reads text that somebody else has read from files; writes nothing.
Never stops at the first mistake; never numbers anything; never resolves a secret.
"""

from collections.abc import Sequence

from waypost.catalog.compiled import Compiled
from waypost.catalog.keys import SECTIONS
from waypost.catalog.problems import Problems
from waypost.catalog.reading import Field, Reader
from waypost.catalog.sections.advertisers import read_advertisers
from waypost.catalog.sections.links import read_links
from waypost.catalog.sections.offers import read_offers
from waypost.catalog.sections.partners import Goals, read_partners
from waypost.catalog.source import Mapping, Node, Scalar, read_sources
from waypost.catalog.templates import TemplateChecker
from waypost.settings import CatalogSettings

FORMAT = "1"


def compile_catalog(sources: Sequence[tuple[str, str]], settings: CatalogSettings) -> Compiled:
    """The catalog that these (file name, text) pairs make together. File names stand in messages and places.

    Raises CatalogErrors with all mistakes (up to a bound), each with its code, `file:line`, field and a hint.
    A text that is no YAML stops at its syntax errors: what else it would say cannot be known.
    """
    problems = Problems()
    tree = read_sources(sources, problems)
    if problems.unreadable:
        problems.raise_any()
    first = sources[0][0] if sources else "catalog"
    templates = TemplateChecker(bytes_max=settings.template_bytes_max, depth_max=settings.template_depth_max)
    compiled = _compile(tree, first, Reader(problems), templates)
    problems.raise_any()
    return compiled


def _compile(tree: Mapping, first: str, reader: Reader, templates: TemplateChecker) -> Compiled:
    top = reader.fields(Field(tree, ""), "", (first, 1))
    if top is None:
        return Compiled()
    _check_version(reader, tree.entries.get("waypost"))
    section = {name: Field(tree.entries.get(name, _absent()), name) for name in SECTIONS}
    names = {name: _names(field.node) for name, field in section.items()}
    return Compiled(
        advertisers=read_advertisers(reader, section["advertisers"]),
        offers=read_offers(reader, section["offers"], names["advertisers"], templates),
        partners=read_partners(reader, section["partners"], _goals(section["offers"].node), templates),
        links=read_links(reader, section["links"], names["partners"], names["offers"]),
    )


def _absent() -> Node:
    return Scalar("", True, ("", 0))


def _check_version(reader: Reader, node: Node | None) -> None:
    if node is None or (isinstance(node, Scalar) and node.text == FORMAT):
        return
    field = Field(node, "waypost")
    text = node.text if isinstance(node, Scalar) else "that"
    reader.wrong("catalog_version", field, f"this release reads version {FORMAT}, not `{text[:40]}`")


def _names(node: Node) -> dict[str, None]:
    """The names a section defines, whether what they name is right or not: one mistake, one message."""
    return dict.fromkeys(node.entries) if isinstance(node, Mapping) else {}


def _goals(offers: Node) -> Goals:
    by_offer: dict[str, frozenset[str]] = {}
    if isinstance(offers, Mapping):
        for name, offer in offers.entries.items():
            goals = offer.entries.get("goals") if isinstance(offer, Mapping) else None
            by_offer[name] = frozenset(goals.entries) if isinstance(goals, Mapping) else frozenset()
    return Goals(by_offer, frozenset().union(*by_offer.values()))
