"""Lanes that are held back or stand behind others: real lanes in SQLite, everything around them in memory."""

from pathlib import Path

import pytest

from support.courier_world import World, fails, hangs, settle
from support.sender import FakeSender, answered
from waypost.model.frames import PostbackOut
from waypost.ports.lanes import LaneBatch, LaneControl, LaneState


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
