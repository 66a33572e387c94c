"""Random lanes, partners, kills and failing writes: nothing is lost, no order broken, no limit exceeded."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from support.courier_world import World
from support.rates import most_within
from support.sender import FakeSender, answered
from waypost.catalog.model import Delivery, Rate
from waypost.courier.courier import Courier
from waypost.engines.sqlite.lanes_flights import BLOCKS_MAX
from waypost.errors import WaypostError
from waypost.model.frames import PostbackOut
from waypost.ports.lanes import LaneBatch, LaneControl, LaneState
from waypost.ports.sender import SendReport, SendRequest

LANES = 4
_MOODS = ("fine", "fine", "fails", "hangs", "busy", "cut")


class Partners(FakeSender):
    """Each lane has a mood; notes who was asked when, and how many at once."""

    def __init__(self, play: "Play") -> None:
        super().__init__(self._say)
        self.play = play

    def submit(self, requests: Any) -> None:
        play = self.play
        for request in requests:
            if request.probe:
                continue
            lane = play.lane_of[request.token]
            play.begun[lane].append(play.world.clock.now_ms())
            key = play.key_of[request.token]
            flying = [one for one in self.open if one >= 0 and play.lane_of[one] == lane]
            assert len(flying) < play.concurrency[lane], "more at once than the catalog allows"
            assert not key or key not in [play.key_of[one] for one in flying], "two of one key at once"
            play.sent.append(request.token)
            self.open[request.token] = request
        super().submit([request for request in requests if request.probe])

    def _say(self, request: SendRequest) -> SendReport | None:
        play = self.play
        if request.probe:
            return answered(request, status=0, code="" if play.dice.random() < 0.5 else "connect_failed")
        mood = play.moods[play.lane_of[request.token]]
        if mood == "hangs" or play.dice.random() < 0.3:
            return None
        if mood == "fails" and play.dice.random() < 0.8:
            return answered(request, status=500)
        if mood == "busy":
            return answered(request, status=429, retry_after="2")
        if mood == "cut":
            return answered(request, code="connect_failed")
        play.delivered.append(request.token)
        return answered(request)


class Play:
    """One run: what is put in, what happens to it, and what must hold."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.dice = dice = random.Random(seed)
        self.world = World(
            folder,
            retry_schedule_ms=(1000,) * 40,
            breaker_share=dice.choice((0.0, 0.5)),
            breaker_calls=4,
            breaker_pause_ms=500,
            breaker_pause_max_ms=4000,
            offline_share=dice.choice((0.0, 0.8)),
            offline_lanes=2,
            offline_probe_ms=500,
            lane_memory_max=dice.choice((8, 500)),
            memory_items_max=dice.choice((10, 50_000)),
            in_flight_max=dice.choice((3, 40)),
        )
        self.world.blocks_max = dice.choice((0, 2, BLOCKS_MAX))
        self.rates: dict[int, tuple[Rate, ...]] = {}
        self.concurrency: dict[int, int] = {}
        for lane in range(1, LANES + 1):
            rates = [Rate(dice.randrange(1, 9), dice.choice((1000, 60_000)), 1) for _ in range(dice.randrange(3))]
            self.rates[lane] = tuple(rates) if dice.random() < 0.5 else ()
            self.concurrency[lane] = dice.choice((1, 2, 10))
            self.world.deliveries[lane] = Delivery(
                concurrency=self.concurrency[lane], rates=self.rates[lane], adaptive=dice.random() < 0.7
            )
        self.moods = dict.fromkeys(range(1, LANES + 1), "fine")
        self.begun: dict[int, list[int]] = {lane: [] for lane in self.moods}
        self.lane_of: dict[int, int] = {}
        self.key_of: dict[int, str] = {}
        self.sent: list[int] = []
        self.delivered: list[int] = []
        self.courier, self.sender = self.open()

    def open(self) -> tuple[Courier, Partners]:
        courier, sender = self.world.courier(Partners(self))
        self.is_failing = False
        assert isinstance(sender, Partners)
        return courier, sender

    def put(self) -> None:
        dice, first, now_ms = self.dice, self.world.outbox.end, self.world.clock.now_ms()
        posts = []
        for seq in range(first, first + dice.randrange(1, 12)):
            lane = dice.randrange(1, LANES + 1)
            key = dice.choice(("", "", "k1", "k2"))
            due_ms = now_ms + dice.randrange(2000) if dice.random() < 0.1 else 0
            job = "j" if not key and dice.random() < 0.2 else ""
            posts.append(
                PostbackOut(
                    f"p{seq}", lane, lane, 0, 0, 1, 1, now_ms, now_ms, {"sub1": str(seq)}, False, due_ms,
                    key=key, job=job,
                )
            )  # fmt: skip
            self.lane_of[seq], self.key_of[seq] = lane, key
        self.world.outbox.put(posts)

    def control(self) -> None:
        if not self.is_failing:
            lane = self.dice.randrange(1, LANES + 1)
            state = self.dice.choice((LaneState.OPEN, LaneState.PAUSED, LaneState.DRAINING))
            self.obey(LaneControl(lane, state, until_seq=self.dice.randrange(self.world.outbox.end + 1)))

    def obey(self, control: LaneControl) -> None:
        """As if an operator's word had been read."""
        courier = self.courier
        courier._lanes.apply(LaneBatch(controls=[control]))
        courier._control._controls.pop(control.lane, None)
        if control.state is not LaneState.OPEN:
            courier._control._controls[control.lane] = control
        courier._schedule.set_control(control)

    def act(self) -> None:
        """One thing that happens."""
        dice = self.dice
        what = dice.random()
        if what < 0.25:
            self.put()
        elif what < 0.32:
            self.moods[dice.randrange(1, LANES + 1)] = dice.choice(_MOODS)
        elif what < 0.36:
            self.courier, self.sender = self.open()
        elif what < 0.40 and self.courier._started and self.courier._batch is None:
            self.control()
        elif what < 0.43 and self.courier._started:
            self.courier._schedule.reload(dice.randrange(1, LANES + 1))
        elif what < 0.46:
            self.fail_once()
        elif what < 0.75:
            self.world.clock.advance(dice.choice((1, 5, 40, 300, 2500)))
        self.courier.step()
        schedule = self.courier._schedule
        assert schedule.items == sum(lane.in_memory for lane in schedule.lanes.values()), "counted wrong"

    def fail_once(self) -> None:
        """The lanes' next commit fails, after or before it was written."""
        if self.is_failing:
            return
        lanes, apply, is_written = self.courier._lanes, self.courier._lanes.apply, self.dice.random() < 0.5
        self.is_failing = True

        def broken(batch: LaneBatch) -> None:
            lanes.apply = apply  # type: ignore[method-assign]
            self.is_failing = False
            if is_written:
                apply(batch)
            raise WaypostError("data_unwritable", "disk full")

        lanes.apply = broken  # type: ignore[method-assign]

    def end(self) -> None:
        """All is well from now on: everything must go out."""
        self.put()
        vars(self.courier._lanes).pop("apply", None)  # a failure that no commit has met yet
        self.is_failing = False
        for _ in range(6_000):
            if self.courier._started and self.courier._batch is None:
                break
            self.world.clock.advance(1000)
            self.courier.step()
        for lane in self.moods:
            self.moods[lane] = "fine"
            self.obey(LaneControl(lane, LaneState.OPEN))
        for _ in range(6_000):
            if not self.courier.step():
                if self.world.depth()[:2] == (0, 0):
                    break
                self.world.clock.advance(1500)

    def check(self) -> None:
        world = self.world
        assert world.depth() == (0, 0, 0)
        assert set(self.delivered) == set(self.lane_of), "lost"
        for lane, rates in self.rates.items():
            for rate in rates:
                assert most_within(self.begun[lane], rate.per_ms) <= rate.limit
        for name in {(self.lane_of[seq], key) for seq, key in self.key_of.items() if key}:
            mine = [seq for seq in self.sent if (self.lane_of[seq], self.key_of[seq]) == name]
            assert mine == sorted(mine), "order"
        schedule = self.courier._schedule
        assert schedule.items == 0
        assert all(not lane.heads and not lane.in_memory and not lane.in_flight for lane in schedule.lanes.values())
        assert all(lane.queued == 0 for lane in schedule.lanes.values())


@given(st.integers(0, 1 << 48))
@example(140)  # its last failure is met by no commit
@example(
    179280232152809
)  # a kill after a commit that failed at first: a rate knew only of when its intents were picked
@example(242739831895361)  # the same
@example(16309)  # what a draining lane kept from being sent, and nothing else stood in it, was not uncounted
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    play = Play(tmp_path_factory.mktemp("lanes"), seed)
    play.put()
    for _ in range(120):
        play.act()
    play.end()
    play.check()
