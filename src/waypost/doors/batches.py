"""`POST /postbacks`: many calls in one body, as JSON lines or as a JSON array, each answered in its place.

Owns: where one call ends and the next begins, and the form of the answer. All calls of a body that are accepted become
durable in one commit, before the answer; if that fails, all are answered 503. Of each call only that is read which a
door must know: that it is a JSON object, its token and its idempotency key. What it says is for the pipeline to judge.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import urlencode

import msgspec

from waypost.doors.answers import Answers
from waypost.doors.bulk import Bulk, Entry, Outcome, Way, key_of_item, message_of
from waypost.doors.commit import GroupCommit
from waypost.doors.encodings import decoded
from waypost.doors.postbacks import key_of
from waypost.doors.protocol import Connection
from waypost.doors.shelf import Shelf
from waypost.errors import WaypostError
from waypost.model.frames import Auth
from waypost.model.partition import NO_PARTITION
from waypost.settings import DoorSettings
from waypost.stages.call_auth import Caller
from waypost.telemetry.stats import Stats

JSON, LINES = "application/json", "application/x-ndjson"
_ACCEPTED = b'{"status":1,"receipt":"r%016x"}'


class _Known(msgspec.Struct):
    """What is read of a call whose sender is known."""

    idempotency_key: str | int | None = None


class _Unknown(msgspec.Struct):
    """What is read of a call that carries its own token."""

    idempotency_key: str | int | None = None
    token: str | int | None = None


_read_known = msgspec.json.Decoder(_Known).decode
_read_unknown = msgspec.json.Decoder(_Unknown).decode
_read_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def bad_line(code: str, detail: str = "") -> Caller:
    """A call that cannot be read."""
    return Caller(Auth.DEFERRED, 0, NO_PARTITION, code, detail=detail)


_NOT_JSON = bad_line("bad_line")
_TOO_LONG = bad_line("line_too_long")


class Batches:
    """The desk that takes them."""

    def __init__(
        self, *, bulk: Bulk, commit: GroupCommit, answers: Answers, stats: Stats, settings: DoorSettings
    ) -> None:
        self._bulk = bulk
        self._commit = commit
        self._answers = answers
        self._stats = stats
        self._settings = settings

    def take(self, connection: Connection, shelf: Shelf, sender: Caller, query: bytes, *, test: bool) -> None:
        """Answers each call of the body. `sender` is whose token came with the request, or `DEFERRED`: then each call
        has its own; with `code`, it is refused without being told.

        Raises WaypostError for a body that cannot be read as a whole, `journal_unavailable` if no more may wait.
        """
        headers, mode = connection.headers, connection.mode
        settings = self._settings
        body = decoded(connection.body, headers.get(b"content-encoding", b""), settings.batch_decoded_bytes_max)
        lines, is_array = split(body, headers.get(b"content-type", b""))
        if len(lines) > settings.batch_lines_max:
            raise WaypostError("batch_too_large", f"a request may have {settings.batch_lines_max} calls")
        if self._commit.is_full:
            raise WaypostError("journal_unavailable")
        url = connection.url.partition(b"?")[0] if sender.auth is Auth.DEFERRED else connection.url
        way = Way("lines", JSON, connection.address, url, test)
        batch_key = key_of(sender, headers, query, b"", JSON)
        entries = list(self._entries(shelf, sender, lines, query, batch_key, way))
        frames, outcomes = self._bulk.enter(shelf, entries, way)
        self._stats.values["door_batches"] += 1
        connection.is_known = connection.is_known or (bool(frames) and entries[0][0].auth is not Auth.DEFERRED)
        text = answer_of(outcomes, is_array=is_array)
        response = self._answers.document(text, JSON if is_array else LINES, mode)
        connection.wait()
        if frames:
            self._commit.add_many(connection, frames, response, partial(self._unavailable, mode))
        elif any(isinstance(outcome, int) for outcome in outcomes):  # refused, and not told: answered like the others
            self._commit.add_alike(connection, response, partial(self._unavailable, mode))
        else:
            self._commit.add_behind(connection, response)

    def _entries(
        self, shelf: Shelf, sender: Caller, lines: list[Any], query: bytes, batch_key: bytes, way: Way
    ) -> Iterator[Entry]:
        bytes_max = self._settings.line_bytes_max
        is_known = sender.auth is not Auth.DEFERRED or bool(sender.code)
        read = _read_known if is_known else _read_unknown
        for nth, raw in enumerate(lines, 1):
            line = bytes(raw)
            if len(line) > bytes_max:
                yield _TOO_LONG, b"", b"", line[:bytes_max]
                continue
            try:
                found = read(line)
                caller = sender if is_known else self._caller_of(shelf, found, line, way)
            except (msgspec.DecodeError, RecursionError, UnicodeError):  # values that nobody asked for count too
                yield _NOT_JSON, b"", b"", line
                continue
            key = b""
            if (stated := found.idempotency_key) is not None and stated != "":
                key = key_of_item(caller, str(stated).encode("utf-8", "replace"))
            if not key and batch_key:
                key = b"%b #%d" % (batch_key, nth)
            yield caller, key, query, line

    def _caller_of(self, shelf: Shelf, found: _Known | _Unknown, line: bytes, way: Way) -> Caller:
        assert isinstance(found, _Unknown)
        if found.token is not None:
            token = str(found.token).encode("utf-8", "replace")
            return self._bulk.by_token(shelf, token, way.address, test=way.test)
        texts = {name: value for name, value in msgspec.json.decode(line).items() if isinstance(value, str)}
        return self._bulk.by_query(shelf, urlencode(texts).encode(), way.address, test=way.test)

    def _unavailable(self, mode: int, code: str) -> bytes:
        self._stats.values["door_unavailable"] += 1
        return self._answers.error(code, mode)


def split(body: bytes, content_type: bytes) -> tuple[list[Any], bool]:
    """The calls of a body, undecoded, and whether it is an array; blank lines are none. Raises `batch_malformed`."""
    if content_type.partition(b";")[0].strip().lower() == b"application/json" and body.lstrip()[:1] == b"[":
        try:
            return _read_array(body), True
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise WaypostError("batch_malformed", f"the body is no JSON array: {error}") from error
    return [line for line in body.split(b"\n") if line and not line.isspace()], False


def answer_of(outcomes: list[Outcome], *, is_array: bool) -> bytes:
    """An answer for each call, in their order."""
    said: dict[tuple[str, str], bytes] = {}
    parts: list[bytes] = []
    for outcome in outcomes:
        if isinstance(outcome, int):
            parts.append(_ACCEPTED % outcome)
            continue
        key = (outcome.code, outcome.detail)
        if key not in said:
            said[key] = msgspec.json.encode({"status": 0, "error": outcome.code, "message": message_of(outcome)})
        parts.append(said[key])
    if is_array:
        return b"[" + b",".join(parts) + b"]"
    return b"\n".join(parts) + b"\n" if parts else b""
