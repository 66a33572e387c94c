"""Where a URL leads: its host in the one form that is resolved, judged and dialled.

Owns: the reading of a URL's scheme and authority. Reads and writes nothing. Never resolves. What is odd but has one
meaning (upper case, percent-encoding, names with letters beyond ASCII, IPv4 in decimal, octal, hex or short form) is
rewritten, so that libcurl sees what was judged; what could be read in two ways is refused.
"""

import re
import socket
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import unquote

import idna

from waypost.errors import WaypostError

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\Z")
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)\Z")
_SCHEMES = {"http": 80, "https": 443}
_HOST_MAX = 253
_WRITTEN_MAX = 1_000  # characters of a host before it is read


class Spot(NamedTuple):
    """The front of a URL, read. `front` is how it is written plainly, `length` how long it is in the URL."""

    front: str
    length: int
    host: str  # a name, or an address without brackets
    port: int
    is_literal: bool
    is_absolute: bool  # a trailing dot: no search domains


def spot_of(url: str) -> Spot:
    """Reads scheme and authority. Raises WaypostError `render_bad_url`."""
    scheme, separator, rest = url.partition("://")
    default = _SCHEMES.get(scheme.lower())
    if not separator or default is None:
        raise WaypostError("render_bad_url", "is no http or https URL")
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    length = len(scheme) + 3 + len(authority)
    if url[length : length + 1] == "\\":
        raise WaypostError("render_bad_url", "has a backslash, which is read in two ways")
    user, at, place = authority.rpartition("@")
    if "@" in user:
        raise WaypostError("render_bad_url", "has more than one @ before its path, which is read in two ways")
    host, port = _host_and_port(place)
    if host.startswith("["):
        written, literal, absolute = _ipv6(host), True, False
    else:
        written, literal, absolute = _named(host)
    shown = f"[{written}]" if ":" in written else written
    front = f"{scheme.lower()}://{user}{at}{shown}" + (f":{port}" if port else "")
    return Spot(front, length, written, port or default, literal, absolute)


def _host_and_port(place: str) -> tuple[str, int]:
    if place.startswith("["):
        host, bracket, rest = place.partition("]")
        host += bracket
        if not bracket:
            raise WaypostError("render_bad_url", "has a bracket that is not closed")
        if rest and not rest.startswith(":"):
            raise WaypostError("render_bad_url", "has something behind the address in brackets")
        text = rest[1:]
    else:
        host, _, text = place.partition(":")
    if not text:
        return host, 0
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= 65_535):
        raise WaypostError("render_bad_url", f"{text[:20]!r} is no port")
    return host, int(text)


def _ipv6(host: str) -> str:
    try:
        address = IPv6Address(unquote(host.removeprefix("[").removesuffix("]")))
    except ValueError as error:
        raise WaypostError("render_bad_url", str(error)) from error
    if address.scope_id:
        raise WaypostError("render_bad_url", "has an address of one link, with a zone")
    return str(address)


def _named(host: str) -> tuple[str, bool, bool]:
    """Name or IPv4 address; whether it is an address, and whether a name ends with a dot."""
    text = host
    if len(text) > _WRITTEN_MAX:
        raise WaypostError("render_bad_url", f"has a host of {len(text)} characters")
    if "%" in text:
        try:
            text = unquote(text, errors="strict")
        except UnicodeDecodeError as error:
            raise WaypostError("render_bad_url", "has a host that is no UTF-8") from error
    if not text.isascii():
        try:
            text = idna.encode(text, uts46=True).decode()
        except (idna.IDNAError, UnicodeError) as error:
            raise WaypostError("render_bad_url", f"has a host that is no name: {error}") from error
    text = text.lower()
    absolute = text.endswith(".")
    text = text.removesuffix(".")
    if not text or len(text) > _HOST_MAX or not _NAME.match(text):
        raise WaypostError("render_bad_url", "has no host" if not text else f"{text[:80]!r} is no host name")
    if _NUMBER.match(text.rpartition(".")[2]):  # as the URL standard has it: it ends in a number, so it is an address
        try:
            return socket.inet_ntoa(socket.inet_aton(text)), True, False
        except OSError as error:
            raise WaypostError("render_bad_url", f"{text[:80]!r} is no address") from error
    return text, False, absolute and text.rpartition(".")[2] != "localhost"  # which needs no name server (RFC 6761)
