"""Postbacks in: authenticate, make a receipt, hand the call as it came to the group commit.

Owns: the receipt's making, the call's frame, and what a refused caller is told. Never parses a call, never looks at a
ledger, a name server or JSON (law 1): what it says is for the pipeline to judge.

`identify` and `frame` know no connection: other ways in (many calls in one body, a stream) use them call by call.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import repeat
from operator import itemgetter
from urllib.parse import unquote_plus

from waypost.doors.answers import CLOSE, KEEP, KEEP_1_0, Answers
from waypost.doors.commit import GroupCommit
from waypost.doors.door_time import DoorTime
from waypost.doors.inbox import Piece
from waypost.doors.protocol import Connection
from waypost.doors.shelf import Shelf
from waypost.model.frames import Auth, PostbackIn
from waypost.model.ids import ClickIdCodec, KeyedReceipts
from waypost.model.partition import NO_PARTITION
from waypost.model.wire import encode_frame
from waypost.stages.call_auth import FORM, PARAMETERS_MAX, Arrival, Caller, header_token, plain_token
from waypost.stages.signing import STANDARD_WEBHOOKS
from waypost.telemetry.stats import Stats

CONTENT_TYPE_CHARS_MAX = 128
_PLAIN_PATH = b"/postback?"
_PLAIN_GET = repeat(b"GET " + _PLAIN_PATH)  # how the data of those begins whose head was found
_DATA = itemgetter(1)  # of a piece
_METHODS = {b"GET": "GET", b"POST": "POST"}
_RETURN = b"return="
_BY_TOKEN = Auth.TOKEN  # looking an enum's member up costs as much as a call
_KEY = b"idempotency_key="


class Postbacks:
    """The desk that takes calls."""

    def __init__(
        self,
        *,
        time: DoorTime,
        codec: ClickIdCodec,
        commit: GroupCommit,
        answers: Answers,
        stats: Stats,
        may_defer: Callable[[str], bool] = lambda address: True,
    ) -> None:
        """`may_defer` says whether an address may bring one more call that nobody can tell yet whose it is."""
        self._may_defer = may_defer
        self._time = time
        self._codec = codec
        self._keyed_receipts = KeyedReceipts(codec.ring)
        self._commit = commit
        self._answers = answers
        self._stats = stats
        self._fallbacks = tuple(partial(self._unavailable, mode) for mode in (KEEP, CLOSE, KEEP_1_0))

    def take_plain(self, shelf: Shelf, pieces: list[Piece]) -> list[Piece]:
        """Takes the GETs whose token in the query is known and is all that is asked for: `take` in short, and kind by
        kind, for nearly every call of a door is such a one. See `inbox.TakeAtOnce`."""
        if not any(map(bytes.startswith, map(_DATA, pieces), _PLAIN_GET)):
            return pieces  # a turn of clicks costs no more than this
        left: list[Piece] = []
        behind: set[Connection] = set()  # the connections of those
        calls: list[tuple[Connection, Caller, bytes, str]] = []
        room = self._commit.room
        callers = shelf.callers
        is_served = shelf.hosts.is_served if shelf.hosts.has_inactive else None
        for piece in pieces:
            connection, _, head = piece
            if head is not None and head[0][:10] == _PLAIN_PATH:
                target, kind, own = head
                query = target[10:]
                caller = callers.get(plain_token(query))
                if (
                    caller is not None
                    and caller.auth is _BY_TOKEN
                    and caller.gate is None
                    and not kind.is_asking
                    and query.find(_RETURN) < 0  # `find` and not `in`, which first makes an exception for bytes
                    and query.find(_KEY) < 0
                    and not connection.in_request
                    and not connection.is_closing
                    and connection not in behind
                    and len(calls) < room
                    and (is_served is None or is_served(kind.headers))
                ):
                    address = connection.origin(own or kind.headers) if connection.is_proxy else connection.peer
                    calls.append((connection, caller, query, address))
                    continue
            left.append(piece)
            behind.add(connection)
        if calls:
            self._commit_plain(shelf, calls)
        return left

    def _commit_plain(self, shelf: Shelf, calls: list[tuple[Connection, Caller, bytes, str]]) -> None:
        receipts = self._time.receipts(len(calls))
        door, version = self._time.door, shelf.version
        frames = [
            encode_frame(
                PostbackIn(
                    receipt, receipt >> 22, door, caller.partition, caller.advertiser, _BY_TOKEN, version, "GET",
                    query, b"", "", address, False, caller.offer,
                )
            )
            for (_, caller, query, address), receipt in zip(calls, receipts, strict=True)
        ]  # fmt: skip
        accepted, fallback = self._answers.accepted, self._fallbacks[KEEP]
        answers = [
            (connection, accepted[caller.answer][KEEP] % receipt, fallback)
            for (connection, caller, _, _), receipt in zip(calls, receipts, strict=True)
        ]
        for connection, _, _, _ in calls:
            connection.is_known = True
            connection.wait_beside()
        self._commit.add_each(frames, answers)

    def take(
        self, connection: Connection, shelf: Shelf, path: bytes, path_token: bytes, query: bytes, *, test: bool
    ) -> Caller | None:
        """Answers with a receipt once the call is durable; or answers nothing and says who is refused, and why."""
        headers = connection.headers
        body = connection.body
        content_type = ""
        if headers and (kind := headers.get(b"content-type")):
            content_type = kind.decode("latin-1")[:CONTENT_TYPE_CHARS_MAX]
        caller: Caller | None = None
        if path_token:
            caller = shelf.path_callers.get(path_token)
        elif not headers or (b"waypost-token" not in headers and b"authorization" not in headers):
            caller = shelf.callers.get(plain_token(query))
        if caller is None or caller.gate is not None:
            arrival = Arrival(
                connection.method, path, query, headers, body, content_type, connection.address, path_token, test
            )
            caller = self.identify(shelf, arrival, caller)
            if caller.code:
                return caller
        connection.is_known = caller.auth is not Auth.DEFERRED
        if not (connection.is_known or caller.is_vouched or test or self._may_defer(connection.address)):
            return caller._replace(code="too_many_requests", hides=False)
        if self._commit.is_full:
            self._stats.values["door_unavailable"] += 1
            connection.respond(self._answers.error("journal_unavailable", connection.mode))
            return None
        key = key_of(caller, headers, query, body, content_type) if headers or body or _KEY in query else b""
        receipt = self.receipt(caller, key, test=test)
        frame = self.frame(
            shelf,
            caller,
            receipt,
            connection.method,
            query,
            body,
            content_type,
            connection.address,
            test,
            keyed=bool(key),
        )
        mode = connection.mode
        response = self._answers.accepted["json" if test else answer_kind(caller, query)][mode] % receipt
        connection.wait()
        self._commit.add(connection, frame, response, self._fallbacks[mode], False)
        return None

    def identify(self, shelf: Shelf, arrival: Arrival, known: Caller | None = None) -> Caller:
        """Who calls, after everything that a door can ask; `known` is who the token is of, where that was looked up.

        `code` of the answer says why the call is refused.
        """
        caller = shelf.caller(arrival) if known is None else known
        if caller.code or caller.gate is None:
            return caller
        return shelf.at_gate(caller, arrival, self._time.advance())

    def receipt(self, caller: Caller, key: bytes, *, test: bool = False) -> int:
        """A new receipt; the one of the caller's idempotency key, if there is such."""
        if not key:
            return self._time.next_receipt()
        self._time.advance()
        return self._keyed_receipts.number(caller.advertiser, key, test=test)

    def frame(
        self,
        shelf: Shelf,
        caller: Caller,
        receipt: int,
        method: bytes,
        query: bytes,
        body: bytes,
        content_type: str,
        address: str,
        test: bool,
        *,
        keyed: bool = False,
        origin: str = "",
    ) -> bytes:
        """The frame of an accepted call. `receipt` is new, or made from the caller's key (`keyed`)."""
        partition = caller.partition
        if partition == NO_PARTITION:
            if caller.auth is Auth.GLOBAL:
                partition = self._partition_of_click(shelf, query)
        elif caller.auth is Auth.SIGNATURE and is_body_signed_alone(caller):
            query = b""  # Standard Webhooks sign the body only: nothing else of the call is to be believed
        return encode_frame(
            PostbackIn(
                receipt,
                self._time.ms if keyed else receipt >> 22,
                self._time.door,
                partition,
                caller.advertiser,
                caller.auth,
                shelf.version,
                _METHODS[method],
                query,
                body,
                content_type,
                address,
                test,
                caller.offer,
                keyed,
                origin,
            )
        )

    def receipts(self, count: int) -> Sequence[int]:
        """New receipts for calls that are all there already."""
        return self._time.receipts(count)

    def frames(
        self,
        shelf: Shelf,
        caller: Caller,
        receipts: Sequence[int],
        calls: Sequence[tuple[bytes, bytes]],
        content_type: str,
        address: str,
        test: bool,
        origin: str,
    ) -> list[bytes]:
        """`frame` of each of one caller's calls (query, body), who `is_alike`, by new receipts."""
        door, version = self._time.door, shelf.version
        partition, advertiser, auth, offer = caller.partition, caller.advertiser, caller.auth, caller.offer
        return [
            encode_frame(
                PostbackIn(
                    receipt, receipt >> 22, door, partition, advertiser, auth, version, "POST",
                    query, body, content_type, address, test, offer, False, origin,
                )
            )
            for (query, body), receipt in zip(calls, receipts, strict=True)
        ]  # fmt: skip

    def pretend(self, connection: Connection, caller: Caller, query: bytes) -> int:
        """Answers a refused call as if it had been accepted: the same form, after a disk write like one's own, and the
        same receipt for the same key.

        Answers the receipt that the caller was given, and that no call has; 0 if it was told, as all are, to try again.
        """
        if self._commit.is_full:
            connection.respond(self._unavailable(connection.mode, "journal_unavailable"))
            return 0
        receipt = self._receipt_of_nothing(connection, caller, query)
        mode = connection.mode
        response = self._answers.accepted[answer_kind(caller, query)][mode] % receipt
        connection.wait()
        self._commit.add_alike(connection, response, self._fallbacks[mode])
        return receipt

    def _receipt_of_nothing(self, connection: Connection, caller: Caller, query: bytes) -> int:
        headers = connection.headers
        content_type = headers.get(b"content-type", b"").decode("latin-1")[:CONTENT_TYPE_CHARS_MAX]
        if caller.auth is Auth.DEFERRED:
            caller = caller._replace(auth=Auth.TOKEN)  # he believes that he has been recognised
        key = key_of(caller, headers, query, connection.body, content_type)
        if not key:
            return self._time.next_receipt()
        said = [b"refused", key]
        if not caller.advertiser:  # two senders would have two receipts for it
            said += connection.url.partition(b"?")[0], header_token(headers), plain_token(query)
        return self.receipt(caller, b"\0".join(said))

    def _partition_of_click(self, shelf: Shelf, query: bytes) -> int:
        """That of the click's advertiser, if the click's id is there to see."""
        names = shelf.click_id_names()
        for pair in query.split(b"&", 50)[:50]:
            name, _, value = pair.decode("utf-8", "replace").partition("=")
            if name in names and (found := self._codec.decode(unquote_plus(value).strip())) is not None:
                return shelf.partition_of(found.route)
        return NO_PARTITION

    def _unavailable(self, mode: int, code: str) -> bytes:
        self._stats.values["door_unavailable"] += 1
        return self._answers.error(code, mode)


