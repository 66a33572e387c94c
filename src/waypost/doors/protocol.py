"""One connection: bytes in, requests out to the desks, answers back in the order of the requests.

Owns: the parser (httptools), the bounds on line, headers, body and pipelining, keep-alive, and the polite end of
a connection. A GET whose head, or all of whose header lines, are like those read before passes by the parser
(`known_heads.py`). Never knows what a path means, and never answers on its own but to say that a request cannot be
read.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, cast

import httptools

from waypost.doors.answers import CLOSE, CONTINUE, KEEP, KEEP_1_0, Answers
from waypost.doors.commit import GroupCommit
from waypost.doors.inbox import Head, Inbox, headers_of
from waypost.doors.known_heads import KnownHeads
from waypost.doors.known_lines import HOST, HOST_CHARS, WANTED
from waypost.doors.limits import Limits
from waypost.doors.proxies import HEADERS as PROXY_HEADERS
from waypost.doors.proxies import Proxies, plain_address
from waypost.doors.targets import encoded_target, has_odd_target, origin_form
from waypost.settings import DoorSettings

PIPELINED_MAX = 256  # requests of one connection that wait for answers before it is read no further
REFUSING_MAX = 256  # connections beyond the bound that are told so; further ones are dropped
LINGER_BYTES_MAX = 4 << 20  # read and dropped after a refusal, so that the client gets to see the answer
BATCHES = b"/postbacks"  # the path's end whose bodies hold many calls, and have a bound of their own
_START_LINE_SLACK = 256  # method, version, line ends
_ONCE = frozenset((b"expect", b"idempotency-key"))  # of a head that will not come again


class Refused(Exception):  # noqa: N818 (not an error of ours: it ends the parser's work)
    """Ends the parsing of a connection whose request was refused before it was whole."""


class Owner(Protocol):
    """What a connection needs of its door."""

    settings: DoorSettings
    answers: Answers
    commit: GroupCommit
    connections: set["Connection"]
    is_draining: bool
    tick_ms: float
    direct_answers: int
    known_heads: KnownHeads
    wanted_headers: frozenset[bytes]  # beside those that every request may have
    inbox: Inbox
    limits: Limits
    proxies: Proxies

    def handle(self, connection: "Connection") -> None:
        """A whole request stands in the connection's fields; leads to one `respond` or one `commit.add`."""

    def is_known_sender(self, connection: "Connection") -> bool:
        """Whether the head that stands in the connection's fields has a right token; its body is not there yet."""

    def note_unreadable(self, connection: "Connection", code: str, data: bytes) -> None:
        """A request was refused before it was whole."""

    def note_crash(self, connection: "Connection", error: BaseException) -> None:
        """A desk raised: a mistake of ours."""


