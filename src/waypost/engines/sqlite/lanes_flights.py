"""Flights: items that were taken from the outbox and begun in one commit, kept as one row until they end.

Owns: the table `flights` and what the shard's row says of it. A row of `flights` is a block: all that one commit began
so, by the place of the first. The shard's column `aloft` says which of them are still in flight, block by block, as
`first:bits`; bit N stands for the place `first` + N. So one commit writes one block, and that others have ended is
said in a row that is written anyway; a block goes when nothing of it is in flight any more. Since `aloft` names each
flight by its place, a block that is lost can be told by what it held.

Never decides what becomes of a flight: what does not end delivered becomes a row of `items` (see `lanes.py`).
"""

import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import msgspec

from waypost.errors import WaypostError
from waypost.ports.lanes import ItemState, LaneItem

BLOCKS_MAX = 512  # beyond so many that are open, what is left of the oldest becomes rows of `items`
SPAN_MAX = 4096  # places from a block's first to its last: `aloft` has a bit for each
_FORM_WITH_FLIGHTS = 3
_IN_FLIGHT = int(ItemState.IN_FLIGHT)


class Flight(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One item of a block. It is in flight, has no key, and has not been of unknown outcome."""

    seq: int
    lane: int
    id: str
    attempt: int
    at_ms: int
    first_ms: int
    rank: int
    frame: bytes

    def item(self) -> LaneItem:
        """As the port shows it."""
        return LaneItem(
            self.seq, self.lane, self.id, ItemState.IN_FLIGHT, self.attempt, self.at_ms, self.first_ms, self.frame,
            False, self.rank,
        )  # fmt: skip

    def row(
        self, state: int = _IN_FLIGHT, due_ms: int | None = None, unknown: int = 0, code: str = "", excused: int = 0
    ) -> tuple[Any, ...]:
        """As a row of `items`; still in flight if nothing else is said."""
        due_ms = self.at_ms if due_ms is None else due_ms
        return (
            self.seq, self.lane, self.id, state, self.attempt, due_ms, self.first_ms, unknown, self.frame,
            self.rank, "", code, excused,
        )  # fmt: skip


class Blocks:
    """The blocks of a shard as its owner knows them. A batch changes a copy, which counts once it is committed."""

    __slots__ = ("_bits", "_lost", "_new", "_texts", "gone")
    _encode: ClassVar = msgspec.msgpack.Encoder().encode

    def __init__(self, lost: str = "") -> None:
        """`lost` is what `aloft` says of blocks that are not there: it goes on saying so."""
        self._lost = lost
        self._bits: dict[int, int] = {}  # by first place, in ascending order
        self._texts: dict[int, str] = {}
        self._new: Sequence[Flight] = ()
        self.gone: list[int] = []

    def __len__(self) -> int:
        return len(self._bits)

    def copy(self) -> "Blocks":
        """For a batch: without what the batch before has made and ended."""
        other = Blocks(self._lost)
        other._bits, other._texts = self._bits.copy(), self._texts.copy()
        return other

    def add(self, flights: Sequence[Flight]) -> None:
        """A block of flights that ascend, within `SPAN_MAX` of each other."""
        first, bits = flights[0].seq, 0
        if flights[-1].seq - first + 1 == len(flights):
            bits = (1 << len(flights)) - 1
        else:
            for flight in flights:
                bits |= 1 << flight.seq - first
        self._new = flights
        self._set(first, bits)

    def end(self, places: Iterable[int]) -> None:
        """These flights are in flight no more; each is given once."""
        bits = self._bits
        firsts = list(bits)
        touched = set()
        for place in places:
            first = firsts[bisect_right(firsts, place) - 1]
            bits[first] ^= 1 << place - first
            touched.add(first)
        for first in touched:
            self._set(first, bits[first])

    def end_oldest(self) -> list[int]:
        """Ends the oldest block; answers the places of what was left of it."""
        first = next(iter(self._bits))
        places = list(_places(first, self._bits[first]))
        self._set(first, 0)
        return places

    def _set(self, first: int, bits: int) -> None:
        if bits:
            self._bits[first], self._texts[first] = bits, f"{first}:{bits:x}"
        else:
            del self._bits[first]
            self._texts.pop(first)
            self.gone.append(first)

    def write(self, connection: sqlite3.Connection, outbox_end: int) -> None:
        """The new block, those that are gone, and the shard's row, which also says how far the outbox was taken."""
        if self._new:
            block = (self._new[0].seq, self._encode(self._new))
            connection.execute("INSERT INTO flights (first, items) VALUES (?, ?)", block)
        for first in self.gone:
            connection.execute("DELETE FROM flights WHERE first = ?", (first,))
        aloft = " ".join(self._texts.values())
        if self._lost:
            aloft = f"{self._lost} {aloft}".rstrip()
        connection.execute("UPDATE shard SET outbox_end = ?, aloft = ?", (outbox_end, aloft))


def flights_of(connection: sqlite3.Connection) -> list[Flight]:
    """All that are in flight, in outbox order. Within a snapshot. What is lost is passed over; see `flight_problems`.

    Raises WaypostError `store_corrupt` if a block cannot be read.
    """
    aloft = _aloft(connection)
    return [
        flight
        for first, data in (_rows(connection) if aloft else ())
        for flight in _decoded(first, data)
        if aloft.get(first, 0) >> flight.seq - first & 1
    ]


def lost_flights(connection: sqlite3.Connection) -> str:
    """What `aloft` says of flights that are not there. Within a snapshot."""
    aloft = _aloft(connection)
    for first, data in _rows(connection) if aloft else ():
        for flight in _decoded(first, data):
            aloft[first] = aloft.get(first, 0) & ~(1 << flight.seq - first)
    return " ".join(f"{first}:{bits:x}" for first, bits in aloft.items() if bits)


def flight_problems(connection: sqlite3.Connection, outbox_end: int) -> Iterator[str]:
    """Where `aloft`, the blocks and `items` disagree. Within a snapshot."""
    aloft = _aloft(connection)
    for first, data in _rows(connection) if _has_flights(connection) else ():
        wanted = set(_places(first, aloft.pop(first, 0)))
        if not wanted:
            yield f"the block of flights from place {first} on stands, and nothing of it is in flight"
            continue
        try:
            missing = wanted - {flight.seq for flight in _decoded(first, data)}
        except WaypostError as error:
            yield error.detail
            continue
        for place in sorted(missing):
            yield f"item {place}, in flight, is missing in the block from place {first} on"
        for place in sorted(wanted):
            if connection.execute("SELECT 1 FROM items WHERE seq = ?", (place,)).fetchone():
                yield f"item {place} stands both in the block of flights from place {first} on and by itself"
            if place >= outbox_end:
                yield f"item {place} stands beyond the outbox position {outbox_end}"
    for first, bits in aloft.items():
        places = ", ".join(map(str, _places(first, bits)))
        yield f"the block of flights from place {first} on is missing, and so are the items in flight {places}"


def _has_flights(connection: sqlite3.Connection) -> bool:
    """A shard that no courier of this release has opened yet has no such table."""
    row = connection.execute("SELECT form FROM shard").fetchone()
    return row is not None and row[0] >= _FORM_WITH_FLIGHTS


def _aloft(connection: sqlite3.Connection) -> dict[int, int]:
    if not _has_flights(connection):
        return {}
    (text,) = connection.execute("SELECT aloft FROM shard").fetchone()
    pairs = (one.partition(":") for one in text.split())
    return {int(first): int(bits, 16) for first, _, bits in pairs}


def _rows(connection: sqlite3.Connection) -> Iterable[tuple[int, bytes]]:
    return connection.execute("SELECT first, items FROM flights ORDER BY first")


def _decoded(first: int, data: bytes) -> list[Flight]:
    try:
        flights = msgspec.msgpack.decode(data, type=list[Flight])
    except msgspec.DecodeError as error:
        raise WaypostError("store_corrupt", f"the block of flights from place {first} on: {error}") from error
    return [flight for flight in flights if flight.seq >= first]


def _places(first: int, bits: int) -> Iterator[int]:
    while bits:
        lowest = bits & -bits
        yield first + lowest.bit_length() - 1
        bits ^= lowest
