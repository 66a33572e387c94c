"""The courier's cycle: real lanes in SQLite, everything around them in memory."""

from pathlib import Path
from typing import Any

import pytest

from support.courier_world import World, check_nothing_is_lost, fails, hangs, settle
from support.feeds import MemoryJournal
from support.sender import FakeSender, answered
from waypost.catalog.model import Delivery, PostbackRule
from waypost.model.frames import AttemptReason, SendResult
from waypost.ports.lanes import ItemState
from waypost.ports.sender import SendReport
from waypost.telemetry.names import NAMES


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_is_in_the_outbox_is_delivered_and_journaled(world: World) -> None:
    world.put(5)
    courier, sender = world.courier()
    settle(courier)
    assert [request.url for request in sender.sent] == [
        f"http://partner.example/pb?c={seq}&n=1&r=0" for seq in range(5)
    ]
    assert world.depth() == (0, 0, 0)
    attempts = world.attempts()
    assert [one.outcomes[0].id for one in attempts] == [f"p{seq}" for seq in range(5)]
    first = attempts[0]
    assert (first.reason, first.method, first.status, first.body) == (AttemptReason.FIRST, "GET", 200, b"OK")
    assert first.url == "http://partner.example/pb?c=0&n=1&r=0"
    assert first.outcomes[0].result is SendResult.DELIVERED
    assert (first.dns_us, first.connect_us, first.first_byte_us, first.total_us) == (1, 2, 3, 4)
    assert first.address == "192.0.2.7"
    values = world.stats.values
    assert (values["courier_attempts"], values["courier_delivered"], values["courier_repeats"]) == (5, 5, 0)


def test_with_as_many_in_flight_as_may_be_it_waits_for_an_answer_at_once(tmp_path: Path) -> None:
    world = World(tmp_path, in_flight_max=4, lane_concurrency=4)
    world.put(4, lane=1)

    waits: list[float] = []

    class Timed(FakeSender):
        def reports(self, wait_ms: float) -> list[SendReport]:
            waits.append(wait_ms)
            return super().reports(wait_ms)

    courier, sender = world.courier(Timed(hangs))
    assert courier.step() and len(sender.open) == 4
    courier.step()
    sender.answer = answered
    courier.step()
    world.put(1, lane=2)
    settle(courier)
    poll_ms = world.settings.poll_ms
    assert waits[:4] == [0.0, poll_ms, poll_ms, 0.0], "what has ended may leave more to be done at once"
    assert world.depth() == (0, 0, 0)


def test_the_intent_is_durable_before_the_send(world: World) -> None:
    world.put(3)

    class Looking(FakeSender):
        def submit(self, requests: Any) -> None:
            lanes = world.lanes()
            for request in requests:
                item = next(one for one in lanes.items() if one.seq == request.token)
                assert (item.state, item.attempt) == (ItemState.IN_FLIGHT, 1)
            lanes.close()
            super().submit(requests)

    courier, sender = world.courier(Looking())
    settle(courier)
    assert len(sender.sent) == 3


def test_a_retry_comes_when_it_is_due_and_is_marked(world: World) -> None:
    world.put(1)
    courier, sender = world.courier(FakeSender(fails()))
    settle(courier)
    assert len(sender.sent) == 1
    assert world.depth() == (1, 0, 0)
    world.clock.advance(999)
    settle(courier)
    assert len(sender.sent) == 1
    world.clock.advance(1)
    settle(courier)
    assert len(sender.sent) == 2
    again = sender.sent[1]
    headers = dict(again.headers)
    assert again.url.endswith("n=2&r=1")
    assert (headers["Waypost-Id"], headers["Waypost-Attempt"], headers["Waypost-Repeat"]) == ("p0", "2", "1")
    assert headers["Waypost-Repeat-Reason"] == "retry"
    assert headers["Waypost-First-Attempt"] == dict(sender.sent[0].headers)["Waypost-First-Attempt"]
    assert "Waypost-Repeat" not in dict(sender.sent[0].headers)
    assert [one.reason for one in world.attempts()] == [AttemptReason.FIRST, AttemptReason.RETRY]
    sender.answer = answered
    world.clock.advance(10_000)
    settle(courier)
    assert world.depth() == (0, 0, 0)
    assert world.stats.values["courier_repeats"] == 2


def test_after_the_schedule_it_is_a_dead_letter(world: World) -> None:
    world.put(1)
    courier, sender = world.courier(FakeSender(fails()))
    for _ in range(10):
        settle(courier)
        world.clock.advance(20_000)
    assert len(sender.sent) == 3
    assert world.depth() == (0, 0, 1)
    assert [one.outcomes[0].result for one in world.attempts()] == [
        SendResult.RETRY,
        SendResult.RETRY,
        SendResult.GIVEN_UP,
    ]
    assert world.stats.values["courier_given_up"] == 1
    assert world.stats.values["courier_dead"] == 1