class Connection(asyncio.Protocol):
    """State of one connection and of the request that is being read.

    `peer` is who connected, as the PROXY protocol says where it is spoken; `address` is who sent the request, which is
    another only if `peer` is a named proxy.
    """

    __slots__ = (
        "_body_bytes",
        "_dropped_bytes",
        "_ended",
        "_fed_bytes",
        "_feed",
        "_head_bytes",
        "_is_clogged",
        "_is_deaf",
        "_is_half_closed",
        "_is_large",
        "_kept_headers",
        "_line",
        "_owner",
        "_parser",
        "_rest",
        "address",
        "began_ms",
        "body",
        "data_received",
        "headers",
        "in_request",
        "is_closing",
        "is_head_done",
        "is_known",
        "is_paused",
        "is_proxy",
        "method",
        "mode",
        "peer",
        "pending",
        "transport",
        "url",
    )

    def __init__(self, owner: Owner, address: str = "") -> None:
        self._owner = owner
        # Looked up once by the loop; spares a call for each read. A ring, broken when the connection is lost.
        self.data_received: Callable[[bytes], None] = partial(owner.inbox.put, self)  # type: ignore[assignment]
        self._parser: Any = None  # made for the first request that needs one
        self._feed: Any = None
        self.transport: asyncio.Transport | None = None
        self.peer = self.address = address
        self.is_known = False  # a call on it had a right token
        self.is_proxy = False
        self.url = b""
        self.body = b""
        self._body_bytes = 0
        self._rest: list[bytes] = []  # of a body that comes in pieces, behind the first
        self.method = b""
        self.headers: dict[bytes, bytes] = {}
        self.mode = KEEP
        self.pending = 0  # answers that wait in the group commit
        self.is_closing = False  # no further request is taken
        self.in_request = False
        self.is_head_done = False
        self.began_ms = 0.0  # of the request being read, or of the silence since the last one
        self._head_bytes = 0
        self._is_deaf = False  # what comes in is dropped
        self._is_half_closed = False  # one side has said that nothing more will come from it
        self._is_large = False  # its body has a place in `limits.large_bodies`
        self._line = b""  # what is there of a request line whose end is not
        self.is_paused = False
        self._is_clogged = False  # the client does not read
        self._fed_bytes = 0  # of the head that is being read, where it is known that they are its own
        self._ended = 0  # requests whose end was in the piece that came last
        self._dropped_bytes = 0
        self._kept_headers: dict[bytes, bytes] | None = None  # of the last request, if the like of it may be known

    # --- asyncio's side ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if not self.peer:
            peer = transport.get_extra_info("peername")
            self.peer = self.address = plain_address(peer[0]) if isinstance(peer, tuple) else ""
        owner = self._owner
        self.is_proxy = owner.proxies.trusts(self.peer)
        self.began_ms = owner.tick_ms
        owner.connections.add(self)
        if len(owner.connections) > owner.settings.connections_max:
            if len(owner.connections) > owner.settings.connections_max + REFUSING_MAX:
                self.abort()
            else:
                owner.note_unreadable(self, "too_many_connections", b"")
                self.refuse("too_many_connections")
        elif not self.is_proxy and not owner.limits.admits(self, self.peer):
            owner.note_unreadable(self, "too_many_from_address", b"")
            self.refuse("too_many_from_address")

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.inbox.empty()
        self._owner.connections.discard(self)
        self._owner.limits.left(self, self.peer)
        self._owner.limits.large_bodies.leave(self)
        self.transport = None
        self.is_closing = True
        self._parser = self._feed = None  # the parser holds this object's methods: a ring, broken here
        self.data_received = _nobody_reads

    def eof_received(self) -> bool:
        # A half-closed client may still wait for answers: they are written before the connection is closed.
        self._owner.inbox.empty()
        self.is_closing = True
        self._is_half_closed = True
        return self.pending > 0

    def pause_writing(self) -> None:
        # The client does not read its answers: take nothing more from it until it does.
        self._is_clogged = True
        self._pause(True)

    def resume_writing(self) -> None:
        self._is_clogged = False
        if self.pending < PIPELINED_MAX:
            self._pause(False)

    # --- requests ------------------------------------------------------------------------------------

    def take(self, data: bytes, head: Head | None) -> None:
        """See `inbox.Taker`."""
        if head is None or self.in_request or self.is_closing:
            self._parse(data)
            return
        own = self.headers
        self.url, self.headers = head[0], headers_of(head)
        self.method = b"GET"
        self.mode = KEEP
        if self.is_proxy:
            self.address = self.origin(self.headers)
        try:
            self._owner.handle(self)
        except Exception as error:
            self._crashed(error)
        self.url = b""
        self.headers = own
        self.began_ms = self._owner.tick_ms

    def _parse(self, data: bytes) -> None:
        if self._is_deaf:
            self._linger(len(data))
            return
        was_between = not self.in_request
        is_in_line = was_between or bool(self._line)
        if self._line and self._feed is None:  # a line with odd bytes, which is read when it is whole
            data, self._line = self._line + data, b""
            if not self._is_whole_line(data):
                return
        if self._feed is None:
            self._parser = httptools.HttpRequestParser(self)
            self._feed = self._parser.feed_data
        self._ended = 0
        try:
            self._feed(data)
        except httptools.HttpParserUpgrade:
            self.in_request = False
            self.close_politely()  # answered in HTTP/1.1 already; another protocol is not spoken here
        except httptools.HttpParserError as error:
            self._parse_encoded(error, self._line + data, is_first=is_in_line and not self._ended)
        else:
            if self.in_request:
                if not self.is_head_done:
                    self._bound_head(0 if self._ended else len(data))
                    is_in_line = is_in_line and not self._ended and data.find(b"\n") < 0
                    self._line = self._line + data if is_in_line else b""
            elif was_between and self._ended == 1 and self._kept_headers is not None:
                self._owner.known_heads.keep(data, self._kept_headers)
        self._kept_headers = None

    def _parse_encoded(self, error: Exception, data: bytes, *, is_first: bool) -> None:
        """What the parser will not have, once more with its target encoded, if that is what was wrong with it."""
        self._line = b""
        if not is_first or self.is_closing or not has_odd_target(data):
            self._unparsed(error, data)
            return
        began_ms, is_begun = self.began_ms, self.in_request
        self._parser = self._feed = None  # one that has met an error takes nothing more
        self._reset()
        if is_begun:
            self.began_ms = began_ms
        if self._is_whole_line(data):
            encoded = encoded_target(data)
            if encoded is None:
                self._unparsed(error, data)
            else:
                self._parse(encoded)

    def _is_whole_line(self, data: bytes) -> bool:
        """Whether the request line's end is there; if not, it is kept until more comes, or is too long."""
        if data.find(b"\n") >= 0:
            return True
        if len(data) > self._owner.settings.url_bytes_max + _START_LINE_SLACK:
            self._owner.note_unreadable(self, "url_too_long", b"")
            self.refuse("url_too_long")
        else:
            self._line = data
            self.in_request = True
        return False

    # --- the parser's side ---------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.is_closing:
            raise Refused
        self.in_request = True
        self.address = self.peer  # until its headers tell another
        self.began_ms = self._owner.tick_ms

    def on_url(self, url: bytes) -> None:
        self.url = self.url + url if self.url else url
        if len(self.url) > self._owner.settings.url_bytes_max:
            self._refuse_now("url_too_long")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self._owner.settings.headers_bytes_max:
            self._refuse_now("headers_too_large")
        name = name.lower()
        if (name in WANTED or name in self._owner.wanted_headers) and not self.is_head_done:  # a trailer is no header
            if name in self.headers:
                if name == HOST:
                    self._refuse_now("malformed_request")  # whose is it?
                if name in PROXY_HEADERS:
                    value = self.headers[name] + b"," + value  # each proxy may have added a line of its own
            self.headers[name] = value.rstrip(b" \t")  # the parser leaves what stands behind a value (RFC 9110, 5.5)

    def on_headers_complete(self) -> None:
        self.is_head_done = True
        headers = self.headers
        if HOST not in headers and self._parser.get_http_version() == "1.1":
            self._refuse_now("malformed_request")  # RFC 9112, 3.2
        if self.url[:1] != b"/" and self.url.find(b"://") > 0:
            headers[HOST], self.url = origin_form(self.url)  # counts instead of the header's (RFC 9112, 3.2.2)
        if headers:
            if headers.get(HOST, b"").translate(None, HOST_CHARS):
                self._refuse_now("malformed_request")
            length = headers.get(b"content-length")
            if length is not None and int(length) > self._owner.settings.body_bytes_max:
                self._bound_body(int(length))
            if b"expect" in headers and headers[b"expect"].lower() == b"100-continue":
                self.respond(CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._owner.settings.body_bytes_max:
            self._bound_body(self._body_bytes)
        if not self.body:
            self.body = body
        else:
            self._rest.append(body)

    def on_message_complete(self) -> None:
        parser = self._parser
        owner = self._owner
        if self._rest:
            self.body = b"".join((self.body, *self._rest))
        self.method = parser.get_method()
        mode = KEEP
        if not parser.should_keep_alive() or owner.is_draining:
            mode = CLOSE
        elif b"connection" in self.headers:
            if parser.should_upgrade():
                mode = CLOSE
            elif parser.get_http_version() == "1.0":
                mode = KEEP_1_0
        if mode == CLOSE:
            self.is_closing = True
            # Who did not ask for it may be sending the next request already: that must not cost him this answer.
            self._is_deaf = parser.should_keep_alive()
        self.mode = mode
        if self.is_proxy:
            self.address = self.origin(self.headers)
        pending = self.pending
        try:
            owner.handle(self)
        except Exception as error:
            self._crashed(error)
        if mode == KEEP and self.pending > pending and not self.body and _ONCE.isdisjoint(self.headers):
            self._kept_headers = self.headers
            self.headers = {}
        self._reset()

    # --- answers -------------------------------------------------------------------------------------

    def respond(self, response: bytes) -> None:
        """An answer that waits for no commit of its own, but not before those that do."""
        if self.pending:
            self.pending += 1
            self._owner.commit.add_behind(self, response)
        elif self.transport is not None:
            self._owner.direct_answers += 1
            self.transport.write(response)
            if self.is_closing:
                self._end()

    def wait(self) -> None:
        """Called with each `commit.add`: one more answer waits."""
        self.pending += 1
        if self.pending == PIPELINED_MAX:
            self._pause(True)

    def origin(self, headers: dict[bytes, bytes]) -> str:
        """The address of who sent a request with these headers through this named proxy."""
        proxies = self._owner.proxies
        told = headers.get(proxies.header)
        return self.peer if told is None else proxies.origin(self.peer, told)

    def wait_beside(self) -> None:
        """`wait`, of a request that did not pass through this connection's fields."""
        self.began_ms = self._owner.tick_ms
        self.pending += 1
        if self.pending == PIPELINED_MAX:
            self._pause(True)

    def release(self, response: bytes) -> None:
        """See `commit.Waiting`, which says when the group commit does without this."""
        self.pending -= 1
        transport = self.transport
        if transport is None:
            return
        transport.write(response)
        if self.is_closing:
            if not self.pending:
                self._end()
        elif self.is_paused and self.pending < PIPELINED_MAX // 2 and not self._is_clogged:
            self._pause(False)

    def refuse(self, code: str) -> None:
        """Answers a request that is not whole, and closes."""
        self.is_closing = True
        self._is_deaf = True
        self.in_request = False
        if self._is_large:
            self._leave_large()
            self.body = b""
            self._rest.clear()
        self.respond(self._owner.answers.error(code, CLOSE))

    def close_politely(self) -> None:
        """Takes no further request; closes at once if none is under way."""
        if self.pending:
            self.is_closing = True
        elif not self.in_request:
            self.is_closing = True
            self._end()

    def abort(self) -> None:
        """Closes without another word."""
        if self.transport is not None:
            self.transport.abort()

    def overdue(self, waited_ms: float, *, idle_ms: float, request_ms: float) -> str:
        """What has become of a connection on which nothing happened for `waited_ms`: empty if it may go on,
        `request_timeout` (a request that does not end), `idle`, or `stuck` (answers that are not read, a client
        that does not hang up)."""
        if self.pending:
            return ""  # it waits for us
        if self.is_closing or self._is_clogged:
            return "stuck" if waited_ms > request_ms else ""
        if self.in_request:
            return "request_timeout" if waited_ms > request_ms else ""
        return "idle" if waited_ms > idle_ms else ""

    # --- within --------------------------------------------------------------------------------------

    def _crashed(self, error: Exception) -> None:
        self._owner.note_crash(self, error)
        self.respond(self._owner.answers.error("internal_error", self.mode))

    def _reset(self) -> None:
        self.url = b""
        self.in_request = False
        self.is_head_done = False
        self._head_bytes = 0
        self._fed_bytes = 0
        self._ended += 1
        self.began_ms = self._owner.tick_ms
        if self.headers:
            self.headers = {}
        if self.body:
            self.body = b""
            self._body_bytes = 0
            self._rest.clear()
        if self._is_large:
            self._leave_large()

    def _bound_head(self, count: int) -> None:
        # The parser reports a header when it ends; one that never ends is counted here. A piece that held the end of
        # the request before is not counted: how much of it is this head's is not known.
        self._fed_bytes += count
        settings = self._owner.settings
        if self._fed_bytes > settings.url_bytes_max + settings.headers_bytes_max + _START_LINE_SLACK:
            self._owner.note_unreadable(self, "headers_too_large", b"")
            self.refuse("headers_too_large")

    def _bound_body(self, count: int) -> None:
        """A body is larger than a single call's: is it one that may be?"""
        settings = self._owner.settings
        if count > settings.batch_bytes_max or not self.url.partition(b"?")[0].endswith(BATCHES):
            self._refuse_now("body_too_large")
        if not self._is_large:
            owner = self._owner
            if self.is_proxy:
                self.address = self.origin(self.headers)
            is_known = self.is_known or owner.is_known_sender(self)
            if not owner.limits.large_bodies.take(self, self.address, is_known=is_known):
                self._refuse_now("too_many_batches")
            self._is_large = True

    def _leave_large(self) -> None:
        self._is_large = False
        self._owner.limits.large_bodies.leave(self)

    def _refuse_now(self, code: str) -> None:
        self._owner.note_unreadable(self, code, b"")
        self.refuse(code)
        raise Refused

    def _unparsed(self, error: Exception, data: bytes) -> None:
        if self.is_closing:
            self._is_deaf = True  # refused above, or bytes behind a request that closes the connection
            return
        if isinstance(error, httptools.HttpParserCallbackError):
            self._owner.note_crash(self, error.__context__ or error)
            self.refuse("internal_error")
        else:
            self._owner.note_unreadable(self, "malformed_request", data)
            self.refuse("malformed_request")

    def _linger(self, count: int) -> None:
        self._dropped_bytes += count
        if self._dropped_bytes > LINGER_BYTES_MAX:
            self.abort()

    def _end(self) -> None:
        """All is answered: closes, or first lets the client read the refusal that it talks over."""
        self.is_closing = True
        if self.transport is None or self.transport.is_closing():
            return
        if self._is_deaf and not self._is_half_closed:
            self._is_half_closed = True
            self.began_ms = self._owner.tick_ms
            if self.transport.can_write_eof():  # TLS cannot: the client closes when it has read the answer
                self.transport.write_eof()
        else:
            self.transport.close()

    def _pause(self, stop: bool) -> None:
        transport = self.transport
        if transport is None or self.is_paused == stop or transport.is_closing():
            return
        self.is_paused = stop
        if stop:
            transport.pause_reading()
        else:
            transport.resume_reading()


def _nobody_reads(data: bytes) -> None:
    """What a connection that is lost reads with."""
