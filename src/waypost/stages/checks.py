"""The checks: every reason why a call may be refused. All run on every call, and all results are kept.

Input: a `Case`, limits and `now_ms`. Output: a letter a check, details, the code of the first that
fails. Pure. The registry only grows at its end: stored decisions hold a letter for each, in this order.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple, TypeAlias

import msgspec

from waypost.model.frames import Auth
from waypost.model.ids import FLAG_UNRECORDED
from waypost.stages.case import Case

PASS = "p"
SKIP = "s"  # what the check needs is not there; `Check.needs` says what that is
Result: TypeAlias = str | tuple[str, str, str]  # the letter, with words and a code where it has any

# Names of their own: to find an enum's member takes longer than most checks do.
_TOKEN, _SIGNATURE, _BROWSER = Auth.TOKEN, Auth.SIGNATURE, Auth.BROWSER


def fail(detail: str, code: str = "") -> Result:
    """A failure in words; `code` where it is not the check's own."""
    return ("f", detail, code)


def skip(detail: str) -> Result:
    """A skip for a reason of its own."""
    return ("s", detail, "")


class CheckLimits(NamedTuple):
    """What settings and the batch give to checks."""

    now_ms: int
    click_window_ms: int
    sum_max: Decimal


class Check(NamedTuple):
    """`severity`: `refuse`, or `review` (sends a conversion to `pending`). `code` is given when it fails.

    A check is skipped where what it `needs` is not known or not there.
    """

    name: str
    code: str
    severity: str
    meaning: str
    needs: str
    judge: Callable[[Case, CheckLimits], Result]


class Findings(msgspec.Struct, frozen=True, gc=False):
    """`letters` in the registry's order; `code` of the first failing check that refuses, or empty."""

    letters: str
    details: dict[str, str]
    code: str
    review: bool


# What a status may become; staying what it is is no change.
UPDATES: dict[str, tuple[str, ...]] = {
    "pending": ("pending", "approved", "declined"),
    "approved": ("approved", "declined"),
    "declined": ("declined", "approved"),
    "hold": ("hold", "approved", "declined"),
}

# A macro that the sender's system did not fill in: the dialects in the wild.
_UNRESOLVED = re.compile(
    r"^(?:\{[^{}]*\}|\{\{[^{}]*\}\}|\[+[^\[\]]*\]+|#+[^#]+#+|%[^%\s]+%|<[^<>]*>|__\w+__|[$#]\{[^{}]*\}|replace)$",
    re.IGNORECASE,
)
_JUDGED = frozenset(("click_id", "goal", "status", "sum", "payout", "currency", "txn_id"))
_MARKS = frozenset("{[#%<_$rR")  # the first characters of those
_ZERO = Decimal(0)  # as a decimal: a comparison with an int has to make one


def _decodes(case: Case, limits: CheckLimits) -> Result:
    return fail(case.problem) if case.problem else PASS


def _token(case: Case, limits: CheckLimits) -> Result:
    if case.frame.auth is _TOKEN:
        return PASS
    if case.frame.auth is _BROWSER:
        return skip("a page reported it: pages have no secret, the door has checked their origin")
    if case.advertiser is not None or case.claim == "global":
        return PASS
    if case.claim == "address":
        return fail("the call carries no token, and its click's advertiser does not own its address")
    return fail("no advertiser has the call's token" if "token" in case.call.values else "the call carries no token")


def _advertiser_active(case: Case, limits: CheckLimits) -> Result:
    if case.advertiser is None:
        return SKIP
    return PASS if case.advertiser.active else fail(f"advertiser {case.advertiser.name} is not active")


def _macros_resolved(case: Case, limits: CheckLimits) -> Result:
    for name, value in case.call.values.items():
        if value[0] in _MARKS and name in _JUDGED and _UNRESOLVED.match(value):
            return fail(f"{name} arrived as {value[:60]}")
    return PASS


def _click_id_present(case: Case, limits: CheckLimits) -> Result:
    return PASS if case.click_text else fail("the call names no click")