def test_what_cannot_be_rendered_is_given_up_and_nothing_is_sent(world: World) -> None:
    world.rules[2] = PostbackRule(1, (), (), (), (), "GET", "http://partner.example/{nothing", {}, "", ())
    world.put(1, lane=2)
    world.put(1, lane=1)
    courier, sender = world.courier()
    settle(courier)
    assert len(sender.sent) == 1
    bad = next(one for one in world.attempts() if one.lane == 2)
    assert (bad.code, bad.outcomes[0].result) == ("render_failed", SendResult.GIVEN_UP)
    assert "{nothing" in bad.detail or "column" in bad.detail
    assert world.depth() == (0, 0, 1)


def test_a_test_is_marked_throughout(world: World) -> None:
    world.put(1, test=True)
    courier, sender = world.courier()
    settle(courier)
    assert dict(sender.sent[0].headers)["Waypost-Test"] == "1"
    assert world.attempts()[0].test


def test_a_lane_keeps_to_its_limit_and_lets_others_pass(world: World) -> None:
    world.deliveries[1] = Delivery(concurrency=3)
    world.put(50, lane=1)
    world.put(50, lane=2)
    courier, sender = world.courier(FakeSender(lambda request: answered(request) if "c=" in request.url else None))
    slow = {f"c={seq}&" for seq in range(50)}
    sender.answer = lambda request: None if any(text in request.url for text in slow) else answered(request)
    settle(courier)
    assert sum(1 for request in sender.sent if int(request.token) < 50) == 3
    assert sum(1 for request in sender.sent if int(request.token) >= 50) == 50
    assert world.depth() == (47, 3, 0)


