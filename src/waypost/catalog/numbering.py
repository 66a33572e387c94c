"""Gives a compiled catalog its numbers.

Owns: which names are numbered, and how the numbered things refer to each other. Reads a compiled catalog and numbers
that an engine assigned; writes nothing. Never makes a number up: whoever keeps them keeps them for ever.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from waypost.catalog.compiled import Compiled, OfferDraft, TargetDraft
from waypost.catalog.model import Advertiser, Link, Offer, Partner, Route, Target
from waypost.model.ids import ROUTES_MAX


def names_to_number(compiled: Compiled) -> dict[str, list[str]]:
    """By kind, the names that need a number, in the order in which new ones get theirs. A route is `link/offer`.

    Routes of clicks that no offer takes are numbered by themselves, and count down from the largest there is.
    """
    return {
        "advertiser": [advertiser.name for advertiser in compiled.advertisers],
        "offer": [offer.name for offer in compiled.offers],
        "partner": [partner.name for partner in compiled.partners],
        "route": [route_name(link.name, offer) for link in compiled.links for offer in link.reached],
        "unplaced": [link.name for link in compiled.links if link.may_be_unplaced],
    }


def route_name(link: str, offer: str) -> str:
    """A route's name; `/` can stand in neither."""
    return f"{link}/{offer}"


class Numbered(NamedTuple):
    """Everything of one version, numbered, made one by one as it is asked for."""

    compiled: Compiled
    numbers: Mapping[str, Mapping[str, int]]

    def advertisers(self) -> Iterator[Advertiser]:
        numbers = self.numbers["advertiser"]
        return (replace(advertiser, no=numbers[advertiser.name]) for advertiser in self.compiled.advertisers)

    def offers(self) -> Iterator[Offer]:
        return (self._offer(draft) for draft in self.compiled.offers)

    def partners(self) -> Iterator[Partner]:
        numbers = self.numbers["partner"]
        return (replace(partner, no=numbers[partner.name]) for partner in self.compiled.partners)

    def links(self) -> Iterator[Link]:
        partners = self.numbers["partner"]
        for draft in self.compiled.links:
            yield Link(
                draft.name, partners[draft.partner], self._targets(draft.name, draft.targets), draft.active,
                draft.place,
                mode=draft.mode, hides_referrer=draft.hides_referrer, rotation=draft.rotation,
                fallbacks=self._targets(draft.name, draft.fallbacks),
                groups=tuple(self._targets(draft.name, group) for group in draft.groups),
                default=draft.default_url,
                unplaced=ROUTES_MAX - self.numbers["unplaced"][draft.name] if draft.may_be_unplaced else 0,
            )  # fmt: skip

    def routes(self) -> Iterator[Route]:
        for link in self.links():
            for targets in (link.targets, link.fallbacks, *link.groups):
                for target in targets:
                    yield Route(target.route, link.name, link.partner, target.offer)
            if link.unplaced:
                yield Route(link.unplaced, link.name, link.partner, 0)

    def _targets(self, link: str, drafts: tuple[TargetDraft, ...]) -> tuple[Target, ...]:
        offers, routes = self.numbers["offer"], self.numbers["route"]
        return tuple(
            Target(routes[route_name(link, draft.offer)], offers[draft.offer], draft.weight, draft.targeting)
            for draft in drafts
        )

    def _offer(self, draft: OfferDraft) -> Offer:
        no = self.numbers["offer"][draft.name]
        return Offer(
            no=no,
            name=draft.name,
            advertiser=self.numbers["advertiser"][draft.advertiser],
            url=draft.url,
            goals=draft.goals,
            caps=tuple(replace(cap, key=f"o{no}:{cap.key}") for cap in draft.caps),
            click_window_ms=draft.click_window_ms,
            active=draft.active,
            place=draft.place,
            tokens=draft.tokens,
            allow_addresses=draft.allow_addresses,
            deep_link=draft.deep_link,
            mode=draft.mode,
            targeting=draft.targeting,
        )
