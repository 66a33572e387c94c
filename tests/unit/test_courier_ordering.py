"""Postbacks that keep an order, and corrections: real lanes in SQLite, everything around them in memory."""

from pathlib import Path
from typing import Any

import pytest

from support.courier_world import World, fails, hangs, settle
from support.sender import FakeSender, answered
from waypost.catalog.model import Batch, PostbackRule
from waypost.model.frames import PostbackOut, SendResult
from waypost.ports.lanes import ItemState, LaneControl, LaneState


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def put(world: World, *keys: str, lane: int = 1, **more: Any) -> list[int]:
    """Postbacks with these order keys; answers their places."""
    first, now_ms = world.outbox.end, world.clock.now_ms()
    world.outbox.put(
        [
            PostbackOut(
                f"p{first + n}", lane, lane, 0, 0, 1, 1, now_ms, now_ms, {"sub1": str(first + n)}, key=key, **more
            )
            for n, key in enumerate(keys)
        ]
    )
    return list(range(first, first + len(keys)))


def tokens(sender: FakeSender) -> list[int]:
    return [request.token for request in sender.sent]


def test_one_at_a_time_for_each_key_in_the_outboxs_order(world: World) -> None:
    put(world, "a", "b", "a", "a", "b", "")
    courier, sender = world.courier(FakeSender(hangs))
    for _ in range(5):
        courier.step()
    assert tokens(sender) == [0, 1, 5]
    sender.answer = lambda request: answered(request) if request.token == 0 else None
    for _ in range(3):
        courier.step()
    assert tokens(sender) == [0, 1, 5, 2]
    sender.answer = answered
    settle(courier)
    assert sorted(tokens(sender)) == list(range(6))
    assert world.depth() == (0, 0, 0)
    lane = courier._schedule.lanes[1]
    assert not lane.heads and not lane.keys_in_flight


def test_a_retry_holds_those_behind_it_and_a_dead_one_does_not(world: World) -> None:
    put(world, "a", "a", "b")
    courier, sender = world.courier(FakeSender(lambda request: answered(request, status=200 if request.token else 500)))
    settle(courier)
    assert tokens(sender) == [0, 2]
    world.clock.advance(1000)
    settle(courier)
    assert tokens(sender) == [0, 2, 0]
    world.clock.advance(10_000)
    settle(courier)
    assert tokens(sender) == [0, 2, 0, 0, 1]  # given up, and on
    assert world.depth() == (0, 0, 1)


def test_a_delay_holds_those_behind_it(world: World) -> None:
    put(world, "a", due_ms=world.clock.now_ms() + 5000)
    put(world, "a", "b")
    courier, sender = world.courier()
    settle(courier)
    assert tokens(sender) == [2]
    world.clock.advance(5000)
    settle(courier)
    assert tokens(sender) == [2, 0, 1]


def test_the_order_holds_over_a_kill(world: World) -> None:
    put(world, "a", "a", "a")
    courier, sender = world.courier(FakeSender(hangs))
    for _ in range(3):
        courier.step()
    assert tokens(sender) == [0]
    courier, sender = world.courier()
    settle(courier)
    assert tokens(sender) == [0, 1, 2]
    reasons = [dict(request.headers).get("Waypost-Repeat-Reason") for request in sender.sent]
    assert reasons == ["unknown-after-crash", None, None]
    assert world.depth() == (0, 0, 0)


