"""From text to a compiled catalog, or to everything that is wrong with it.

Owns: the order of the sections. Reads text that somebody else has read from files; writes nothing.
Never stops at the first mistake; never numbers anything; never resolves a secret.
"""

from collections.abc import Collection, Sequence

from waypost.catalog.compiled import Compiled
from waypost.catalog.keys import SECTIONS
from waypost.catalog.presets import Shelf, shipped
from waypost.catalog.problems import Problems
from waypost.catalog.reading import Field, Reader
from waypost.catalog.sections.access import Tokens, read_intake, with_advertisers
from waypost.catalog.sections.advertisers import read_advertisers
from waypost.catalog.sections.links import read_links
from waypost.catalog.sections.offers import read_offers
from waypost.catalog.sections.outside import read_domains, read_privacy
from waypost.catalog.sections.partners import read_partners
from waypost.catalog.sections.placing import (
    PlaceNames,
    Places,
    read_fallback,
    read_groups,
    read_partner_fallbacks,
    work_out,
)
from waypost.catalog.sections.presets import expand_presets
from waypost.catalog.sections.rates import read_rates
from waypost.catalog.sections.rules import Names
from waypost.catalog.source import Mapping, Node, Scalar, read_sources
from waypost.catalog.templates import TemplateChecker
from waypost.settings import CatalogSettings

FORMAT = "1"


def compile_catalog(
    sources: Sequence[tuple[str, str]], settings: CatalogSettings, presets: Shelf | None = None
) -> Compiled:
    """The catalog that these (file name, text) pairs make together. File names stand in messages and places.

    Raises CatalogErrors with all mistakes (up to a bound), each with its code, `file:line`, field and a hint.
    A text that is no YAML stops at its syntax errors: what else it would say cannot be known. `presets`: those of this
    release, if not said.
    """
    problems = Problems()
    tree = read_sources(sources, problems)
    if problems.unreadable:
        problems.raise_any()
    expand_presets(tree, problems, presets or shipped())
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
    intake = Field(tree.entries.get("intake", _absent()), "intake")
    tokens = Tokens()
    places = PlaceNames(names["offers"], names["groups"], names["partners"])
    offers = read_offers(reader, section["offers"], names["advertisers"], places, templates, tokens)
    groups = read_groups(reader, section["groups"], names["offers"])
    ends = read_partner_fallbacks(reader, section["partners"], places, templates)
    last = tree.entries.get("fallback")
    default = read_fallback(reader, Field(last, "fallback"), places, templates) if last is not None else None
    links = read_links(reader, section["links"], names["partners"], places, templates)
    rules = read_intake(reader, intake, tokens)
    reached = _reached(intake.node, section["offers"].node, names["advertisers"])
    advertisers = read_advertisers(reader, section["advertisers"], tokens, reached)
    return Compiled(
        intake=with_advertisers(rules, advertisers),
        advertisers=advertisers,
        offers=offers,
        groups=groups,
        partners=read_partners(reader, section["partners"], _rule_names(section["offers"].node, names), templates),
        privacy=read_privacy(reader, Field(tree.entries.get("privacy", _absent()), "privacy")),
        domains=read_domains(reader, Field(tree.entries.get("domains", _absent()), "domains"), names["links"]),
        far_fallbacks=(*ends.values(), *((default,) if default is not None else ())),
        rates=read_rates(reader, Field(tree.entries.get("rates", _absent()), "rates")),
        links=work_out(reader, links, Places(offers, groups, ends, default)),
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


def _reached(intake: Node, offers: Node, advertisers: Collection[str]) -> Collection[str]:
    """The advertisers whose calls may come with the installation's token, or with one of their offers'."""
    if isinstance(intake, Mapping) and "token" in intake.entries:
        return advertisers
    entries = offers.entries.values() if isinstance(offers, Mapping) else ()
    owners = (o.entries.get("advertiser") for o in entries if isinstance(o, Mapping) and "token" in o.entries)
    return {owner.text for owner in owners if isinstance(owner, Scalar)}


def _rule_names(offers: Node, names: dict[str, dict[str, None]]) -> Names:
    """What postback rules may refer to."""
    by_offer: dict[str, frozenset[str]] = {}
    if isinstance(offers, Mapping):
        for name, offer in offers.entries.items():
            goals = offer.entries.get("goals") if isinstance(offer, Mapping) else None
            by_offer[name] = frozenset(goals.entries) if isinstance(goals, Mapping) else frozenset()
    known = frozenset().union(*by_offer.values())
    return Names(by_offer, known, names["links"], names["advertisers"], names["partners"])
