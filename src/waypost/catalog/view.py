"""How everything reads one immutable catalog version.

Owns: the interface. An engine implements it over the artefact that `catalog apply` wrote; look-ups decode one item
and cache it, so opening a version costs the same for ten links and for a hundred thousand.
"""

from collections.abc import Mapping
from typing import Protocol

from waypost.catalog.model import Advertiser, Link, Offer, Partner, Route


class CatalogView(Protocol):
    """One version. Look-ups by a name or number that the version does not have answer None."""

    @property
    def version(self) -> int: ...

    def link(self, name: str) -> Link | None: ...

    def pair(self, offer: str, partner: str) -> Link | None:
        """The first link, by name, that joins this offer and this partner."""

    def route(self, no: int) -> Route | None:
        """A route of this version. A route that an older version had and this one lacks answers None."""

    def advertiser(self, no: int) -> Advertiser | None: ...

    def advertiser_of_token(self, token: str) -> Advertiser | None:
        """The advertiser whose resolved token this is."""

    def offer(self, no: int) -> Offer | None: ...

    def partner(self, no: int) -> Partner | None: ...

    def partner_named(self, name: str) -> Partner | None: ...

    def offer_named(self, name: str) -> Offer | None: ...

    def counts(self) -> Mapping[str, int]:
        """How many of each kind this version has: advertisers, offers, partners, links, routes."""

    def close(self) -> None: ...
