"""Catalog views made of plain structs, for tests of what reads a catalog."""

from collections.abc import Mapping
from decimal import Decimal

from waypost.catalog.model import (
    Advertiser,
    Cap,
    Goal,
    IntakeRules,
    Link,
    Offer,
    Partner,
    PostbackRule,
    Route,
    Target,
    Terms,
)
from waypost.catalog.outside import Domain, Privacy
from waypost.catalog.view import TokenOwner
from waypost.errors import WaypostError
from waypost.model.money import Money
from waypost.model.partition import partition_of


class MemoryView:
    """A CatalogView over lists of items."""

    def __init__(
        self,
        version: int,
        advertisers: list[Advertiser],
        offers: list[Offer],
        partners: list[Partner],
        links: list[Link],
    ) -> None:
        self._version = version
        self.rules = IntakeRules()
        self.kept = Privacy()
        self.hosts: tuple[Domain, ...] = ()
        self.worth: dict[str, Decimal] = {}
        self._advertisers = {item.no: item for item in advertisers}
        self._offers = {item.no: item for item in offers}
        self._partners = {item.no: item for item in partners}
        self._links = {item.name: item for item in links}
        self._routes = {
            target.route: Route(target.route, link.name, link.partner, target.offer)
            for link in links
            for target in link.targets
        }

    @property
    def version(self) -> int:
        return self._version

    def link(self, name: str) -> Link | None:
        return self._links.get(name)

    def pair(self, offer: str, partner: str) -> Link | None:
        for name in sorted(self._links):
            link = self._links[name]
            owner = self._partners.get(link.partner)
            names = [self._offers[target.offer].name for target in link.targets]
            if owner is not None and owner.name == partner and offer in names:
                return link
        return None

    def route(self, no: int) -> Route | None:
        return self._routes.get(no)

    def advertiser(self, no: int) -> Advertiser | None:
        return self._advertisers.get(no)

    def advertiser_named(self, name: str) -> Advertiser | None:
        return next((item for item in self._advertisers.values() if item.name == name), None)

    def owner_of_token(self, token: str) -> TokenOwner | None:
        if not token:
            return None
        if token in self.rules.tokens:
            return TokenOwner("global", 0)
        for advertiser in self._advertisers.values():
            if token in advertiser.tokens:
                return TokenOwner("advertiser", advertiser.no)
        for offer in self._offers.values():
            if token in offer.tokens:
                return TokenOwner("offer", offer.no)
        return None

    def intake(self) -> IntakeRules:
        return self.rules

    def offer(self, no: int) -> Offer | None:
        return self._offers.get(no)

    def partner(self, no: int) -> Partner | None:
        return self._partners.get(no)

    def wide_partners(self) -> tuple[int, ...]:
        return tuple(
            no for no, item in sorted(self._partners.items()) if any(rule.scope != "own" for rule in item.rules)
        )

    def has_first_only(self) -> bool:
        return any(rule.first_only for item in self._partners.values() for rule in item.rules)

    def partner_named(self, name: str) -> Partner | None:
        return next((item for item in self._partners.values() if item.name == name), None)

    def offer_named(self, name: str) -> Offer | None:
        return next((item for item in self._offers.values() if item.name == name), None)

    def partner_token(self, no: int) -> str:
        partner = self._partners.get(no)
        return partner.token if partner is not None else ""

    def privacy(self) -> Privacy:
        return self.kept

    def rates(self) -> Mapping[str, Decimal]:
        return self.worth

    def domains(self) -> tuple[Domain, ...]:
        return self.hosts

    def counts(self) -> Mapping[str, int]:
        return {"advertisers": len(self._advertisers), "offers": len(self._offers), "partners": len(self._partners)}

    def close(self) -> None:
        pass


class MemoryCatalogs:
    """A CatalogSource over views; the last one added is in force."""

    def __init__(self, *views: MemoryView) -> None:
        self.views = {view.version: view for view in views}

    def current(self) -> int:
        return max(self.views, default=0)

    def open(self, version: int) -> MemoryView:
        if version not in self.views:
            raise WaypostError("no_catalog", f"version {version} is not held")
        return self.views[version]

    def versions(self) -> list[int]:
        return sorted(self.views)

    def problems(self) -> list[str]:
        return []


def usd(amount: str) -> Money:
    return Money(Decimal(amount), "USD")


def design_view(version: int = 1, *, limit: int = 100_000, token: str = "s3cret") -> MemoryView:
    """The design's first catalog, compiled by hand, with a second partner whose rules cover more cases."""
    goals = (
        Goal("install", Terms("fixed", usd("1.20"))),
        Goal("purchase", Terms("share_of_sum", None, Decimal("0.30"))),
    )
    caps = (Cap("o1:conversions:day:Europe/Berlin", "conversions", limit, "day", "Europe/Berlin"),)
    url = "http://127.0.0.1:9001/pb?cid={sub1}&money={payout}&type={status|map(approved=lead, declined=cancel)}"
    install = PostbackRule(1, ("install",), ("approved",), (), (), "GET", url, {}, "", ("sub1", "payout", "status"))
    anything = PostbackRule(1, (), (), (), (), "GET", "http://127.0.0.1:9002/any?id={click_id}", {}, "", ("click_id",))
    refused = PostbackRule(2, (), (), ("refused",), (), "GET", "http://127.0.0.1:9002/no", {}, "", ())
    return MemoryView(
        version,
        [Advertiser(1, "acme", partition_of("acme"), token)],
        [Offer(1, "acme-vpn", 1, "http://127.0.0.1:9000/land?cid={click_id}&s={sub1}", goals, caps)],
        [Partner(1, "geozo", (install,)), Partner(2, "other", (anything, refused))],
        [Link("demo", 1, (Target(1, 1),)), Link("second", 2, (Target(2, 1),))],
    )
