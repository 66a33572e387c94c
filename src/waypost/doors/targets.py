"""Targets in other forms than desks read: whole URLs, and such with bytes that no URL may have.

`GET http://host/c/demo` is what a proxy may send (RFC 9112, 3.2.2). `/postback?goal=Заказ` is sent by scripts that do
not encode.

RFC 3986 knows letters, digits and some signs; the parser refuses everything else. What such a script means is plain,
and a conversion that is refused for it is lost. So bytes above ASCII are percent-encoded, as a browser would have.

Owns: both rewritings. Reads and writes nothing. Never touches control characters, spaces or anything behind the target.
"""

import re
from urllib.parse import quote

_ABOVE_ASCII = re.compile(rb"[\x80-\xff]+")


# What comes before the first odd byte, the parser takes: so it makes no difference in how many pieces a line comes.
_ODD_LINE = re.compile(
    rb"(?:GET|POST|HEAD|OPTIONS) (?:https?://[A-Za-z0-9.:-]+)?/[!-\"$-~]*(?:#[!-\"$-~]*)?[\x80-\xff]"
)
_LINE = re.compile(rb"[A-Za-z]{1,16} +((?:/|https?://)[^ \r\n]*)")
_AUTHORITY_END = re.compile(rb"[/?#]")


def origin_form(url: bytes) -> tuple[bytes, bytes]:
    """The host of a whole URL, and its path and query."""
    rest = url.partition(b"://")[2]
    end = _AUTHORITY_END.search(rest)
    host, target = (rest, b"") if end is None else (rest[: end.start()], rest[end.start() :])
    return host.rpartition(b"@")[2], target if target[:1] == b"/" else b"/" + target


def has_odd_target(data: bytes) -> bool:
    """Whether this may begin a request whose target needs encoding, its line whole or not."""
    return _ODD_LINE.match(data) is not None


def encoded_target(data: bytes) -> bytes | None:
    """The same request with its target in ASCII; None if it is so already, or the line's end is not there yet."""
    end = data.find(b"\n")
    line = data[: max(end, 0)]
    if end < 0 or line.isascii():
        return None
    return _ABOVE_ASCII.sub(lambda found: quote(found[0]).encode("ascii"), line) + data[end:]


def target_in(data: bytes) -> bytes:
    """The target that a request had which cannot be read; empty if this begins no request, but perhaps a header line
    or a body, whose secrets nobody could tell."""
    found = _LINE.match(data.lstrip(b"\r\n"))
    return found[1] if found is not None else b""
