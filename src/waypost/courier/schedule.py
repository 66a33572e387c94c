"""Which postback is sent next: the lanes as the courier keeps them in memory.

Owns: each lane's waiting items, its place in the round, the heap of due times. Reads the lanes store; never writes
it. What does not fit in memory stays in the store and is read in order when there is room.

A lane holds first attempts and retries apart, so that a retry never delays a first attempt; every fourth send of a
lane that has both is a retry, so that retries are not starved either. The round goes over lanes that can send now
and over no others: a cycle costs O(lanes with due work).

Postbacks that may share a request gather in their lane, by rule, until there are as many as the rule wants or the
oldest is old enough; then they stand in the lane as one. Those that are tried again share a request with those that are
due with them. A postback with a delay is a retry that has not been tried yet.
"""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush

import msgspec

from waypost.courier.latency import LatencyWindow
from waypost.model.frames import PostbackOut
from waypost.model.wire import decode_frame
from waypost.ports.lanes import LaneItem, Lanes

_FAR = 1 << 60  # beyond every seq and every time
_RETRY_EVERY = 4

_RuleKey = tuple[int, int, bool]  # catalog version, rule, whether it is a test


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A postback that may be sent. `attempt` counts those begun so far."""

    seq: int
    attempt: int
    first_ms: int
    unknown: bool
    post: PostbackOut


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
    def post(self) -> PostbackOut:
        return self.items[0].post


class Lane:
    """One lane in memory. `queued` and `dead` count what the store holds, memory included."""

    __slots__ = (
        "concurrency",
        "dead",
        "delivered",
        "failed",
        "firsts",
        "gathered",
        "gathering",
        "in_flight",
        "is_hungry",
        "is_listed",
        "is_retry_due",
        "is_spilled",
        "last_seq",
        "latency",
        "number",
        "queued",
        "retries",
        "retry_due_ms",
        "turn",
        "version",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.firsts: deque[Waiting | Bundle] = deque()
        self.retries: deque[Waiting | Bundle] = deque()
        self.gathering: dict[_RuleKey, list[Waiting]] = {}
        self.gathered = 0  # first attempts in `gathering`, and in bundles of `firsts`
        self.is_spilled = False  # the store holds first attempts behind `last_seq`
        self.last_seq = -1
        self.retry_due_ms = _FAR  # the earliest retry in the store that is not in memory; stands in the heap
        self.is_retry_due = False  # that time has come
        self.in_flight = self.queued = self.dead = self.turn = 0
        self.concurrency = 1
        self.version = -1  # the catalog that `concurrency` is of
        self.is_listed = False
        self.is_hungry = False
        self.delivered = self.failed = 0
        self.latency = LatencyWindow()

    def next(self) -> Waiting | Bundle | None:
        """Takes the item whose turn it is."""
        self.turn += 1
        if self.retries and (not self.firsts or self.turn % _RETRY_EVERY == 0):
            return self.retries.popleft()
        if not self.firsts:
            return None
        item = self.firsts.popleft()
        if type(item) is Bundle:
            self.gathered -= len(item.items)
        return item

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left that the schedule would have to remember."""
        return not (self.queued or self.in_flight or self.dead)


