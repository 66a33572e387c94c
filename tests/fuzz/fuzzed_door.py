"""A whole door without sockets, disk and clock: real connections, routes and desks over a catalog with every kind of
visit and caller. What it is sent, what it answers and in which order is kept and checked.

Owns: the stand-ins for transport, group commit, log of refusals and visitors. Everything else is the product's own.
"""

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from support.catalog_text import SETTINGS
from support.clock import FakeClock
from support.parsed import Turns, Wire
from waypost.doors.answers import CONTINUE, KEEP, Answers
from waypost.doors.batches import Batches
from waypost.doors.bulk import Bulk
from waypost.doors.clicks import Clicks
from waypost.doors.commit import Fallback, Waiting
from waypost.doors.door_time import DoorTime
from waypost.doors.impressions import Impressions
from waypost.doors.inbox import Inbox, Kind, Piece, headers_of
from waypost.doors.known_heads import KnownHeads
from waypost.doors.limits import LargeBodies, Limits
from waypost.doors.pages import Pages
from waypost.doors.postbacks import Postbacks
from waypost.doors.protocol import Connection
from waypost.doors.proxies import Proxies
from waypost.doors.recent import RecentVisitors
from waypost.doors.refusals import Refused, redacted, redacted_body
from waypost.doors.routes import Routes
from waypost.doors.shelf import Shelf
from waypost.doors.touches import Touches
from waypost.engines.sqlite.catalog import SqliteCatalogStore, apply_catalog
from waypost.errors import ERRORS
from waypost.model.facts import BROWSER_FACTS, GEO_FACTS, Part
from waypost.model.ids import ClickIdCodec, KeyRing
from waypost.model.wire import decode_frame
from waypost.settings import load_settings
from waypost.stages.addresses import parse_address
from waypost.telemetry.stats import Stats

NOW_MS = 1_790_000_000_000
OPERATOR_KEY = "0f" * 32
CODEC = ClickIdCodec(KeyRing({"a": b"0123456789abcdef"}))
TOKENS = ("s3cret-of-acme", "0ther-token", "s1gner-token", "everywhere-token", "of-the-offer", "p4rtner-token")
SMALL = {
    "url_bytes_max": 120,
    "headers_bytes_max": 300,
    "body_bytes_max": 40,
    "batch_bytes_max": 400,
    "batch_lines_max": 4,
}
UNSENT = b"never-sent-key"  # in no input, so in no answer
CATALOG = """waypost: 1
intake: {token: everywhere-token}
advertisers:
  acme: {token: s3cret-of-acme, aliases: [keitaro, tune], browser: {origins: ["https://shop.example"], goals: [order]}}
  other: {token: 0ther-token, wrong_token: 200, answer: gif, allow_addresses: [192.0.2.0/24]}
  signer: {token: s1gner-token, signature: {secret: never-sent-key}, answer: empty}
offers:
  shop:
    advertiser: acme
    token: of-the-offer
    url: http://shop.example/?cid={click_id}&s={sub1}&k={keyword|upper}
    goals: {order: {payout: 1 USD}, lead: {payout: 2 USD}}
    targeting: {not: {sub2: 'x*'}, language: [de, en]}
    if: sub3 != 'no' and not (ip within '203.0.113.0/24')
    fallback: {offer: app}
  app:
    advertiser: acme
    url: http://shop.example/app?cid={click_id}
    goals: {order: {payout: 1 USD}}
    targeting: {sub4: yes}
    deep_link:
      ios: shopapp://product/{sub1}?cid={click_id}
      android: intent://product/{sub1}#Intent;scheme=shopapp;package=com.example.shop;end
      ios_store: https://apps.example/id1?ct={click_id}
  elsewhere:
    advertiser: other
    url: http://elsewhere.example/{sub1}?cid={click_id}
    mode: 307
    goals: {order: {payout: 1 USD}}
partners:
  geozo: {token: p4rtner-token, aliases: [keitaro, tune]}
links:
  demo: {partner: geozo, offer: shop, fallback: {url: 'http://fallback.example/{link}?s={sub1}'}}
  app: {partner: geozo, offer: app, fallback: blank}
  quiet: {partner: geozo, offer: elsewhere, referrer: hide}
  mixed: {partner: geozo, targets: [{offer: shop}, {offer: elsewhere, weight: 99}], split: {by: user}}
domains:
  go.example.com: {link: demo, ios: {team_id: ABCDE12345, bundle_id: com.example.shop}}
  closed.example.com: {active: false}
"""
PLACES = re.compile(
    rb"(?:http://shop\.example/|http://elsewhere\.example/|http://fallback\.example/|shopapp://product/|"
    rb"intent://product/|https://apps\.example/)[!-~]*"
)
_LINE = re.compile(rb"[A-Za-z-]{2,40}: [ -~]*")
_STATUS = re.compile(rb"HTTP/1\.1 ([1-5]\d\d) [A-Za-z' -]+")
_NAMES = frozenset(
    b"date content-type content-length connection location cache-control referrer-policy x-robots-tag allow retry-after"
    b" waypost-receipt access-control-allow-origin access-control-allow-methods access-control-allow-headers"
    b" access-control-max-age vary etag content-security-policy x-content-type-options".split()
)


