"""What values a condition leaves to each name, as far as its parts that must all hold say so plainly.

Owns: that estimate. It never says less than what is possible: what it cannot read leaves everything open.
Input: a condition's text. Output: `Bounds`. Reads and writes nothing.
"""

from typing import NamedTuple

from waypost.errors import WaypostError
from waypost.macros.expression import (
    Among,
    Compare,
    Condition,
    Every,
    Exists,
    Name,
    Not,
    Operand,
    Text,
    compile_expression,
    equal,
    is_less,
)

_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


class Bounds(NamedTuple):
    """`values` are those that a name must have one of; `contradiction` says why nothing fits, in words."""

    values: dict[str, set[str]]
    contradiction: str = ""


class _Room:
    """What is left to one name."""

    def __init__(self) -> None:
        self.values: set[str] | None = None
        self.others: set[str] = set()
        self.above: list[tuple[str, bool]] = []  # number, and whether it counts itself
        self.below: list[tuple[str, bool]] = []
        self.is_empty = self.is_there = False

    def narrow(self, values: set[str]) -> None:
        if self.values is None:
            self.values = values
        else:
            self.values = {one for one in self.values if any(equal(one, other) for other in values)}

    @property
    def fits_nothing(self) -> bool:
        if self.is_empty and (self.is_there or self.above or self.below):
            return True
        if self.values is not None:
            return not any(self._fits(value) for value in self.values)
        return any(
            is_less(most, least) or (equal(most, least) and not (with_least and with_most))
            for least, with_least in self.above
            for most, with_most in self.below
        )

    def _fits(self, value: str) -> bool:
        if (
            any(equal(value, other) for other in self.others)
            or (self.is_empty and value)
            or (self.is_there and not value)
        ):
            return False
        return all(is_less(least, value) or (counts and equal(least, value)) for least, counts in self.above) and all(
            is_less(value, most) or (counts and equal(value, most)) for most, counts in self.below
        )


def bounds_of(condition: str) -> Bounds:
    """What a condition leaves open; a text that is none leaves everything."""
    try:
        parsed = compile_expression(condition).condition
    except WaypostError:
        return Bounds({})
    rooms: dict[str, _Room] = {}
    for test in _parts(parsed):
        _take(test, rooms)
    for name, room in rooms.items():
        if room.fits_nothing:
            return Bounds({}, f"nothing is left for `{name}`")
    return Bounds({name: room.values for name, room in rooms.items() if room.values is not None})


def _parts(condition: Condition) -> list[Condition]:
    if isinstance(condition, Every):
        return [part for test in condition.tests for part in _parts(test)]
    return [condition]


def _take(test: Condition, rooms: dict[str, _Room]) -> None:
    if isinstance(test, Exists) and (name := _plain(test.operand)):
        rooms.setdefault(name, _Room()).is_there = True
    elif isinstance(test, Not) and isinstance(test.test, Exists) and (name := _plain(test.test.operand)):
        rooms.setdefault(name, _Room()).is_empty = True
    elif isinstance(test, Among) and (name := _plain(test.operand)):
        texts = {other.text for other in test.others if isinstance(other, Text)}
        if len(texts) == len(set(test.others)):
            rooms.setdefault(name, _Room()).narrow(texts)
    elif isinstance(test, Compare):
        sign, left, right = test.sign, test.left, test.right
        if isinstance(left, Text):
            sign, left, right = _TURNED[sign], right, left
        if (name := _plain(left)) and isinstance(right, Text):
            _compare(rooms.setdefault(name, _Room()), sign, right.text)


def _compare(room: _Room, sign: str, text: str) -> None:
    if sign == "==":
        room.narrow({text})
    elif sign == "!=":
        room.others.add(text)
    elif sign in (">", ">="):
        room.above.append((text, sign == ">="))
    else:
        room.below.append((text, sign == "<="))


def _plain(operand: Operand) -> str:
    """A name whose value no filter changes; else empty."""
    return operand.name if isinstance(operand, Name) and not operand.calls else ""
