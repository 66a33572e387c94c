"""Many calls at once, whatever way they came: each gets its frame and receipt, or its refusal.

Owns: what is alike for JSON lines (`batches.py`) and the stream (`stream.py`). Notes refusals. Never parses a call, and
never answers: the frames of one request go into one commit, behind which its caller writes the answer.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias
from urllib.parse import quote

from waypost.doors.postbacks import Postbacks, is_alike, is_body_signed_alone
from waypost.doors.refusals import Notes, Refused
from waypost.doors.shelf import Shelf
from waypost.errors import ERRORS
from waypost.model.frames import Auth
from waypost.stages.call_auth import Arrival, Caller
from waypost.telemetry.stats import Stats

Entry: TypeAlias = tuple[Caller, bytes, bytes, bytes]
"""One call: who sends it (or with `code`, why it is refused), its idempotency key, query and body."""

Outcome: TypeAlias = int | Caller
"""A receipt, or the refusal."""


class Way(NamedTuple):
    """How a request's calls came; `url` is what is noted with a refusal."""

    origin: str
    content_type: str
    address: str
    url: bytes
    test: bool = False


class Bulk:
    """See the module. On the loop only."""

    def __init__(self, postbacks: Postbacks, refusals: Notes, stats: Stats) -> None:
        self._postbacks = postbacks
        self._refusals = refusals
        self._stats = stats

    def enter(self, shelf: Shelf, entries: Sequence[Entry], way: Way) -> tuple[list[bytes], list[Outcome]]:
        """The frames of the accepted calls, and what becomes of each call, in their order."""
        origin, content_type, address, _, test = way
        sender = entries[0][0] if entries else None
        if sender is not None and is_alike(sender):  # and nearly every request is one sender's calls without keys
            calls = [(query, body) for caller, key, query, body in entries if caller is sender and not key]
            if len(calls) == len(entries):
                receipts = self._postbacks.receipts(len(calls))
                frames = self._postbacks.frames(shelf, sender, receipts, calls, content_type, address, test, origin)
                return frames, list(receipts)
        receipt_of, frame_of = self._postbacks.receipt, self._postbacks.frame
        frames = []
        outcomes: list[Outcome] = []
        for nth, (caller, key, query, body) in enumerate(entries, 1):
            if caller.code:
                outcomes.append(self._refused(shelf, caller, nth, query, body, way))
                continue
            receipt = receipt_of(caller, key, test=test)
            outcomes.append(receipt)
            keyed = bool(key)
            frames.append(
                frame_of(
                    shelf,
                    caller,
                    receipt,
                    b"POST",
                    query,
                    body,
                    content_type,
                    address,
                    test,
                    keyed=keyed,
                    origin=origin,
                )
            )
        return frames, outcomes

    def by_token(self, shelf: Shelf, token: bytes, address: str, *, test: bool) -> Caller:
        """Whose call it is that carries this token; `code` says why it is refused."""
        caller = shelf.callers.get(token)
        if caller is not None and caller.gate is None:
            return caller
        return self.by_query(shelf, b"token=" + quote(token).encode(), address, test=test)

    def by_query(self, shelf: Shelf, query: bytes, address: str, *, test: bool) -> Caller:
        """The same, of a call that has these parameters and no other place for a token."""
        return self._postbacks.identify(shelf, Arrival(b"POST", b"/postbacks", query, address=address, test=test))

    def _refused(self, shelf: Shelf, caller: Caller, nth: int, query: bytes, body: bytes, way: Way) -> Outcome:
        """Notes a refusal; answers a receipt that no call has, where the sender is not to be told."""
        self._stats.values["door_refused"] += 1
        outcome: Outcome = self._postbacks.receipt(caller, b"") if caller.hides else caller
        detail = f"call {nth} of its request" + (f": {caller.detail}" if caller.detail else "")
        url = way.url + (b"?" + query if query and b"?" not in way.url else b"")
        detail += ", answered as if accepted" if caller.hides else ""
        advertiser = shelf.name_of(caller.advertiser)
        self._refusals.note(Refused(way.address, caller.code, b"POST", url, detail, body, advertiser))
        return outcome


def key_of_item(caller: Caller, key: bytes) -> bytes:
    """The idempotency key that counts: none where nobody knows yet whose call it is, nor where it is not signed."""
    if not key or caller.auth is Auth.DEFERRED or is_body_signed_alone(caller):
        return b""
    return b"key " + key


def message_of(refusal: Caller) -> str:
    """What a refused call's sender is told."""
    spec = ERRORS[refusal.code]
    return f"{refusal.detail or spec.meaning}; {spec.remedy}"
