"""Header lines that were read before: the head of a GET without a body, line by line, without the parser.

What the parser makes of a header line hangs on that line alone, but for the few that say how the message goes on. A
browser's lines are those of many others; only a few (the address behind a proxy, a referrer) are its own. So a line
that was read once is looked up whole, and its own are read in two steps. What is not utterly ordinary is the parser's
to judge: lines about the connection or a body, odd bytes, values that are empty. Why: docs/decisions/0028.

Owns: which headers a door wants, and the memory of lines, which is the door's and bounded. Reads and writes nothing
else. Never keeps a line that has a secret, or that is one visitor's own: of names that it does not know it keeps none.
"""

from waypost.doors.proxies import HEADERS as PROXY_HEADERS

LINES_MAX = 8192
LINE_BYTES_MAX = 512  # a longer line is read each time
NAMES_MAX = 1024
MARKERS_MAX = 6
SHARED = frozenset(  # wanted, and the same for many requests
    (
        b"user-agent",
        b"host",
        b"accept-language",
        b"connection",
        b"content-type",
        b"origin",
        b"purpose",
        b"sec-purpose",
        b"x-moz",
    )
)
WANTED = SHARED | frozenset(
    (
        b"referer",
        b"expect",
        b"content-length",
        *PROXY_HEADERS,
        b"if-none-match",
        b"authorization",
        b"waypost-token",
        b"waypost-advertiser",
        b"waypost-test",
        b"idempotency-key",
        b"content-encoding",
        b"webhook-id",
        b"webhook-timestamp",
        b"webhook-signature",
    )
)
ASKING = frozenset(  # that decide what becomes of a call
    (b"authorization", b"content-type", b"idempotency-key", b"waypost-test", b"waypost-token")
)
_PUBLIC = frozenset(  # not wanted, and the same for many requests; any other may be a secret, or one visitor's own
    (
        b"accept",
        b"accept-charset",
        b"accept-encoding",
        b"cache-control",
        b"dnt",
        b"keep-alive",
        b"pragma",
        b"priority",
        b"save-data",
        b"sec-ch-ua",
        b"sec-ch-ua-arch",
        b"sec-ch-ua-mobile",
        b"sec-ch-ua-model",
        b"sec-ch-ua-platform",
        b"sec-ch-ua-platform-version",
        b"sec-fetch-dest",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"sec-fetch-user",
        b"sec-gpc",
        b"upgrade-insecure-requests",
        b"via",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-requested-with",
    )
)
_FIT = WANTED | _PUBLIC  # of the wanted ones a caller's token may be kept, as the catalog keeps it
_OF_MESSAGE = frozenset(  # the parser's
    (b"content-length", b"transfer-encoding", b"upgrade", b"expect", b"proxy-connection", b"trailer", b"te")
)
HOST = b"host"
# What a Host header may consist of (RFC 3986, 3.2.2); other bytes are no host's.
HOST_CHARS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%!$&'()*+,;=:[]"
_CONNECTION, _STAYS = b"connection", b"keep-alive"  # what HTTP/1.1 does anyway
_TOKEN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"  # further ones are the parser's to judge
# What a value may consist of, as letters: then one question to all of it tells whether it does.
TEXT = bytes(0x61 if byte == 9 or 32 <= byte < 127 or byte > 127 else 0 for byte in range(256))
_UNWANTED = (b"", b"")


class KnownLines:
    """`read` is on the hottest way of a door."""

    __slots__ = ("_also", "_lines", "_names", "_own", "markers")

    def __init__(self) -> None:
        self._also: frozenset[bytes] = frozenset()
        self._lines: dict[bytes, tuple[bytes, bytes]] = {}  # name and value; both empty where nobody wants it
        self._names: dict[bytes, tuple[bytes, bool]] = {}  # as it is written: in lower case if wanted; is it shared
        self._own: dict[bytes, bytes] = {}  # of these the names of what is wanted, and one visitor's own
        self.markers: list[tuple[bytes, bytes]] = []  # how lines of the first of those begin, and their names

    def forget(self, also: frozenset[bytes]) -> None:
        """Forgets all; `also` are wanted from now on beside those that always are."""
        self._lines.clear()
        self._names.clear()
        self._own.clear()
        self.markers.clear()
        self._also = also

    def are_fit(self, rest: bytes) -> bool:
        """Whether a head that begins behind its version may be kept whole: all its names are known ones."""
        names = {line.partition(b":")[0].strip().lower() for line in rest.split(b"\r\n")[1:-2]}
        return names <= _FIT or names <= _FIT | self._also

    def read(self, rest: bytes) -> tuple[dict[bytes, bytes], bool] | None:
        """The wanted headers of a request, `rest` of which begins behind its version, and whether all of its lines were
        known but for one visitor's own; None if the parser must be asked, be it that it is not one whole request."""
        lines = rest.split(b"\r\n")
        if len(lines) < 3 or lines[0] or lines[-1] or lines[-2]:
            return None
        headers: dict[bytes, bytes] = {}
        wanted = 0
        find, own = self._lines.get, self._own
        are_known = True
        for line in lines[1:-2]:
            found = find(line)
            if found is not None:
                name, value = found
            else:
                written, _, value = line.partition(b":")
                if written in own and value.translate(TEXT).isalpha() and (value := value.strip()):
                    name = own[written]
                elif (found := self._read_line(line)) is not None:
                    are_known = False
                    name, value = found
                else:
                    return None
            if name:
                headers[name] = value
                wanted += 1
        if len(headers) != wanted or HOST not in headers:
            return None  # a name that comes twice, or none of the one that must be there
        return headers, are_known

    def _read_line(self, line: bytes) -> tuple[bytes, bytes] | None:
        name, _, value = line.partition(b":")
        known = self._names.get(name) or self._know_name(name)
        value = value.strip(b" \t")
        if known is None or not value.translate(TEXT).isalpha():
            return None
        wanted, is_shared = known
        if wanted == _CONNECTION and value.lower() != _STAYS:
            return None
        if wanted == HOST and value.translate(None, HOST_CHARS):
            return None
        found = (wanted, value) if wanted else _UNWANTED
        if is_shared and len(line) <= LINE_BYTES_MAX:
            if len(self._lines) >= LINES_MAX:
                self._lines.clear()
            self._lines[line] = found
        return found

    def _know_name(self, name: bytes) -> tuple[bytes, bool] | None:
        lower = name.lower()
        if not name or name.translate(None, _TOKEN) or lower in _OF_MESSAGE:
            return None
        if len(self._names) >= NAMES_MAX:
            self._names.clear()
            self._own.clear()
        is_wanted = lower in WANTED or lower in self._also
        is_shared = lower in (SHARED if is_wanted else _PUBLIC)
        known = self._names[name] = (lower if is_wanted else b"", is_shared)
        if is_wanted and not is_shared:
            self._own[name] = lower
            marker = b"\r\n%b:" % name, lower
            if len(self.markers) < MARKERS_MAX and marker not in self.markers:
                self.markers.append(marker)
        return known