def _click_id_authentic(case: Case, limits: CheckLimits) -> Result:
    if case.click_id is not None:
        return PASS
    return fail(f"'{case.click_text[:40]}' was not made here") if case.click_text else SKIP


def _click_found(case: Case, limits: CheckLimits) -> Result:
    if case.click is not None:
        return PASS
    if case.click_id is None:
        return SKIP
    if case.repeats:
        return skip("the call repeats another, and its click was not looked up")
    if case.click_id.flags & FLAG_UNRECORDED:
        return skip("the click was redirected while its journal was unavailable; its id says what is known")
    return fail("the click is in no journal that could hold it", case.final_code)


def _route_known(case: Case, limits: CheckLimits) -> Result:
    if case.click_id is None:
        return SKIP
    if case.route is not None and case.offer is not None:
        return PASS
    return fail(f"catalog version {case.terms_catalog} has no route {case.click_id.route}")


def _advertiser_matches(case: Case, limits: CheckLimits) -> Result:
    if case.advertiser is None or case.offer is None:
        return SKIP
    if case.offer.advertiser == case.advertiser.no:
        return PASS
    return fail(f"the click is for offer {case.offer.name}, which is not {case.advertiser.name}'s")


def _offer_active(case: Case, limits: CheckLimits) -> Result:
    if case.offer is None:
        return SKIP
    return PASS if case.offer.active else fail(f"offer {case.offer.name} was not active at the click")


def _partner_known(case: Case, limits: CheckLimits) -> Result:
    if case.route is None:
        return SKIP
    return PASS if case.partner is not None else fail("the partner is no longer in the catalog")


def _partner_active(case: Case, limits: CheckLimits) -> Result:
    if case.partner is None:
        return SKIP
    return PASS if case.partner.active else fail(f"partner {case.partner.name} is not active")


def _goal_known(case: Case, limits: CheckLimits) -> Result:
    if case.offer is None:
        return SKIP
    if case.goal is not None:
        return PASS
    name = case.call.values.get("goal", "")
    if not name:
        return fail(f"the call names no goal, and offer {case.offer.name} has several")
    newer = case.batch_offer is not None and any(goal.name == name for goal in case.batch_offer.goals)
    since = "; it came into the catalog after the click" if newer else ""
    return fail(f"offer {case.offer.name} had no goal '{name[:60]}' at the click{since}")


def _goal_active(case: Case, limits: CheckLimits) -> Result:
    if case.goal is None:
        return SKIP
    return PASS if case.goal.active else fail(f"goal {case.goal.name} was not active at the click")


def _click_age(case: Case, limits: CheckLimits) -> Result:
    if case.click_id is None:
        return SKIP
    window_ms = (case.offer.click_window_ms if case.offer is not None else 0) or limits.click_window_ms
    age_ms = case.frame.at_ms - case.click_id.ms
    if age_ms <= window_ms:
        return PASS
    return fail(f"the click was {age_ms // 1000} s old, the window is {window_ms // 1000} s")


def _time_order(case: Case, limits: CheckLimits) -> Result:
    if case.click_id is None:
        return SKIP
    # Doors keep clocks of their own: a second of difference is no sign of anything.
    if case.frame.at_ms >= case.click_id.ms - 1000:
        return PASS
    return fail(f"the call came {case.click_id.ms - case.frame.at_ms} ms before the click")


def _status_known(case: Case, limits: CheckLimits) -> Result:
    if case.goal is None:
        return SKIP
    if case.status == "ignored":
        return fail("the URL asks to leave this status alone", "status_ignored")
    if case.status:
        return PASS
    text = case.call.values.get("status", "")[:60]
    if "," in text:
        return fail(f"'{text}' is a list of statuses: the sender's URL was left as a template")
    return fail(f"neither the advertiser's map nor the URL explains status '{text}'")


