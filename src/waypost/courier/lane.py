"""One lane as the courier keeps it in memory: what waits, what is in flight, what holds it back.

Owns: a lane's queues (first attempts in the outbox's order; by due time retries, and resends with theirs) and whose
turn it is among them. Reads and writes no store. Never decides whether a lane may send: `Schedule` does.
"""

from collections import deque

import msgspec

from waypost.courier.latency import LatencyWindow
from waypost.courier.restraint import Restraint
from waypost.model.frames import PostbackOut
from waypost.ports.lanes import LaneState, Rank

FAR = 1 << 60  # beyond every seq and every time
RETRY_EVERY = 4
RESEND_EVERY = 16

RuleKey = tuple[int, int, bool, bool]  # catalog version, rule, whether it is a test, and a correction


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A postback that may be sent. `attempt` counts those begun so far, `excused` those of them that do not count."""

    seq: int
    attempt: int
    first_ms: int
    unknown: bool
    post: PostbackOut
    excused: int = 0
    rank: int = Rank.LIVE


class Bundle(msgspec.Struct, frozen=True, gc=False):
    """Postbacks of one rule and attempt that share a request; the first stands for all."""

    items: tuple[Waiting, ...]

    @property
    def seq(self) -> int:
        return self.items[0].seq

    @property
    def attempt(self) -> int:
        return self.items[0].attempt

    @property
    def first_ms(self) -> int:
        """When the first attempt of any of them was begun; 0 before it."""
        return min(item.first_ms for item in self.items)

    @property
    def unknown(self) -> bool:
        return self.items[0].unknown

    @property
    def excused(self) -> int:
        return self.items[0].excused

    @property
    def rank(self) -> int:
        return self.items[0].rank

    @property
    def post(self) -> PostbackOut:
        return self.items[0].post


class Later:
    """What the store keeps of a lane by due time; `items` are those that are in memory."""

    __slots__ = ("after", "due_ms", "is_due", "items", "rank")

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.after = (0, FAR) if rank == Rank.LIVE else (0, -1)  # live first attempts have a queue of their own
        self.items: deque[Waiting | Bundle] = deque()
        self.due_ms = FAR  # the earliest in the store that is not in memory; stands in the heap
        self.is_due = False  # that time has come


class Lane:
    """One lane in memory. `queued`, `dead` and `held` count what the store holds, memory included."""

    __slots__ = (
        "dead",
        "delivered",
        "delivered_before",
        "dropped",
        "ended",
        "ended_us",
        "failed",
        "firsts",
        "gate_ms",
        "gate_why",
        "gathered",
        "gathering",
        "good",
        "heads",
        "held",
        "in_flight",
        "is_behind",
        "is_busy",
        "is_full",
        "is_hungry",
        "is_listed",
        "is_plain",
        "is_spilled",
        "keys_in_flight",
        "last_seq",
        "latency",
        "later",
        "limit",
        "number",
        "queued",
        "resends",
        "resends_in_flight",
        "restraint",
        "retries",
        "silent_ms",
        "turn",
        "url",
        "version",
    )

    def __init__(self, number: int, restraint: Restraint, version: int) -> None:
        self.number = number
        self.restraint = restraint
        self.firsts: deque[Waiting | Bundle] = deque()
        self.later = (Later(Rank.LIVE), Later(Rank.RESEND))
        self.retries, self.resends = self.later[0].items, self.later[1].items
        self.gathering: dict[RuleKey, list[Waiting]] = {}
        self.gathered = 0  # first attempts in `gathering`, and in bundles of `firsts`
        self.is_spilled = False  # the store holds first attempts behind `last_seq`
        self.last_seq = -1
        self.in_flight = self.resends_in_flight = self.queued = self.dead = self.held = self.turn = 0
        self.limit = restraint.adaptive.limit  # of requests in flight, now
        self.is_plain = restraint.is_plain  # nothing but `limit` has to be asked before a send
        self.version = version  # the catalog that `restraint` is of
        self.is_listed = False  # in the round
        self.is_busy = False  # had requests in flight at the last tick, or since
        self.is_full = False  # its limit held it back since the last tick
        self.is_hungry = False
        self.is_behind = False  # the store holds what is due and is not in memory
        self.gate_ms = 0  # nothing is begun before; 0: it is open
        self.gate_why = ""
        self.heads: dict[str, int] = {}  # by order key: the one that is in memory or in flight
        self.keys_in_flight: dict[int, str] = {}  # by seq
        self.ended = self.ended_us = self.good = 0  # since the last tick: requests, their time, those not to blame
        self.silent_ms = 0  # no request has ended since
        self.dropped = 0  # left memory without being sent, and are not subtracted from the schedule's count yet
        self.url = ""  # of the last request that ended
        self.delivered = self.failed = 0
        self.delivered_before = 0  # a second ago, when it was shown last
        self.latency = LatencyWindow()

    @property
    def is_waiting(self) -> bool:
        """Whether something in memory could be begun."""
        return bool(self.firsts or self.retries or self.resends)

    def next(self) -> Waiting | Bundle | None:
        """Takes the item whose turn it is: first attempts, among them every so often a retry, more seldom a resend."""
        self.turn += 1
        firsts, retries = self.firsts, self.retries
        if self.resends and self._is_resends_turn:
            self.resends_in_flight += 1
            return self.resends.popleft()
        if retries and (not firsts or self.turn % RETRY_EVERY == 0):
            return retries.popleft()
        if not firsts:
            return None
        item = firsts.popleft()
        if type(item) is Bundle:
            self.gathered -= len(item.items)
        return item

    @property
    def _is_resends_turn(self) -> bool:
        """They get a small share of what is sent and of what is in flight, and all turns that nobody else wants."""
        if self.turn % RESEND_EVERY and (self.firsts or self.retries):
            return False
        return self.resends_in_flight < max(1, self.limit // RETRY_EVERY)

    def next_drained(self) -> Waiting | Bundle | None:
        """As `next`, of a lane that sends only what stood in it at a certain time; the rest leaves memory."""
        until_seq = self.until_seq
        while (item := self.next()) is not None:
            items = item.items if isinstance(item, Bundle) else (item,)
            kept = tuple(one for one in items if one.seq < until_seq)
            self.dropped += len(items) - len(kept)
            for one in items:
                if one.seq >= until_seq and self.heads.get(one.post.key) == one.seq:
                    del self.heads[one.post.key]
            if len(kept) == len(items):
                return item
            if kept:
                return Bundle(kept)
            self.resends_in_flight -= int(item.rank != Rank.LIVE)
        return None

    @property
    def until_seq(self) -> int:
        """What stands from here on is not sent now."""
        control = self.restraint.control
        return control.until_seq if control is not None and control.state is LaneState.DRAINING else FAR

    @property
    def is_wanting(self) -> bool:
        """Whether the store holds what is due, and a queue in memory has run out."""
        retries, resends = self.later
        return (
            (self.is_spilled and not self.firsts)
            or (retries.is_due and not retries.items)
            or (resends.is_due and not resends.items)
        )

    @property
    def in_memory(self) -> int:
        """How many postbacks of the lane memory holds."""
        gathered = sum(map(len, self.gathering.values()))
        for queue in (self.firsts, self.retries, self.resends):
            gathered += sum(len(item.items) if type(item) is Bundle else 1 for item in queue)
        return gathered

    def forget(self) -> int:
        """Drops what waits in memory, and answers how much it was; all of it is read from the store again."""
        count = self.in_memory
        self.firsts.clear()
        self.gathering.clear()
        self.gathered, self.last_seq, self.is_spilled, self.is_behind = 0, -1, True, True
        for later in self.later:
            later.items.clear()
        self.heads = {key: seq for seq, key in self.keys_in_flight.items()}
        return count

    def remove(self, seq: int) -> None:
        """Drops one postback that waits in memory, if it is there."""
        for key, held in self.gathering.items():
            left = [one for one in held if one.seq != seq]
            if len(left) < len(held):
                self.dropped, self.gathered = self.dropped + 1, self.gathered - 1
                self.gathering[key] = left
                if not left:
                    del self.gathering[key]
                return
        for queue in (self.firsts, self.retries, self.resends):
            for place, item in enumerate(queue):
                items = item.items if isinstance(item, Bundle) else (item,)
                kept = tuple(one for one in items if one.seq != seq)
                if len(kept) == len(items):
                    continue
                self.dropped += 1
                if isinstance(item, Bundle) and queue is self.firsts:
                    self.gathered -= 1
                if kept:
                    queue[place] = Bundle(kept)
                else:
                    del queue[place]
                return

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left that the schedule would have to remember."""
        return not (self.queued or self.in_flight or self.dead or self.held or self.restraint.control or self.gate_ms)
