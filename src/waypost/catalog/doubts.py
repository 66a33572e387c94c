"""What is right in a catalog and yet unlikely to be meant, as this installation is set up.

Owns: these doubts; they refuse nothing. Reads a compiled catalog and what the settings name; writes nothing.
"""

from collections.abc import Iterator

from waypost.catalog.compiled import Compiled
from waypost.catalog.model import Targeting
from waypost.macros.expression import compile_expression
from waypost.settings import VisitorSettings

_BY_FILE = {"city_file": ("country", "region", "city"), "isp_file": ("isp",)}


def doubts_about(compiled: Compiled, visitors: VisitorSettings) -> list[str]:
    """A line for each geo file that rules ask for and the settings do not name."""
    found = []
    for setting, facts in _BY_FILE.items():
        if getattr(visitors, setting):
            continue
        users = sorted({owner for owner, fact in _wanted(compiled) if fact in facts})
        if users:
            others = f" and {len(users) - 3} more" if len(users) > 3 else ""
            found.append(
                f"{', '.join(users[:3])}{others}: ask for {' or '.join(facts)}, which nobody knows: "
                f"[visitors] {setting} names no file"
            )
    return found


def _wanted(compiled: Compiled) -> Iterator[tuple[str, str]]:
    """Who asks for which fact."""
    for offer in compiled.offers:
        for fact in _facts(offer.targeting):
            yield f"offers.{offer.name}", fact
    for link in compiled.links:
        for target in link.targets:
            for fact in _facts(target.targeting):
                yield f"links.{link.name}", fact


def _facts(targeting: Targeting | None) -> Iterator[str]:
    if targeting is None:
        return
    for facet in targeting.facets:
        if not facet.excluded:
            yield facet.name
    if targeting.condition:
        yield from compile_expression(targeting.condition).names