def answer_kind(caller: Caller, query: bytes) -> str:
    """What an accepted call is answered: as the URL says, else as its advertiser's system reads it."""
    return "ok" if _RETURN in query and wants_ok(query) else caller.answer


def wants_ok(query: bytes) -> bool:
    """Whether the URL says `return=OK` (as Keitaro's do): some networks believe nothing but that word."""
    return any(pair[:7] == _RETURN and pair[7:].upper() == b"OK" for pair in query.split(b"&"))


def key_of(caller: Caller, headers: Mapping[bytes, bytes], query: bytes, body: bytes, content_type: str) -> bytes:
    """The idempotency key of a call; empty if there is none, or nobody knows yet whose call it is.

    Of what Standard Webhooks sign it is the message's id; else the header's, else the parameter's, of query and form.
    """
    if caller.auth is Auth.DEFERRED:
        return b""  # whoever sends somebody's key in a call without his token must not use it up
    if caller.auth is Auth.SIGNATURE and is_body_signed_alone(caller):
        return b"webhook-id " + headers[b"webhook-id"] if b"webhook-id" in headers else b""
    stated = headers.get(b"idempotency-key", b"").strip()
    if not stated:
        kind = content_type.partition(";")[0].strip().lower()
        stated = _parameter(query) or (_parameter(body) if kind in ("", FORM) else b"")
    return b"key " + stated if stated else b""


def _parameter(pairs: bytes) -> bytes:
    for pair in pairs.split(b"&", PARAMETERS_MAX)[:PARAMETERS_MAX] if _KEY in pairs else ():
        if pair.startswith(_KEY) and len(pair) > len(_KEY):
            return unquote_plus(pair[len(_KEY) :].decode("utf-8", "replace")).strip().encode()
    return b""


def is_alike(caller: Caller) -> bool:
    """Whether the frames of an accepted caller's calls differ in what they say and their receipts only."""
    if caller.code or is_body_signed_alone(caller):
        return False
    return caller.partition != NO_PARTITION or caller.auth is not Auth.GLOBAL  # whose partition is the click's


def is_body_signed_alone(caller: Caller) -> bool:
    """Whether what the caller signs is the body and nothing else."""
    signer = caller.gate.advertiser if caller.gate is not None else None
    return signer is not None and signer.signature is not None and signer.signature.scheme == STANDARD_WEBHOOKS
