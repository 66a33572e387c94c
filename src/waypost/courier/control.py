"""What operators ask of lanes, and what a partner's 410 makes of its own.

Owns: the way from the operator's journal to the shard: pauses, drains, and bulk work in small steps. Reads that
journal and the lanes; plans what the courier journals and commits; tells the schedule once it stands. Never sends, and
never touches what is in flight.

Of a bulk step the outcomes are journaled first, then they and how far the work has come are one transaction of the
lanes. A crash between the two repeats nothing: the courier applies its journal first, and what was driven again or
dropped is then no more in a state that the work looks for.
"""

from collections import deque
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from waypost.courier.landing import Landed
from waypost.courier.policies import Policies
from waypost.courier.schedule import Lane, Schedule
from waypost.errors import WaypostError
from waypost.model.frames import Attempt, AttemptReason, OperatorChange, Outcome, PostbackOut, SendResult
from waypost.model.lane_words import DRAIN, DROP, KINDS, PAUSE, RESUME, RETRY, LaneWord, word_of
from waypost.model.lanes import partner_of_lane
from waypost.model.wire import decode_block, decode_frame, encode_frame
from waypost.ports.clock import Clock
from waypost.ports.feed import Block, Feed, Positions
from waypost.ports.lanes import Chore, ItemState, LaneBatch, LaneControl, LaneItem, Lanes, LaneState
from waypost.telemetry.log import logger
from waypost.telemetry.stats import Stats

OPERATOR = "operator"  # the journal's name
BY_COURIER = "courier"
GONE = 410
_POLL_MS = 200  # between two looks at the journal
_DRAIN_POLL_MS = 1000  # … and at lanes that drain
_STEP_ITEMS_MAX = 500  # of bulk work, a cycle: other lanes go on in between
_WORDS_FRAMES_MAX = 2000
_SHOWN_MAX = 200
_FAR = 1 << 60
_KINDS_OF_CHORES = {RETRY: "retry", DROP: "drop"}
_RESULTS = {"retry": SendResult.REDRIVEN, "drop": SendResult.DROPPED}

_log = logger("courier")


def paused_by_410(lane: int, url: str, now_ms: int) -> LaneControl:
    """The lane whose partner answered so at that address."""
    return LaneControl(lane, LaneState.PAUSED, f"{urlsplit(url).hostname or ''} answered {GONE}", BY_COURIER, now_ms)


class _Plan:
    """What one commit is to hold."""

    def __init__(self) -> None:
        self.controls: dict[int, LaneControl] = {}
        self.chores: dict[int, Chore] = {}  # as they stand after it
        self.done: list[int] = []
        self.end = -1  # read up to here; -1: nothing new
        self.handled: list[tuple[Chore, list[LaneItem]]] = []
        self.is_in_batch = False

    @property
    def is_empty(self) -> bool:
        return not (self.controls or self.chores or self.done or self.end >= 0)


