"""Postbacks in: authenticate, make a receipt, hand the call as it came to the group commit.

Owns: the receipt's making and the call's frame. Never parses a call, never looks at a ledger, a name server or JSON
(law 1): what it says is for the pipeline to judge.
"""

from functools import partial

from waypost.doors.answers import CLOSE, KEEP, KEEP_1_0, Answers
from waypost.doors.commit import GroupCommit
from waypost.doors.door_time import DoorTime
from waypost.doors.protocol import Connection
from waypost.doors.shelf import Shelf
from waypost.model.frames import PostbackIn
from waypost.model.wire import encode_frame
from waypost.stages.call_auth import Caller, plain_token
from waypost.telemetry.stats import Stats

CONTENT_TYPE_CHARS_MAX = 128
_METHODS = {b"GET": "GET", b"POST": "POST"}


class Postbacks:
    """The desk that takes calls."""

    def __init__(self, *, time: DoorTime, commit: GroupCommit, answers: Answers, stats: Stats) -> None:
        self._time = time
        self._commit = commit
        self._answers = answers
        self._stats = stats
        self._fallbacks = tuple(partial(self._unavailable, mode) for mode in (KEEP, CLOSE, KEEP_1_0))

    def take(self, connection: Connection, shelf: Shelf, path_token: bytes, query: bytes, *, test: bool) -> str:
        """Answers with a receipt once the call is durable; or answers nothing and says why it is refused: a code."""
        headers = connection.headers
        body = connection.body
        content_type = ""
        if headers and (kind := headers.get(b"content-type")):
            content_type = kind.decode("latin-1")[:CONTENT_TYPE_CHARS_MAX]
        header_token = headers.get(b"waypost-token", b"") if headers else b""
        caller: Caller | None = None
        if not path_token and not header_token:
            caller = shelf.callers.get(plain_token(query))
        if caller is None:
            caller = shelf.caller(path_token, query, header_token, body, content_type)
            if caller.code:
                return caller.code
        if self._commit.is_full:
            self._stats.values["door_unavailable"] += 1
            connection.respond(self._answers.error("journal_unavailable", connection.mode))
            return ""
        receipt = self._time.next_receipt()
        frame = encode_frame(
            PostbackIn(
                receipt,
                receipt >> 22,
                self._time.door,
                caller.partition,
                caller.advertiser,
                caller.auth,
                shelf.version,
                _METHODS[connection.method],
                query,
                body,
                content_type,
                connection.address,
                test,
            )
        )
        mode = connection.mode
        response = self._answers.accepted["json"][mode] % receipt
        connection.wait()
        self._commit.add(connection, frame, response, self._fallbacks[mode], False)
        return ""

    def _unavailable(self, mode: int, code: str) -> bytes:
        self._stats.values["door_unavailable"] += 1
        return self._answers.error(code, mode)
