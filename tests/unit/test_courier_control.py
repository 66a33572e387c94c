"""`courier/control.py`: pauses, drains, 410, and bulk work on lanes in SQLite, over a kill at any point."""

from pathlib import Path

import msgspec
import pytest

from support.clock import FakeClock
from support.courier_world import Die, World, fails, settle
from support.feeds import MemoryFeed, MemoryPositions
from support.sender import FakeSender, answered
from waypost.catalog.model import Delivery
from waypost.courier.control import Control
from waypost.courier.policies import Policies
from waypost.courier.schedule import Schedule
from waypost.engines.sqlite.lanes import SqliteLanes
from waypost.model.frames import OperatorChange, Outcome, PostbackOut, SendResult
from waypost.model.lane_words import DRAIN, DROP, PAUSE, RESUME, RETRY, LaneWord, change_of
from waypost.model.wire import encode_frame
from waypost.ports.lanes import ItemState, LaneBatch, LaneState
from waypost.ports.sender import SendRequest
from waypost.settings import load_settings
from waypost.telemetry.stats import Stats

DEAD_AND_HELD = (int(ItemState.DEAD), int(ItemState.HELD))
WITH_QUEUED = (*DEAD_AND_HELD, int(ItemState.QUEUED))
FAR = 1 << 40


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, retry_schedule_ms=())


def ask(world: World, kind: str, lane: int, **said: object) -> None:
    """An operator's word, which couriers find at their next look."""
    word = LaneWord(lane, **said)  # type: ignore[arg-type]
    world.words.put([change_of(kind, f"partner-{lane}", word, at_ms=world.clock.now_ms(), by="ann")])
    world.clock.advance(1000)


def state(world: World, lane: int) -> LaneState:
    lanes = world.lanes()
    control = lanes.controls().get(lane)
    lanes.close()
    return control.state if control is not None else LaneState.OPEN


def chores(world: World) -> int:
    lanes = world.lanes()
    count = len(lanes.chores())
    lanes.close()
    return count


def outcomes(world: World, result: SendResult) -> list[Outcome]:
    return [one for attempt in world.attempts() for one in attempt.outcomes if one.result is result]


def sent(sender: FakeSender) -> list[int]:
    return [request.token for request in sender.sent]


def test_a_paused_lane_keeps_everything_and_others_go_on(world: World) -> None:
    courier, sender = world.courier()
    ask(world, PAUSE, 1, why="their release")
    settle(courier)
    world.put(5, lane=1)
    world.put(5, lane=2)
    settle(courier)
    assert sent(sender) == [5, 6, 7, 8, 9]
    assert world.depth() == (5, 0, 0)
    courier, sender = world.courier()  # killed; the pause is on disk
    settle(courier)
    assert (sent(sender), state(world, 1)) == ([], LaneState.PAUSED)
    ask(world, RESUME, 1)
    settle(courier)
    assert sent(sender) == [0, 1, 2, 3, 4]
    assert (world.depth(), state(world, 1)) == ((0, 0, 0), LaneState.OPEN)


def test_words_said_while_no_courier_works_are_obeyed_when_one_does(world: World) -> None:
    world.put(3, lane=1)
    ask(world, PAUSE, 1)
    courier, sender = world.courier()
    settle(courier)
    assert sent(sender) == []
    assert world.depth() == (3, 0, 0)


def test_a_word_is_obeyed_once(world: World) -> None:
    courier, _ = world.courier()
    ask(world, PAUSE, 1)
    ask(world, RESUME, 1)
    settle(courier)
    ask(world, PAUSE, 2)
    settle(courier)
    for _ in range(2):
        courier, _ = world.courier()
        settle(courier)
        assert [state(world, lane) for lane in (1, 2)] == [LaneState.OPEN, LaneState.PAUSED]
    settle(courier)
    courier._publish_positions()
    assert world.positions.of("operator") == {"courier": 3}


