"""Judgement: from a case to its decision and all that follows from it.

Input: a resolved case, the conversion that has its identity, the caps' counters, `now_ms`.
Output: `Judgement`. Pure: counters and conversions are changed by the caller, from what is answered here.
Durable before: the call's frame. Never does: sends, stores, reads a clock.
"""

from collections.abc import Mapping

import msgspec

from waypost.catalog.model import Cap
from waypost.model.frames import Auth, Conversion, Decision, PostbackOut, Status, Verdict
from waypost.stages.attribution import credited
from waypost.stages.caps import counter_key
from waypost.stages.case import Case
from waypost.stages.checks import CheckLimits, Findings, run_checks
from waypost.stages.firing import fire
from waypost.stages.rules import RuleBook

_STATUSES: dict[str, Status] = {status.value: status for status in Status}
# Names of their own: to find an enum's member takes long, and this is done for each call.
_NEW, _UPDATED, _DUPLICATE, _REFUSED = Verdict.NEW, Verdict.UPDATED, Verdict.DUPLICATE, Verdict.REFUSED
_APPROVED, _DECLINED, _BROWSER = Status.APPROVED, Status.DECLINED, Auth.BROWSER


class Judgement(msgspec.Struct, frozen=True, gc=False):
    """`conversion` is the whole new state (None: unchanged); `is_new` tells creation from update.

    `firsts` are the keys of rules that fire once a click, and did so now; `held_back` counts postbacks that a share
    leaves behind.
    """

    decision: Decision
    conversion: Conversion | None
    is_new: bool
    postbacks: tuple[PostbackOut, ...]
    caps: Mapping[str, int]
    firsts: tuple[int, ...] = ()
    held_back: int = 0


_NO_CAPS: Mapping[str, int] = {}


def judge(case: Case, counters: Mapping[str, int], limits: CheckLimits, catalog: int, rules: RuleBook) -> Judgement:
    """The verdict on one case and its consequences; `rules` are those of the catalog version `catalog`."""
    uses = _caps_used(case)
    case.cap_used_up = _cap_used_up(uses, counters) if uses else None
    findings = run_checks(case, limits)
    decision = _decision(case, findings, limits.now_ms, catalog)
    if case.repeats:
        return _repeated(case, decision, rules)
    if findings.code:
        decision.verdict, decision.code = _REFUSED, findings.code
        fired = fire(case, decision, None, rules)
        return Judgement(decision, None, False, fired.postbacks, _NO_CAPS, fired.firsts, fired.held_back)
    if case.existing is None:
        conversion = _created(case, decision, findings, uses)
        caps = dict(conversion.caps) if conversion.caps else _NO_CAPS
    else:
        changed = _updated(case, case.existing, decision, uses)
        if changed is None:
            decision.verdict, decision.code = _DUPLICATE, "duplicate"
            fire(case, decision, None, rules)
            return Judgement(decision, None, False, (), _NO_CAPS)
        conversion = changed
        caps = _cap_changes(case.existing, conversion)
    _describe(decision, conversion)
    fired = fire(case, decision, conversion, rules)
    if fired.postbacks:
        conversion.postbacks += len(fired.postbacks)
        conversion.told = fired.told
    is_new = case.existing is None
    return Judgement(decision, conversion, is_new, fired.postbacks, caps, fired.firsts, fired.held_back)


def _repeated(case: Case, decision: Decision, rules: RuleBook) -> Judgement:
    """The verdict on a call whose idempotency key was used before: no effect, whatever it says."""
    if case.existing is not None:
        _describe(decision, case.existing)
    decision.verdict, decision.code = _DUPLICATE, "repeated_key"
    decision.details = {**decision.details, "idempotency_key": case.repeats}
    fire(case, decision, None, rules)
    return Judgement(decision, None, False, (), _NO_CAPS)


def set_aside(case: Case, code: str, error: str, raw: bytes, now_ms: int, catalog: int) -> Decision:
    """The decision on an item that could not be judged: kept with its bytes and its error."""
    decision = Decision(
        case.where.source, case.where.position, case.frame.receipt, case.frame.at_ms, now_ms, Verdict.SET_ASIDE
    )
    decision.code = code
    decision.details = {"error": error}
    decision.raw = raw
    decision.partition = case.frame.partition
    decision.catalog = catalog
    decision.test = case.frame.test
    return decision