def _sum_sane(case: Case, limits: CheckLimits) -> Result:
    money = case.order.money
    if case.order.problem:
        return fail(f"sum: {case.order.problem}")
    if money is None:
        return SKIP
    if money.amount < _ZERO:
        return fail(f"the sum is negative: {money}")
    return fail(f"the sum is over {limits.sum_max}: {money}") if money.amount > limits.sum_max else PASS


def _payout_sane(case: Case, limits: CheckLimits) -> Result:
    money = case.reported.money
    if case.reported.problem:
        return fail(f"payout: {case.reported.problem}")
    if money is None:
        return SKIP
    if money.amount < _ZERO:
        return fail(f"the reported payout is negative: {money}")
    return fail(f"the payout is over {limits.sum_max}: {money}") if money.amount > limits.sum_max else PASS


def _terms_met(case: Case, limits: CheckLimits) -> Result:
    if case.goal is None:
        return SKIP
    if case.payout is not None or case.existing is not None:
        return PASS
    base = "a payout" if case.goal.payout.kind == "share_of_reported" else "a sum"
    return fail(f"goal {case.goal.name} pays a share of {base}, and the call carries none")


def _same_click(case: Case, limits: CheckLimits) -> Result:
    if case.existing is None:
        return SKIP
    known = case.existing
    if (known.click_ms, known.click_door, known.click_seq) == case.click_key:
        return PASS
    return fail(f"transaction {known.txn_id[:60]} is already another click's conversion")


def _status_updatable(case: Case, limits: CheckLimits) -> Result:
    if case.existing is None:
        return SKIP
    before: str = case.existing.status
    is_stated = bool(case.call.values.get("status"))  # a call that names none leaves it as it is
    if not is_stated or not case.status or case.status in UPDATES[before]:
        return PASS
    return fail(f"{before} does not become {case.status}")


def _caps(case: Case, limits: CheckLimits) -> Result:
    if case.cap_used_up is None:
        return SKIP
    return fail(case.cap_used_up) if case.cap_used_up else PASS


def _signature(case: Case, limits: CheckLimits) -> Result:
    if case.advertiser is None or case.advertiser.signature is None:
        return SKIP
    if case.frame.auth is _BROWSER:
        return skip("a page reported it: pages cannot sign")
    if case.frame.auth in (_SIGNATURE, _TOKEN):  # the door has seen to it, by the catalog that it had
        return PASS
    return fail(f"calls of {case.advertiser.name} must be signed, and this one named it in its body only")


def _address(case: Case, limits: CheckLimits) -> Result:
    if not case.barred:
        return PASS
    return fail(f"{case.frame.ip or 'no address'} is not among the addresses that {case.barred} allows")


def _from_server(case: Case, limits: CheckLimits) -> Result:
    if case.frame.auth is not _BROWSER:
        return PASS
    if case.is_unconfirmed:
        return fail("a page reported it, and the advertiser's server has not confirmed it")
    return skip("a page reported it, which the catalog takes as approved")


def _offer_of_token(case: Case, limits: CheckLimits) -> Result:
    if not case.token_offer or case.offer is None:
        return SKIP
    if case.offer.no == case.token_offer:
        return PASS
    return fail(f"the token is another offer's, the click is for {case.offer.name}")