class BrokenError(AssertionError):
    """Something that must hold does not."""


def must(holds: object, what: str, *more: object) -> None:
    """Raises `BrokenError` where it does not hold."""
    if not holds:
        raise BrokenError(" ".join((what, *map(repr, more))))


class FuzzWire(Wire):
    """A transport; keeps each write apart, with the request that it belongs to."""

    def __init__(self, door: "FuzzedDoor", peer: str) -> None:
        super().__init__((peer, 40000))
        self._door = door
        self.writes: list[tuple[int, bytes]] = []
        self.is_paused = False
        self.is_ended = False  # closed, and not only on our side

    def write(self, data: bytes) -> None:
        must(not self.is_over, "nothing is written to a connection that was closed", data)
        self.writes.append((self._door.answered, data))

    def close(self) -> None:
        self.is_over = self.is_ended = True

    abort = close

    def is_closing(self) -> bool:
        return self.is_ended

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


class HeldCommit:
    """Stands for the group commit: holds what waits until `flush`; `error` is why nothing becomes durable."""

    def __init__(self, door: "FuzzedDoor") -> None:
        self._door = door
        self.held: list[tuple[int, Waiting, bytes, Fallback | None]] = []
        self.frames: list[bytes] = []
        self.is_full = False
        self.error = ""

    def add(
        self, waiting: Waiting, frame: bytes, response: bytes, fallback: Fallback, is_click: bool, is_view: bool = False
    ) -> None:
        self.frames.append(frame)
        self.held.append((self._door.handled, waiting, response, fallback))

    @property
    def room(self) -> int:
        return 0 if self.is_full else 1000

    def add_each(
        self, frames: Sequence[bytes], answers: Sequence[tuple[Waiting, bytes, Fallback]], clicks: int = 0
    ) -> None:
        self.frames.extend(frames)
        for waiting, response, fallback in answers:
            self.held.append((self._door.handled, waiting, response, fallback))
            self._door.handled += 1
        self._door.answered = self._door.handled

    def add_many(self, waiting: Waiting, frames: Sequence[bytes], response: bytes, fallback: Fallback) -> None:
        self.frames.extend(frames)
        self.held.append((self._door.handled, waiting, response, fallback))

    def add_behind(self, waiting: Waiting, response: bytes) -> None:
        self.held.append((self._door.handled, waiting, response, None))

    def add_alike(self, waiting: Waiting, response: bytes, fallback: Fallback) -> None:
        self.held.append((self._door.handled, waiting, response, fallback))

    def flush(self) -> None:
        held, self.held = self.held, []
        for nth, waiting, response, fallback in held:
            if self.error and fallback is not None:
                response = fallback(self.error)
            self._door.answered = nth
            waiting.release(response)
        self._door.answered = self._door.handled


class Notes:
    """Stands for the log of refusals: what would be kept holds no token."""

    def __init__(self, is_secret: Any) -> None:
        self._is_secret = is_secret

    def note(self, refused: Refused) -> None:
        must(refused.code in ERRORS, "a refusal has a code that is known", refused.code)
        url, body = refused.url[:1024], refused.body[:1024]
        kept = redacted(url, self._is_secret) + redacted_body(body, self._is_secret)
        must("\x00" not in kept, "what is kept is text", kept)


class Facts:
    """Stands for the engine of visitors' facts: two of them, as the request says."""

    def browser(self, user_agent: bytes, languages: bytes) -> Part:
        return Part(BROWSER_FACTS, {"language": languages[:2].decode("latin-1").lower()} if languages else {})

    def places(self, addresses: Sequence[str]) -> list[Part]:
        return [Part(GEO_FACTS, {"isp": one} if one else {}) for one in addresses]

    def refresh(self) -> None:
        pass

    def versions(self) -> Mapping[str, int]:
        return {}


class _Keys:
    def of(self, ms: int) -> bytes:
        return b"k" * 16

    def refresh(self, ms: int) -> None:
        pass


class _Loud:
    """Stands for the inbox's log: what a connection did not catch is not caught here."""

    def exception(self, event: str) -> None:
        raise


