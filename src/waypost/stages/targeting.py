"""Targeting: whether a click may be taken, and if not, why not.

Input: a visit (what a door knows of a click) and the catalog's `Targeting`. Output: the code of the first thing that
stands in the way, or an empty text. Pure: what a gate remembers are answers that would be the same if asked again.
Never looks anything up: facts are found by an engine (`ports/visitors.py`) and stand in the click's frame.

A fact that is not known is an empty text: it is in no list, so `country: [DE]` does not take it, and `not: {country:
[RU]}` does.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from waypost.catalog.model import Facet, Schedule, Targeting
from waypost.errors import WaypostError
from waypost.macros.expression import Expression, compile_expression, has_form
from waypost.macros.names import VISITOR
from waypost.model.facts import Facts
from waypost.stages.addresses import AllowList
from waypost.stages.click_names import add_ours
from waypost.stages.intake import decode_pairs

_REMEMBERED_MAX = 1_000  # answers of one facet; there may be hundreds of thousands of facets
_NO_NAMES: Mapping[str, str] = {}
_MINUTE_MS = 60_000
_CLICK_PREFIX = "click."
LINK_PREFIX = "link_"  # before the codes of what a link says of its target; an offer's own have none

_MEANINGS = {
    "inactive": "the offer or its advertiser is not active",
    "not_started": "its `starts` has not come",
    "expired": "its `ends` has passed",
    "schedule": "outside its hours",
    "condition": "its `if` does not hold",
    "cap_reached": "a cap has no room left",
    "returning": "it wants visitors that are new, or that were here before",
    "bot": "it takes no programs, or nothing else",
    "ip": "the address is not in its networks, or is excluded",
}

Test = Callable[[str], bool]


def skip_meaning(code: str) -> str:
    """A code of `Click.skipped` in words; the codes of a link's own targeting begin with `link_`."""
    name = code.removeprefix(LINK_PREFIX)
    text = _MEANINGS.get(name, f"its targeting leaves this {name} out")
    return f"{text} (the link's rule)" if name != code else text


class Visit(msgspec.Struct, gc=False, eq=False):
    """What is known of a click before it is placed. `facts` are the engine's; `returning` as far as a door can know."""

    ms: int
    address: str
    facts: Facts
    query: bytes
    returning: bool = False
    click_names: Mapping[str, str] = _NO_NAMES
    _parameters: dict[str, str] | None = None

    @property
    def parameters(self) -> dict[str, str]:
        """The query's, with our names beside the partner's; decoded when first asked for."""
        if self._parameters is None:
            self._parameters = decode_pairs(self.query)
            if self.click_names:
                add_ours(self._parameters, self.click_names)
        return self._parameters

    def value(self, name: str) -> str:
        """Anything a rule may ask for by name; empty if it is not known or not there."""
        if name in VISITOR:
            return self.facts.get(name, "")
        if name == "ip":
            return self.address
        if name == "returning":
            return "1" if self.returning else ""
        return self.parameters.get(name.removeprefix(_CLICK_PREFIX), "")


class _Answers:
    """One facet's test, and what it answered for the values that were met."""

    __slots__ = ("_excluded", "_known", "_test", "name")

    def __init__(self, facet: Facet) -> None:
        self.name = facet.name
        self._excluded = facet.excluded
        self._test = _TESTS[facet.kind](facet.values)
        self._known: dict[str, bool] = {}

    def fits(self, value: str) -> bool:
        found = self._known.get(value)
        if found is None:
            if len(self._known) >= _REMEMBERED_MAX:
                self._known.clear()
            found = self._known[value] = (bool(value) and self._test(value)) is not self._excluded
        return found


class _Clock(NamedTuple):
    zone: ZoneInfo
    schedule: Schedule


