"""Which postback is sent next: the lanes as the courier keeps them in memory.

Owns: each lane's waiting items, its place in the round, the heap of due times. Reads the lanes store; never writes
it. What does not fit in memory stays in the store and is read in order when there is room.

A lane holds first attempts and retries apart, so that a retry never delays a first attempt; every fourth send of a
lane that has both is a retry, so that retries are not starved either. Resends have a queue behind both. The round goes
over lanes that can send now and over no others; what is held back until a time stands in a heap of such times: a cycle
costs O(lanes with due work).

Postbacks that may share a request gather in their lane, by rule, until there are as many as the rule wants or the
oldest is old enough; then they stand in the lane as one. Those that are tried again share a request with those that are
due with them. A postback with a delay is a retry that has not been tried yet.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush

from waypost.courier.lane import FAR, RETRY_EVERY, Bundle, Lane, Later, RuleKey, Waiting
from waypost.courier.ordering import Ordering
from waypost.courier.policies import Policy
from waypost.courier.restraint import UNTIL_FREED, Held, Restraint
from waypost.model.frames import PostbackOut
from waypost.model.wire import decode_frame
from waypost.ports.lanes import LaneControl, LaneItem, Lanes, LaneState, Rank
from waypost.settings import CourierSettings
from waypost.stages.lanes import Blame

__all__ = ["Bundle", "Lane", "Schedule", "Waiting"]


class Schedule:
    """All lanes of a shard. `policy_of` answers how a lane sends, `batch_of` how many postbacks share a request and how
    long one waits for others."""

    def __init__(
        self,
        lanes: Lanes,
        settings: CourierSettings,
        policy_of: Callable[[int], Policy],
        batch_of: Callable[[PostbackOut], tuple[int, int]] = lambda post: (1, 0),
    ) -> None:
        self._store = lanes
        self._later_max = max(1, settings.lane_memory_max // RETRY_EVERY)
        self._firsts_max = max(1, settings.lane_memory_max - self._later_max)
        self._items_max, self._items_plenty = settings.memory_items_max, settings.memory_items_max // 2
        self._in_flight_max = settings.in_flight_max
        self._policy_of = policy_of
        self._batch_of = batch_of
        self.ordering = Ordering(lanes)
        self._ages: list[tuple[int, int, RuleKey]] = []  # when what gathers goes out in any case; may be stale
        self.lanes: dict[int, Lane] = {}
        self._round: deque[Lane] = deque()
        self._busy: dict[int, Lane] = {}
        self._listed_idle = 0  # lanes of the round that are not among the busy ones
        self._hungry: list[Lane] = []
        self._due: list[tuple[int, int, int]] = []  # (due_ms, lane, rank); an entry that no longer fits is stale
        self._wakes: list[tuple[int, int]] = []  # (gate_ms, lane); an entry that no longer fits is stale
        self._seen_ms = 0  # of the last refill
        self._buckets: dict[int, bytes] = {}  # of lanes that are not in memory
        self.items = 0  # postbacks in memory
        self.version = 0  # the catalog in force

    def lane(self, number: int) -> Lane:
        """The lane, made if it is new."""
        lane = self.lanes.get(number)
        if lane is None:
            restraint = Restraint(number, self._policy_of(number), self._buckets.pop(number, b""))
            lane = self.lanes[number] = Lane(number, restraint, self.version)
        return lane

    def restore(self) -> None:
        """What the store held when it was opened; nothing may be in flight."""
        self._buckets = self._store.buckets()
        for depth in self._store.depths():
            lane = self.lane(depth.lane)
            lane.queued, lane.dead, lane.held = depth.queued, depth.dead, depth.held
        for control in self._store.controls().values():
            self.set_control(control)
        for number, rank, due_ms in self._store.lanes_with_work():
            lane = self.lane(number)
            if rank == Rank.LIVE and due_ms == 0:
                lane.is_spilled = lane.is_behind = True
            self._find_next(lane, lane.later[rank], lane.later[rank].after)
            self._feed(lane)

    def follow(self, version: int) -> None:
        """Another catalog is in force: what is held back is looked at again."""
        self.version = version
        for lane in self.lanes.values():
            if 0 < lane.gate_ms < FAR:
                self._open(lane)

    # --- what an operator makes of a lane ------------------------------------------------------------

    def set_control(self, control: LaneControl) -> None:
        """Pauses a lane, drains it or opens it again. What is in flight goes on."""
        lane = self.lane(control.lane)
        lane.restraint.control = control if control.state is not LaneState.OPEN else None
        lane.is_plain = lane.restraint.is_plain
        self._open(lane)
        if control.state is LaneState.PAUSED:
            lane.gate_ms, lane.gate_why = FAR, Held.PAUSED.value
            self.items -= lane.forget()
        else:
            self.reload(lane.number)

    def reload(self, number: int) -> None:
        """Reads what waits in a lane from the store again, which others have changed. What is in flight goes on."""
        lane = self.lane(number)
        self.items -= lane.forget()
        for later in lane.later:
            later.is_due, later.due_ms = False, FAR
            self._find_next(lane, later, later.after)
        self._feed(lane)

    # --- what comes and goes -------------------------------------------------------------------------

    def add(self, seq: int, post: PostbackOut, share: int) -> bool:
        """A new postback of the outbox, in order. Where memory is full it waits in the store, as do those that keep an
        order: which of them may go shows there.

        Answers whether it can be begun at once, the lane having no more than `share` in flight.
        """
        lane = self.lanes.get(post.lane) or self.lane(post.lane)
        lane.queued += 1
        held = len(lane.firsts) + lane.gathered
        room = self._firsts_max if self.items < self._items_plenty else self._room
        if lane.is_spilled or post.key or held >= room:
            lane.is_spilled = lane.is_behind = True
            self._feed(lane)
            return False
        lane.last_seq = seq
        self.items += 1
        if post.batched:
            if not self._gather(lane, Waiting(seq, 0, 0, False, post)):
                return False
        else:
            lane.firsts.append(Waiting(seq, 0, 0, False, post))
        if lane.gate_ms:
            return False
        if not lane.is_listed:
            self._enlist(lane)
        begun = len(lane.firsts) + lane.in_flight
        return begun <= lane.limit and begun <= share

    def later(self, lane: Lane, due_ms: int, rank: int = Rank.LIVE) -> None:
        """A retry, a first attempt with a delay or a resend stands in the store now."""
        later = lane.later[rank]
        if due_ms < later.due_ms:
            later.due_ms = due_ms
            heappush(self._due, (due_ms, lane.number, rank))

    def freed(self, lane: Lane, item: Waiting | Bundle, took_us: int) -> None:
        """One of the lane's requests has ended."""
        lane.in_flight -= 1
        lane.ended += 1
        lane.ended_us += took_us
        if lane.resends_in_flight and item.rank:
            lane.resends_in_flight -= 1
        if lane.firsts or lane.retries or lane.resends:
            self._enlist(lane)

    def good(self, lane: Lane, begun_ms: int, now_ms: int) -> None:
        """A request ended well of a lane that is not plain."""
        lane.restraint.good(begun_ms, now_ms)
        self._look_at(lane)

    def failed(self, lane: Lane, blame: Blame, begun_ms: int, now_ms: int, wait_ms: int) -> None:
        """A request failed; the partner asked for a pause until then."""
        good, lane.good = lane.good, 0
        lane.restraint.failed(blame, good, begun_ms, now_ms, wait_ms)
        self._look_at(lane)

    def release(self, lane: Lane, seq: int, now_ms: int) -> None:
        """A postback that keeps an order has ended, and the store knows it: the next of its key stands in front."""
        item = self.ordering.following(lane, seq, now_ms)
        if item is None or lane.gate_ms == FAR:
            return
        if self._stand(lane, item, is_next=True):
            self._enlist(lane)

    def refill(self, now_ms: int) -> None:
        """Reads from the store what lanes without memory need. To be called when everything added is committed."""
        if now_ms < self._seen_ms:  # the clock was set back
            self.follow(self.version)
        self._seen_ms = now_ms
        wakes = self._wakes
        while wakes and wakes[0][0] <= now_ms:
            gate_ms, number = heappop(wakes)
            lane = self.lanes.get(number)
            if lane is not None and lane.gate_ms == gate_ms:
                self._open(lane)
        due = self._due
        while due and due[0][0] <= now_ms:
            due_ms, number, rank = heappop(due)
            lane = self.lanes.get(number)
            if lane is not None and lane.later[rank].due_ms == due_ms:
                lane.later[rank].is_due = lane.is_behind = True
                self._feed(lane)
        while self._ages and self._ages[0][0] <= now_ms:
            _, number, key = heappop(self._ages)
            self._close_aged(number, key, now_ms)
        hungry, self._hungry = self._hungry, []
        for lane in hungry:
            lane.is_hungry = False
            if not lane.gate_ms:
                self._read(lane, now_ms)

    def first_attempts(self, enough: int) -> int:
        """How many first attempts could be begun at once, counted up to `enough`."""
        count, share = 0, self._share
        for lane in self._round:
            count += min(len(lane.firsts), max(0, min(lane.limit, share) - lane.in_flight))
            if count >= enough:
                break
        return count

    def pick(self, count_max: int, now_ms: int) -> list[tuple[Lane, Waiting | Bundle]]:
        """Up to so many requests, one lane after the other; they count as in flight from now on.

        The last quarter of all that may be in flight is for lanes that have less than their share of it.
        """
        picked: list[tuple[Lane, Waiting | Bundle]] = []
        passed: list[Lane] = []  # they had more than their share
        going, taken = self._round, 0
        share = self._share
        free_max = count_max - self._in_flight_max // 4
        while going and len(picked) < count_max:
            lane = going.popleft()
            if lane.version != self.version:
                self._take_over(lane)
            if lane.in_flight >= lane.limit:
                lane.is_full = True
            elif lane.in_flight >= share and len(picked) >= free_max:
                passed.append(lane)
                continue
            elif lane.is_plain or self._may_begin(lane, now_ms):
                item = lane.next() if lane.is_plain else self._next_drained(lane)
                if item is not None:
                    lane.in_flight += 1
                    count = len(item.items) if type(item) is Bundle else 1
                    lane.queued -= count
                    taken += count
                    if not lane.is_busy or not lane.is_plain or lane.heads:
                        self._begun(lane, item, now_ms)
                    picked.append((lane, item))
                if lane.is_behind:
                    self._feed(lane)
                if lane.firsts or lane.retries or (lane.resends and item is not None):
                    going.append(lane)
                    continue
            self._unlist(lane)
        going.extend(passed)
        self.items -= taken
        return picked

    def tick(self, now_ms: int) -> list[int]:
        """What the lanes that did something since the last tick make of it; answers which got an answer."""
        answered = []
        for lane in list(self._busy.values()):
            restraint = lane.restraint
            if lane.ended:
                if lane.good:
                    mean_us = lane.ended_us / lane.ended
                    restraint.adaptive.answers(lane.good, mean_us, lane.in_flight, lane.is_full)
                    restraint.breaker.count(lane.good, 0, now_ms)
                    answered.append(lane.number)
                lane.ended = lane.ended_us = lane.good = 0
                lane.silent_ms = now_ms
            elif lane.in_flight:
                restraint.adaptive.silent(lane.in_flight, lane.silent_ms, now_ms)
            else:
                del self._busy[lane.number]
                lane.is_busy = False
                self._listed_idle += lane.is_listed
            lane.is_full = False
            self._look_at(lane)
        return answered

    def forgive(self) -> None:
        """The line was down: no lane is to blame."""
        for lane in self.lanes.values():
            lane.restraint.forgive()
            self._look_at(lane)
            if 0 < lane.gate_ms < FAR:
                self._open(lane)

    def buckets(self, lanes: Iterable[Lane]) -> dict[int, bytes]:
        """Rate limits of these lanes that have changed, to be committed with the intents that changed them."""
        found = {}
        for lane in lanes:
            rates = lane.restraint.rates
            if rates is not None and rates.is_changed:
                found[lane.number] = rates.encoded()
        return found

    def late(self, picked: Iterable[tuple[Lane, Waiting | Bundle]], now_ms: int) -> None:
        """What was picked last goes out only now: it counts against rate limits from now on."""
        for lane, count in Counter(lane for lane, _ in picked).items():
            if lane.restraint.rates is not None:
                lane.restraint.rates.late(now_ms, count)

    def forget_idle(self) -> None:
        """Drops lanes that hold nothing and did nothing lately."""
        for number in [number for number, lane in self.lanes.items() if lane.is_idle and lane.latency.is_empty]:
            lane = self.lanes[number]
            is_asked_for = lane.is_listed or lane.is_hungry or lane.is_spilled or lane.is_busy
            if not is_asked_for and lane.restraint.wait_ms <= self._seen_ms:
                if lane.restraint.rates is not None:
                    self._buckets[number] = lane.restraint.rates.encoded()
                del self.lanes[number]

    @property
    def _share(self) -> int:
        """What each lane that has something to send may have of all that may be in flight."""
        return max(1, self._in_flight_max // max(1, len(self._busy) + self._listed_idle))

    @property
    def active(self) -> int:
        """Lanes that hold something to send."""
        return sum(1 for lane in self.lanes.values() if lane.queued or lane.in_flight)

    # --- what holds a lane back ----------------------------------------------------------------------

    def _take_over(self, lane: Lane) -> None:
        """Takes over what the catalog in force says of a lane."""
        lane.restraint.follow(self._policy_of(lane.number))
        lane.version = self.version
        self._look_at(lane)

    def _look_at(self, lane: Lane) -> None:
        """What holds it back may have changed."""
        restraint = lane.restraint
        before, lane.limit = lane.limit, restraint.adaptive.limit
        lane.is_plain = restraint.is_plain
        if lane.limit > before and lane.is_waiting:
            self._enlist(lane)

    def _may_begin(self, lane: Lane, now_ms: int) -> bool:
        """Whether a lane may begin one more; where it may not, it leaves the round until it may."""
        if lane.gate_ms > now_ms:
            return False
        until_ms, held = lane.restraint.until(now_ms)
        if not until_ms:
            return True
        if until_ms != UNTIL_FREED:
            lane.gate_ms, lane.gate_why = until_ms, held.value
            if until_ms < FAR:
                heappush(self._wakes, (until_ms, lane.number))
        return False

    def _next_drained(self, lane: Lane) -> Waiting | Bundle | None:
        """The item whose turn it is. What leaves memory on the way is uncounted, even where nothing is begun."""
        item = lane.next_drained()
        self.items, lane.dropped = self.items - lane.dropped, 0
        return item

    def _begun(self, lane: Lane, item: Waiting | Bundle, now_ms: int) -> None:
        """What is not asked of lanes that are under way and have no limits."""
        if not lane.is_busy:
            lane.is_busy = True
            lane.silent_ms = now_ms
            self._busy[lane.number] = lane
            self._listed_idle -= 1
        if not lane.is_plain:
            lane.restraint.begin(now_ms)
            lane.is_plain = lane.restraint.is_plain
        if lane.heads:
            for one in item.items if isinstance(item, Bundle) else (item,):
                key = one.post.key
                if key and lane.heads.get(key) == one.seq:
                    lane.keys_in_flight[one.seq] = key

    def _open(self, lane: Lane) -> None:
        lane.gate_ms, lane.gate_why = 0, ""
        if lane.is_waiting:
            self._enlist(lane)
        self._feed(lane)

    def _enlist(self, lane: Lane) -> None:
        if not lane.is_listed and not lane.gate_ms:
            lane.is_listed = True
            self._listed_idle += not lane.is_busy
            self._round.append(lane)

    def _unlist(self, lane: Lane) -> None:
        lane.is_listed = False
        self._listed_idle -= not lane.is_busy

    # --- from the store ------------------------------------------------------------------------------

    @property
    def _room(self) -> int:
        """How many first attempts of a lane memory may hold: where it is scarce, half of what is left, so that those
        that hold most are the first to hold no more."""
        if self.items < self._items_plenty:
            return self._firsts_max
        return max(1, min(self._firsts_max, (self._items_max - self.items) // 2))

    def _feed(self, lane: Lane) -> None:
        """Has the next refill look at the lane, if the store holds something that its memory has run out of."""
        if not lane.is_hungry and not lane.gate_ms and lane.is_wanting:
            lane.is_hungry = True
            self._hungry.append(lane)

    def _read(self, lane: Lane, now_ms: int) -> None:
        if lane.is_spilled and not lane.firsts:
            self._read_firsts(lane)
        for later in lane.later:
            if later.is_due and not later.items:
                self._read_later(lane, later, now_ms)
        lane.is_behind = lane.is_spilled or lane.later[0].is_due or lane.later[1].is_due
        if lane.is_waiting:
            self._enlist(lane)
        self._feed(lane)

    def _read_firsts(self, lane: Lane) -> None:
        wanted = max(1, self._room - lane.gathered)
        items = self._store.due(lane.number, 0, (0, lane.last_seq), wanted)
        lane.is_spilled = len(items) == wanted
        for item in items:
            if item.seq >= lane.until_seq:  # it is draining; what came later is read when it is open again
                lane.is_spilled = False
                break
            self._stand(lane, item)
        if items:
            lane.last_seq = items[-1].seq

    def _stand(self, lane: Lane, item: LaneItem, is_next: bool = False) -> bool:
        """Takes a first attempt into memory, or what is the next of its key: that stands in front; answers whether it
        may stand there."""
        waiting = _waiting(item)
        post = waiting.post
        if item.key and not is_next and not self._admit(lane, item, post):
            return False
        self.items += 1
        if is_next:
            lane.heads[item.key] = item.seq
        if item.due_ms:
            lane.retries.appendleft(Bundle((waiting,)) if post.batched else waiting)
        elif post.batched:
            self._gather(lane, waiting)
        elif is_next:
            lane.firsts.appendleft(waiting)
        else:
            lane.firsts.append(waiting)
        return True

    def _admit(self, lane: Lane, item: LaneItem, post: PostbackOut) -> bool:
        """Whether an item with an order key may stand in memory. So a batch never has two of one key."""
        is_admitted = self.ordering.admit(lane, item, post)
        self.items, lane.dropped = self.items - lane.dropped, 0
        return is_admitted

    def _read_later(self, lane: Lane, later: Later, now_ms: int) -> None:
        after, until_seq = later.after, lane.until_seq
        wanted = min(self._later_max, self._room)
        together = []
        while True:
            items = self._store.due(lane.number, now_ms, after, wanted, later.rank)
            later.is_due = len(items) == wanted
            for item in items:
                if item.seq < until_seq:
                    one = _waiting(item)
                    if not item.key or self._admit(lane, item, one.post):
                        together.append(one)
            if together or not later.is_due:
                break
            after = (items[-1].due_ms, items[-1].seq)
        later.items.extend(self._together(together))
        self.items += len(together)
        if not later.is_due:
            self._find_next(lane, later, (now_ms, FAR))

    def _find_next(self, lane: Lane, later: Later, after: tuple[int, int]) -> None:
        """The earliest that is due behind `after`, into the heap."""
        following = self._store.due(lane.number, FAR, after, 1, later.rank)
        later.due_ms = following[0].due_ms if following else FAR
        if following:
            heappush(self._due, (later.due_ms, lane.number, later.rank))

    # --- batches -------------------------------------------------------------------------------------

    def _gather(self, lane: Lane, waiting: Waiting) -> bool:
        """Adds a first attempt to those of its rule; answers whether they are enough now, and stand in the lane."""
        key = (waiting.post.catalog, waiting.post.rule, waiting.post.test, bool(waiting.post.corrects))
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

    def _close(self, lane: Lane, key: RuleKey) -> None:
        lane.firsts.append(Bundle(tuple(lane.gathering.pop(key))))

    def _close_aged(self, number: int, key: RuleKey, now_ms: int) -> None:
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
        gathering: dict[tuple[int | bool, ...], list[Waiting]] = {}
        for one in waiting:
            post = one.post
            if not post.batched:
                found.append(one)
                continue
            is_first = bool(post.corrects) and not one.attempt  # a batch has one reason, and one attempt
            key = (post.catalog, post.rule, one.attempt, post.begun, one.unknown, post.test, is_first)
            held = gathering.setdefault(key, [])
            held.append(one)
            if len(held) >= self._batch_of(post)[0]:
                found.append(Bundle(tuple(gathering.pop(key))))
        found += [Bundle(tuple(held)) for held in gathering.values()]
        return found


def _waiting(item: LaneItem) -> Waiting:
    post = decode_frame(item.frame)
    assert isinstance(post, PostbackOut)
    return Waiting(item.seq, item.attempt, item.first_ms, item.unknown, post, item.excused, item.rank)