CHECKS: tuple[Check, ...] = (
    Check("decodes", "call_malformed", "refuse", "the body can be read", "", _decodes),
    Check("token", "bad_token", "refuse", "the call carries its advertiser's token", "", _token),
    Check(
        "advertiser_active",
        "advertiser_inactive",
        "refuse",
        "the advertiser is active",
        "the advertiser",
        _advertiser_active,
    ),
    Check("macros_resolved", "unresolved_macro", "refuse", "no value is a macro left in", "", _macros_resolved),
    Check("click_id_present", "click_id_missing", "refuse", "the call names a click", "", _click_id_present),
    Check(
        "click_id_authentic",
        "click_id_forged",
        "refuse",
        "the click id was made here",
        "a click id",
        _click_id_authentic,
    ),
    Check("click_found", "click_not_found", "refuse", "the click is recorded", "an authentic click id", _click_found),
    Check(
        "route_known",
        "route_unknown",
        "refuse",
        "the catalog at click time has the click's route",
        "an authentic click id",
        _route_known,
    ),
    Check(
        "advertiser_matches",
        "wrong_advertiser",
        "refuse",
        "the click is for this advertiser",
        "advertiser and offer",
        _advertiser_matches,
    ),
    Check("offer_active", "offer_inactive", "refuse", "the offer was active at the click", "the offer", _offer_active),
    Check("partner_known", "partner_unknown", "refuse", "the partner is in the catalog", "the route", _partner_known),
    Check("partner_active", "partner_inactive", "refuse", "the partner is active", "the partner", _partner_active),
    Check("goal_known", "goal_unknown", "refuse", "the offer had this goal at the click", "the offer", _goal_known),
    Check("goal_active", "goal_inactive", "refuse", "the goal was active at the click", "the goal", _goal_active),
    Check(
        "click_age",
        "click_expired",
        "refuse",
        "the click is not older than its window",
        "an authentic click id",
        _click_age,
    ),
    Check(
        "time_order", "before_click", "refuse", "the call came after the click", "an authentic click id", _time_order
    ),
    Check("status_known", "status_unknown", "refuse", "the status can be understood", "the goal", _status_known),
    Check("sum_sane", "sum_malformed", "refuse", "the sum is a sane amount", "a sum", _sum_sane),
    Check(
        "payout_sane",
        "payout_malformed",
        "refuse",
        "the reported payout is a sane amount",
        "a reported payout",
        _payout_sane,
    ),
    Check("terms_met", "sum_missing", "refuse", "what the payout is a share of is there", "the goal", _terms_met),
    Check(
        "same_click",
        "txn_of_other_click",
        "refuse",
        "a transaction stays with its click",
        "an earlier call of this conversion",
        _same_click,
    ),
    Check(
        "status_updatable",
        "status_not_updatable",
        "refuse",
        "the status may still change so",
        "an earlier call of this conversion",
        _status_updatable,
    ),
    Check("caps", "cap_reached", "refuse", "no cap is used up", "a cap that the call would use", _caps),
    Check(
        "signature", "signature_missing", "refuse", "who signs its calls has signed this one", "a signer", _signature
    ),
    Check("address", "address_not_allowed", "refuse", "the call comes from an allowed address", "", _address),
    Check(
        "offer_of_token",
        "wrong_offer_token",
        "refuse",
        "an offer's token comes with that offer's clicks",
        "an offer's token, and the click's offer",
        _offer_of_token,
    ),
    Check("from_server", "browser_reported", "review", "a server reports it, not a page", "", _from_server),
)

# Codes that a refusal may carry beside those of the checks.
OTHER_CODES = {
    "click_not_arrived": "the click did not arrive within the longest wait",
    "status_ignored": "the URL asks to leave the status alone (`ignore_status=`)",
}


_JUDGES = tuple(check.judge for check in CHECKS)
_USUAL: dict[tuple[Result, ...], Findings] = {}  # of results without failures: few patterns make up nearly all calls
_USUAL_MAX = 1024


def run_checks(case: Case, limits: CheckLimits, checks: tuple[Check, ...] = CHECKS) -> Findings:
    """Every check on one case. Details are kept for failures, and for skips that have a reason of their own."""
    judges = _JUDGES if checks is CHECKS else tuple(check.judge for check in checks)
    results = tuple([judge(case, limits) for judge in judges])
    usual = _USUAL.get(results)
    if usual is not None:
        return usual
    letters = "".join([result[0] for result in results])
    details: dict[str, str] = {}
    code = ""
    review = False
    for check, result in zip(checks, results, strict=True):
        if not isinstance(result, tuple):
            continue
        details[check.name] = result[1]
        if result[0] == "f":
            if check.severity == "review":
                review = True
            elif not code:
                code = result[2] or check.code
    findings = Findings(letters, details, code, review)
    if not details and len(_USUAL) < _USUAL_MAX:
        _USUAL[results] = findings
    return findings
