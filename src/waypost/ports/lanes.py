"""Lanes: what is still to be sent, by destination, and what is in flight.

Engines: SQLite shard files. A courier owns a shard under a lock with a fencing number; a lane belongs to one shard
(lane number modulo the count of shards).

Life of an item: taken from the outbox (`queued`) → intent, durable before the send (`in_flight`) → outcome, first in
the courier's journal, then applied here: removed when delivered, `queued` again with a due time, `dead` when given up,
`held` when a human must decide. After a crash the `in_flight` items are exactly the sends of unknown outcome.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum, StrEnum
from typing import Protocol

import msgspec

from waypost.model.frames import Outcome


class ItemState(IntEnum):
    QUEUED = 0
    IN_FLIGHT = 1
    DEAD = 2
    HELD = 3


class Rank(IntEnum):
    """Which of a lane's two queues an item stands in: what is resent never delays what is live."""

    LIVE = 0
    RESEND = 1


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
    rank: int = Rank.LIVE
    key: str = ""  # see `PostbackOut.key`
    code: str = ""  # why it was not delivered, as its last outcome says
    excused: int = 0  # attempts that the retry policy does not count


class LaneDepth(msgspec.Struct, frozen=True):
    """What a lane holds."""

    lane: int
    queued: int
    in_flight: int
    dead: int
    held: int
    oldest_due_ms: int


class LaneQueue(msgspec.Struct, frozen=True):
    """What waits in one of a lane's queues: first attempts, or what has a due time (retries, and what has a delay)."""

    lane: int
    rank: int
    is_timed: bool
    count: int
    due_ms: int  # the earliest; 0 where nothing is timed
    oldest: bytes  # the frame of the one that stands first in the outbox


class LaneState(StrEnum):
    """What an operator, or a partner's 410, has made of a lane."""

    OPEN = "open"
    PAUSED = "paused"  # keeps everything, sends nothing
    DRAINING = "draining"  # sends what stood in it when that was asked for, then it is paused


class LaneControl(msgspec.Struct, frozen=True):
    """A lane's state, who made it so, why and since when. `until_seq`: a draining lane sends what stands below."""

    lane: int
    state: LaneState
    why: str = ""
    by: str = ""
    since_ms: int = 0
    until_seq: int = 0


class Chore(msgspec.Struct, frozen=True):
    """Bulk work that an operator asked for, done in small steps: each item of the lane below `until_seq`, in one of
    `states`, with one of `codes` and `ids` (empty: any), created from `from_ms` up to `to_ms` (0: any), of resend `job`
    (empty: any), is driven again or dropped. `number` is its place in the operator's journal; `done` counts those that
    were so far."""

    number: int
    kind: str  # `retry` or `drop`
    lane: int
    states: tuple[int, ...]
    until_seq: int
    codes: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    why: str = ""
    by: str = ""
    after_seq: int = -1  # done up to here
    from_ms: int = 0
    to_ms: int = 0
    done: int = 0
    job: str = ""


class LaneBatch(msgspec.Struct):
    """Changes of one cycle, committed together.

    `taken` are new items of the outbox range [taken_start, taken_end) (those of this shard; the range counts even
    when none is). `intents` are (seq, attempt, at_ms). `outcomes` come from journal `source` in [start, end).
    `controls` and `chores` replace what was known of their lane and number; they come from journal `control_source`
    up to `control_end`, or, without one, from the courier itself. `buckets` are lanes' rate limits as they stand now.
    """

    taken_start: int = 0
    taken_end: int = 0
    taken: Sequence[LaneItem] = ()
    intents: Sequence[tuple[int, int, int]] = ()
    source: str = ""
    outcomes_start: int = 0
    outcomes_end: int = 0
    outcomes: Sequence[Outcome] = ()
    controls: Sequence[LaneControl] = ()
    chores: Sequence[Chore] = ()
    chores_done: Sequence[int] = ()
    control_source: str = ""
    control_end: int = 0
    buckets: Mapping[int, bytes] = {}


class Lanes(Protocol):
    """One shard. Opening for writing takes its lock and the next fencing number."""

    def owns(self, lane: int) -> bool:
        """Whether the lane belongs to this shard."""

    @property
    def fence(self) -> int:
        """This owner's fencing number; a write under an older one raises WaypostError `fenced`."""

    def check(self) -> None:
        """Raises WaypostError `fenced` if another owns the shard by now: for what is to be written elsewhere on its
        behalf. `apply` checks by itself."""

    def apply(self, batch: LaneBatch) -> None:
        """One transaction, in the order taken, outcomes, intents, the rest; durable on return.

        Idempotent by outbox position, by (seq, attempt) and by journal position: what was applied is skipped. An
        outcome counts for the attempt that is in flight, or whose outcome is unknown, and for no other; `superseded`,
        `dropped`, `redriven` and, for what stands queued, `held` count for an item that is not in flight and has begun
        as many attempts as the outcome says. What takes the place of a superseded item corrects nothing any more: its
        frame's `corrects` is emptied. Raises `store_out_of_order` where a range would leave a gap,
        `data_unwritable` where the same batch may be tried again."""

    def outbox_position(self) -> int: ...

    def outcome_positions(self) -> dict[str, int]:
        """By journal, the operator's included: what was applied of it."""

    def in_flight(self) -> list[LaneItem]:
        """Items in flight, in outbox order: at the start, the sends of unknown outcome."""

    def due(self, lane: int, now_ms: int, after: tuple[int, int], count_max: int, rank: int = 0) -> list[LaneItem]:
        """Queued items of a lane's queue due by now in (due_ms, seq) order, behind `after`."""

    def lanes_with_work(self) -> list[tuple[int, int, int]]:
        """(lane, rank, earliest due_ms) for each queue that has queued items; cost O(such queues)."""

    def keyed(self, lane: int, key: str, count_max: int) -> list[LaneItem]:
        """Items of a lane with this key that are queued or in flight, in outbox order."""

    def standing(
        self, lane: int, states: Sequence[int], after_seq: int, until_seq: int, count_max: int
    ) -> list[LaneItem]:
        """Items of a lane in these states with `after_seq` < seq < `until_seq`, in outbox order; not in flight."""

    def controls(self) -> dict[int, LaneControl]:
        """Lanes that are not simply open."""

    def chores(self) -> list[Chore]:
        """Bulk work that is not done, oldest first."""

    def buckets(self) -> dict[int, bytes]:
        """Rate limits as they were committed last."""

    def depths(self) -> list[LaneDepth]: ...

    def queues(self) -> list[LaneQueue]:
        """What waits, queue by queue. Looks at every item that is queued."""

    def items(self) -> Iterator[LaneItem]:
        """All items, in outbox order."""

    def at(self, places: Sequence[int]) -> list[LaneItem]:
        """The items at these places of the outbox, as far as they stand here."""

    def item(self, id: str) -> LaneItem | None:
        """The newest item of that id."""

    def problems(self) -> list[str]:
        """What in this store disagrees with itself, in words that name the item; empty when all is well."""

    def close(self) -> None: ...
