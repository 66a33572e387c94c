"""Postback rules: which decisions cause which postbacks.

Input: a case, its decision, and the rules of one catalog version. Output: for each rule that the index selects, whether
it fires or the condition that stops it; the reasons of the others too, where a partner's rules are few. Pure.

A rule fires once for each entry of a conversion into a status; for refusals only where it says so. It looks at
conversions that are credited to its own partner, or, with `for: attributed` and `for: all`, at those of others. What
the facts of a decision (goal, status, offer, …) say of all rules is worked out once and kept, bounded: it is the same
for every decision with the same facts.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

from waypost.catalog.model import Delivery, Partner, PostbackRule
from waypost.catalog.view import CatalogView
from waypost.macros.expression import Expression, compile_expression
from waypost.macros.names import OF_ATTEMPT
from waypost.model.frames import Decision, RuleOutcome, Verdict
from waypost.model.lanes import lane_number
from waypost.stages.case import Case
from waypost.stages.privacy import sendable
from waypost.stages.rule_index import NO_STATUS, Facts, RuleIndex, facts_for_life, stopped_by_facts
from waypost.stages.values import Value, value_named

REASONS_KEPT_MAX = 32  # of a partner with more rules, only those that the index selects say what stopped them
_PLANS_MAX = 20_000
_OWN_MAX = 10_000
STATED = frozenset({"status", "payout", "currency", "revenue", "sum", "sum_currency"})  # what an update may change
HELD_BACK = "percent"  # how the reason begins that a share leaves behind: reports count by it


class Candidate(NamedTuple):
    """A rule that the facts select; what is left to look at varies from conversion to conversion."""

    owner: int
    owner_name: str
    rule: PostbackRule
    condition: Expression | None
    asked: tuple[tuple[str, Value], ...]  # what the condition asks of
    values: tuple[tuple[str, Value], ...]  # of the macros whose values may leave
    key: int  # names the rule for `first_only` and for what it has told, over catalog versions
    lane: int
    delivery: Delivery  # of its owner
    stated: tuple[tuple[str, Value], ...]  # those of `values` that may change in the life of a conversion


Entry: TypeAlias = Candidate | RuleOutcome
_Key: TypeAlias = tuple[str, str, str, Verdict, str, str, str, str, str]  # facts, as they come


class Plan(NamedTuple):
    """What facts say of rules; `outcomes` where nothing is left to look at, else None."""

    entries: tuple[Entry, ...]
    outcomes: tuple[RuleOutcome, ...] | None


class _Rules(NamedTuple):
    """Some rules with their index; `owners` names the partner of each."""

    rules: Sequence[PostbackRule]
    owners: Sequence[Partner]
    by_facts: RuleIndex
    by_key: dict[int, int]  # the rule's place, by the key that it has over catalog versions


class RuleBook:
    """The rules of one catalog version. Made when it is first asked for something; used by one thread."""

    def __init__(self, view: CatalogView) -> None:
        self._view = view
        self._own: dict[int, _Rules] = {}
        self._wide: _Rules | None = None
        self._plans: dict[_Key, Plan] = {}
        self._candidates: dict[tuple[int, int], Candidate] = {}
        self._has_firsts: bool | None = None

    @property
    def version(self) -> int:
        """Of the catalog."""
        return self._view.version

    @property
    def has_firsts(self) -> bool:
        """Whether some rule of this version fires once a click, so that it must be known what has fired."""
        if self._has_firsts is None:
            self._has_firsts = self._view.has_first_only()
        return self._has_firsts

    def plan(self, case: Case, decision: Decision) -> Plan:
        """What the decision's facts say of the rules: those selected, and reasons of some that are not."""
        key = _facts_as_they_come(case, decision)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= _PLANS_MAX:
                self._plans.clear()
            plan = self._plans[key] = self._made(_facts(key), case.partner)
        return plan

    def _made(self, facts: Facts, partner: Partner | None) -> Plan:
        entries: list[Entry] = []
        if partner is not None and partner.rules:
            own = self._own_of(partner)
            selected = dict.fromkeys(own.by_facts.select(facts))
            if len(own.rules) <= REASONS_KEPT_MAX:
                for nth, rule in enumerate(own.rules):
                    stopped = "" if nth in selected else stopped_by_facts(rule, facts)
                    entries.append(RuleOutcome(rule.no, "", stopped) if stopped else self._candidate(own, nth))
            else:
                entries += [self._candidate(own, nth) for nth in selected]
        wide = self._wide_rules()
        entries += [self._candidate(wide, nth) for nth in wide.by_facts.select(facts)]
        outcomes = tuple([entry for entry in entries if type(entry) is RuleOutcome])
        return Plan(tuple(entries), outcomes if len(outcomes) == len(entries) else None)

    def by_key(self, partner: Partner | None, key: int) -> Candidate | None:
        """The rule that this key names, if it is the partner's or looks at conversions of others."""
        own = self._own_of(partner) if partner is not None else None
        if own is not None and (nth := own.by_key.get(key)) is not None:
            return self._candidate(own, nth)
        wide = self._wide_rules()
        nth = wide.by_key.get(key)
        return self._candidate(wide, nth) if nth is not None else None

    def _own_of(self, partner: Partner) -> _Rules:
        own = self._own.get(partner.no)
        if own is None:
            if len(self._own) >= _OWN_MAX:
                self._own.clear()
            rules = [rule for rule in partner.rules if rule.scope == "own"]
            own = self._own[partner.no] = _rules_of(rules, [partner] * len(rules))
        return own

    def _wide_rules(self) -> _Rules:
        """Rules that look at conversions of others."""
        if self._wide is None:
            rules: list[PostbackRule] = []
            owners: list[Partner] = []
            for number in self._view.wide_partners():
                owner = self._view.partner(number)
                for rule in owner.rules if owner is not None else ():
                    if owner is not None and rule.scope != "own":
                        rules.append(rule)
                        owners.append(owner)
            self._wide = _rules_of(rules, owners)
        return self._wide

    def _candidate(self, among: _Rules, nth: int) -> Candidate:
        rule, owner = among.rules[nth], among.owners[nth]
        known = self._candidates.get((owner.no, rule.no))
        if known is None:
            condition = compile_expression(rule.condition, names=None, place=rule.place) if rule.condition else None
            values = _committed(rule)
            known = self._candidates[owner.no, rule.no] = Candidate(
                owner.no,
                owner.name,
                rule,
                condition,
                _asked(condition),
                values,
                rule_key(owner.no, rule),
                lane_number(owner.no, rule.lane),
                owner.delivery,
                tuple((name, value) for name, value in values if name in STATED),
            )
        return known