def test_draining_sends_what_stood_and_keeps_what_comes(world: World) -> None:
    world.settings = msgspec.structs.replace(world.settings, lane_concurrency=2)
    waits = FakeSender(lambda request: None)
    courier, _ = world.courier(waits)
    world.put(6, lane=1)
    settle(courier)
    ask(world, DRAIN, 1, until_seq=6, why="they move")
    settle(courier)
    world.put(4, lane=1)
    settle(courier)
    waits.answer = answered
    settle(courier)
    assert sorted(sent(waits)) == list(range(6))
    world.clock.advance(2000)
    settle(courier)
    assert state(world, 1) is LaneState.PAUSED
    assert world.depth() == (4, 0, 0)
    courier, sender = world.courier()
    settle(courier)
    assert sent(sender) == []


def test_410_pauses_the_lane_and_the_dead_letter_can_be_driven_again(world: World) -> None:
    sender = FakeSender(lambda request: answered(request, status=410 if request.token == 0 else 200))
    courier, _ = world.courier(sender)
    world.put(1, lane=1)
    settle(courier)
    world.put(3, lane=1)
    world.put(3, lane=2)
    settle(courier)
    assert sent(sender) == [0, 4, 5, 6]
    lanes = world.lanes()
    control = lanes.controls()[1]
    lanes.close()
    assert (control.state, control.by, control.why) == (LaneState.PAUSED, "courier", "partner.example answered 410")
    assert world.stats.values["courier_lanes_gone"] == 1
    assert world.depth() == (3, 0, 1)
    sender.answer = answered
    ask(world, RETRY, 1, states=DEAD_AND_HELD, until_seq=FAR)
    ask(world, RESUME, 1)
    settle(courier)
    world.clock.advance(1000)
    settle(courier)
    assert world.depth() == (0, 0, 0)
    again = next(request for request in sender.sent[1:] if request.token == 0)
    assert dict(again.headers)["Waypost-Repeat"] == "1"


def test_a_410_that_only_the_journal_has_pauses_the_lane_at_the_next_start(world: World) -> None:
    courier, _ = world.courier(FakeSender(fails(410)))
    world.put(1, lane=1)
    courier.step()

    def dies(*_: object) -> None:
        raise Die

    courier._lanes.apply = dies  # type: ignore[method-assign]
    with pytest.raises(Die):
        settle(courier)
    assert state(world, 1) is LaneState.OPEN
    world.put(2, lane=1)
    courier, sender = world.courier()
    settle(courier)
    assert (sent(sender), state(world, 1), world.depth()) == ([], LaneState.PAUSED, (2, 0, 1))
    assert world.stats.values["courier_lanes_gone"] == 1


def test_dead_letters_are_driven_again_by_code_id_and_time(world: World) -> None:
    sender = FakeSender(fails(500))
    courier, _ = world.courier(sender)
    world.put(3, lane=1)
    settle(courier)
    world.clock.advance(60_000)
    later_ms = world.clock.now_ms()
    sender.answer = lambda request: answered(request, code="dns_failed")
    world.put(3, lane=1)
    settle(courier)
    assert world.depth() == (0, 0, 6)
    sender.answer = answered
    for said, left in (
        ({"ids": ("p1",)}, {0, 2, 3, 4, 5}),
        ({"codes": ("dns_failed",), "ids": ("p2", "p4")}, {0, 2, 3, 5}),
        ({"from_ms": later_ms}, {0, 2}),
        ({"to_ms": later_ms}, set()),
    ):
        ask(world, RETRY, 1, states=DEAD_AND_HELD, until_seq=FAR, **said)
        settle(courier)
        world.clock.advance(1000)
        settle(courier)
        lanes = world.lanes()
        assert {item.seq for item in lanes.items()} == left
        lanes.close()
    assert {one.code for one in outcomes(world, SendResult.REDRIVEN)} == {"http_status", "dns_failed"}
    assert chores(world) == 0


