"""What an attempt's end means for its postback: delivered, tried again and when, or given up. Pure.

Owns: which answers are final, the pause before the next attempt, its jitter. Reads and writes nothing; the same
input always gives the same answer (the jitter is a hash of the postback's id and the attempt's number).

Which answers are final follows the field. Senders of webhooks and postbacks repeat every answer that is no 2xx, 4xx
included: a wrong path, an expired token or a template that the partner's release no longer knows is repaired within
hours, and what was given up by then is money lost. Only 410 ends it at once, as Standard Webhooks has it: the
receiver says that it is gone for good. A redirect is a failure: it is not followed, and is tried again. A rule may say
otherwise: what counts as a delivery, and which statuses are final (`success`, `give_up`). So may a partner's
`delivery`: which statuses are tried again at all (`retry_on`), and for how long (`retry_age`).

Attempts that are excused, because no partner was to blame, are not counted: neither for the end nor for the pause.
"""

from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import IntEnum
from hashlib import blake2b
from typing import NamedTuple

from waypost.catalog.model import Success
from waypost.errors import ERRORS
from waypost.model.frames import SendResult
from waypost.stages.answers import is_among, refusal

ANY_2XX = Success()  # what counts where a rule says nothing


class RetryPolicy(NamedTuple):
    """Pauses before the 2nd, 3rd, … attempt, and the share by which each is stretched or shortened at most; what else
    ends it: age since the first attempt (0: none) and statuses that are final (all but `statuses`, where any is named).
    A partner may ask for a longer pause, but gets no more than `retry_after_max_ms`."""

    schedule_ms: Sequence[int]
    jitter: float
    age_ms: int = 0
    statuses: Sequence[tuple[int, int]] = ()
    retry_after_max_ms: int = 6 * 3600 * 1000


class Judgement(NamedTuple):
    """`code` is empty for what was delivered; `due_ms` is set where the result is RETRY. `note` says what else stood
    behind it, where that cannot be seen from the answer."""

    result: SendResult
    code: str
    due_ms: int
    note: str = ""


DELIVERED = Judgement(SendResult.DELIVERED, "", 0)


class Blame(IntEnum):
    """Whose fault a failed attempt is."""

    NOBODY = 0  # it says nothing of the partner: nothing was sent
    POSTBACK = 1  # the partner works, and does not want this one
    PARTNER = 2
    BUSY = 3  # the partner says that it has too much to do


_NOT_SENT = frozenset({"render_failed", "render_bad_url", "render_bad_header", "template_missing", "auth_secret"})
_BUSY = frozenset({429, 503})
_PARTNERS = frozenset({401, 403, 408})  # of 4xx, these say something of all postbacks


def blame_of(code: str, status: int) -> Blame:
    """Whose fault an attempt is that failed with this code, `status` being 0 where no HTTP answer came whole."""
    if code in _NOT_SENT:
        return Blame.NOBODY
    if not status:
        return Blame.PARTNER
    if status in _BUSY:
        return Blame.BUSY
    return Blame.PARTNER if status >= 500 or status in _PARTNERS else Blame.POSTBACK


class Tried(NamedTuple):
    """The attempt that is judged: of which postback, its number from 1, how many up to it are excused, and when the
    first one was begun."""

    id: str
    attempt: int
    excused: int = 0
    first_ms: int = 0


def judge(
    *,
    code: str,
    status: int,
    retry_after: str,
    tried: Tried,
    now_ms: int,
    policy: RetryPolicy,
    success: Success = ANY_2XX,
    body: bytes = b"",
) -> Judgement:
    """What one attempt means. `code` is empty when an HTTP answer came whole, else a code of `errors.py`;
    `retry_after` is that header's value, or empty; `body` is the answer's."""
    if not code:
        code = "" if success is ANY_2XX and 200 <= status < 300 else refusal(success, status, body)
        if not code:
            return DELIVERED
        if code == "http_status" and policy.statuses and not is_among(status, policy.statuses):
            return Judgement(SendResult.GIVEN_UP, code, 0, f"{status} is not among `retry_on`")
    return failed(code, retry_after=retry_after, tried=tried, now_ms=now_ms, policy=policy)


def failed(code: str, *, retry_after: str, tried: Tried, now_ms: int, policy: RetryPolicy) -> Judgement:
    """What an attempt means that failed with this code."""
    counted = tried.attempt - tried.excused
    if not ERRORS[code].retriable or counted > len(policy.schedule_ms):
        return Judgement(SendResult.GIVEN_UP, code, 0)
    wanted_ms = retry_after_ms(retry_after, now_ms)
    note = ""
    if wanted_ms > policy.retry_after_max_ms:
        note = f"Retry-After of {wanted_ms // 1000} s cut to {policy.retry_after_max_ms // 1000} s"
        wanted_ms = policy.retry_after_max_ms
    due_ms = now_ms + max(pause_before_ms(tried.id, max(1, counted), policy), wanted_ms)
    if policy.age_ms and due_ms > (tried.first_ms or now_ms) + policy.age_ms:
        return Judgement(SendResult.GIVEN_UP, code, 0, f"older than `retry_age` ({policy.age_ms // 1000} s) by then")
    return Judgement(SendResult.RETRY, code, due_ms, note)


def pause_before_ms(id: str, attempt: int, policy: RetryPolicy) -> int:
    """The pause after attempt number `attempt`: the schedule's, times 1 ± jitter."""
    share = int.from_bytes(blake2b(f"{id} {attempt}".encode(), digest_size=4).digest()) / 0xFFFFFFFF
    return round(policy.schedule_ms[attempt - 1] * (1 + policy.jitter * (2 * share - 1)))


def retry_after_ms(text: str, now_ms: int) -> int:
    """A Retry-After header's pause: seconds or an HTTP date (RFC 9110, 10.2.3); 0 for anything else."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return int(text[:12]) * 1000
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return 0
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0, int(date.timestamp() * 1000) - now_ms)
