"""Lanes that are held back or stand behind others: real lanes in SQLite, everything around them in memory."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from support.courier_world import World, fails, hangs, settle
from support.rates import most_within
from support.sender import FakeSender, answered
from waypost.catalog.model import Delivery, Rate, Schedule
from waypost.courier.courier import Courier
from waypost.errors import WaypostError
from waypost.model.frames import PostbackOut
from waypost.ports.lanes import LaneBatch, LaneControl, LaneState
from waypost.ports.sender import SendRequest


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def resend(world: World, count: int, lane: int = 1) -> None:
    """Postbacks of a resend into the outbox."""
    first, now_ms = world.outbox.end, world.clock.now_ms()
    world.outbox.put(
        [
            PostbackOut(f"p{n}", lane, lane, 0, n, 1, 1, now_ms, now_ms, {"sub1": str(n)}, job="j1")
            for n in range(first, first + count)
        ]
    )


# --- what an operator makes of a lane ----------------------------------------------------------------


def test_a_paused_lane_keeps_everything_and_others_go_on(world: World) -> None:
    courier, sender = world.courier()
    settle(courier)
    courier._schedule.set_control(LaneControl(1, LaneState.PAUSED, "maintenance"))
    world.put(1500, lane=1)
    world.put(20, lane=2)
    settle(courier)
    assert [request.token for request in sender.sent] == list(range(1500, 1520))
    assert world.depth() == (1500, 0, 0)
    assert courier._schedule.lanes[1].in_memory == 0
    courier._schedule.set_control(LaneControl(1, LaneState.OPEN))
    settle(courier)
    assert [request.token for request in sender.sent[20:]] == list(range(1500))
    assert world.depth() == (0, 0, 0)


def test_a_pause_holds_over_a_restart_and_leaves_what_is_in_flight_alone(tmp_path: Path) -> None:
    world = World(tmp_path, lane_concurrency=4)
    world.put(10)
    courier, sender = world.courier(FakeSender(hangs))
    courier.step()
    courier._lanes.apply(LaneBatch(controls=[LaneControl(1, LaneState.PAUSED)]))
    courier._schedule.set_control(LaneControl(1, LaneState.PAUSED))
    sender.answer = fails()
    settle(courier)
    assert world.depth() == (10, 0, 0)
    courier, sender = world.courier()
    world.clock.advance(5000)
    settle(courier)
    assert sender.sent == []
    courier._schedule.set_control(LaneControl(1, LaneState.OPEN))
    settle(courier)
    assert sorted(request.token for request in sender.sent) == list(range(10))


def test_a_draining_lane_sends_what_stood_in_it_and_keeps_the_rest(world: World) -> None:
    world.put(30)
    courier, sender = world.courier(FakeSender(fails()))
    settle(courier)
    courier._schedule.set_control(LaneControl(1, LaneState.DRAINING, until_seq=30))
    world.put(40)
    world.put(10, due_ms=world.clock.now_ms() + 10)
    sender.answer = answered
    world.clock.advance(1000)
    settle(courier)
    assert sorted({request.token for request in sender.sent}) == list(range(30))
    assert world.depth() == (50, 0, 0)
    courier._schedule.set_control(LaneControl(1, LaneState.OPEN))
    settle(courier)
    assert sorted({request.token for request in sender.sent}) == list(range(80))
    assert world.depth() == (0, 0, 0)


def test_what_a_draining_lane_does_not_send_takes_no_memory(world: World) -> None:
    courier, sender = world.courier()
    settle(courier)
    courier._schedule.set_control(LaneControl(1, LaneState.DRAINING, until_seq=0))
    world.put(40)
    settle(courier)
    assert sender.sent == []
    assert (courier._schedule.items, courier._schedule.lanes[1].in_memory) == (0, 0)


def test_what_others_changed_in_the_store_is_read_again(tmp_path: Path) -> None:
    world = World(tmp_path, lane_concurrency=2)
    world.put(20)
    courier, sender = world.courier(FakeSender(hangs))
    courier.step()
    courier._schedule.reload(1)
    sender.answer = answered
    settle(courier)
    assert [request.token for request in sender.sent] == list(range(20))
    assert world.depth() == (0, 0, 0)


# --- resends stand behind all others -----------------------------------------------------------------


def test_resends_wait_for_live_ones_and_get_what_is_left(tmp_path: Path) -> None:
    world = World(tmp_path, lane_concurrency=8, in_flight_max=8)
    resend(world, 300)
    courier, sender = world.courier(FakeSender(hangs))
    for _ in range(4):
        courier.step()
    assert len(sender.sent) == 2  # a quarter of what may be in flight
    sender.answer = answered
    for _ in range(20):
        world.put(8)
        courier.step()
    live = [request.token >= 300 for request in sender.sent[2:]]
    assert 0 < live.count(False) <= 1 + len(live) // 8
    settle(courier, 1000)
    assert sorted(request.token for request in sender.sent) == list(range(460))
    assert world.depth() == (0, 0, 0)


def test_resends_that_fail_stay_in_their_queue_over_a_restart(world: World) -> None:
    resend(world, 5)
    courier, sender = world.courier(FakeSender(fails()))
    settle(courier)
    assert [item.rank for item in world.lanes().items()] == [1] * 5
    courier, sender = world.courier()
    settle(courier)
    assert sender.sent == []
    world.clock.advance(1000)
    world.put(1)
    settle(courier)
    assert [request.token for request in sender.sent] == [5, 0, 1, 2, 3, 4]
    assert world.depth() == (0, 0, 0)


# --- what holds a lane back --------------------------------------------------------------------------


def run(world: World, courier: Courier, until_ms: int, step_ms: int = 50) -> None:
    """Lets time pass in steps, and everything happen that is due."""
    end_ms = world.clock.now_ms() + until_ms
    while world.clock.now_ms() < end_ms:
        settle(courier, 2000)
        world.clock.advance(step_ms)
    settle(courier, 2000)


class Timed(FakeSender):
    """Notes when each request was submitted."""

    def __init__(self, world: World, answer: Any = answered) -> None:
        super().__init__(answer)
        self.world, self.times = world, list[tuple[int, int]]()

    def submit(self, requests: Sequence[SendRequest]) -> None:
        self.times += [(self.world.clock.now_ms(), request.token) for request in requests]
        super().submit(requests)


def test_a_rate_is_kept_and_others_do_not_wait_for_it(world: World) -> None:
    world.deliveries[1] = Delivery(rates=(Rate(20, 1000, 5),))
    world.put(200, lane=1)
    world.put(200, lane=2)
    sender = Timed(world)
    courier, _ = world.courier(sender)
    settle(courier)
    assert len(sender.sent) == 205
    assert courier._schedule.lanes[1].gate_why == "rate"
    run(world, courier, 3000, 10)
    times = [ms for ms, token in sender.times if token < 200]
    assert 55 <= len(times) <= 65
    assert most_within(times, 1000) <= 20
    assert [token for _, token in sender.times if token < 200] == list(range(len(times)))


def test_a_limit_for_a_day_survives_kills_exactly(world: World) -> None:
    world.deliveries[1] = Delivery(rates=(Rate(50, 86_400_000, 50),))
    world.put(90)
    sent = 0
    for _ in range(12):
        courier, sender = world.courier(FakeSender(lambda request: answered(request)))
        for _ in range(2):
            courier.step()
        sent += len(sender.sent)
        world.clock.advance(60_000)
        world.put(1)
    assert sent == 50
    world.clock.advance(86_400_000)
    courier, sender = world.courier()
    settle(courier)
    assert len(sender.sent) == 50


def test_a_rate_holds_where_commits_failed_before_a_kill(world: World) -> None:
    world.deliveries[1] = Delivery(rates=(Rate(1, 1000, 1),))
    world.put(5)
    times: list[int] = []
    for _ in range(3):
        sender = Timed(world)
        courier, _ = world.courier(sender)
        lanes, apply = courier._lanes, courier._lanes.apply

        def broken(batch: LaneBatch, apply: Callable[[LaneBatch], None] = apply) -> None:
            if batch.intents:
                raise WaypostError("data_unwritable", "disk full")
            apply(batch)

        world.clock.advance(500)
        courier.step()  # only the first of these couriers has anything free
        world.clock.advance(1000)
        lanes.apply = broken  # type: ignore[method-assign]
        for _ in range(9):
            courier.step()  # … 100 ms each
        lanes.apply = apply  # type: ignore[method-assign]
        courier.step()
        times += [ms for ms, _ in sender.times]
    assert len(times) == 4
    assert most_within(times, 1000) == 1


def test_a_commit_that_fails_for_long_does_not_use_a_limit_up(world: World) -> None:
    world.deliveries[1] = Delivery(rates=(Rate(8, 86_400_000, 8),))
    world.put(3)
    courier, sender = world.courier()
    lanes, apply = courier._lanes, courier._lanes.apply

    def broken(batch: LaneBatch) -> None:
        raise WaypostError("data_unwritable", "disk full")

    lanes.apply = broken  # type: ignore[method-assign]
    for _ in range(50):
        courier.step()
    lanes.apply = apply  # type: ignore[method-assign]
    world.put(10)
    settle(courier)
    assert len(sender.sent) == 8


def test_a_rate_holds_behind_a_commit_that_took_long(world: World) -> None:
    world.deliveries[1] = Delivery(rates=(Rate(1, 1000, 1),))
    world.put(4)
    sender = Timed(world)
    courier, _ = world.courier(sender)
    lanes, apply = courier._lanes, courier._lanes.apply

    def slow(batch: LaneBatch) -> None:
        apply(batch)
        if batch.intents:
            world.clock.advance(2500)
            lanes.apply = apply  # type: ignore[method-assign]

    lanes.apply = slow  # type: ignore[method-assign]
    run(world, courier, 8000)
    assert len(sender.times) == 4
    assert most_within([ms for ms, _ in sender.times], 1000) == 1


def test_a_partner_that_fails_is_left_alone_and_tried_by_one_request_at_a_time(tmp_path: Path) -> None:
    world = World(tmp_path, breaker_share=0.5, retry_schedule_ms=(600_000,))
    world.put(500, lane=1)
    world.put(100, lane=2)
    sender = FakeSender(lambda request: answered(request, status=500 if request.token < 500 else 200))
    courier, _ = world.courier(sender)
    settle(courier)
    sick = sum(1 for request in sender.sent if request.token < 500)
    assert 20 <= sick <= 64 and len(sender.sent) == sick + 100
    lane = courier._schedule.lanes[1]
    assert (lane.gate_why, lane.restraint.breaker.state) == ("breaker", "open")
    assert world.depth() == (500, 0, 0)
    sender.sent.clear()
    run(world, courier, 60_000, 500)
    assert 3 <= len(sender.sent) <= 6  # 5, 10, 20 s and so on
    sender.answer = hangs
    run(world, courier, 60_000, 500)
    assert len(sender.open) == 1
    sender.answer = answered
    run(world, courier, 5_000, 100)
    assert world.depth()[0] <= sick + 10  # all first attempts; the others are not due yet
    run(world, courier, 600_000, 5_000)
    assert world.depth() == (0, 0, 0)


def test_a_partner_that_is_busy_gets_its_pause_and_less(world: World) -> None:
    world.deliveries[1] = Delivery()
    world.put(300, lane=1)
    courier, sender = world.courier(FakeSender(lambda request: answered(request, status=429, retry_after="30")))
    courier.step()
    settle(courier)
    begun = len(sender.sent)
    assert begun <= 16
    lane = courier._schedule.lanes[1]
    assert (lane.gate_why, lane.limit) == ("retry after", 8)
    sender.answer = answered
    run(world, courier, 29_000, 1000)
    assert len(sender.sent) == begun
    run(world, courier, 2_000, 100)
    assert world.depth() == (0, 0, 0)


def test_quiet_hours_hold_until_they_end(world: World) -> None:
    start = datetime.fromtimestamp(world.clock.now_ms() / 1000, UTC)  # 22:13
    world.deliveries[1] = Delivery(quiet_hours=(Schedule("UTC", tuple(range(7)), ((22 * 60, 23 * 60),)),))
    world.put(3)
    courier, sender = world.courier()
    settle(courier)
    assert sender.sent == []
    assert courier._schedule.lanes[1].gate_why == "quiet hours"
    world.clock.advance((59 - start.minute) * 60_000)
    settle(courier)
    assert sender.sent == []
    world.clock.advance(60_000)
    settle(courier)
    assert len(sender.sent) == 3


def test_a_change_of_the_catalog_frees_what_it_held(world: World) -> None:
    world.deliveries[1] = Delivery(rates=(Rate(1, 86_400_000, 1),))
    world.put(10)
    courier, sender = world.courier()
    settle(courier)
    assert len(sender.sent) == 1
    world.deliveries[1] = Delivery()
    courier._catalogs = newer = world.catalogs()
    newer.version = 2
    newer.views[2] = newer.views[1]
    world.clock.advance(1000)
    courier.step()
    settle(courier)
    assert len(sender.sent) == 10


def test_hanging_partners_do_not_hold_what_others_need(tmp_path: Path) -> None:
    world = World(tmp_path, in_flight_max=100)
    for lane in range(1, 51):
        world.deliveries[lane] = Delivery()
    sender = FakeSender(lambda request: None if request.token % 50 < 20 else answered(request))
    courier, _ = world.courier(sender)
    for _ in range(60):
        first, now_ms = world.outbox.end, world.clock.now_ms()
        posts = [
            PostbackOut(f"p{n}", 1 + n % 50, 1 + n % 50, 0, n, 1, 1, now_ms, now_ms, {"sub1": str(n)})
            for n in range(first, first + 50)
        ]
        world.outbox.put(posts)
        for _ in range(3):
            courier.step()
        world.clock.advance(200)
    settle(courier)
    healthy = sum(1 for request in sender.sent if request.token % 50 >= 20)
    assert healthy == 60 * 30
    hanging = [lane for lane in courier._schedule.lanes.values() if lane.number <= 20]
    assert all(lane.limit == 1 or lane.in_flight < 4 for lane in hanging)  # before any timeout
    assert len(sender.open) <= 80


def test_memory_of_all_lanes_is_bounded_and_nothing_is_lost(tmp_path: Path) -> None:
    world = World(tmp_path, memory_items_max=400, lane_memory_max=200, lane_concurrency=1)
    for lane in range(1, 41):
        world.put(100, lane=lane)
    courier, sender = world.courier(FakeSender(hangs))
    for _ in range(300):
        courier.step()
    lanes = courier._schedule.lanes.values()
    held = sum(lane.in_memory for lane in lanes)
    assert held == courier._schedule.items <= 400 + 40
    assert len(sender.sent) == 40
    sender.answer = answered
    settle(courier, 20_000)
    assert sorted(request.token for request in sender.sent) == list(range(4000))
    assert courier._schedule.items == 0
    for lane in range(1, 41):
        tokens = [one.token for one in sender.sent if one.token // 100 == lane - 1]
        assert tokens == sorted(tokens)
    assert world.depth() == (0, 0, 0)


def test_lanes_that_are_held_back_cost_a_cycle_nothing(world: World, monkeypatch: Any) -> None:
    world.deliveries = {lane: Delivery(rates=(Rate(1, 3_600_000, 1),)) for lane in range(1, 59)}
    for lane in range(1, 59):
        world.put(5, lane=lane)
    courier, sender = world.courier()
    settle(courier)
    asked: list[int] = []
    may_begin = courier._schedule._may_begin
    monkeypatch.setattr(courier._schedule, "_may_begin", lambda lane, now: asked.append(1) or may_begin(lane, now))
    world.put(50, lane=59)
    for _ in range(20):
        courier.step()
    assert asked == [] and len(sender.sent) == 58 + 50
    assert not courier._schedule._round and not courier._schedule._hungry


def test_a_pause_that_a_partner_asked_for_outlives_the_lanes_idleness(world: World) -> None:
    world.deliveries[1] = Delivery(retry_schedule_ms=())
    world.put(1)
    courier, sender = world.courier(FakeSender(lambda request: answered(request, status=503, retry_after="60")))
    settle(courier)
    assert world.depth() == (0, 0, 1)
    world.lanes().close()
    courier._schedule.lanes[1].dead = 0  # as if an operator had dropped it
    sender.answer = answered
    for _ in range(20):
        world.clock.advance(1000)
        settle(courier)
    world.put(1)
    settle(courier)
    assert len(sender.sent) == 1
    world.clock.advance(41_000)
    settle(courier)
    assert len(sender.sent) == 2
