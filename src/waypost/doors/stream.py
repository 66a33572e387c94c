"""The gRPC service: a partner opens one stream, sends conversions, and gets receipts as they become durable.

Owns: the life of a stream, from its metadata to its last answer; the service's port. It runs on the door's loop, and
its frames go into the door's group commit. A stream is read no further while `grpc_batches_pending_max` of its messages
wait for the disk, or for a client that does not read; HTTP/2's flow control does the rest.
Never answers a conversion before its frame is durable, nor a message before the one before it.
The messages: `proto/waypost.proto`. Why so: docs/decisions/0024-many-calls-at-once.md.
"""

import asyncio
import string
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from hmac import compare_digest
from operator import attrgetter
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from waypost.doors.batches import bad_line
from waypost.doors.bulk import Bulk, Entry, Outcome, Way, key_of_item, message_of
from waypost.doors.commit import GroupCommit
from waypost.doors.limits import Limits
from waypost.doors.proto.waypost_pb2 import Answer, Conversion, Conversions
from waypost.doors.proxies import plain_address
from waypost.doors.shelf import Shelf
from waypost.doors.tls import TlsFolder
from waypost.errors import ERRORS, WaypostError
from waypost.model.frames import Auth
from waypost.settings import DoorSettings
from waypost.stages.call_auth import Arrival, Caller
from waypost.telemetry.log import logger
from waypost.telemetry.stats import Stats

SERVICE = "waypost.v1.Intake"
_PATH = f"/{SERVICE}/Stream".encode()
_FULL_PAUSE_S = 0.005
_KEEPALIVE_MS, _KEEPALIVE_TIMEOUT_MS = 30_000, 10_000  # so a client that is gone is noticed
_METADATA = ("waypost-token", "authorization", "waypost-advertiser")
_ACCEPTED = b"\n\x13\n\x11r%016x"  # `Answers` with one `Answer` that has a receipt; several are several, joined
_TOO_LONG = bad_line("line_too_long")
_NAMES = ("click_id", "goal", "status", "txn_id", "sum", "payout", "currency")
_said = attrgetter(*_NAMES, "parameters")
_PLAIN = string.ascii_letters + string.digits + "_.~-"  # needs no encoding
_SIGNS = bytes(97 if chr(sign) in _PLAIN else 0 for sign in range(256))  # to letters and zeros: one question to all
_STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    403: grpc.StatusCode.UNAUTHENTICATED,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}


class Session(NamedTuple):
    """Who has opened a stream; `sender` is by the catalog version of `shelf`."""

    shelf: Shelf
    sender: Caller
    arrival: Arrival
    way: Way


class _Pending:
    """A message whose answer waits for its commit. See `commit.Waiting`."""

    __slots__ = ("answer", "is_closing", "is_paused", "pending", "transport")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.answer: asyncio.Future[bytes] = loop.create_future()
        self.transport: asyncio.Transport | None = None  # it is the stream's to write
        self.pending, self.is_closing, self.is_paused = 1, False, False

    def release(self, response: bytes) -> None:
        if not self.answer.done():  # the stream may have ended meanwhile
            self.answer.set_result(response)


