"""Gives a compiled catalog its numbers.

Owns: which names are numbered, and how the numbered things refer to each other. Reads a compiled catalog and numbers
that an engine assigned; writes nothing. Never makes a number up: whoever keeps them keeps them for ever.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from waypost.catalog.compiled import Compiled, OfferDraft
from waypost.catalog.model import Advertiser, Link, Offer, Partner, Route, Target


def names_to_number(compiled: Compiled) -> dict[str, list[str]]:
    """By kind, the names that need a number, in the order in which new ones get theirs. A route is `link/offer`."""
    return {
        "advertiser": [advertiser.name for advertiser in compiled.advertisers],
        "offer": [offer.name for offer in compiled.offers],
        "partner": [partner.name for partner in compiled.partners],
        "route": [route_name(link.name, offer) for link in compiled.links for offer in link.offers],
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
        partners, offers, routes = (self.numbers[kind] for kind in ("partner", "offer", "route"))
        for draft in self.compiled.links:
            targets = tuple(Target(routes[route_name(draft.name, offer)], offers[offer]) for offer in draft.offers)
            yield Link(draft.name, partners[draft.partner], targets, draft.active, draft.place)

    def routes(self) -> Iterator[Route]:
        for link in self.links():
            for target in link.targets:
                yield Route(target.route, link.name, link.partner, target.offer)

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
        )
