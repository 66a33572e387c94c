"""Lanes: what is still to be sent, by destination, and what is in flight.

Engines: SQLite shard files. A courier owns a shard under a lock with a fencing number; a lane belongs to one shard
(lane number modulo the count of shards).

Life of an item: taken from the outbox (`queued`) → intent, durable before the send (`in_flight`) → outcome, first in
the courier's journal, then applied here: removed when delivered, `queued` again with a due time, or `dead` when given
up. After a crash the `in_flight` items are exactly the sends of unknown outcome.
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Protocol

import msgspec

from waypost.model.frames import Outcome


class ItemState(IntEnum):
    QUEUED = 0
    IN_FLIGHT = 1
    DEAD = 2


class LaneItem(msgspec.Struct, frozen=True, gc=False):
    """A postback in a lane. `seq` is its place in the outbox and its key; `attempt` counts those begun so far."""

    seq: int
    lane: int
    id: str
    state: ItemState
    attempt: int
    due_ms: int  # 0 before a first attempt, but for a delayed one: retries never stand before it; in flight, its begin
    first_ms: int  # when the first attempt was begun; 0 before it
    frame: bytes  # the PostbackOut, encoded
    unknown: bool = False  # the last attempt's outcome was lost in a crash


class LaneDepth(msgspec.Struct, frozen=True):
    """What a lane holds."""

    lane: int
    queued: int
    in_flight: int
    dead: int
    oldest_due_ms: int


class LaneBatch(msgspec.Struct):
    """Changes of one cycle, committed together.

    `taken` are new items of the outbox range [taken_start, taken_end) (those of this shard; the range counts even
    when none is). `intents` are (seq, attempt, at_ms). `outcomes` come from journal `source` in [start, end).
    """

    taken_start: int = 0
    taken_end: int = 0
    taken: Sequence[LaneItem] = ()
    intents: Sequence[tuple[int, int, int]] = ()
    source: str = ""
    outcomes_start: int = 0
    outcomes_end: int = 0
    outcomes: Sequence[Outcome] = ()


class Lanes(Protocol):
    """One shard. Opening for writing takes its lock and the next fencing number."""

    def owns(self, lane: int) -> bool:
        """Whether the lane belongs to this shard."""

    @property
    def fence(self) -> int:
        """This owner's fencing number; a write under an older one raises WaypostError `fenced`."""

    def apply(self, batch: LaneBatch) -> None:
        """One transaction, in the order taken, outcomes, intents; durable on return.

        Idempotent by outbox position, by (seq, attempt) and by journal position: what was applied is skipped. An
        outcome counts for the attempt that is in flight, or whose outcome is unknown, and for no other. Raises
        `store_out_of_order` where a range would leave a gap, `data_unwritable` where the same batch may be tried
        again."""

    def outbox_position(self) -> int: ...

    def outcome_positions(self) -> dict[str, int]: ...

    def recover(self, at_ms: int) -> list[LaneItem]:
        """Items `in_flight` at opening: outcome unknown. They become `queued`, due at once, `unknown` set."""

    def due(self, lane: int, now_ms: int, after: tuple[int, int], count_max: int) -> list[LaneItem]:
        """Queued items of a lane due by now in (due_ms, seq) order, behind `after`."""

    def lanes_with_work(self) -> list[tuple[int, int]]:
        """(lane, earliest due_ms) for each lane that has queued items; cost O(such lanes)."""

    def depths(self) -> list[LaneDepth]: ...

    def items(self) -> Iterator[LaneItem]:
        """All items, in outbox order."""

    def item(self, id: str) -> LaneItem | None: ...

    def problems(self) -> list[str]:
        """What in this store disagrees with itself, in words that name the item; empty when all is well."""

    def close(self) -> None: ...
