"""Heads that the parser has read before: what follows the target of a GET, byte for byte, and what was found in it.

A caller's system sends the same header lines with each call. What the parser makes of a request depends on the target
only in that the target must be sound; so a request whose rest is known, and whose target has nothing but plain
characters, needs no parser. Visitors' heads differ in a few lines that are their own (the address behind a proxy, a
referrer): without these they are known too, as shapes. Where the shape is not known, its lines may be
(`known_lines.py`). Everything else goes through the parser. Measured: docs/decisions/0015-known-heads.md, 0028 for
lines, 0041 for shapes.

Owns: the memo, which is the door's and bounded. Reads and writes nothing else. Never holds a request with a body, nor
one behind which the connection is closed, nor what is one visitor's own.
"""

from collections.abc import Collection

from waypost.doors.inbox import Head, Kind
from waypost.doors.known_lines import ASKING, SHARED, TEXT, KnownLines

HEADS_MAX = 512
SHAPES_MAX = 4096
REQUEST_BYTES_MAX = 2048  # a longer request is parsed
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
PLAIN = _LETTERS + b"/?&=%.-_~+:,;@!$'()*|{}[]"  # what a target may consist of; other bytes are the parser's to judge
_PLAIN = bytes(0x61 if byte in PLAIN else 0 for byte in range(256))  # as letters, so that one question answers for all
_VERSION = b" HTTP/1.1"


class KnownHeads:
    """`find` is on the hottest way of a door; `keep` is called once a head."""

    __slots__ = (
        "_found",
        "_heads",
        "_is_open",
        "_lines",
        "_markers",
        "_of_shape",
        "_read",
        "_request_bytes_max",
        "_shapes",
    )

    def __init__(self, url_bytes_max: int, headers_bytes_max: int = REQUEST_BYTES_MAX) -> None:
        self._heads: dict[bytes, Kind] = {}
        self._found = self._heads.get
        self._shapes: dict[bytes, Kind] = {}  # without the values that are one visitor's own
        self._of_shape = self._shapes.get
        self._lines = KnownLines()
        self._read, self._markers = self._lines.read, self._lines.markers
        self._request_bytes_max = min(REQUEST_BYTES_MAX, url_bytes_max, headers_bytes_max)
        self._is_open = True

    def find(self, data: bytes) -> Head | None:
        """Of the one request that `data` is, if the parser need not be asked."""
        if len(data) > self._request_bytes_max:
            return None  # before anything looks through it: it may be a part of a large body
        line, _, rest = data.partition(_VERSION)
        target = line[4:]
        if line[:5] != b"GET /" or not target.translate(_PLAIN).isalpha():
            return None
        shape, own = rest, {}
        for marker, name in self._markers:
            before, mark, after = shape.partition(marker)
            if mark:
                value, end, after = after.partition(b"\r\n")
                if not value.translate(TEXT).isalpha() or not (value := value.strip()):
                    return None
                shape = before + mark + end + after
                own[name] = value
        if own:
            kind = self._of_shape(shape)
            if kind is not None:
                return target, kind, own
        kind = self._found(rest)
        if kind is None:
            read = self._read(rest)
            if read is None:
                return None
            headers, are_known = read
            kind = Kind(headers, is_asking=not ASKING.isdisjoint(headers))
            if are_known:
                self._remember_shape(shape, kind, own)
        return target, kind, {}

    def keep(self, data: bytes, headers: dict[bytes, bytes]) -> None:
        """`data` was exactly one GET without a body, and its connection stays open behind it."""
        line, _, rest = data.partition(_VERSION)
        if not self._is_open or len(data) > self._request_bytes_max:
            return
        if line[:5] == b"GET /" and line.find(b" ", 4) < 0 and rest[:2] == b"\r\n" and self._lines.are_fit(rest):
            self._remember(rest, Kind(headers, is_asking=not ASKING.isdisjoint(headers)))

    def _remember(self, rest: bytes, kind: Kind) -> None:
        if len(self._heads) >= HEADS_MAX:
            self._heads.clear()
        self._heads[rest] = kind

    def _remember_shape(self, shape: bytes, kind: Kind, own: Collection[bytes]) -> None:
        """Of a head that `read` has read, so that none of its names comes twice."""
        if any(name not in SHARED and name not in own for name in kind.headers):
            return  # a line of somebody's own that was not cut out
        if not own:
            self._remember(shape, kind)
            return
        if len(self._shapes) >= SHAPES_MAX:
            self._shapes.clear()
        shared = {name: value for name, value in kind.headers.items() if name not in own}
        self._shapes[shape] = Kind(shared, is_asking=kind.is_asking)

    def forget(self, also: frozenset[bytes]) -> None:
        """Forgets all: these headers are wanted from now on beside those that always are."""
        self._heads.clear()
        self._shapes.clear()
        self._lines.forget(also)

    def close(self) -> None:
        """Forgets all, and finds nothing from now on: in a drain connections are closed behind a request."""
        self._is_open = False
        self._request_bytes_max = -1
        self._heads.clear()
        self._shapes.clear()
        self._lines.forget(frozenset())