class Handled(NamedTuple):
    """A request that a door was handed whole."""

    method: bytes
    url: bytes
    headers: dict[bytes, bytes]
    body: bytes
    mode: int
    address: str


class FuzzedDoor:
    """See `protocol.Owner`. `knows`: takes the short ways (known heads, plain calls)."""

    def __init__(self, *, knows: bool, shelf: Shelf, small: bool = False) -> None:
        bounds = SMALL if small else {}
        found = load_settings(environment={}).door
        named = {"proxies": ("198.51.100.0/24", "2001:db8::/32"), "address_refused_per_s": 0, "address_clicks_per_s": 0}
        self.settings = msgspec.structs.replace(found, **named, **bounds)
        self.answers = Answers(1, NOW_MS / 1000)
        self.commit: Any = HeldCommit(self)
        self.connections: set[Connection] = set()
        self.tick_ms = 0.0
        self.direct_answers = 0
        self.wanted_headers = shelf.wanted_headers()
        self.limits = Limits(self.settings)
        self.proxies = Proxies(self.settings.proxies, self.settings.proxy_header)
        self.knows = knows
        self._heads: dict[bytes, Kind] = {}
        clock = FakeClock(NOW_MS)
        self._time = DoorTime(clock, 3, NOW_MS)
        self._stats = Stats("door-3")
        self._routes = self._desks(shelf, clock)
        self.begin()

    def _desks(self, shelf: Shelf, clock: FakeClock) -> Routes:
        recent = RecentVisitors(1000, 3_600_000)
        self._touches = touches = Touches(
            time=self._time, codec=CODEC, keys=_Keys(), recent=recent, stats=self._stats, visitors=Facts()
        )
        commit, answers, stats = self.commit, self.answers, self._stats
        postbacks = Postbacks(time=self._time, codec=CODEC, commit=commit, answers=answers, stats=stats)
        if not self.knows:
            postbacks.take_plain = lambda shelf, pieces: pieces  # type: ignore[method-assign]
        notes: Any = Notes(shelf.is_secret)
        routes = Routes(
            touches=touches,
            clicks=Clicks(touches=touches, commit=commit, answers=answers, stats=stats),
            impressions=Impressions(touches=touches, commit=commit, answers=answers, stats=stats),
            pages=Pages(touches=touches, time=self._time, codec=CODEC, commit=commit, answers=answers, stats=stats),
            postbacks=postbacks,
            answers=answers,
            limits=self.limits,
            now_ms=clock.monotonic_ms,
            operator_key=OPERATOR_KEY,
            refusals=notes,
            stats=stats,
            health=lambda: {"status": "ok"},
            batches=Batches(
                bulk=Bulk(postbacks, notes, stats), commit=commit, answers=answers, stats=stats, settings=self.settings
            ),
        )
        if not self.knows:
            routes._clicks.take_plain = lambda shelf, pieces, waits_of: pieces  # type: ignore[method-assign]
        routes.shelf = shelf
        return routes

    def begin(self) -> None:
        """As at the first request: another input must not change what this one leads to."""
        self._time.ms = NOW_MS
        self._time._click = self._time._receipt = 0
        self._touches._recent = RecentVisitors(1000, 3_600_000)
        self.commit.held.clear()
        self.commit.frames.clear()
        self.commit.is_full = False
        self.commit.error = ""
        self.connections.clear()
        self.is_draining = False
        self.handled = 0
        self.answered = 0
        self.requests: list[Handled] = []
        self.noted: list[str] = []
        self.known_heads = KnownHeads(self.settings.url_bytes_max, self.settings.headers_bytes_max)
        self.known_heads.forget(self.wanted_headers)
        self.limits.large_bodies = LargeBodies(self.settings.batches_max)
        if self.knows:
            self.known_heads._heads.update(self._heads)
        else:
            self.known_heads.close()
        self.inbox = Inbox(self.known_heads.find)
        self.inbox._log = _Loud()
        self.turns = Turns()
        self.inbox.start(self.turns, self.take_at_once)  # type: ignore[arg-type]
        self.answers._errors.clear()

    def teach(self, requests: list[bytes]) -> None:
        """From here on the heads of these requests are known at each beginning."""
        for request in requests:
            wire = FuzzWire(self, "192.0.2.7")
            connection = self.connect(wire)
            connection.data_received(request)
            self.turn()
        self._heads = dict(self.known_heads._heads)
        self.begin()

    def connect(self, wire: FuzzWire, address: str = "") -> Connection:
        connection = Connection(self, address)
        connection.connection_made(wire)  # type: ignore[arg-type]
        return connection

    def turn(self, *, commits: bool = True) -> None:
        """The end of a turn of the loop."""
        self.turns.run()
        if commits:
            self.commit.flush()
            self.turns.run()

    # --- what a connection asks ----------------------------------------------------------------------

    def is_known_sender(self, connection: Connection) -> bool:
        return self._routes.is_known_sender(connection)

    def handle(self, connection: Connection) -> None:
        self.answered = self.handled
        one = Handled(
            connection.method,
            connection.url,
            dict(connection.headers),
            connection.body,
            connection.mode,
            connection.address,
        )
        self.requests.append(one)
        must(parse_address(one.address) is not None, "an address is an address", one.address)
        must(len(one.address) <= 45 and "%" not in one.address, "an address has no more than an address", one.address)
        self._routes.handle(connection)
        self.handled += 1
        self.answered = self.handled

    def take_at_once(self, pieces: list[Piece]) -> list[Piece]:
        left = self._routes.take_at_once(pieces)
        for piece in pieces:
            if not any(piece is one for one in left):
                connection, _, head = piece
                assert head is not None
                url, headers = head[0], headers_of(head)
                address = connection.origin(headers) if connection.is_proxy else connection.peer
                self.requests.append(Handled(b"GET", url, dict(headers), b"", KEEP, address))
        return left

    def note_unreadable(self, connection: Connection, code: str, data: bytes) -> None:
        must(code in ERRORS, "a refusal has a code that is known", code)
        self.noted.append(code)

    def note_crash(self, connection: Connection, error: BaseException) -> None:
        raise error


