"""How everything reads one immutable catalog version.

Owns: the interface. An engine implements it over the artefact that `catalog apply` wrote; look-ups decode one item
and cache it, so opening a version costs the same for ten links and for a hundred thousand.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple, Protocol

from waypost.catalog.model import Advertiser, IntakeRules, Link, Offer, Partner, Route
from waypost.catalog.outside import Domain, Privacy


class TokenOwner(NamedTuple):
    """Whose token it is: `level` is `global`, `advertiser` or `offer`, `no` the number there (0 for global)."""

    level: str
    no: int


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

    def owner_of_token(self, token: str) -> TokenOwner | None:
        """Whose resolved token this is."""

    def intake(self) -> IntakeRules:
        """What holds for the calls of all advertisers."""

    def advertiser_named(self, name: str) -> Advertiser | None: ...

    def offer(self, no: int) -> Offer | None: ...

    def partner(self, no: int) -> Partner | None: ...

    def wide_partners(self) -> tuple[int, ...]:
        """Partners that have postback rules on conversions of others, in order of their numbers."""

    def has_first_only(self) -> bool:
        """Whether some postback rule fires once for each click."""

    def partner_named(self, name: str) -> Partner | None: ...

    def offer_named(self, name: str) -> Offer | None: ...

    def partner_token(self, no: int) -> str:
        """The resolved secret of a partner's server-to-server clicks; empty where it has none."""

    def privacy(self) -> Privacy:
        """What is kept of visitors."""

    def rates(self) -> Mapping[str, Decimal]:
        """How many units of each currency are worth the same; empty where the catalog gives no rates."""

    def domains(self) -> tuple[Domain, ...]:
        """The hosts that the catalog names."""

    def counts(self) -> Mapping[str, int]:
        """How many of each kind this version has: advertisers, offers, partners, links, routes."""

    def close(self) -> None: ...
