"""A catalog that was found right, before numbers: things refer to each other by name.

Owns: this form, its bytes and its fingerprint. It is kept with each version, so that versions can be compared.
Reads and writes nothing. Never holds a number: numbers are an engine's, append-only (see `numbering.py`).
"""

from collections.abc import Iterator
from decimal import Decimal
from hashlib import sha256
from typing import NamedTuple

import msgspec

from waypost.catalog.model import Advertiser, Cap, DeepLink, Goal, IntakeRules, Item, Partner, Targeting
from waypost.catalog.outside import Domain, Privacy
from waypost.errors import WaypostError


class Fallback(Item, frozen=True):
    """Where clicks go that find no offer: another offer, then a group, then an address or a blank page. By name."""

    offer: str = ""
    group: str = ""
    url: str = ""
    blank: bool = False
    place: str = ""


class TargetDraft(Item, frozen=True):
    """A Target whose offer is a name, and which has no route yet."""

    offer: str
    weight: int = 1
    targeting: Targeting | None = None


class GroupDraft(Item, frozen=True):
    """Offers that take what others cannot."""

    name: str
    members: tuple[TargetDraft, ...]
    place: str = ""


class OfferDraft(Item, frozen=True):
    """An Offer whose advertiser is a name, and whose caps' keys lack the offer's number."""

    name: str
    advertiser: str
    url: str
    goals: tuple[Goal, ...]
    caps: tuple[Cap, ...] = ()
    click_window_ms: int = 0
    active: bool = True
    place: str = ""
    tokens: tuple[str, ...] = ()
    allow_addresses: tuple[str, ...] = ()
    deep_link: DeepLink | None = None
    mode: int = 0
    targeting: Targeting | None = None
    fallback: Fallback | None = None
    access: str = "open"
    partners: tuple[str, ...] = ()  # who may promote it, where access is not open


class LinkDraft(Item, frozen=True):
    """A Link whose partner and offers are names. What stands from `fallbacks` on is worked out at compiling."""

    name: str
    partner: str
    targets: tuple[TargetDraft, ...]
    active: bool = True
    place: str = ""
    mode: int = 0
    hides_referrer: bool = False
    rotation: str = "weight"
    fallback: Fallback | None = None
    fallbacks: tuple[TargetDraft, ...] = ()
    groups: tuple[tuple[TargetDraft, ...], ...] = ()
    default_url: str = ""
    may_be_unplaced: bool = False

    @property
    def offers(self) -> tuple[str, ...]:
        """Its targets."""
        return tuple(target.offer for target in self.targets)

    @property
    def reached(self) -> tuple[str, ...]:
        """Every offer that its clicks may come to, targets first."""
        behind = (target.offer for targets in (self.fallbacks, *self.groups) for target in targets)
        return (*self.offers, *behind)


class Compiled(Item, frozen=True):
    """A whole catalog, in the order in which it is written; `no` is 0 everywhere."""

    advertisers: tuple[Advertiser, ...] = ()
    offers: tuple[OfferDraft, ...] = ()
    partners: tuple[Partner, ...] = ()
    links: tuple[LinkDraft, ...] = ()
    intake: IntakeRules = IntakeRules()
    privacy: Privacy = Privacy()
    domains: tuple[Domain, ...] = ()
    groups: tuple[GroupDraft, ...] = ()
    rates: dict[str, Decimal] = msgspec.field(default_factory=dict)  # units of each currency that are worth the same
    far_fallbacks: tuple[Fallback, ...] = ()  # partners' and the catalog's own

    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        return {
            "advertisers": len(self.advertisers),
            "offers": len(self.offers),
            "partners": len(self.partners),
            "links": len(self.links),
            "routes": sum(len(link.reached) for link in self.links),
        }


class SecretUse(NamedTuple):
    """A secret that the catalog spells out or refers to. `level` is that of a token, or `signature`."""

    level: str
    owner: str  # an advertiser's or offer's name
    text: str
    field: str
    place: str

    @property
    def whose(self) -> str:
        """The owner, for messages."""
        return f"{self.level} `{self.owner}`" if self.owner else "`intake`"


def secrets_of(compiled: Compiled) -> Iterator[SecretUse]:
    """All of them that calls are checked by: tokens first, then keys of signatures."""
    for text in compiled.intake.tokens:
        yield SecretUse("global", "", text, "intake.token", compiled.intake.place)
    for advertiser in compiled.advertisers:
        for text in advertiser.tokens:
            field = f"advertisers.{advertiser.name}.token"
            yield SecretUse("advertiser", advertiser.name, text, field, advertiser.place)
    for offer in compiled.offers:
        for text in offer.tokens:
            yield SecretUse("offer", offer.name, text, f"offers.{offer.name}.token", offer.place)
    for advertiser in compiled.advertisers:
        for text in advertiser.signature.secrets if advertiser.signature is not None else ():
            field = f"advertisers.{advertiser.name}.signature.secret"
            yield SecretUse("signature", advertiser.name, text, field, advertiser.place)


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(Compiled)


def encode_compiled(compiled: Compiled) -> bytes:
    """MessagePack; the same catalog always gives the same bytes."""
    return _encoder.encode(compiled)


def decode_compiled(data: bytes) -> Compiled:
    """Raises WaypostError `store_corrupt`."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WaypostError("store_corrupt", f"a catalog version cannot be read: {error}") from error


def fingerprint(data: bytes) -> str:
    """SHA-256 of the encoded form, in hex: equal for equal catalogs. Places count: messages point to them."""
    return sha256(data).hexdigest()


def is_reference(token: str) -> bool:
    """Whether a token names a secret that stands elsewhere."""
    return token.startswith(("env:", "file:"))