def opened_shelf() -> Shelf:
    """The catalog above, applied to a folder of its own that the process leaves with."""
    folder = tempfile.TemporaryDirectory(prefix="fuzzed-door-")
    _kept.append(folder)
    file = Path(folder.name) / "catalog.yaml"
    file.write_text(CATALOG, "utf-8")
    applied = apply_catalog(file, Path(folder.name) / "catalog", SETTINGS)
    view = SqliteCatalogStore(Path(folder.name) / "catalog", cache_items_max=1000).open(applied.version)
    return Shelf(view, 1000)


_kept: list[Any] = []


def check_answers(door: FuzzedDoor, wire: FuzzWire, *, unfinished: bool) -> None:
    """Each request that was handed over is answered once, in order; then at most one refusal, which is coded.

    `unfinished`: the client went away, so the last answers may be missing."""
    expected = 0
    refused = False
    for nth, data in wire.writes:
        if data == CONTINUE:
            continue
        must(not refused, "nothing follows the answer to a request that cannot be read", data)
        is_head = False
        if nth < door.handled and nth == expected:
            is_head = door.requests[nth].method == b"HEAD"
            expected += 1
        else:
            must(nth == expected == door.handled and door.noted, "answers come in order, one each", nth, expected)
            refused = True
        check_answer(data, is_head=is_head)
    if not unfinished:
        must(expected == door.handled, "each request is answered", expected, door.handled)
        must(refused == bool(door.noted), "what cannot be read is answered with a code", door.noted)
    must(len(door.noted) <= 1, "one refusal ends a connection", door.noted)
    for frame in door.commit.frames:
        decode_frame(frame)


def check_answer(data: bytes, *, is_head: bool) -> None:
    """One answer as it left: HTTP, no header that was not meant, a place of the catalog's, a code in each refusal."""
    head, blank, body = data.partition(b"\r\n\r\n")
    must(blank, "an answer has a head", data)
    first, *lines = head.split(b"\r\n")
    found = _STATUS.fullmatch(first)
    must(found, "an answer begins with a status", first)
    assert found is not None
    status = int(found[1])
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b": ")
        must(_LINE.fullmatch(line) and name.lower() in _NAMES, "each header is one of ours", line)
        must(name.lower() not in headers, "no header comes twice", line)
        headers[name.lower()] = value
    length = headers.get(b"content-length")
    if status in (204, 304):
        must(length is None and not body, "no body, and no word of one", data)
    else:
        must(length is not None, "an answer says how long it is", data)
        must(int(length or b"0") == len(body) or (is_head and not body), "as long as it says", data)
    place = headers.get(b"location")
    must((place is not None) == (status in (302, 307)), "a redirect says where to", data)
    must(place is None or PLACES.fullmatch(place), "a click leads where the catalog says", place)
    if status >= 400 and not is_head:
        content = msgspec.json.decode(body)
        must(content["status"] == 0 and content["error"] in ERRORS, "a refusal has a code", body)
        must(ERRORS[content["error"]].http_status == status, "the code's status", body)
        must(content["error"] not in ("internal_error", "bad_target"), "no mistake of ours", body)
    must(UNSENT not in data, "no answer tells a secret", data)