class Control:
    """Used by the courier's thread. A cycle: `step`, the journal, `fill`, the lanes' commit, `committed`."""

    def __init__(
        self,
        words: Feed | None,
        lanes: Lanes,
        schedule: Schedule,
        policies: Policies,
        positions: Positions,
        name: str,
        clock: Clock,
        stats: Stats,
    ) -> None:
        """`words` reads the operator's journal; `name` is as which its position is published."""
        self._words, self._lanes, self._schedule, self._policies = words, lanes, schedule, policies
        self._positions, self._name, self._clock, self._stats = positions, name, clock, stats
        self._position = 0
        self._controls: dict[int, LaneControl] = {}  # of lanes that are not simply open
        self._chores: dict[int, Chore] = {}
        self._turn: deque[int] = deque()  # numbers of chores, the next to have its turn first
        self._gone: dict[int, LaneControl] = {}  # pauses of a 410, not planned yet
        self._plan = _Plan()
        self._is_deaf = False  # the operator's journal could not be read
        self._poll_due_ms = self._drain_due_ms = 0.0

    def start(self) -> None:
        """Takes up what the shard holds. The schedule has been restored, and knows the lanes' states."""
        self._controls = self._lanes.controls()
        self._chores = {chore.number: chore for chore in self._lanes.chores()}
        self._position = self._lanes.outcome_positions().get(OPERATOR, 0)

    @property
    def is_at_work(self) -> bool:
        """Whether the next step may look for items in lanes."""
        return bool(self._turn)

    @property
    def has_plan(self) -> bool:
        """Whether something is to be committed."""
        return not self._plan.is_empty

    def step(self) -> list[Landed]:
        """Plans the next commit, unless one is planned; answers what is to be journaled before it."""
        now = self._clock.monotonic_ms()
        if not self._plan.is_empty or not (self._turn or self._gone or now >= self._poll_due_ms):
            return []
        plan = self._plan
        plan.controls, self._gone = self._gone, {}
        if now >= self._poll_due_ms:
            self._poll_due_ms = now + _POLL_MS
            self._turn = deque(self._chores)
            self._read_words(plan)
        if now >= self._drain_due_ms:
            self._drain_due_ms = now + _DRAIN_POLL_MS
            self._end_drains(plan)
        return self._work(plan)

    def hear(self) -> LaneBatch | None:
        """What is new of the operator's words, to be committed by itself: for a shard that is being brought to rest."""
        if self._plan.is_empty:
            self._read_words(self._plan)
        return self.fill(LaneBatch()) if not self._plan.is_empty else None

    def fill(self, batch: LaneBatch) -> LaneBatch:
        """Adds the plan to the batch that holds what `step` had journaled."""
        plan = self._plan
        plan.is_in_batch = True
        batch.controls = list(plan.controls.values())
        batch.chores = list(plan.chores.values())
        batch.chores_done = plan.done
        if plan.end >= 0:
            batch.control_source, batch.control_end = OPERATOR, plan.end
        return batch

    def committed(self) -> None:
        """The batch stands: what it holds is in force."""
        plan = self._plan
        if not plan.is_in_batch:
            return
        self._plan = _Plan()
        if plan.end >= 0:
            self._position = plan.end
        for control in plan.controls.values():
            if control.state is LaneState.OPEN:
                self._controls.pop(control.lane, None)
            else:
                self._controls[control.lane] = control
            self._schedule.set_control(control)
        self._turn.extend(plan.chores.keys() - self._chores.keys())
        self._chores.update(plan.chores)
        for number in plan.done:
            self._chores.pop(number, None)
        for chore, items in plan.handled:
            self._tell_schedule(chore, items)

    def gone(self, lane: int, url: str, now_ms: int) -> None:
        """A partner said that what is called is gone for good: its lane waits for a human from now on."""
        held = self._gone.get(lane) or self._controls.get(lane)
        if held is not None and held.state is LaneState.PAUSED:
            return
        control = self._gone[lane] = paused_by_410(lane, url, now_ms)
        self._schedule.set_control(control)
        self._stats.add("courier_lanes_gone")
        _log.error("lane_paused", lane=self._policies.of(lane).name, why=control.why)

    def control_of(self, lane: int) -> LaneControl | None:
        """What the lane is, unless it is simply open."""
        return self._gone.get(lane) or self._controls.get(lane)

    def show(self) -> None:
        """Gauges, and beside what is shown of lanes, what was made of them."""
        controls = {**self._controls, **self._gone}
        self._stats.set("courier_lanes_paused", len(controls))
        shown = self._stats.details["lanes"]
        for lane, control in list(controls.items())[:_SHOWN_MAX]:
            by = f"by {control.by}" + (f": {control.why}" if control.why else "")
            shown.setdefault(self._policies.of(lane).name, {}).update(state=str(control.state), why=by)

    def publish(self) -> None:
        """Says how far the operator's journal is not needed any more."""
        self._positions.publish(self._name, OPERATOR, self._position)

    # --- words ---------------------------------------------------------------------------------------

    def _read_words(self, plan: _Plan) -> None:
        for block in self._blocks():
            for place, frame in enumerate(decode_block(block.data, block.count), block.first):
                if isinstance(frame, OperatorChange) and frame.kind in KINDS:
                    self._take_word(place, frame, plan)
            plan.end = block.end

    def _blocks(self) -> list[Block]:
        """What is new in the operator's journal. That it cannot be read stops no delivery."""
        if self._words is None:
            return []
        try:
            return self._words.read(self._position, _WORDS_FRAMES_MAX)
        except WaypostError as error:
            if not self._is_deaf:
                self._stats.add("errors")
                _log.error("operator_words_unread", code=error.code, detail=error.detail, position=self._position)
            self._is_deaf = error.code != "store_gap"
            if not self._is_deaf:  # an older release trimmed it without asking couriers
                self._position = self._words.head().first
            return []

    def _take_word(self, place: int, change: OperatorChange, plan: _Plan) -> None:
        try:
            word = word_of(change)
        except WaypostError as error:
            self._stats.add("errors")
            _log.error("word_not_understood", position=place, code=error.code, detail=error.detail)
            return
        if not self._lanes.owns(word.lane):
            return
        kind = change.kind
        if kind in _KINDS_OF_CHORES:
            plan.chores[place] = Chore(
                place,
                _KINDS_OF_CHORES[kind],
                word.lane,
                word.states,
                word.until_seq,
                word.codes,
                word.ids,
                word.why,
                change.by,
                from_ms=word.from_ms,
                to_ms=word.to_ms,
                job=word.job,
            )
        else:
            plan.controls[word.lane] = _control_of(kind, word, change)
        _log.info(kind, lane=self._policies.of(word.lane).name, by=change.by, why=word.why)

    def _end_drains(self, plan: _Plan) -> None:
        """Lanes that have sent what stood in them are paused."""
        for lane, control in self._controls.items():
            if control.state is LaneState.DRAINING and lane not in plan.controls and self._is_drained(control):
                now_ms = self._clock.now_ms()
                plan.controls[lane] = LaneControl(lane, LaneState.PAUSED, control.why, control.by, now_ms)
                _log.info("lane_drained", lane=self._policies.of(lane).name)

    def _is_drained(self, control: LaneControl) -> bool:
        """Whether nothing is in flight, nor queued that stood in the outbox then."""
        until = control.until_seq
        if self._schedule.lane(control.lane).in_flight or self._lanes.outbox_position() < until:
            return False
        for rank in (0, 1):
            after = (-1, -1)
            while items := self._lanes.due(control.lane, _FAR, after, _STEP_ITEMS_MAX, rank):
                if any(item.seq < until for item in items):
                    return False
                # First attempts stand in the outbox's order: behind one that came later none is older.
                last = items[-1]
                after = (0, _FAR) if last.due_ms == 0 else (last.due_ms, last.seq)
        return True

    # --- bulk work -----------------------------------------------------------------------------------

    def _work(self, plan: _Plan) -> list[Landed]:
        """One step of one chore; they take turns. One that waits has its next with the next look at the journal."""
        while self._turn:
            chore = self._chores.get(self._turn.popleft())
            if chore is None:
                continue
            landed, is_idle = self._step_of(chore, plan)
            if not is_idle:
                self._turn.append(chore.number)
                return landed
        return []

    def _step_of(self, chore: Chore, plan: _Plan) -> tuple[list[Landed], bool]:
        """The step's frames, and whether there was nothing to do and to write."""
        waits = ItemState.QUEUED in chore.states and self._lanes.outbox_position() < chore.until_seq
        items = self._lanes.standing(chore.lane, chore.states, chore.after_seq, chore.until_seq, _STEP_ITEMS_MAX)
        wanted = [item for item in items if _is_meant(chore, item)]
        after_seq = items[-1].seq if items else chore.after_seq
        if len(items) < _STEP_ITEMS_MAX and not waits:
            plan.done.append(chore.number)
            done = chore.done + len(wanted)
            _log.info(
                "lane_work_done", kind=chore.kind, lane=self._policies.of(chore.lane).name, items=done, by=chore.by
            )
        elif items:
            plan.chores[chore.number] = msgspec.structs.replace(
                chore, after_seq=after_seq, done=chore.done + len(wanted)
            )
        else:
            return [], True  # what it waits for is not taken from the outbox yet
        if not wanted:
            return [], False
        plan.handled.append((chore, wanted))
        return [self._landed(chore, wanted)], False

    def _landed(self, chore: Chore, items: Sequence[LaneItem]) -> Landed:
        now_ms = self._clock.now_ms()
        result = _RESULTS[chore.kind]
        due_ms = now_ms if chore.kind == "retry" else 0
        outcomes = tuple(Outcome(item.id, item.seq, item.attempt, result, item.code, due_ms) for item in items)
        attempt = Attempt(
            chore.lane,
            partner_of_lane(chore.lane),
            now_ms,
            AttemptReason.RETRY,
            "",
            "",
            outcomes,
            detail=chore.why,
            by=chore.by,
        )
        return Landed(self._schedule.lane(chore.lane), encode_frame(attempt), outcomes)

    def _tell_schedule(self, chore: Chore, items: Sequence[LaneItem]) -> None:
        lane = self._schedule.lane(chore.lane)
        _uncount(lane, items)
        if chore.kind == "retry":
            lane.queued += len(items)
            self._stats.add("courier_redriven", len(items))
        else:
            self._stats.add("courier_dropped", len(items))
        self._schedule.reload(chore.lane)


def _control_of(kind: str, word: LaneWord, change: OperatorChange) -> LaneControl:
    states = {PAUSE: LaneState.PAUSED, RESUME: LaneState.OPEN, DRAIN: LaneState.DRAINING}
    return LaneControl(word.lane, states[kind], word.why, change.by, change.at_ms, word.until_seq)


def _is_meant(chore: Chore, item: LaneItem) -> bool:
    if (chore.codes and item.code not in chore.codes) or (chore.ids and item.id not in chore.ids):
        return False
    if not (chore.from_ms or chore.to_ms or chore.job):
        return True
    post = decode_frame(item.frame)
    assert isinstance(post, PostbackOut)
    if chore.job and post.job != chore.job:
        return False
    return chore.from_ms <= post.created_ms and (not chore.to_ms or post.created_ms < chore.to_ms)


def _uncount(lane: Lane, items: Sequence[LaneItem]) -> None:
    """They do not stand in the lane any more as they did."""
    for item in items:
        if item.state is ItemState.QUEUED:
            lane.queued -= 1
        elif item.state is ItemState.DEAD:
            lane.dead -= 1
        else:
            lane.held -= 1