class Gate:
    """One `Targeting`, compiled once a catalog version.

    Raises WaypostError where a condition does not compile, which `catalog check` would have said.
    """

    __slots__ = (
        "_by_fact", "_by_value", "_clocks", "_condition", "_ends_ms", "_fixed", "_minute", "_open", "_starts_ms",
        "facts", "has_more",
    )  # fmt: skip

    def __init__(self, targeting: Targeting, fixed: dict[str, str]) -> None:
        answers = [_Answers(facet) for facet in targeting.facets]
        self._by_fact = [answer for answer in answers if answer.name in VISITOR]
        self._by_value = [answer for answer in answers if answer.name not in VISITOR]
        self._clocks = [_Clock(ZoneInfo(schedule.timezone), schedule) for schedule in targeting.schedules]
        self._minute = -1
        self._open = True
        self._starts_ms = targeting.starts_ms
        self._ends_ms = targeting.ends_ms
        self._condition: Expression | None = compile_expression(targeting.condition) if targeting.condition else None
        self._fixed = fixed  # values that are the same for every visit: link, offer, partner
        self.facts = tuple(answer.name for answer in self._by_fact)
        self.has_more = bool(  # whether anything but facts decides
            self._by_value or self._clocks or self._condition or self._starts_ms or self._ends_ms
        )

    def by_facts(self, visit: Visit) -> str:
        """The first fact that is not as wanted: its name; or empty. The same for all visits with the same `facts`."""
        for answers in self._by_fact:
            if not answers.fits(visit.facts.get(answers.name, "")):
                return answers.name
        return ""

    def beyond_facts(self, visit: Visit) -> str:
        """What else stands in the way: `not_started`, `expired`, a parameter's name, `schedule`, `condition`."""
        if visit.ms < self._starts_ms:
            return "not_started"
        if self._ends_ms and visit.ms >= self._ends_ms:
            return "expired"
        for answers in self._by_value:
            if not answers.fits(visit.value(answers.name)):
                return answers.name
        if self._clocks and not self._is_open(visit.ms):
            return "schedule"
        if self._condition is not None and not self._holds(self._condition, visit):
            return "condition"
        return ""

    def _is_open(self, ms: int) -> bool:
        minute = ms // _MINUTE_MS  # no clock is set within a minute, so the answer holds for all of it
        if minute != self._minute:
            self._minute = minute
            self._open = any(is_open(schedule, zone, minute * _MINUTE_MS) for zone, schedule in self._clocks)
        return self._open

    def _holds(self, condition: Expression, visit: Visit) -> bool:
        values = self._fixed.copy()
        for name in condition.names:
            if name not in values:
                values[name] = visit.value(name)
        return condition.holds(values)


def is_open(schedule: Schedule, zone: ZoneInfo, ms: int) -> bool:
    """Whether a moment lies in a schedule, by the wall clock of its zone.

    An hour that the clock skips is open for nobody; one that it goes through twice is open both times.
    """
    local = datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone)
    minute = local.hour * 60 + local.minute
    today, yesterday = local.weekday() in schedule.days, (local.weekday() - 1) % 7 in schedule.days
    for begin, end in schedule.hours:
        if begin < end:
            if today and begin <= minute < end:
                return True
        elif (today and minute >= begin) or (yesterday and minute < end):
            return True
    return False


# --- what the kinds of facets mean -----------------------------------------------------------------------


def _text_test(values: tuple[str, ...]) -> Test:
    whole = frozenset(value.lower() for value in values if "*" not in value)
    forms = [tuple(value.lower().split("*")) for value in values if "*" in value]

    def test(value: str) -> bool:
        text = value.lower()
        return text in whole or any(has_form(text, form) for form in forms)

    return test


def _exact_test(values: tuple[str, ...]) -> Test:
    return frozenset(values).__contains__


VERSION = re.compile(r"(>=|<=|>|<|==?)?\s*(\d{1,9}(?:\.\d{1,9}){0,5})(?:\s*-\s*(\d{1,9}(?:\.\d{1,9}){0,5}))?\Z")


def _version_test(values: tuple[str, ...]) -> Test:
    """`12` is every 12.x; a comparison looks at as many parts as it names: 12.3 is not above 12."""
    ranges = [_version_range(value) for value in values]

    def test(value: str) -> bool:
        version = numbers_of(value)
        return bool(version) and any(holds(version) for holds in ranges)

    return test


def _version_range(text: str) -> Callable[[tuple[int, ...]], bool]:
    found = VERSION.match(text)
    if found is None:
        raise WaypostError("catalog_bad_value", f"`{text}` is no version")  # checked when the catalog was applied
    sign, low, high = found[1] or "==", numbers_of(found[2]), numbers_of(found[3] or "")
    if high:
        return lambda version: low <= _cut(version, low) and _cut(version, high) <= high
    return {
        ">=": lambda version: _cut(version, low) >= low,
        ">": lambda version: _cut(version, low) > low,
        "<=": lambda version: _cut(version, low) <= low,
        "<": lambda version: _cut(version, low) < low,
    }.get(sign, lambda version: _cut(version, low) == low)


def numbers_of(version: str) -> tuple[int, ...]:
    """`14.2.1` as numbers; what follows the first part that is no number is left out."""
    found: list[int] = []
    for part in version.split("."):
        if not (part.isdecimal() and part.isascii()):
            break
        found.append(int(part))
    return tuple(found)


def _cut(version: tuple[int, ...], like: tuple[int, ...]) -> tuple[int, ...]:
    """As many parts as `like` has, zeros where there are fewer."""
    return (version + (0,) * len(like))[: len(like)]


def _network_test(values: tuple[str, ...]) -> Test:
    return AllowList(values).permits


_TESTS: dict[str, Callable[[tuple[str, ...]], Test]] = {
    "text": _text_test,
    "exact": _exact_test,
    "version": _version_test,
    "network": _network_test,
}