class StreamService:
    """See the module. `shelf` answers the catalog in force, None while there is none."""

    def __init__(
        self,
        *,
        bulk: Bulk,
        identify: Callable[[Shelf, Arrival], Caller],
        commit: GroupCommit,
        limits: Limits,
        now_ms: Callable[[], float],
        refuse: Callable[[str, Caller, bytes], None],
        shelf: Callable[[], Shelf | None],
        operator_key: str,
        stats: Stats,
        settings: DoorSettings,
    ) -> None:
        self._bulk = bulk
        self._identify = identify
        self._commit = commit
        self._limits = limits
        self._now_ms = now_ms
        self._refuse = refuse
        self._shelf = shelf
        self._operator_key = operator_key
        self._stats = stats
        self._settings = settings
        self._server: Any = None
        self._readers: set[asyncio.Task[None]] = set()
        self._streams = 0
        self._is_draining = False
        self._log = logger("doors")
        self.port = 0

    # --- life ----------------------------------------------------------------------------------------

    async def start(self, address: str, tls: TlsFolder | None) -> None:
        """Listens, by TLS where there are certificates. Raises WaypostError `cannot_listen`."""
        self._server = server = grpc.aio.server(
            options=(
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", self._settings.batch_decoded_bytes_max),
                ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
                ("grpc.max_connection_idle_ms", self._settings.idle_timeout_ms),
            )
        )
        methods = {
            "Stream": grpc.stream_stream_rpc_method_handler(self._stream),
            "Report": grpc.unary_unary_rpc_method_handler(self._report),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        try:
            if tls is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, _credentials(tls))
        except RuntimeError as error:
            raise WaypostError("cannot_listen", str(error), place=address) from error
        await server.start()
        self._log.info("stream_open", address=address, port=self.port, tls=tls is not None)

    async def stop(self, grace_s: float) -> None:
        """Takes no new stream (GOAWAY), reads none further, answers what waits, and ends them."""
        self._is_draining = True
        for reader in self._readers:
            reader.cancel()
        if self._server is not None:
            await self._server.stop(grace_s)

    # --- the methods ---------------------------------------------------------------------------------

    async def _report(self, data: bytes, context: Any) -> bytes:
        session = await self._begin(context)
        with self._counted():
            try:
                pending = await self._enter(session, data)
            except WaypostError as error:
                await _abort(context, error.code, error.detail)
                raise AssertionError("unreachable") from error
            return await pending.answer

    async def _stream(self, _requests: Any, context: Any) -> None:
        session = await self._begin(context)
        stream = _Stream(context, self._settings.grpc_batches_pending_max)
        reader = asyncio.ensure_future(stream.read(lambda data: self._take(session, data, stream)))
        stream.follow(reader)
        self._readers.add(reader)
        try:
            with self._counted():
                if self._is_draining:
                    reader.cancel()
                await stream.answer()
                if reader.cancelled():
                    await _abort(context, "door_draining")
                elif isinstance(error := reader.exception(), WaypostError):
                    await _abort(context, error.code, error.detail)
                elif error is not None:
                    self._stats.add("errors")
                    self._log.error("stream_error", exc_info=error)
                    await context.abort(grpc.StatusCode.INTERNAL, "internal_error: the door made a mistake")
        finally:
            reader.cancel()
            self._readers.discard(reader)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """One of the streams and calls at once."""
        self._streams += 1
        self._stats.set("door_streams", self._streams)
        try:
            yield
        finally:
            self._streams -= 1
            self._stats.set("door_streams", self._streams)

    async def _begin(self, context: Any) -> Session:
        """Who calls; ends the call with a status if he may not."""
        address = address_of(context.peer())
        headers = {
            name.encode(): value.encode() if isinstance(value, str) else value
            for name, value in context.invocation_metadata()
            if name in (*_METADATA, "waypost-test")
        }
        shelf = self._shelf()
        if self._is_draining:
            await _abort(context, "door_draining")
        if shelf is None:
            await _abort(context, "no_catalog")
        if self._streams >= self._settings.grpc_streams_max:
            await _abort(context, "too_many_streams")
        assert shelf is not None
        test_key = headers.pop(b"waypost-test", None)
        if test_key is not None and not compare_digest(test_key, self._operator_key.encode()):
            await _abort(context, "wrong_test_key")
        arrival = arrival_of(headers, address, test=test_key is not None)
        sender = self._identify(shelf, arrival)
        if sender.code and not sender.hides:
            code = sender.code
            if self._limits.refused.take(address, self._now_ms()):
                self._stats.values["door_limited"] += 1
                code = "too_many_requests"
            self._refuse(address, sender, _PATH)
            await _abort(context, code, sender.detail)
        return Session(shelf, sender, arrival, Way("grpc", "", address, _PATH, arrival.test))

    # --- messages ------------------------------------------------------------------------------------

    async def _take(self, session: Session, data: bytes, stream: "_Stream") -> None:
        stream.waiting.append(await self._enter(session, data))

    async def _enter(self, session: Session, data: bytes) -> _Pending:
        """Puts a message's conversions into the group commit. Raises WaypostError for what ends the stream."""
        if self._commit.is_full:
            await self._room()
        shelf, sender, _, way = self._renewed(session)
        try:
            message = Conversions.FromString(data)
        except DecodeError as error:
            raise WaypostError("batch_malformed", "the message is no Conversions of waypost.proto") from error
        conversions = message.conversions
        if len(conversions) > self._settings.batch_lines_max:
            raise WaypostError("batch_too_large", f"a message may have {self._settings.batch_lines_max} conversions")
        frames, outcomes = self._bulk.enter(shelf, list(self._entries(shelf, sender, conversions, way)), way)
        self._stats.values["door_batches"] += 1
        pending = _Pending(asyncio.get_running_loop())
        response = answers_of(outcomes)
        if frames and self._commit.is_full:
            pending.release(self._failed(outcomes, "journal_unavailable"))
        elif frames:
            self._commit.add_many(pending, frames, response, partial(self._failed, outcomes))
        elif sender.code:
            self._commit.add_alike(pending, response, partial(self._failed, outcomes))
        else:
            pending.release(response)
        return pending

    async def _room(self) -> None:
        """Waits until the group commit takes frames again, or has refused them for as long as an answer may wait."""
        waited_ms = 0.0
        while self._commit.is_full and waited_ms < self._settings.commit_wait_max_ms:
            await asyncio.sleep(_FULL_PAUSE_S)
            waited_ms += _FULL_PAUSE_S * 1000

    def _renewed(self, session: Session) -> Session:
        """The session by the catalog in force: a token that was withdrawn is no longer right."""
        shelf = self._shelf()
        if shelf is None or shelf is session.shelf:
            return session
        sender = self._identify(shelf, session.arrival)
        if sender.code and not sender.hides:
            self._refuse(session.way.address, sender, _PATH)
            raise WaypostError(sender.code)
        return session._replace(shelf=shelf, sender=sender)

    def _entries(self, shelf: Shelf, sender: Caller, conversions: Iterable[Conversion], way: Way) -> Iterator[Entry]:
        bytes_max = self._settings.line_bytes_max
        is_known = sender.auth is not Auth.DEFERRED or bool(sender.code)
        for conversion in conversions:
            query = query_of(conversion)
            if len(query) > bytes_max:
                yield _TOO_LONG, b"", b"", query[:bytes_max]
                continue
            caller = sender if is_known else self._caller_of(shelf, conversion, query, way)
            key = conversion.idempotency_key
            yield caller, key_of_item(caller, key.encode()) if key else b"", query, b""

    def _caller_of(self, shelf: Shelf, conversion: Conversion, query: bytes, way: Way) -> Caller:
        if token := conversion.token:
            return self._bulk.by_token(shelf, token.encode(), way.address, test=way.test)
        return self._bulk.by_query(shelf, query, way.address, test=way.test)

    def _failed(self, outcomes: list[Outcome], code: str) -> bytes:
        """The answers where nothing became durable."""
        self._stats.values["door_unavailable"] += 1
        failed = bad_line(code)
        return answers_of([failed if isinstance(outcome, int) else outcome for outcome in outcomes])