def _rules_of(rules: Sequence[PostbackRule], owners: Sequence[Partner]) -> _Rules:
    keys = {rule_key(owner.no, rule): nth for nth, (rule, owner) in enumerate(zip(rules, owners, strict=True))}
    return _Rules(rules, owners, RuleIndex(rules), keys)


def _facts_as_they_come(case: Case, decision: Decision) -> _Key:
    click, partner = case.click, case.partner
    return (  # a plain tuple: this is done for each decision
        decision.goal,
        decision.status,
        decision.status_before,
        decision.verdict,
        case.offer.name if case.offer is not None else "",
        case.route.link if case.route is not None else "",
        case.advertiser.name if case.advertiser is not None else "",
        partner.name if partner is not None else "",
        click.visitor.get("country", "") if click is not None else "",
    )


def _facts(key: _Key) -> Facts:
    goal, status, before, verdict, *others = key
    return Facts(goal, status, before or NO_STATUS, verdict.value, *others)


def _asked(condition: Expression | None) -> tuple[tuple[str, Value], ...]:
    return tuple((name, value_named(name)) for name in condition.names) if condition is not None else ()


def _committed(rule: PostbackRule) -> tuple[tuple[str, Value], ...]:
    """The macros whose values are committed with a postback; those of an attempt have none yet."""
    names = [name for name in sendable(rule.macros) if name not in OF_ATTEMPT]
    return tuple((name, _event(rule) if name == "event" else value_named(name)) for name in names)


def _event(rule: PostbackRule) -> Value:
    return lambda case, decision: event_of(rule, decision.goal) or ""


def stopped_by(candidate: Candidate, case: Case, decision: Decision) -> str:
    """Empty if a selected rule fires on this decision, else the condition that stops it, in words."""
    rule = candidate.rule
    if candidate.condition is not None:
        values = {name: value(case, decision) for name, value in candidate.asked}
        if not candidate.condition.holds(values):
            return f"not so: {rule.condition} ({_shown(values)})"
    if rule.events and event_of(rule, decision.goal) is None:
        return f"its events name none for goal {decision.goal or 'none'}"
    if rule.first_only and candidate.key in case.fired:
        return "it has fired for this click already"
    if rule.share < 1 and not is_in_share(candidate.owner, decision.conversion or decision.receipt, rule.share):
        return f"{HELD_BACK}: {rule.share * 100:g}% of conversions are told, and this one is among the others"
    return ""


def no_longer_held_by(candidate: Candidate, case: Case, decision: Decision) -> str:
    """What a rule asks of a conversion for as long as it lives, and this one does not have now; empty if it has all.

    The statuses that it fires on are not asked of a rule that tells the status itself; how the conversion came to its
    status, a share and `first_only` choose what is told at all, and not what is corrected.
    """
    rule = candidate.rule
    tells_status = any(name == "status" for name, _ in candidate.stated)
    if rule.statuses and decision.status not in rule.statuses and not tells_status:
        return f"status is {decision.status}, the rule wants {' or '.join(rule.statuses)} and does not tell it"
    for kind, value, wanted in facts_for_life(rule, _facts(_facts_as_they_come(case, decision))):
        if wanted and value not in wanted:
            return f"{kind} is {value or 'none'}, the rule wants {' or '.join(wanted)}"
    if candidate.condition is not None:
        values = {name: value(case, decision) for name, value in candidate.asked}
        if not candidate.condition.holds(values):
            return f"not so: {rule.condition} ({_shown(values)})"
    return ""


def event_of(rule: PostbackRule, goal: str) -> str | None:
    """What the rule calls the goal; None where its events leave it out."""
    return rule.events.get(goal, rule.events.get("*")) if rule.events else goal


def is_in_share(partner: int, conversion: int, share: float) -> bool:
    """Whether a conversion belongs to the share of its conversions that a partner is told of.

    By a hash of partner and conversion, so that all the partner's rules choose the same ones, whatever their status,
    and a larger share holds a smaller one.
    """
    digest = blake2b(f"share {partner} {conversion}".encode(), digest_size=6).digest()
    return int.from_bytes(digest) < share * (1 << 48)


def is_stopped_by_share(outcome: RuleOutcome) -> bool:
    """Whether the rule's percentage stopped it, and nothing else."""
    return outcome.stopped_by.startswith(HELD_BACK)


def rule_key(owner: int, rule: PostbackRule) -> int:
    """A rule's number over catalog versions: by its name, or, where it has none, by its place among the others."""
    named = rule.name or f"#{rule.no}"
    return int.from_bytes(blake2b(f"{owner} {named}".encode(), digest_size=8).digest()) >> 1


def _shown(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} is {value or 'empty'}" for name, value in values.items())