class Schedule:
    """All lanes of a shard. `concurrency_of` answers a lane's limit and the catalog version it is of, `batch_of` how
    many postbacks share a request and how long one waits for others."""

    def __init__(
        self,
        lanes: Lanes,
        memory_max: int,
        concurrency_of: Callable[[int], tuple[int, int]],
        batch_of: Callable[[PostbackOut], tuple[int, int]] = lambda post: (1, 0),
    ) -> None:
        self._store = lanes
        self._retries_max = max(1, memory_max // _RETRY_EVERY)
        self._firsts_max = max(1, memory_max - self._retries_max)
        self._concurrency_of = concurrency_of
        self._batch_of = batch_of
        self._ages: list[tuple[int, int, _RuleKey]] = []  # when what gathers goes out in any case; may be stale
        self.lanes: dict[int, Lane] = {}
        self._round: deque[Lane] = deque()
        self._hungry: list[Lane] = []
        self._due: list[tuple[int, int]] = []  # (retry_due_ms, lane); an entry that no longer fits is stale
        self.version = 0  # the catalog in force

    def lane(self, number: int) -> Lane:
        """The lane, made if it is new."""
        lane = self.lanes.get(number)
        if lane is None:
            lane = self.lanes[number] = Lane(number)
        return lane

    def restore(self) -> None:
        """What the store held when it was opened; nothing may be in flight."""
        for depth in self._store.depths():
            lane = self.lane(depth.lane)
            lane.queued, lane.dead = depth.queued, depth.dead
        for number, _, due_ms in self._store.lanes_with_work():
            lane = self.lane(number)
            lane.is_spilled = due_ms == 0
            self._find_next_retry(lane)
            self._feed(lane)

    def add(self, seq: int, post: PostbackOut, share: int) -> bool:
        """A new postback of the outbox, in order. Where the lane's memory is full it waits in the store.

        Answers whether it can be begun at once, the lane having no more than `share` in flight.
        """
        lane = self.lane(post.lane)
        lane.queued += 1
        if lane.version != self.version:
            lane.concurrency, lane.version = self._concurrency_of(lane.number)
        if lane.is_spilled or len(lane.firsts) + lane.gathered >= self._firsts_max:
            lane.is_spilled = True
            return False
        lane.last_seq = seq
        if post.batched:
            if not self._gather(lane, Waiting(seq, 0, 0, False, post)):
                return False
        else:
            lane.firsts.append(Waiting(seq, 0, 0, False, post))
        self._enlist(lane)
        return len(lane.firsts) <= min(lane.concurrency, share) - lane.in_flight

    def retry(self, lane: Lane, due_ms: int) -> None:
        """A retry, or a first attempt with a delay, stands in the store now."""
        if due_ms < lane.retry_due_ms:
            lane.retry_due_ms = due_ms
            heappush(self._due, (due_ms, lane.number))

    def freed(self, lane: Lane) -> None:
        """One of the lane's requests has ended."""
        lane.in_flight -= 1
        if lane.firsts or lane.retries:
            self._enlist(lane)

    def refill(self, now_ms: int) -> None:
        """Reads from the store what lanes without memory need. To be called when everything added is committed."""
        due = self._due
        while due and due[0][0] <= now_ms:
            due_ms, number = heappop(due)
            lane = self.lanes.get(number)
            if lane is not None and lane.retry_due_ms == due_ms:
                lane.is_retry_due = True
                self._feed(lane)
        while self._ages and self._ages[0][0] <= now_ms:
            _, number, key = heappop(self._ages)
            self._close_aged(number, key, now_ms)
        hungry, self._hungry = self._hungry, []
        for lane in hungry:
            lane.is_hungry = False
            if lane.is_spilled and not lane.firsts:
                self._refill_firsts(lane)
            if lane.is_retry_due and not lane.retries:
                self._refill_retries(lane, now_ms)
            if lane.firsts or lane.retries:
                self._enlist(lane)
            else:
                self._feed(lane)

    def first_attempts(self, enough: int) -> int:
        """How many first attempts could be begun at once, counted up to `enough`."""
        count = 0
        for lane in self._round:
            count += min(len(lane.firsts), lane.concurrency - lane.in_flight)
            if count >= enough:
                break
        return count

    def pick(self, count_max: int) -> list[tuple[Lane, Waiting | Bundle]]:
        """Up to so many requests, one lane after the other; they count as in flight from now on."""
        picked: list[tuple[Lane, Waiting | Bundle]] = []
        going = self._round
        while going and len(picked) < count_max:
            lane = going.popleft()
            if lane.version != self.version:
                lane.concurrency, lane.version = self._concurrency_of(lane.number)
            if lane.in_flight < lane.concurrency:
                item = lane.next()
                if item is not None:
                    lane.in_flight += 1
                    lane.queued -= len(item.items) if type(item) is Bundle else 1
                    picked.append((lane, item))
                if lane.is_spilled or lane.is_retry_due:
                    self._feed(lane)
                if lane.firsts or lane.retries:
                    going.append(lane)
                    continue
            lane.is_listed = False
        return picked

    def forget_idle(self) -> None:
        """Drops lanes that hold nothing and did nothing lately."""
        for number in [number for number, lane in self.lanes.items() if lane.is_idle and lane.latency.is_empty]:
            lane = self.lanes[number]
            if not lane.is_listed and not lane.is_hungry and not lane.is_spilled:
                del self.lanes[number]

    @property
    def active(self) -> int:
        """Lanes that hold something to send."""
        return sum(1 for lane in self.lanes.values() if lane.queued or lane.in_flight)

    def _enlist(self, lane: Lane) -> None:
        if not lane.is_listed:
            lane.is_listed = True
            self._round.append(lane)

    def _feed(self, lane: Lane) -> None:
        """Has the next refill look at the lane, if the store holds something that its memory has run out of."""
        wanting = (lane.is_spilled and not lane.firsts) or (lane.is_retry_due and not lane.retries)
        if wanting and not lane.is_hungry:
            lane.is_hungry = True
            self._hungry.append(lane)

    def _refill_firsts(self, lane: Lane) -> None:
        wanted = max(1, self._firsts_max - lane.gathered)
        items = self._store.due(lane.number, 0, (0, lane.last_seq), wanted)
        lane.is_spilled = len(items) == wanted
        for item in items:
            waiting = _waiting(item)
            if waiting.post.batched:
                self._gather(lane, waiting)
            else:
                lane.firsts.append(waiting)
        if items:
            lane.last_seq = items[-1].seq

    def _refill_retries(self, lane: Lane, now_ms: int) -> None:
        items = self._store.due(lane.number, now_ms, (0, _FAR), self._retries_max)
        lane.retries.extend(self._together([_waiting(item) for item in items]))
        lane.is_retry_due = len(items) == self._retries_max
        if not lane.is_retry_due:
            self._find_next_retry(lane, now_ms)

    def _find_next_retry(self, lane: Lane, after_ms: int = 0) -> None:
        """The earliest retry behind `after_ms`, into the heap."""
        following = self._store.due(lane.number, _FAR, (after_ms, _FAR), 1)
        lane.retry_due_ms = following[0].due_ms if following else _FAR
        if following:
            heappush(self._due, (lane.retry_due_ms, lane.number))

    # --- batches -------------------------------------------------------------------------------------

    def _gather(self, lane: Lane, waiting: Waiting) -> bool:
        """Adds a first attempt to those of its rule; answers whether they are enough now, and stand in the lane."""
        key = (waiting.post.catalog, waiting.post.rule, waiting.post.test)
        held = lane.gathering.setdefault(key, [])
        held.append(waiting)
        lane.gathered += 1
        count, age_ms = self._batch_of(waiting.post)
        if len(held) >= count or lane.gathered >= self._firsts_max:
            self._close(lane, key)
            return True
        if len(held) == 1:
            heappush(self._ages, (waiting.post.created_ms + age_ms, lane.number, key))
        return False

    def _close(self, lane: Lane, key: "_RuleKey") -> None:
        lane.firsts.append(Bundle(tuple(lane.gathering.pop(key))))

    def _close_aged(self, number: int, key: "_RuleKey", now_ms: int) -> None:
        lane = self.lanes.get(number)
        held = lane.gathering.get(key) if lane is not None else None
        if lane is None or not held:
            return
        _, age_ms = self._batch_of(held[0].post)
        if held[0].post.created_ms + age_ms <= now_ms:
            self._close(lane, key)
            self._enlist(lane)

    def _together(self, waiting: list[Waiting]) -> list[Waiting | Bundle]:
        """Retries that are due; of those of one rule and attempt as many together as the rule wants."""
        found: list[Waiting | Bundle] = []
        gathering: dict[tuple[int, int, int, bool, bool], list[Waiting]] = {}
        for one in waiting:
            post = one.post
            if not post.batched:
                found.append(one)
                continue
            key = (post.catalog, post.rule, one.attempt, one.unknown, post.test)
            held = gathering.setdefault(key, [])
            held.append(one)
            if len(held) >= self._batch_of(post)[0]:
                found.append(Bundle(tuple(gathering.pop(key))))
        found += [Bundle(tuple(held)) for held in gathering.values()]
        return found


def _waiting(item: LaneItem) -> Waiting:
    post = decode_frame(item.frame)
    assert isinstance(post, PostbackOut)
    return Waiting(item.seq, item.attempt, item.first_ms, item.unknown, post)
