"""What is stored of a visitor: address, user agent, referrer, facts and query, cut to what the catalog lets be kept.

Input: what a request brought, the catalog's `Privacy`, a key that is gone after a day. Output: what goes into the
click's frame. Pure. Never changes what a decision sees: a door chooses by the whole address, and forgets it.

A user's key is a keyed hash of address and user agent. Once the key is gone nobody can tell whose it was, or find it
again from an address, however many addresses he tries.
"""

import re
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import unquote_plus, urlsplit

from waypost.catalog.outside import Privacy
from waypost.model.facts import AnyFacts

HASH_BYTES = 8
ADDRESS_NAMES = (b"ip", b"user_ip")
USER_AGENT_NAMES = (b"ua", b"user_agent")
REFERRER_NAMES = (b"referrer", b"referer")
_OF_VISITOR = frozenset((*ADDRESS_NAMES, *USER_AGENT_NAMES, *REFERRER_NAMES))
_ESCAPED_NAME = re.compile(rb"%[^=&]*=").search
_FROM_ADDRESS = frozenset(("region", "city", "isp"))
_FROM_USER_AGENT = frozenset(("brand", "os", "os_version", "browser", "browser_version"))


class UserHash:
    """Makes what tells visitors apart for as long as `key` is kept, and names nobody."""

    __slots__ = ("_begin", "key")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._begin = blake2b(digest_size=HASH_BYTES, key=key).copy  # the key is taken in once, not once a visitor

    def of(self, address: str, user_agent: bytes) -> bytes:
        """The visitor's key."""
        hashed = self._begin()
        hashed.update(b"\0".join((address.encode(), user_agent)))
        return hashed.digest()


def kept_address(address: str, how: str, key: bytes) -> str:
    """The address as it may be stored: `truncated`, `hashed`, `whole`, `none`. What is no address is not kept."""
    if how == "whole":
        found = _parsed(address)
        return str(found) if found is not None else ""
    if how == "truncated":
        return truncated(str(_parsed(address) or ""))
    if how == "hashed" and _parsed(address) is not None:
        return "h" + blake2b(address.encode(), digest_size=HASH_BYTES, key=key).hexdigest()
    return ""


def truncated(address: str) -> str:
    """An address without what tells one person's from a neighbour's: /24 of IPv4, /48 of IPv6; empty for none.

    `address` was an address before: it comes from the system, or was parsed.
    """
    if ":" not in address:
        network = address.rpartition(".")[0]
        return f"{network}.0" if network else ""
    found = _parsed(address)
    if found is None:
        return ""
    spare = found.max_prefixlen - (24 if found.version == 4 else 48)
    return str(type(found)(int(found) >> spare << spare))


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def kept_user_agent(user_agent: bytes, how: str, facts: AnyFacts) -> bytes:
    """`whole`; `family`: system and browser without versions, as the facts say; `none`."""
    if how == "whole":
        return user_agent
    if how == "family":
        return "/".join(part for name in ("os", "browser") if (part := facts.get(name, ""))).encode()
    return b""


def kept_referrer(referrer: bytes, how: str) -> bytes:
    """`whole`; `origin`: scheme, host and port; `none`."""
    if how == "whole":
        return referrer
    return origin_of(referrer).encode() if how == "origin" else b""


def origin_of(url: bytes) -> str:
    """The origin of an http or https address as browsers write it; empty if it is none."""
    try:
        parts = urlsplit(url.decode("latin-1").strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not host or not host.isascii() or not host.isprintable() or " " in host:
        return ""
    host = f"[{host}]" if ":" in host else host
    usual = 443 if parts.scheme == "https" else 80
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None and port != usual else "")


def kept_facts(facts: dict[str, str], privacy: Privacy) -> dict[str, str]:
    """The facts that may be stored: those that are as good as the whole address or user agent go with it.

    The country and the kind of device stay: rules on conversions ask for them, and thousands share them.
    """
    if privacy.ip != "none" and privacy.user_agent != "none":
        return facts
    without: frozenset[str] = frozenset()
    if privacy.ip == "none":
        without |= _FROM_ADDRESS
    if privacy.user_agent == "none":
        without |= _FROM_USER_AGENT
    return {name: value for name, value in facts.items() if name not in without}


def has_visitor_data(query: bytes) -> bool:
    """Whether the query may carry what `kept_query` would cut; quick, and right whenever it says no."""
    text = query.lower().decode("latin-1")  # a text is searched in a third of the time that bytes take
    return (
        "ip=" in text
        or "ua=" in text
        or "agent=" in text
        or "rer=" in text
        or ("%" in text and _ESCAPED_NAME(query) is not None)
    )


def kept_query(query: bytes, privacy: Privacy, key: bytes, *, without: frozenset[bytes] = frozenset()) -> bytes:
    """The query with parameters named for a visitor's address, user agent or referrer cut like the headers.

    `without` are names that are not kept at all: the token and facts of a server-to-server click. All else stays
    byte for byte.
    """
    pairs = []
    for pair in query.split(b"&"):
        raw, equals, value = pair.partition(b"=")
        name = raw if b"%" not in raw and b"+" not in raw else unquote_plus(raw.decode("latin-1")).encode()
        name = name.lower()
        if name in without:
            continue
        if name in _OF_VISITOR and value:
            text = _kept_value(name, unquote_plus(value.decode("latin-1")), privacy, key)
            if text is None:
                pairs.append(pair)
            elif text:
                pairs.append(b"%b%b%b" % (raw, equals, text))
        else:
            pairs.append(pair)
    return b"&".join(pairs)


def _kept_value(name: bytes, value: str, privacy: Privacy, key: bytes) -> bytes | None:
    """What stands for a value; None: itself, empty: nothing, nor its name."""
    if name in ADDRESS_NAMES:
        return None if privacy.ip == "whole" else kept_address(value.strip(), privacy.ip, key).encode()
    if name in USER_AGENT_NAMES:
        return None if privacy.user_agent == "whole" else b""
    if privacy.referrer == "whole":
        return None
    return kept_referrer(value.encode("latin-1", "replace"), privacy.referrer)
