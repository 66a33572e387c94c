"""What an attempt's end means for its postback: delivered, tried again and when, or given up. Pure.

Owns: which answers are final, the pause before the next attempt, its jitter. Reads and writes nothing; the same
input always gives the same answer (the jitter is a hash of the postback's id and the attempt's number).

Which answers are final follows the field. Senders of webhooks and postbacks repeat every answer that is no 2xx, 4xx
included: a wrong path, an expired token or a template that the partner's release no longer knows is repaired within
hours, and what was given up by then is money lost. Only 410 ends it at once, as Standard Webhooks has it: the
receiver says that it is gone for good. A redirect is a failure: it is not followed, and is tried again. A rule may say
otherwise: what counts as a delivery, and which statuses are final (`success`, `give_up`).
"""

from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from typing import NamedTuple

from waypost.catalog.model import Success
from waypost.errors import ERRORS
from waypost.model.frames import SendResult
from waypost.stages.answers import refusal

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
    """`code` is empty for what was delivered; `due_ms` is set where the result is RETRY."""

    result: SendResult
    code: str
    due_ms: int


DELIVERED = Judgement(SendResult.DELIVERED, "", 0)


def judge(
    *,
    code: str,
    status: int,
    retry_after: str,
    id: str,
    attempt: int,
    now_ms: int,
    policy: RetryPolicy,
    success: Success = ANY_2XX,
    body: bytes = b"",
) -> Judgement:
    """What one attempt means. `code` is empty when an HTTP answer came whole, else a code of `errors.py`;
    `attempt` counts from 1; `retry_after` is that header's value, or empty; `body` is the answer's."""
    if not code:
        code = "" if success is ANY_2XX and 200 <= status < 300 else refusal(success, status, body)
        if not code:
            return DELIVERED
    return failed(code, retry_after=retry_after, id=id, attempt=attempt, now_ms=now_ms, policy=policy)


def failed(code: str, *, retry_after: str, id: str, attempt: int, now_ms: int, policy: RetryPolicy) -> Judgement:
    """What an attempt means that failed with this code."""
    if not ERRORS[code].retriable or attempt > len(policy.schedule_ms):
        return Judgement(SendResult.GIVEN_UP, code, 0)
    pause_ms = max(
        pause_before_ms(id, attempt, policy),
        min(retry_after_ms(retry_after, now_ms), policy.retry_after_max_ms),
    )
    return Judgement(SendResult.RETRY, code, now_ms + pause_ms)


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
