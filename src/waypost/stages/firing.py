"""Firing: from a decision to the postbacks that it causes, corrections of earlier ones among them.

Input: a judged case with its decision, the conversion as it stands now, the rules of the batch's catalog.
Output: `Fired`, and the decision's `rules`: what each rule did, or what stopped it. Pure.

What a rule tells of a conversion is remembered with the conversion: the number of the rule's last postback, and a
digest of those values that an update may change (`rules.STATED`). An update that does not make a rule fire, but changes
what it told, is a *correction* where the partner takes such: the rule's postback once more with the values of now,
linked to the last one (docs/decisions/0034-what-is-a-correction.md).
"""

from collections.abc import Collection, Mapping
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

from waypost.model.frames import Conversion, Decision, PostbackOut, RuleOutcome, Verdict
from waypost.model.ids import postback_text
from waypost.stages.case import Case
from waypost.stages.rules import HELD_BACK, Candidate, RuleBook, no_longer_held_by, stopped_by

Told: TypeAlias = tuple[tuple[int, int, int], ...]  # (rule key, postback's number, digest), one for each rule
_UPDATED, _REFUSED = Verdict.UPDATED, Verdict.REFUSED


class Fired(NamedTuple):
    """`firsts` are the keys of rules that fire once a click, and did so now; `held_back` counts postbacks that a share
    leaves behind; `told` is the conversion's new memory of what it has told."""

    postbacks: tuple[PostbackOut, ...] = ()
    firsts: tuple[int, ...] = ()
    held_back: int = 0
    told: Told = ()


_NOTHING = Fired()
_blank_digest = blake2b(digest_size=8)


def fire(
    case: Case,
    decision: Decision,
    conversion: Conversion | None,
    rules: RuleBook,
    *,
    left_out: Collection[int] = (),
    owner: int = 0,
) -> Fired:
    """Notes in the decision what each rule does, and answers what follows.

    Postbacks are numbered behind those of earlier decisions on the conversion; None: there is none, or nothing changes.
    Rules with the keys `left_out` do nothing; with `owner`, neither do those of other partners.
    """
    plan = rules.plan(case, decision)
    told = conversion.told if conversion is not None else ()
    may_correct = bool(told) and decision.verdict is _UPDATED
    if plan.outcomes is not None and not may_correct:
        decision.rules = plan.outcomes
        return _NOTHING
    outcomes: list[RuleOutcome] = []
    postbacks: list[PostbackOut] = []
    firsts: list[int] = []
    said: dict[int, tuple[int, int, int]] = {}
    held_back = 0
    named = decision.receipt if decision.verdict is _REFUSED else decision.conversion
    before = conversion.postbacks if conversion is not None else 0
    for entry in plan.entries:
        if type(entry) is RuleOutcome:
            outcomes.append(entry)
            continue
        assert type(entry) is Candidate
        if entry.key in left_out or (owner and entry.owner != owner):
            continue
        other = 0 if entry.owner == decision.partner else entry.owner
        stopped = stopped_by(entry, case, decision)
        if stopped:
            outcomes.append(RuleOutcome(entry.rule.no, "", stopped, other))
            held_back += stopped.startswith(HELD_BACK)
            continue
        nth = before + len(postbacks) + 1
        identifier = postback_text(named, nth)
        outcomes.append(RuleOutcome(entry.rule.no, identifier, "", other))
        post = _postback(identifier, entry, case, decision)
        postbacks.append(post)
        if conversion is not None:
            said[entry.key] = (entry.key, nth, _digest(entry, post.values))
        if entry.rule.first_only and case.click_key is not None:
            firsts.append(entry.key)
    if may_correct:
        _correct(told, before, case, decision, rules, outcomes, postbacks, said)
    decision.rules = tuple(outcomes)
    if told:
        said = {**{one[0]: one for one in told}, **said}
    return Fired(tuple(postbacks), tuple(firsts), held_back, tuple(said.values()))


def _correct(
    told: Told,
    before: int,
    case: Case,
    decision: Decision,
    rules: RuleBook,
    outcomes: list[RuleOutcome],
    postbacks: list[PostbackOut],
    said: dict[int, tuple[int, int, int]],
) -> None:
    """Adds a correction for each rule that told something else before and does not fire by itself now; says of those
    that are not corrected why."""
    places = {(outcome.rule, outcome.partner): nth for nth, outcome in enumerate(outcomes)}
    for key, last, digest in told:
        rule = rules.by_key(case.partner, key) if key not in said else None
        if rule is None:
            continue
        now = _digest(rule, {name: value(case, decision) for name, value in rule.stated})
        if now == digest:
            continue
        other = 0 if rule.owner == decision.partner else rule.owner
        place = places.get((rule.rule.no, other))
        stopped = _uncorrected(rule, case, decision)
        if stopped:
            reason = outcomes[place].stopped_by if place is not None else ""
            outcome = RuleOutcome(rule.rule.no, "", f"{reason}; {stopped}" if reason else stopped, other)
        else:
            nth = before + len(postbacks) + 1
            identifier = postback_text(decision.conversion, nth)
            outcome = RuleOutcome(rule.rule.no, identifier, "", other)
            postbacks.append(_postback(identifier, rule, case, decision, postback_text(decision.conversion, last)))
            said[key] = (key, nth, now)
        if place is not None:
            outcomes[place] = outcome
        else:
            outcomes.append(outcome)


def _uncorrected(rule: Candidate, case: Case, decision: Decision) -> str:
    """Why what the rule told is not corrected, in words; empty if it is."""
    if not rule.delivery.corrections:
        return "what it told has changed, but the partner takes no corrections"
    stopped = no_longer_held_by(rule, case, decision)
    return f"what it told has changed, but is not corrected: {stopped}" if stopped else ""


def _digest(rule: Candidate, values: Mapping[str, str]) -> int:
    """Of the values that an update may change, as the rule tells them."""
    if not rule.stated:
        return 0
    digest = _blank_digest.copy()  # cheaper than one with parameters, each time
    digest.update("\0".join([values[name] for name, _ in rule.stated]).encode())
    return int.from_bytes(digest.digest()) >> 1


def _postback(identifier: str, candidate: Candidate, case: Case, decision: Decision, corrects: str = "") -> PostbackOut:
    rule, delivery = candidate.rule, candidate.delivery
    values = {name: value(case, decision) for name, value in candidate.values}
    return PostbackOut(
        identifier,
        candidate.lane,
        candidate.owner,
        decision.partition,
        decision.conversion,
        decision.catalog,
        rule.no,
        decision.decided_ms,
        decision.at_ms,
        values,
        decision.test,
        decision.decided_ms + rule.delay_ms if rule.delay_ms else 0,
        rule.batch is not None,
        _order_key(candidate, case, decision) if delivery.ordering or delivery.corrections else "",
        corrects,
    )


def _order_key(candidate: Candidate, case: Case, decision: Decision) -> str:
    """What the partner's postbacks go one by one for: the coarsest of all that its lane asks for. A user's clicks, a
    click's conversions; without a click there is at most the conversion."""
    ordering = candidate.delivery.ordering
    if ordering == "user" and case.click is not None and case.click.user:
        return f"u{case.click.user.hex()}"
    if ordering and case.click_key is not None:
        return "k{}.{}.{}".format(*case.click_key)
    return f"c{decision.conversion:016x}" if decision.conversion else ""
