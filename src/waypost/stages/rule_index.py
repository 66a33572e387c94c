"""The index of postback rules: which of ten thousand can fire on a decision, at the cost of ten.

Input: rules and the facts of a decision. Output: the rules that the facts select. Pure.

Each rule has a bit. For each kind of fact there is a set of bits for every value that some rule names, and one for all
values that none names; what a decision selects is the intersection of one set a kind. What varies without end
(amounts, sub-ids, expressions) is no fact of the index: the rules it selects look at that one by one.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from waypost.catalog.model import PostbackRule
from waypost.model.frames import Verdict

NO_STATUS = "none"  # the status before of a conversion that was not there


class Facts(NamedTuple):
    """What the index knows of a decision. Two decisions with the same facts select the same rules."""

    goal: str
    status: str
    before: str
    verdict: str
    offer: str
    link: str
    advertiser: str
    partner: str
    country: str


def rule_conditions(rule: PostbackRule) -> tuple[tuple[str, ...], ...]:
    """What the rule wants of each fact, in the order of `Facts`; empty for any."""
    return (
        rule.goals,
        rule.statuses,
        rule.befores,
        rule.verdicts,
        rule.offers,
        rule.links,
        rule.advertisers,
        rule.partners,
        rule.countries,
    )


def fires_on(rule: PostbackRule, facts: Facts) -> bool:
    """Whether the decision is of a kind that the rule looks at: a transition, or a refusal where it says so."""
    if facts.verdict == Verdict.REFUSED:
        return Verdict.REFUSED.value in rule.verdicts
    is_transition = facts.verdict in (Verdict.NEW, Verdict.UPDATED) and facts.status != facts.before
    return is_transition and (not rule.verdicts or facts.verdict in rule.verdicts)


def stopped_by_facts(rule: PostbackRule, facts: Facts) -> str:
    """The first fact that stops the rule, in words; empty if the index selects it."""
    if rule.scope == "attributed" and not facts.partner:
        return "the conversion is attributed to nobody"
    if rule.verdicts and facts.verdict not in rule.verdicts:
        return f"verdict is {facts.verdict}, the rule wants {' or '.join(rule.verdicts)}"
    if not fires_on(rule, facts):
        if facts.verdict in (Verdict.REFUSED, Verdict.SET_ASIDE):
            return f"the call was {facts.verdict}"
        return f"no transition: the conversion was {facts.before} already"
    for kind, value, wanted in zip(_KINDS, facts, rule_conditions(rule), strict=True):
        if wanted and value not in wanted:
            return f"{kind} is {value or 'none'}, the rule wants {' or '.join(wanted)}"
    return ""


def facts_for_life(rule: PostbackRule, facts: Facts) -> list[tuple[str, str, tuple[str, ...]]]:
    """(kind, fact, what the rule wants of it), of the facts that do not change in the life of a conversion."""
    kinds = zip(_KINDS, facts, rule_conditions(rule), strict=True)
    return [one for one in kinds if one[0] not in ("status", "status before", "verdict")]


_KINDS = ("goal", "status", "status before", "verdict", "offer", "link", "advertiser", "partner", "country")


class RuleIndex:
    """Rules by their facts. Immutable once made; making it costs O(rules)."""

    def __init__(self, rules: Sequence[PostbackRule]) -> None:
        self._named: list[tuple[int, dict[str, int], int]] = []  # (place in Facts, bits by value, bits of any value)
        self._attributed = self._refused = self._new = self._updated = 0
        every = (1 << len(rules)) - 1
        for nth, rule in enumerate(rules):
            bit = 1 << nth
            if rule.scope == "attributed":
                self._attributed |= bit
            verdicts = rule.verdicts or (Verdict.NEW.value, Verdict.UPDATED.value)
            self._refused |= bit if Verdict.REFUSED.value in verdicts else 0
            self._new |= bit if Verdict.NEW.value in verdicts else 0
            self._updated |= bit if Verdict.UPDATED.value in verdicts else 0
        for place, kind in enumerate(_KINDS):
            if kind != "verdict":
                self._add(place, [rule_conditions(rule)[place] for rule in rules], every)

    def _add(self, place: int, wanted: Sequence[tuple[str, ...]], every: int) -> None:
        """One kind of fact; left out where no rule asks for it."""
        naming: dict[str, list[int]] = {}
        for nth, values in enumerate(wanted):
            for value in values:
                naming.setdefault(value, []).append(nth)
        if not naming:
            return
        any_value = every & ~_bits(nth for nth, values in enumerate(wanted) if values)
        self._named.append((place, {value: any_value | _bits(iter(nths)) for value, nths in naming.items()}, any_value))

    def select(self, facts: Facts) -> list[int]:
        """The places of the rules that these facts select, in their order."""
        verdict = facts.verdict
        if verdict == Verdict.REFUSED:
            selected = self._refused
        elif facts.status == facts.before:
            return []
        else:
            selected = self._new if verdict == Verdict.NEW else self._updated if verdict == Verdict.UPDATED else 0
        if not facts.partner:
            selected &= ~self._attributed
        for place, by_value, any_value in self._named:
            if not selected:
                break
            selected &= by_value.get(facts[place], any_value)
        return list(_places(selected))


def _bits(places: Iterator[int]) -> int:
    """A set of places as bits; built as bytes, for adding bit after bit to a number copies it each time."""
    held = list(places)
    if not held:
        return 0
    data = bytearray((max(held) >> 3) + 1)
    for place in held:
        data[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(data, "little")


def _places(bits: int) -> Iterator[int]:
    """The places of the bits that are set, lowest first."""
    if bits.bit_count() * 8 < bits.bit_length() >> 3:  # few of many: bit by bit
        while bits:
            lowest = bits & -bits
            yield lowest.bit_length() - 1
            bits ^= lowest
        return
    for at, byte in enumerate(bits.to_bytes((bits.bit_length() + 7) // 8, "little")):
        if byte:
            for nth in range(8):
                if byte >> nth & 1:
                    yield at * 8 + nth
