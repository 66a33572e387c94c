"""The proof that an advertiser's call carries in a case that gives none of its own: the right token, or a signature.

Owns: that proof. Reads a catalog view, in which each secret that is a reference stands for itself. Writes nothing.
"""

from collections.abc import Mapping
from ipaddress import ip_network
from urllib.parse import unquote_plus

from waypost.catalog.model import Advertiser, Offer, Signature
from waypost.catalog.view import CatalogView
from waypost.stages.call_auth import token_names
from waypost.stages.signing import STANDARD_WEBHOOKS, canonical_string, sign, webhook_signature

ANYWHERE = "203.0.113.7"  # an address of the documentation's network
_HEADERS = ("waypost-token", "authorization", "waypost-advertiser")


def carries_proof(target: str, headers: Mapping[str, str], body: str, advertiser: Advertiser | None) -> bool:
    """Whether the request has a token or a signature of its own, right or wrong."""
    path, _, query = target.partition("?")
    if any(name in headers for name in _HEADERS) or (path.endswith("/postback") and path != "/postback"):
        return True
    names = {"token", *token_names(advertiser)}
    signature = advertiser.signature if advertiser is not None else None
    if signature is not None:
        names.add(signature.name)
        if signature.name.lower() in headers or "webhook-signature" in headers:
            return True
    pairs = [pair.partition("=")[0] for pair in (*query.split("&"), *body.split("&"))]
    return any(unquote_plus(name) in names for name in pairs) or '"token"' in body


def proof_of(
    view: CatalogView, advertiser: Advertiser, offer: Offer | None, target: str, method: str, body: str, now_ms: int
) -> tuple[str, dict[str, str]]:
    """The target and the headers to add, so that the call authenticates as this advertiser's."""
    headers: dict[str, str] = {}
    tokens = advertiser.tokens or (offer.tokens if offer is not None else ()) or view.intake().tokens
    if tokens:
        headers["waypost-token"] = tokens[0]
    else:
        headers["waypost-advertiser"] = advertiser.name
    if advertiser.signature is not None:
        return _signed(advertiser.signature, target, method, body, now_ms, headers)
    return target, headers


def _signed(
    terms: Signature, target: str, method: str, body: str, now_ms: int, headers: dict[str, str]
) -> tuple[str, dict[str, str]]:
    stamp = str(now_ms // 1000)
    if terms.scheme == STANDARD_WEBHOOKS:
        name = f"msg_{now_ms}"
        try:
            made = webhook_signature(terms.secrets[0], name.encode(), stamp.encode(), body.encode())
        except ValueError:
            return target, headers  # the secret stands elsewhere: what stands in for it is no key
        return target, headers | {
            "webhook-id": name,
            "webhook-timestamp": stamp,
            "webhook-signature": f"v1,{made}",
        }
    if terms.where == "query":
        target += ("&" if "?" in target else "?") + f"{terms.timestamp}={stamp}"
    path, _, query = target.partition("?")
    text = canonical_string(method.encode(), path.encode(), query.encode(), stamp.encode(), body.encode())
    made = sign(terms.secrets[0], text, algorithm=terms.algorithm, encoding=terms.encoding)
    if terms.where == "query":
        return f"{target}&{terms.name}={made}", headers
    return target, headers | {terms.name.lower(): made, terms.timestamp.lower(): stamp}


def address_of(view: CatalogView, advertiser: Advertiser | None, offer: Offer | None) -> str:
    """An address that the call may come from: the first one of the narrowest list."""
    lists = [one.allow_addresses for one in (offer, advertiser, view.intake()) if one is not None]
    for networks in lists:
        if networks:
            network = ip_network(networks[0], strict=False)
            return str(network[0] if network.num_addresses == 1 else network[1])
    return ANYWHERE
