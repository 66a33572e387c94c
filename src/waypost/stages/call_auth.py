"""Whose call it is: the advertiser's token, looked for where it is to be seen without parsing the call.

Owns: the places where a token may stand and the order in which they are looked at. Reads a catalog view that is
handed in; writes nothing. Never reads JSON or any other body that needs a parser: such a call is judged later.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import unquote, unquote_plus

from waypost.catalog.model import Advertiser
from waypost.model.frames import Auth
from waypost.model.partition import NO_PARTITION

TOKEN = b"token"
FORM = "application/x-www-form-urlencoded"
_MARK = TOKEN + b"="

FindAdvertiser = Callable[[str], Advertiser | None]


class Caller(NamedTuple):
    """Who calls, as far as a door can tell. `code` is set if the call is refused."""

    auth: Auth
    advertiser: int
    partition: int
    code: str = ""


WRONG = Caller(Auth.DEFERRED, 0, NO_PARTITION, "wrong_token")
MISSING = Caller(Auth.DEFERRED, 0, NO_PARTITION, "missing_token")
DEFERRED = Caller(Auth.DEFERRED, 0, NO_PARTITION)


def plain_token(query: bytes) -> bytes:
    """The raw value of the first parameter `token`, undecoded; empty if there is none to see."""
    at = query.find(_MARK)
    while at > 0 and query[at - 1] != 38:  # `&`: `mytoken=` is another parameter
        at = query.find(_MARK, at + 1)
    if at < 0:
        return b""
    start = at + len(_MARK)
    end = query.find(b"&", start)
    return query[start:] if end < 0 else query[start:end]


def identify(
    find: FindAdvertiser, *, path_token: bytes, query: bytes, header_token: bytes, body: bytes, content_type: str
) -> Caller:
    """Whose call this is, by every place that can be looked at: path, header, query, form body.

    A token in the path or the header decides alone. In query and form a parameter counts if it is named `token`
    or as the advertiser whose token it holds says (`parameters: {token: [...]}`). A call with a body that is no form
    and no token elsewhere is `DEFERRED`; a token that nobody has is `wrong_token`; none at all `missing_token`.
    """
    if path_token or header_token:
        stated = (path_token or header_token).decode("utf-8", "replace").strip()
        advertiser = find(unquote(stated) if path_token else stated)
        return WRONG if advertiser is None else known(advertiser)
    kind = content_type.partition(";")[0].strip().lower()
    is_form = kind == FORM or (not kind and body[:1] not in (b"{", b"["))
    named = False
    for name, value in _parameters(query, body if is_form else b""):
        advertiser = find(value) if value else None
        if advertiser is not None and (name == "token" or name in advertiser.parameters.get("token", ())):
            return known(advertiser)
        named = named or name == "token"
    if named:
        return WRONG
    return DEFERRED if body and not is_form else MISSING


def known(advertiser: Advertiser) -> Caller:
    """The caller whose token was right."""
    return Caller(Auth.TOKEN, advertiser.no, advertiser.partition)


def _parameters(*sources: bytes) -> Iterator[tuple[str, str]]:
    for source in sources:
        for pair in source.split(b"&"):
            name, equals, value = pair.decode("utf-8", "replace").partition("=")
            if equals:
                yield unquote_plus(name), unquote_plus(value)