def test_the_global_limit_is_shared_lane_by_lane(tmp_path: Path) -> None:
    world = World(tmp_path, in_flight_max=10)
    for lane in range(1, 6):
        world.put(8, lane=lane)
    courier, sender = world.courier(FakeSender(hangs))
    courier.step()
    courier.step()
    assert sender.in_flight == 10
    lanes = [1 + request.token // 8 for request in sender.sent]
    assert sorted(lanes) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    sender.answer = answered
    settle(courier)
    assert sender.highest == 10
    assert len(world.attempts()) == 40


def test_a_lane_that_fills_all_room_gives_up_its_share_of_what_is_freed(tmp_path: Path) -> None:
    world = World(tmp_path, in_flight_max=10)
    world.put(2000, lane=1)
    world.put(20, lane=2)
    courier, sender = world.courier(FakeSender(hangs))
    settle(courier)
    assert {1 if request.token < 2000 else 2 for request in sender.sent} == {1}
    freed = iter([True] * 8)  # eight of the hanging requests end
    sender.answer = lambda request: answered(request) if next(freed, False) else None
    settle(courier)
    assert sum(1 for request in sender.sent if request.token >= 2000) == 5


def test_what_memory_does_not_hold_waits_on_disk_in_order(tmp_path: Path) -> None:
    world = World(tmp_path, lane_memory_max=8, in_flight_max=4, take_max=50)
    world.put(300)
    courier, sender = world.courier(FakeSender(hangs))
    for _ in range(20):
        courier.step()
    lane = courier._schedule.lanes[1]
    assert len(lane.firsts) + len(lane.retries) <= 8
    sender.answer = answered
    world.put(50)
    settle(courier, 1000)
    assert [request.token for request in sender.sent] == list(range(350))
    assert world.depth() == (0, 0, 0)


def test_retries_do_not_delay_first_attempts(tmp_path: Path) -> None:
    world = World(tmp_path, in_flight_max=4, lane_memory_max=100)
    world.put(200)
    courier, sender = world.courier(FakeSender(fails()))
    settle(courier)
    assert len(sender.sent) == 200
    world.clock.advance(1000)
    world.put(30)
    sender.sent.clear()
    sender.answer = hangs
    for _ in range(3):
        courier.step()
    firsts = sum(1 for request in sender.sent if request.token >= 200)
    assert (len(sender.sent), firsts) == (4, 3)
    sender.answer = answered
    settle(courier)
    order = [request.token for request in sender.sent]
    last_first = max(place for place, token in enumerate(order) if token >= 200)
    assert last_first <= 40
    assert len(world.attempts()) == 430
    assert world.depth() == (0, 0, 0)


def test_retries_are_not_starved_by_first_attempts(tmp_path: Path) -> None:
    world = World(tmp_path, in_flight_max=10, take_max=10)
    world.put(10)
    courier, sender = world.courier(FakeSender(fails()))
    settle(courier)
    sender.answer = answered
    world.clock.advance(1000)
    for _ in range(30):
        world.put(10)
        courier.step()
    assert sum(1 for request in sender.sent if request.token < 10) == 20


def test_many_retries_due_are_read_page_by_page(tmp_path: Path) -> None:
    world = World(tmp_path, lane_memory_max=8)
    world.put(100)
    courier, sender = world.courier(FakeSender(fails()))
    settle(courier)
    sender.answer = answered
    sender.sent.clear()
    world.clock.advance(1000)
    settle(courier)
    assert [request.token for request in sender.sent] == list(range(100))
    assert world.depth() == (0, 0, 0)


def test_the_catalogs_delivery_holds_for_the_lane(world: World) -> None:
    world.deliveries[1] = Delivery(connect_timeout_ms=77, total_timeout_ms=99, retry_schedule_ms=(), concurrency=2)
    world.put(5)
    courier, sender = world.courier(FakeSender(hangs))
    courier.step()
    assert [(one.connect_timeout_ms, one.total_timeout_ms) for one in sender.sent] == [(77, 99)] * 2
    sender.answer = fails()
    settle(courier)
    assert world.depth() == (0, 0, 5)


# --- each second, and the end ------------------------------------------------------------------------


def test_positions_heartbeat_and_gauges(world: World) -> None:
    world.put(3)
    courier, _ = world.courier()
    settle(courier)
    world.clock.advance(1000)
    courier.step()
    of_courier = {"outbox": 3, "courier-0": 3, "operator": 0}
    assert world.positions.published == {("courier", source): end for source, end in of_courier.items()}
    world.clock.advance(1000)
    courier.step()
    journal = courier._journal
    assert isinstance(journal, MemoryJournal) and journal.heartbeats >= 1
    assert journal.last_ms == world.clock.now_ms()
    shown = world.stats.details["lanes"]["partner-1"]
    assert shown["delivered"] == 3 and shown["queued"] == 0
    assert set(world.stats.values) == set(NAMES)


def test_the_watermark_waits_for_what_is_in_flight(world: World) -> None:
    world.put(2)
    courier, sender = world.courier(FakeSender(hangs))
    courier.step()
    begun_ms = world.clock.now_ms()
    for _ in range(5):
        world.clock.advance(1000)
        courier.step()
    assert courier._journal.last_ms == begun_ms
    sender.answer = lambda request: answered(request) if request.token == 1 else None
    courier.step()
    assert courier._journal.last_ms == begun_ms
    sender.answer = answered
    settle(courier)
    assert all(one.at_ms >= begun_ms for one in world.attempts())


def test_latencies_are_from_the_accepted_call_to_the_delivery(world: World) -> None:
    world.put(10)
    courier, sender = world.courier(FakeSender(hangs))
    courier.step()
    world.clock.advance(400)
    sender.answer = answered
    courier.step()
    world.clock.advance(600)
    courier.step()
    assert 400 <= world.stats.values["courier_latency_p50_ms"] <= 480


def test_lanes_that_hold_nothing_are_forgotten(world: World) -> None:
    for lane in range(1, 50):
        world.put(1, lane=lane)
    courier, _ = world.courier()
    for _ in range(20):
        settle(courier)
        world.clock.advance(1000)
    assert courier._schedule.lanes == {}


def test_the_end_waits_for_what_is_in_flight(world: World) -> None:
    world.put(4)
    courier, sender = world.courier(FakeSender(hangs))
    courier.step()
    sender.answer = answered
    world.put(4)
    courier.run(lambda: True)
    assert len(sender.sent) == 4
    assert sender.is_closed
    assert len(world.attempts()) == 4
    assert world.depth() == (0, 0, 0)
    assert world.positions.published["courier", "outbox"] == 4
    again = check_nothing_is_lost(world, 8, sender.sent)
    assert len(again) == 4


def test_the_end_does_not_wait_for_ever(world: World) -> None:
    world.put(2)
    courier, sender = world.courier(FakeSender(hangs))
    courier.step()
    reports = sender.reports
    sender.reports = lambda wait_ms: (world.clock.advance(wait_ms), reports(wait_ms))[1]  # type: ignore[method-assign]
    courier.run(lambda: True)
    assert sender.is_closed
    assert world.depth() == (0, 2, 0)


def test_the_journal_is_trimmed_below_its_readers(world: World) -> None:
    world.put(3)
    courier, _ = world.courier()
    settle(courier)
    for _ in range(8):
        world.clock.advance(1000)
        courier.step()
    assert world.journal_feed.first == 0
    for reader in ("pipeline", "archivist"):
        world.positions.publish(reader, "courier-0", 3)
    for _ in range(8):
        world.clock.advance(1000)
        courier.step()
    assert world.journal_feed.first == 3
