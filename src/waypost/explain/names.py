"""Names for numbers: what the catalog called a partner, an offer or a link in the version that counted.

Owns: a cache of opened catalog views. Reads catalog versions; writes nothing. Never fails: a version that is gone
shows its numbers instead.
"""

from collections.abc import Mapping

from waypost.catalog.model import Advertiser, Offer, Partner, PostbackRule, Route
from waypost.catalog.reading import duration_text
from waypost.catalog.view import CatalogView
from waypost.errors import WaypostError
from waypost.macros.template import Template
from waypost.ports.catalog_source import CatalogSource
from waypost.stages.redirect import NO_FACTS, plan_link, target_of, target_url


class Names:
    """Look-ups by catalog version; version 0 is the one in force."""

    def __init__(self, catalogs: CatalogSource) -> None:
        self._catalogs = catalogs
        self._views: dict[int, CatalogView | None] = {}

    def view(self, version: int) -> CatalogView | None:
        """A version, or None if it is gone."""
        if version not in self._views:
            try:
                self._views[version] = self._catalogs.open(version or self._catalogs.current())
            except WaypostError:
                self._views[version] = None
        return self._views[version]

    def advertiser(self, version: int, no: int) -> Advertiser | None:
        view = self.view(version)
        return view.advertiser(no) if view is not None and no else None

    def offer(self, version: int, no: int) -> Offer | None:
        view = self.view(version)
        return view.offer(no) if view is not None and no else None

    def partner(self, version: int, no: int) -> Partner | None:
        view = self.view(version)
        return view.partner(no) if view is not None and no else None

    def partner_name(self, version: int, no: int) -> str:
        return _name(self.partner(version, no), no)

    def offer_name(self, version: int, no: int) -> str:
        return _name(self.offer(version, no), no)

    def advertiser_name(self, version: int, no: int) -> str:
        return _name(self.advertiser(version, no), no)

    def route(self, version: int, no: int) -> Route | None:
        view = self.view(version)
        return view.route(no) if view is not None and no else None

    def rule(self, version: int, partner: int, no: int) -> PostbackRule | None:
        found = self.partner(version, partner)
        return next((rule for rule in found.rules if rule.no == no), None) if found is not None else None

    def target(
        self, version: int, route: Route, click_id: str, query: bytes, facts: Mapping[str, str] = NO_FACTS
    ) -> str:
        """Where the click was sent, rendered again; empty with what stood in the way in brackets if it cannot be."""
        view = self.view(version)
        link = view.link(route.link) if view is not None else None
        if view is None or link is None:
            return ""
        templates: dict[int, Template] = {}
        plan = plan_link(view, link, templates)
        target = target_of(plan, route.no)
        try:
            if target is None:
                return f"({plan.code or 'inactive'})"
            return target_url(target, click_id, query, facts) or "(blank page)"
        except WaypostError as error:
            return f"({error.code})"

    def close(self) -> None:
        for view in self._views.values():
            if view is not None:
                view.close()
        self._views.clear()


def _name(item: Advertiser | Offer | Partner | None, no: int) -> str:
    if item is not None:
        return item.name
    return f"#{no}" if no else ""


def wants(rule: PostbackRule) -> str:
    """A rule's conditions as the catalog writes them."""
    parts = [
        f"{name}: {', '.join(values)}"
        for name, values in (
            ("goal", rule.goals),
            ("status", rule.statuses),
            ("from", rule.befores),
            ("verdict", rule.verdicts),
            ("offer", rule.offers),
            ("link", rule.links),
            ("advertiser", rule.advertisers),
            ("partner", rule.partners),
            ("country", rule.countries),
        )
        if values
    ]
    if rule.condition:
        parts.append(f"if {rule.condition}")
    if rule.first_only:
        parts.append("first only")
    if rule.share < 1:
        parts.append(f"{rule.share * 100:g}%")
    if rule.delay_ms:
        parts.append(f"after {duration_text(rule.delay_ms)}")
    if rule.scope != "own":
        parts.append(f"for {rule.scope}")
    return "; ".join(parts) or "any"
