"""Whose call it is, as far as a door can tell: by token, signature or address, without parsing the call.

Owns: the places where a token may stand and the order in which they are looked at; what else a caller must meet.
Reads a catalog view that is handed in; writes nothing. Never reads JSON or any other body that needs a parser: such a
call is judged later. Nothing here knows a connection: whoever takes calls in another way asks the same questions.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote, unquote_plus

from waypost.catalog.aliases import TOKEN_NAMES
from waypost.catalog.model import Advertiser, Offer
from waypost.catalog.view import CatalogView, TokenOwner
from waypost.model.frames import Auth
from waypost.model.partition import NO_PARTITION
from waypost.stages.addresses import AllowList
from waypost.stages.signing import SignedRequest, verify

TOKEN = b"token"
FORM = "application/x-www-form-urlencoded"
PARAMETERS_MAX = 200  # of query and form body; further ones are not looked at
_MARK = TOKEN + b"="
_MARK_BYTES = len(_MARK)
_NAMED = "advertiser"  # the parameter that names who signed; the header is Waypost-Advertiser
_BEARER = b"bearer "


class Gate(NamedTuple):
    """What a caller must meet beside its token: all of the lists, and the signature."""

    lists: tuple[AllowList, ...]
    advertiser: Advertiser | None  # whose signature is asked for


class Caller(NamedTuple):
    """Who calls, as far as a door can tell. `code` is set if the call is refused, `detail` where there is more to say.

    `hides`: a refusal is answered as if the call had been accepted. `gate` None: nothing more is asked. `is_vouched`:
    the call is judged later, and comes from an address that speaks for an advertiser.
    """

    auth: Auth
    advertiser: int
    partition: int
    code: str = ""
    offer: int = 0
    answer: str = "json"
    hides: bool = False
    gate: Gate | None = None
    detail: str = ""
    is_vouched: bool = False


class Arrival(NamedTuple):
    """A call as it came. `headers` by their names in small letters; `path_token` is what stood before `/postback`."""

    method: bytes
    path: bytes
    query: bytes
    headers: Mapping[bytes, bytes] = {}
    body: bytes = b""
    content_type: str = ""
    address: str = ""
    path_token: bytes = b""
    test: bool = False


DEFERRED = Caller(Auth.DEFERRED, 0, NO_PARTITION)


def plain_token(query: bytes) -> bytes:
    """The raw value of the first parameter `token`, undecoded; empty if there is none to see."""
    at = query.find(_MARK)
    while at > 0 and query[at - 1] != 38:  # `&`: `mytoken=` is another parameter
        at = query.find(_MARK, at + 1)
    if at < 0:
        return b""
    start = at + _MARK_BYTES
    end = query.find(b"&", start)
    return query[start:] if end < 0 else query[start:end]


def header_token(headers: Mapping[bytes, bytes]) -> bytes:
    """The token of `Waypost-Token`, or of `Authorization: Bearer`; empty if there is neither."""
    token = headers.get(b"waypost-token", b"").strip()
    if not token and (stated := headers.get(b"authorization")) and stated[: len(_BEARER)].lower() == _BEARER:
        token = stated[len(_BEARER) :].strip()
    return token


class Callers:
    """Who may call, by one catalog version. Remembers a caller for each token's owner, at most `items_max`."""

    def __init__(self, view: CatalogView, items_max: int) -> None:
        self._view = view
        self._items_max = items_max
        rules = view.intake()
        self._hides = rules.wrong_token == 200
        self._lists = (AllowList(rules.allow_addresses),) if rules.allow_addresses else ()
        self._by_address = AllowList(rules.by_address) if rules.by_address else None
        self._callers: dict[TokenOwner, Caller] = {}
        open_to = Gate(self._lists, None) if self._lists else None
        self._stranger = Caller(Auth.DEFERRED, 0, NO_PARTITION, hides=self._hides, gate=open_to)
        self._global = self._stranger._replace(auth=Auth.GLOBAL)

    def judge(self, arrival: Arrival, now_ms: int) -> Caller:
        """Who calls, after everything that the door can ask; `code` says why a call is refused."""
        caller = self.identify(arrival)
        return self.at_gate(caller, arrival, now_ms) if caller.gate is not None and not caller.code else caller

    def identify(self, arrival: Arrival) -> Caller:
        """Whose call this is, by every place that can be looked at: path, header, query, form body.

        A token in the path or the header decides alone. In query and form a parameter counts if it is named `token`
        or as its owner says (`parameters: {token: [...]}`). Who signs may say who it is by `advertiser=NAME` instead.
        A call with a body that is no form and no token elsewhere is `DEFERRED`, as is one from an address that speaks
        for an advertiser; a token that nobody has is `wrong_token`; none at all `missing_token`.
        """
        stated = arrival.path_token or header_token(arrival.headers)
        if stated:
            text = stated.decode("utf-8", "replace").strip()
            owner = self._view.owner_of_token(unquote(text) if arrival.path_token else text)
            return self._refusal("wrong_token") if owner is None else self.of(owner)
        kind = arrival.content_type.partition(";")[0].strip().lower()
        is_form = kind == FORM or (not kind and arrival.body[:1] not in (b"{", b"["))
        signer = arrival.headers.get(b"waypost-advertiser", b"").decode("utf-8", "replace").strip()
        named = False
        for name, value in _parameters(arrival.query, arrival.body if is_form else b""):
            owner = self._view.owner_of_token(value) if value else None
            if owner is not None and name in self._token_names(owner):
                return self.of(owner)
            named = named or name == "token"
            signer = signer or (value if name == _NAMED else "")
        if signer and (caller := self._signer(signer, arrival.test)) is not None:
            return caller
        if named:
            return self._refusal("wrong_token")
        if self._by_address is not None and self._by_address.permits(arrival.address):
            return self._stranger._replace(is_vouched=True)
        if arrival.body and not is_form:
            return self._stranger
        return self._refusal("missing_token")

    def of(self, owner: TokenOwner) -> Caller:
        """The caller that a right token stands for."""
        known = self._callers.get(owner)
        if known is None:
            if len(self._callers) >= self._items_max:
                self._callers.clear()
            known = self._callers[owner] = self._made(owner)
        return known

    def at_gate(self, caller: Caller, arrival: Arrival, now_ms: int) -> Caller:
        """The caller, refused if its address or its signature is not as it must be. A test is from whoever has the
        operator's key: it may come from anywhere, unsigned."""
        gate = caller.gate
        if gate is None or arrival.test:
            return caller
        for allowed in gate.lists:
            if not allowed.permits(arrival.address):
                return caller._replace(code="address_not_allowed")
        if gate.advertiser is not None and gate.advertiser.signature is not None:
            request = SignedRequest(arrival.method, arrival.path, arrival.query, arrival.headers, arrival.body)
            if code := verify(gate.advertiser.signature, request, now_ms):
                return caller._replace(code=code)
        return caller

    def _refusal(self, code: str) -> Caller:
        return self._stranger._replace(code=code)

    def _signer(self, name: str, test: bool) -> Caller | None:
        """Whose signature is to be asked for; of a test, that may be anybody's, nothing more is asked."""
        advertiser = self._view.advertiser_named(name)
        if advertiser is None or (advertiser.signature is None and not test):
            return None
        return self.of(TokenOwner("advertiser", advertiser.no))

    def _token_names(self, owner: TokenOwner) -> tuple[str, ...]:
        if owner.level == "global":
            return TOKEN_NAMES
        offer = self._view.offer(owner.no) if owner.level == "offer" else None
        advertiser = self._view.advertiser(offer.advertiser if offer is not None else owner.no)
        return token_names(advertiser)

    def _made(self, owner: TokenOwner) -> Caller:
        if owner.level == "global":
            return self._global
        offer: Offer | None = self._view.offer(owner.no) if owner.level == "offer" else None
        advertiser = self._view.advertiser(offer.advertiser if offer is not None else owner.no)
        if advertiser is None:
            return self._refusal("wrong_token")
        lists = list(self._lists)
        lists += [AllowList(one.allow_addresses) for one in (advertiser, offer) if one and one.allow_addresses]
        signs = advertiser.signature is not None
        auth = Auth.SIGNATURE if signs else Auth.TOKEN if offer is None else Auth.OFFER
        return Caller(
            auth,
            advertiser.no,
            advertiser.partition,
            offer=offer.no if offer is not None else 0,
            answer=advertiser.answer,
            hides=advertiser.wrong_token == 200 if advertiser.wrong_token else self._hides,
            gate=Gate(tuple(lists), advertiser if signs else None) if lists or signs else None,
        )


def token_names(advertiser: Advertiser | None) -> tuple[str, ...]:
    """The names under which an advertiser's calls may carry a token."""
    return ("token", *advertiser.parameters.get("token", ())) if advertiser is not None else ("token",)


def _parameters(*sources: bytes) -> Iterator[tuple[str, str]]:
    for source in sources:
        for pair in source.split(b"&", PARAMETERS_MAX)[:PARAMETERS_MAX]:
            name, equals, value = pair.decode("utf-8", "replace").partition("=")
            if equals:
                yield unquote_plus(name), unquote_plus(value)
