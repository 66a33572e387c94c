"""Rotation: which of several offers takes a click.

Input: a visit, the offers whose caps are used up, and candidates with weights and gates. Output: one candidate or none,
and every candidate that could not take the click, with the reason. Pure. Never follows where nothing is found: what
comes then is the link's plan (`redirect.py`).

What the visitor's facts say of all candidates is worked out once for each set of facts that the gates look at, and
kept, bounded. So a click costs the same for one rule and for ten; schedules, dates, parameters, conditions and caps are
asked for each click, of the candidates that the facts leave.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator
from hashlib import blake2b
from itertools import accumulate, count
from math import log
from operator import itemgetter
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from msgspec import Raw, Struct

from waypost.model.facts import GEO_FACTS, Facts
from waypost.model.wire import encode_part
from waypost.stages.targeting import Gate, Visit

_MIX = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: spreads consecutive numbers evenly (Knuth, TAOCP 3, 6.4)
_MASK = (1 << 64) - 1
KEPT_MAX = 100_000  # answers in one memory
BY_WEIGHT, IN_ORDER = "weight", "order"

Skipped = tuple[tuple[int, str], ...]


class Known(tuple[tuple[int, str], ...]):
    """A `Skipped` that is kept for many clicks, and `encoded` as it stands in their frames."""

    encoded: Raw

    @classmethod
    def of(cls, skipped: Skipped) -> "Known":
        known = cls(skipped)
        known.encoded = encode_part(skipped)
        return known


class Candidate(Protocol):
    """An offer that may take clicks. `gates` come with the prefix of their codes."""

    @property
    def route(self) -> int: ...

    @property
    def offer(self) -> int: ...

    @property
    def weight(self) -> int: ...

    @property
    def gates(self) -> tuple[tuple[str, Gate], ...]: ...


_Candidate = TypeVar("_Candidate", bound=Candidate)


class Choice(Struct, Generic[_Candidate], frozen=True, gc=False):
    """Who takes a click, and the offers that were asked before and could not take it, with the reason of each."""

    target: _Candidate
    skipped: Skipped = ()


class _Left(NamedTuple, Generic[_Candidate]):
    """The candidates that are left, the sums of their weights up to each, and those that are not, with the reason.

    `more` are the gates of those left that ask for more than facts: whose (a place in `able`), prefix and gate. Where
    nothing but a draw is left to do, `choices` are what there is to draw from.
    """

    able: tuple[_Candidate, ...]
    bounds: tuple[int, ...]
    skipped: Skipped
    more: tuple[tuple[int, str, Gate], ...]
    choices: tuple[Choice[_Candidate], ...] = ()


Kept = dict[tuple[int, Any, Any], _Left[Any]]
_numbers = count()


class Rotation(Generic[_Candidate]):
    """Candidates of one level: a link's targets, its fallback offers, a group. `by` is a `Link.rotation`.

    `kept` is a memory that several share, so that all of them together are bounded.
    """

    __slots__ = ("_by", "_kept", "_no", "_of_browser", "_of_place", "candidates")

    def __init__(self, candidates: Iterable[_Candidate], by: str = BY_WEIGHT, kept: "Kept | None" = None) -> None:
        self.candidates = tuple(candidates)
        self._by = by
        gates = [gate for candidate in self.candidates for _, gate in candidate.gates]
        names = sorted({name for gate in gates for name in gate.facts})
        self._of_place = _asking(name for name in names if name in GEO_FACTS)
        self._of_browser = _asking(name for name in names if name not in GEO_FACTS)
        self._kept: Kept = {} if kept is None else kept
        self._no = next(_numbers)  # tells this one's answers from others' in the same memory

    def only(self, candidates: Iterable[_Candidate]) -> "Rotation[_Candidate]":
        """The same among these, which are some of its own.

        What it finds out is not kept beyond it: it is made for one visit, and would fill the memory with answers that
        nobody asks for again.
        """
        found = tuple(candidates)
        return self if found == self.candidates else Rotation(found, self._by)

    def __iter__(self) -> Iterator[_Candidate]:
        return iter(self.candidates)

    def __len__(self) -> int:
        return len(self.candidates)

    def choose(
        self, visit: Visit, seq: int, user_agent: bytes, exhausted: Collection[int]
    ) -> tuple[_Candidate | None, Skipped]:
        """See the module."""
        facts = visit.facts
        key = (self._no, self._of_browser(facts.browser.values), self._of_place(facts.place.values))
        left: _Left[_Candidate] | None = self._kept.get(key)
        if left is None:
            left = self._sift(key, visit)
        if exhausted or left.more:
            left = self._narrowed(left, visit, exhausted)
        able, bounds, skipped = left.able, left.bounds, left.skipped
        if len(able) < 2:
            return (able[0] if able else None), skipped
        if self._by == BY_WEIGHT:
            return able[_drawn(bounds, visit.ms, seq)], skipped
        if self._by == IN_ORDER:
            return able[0], skipped
        return first_by_user(able, user_key(self._by, visit, user_agent)), skipped

    def at_once(self, facts: Facts, ms: int, seq: int) -> Choice[_Candidate] | None:
        """What `choose` finds where no cap is used up, if facts that were met before leave nothing but a draw."""
        left = self._kept.get((self._no, self._of_browser(facts.browser.values), self._of_place(facts.place.values)))
        if left is None or not left.choices:
            return None
        choices = left.choices
        return choices[0] if len(choices) == 1 else choices[_drawn(left.bounds, ms, seq)]

    def _sift(self, key: tuple[int, Any, Any], visit: Visit) -> _Left[_Candidate]:
        able, skipped = [], []
        for candidate in self.candidates:
            code = next((prefix + code for prefix, gate in candidate.gates if (code := gate.by_facts(visit))), "")
            if code:
                skipped.append((candidate.offer, code))
            else:
                able.append(candidate)
        if len(self._kept) >= KEPT_MAX:
            self._kept.clear()
        left = _left(able, Known.of(tuple(skipped)))
        if able and not left.more and (self._by in (BY_WEIGHT, IN_ORDER) or len(able) == 1):
            drawn_from = able[:1] if self._by == IN_ORDER else able
            left = left._replace(choices=tuple(Choice(candidate, left.skipped) for candidate in drawn_from))
        self._kept[key] = left
        return left

    def _narrowed(self, left: _Left[_Candidate], visit: Visit, exhausted: Collection[int]) -> _Left[_Candidate]:
        """Without those that anything but a fact stands in the way of."""
        stopped: dict[int, str] = {}
        for nth, prefix, gate in left.more:
            if nth not in stopped and (code := gate.beyond_facts(visit)):
                stopped[nth] = prefix + code
        if exhausted:
            for nth, candidate in enumerate(left.able):
                if candidate.offer in exhausted:
                    stopped.setdefault(nth, "cap_reached")
        if not stopped:
            return left
        able = [candidate for nth, candidate in enumerate(left.able) if nth not in stopped]
        skipped = tuple((left.able[nth].offer, code) for nth, code in sorted(stopped.items()))
        return _left(able, left.skipped + skipped)


def _asking(names: Iterable[str]) -> Callable[[dict[str, str | None]], Any]:
    """What asks a part of the facts for all of these at once: C code, where it is several."""
    wanted = tuple(names)
    return itemgetter(*wanted) if wanted else _nothing


def _nothing(values: dict[str, str | None]) -> None:
    return None


def _drawn(bounds: tuple[int, ...], ms: int, seq: int) -> int:
    """The place of the candidate that a click of this key draws."""
    return bisect_right(bounds, ((((ms << 14 | seq) * _MIX) & _MASK) >> 32) % bounds[-1])


def _left(able: list[_Candidate], skipped: Skipped) -> _Left[_Candidate]:
    more = tuple(
        (nth, prefix, gate) for nth, candidate in enumerate(able) for prefix, gate in candidate.gates if gate.has_more
    )
    return _Left(tuple(able), tuple(accumulate(candidate.weight for candidate in able)), skipped, more)


def user_key(by: str, visit: Visit, user_agent: bytes) -> int:
    """What a split test knows its user by: a parameter of the click if it has it, else address and user agent."""
    text = visit.value(by) if by != "user" else ""
    key = text.encode("utf-8", "surrogatepass") if text else visit.address.encode() + b"\0" + user_agent
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "big")


def first_by_user(candidates: tuple[_Candidate, ...], key: int) -> _Candidate:
    """The candidate that this user meets first: weighted rendezvous hashing.

    Each candidate's rank hangs on the user and that candidate's route alone. So one that comes, goes or cannot take a
    click moves its own users only, and a weight that grows takes users from the others and moves none between them.
    """
    return min(candidates, key=lambda one: -log((mixed(key ^ (one.route * _MIX & _MASK)) + 0.5) / 2**64) / one.weight)


def mixed(number: int) -> int:
    """64 bits, each of which hangs on each of the number's (the finaliser of splitmix64)."""
    number = ((number ^ number >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ number >> 27) * 0x94D049BB133111EB) & _MASK
    return number ^ number >> 31
