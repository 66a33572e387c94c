"""Targets with bytes that no URL may have: `/postback?goal=Заказ`, as scripts send them that do not encode.

RFC 3986 knows letters, digits and some signs; the parser refuses everything else. What such a script means is plain,
and a conversion that is refused for it is lost. So bytes above ASCII are percent-encoded, as a browser would have.

Owns: that rewriting. Reads and writes nothing. Never touches control characters, spaces or anything behind the target.
"""

import re
from urllib.parse import quote

_ABOVE_ASCII = re.compile(rb"[\x80-\xff]+")


def encoded_target(data: bytes) -> bytes | None:
    """The same request with its target in ASCII; None if it is so already, or the line's end is not there yet."""
    end = data.find(b"\n")
    line = data[: max(end, 0)]
    if end < 0 or line.isascii():
        return None
    return _ABOVE_ASCII.sub(lambda found: quote(found[0]).encode("ascii"), line) + data[end:]
