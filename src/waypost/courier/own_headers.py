"""The headers that Waypost adds to a request: which postback it is, which attempt, and why.

Owns: their names, and which of them a partner gets. Reads nothing but what it is given. Never what proves who sends.

Their ids are those of the postback or batch, the same at every attempt and resend. `all` is what Waypost says of
itself, and `Idempotency-Key` where the method is none that HTTP lets anybody repeat: a GET postback stays short.
`standard` has the names that others know too, and `none` leaves all of it to the rule.
"""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import NamedTuple

from waypost.model.frames import AttemptReason, PostbackOut

_SAFE = frozenset({"GET", "HEAD"})
_KEY, _WEBHOOK = "Idempotency-Key", "webhook-id"
_FIRST_ATTEMPT = ("Waypost-Attempt", "1")


class IdHeaders(NamedTuple):
    """Under which names a rule's requests carry their id, beside `Waypost-Id`; by what the partner gets."""

    all: tuple[str, ...]
    standard: tuple[str, ...]


def id_headers(method: str, own: Collection[str], *, signs_webhooks: bool) -> IdHeaders:
    """`own` are the names of the rule's headers: what it says itself is not said again."""
    taken = {name.lower() for name in own} | ({_WEBHOOK} if signs_webhooks else set())
    standard = tuple(name for name in (_KEY, _WEBHOOK) if name.lower() not in taken)
    return IdHeaders(standard[:1] if method not in _SAFE and _KEY in standard else (), standard)


class OwnHeaders:
    """Used by one thread. Remembers the last time that it has written out."""

    def __init__(self) -> None:
        self._begun = (-1, ("Waypost-First-Attempt", ""))  # that header, for the time before it

    def of(
        self,
        id: str,
        post: PostbackOut,
        ids: IdHeaders,
        style: str,
        *,
        attempt: int,
        reason: AttemptReason,
        first_ms: int,
        count: int = 0,
    ) -> list[tuple[str, str]]:
        """For one attempt; `count` is that of a batch's items, of which `post` is the first; `style` is the catalog's
        `delivery.headers`."""
        if style != "all":
            return [(name, id) for name in ids.standard] if style == "standard" else []
        if self._begun[0] != first_ms:
            self._begun = (first_ms, ("Waypost-First-Attempt", time_text(first_ms)))
        headers = [("Waypost-Id", id), _FIRST_ATTEMPT, self._begun[1]]
        if attempt > 1:
            headers[1] = ("Waypost-Attempt", str(attempt))
            headers.append(("Waypost-Repeat", "1"))
            headers.append(("Waypost-Repeat-Reason", reason.value))
        for name in ids.all:
            headers.append((name, id))
        if post.corrects and not count:  # in a batch each item says it, by `{corrects}`
            headers.append(("Waypost-Corrects", post.corrects))
        if count:
            headers.append(("Waypost-Batch", str(count)))
        if post.test:
            headers.append(("Waypost-Test", "1"))
        return headers


def time_text(ms: int) -> str:
    """A Unix time in milliseconds as RFC 3339 in UTC, e.g. `2026-01-31T23:59:59.250Z`."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