def test_dropping_is_journaled_with_who_and_why_and_never_takes_what_is_in_flight(world: World) -> None:
    sender = FakeSender(lambda request: None if request.token < 2 else answered(request, status=500))
    world.settings = msgspec.structs.replace(world.settings, lane_concurrency=4)
    courier, _ = world.courier(sender)
    world.put(4, lane=1)
    settle(courier)
    ask(world, PAUSE, 1)
    settle(courier)
    world.put(8, lane=1)
    world.put(2, lane=2)
    settle(courier)
    assert world.depth() == (8, 2, 4)
    ask(world, DROP, 1, states=DEAD_AND_HELD, until_seq=FAR, why="an old test")
    settle(courier)
    assert world.depth() == (8, 2, 2)
    ask(world, DROP, 1, states=WITH_QUEUED, until_seq=14, why="all of it")
    settle(courier)
    assert world.depth() == (0, 2, 2)
    dropped = [attempt for attempt in world.attempts() if attempt.outcomes[0].result is SendResult.DROPPED]
    assert [(one.by, one.detail) for one in dropped] == [("ann", "an old test"), ("ann", "all of it")]
    assert sorted(outcome.seq for one in dropped for outcome in one.outcomes) == list(range(2, 12))
    assert world.stats.values["courier_dropped"] == 10
    ask(world, RESUME, 1)
    sender.answer = answered
    settle(courier)
    assert {request.token for request in sender.sent} == {0, 1, 2, 3, 12, 13}  # nothing that was dropped


def test_waiting_postbacks_that_memory_holds_are_not_sent_once_dropped(world: World) -> None:
    world.settings = msgspec.structs.replace(world.settings, lane_concurrency=1)
    sender = FakeSender(lambda request: None)
    courier, _ = world.courier(sender)
    world.put(20, lane=1)
    settle(courier)
    ask(world, DROP, 1, states=WITH_QUEUED, until_seq=20, why="sent by hand")
    settle(courier)
    sender.answer = answered
    settle(courier)
    assert sent(sender) == [0]
    assert world.depth() == (0, 0, 0)


def test_what_a_correction_takes_the_place_of_is_not_dropped_too(world: World) -> None:
    """Both happen in the cycle in which the lane is open again."""
    world.deliveries[1] = Delivery(ordering="click", corrections=True)
    courier, sender = world.courier(FakeSender(lambda request: None))
    ask(world, PAUSE, 1)
    settle(courier)
    world.put(1, lane=1)
    first = world.outbox.frames()[0]
    assert isinstance(first, PostbackOut)
    original = msgspec.structs.replace(first, id="a", key="k")
    correction = msgspec.structs.replace(first, id="b", key="k", corrects="a", created_ms=first.created_ms + 10)
    world.outbox.put([original, correction])
    settle(courier)
    assert world.depth() == (3, 0, 0)
    ask(world, RESUME, 1)
    ask(world, DROP, 1, states=WITH_QUEUED, until_seq=3, why="x")
    settle(courier)
    ends = {one.seq: one.result for one in outcomes(world, SendResult.SUPERSEDED) + outcomes(world, SendResult.DROPPED)}
    count = len(outcomes(world, SendResult.SUPERSEDED)) + len(outcomes(world, SendResult.DROPPED))
    assert count == len(ends)
    assert ends[1] is SendResult.SUPERSEDED
    assert world.depth()[0] == 0
    assert len(ends) + len(sender.sent) == 3


def test_each_courier_obeys_what_concerns_its_own_lanes(tmp_path: Path) -> None:
    words = MemoryFeed("operator")
    clock = FakeClock()
    for lane in (1, 2):
        words.put([change_of(PAUSE, "x", LaneWord(lane), at_ms=1, by="ann")])
        words.put([change_of(RETRY, "x", LaneWord(lane, states=DEAD_AND_HELD, until_seq=9), at_ms=1, by="ann")])
    for shard, lane in ((0, 2), (1, 1)):
        lanes = SqliteLanes(tmp_path / f"shard-{shard}.db", shard=shard, shards=2)
        settings = load_settings(None, {}).courier
        policies, positions = Policies(settings), MemoryPositions()
        schedule = Schedule(lanes, settings, policies.of)
        control = Control(words, lanes, schedule, policies, positions, f"courier-{shard}", clock, Stats("courier"))
        control.start()
        assert control.step() == []
        lanes.apply(control.fill(LaneBatch()))
        control.committed()
        control.publish()
        assert set(lanes.controls()) == {lane}
        assert [chore.lane for chore in lanes.chores()] == [lane]
        assert positions.of("operator") == {f"courier-{shard}": 4}
        lanes.close()