class _Stream:
    """One stream's messages on their way: read by one task, answered by another."""

    def __init__(self, context: Any, pending_max: int) -> None:
        self._context = context
        self._pending_max = pending_max
        self._reader: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._space = asyncio.Event()
        self.waiting: deque[_Pending] = deque()

    def follow(self, reader: "asyncio.Task[None]") -> None:
        """The answering ends when this task has ended, and all is answered."""
        self._reader = reader
        reader.add_done_callback(lambda _: self._news.set())

    async def read(self, take: Callable[[bytes], Awaitable[None]]) -> None:
        """Takes messages until the client sends no more."""
        while True:
            while len(self.waiting) >= self._pending_max:
                self._space.clear()
                await self._space.wait()
            data = await self._context.read()
            if data is grpc.aio.EOF:
                return
            await take(data)
            self._news.set()

    async def answer(self) -> None:
        """Writes each answer when it is due, in the messages' order."""
        assert self._reader is not None
        while True:
            while not self.waiting:
                if self._reader.done():
                    return
                self._news.clear()
                await self._news.wait()
            response = await self.waiting[0].answer
            await self._context.write(response)
            self.waiting.popleft()
            self._space.set()


def arrival_of(headers: Mapping[bytes, bytes], address: str, *, test: bool) -> Arrival:
    """A stream's metadata, as a call's headers: where no token stands there, each conversion must have its own."""
    return Arrival(b"POST", _PATH, b"", headers, b"-", "application/grpc", address, b"", test)


