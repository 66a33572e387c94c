"""A catalog that was found right, before numbers: things refer to each other by name.

Owns: this form, its bytes and its fingerprint. It is kept with each version, so that versions can be compared.
Reads and writes nothing. Never holds a number: numbers are an engine's, append-only (see `numbering.py`).
"""

from hashlib import sha256

import msgspec

from waypost.catalog.model import Advertiser, Cap, Goal, Item, Partner
from waypost.errors import WaypostError


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


class LinkDraft(Item, frozen=True):
    """A Link whose partner and offers are names."""

    name: str
    partner: str
    offers: tuple[str, ...]
    active: bool = True
    place: str = ""


class Compiled(Item, frozen=True):
    """A whole catalog, in the order in which it is written; `no` is 0 everywhere."""

    advertisers: tuple[Advertiser, ...] = ()
    offers: tuple[OfferDraft, ...] = ()
    partners: tuple[Partner, ...] = ()
    links: tuple[LinkDraft, ...] = ()

    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        return {
            "advertisers": len(self.advertisers),
            "offers": len(self.offers),
            "partners": len(self.partners),
            "links": len(self.links),
            "routes": sum(len(link.offers) for link in self.links),
        }


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