def _decision(case: Case, findings: Findings, now_ms: int, catalog: int) -> Decision:
    route = credited(case)
    click = case.click_id
    existing = case.existing
    # By position: a struct's keywords would cost more than all its checks.
    return Decision(
        case.where.source,
        case.where.position,
        case.frame.receipt,
        case.frame.at_ms,
        now_ms,
        _REFUSED,
        "",  # code
        findings.letters,
        findings.details,
        case.partition,
        case.advertiser.no if case.advertiser is not None else 0,
        case.offer.no if case.offer is not None else 0,
        case.goal.name if case.goal is not None else case.call.values.get("goal", ""),
        route.partner if route is not None else 0,
        click.route if click is not None else 0,
        case.click_text,
        click.ms if click is not None else 0,
        click.door if click is not None else 0,
        click.seq if click is not None else 0,
        case.call.values.get("txn_id", ""),
        existing.receipt if existing is not None else 0,
        existing.status if existing is not None else "",
        case.status,
        case.order.money,
        case.revenue,
        case.reported.money,
        case.payout,
        catalog,
        case.terms_catalog,
        (),  # rules
        case.test,
        case.parked_ms,
    )


def _created(case: Case, decision: Decision, findings: Findings, uses: tuple[tuple[str, Cap], ...]) -> Conversion:
    assert case.goal is not None and case.offer is not None and case.click_id is not None
    status = _STATUSES[case.status]
    if findings.review and status is _APPROVED:
        status = Status.PENDING
    decision.verdict = _NEW
    counted = tuple([(key, 1) for key, _ in uses]) if status is not _DECLINED else ()
    return Conversion(
        case.frame.receipt,
        case.identity,
        case.partition,
        status,
        case.click_id.ms,
        case.click_id.door,
        case.click_id.seq,
        case.click_id.route,
        case.offer.advertiser,
        case.offer.no,
        case.goal.name,
        decision.partner,
        decision.txn_id,
        case.order.money,
        case.revenue,
        case.reported.money,
        case.payout,
        case.terms_catalog,
        decision.decided_ms,
        decision.decided_ms,
        0,  # postbacks
        counted,
        case.test,
        case.is_unconfirmed,
    )


def _updated(case: Case, known: Conversion, decision: Decision, uses: tuple[tuple[str, Cap], ...]) -> Conversion | None:
    """The conversion as the call changes it; None if it changes nothing. What the call does not say stays."""
    if case.frame.auth is _BROWSER:  # a page's report never changes what is there
        _describe(decision, known)
        return None
    changed = msgspec.structs.replace(known, updated_ms=decision.decided_ms, unconfirmed=False)
    if case.call.values.get("status") or known.unconfirmed:
        changed.status = _STATUSES[case.status]
    if case.order.money is not None:
        changed.sum = case.order.money
    if case.reported.money is not None:
        changed.reported = case.reported.money
    if changed.sum != known.sum or changed.reported != known.reported:
        changed.payout = case.payout if case.payout is not None else known.payout
        changed.revenue = case.revenue if case.revenue is not None else known.revenue
    same = (changed.status, changed.sum, changed.reported) == (known.status, known.sum, known.reported)
    if same and not known.unconfirmed:
        _describe(decision, known)
        return None
    if changed.status is _DECLINED:
        changed.caps = ()
    elif known.status is _DECLINED or known.unconfirmed:
        changed.caps = tuple((key, 1) for key, _ in uses)
    decision.verdict = _UPDATED
    return changed


def _describe(decision: Decision, conversion: Conversion) -> None:
    decision.conversion = conversion.receipt
    decision.status = conversion.status
    decision.sum = conversion.sum
    decision.revenue = conversion.revenue
    decision.reported = conversion.reported
    decision.payout = conversion.payout


def _caps_used(case: Case) -> tuple[tuple[str, Cap], ...]:
    """The counters that this call would add to: none for tests, and none where it does not begin to count."""
    if case.test or case.batch_offer is None or not case.batch_offer.caps or case.goal is None:
        return ()
    if case.is_unconfirmed:  # or pages could use up a cap; it counts when the server confirms it
        return ()
    if case.existing is not None and case.existing.unconfirmed:
        return () if case.status == "declined" else _counters_of(case.batch_offer.caps, case.frame.at_ms)
    if case.existing is not None and (
        case.existing.status is not _DECLINED or case.status == "declined" or not case.call.values.get("status")
    ):
        return ()
    if case.existing is None and case.status == "declined":
        return ()
    return _counters_of(case.batch_offer.caps, case.frame.at_ms)


def _counters_of(caps: tuple[Cap, ...], at_ms: int) -> tuple[tuple[str, Cap], ...]:
    return tuple([(counter_key(cap, at_ms), cap) for cap in caps])


def _cap_used_up(uses: tuple[tuple[str, Cap], ...], counters: Mapping[str, int]) -> str:
    for key, cap in uses:
        counted = counters.get(key, 0)
        if counted >= cap.limit:
            return f"{counted} of {cap.limit} {cap.count} per {cap.per} are used ({key.rpartition('@')[2]})"
    return ""


def _cap_changes(before: Conversion, after: Conversion) -> Mapping[str, int]:
    if before.caps == after.caps:
        return _NO_CAPS
    changes: dict[str, int] = {}
    for key, counted in after.caps:
        changes[key] = changes.get(key, 0) + counted
    for key, counted in before.caps:
        changes[key] = changes.get(key, 0) - counted
    return changes