def query_of(conversion: Conversion) -> bytes:
    """A conversion as the query string that it would be as a call: what is empty is left out."""
    click_id, goal, status, txn_id, total, payout, currency, more = _said(conversion)
    if not more and f"{click_id}{goal}{status}{txn_id}{total}{payout}{currency}".encode().translate(_SIGNS).isalpha():
        return (
            f"{'&click_id=' + click_id if click_id else ''}{'&goal=' + goal if goal else ''}"
            f"{'&status=' + status if status else ''}{'&txn_id=' + txn_id if txn_id else ''}"
            f"{'&sum=' + total if total else ''}{'&payout=' + payout if payout else ''}"
            f"{'&currency=' + currency if currency else ''}"
        )[1:].encode()
    said = zip(_NAMES, (click_id, goal, status, txn_id, total, payout, currency), strict=True)
    parts = [f"{name}={quote(value, safe='')}" for name, value in said if value]
    parts += [f"{quote(name, safe='')}={quote(more[name], safe='')}" for name in sorted(more)]
    return "&".join(parts).encode()


def answers_of(outcomes: list[Outcome]) -> bytes:
    """`Answers` in its wire form: one for each outcome."""
    return b"".join([_ACCEPTED % one if isinstance(one, int) else _refused(one) for one in outcomes])


def _refused(refusal: Caller) -> bytes:
    answer = Answer(error=refusal.code, message=message_of(refusal), retriable=ERRORS[refusal.code].retriable)
    data: bytes = answer.SerializeToString()
    return b"\n" + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def address_of(peer: str) -> str:
    """The address in what gRPC calls a peer: `ipv4:192.0.2.1:5`, `ipv6:%5B2001:db8::1%5D:5`."""
    kind, _, rest = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return ""
    return plain_address(rest.rpartition(":")[0].strip("[]"))


async def _abort(context: Any, code: str, detail: str = "") -> None:
    spec = ERRORS[code]
    status = _STATUS.get(spec.http_status, grpc.StatusCode.UNKNOWN)
    text = f"{code}: {detail or spec.meaning}; {spec.remedy}"
    await context.abort(status, text, trailing_metadata=(("waypost-error", code),))


def _credentials(tls: TlsFolder) -> Any:
    """The folder's pairs; a handshake after a change has the new ones."""
    shown = [tls.pems()]

    def configuration() -> Any:
        return grpc.ssl_server_certificate_configuration(shown[0])

    def changed() -> Any:
        pems = tls.pems()
        if pems == shown[0]:
            return None
        shown[0] = pems
        return configuration()

    return grpc.dynamic_ssl_server_credentials(configuration(), changed)