def test_keys_beyond_memory_come_in_order(tmp_path: Path) -> None:
    world = World(tmp_path, lane_memory_max=8, in_flight_max=6)
    for n in range(40):
        put(world, *(f"k{n % 7}" for _ in range(5)))
    courier, sender = world.courier()
    settle(courier, 3000)
    assert sorted(tokens(sender)) == list(range(200))
    for key in range(7):
        mine = [token for token in tokens(sender) if token // 5 % 7 == key]
        assert mine == sorted(mine)
    assert courier._schedule.items == 0


def test_a_pause_and_a_reload_keep_the_order(world: World) -> None:
    put(world, *["a"] * 6)
    courier, sender = world.courier(FakeSender(hangs))
    for _ in range(3):
        courier.step()
    courier._schedule.set_control(LaneControl(1, LaneState.PAUSED))
    sender.answer = answered
    settle(courier)
    assert tokens(sender) == [0]
    courier._schedule.set_control(LaneControl(1, LaneState.OPEN))
    courier._schedule.reload(1)
    settle(courier)
    assert tokens(sender) == list(range(6))


def batched(world: World) -> None:
    batch = Batch(3, 1000, '"{sub1}"')
    world.rules[1] = PostbackRule(1, (), (), (), (), "POST", "http://partner.example/b", {}, "", (), batch=batch)


def test_a_batch_has_never_two_of_one_key(world: World) -> None:
    batched(world)
    put(world, "a", "a", "b", "c", "a", batched=True)
    courier, sender = world.courier()
    settle(courier)
    assert [request.body for request in sender.sent] == [b'["0","2","3"]']
    for _ in range(3):
        world.clock.advance(1000)
        settle(courier)
    assert [request.body for request in sender.sent[1:]] == [b'["1"]', b'["4"]']
    assert world.depth() == (0, 0, 0)
    assert courier._schedule.items == 0 and not courier._schedule.lanes[1].heads


def test_retries_of_a_batch_hold_those_behind_them(world: World) -> None:
    batched(world)
    put(world, "a", "b", "c", "a", "b", "c", batched=True)
    courier, sender = world.courier(FakeSender(fails()))
    settle(courier)
    world.clock.advance(999)
    settle(courier)
    assert len(sender.sent) == 1
    sender.answer = answered
    for _ in range(3):
        world.clock.advance(1000)
        settle(courier)
    assert [request.body for request in sender.sent[1:]] == [b'["0","1","2"]', b'["3","4","5"]']
    assert world.depth() == (0, 0, 0)


def test_a_correction_takes_its_place_in_a_batch_that_gathers(world: World) -> None:
    batched(world)
    put(world, "a", "b", batched=True)
    courier, sender = world.courier()
    settle(courier)
    put(world, "a", corrects="p0", batched=True)
    for _ in range(3):
        settle(courier)
        world.clock.advance(1000)
    assert [request.body for request in sender.sent] == [b'["1","2"]']
    assert results(world)[0] == ("p0", "superseded")
    assert courier._schedule.items == 0 and world.depth() == (0, 0, 0)


# --- corrections -------------------------------------------------------------------------------------


def correct(world: World, original: int, key: str = "a") -> int:
    return put(world, key, corrects=f"p{original}")[0]


def reason(request: Any) -> tuple[str | None, str | None]:
    headers = dict(request.headers)
    return headers.get("Waypost-Repeat-Reason"), headers.get("Waypost-Corrects")


def results(world: World) -> list[tuple[str, str]]:
    return [(outcome.id, outcome.result.value) for one in world.attempts() for outcome in one.outcomes]


def test_a_correction_takes_the_place_of_what_was_never_begun(world: World) -> None:
    courier, sender = world.courier()
    settle(courier)
    courier._schedule.set_control(LaneControl(1, LaneState.PAUSED))
    put(world, "a", "b")
    correct(world, 0)
    settle(courier)
    courier._schedule.set_control(LaneControl(1, LaneState.OPEN))
    settle(courier)
    assert tokens(sender) == [1, 2]
    assert reason(sender.sent[1]) == (None, None)  # the partner has heard nothing
    assert results(world) == [("p0", "superseded"), ("p1", "delivered"), ("p2", "delivered")]
    assert world.depth() == (0, 0, 0)
    assert courier._schedule.lanes[1].queued == 0


def test_what_was_superseded_stays_so_over_a_kill_at_any_moment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    put(world, "a")
    correct(world, 0)
    courier, sender = world.courier()
    courier._lanes.close()
    for moment in ("journal", "lanes"):
        lanes = None
        courier, sender = world.courier(FakeSender(hangs))
        lanes = courier._lanes
        courier._start()
        courier._schedule.set_control(LaneControl(1, LaneState.PAUSED))
        courier.step()  # taken
        assert sender.sent == []
        courier._schedule.set_control(LaneControl(1, LaneState.OPEN))
        if moment == "journal":
            courier._schedule.refill(world.clock.now_ms())
            courier._supersede()
            courier._record()  # journaled, not in the lanes
            assert [item.state for item in lanes.items()] == [ItemState.QUEUED] * 2
    courier, sender = world.courier(FakeSender(fails()))
    settle(courier)
    assert tokens(sender) == [1] and reason(sender.sent[0]) == (None, None)
    courier, sender = world.courier()
    world.clock.advance(1000)
    settle(courier)
    assert reason(sender.sent[0]) == ("retry", None)
    assert results(world)[0] == ("p0", "superseded")
    assert [result for id, result in results(world) if id == "p1"] == ["retry", "delivered"]


@pytest.mark.parametrize("ends", ["delivered", "retried", "dead"])
def test_a_correction_waits_for_what_was_begun(world: World, ends: str) -> None:
    put(world, "a")
    courier, sender = world.courier(FakeSender(hangs))
    for _ in range(3):
        courier.step()
    second = correct(world, 0)
    for _ in range(3):
        courier.step()
    assert tokens(sender) == [0]
    sender.answer = answered if ends == "delivered" else fails()
    courier.step()
    if ends == "retried":
        settle(courier)
        assert tokens(sender) == [0]
        sender.answer = answered
    for _ in range(3):
        settle(courier)
        world.clock.advance(11_000)
        if ends == "dead" and tokens(sender).count(0) == 3:
            sender.answer = answered
    settle(courier)
    assert tokens(sender)[-1] == second
    told = next(request for request in sender.sent if request.token == second)
    headers = dict(told.headers)
    assert headers["Waypost-Corrects"] == "p0"
    assert SendResult.SUPERSEDED.value not in dict(results(world)).values()


def test_a_correction_of_what_is_gone_goes_at_once(world: World) -> None:
    put(world, "a")
    courier, sender = world.courier()
    settle(courier)
    correct(world, 0)
    settle(courier)
    assert [reason(request)[1] for request in sender.sent] == [None, "p0"]