def test_bulk_work_takes_small_steps_and_lanes_take_turns(world: World) -> None:
    sender = FakeSender(fails(500))
    courier, _ = world.courier(sender)
    for lane in (1, 2):
        world.put(1200, lane=lane)
    settle(courier, 2000)
    assert world.depth() == (0, 0, 2400)
    sender.answer = answered
    for lane in (1, 2):
        ask(world, RETRY, lane, states=DEAD_AND_HELD, until_seq=FAR)
    settle(courier, 2000)
    world.clock.advance(1000)
    settle(courier, 2000)
    assert world.depth() == (0, 0, 0)
    steps = [one for one in world.attempts() if one.outcomes[0].result is SendResult.REDRIVEN]
    assert max(len(one.outcomes) for one in steps) <= 1000
    assert [one.lane for one in steps[:4]] == [1, 2, 1, 2]
    assert len(outcomes(world, SendResult.REDRIVEN)) == 2400


def test_a_word_that_cannot_be_read_is_passed_over(world: World) -> None:
    world.words.put([OperatorChange(1, PAUSE, "x", "{not json", "ann"), OperatorChange(1, "lane_dance", "x", "{}")])
    world.words.put([encode_frame(OperatorChange(1, "catalog_activated", "catalog", "2")), b"\x92\x63\x01"])
    ask(world, PAUSE, 1)
    courier, _ = world.courier()
    settle(courier)
    assert state(world, 1) is LaneState.PAUSED
    assert world.stats.values["errors"] == 1


@pytest.mark.parametrize("kind", [RETRY, DROP])
@pytest.mark.parametrize("nth", range(1, 8))
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_any_write_repeats_and_loses_nothing(world: World, kind: str, nth: int, after: bool) -> None:
    """The nth write to the journal or the lanes is the last thing that the courier does, or does not."""
    sender = FakeSender(fails(500))
    courier, _ = world.courier(sender)
    world.put(1100, lane=1)
    settle(courier, 2000)
    assert world.depth() == (0, 0, 1100)
    ask(world, kind, 1, states=DEAD_AND_HELD, until_seq=FAR, why="so")
    written = 0

    def dies_at(write: object) -> object:
        def tried(*values: object, **named: object) -> object:
            nonlocal written
            written += 1
            if written == nth and not after:
                raise Die
            answer = write(*values, **named)  # type: ignore[operator]
            if written == nth:
                raise Die
            return answer

        return tried

    courier, sender = world.courier(FakeSender(answered))
    courier._lanes.apply = dies_at(courier._lanes.apply)  # type: ignore[method-assign,assignment]
    courier._journal.append = dies_at(courier._journal.append)  # type: ignore[method-assign,assignment]
    seen: list[SendRequest] = sender.sent
    with pytest.raises(Die):
        for _ in range(1000):
            courier.step()
            world.clock.advance(300)
    courier, sender = world.courier(FakeSender(answered))
    for _ in range(60):
        courier.step()
        world.clock.advance(300)
    assert world.depth() == (0, 0, 0)
    assert chores(world) == 0
    result = SendResult.DROPPED if kind == DROP else SendResult.REDRIVEN
    handled = [one.seq for one in outcomes(world, result)]
    assert sorted(handled) == list(range(1100))
    if kind == DROP:
        assert (seen, sender.sent) == ([], [])
    else:
        assert {one.seq for one in outcomes(world, SendResult.DELIVERED)} == set(range(1100))
        assert all("Waypost-Repeat" in dict(request.headers) for request in [*seen, *sender.sent])


def test_held_ones_are_driven_again_marked_as_of_unknown_outcome(world: World) -> None:
    world.deliveries[1] = Delivery(on_unknown="hold")
    courier, _ = world.courier(FakeSender(lambda request: None))
    world.put(2, lane=1)
    settle(courier)
    courier, sender = world.courier()
    settle(courier)
    assert sent(sender) == []
    ask(world, RETRY, 1, states=DEAD_AND_HELD, until_seq=FAR)
    settle(courier)
    world.clock.advance(1000)
    settle(courier)
    assert [dict(one.headers)["Waypost-Repeat-Reason"] for one in sender.sent] == ["unknown-after-crash"] * 2
    assert world.depth() == (0, 0, 0)
