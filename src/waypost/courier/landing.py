"""What an ended request means: its frame for the journal, and an outcome for each postback that it carried.

Owns: the way from a report to an `Attempt`. Reads nothing and writes nothing; the courier journals it. Never decides
when something is sent, only when it is due again. What must not be shown is taken out of everything that is kept.
"""

from typing import NamedTuple

import msgspec

from waypost.courier.policies import Policies
from waypost.courier.render import CompiledRule, redacted
from waypost.courier.schedule import Bundle, Lane, Waiting
from waypost.courier.secrets import without, without_in_body
from waypost.courier.tokens import Key, Tokens
from waypost.model.frames import Attempt, AttemptReason, Outcome, SendResult
from waypost.model.wire import encode_frame
from waypost.ports.sender import SendReport
from waypost.stages.answers import item_answers
from waypost.stages.lanes import ANY_2XX, Judgement, RetryPolicy, Tried, failed, judge

_UNAUTHORIZED = 401
_DELIVERED = SendResult.DELIVERED  # a name of its own: to find an enum's member takes long


class Special(NamedTuple):
    """What a flight has beyond a plain request. `ids` are what the answer may call the items of a batch."""

    rule: CompiledRule
    hidden: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    key: Key | None = None  # whose OAuth token it carries …
    token: str = ""  # … and which


class Flight(msgspec.Struct, frozen=True, gc=False):
    """An attempt between its intent and its report."""

    lane: Lane
    item: Waiting | Bundle
    attempt: int
    reason: AttemptReason
    at_ms: int
    method: str
    url: str
    special: Special | None = None


class Landed(msgspec.Struct, frozen=True, gc=False):
    """An attempt that ended: its frame for the journal and what it means for the lane."""

    lane: Lane
    frame: bytes
    outcomes: tuple[Outcome, ...]
    rank: int = 0  # the queue of its lane


def land(
    report: SendReport,
    flight: Flight,
    now_ms: int,
    policies: Policies,
    kept_max: int,
    tokens: Tokens,
    is_excused: bool = False,
) -> Landed:
    """What became of one flight; `kept_max` bounds how much of the answer is kept. An excused one is due again at once,
    and does not count."""
    item, special = flight.item, flight.special
    post = item.post
    url, detail, body = flight.url, report.detail, report.body
    if is_excused:
        items = item.items if isinstance(item, Bundle) else (item,)
        outcomes = tuple(
            Outcome(one.post.id, one.seq, flight.attempt, SendResult.RETRY, report.code, now_ms, counted=False)
            for one in items
        )
    elif special is None and not report.code and 200 <= report.status < 300:
        outcomes = (Outcome(post.id, item.seq, flight.attempt, _DELIVERED),)
    elif special is None:
        judgement = judge(
            code=report.code,
            status=report.status,
            retry_after=report.retry_after,
            tried=_tried(flight, item),
            now_ms=now_ms,
            policy=policies.of(post.lane).retry,
        )
        detail = _noted(detail, judgement)
        outcomes = (Outcome(post.id, item.seq, flight.attempt, *judgement[:3]),)
    else:
        outcomes, judgement = _special_outcomes(report, flight, special, now_ms, policies.of(post.lane).retry, tokens)
        detail = _noted(detail, judgement)
    if special is not None:
        body = without_in_body(body[:kept_max], special.hidden)
        url, detail = without(url, special.hidden), without(detail, special.hidden)
    attempt = Attempt(
        post.lane,
        post.partner,
        flight.at_ms,
        flight.reason,
        flight.method,
        redacted(url),
        outcomes,
        report.status,
        report.address,
        report.code,
        detail,
        report.dns_us,
        report.connect_us,
        report.tls_us,
        report.first_byte_us,
        report.total_us,
        report.reused,
        body,
        post.test,
    )
    return Landed(flight.lane, encode_frame(attempt), outcomes, flight.item.rank)


def _tried(flight: Flight, item: Waiting | Bundle) -> Tried:
    return Tried(item.post.id, flight.attempt, item.excused, item.first_ms or flight.at_ms)


def _noted(detail: str, judgement: Judgement) -> str:
    """The report's words, and those of the judgement."""
    return "; ".join(filter(None, (detail, judgement.note)))


def _special_outcomes(
    report: SendReport, flight: Flight, special: Special, now_ms: int, policy: RetryPolicy, tokens: Tokens
) -> tuple[tuple[Outcome, ...], Judgement]:
    """The outcome of each item, and what the answer means as a whole."""
    item = flight.item
    success = special.rule.success
    judgement = judge(
        code=report.code,
        status=report.status,
        retry_after=report.retry_after,
        tried=_tried(flight, item),
        now_ms=now_ms,
        policy=policy,
        success=success if success is not None else ANY_2XX,
        body=report.body,
    )
    if special.key is not None and report.status == _UNAUTHORIZED and judgement.result is SendResult.RETRY:
        again = tokens.refused(special.key, special.token)
        judgement = Judgement(SendResult.RETRY, "token_rejected", now_ms if again else judgement.due_ms)
    if isinstance(item, Waiting):
        return (Outcome(item.post.id, item.seq, flight.attempt, *judgement[:3]),), judgement
    if judgement.result is not SendResult.DELIVERED or special.rule.batch is None:
        return tuple(Outcome(one.post.id, one.seq, flight.attempt, *judgement[:3]) for one in item.items), judgement
    codes = item_answers(special.rule.batch.batch, report.body, special.ids)
    outcomes = []
    for one, code in zip(item.items, codes, strict=True):
        verdict = judgement
        if code:
            verdict = failed(code, retry_after="", tried=_tried(flight, one), now_ms=now_ms, policy=policy)
        outcomes.append(Outcome(one.post.id, one.seq, flight.attempt, *verdict[:3]))
    return tuple(outcomes), judgement
