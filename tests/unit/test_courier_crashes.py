"""The courier under crashes and failing writes: real lanes in SQLite, everything around them in memory."""

from pathlib import Path
from typing import Any

import pytest

from support.courier_world import Die, World, check_nothing_is_lost, fails, hangs, settle
from support.feeds import MemoryJournal
from support.sender import FakeSender, answered
from waypost.errors import WaypostError
from waypost.model.frames import SendResult, SetAside
from waypost.ports.lanes import LaneBatch


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# --- crashes -----------------------------------------------------------------------------------------


def test_a_crash_after_the_intent_before_the_send(world: World) -> None:
    world.put(4)

    class Killed(FakeSender):
        def submit(self, requests: Any) -> None:
            raise Die

    courier, _ = world.courier(Killed())
    with pytest.raises(Die):
        courier.step()
    assert world.depth() == (0, 4, 0)
    courier, sender = world.courier()
    settle(courier)
    for request in sender.sent:  # nobody can know that it was never sent: it is marked
        headers = dict(request.headers)
        assert headers["Waypost-Repeat-Reason"] == "unknown-after-crash"
        assert headers["Waypost-Attempt"] == "2"
    assert len(sender.sent) == 4
    unknown = [one for one in world.attempts() if one.outcomes[0].result is SendResult.UNKNOWN]
    assert [(one.outcomes[0].id, one.outcomes[0].attempt) for one in unknown] == [(f"p{n}", 1) for n in range(4)]
    assert world.stats.values["courier_unknown"] == 4
    assert world.depth() == (0, 0, 0)


def test_a_crash_after_the_send_before_the_journal(world: World) -> None:
    world.put(4)
    courier, sender = world.courier()
    courier.step()
    assert len(sender.sent) == 4
    again = check_nothing_is_lost(world, 4, sender.sent)
    assert [dict(one.headers)["Waypost-Repeat-Reason"] for one in again] == ["unknown-after-crash"] * 4


def test_a_crash_after_the_journal_before_the_lanes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.put(6)
    courier, sender = world.courier(FakeSender(lambda request: answered(request) if request.token < 4 else None))
    courier.step()
    with monkeypatch.context() as patch:
        patch.setattr(courier._lanes, "apply", lambda batch: (_ for _ in ()).throw(Die()))
        with pytest.raises(Die):
            courier.step()
    assert len(world.attempts()) == 4
    assert world.depth() == (0, 6, 0)
    again = check_nothing_is_lost(world, 6, sender.sent)
    assert [one.token for one in again] == [4, 5]


def test_a_crash_between_taking_and_the_next_cycle(world: World) -> None:
    world.put(10)
    courier, sender = world.courier(FakeSender(hangs))
    courier.step()
    world.put(10)
    again = check_nothing_is_lost(world, 20, sender.sent)
    assert len(again) == 20


def test_a_crash_with_the_outbox_taken_up_to_the_middle_of_a_block(tmp_path: Path) -> None:
    world = World(tmp_path, in_flight_max=3)
    world.put(5)
    world.put(300)
    courier, sender = world.courier(FakeSender(hangs))
    courier.step()
    lanes = world.lanes()
    assert 5 < lanes.outbox_position() < 305
    lanes.close()
    assert world.positions.published["courier", "outbox"] == 5  # the block from 5 on must not be trimmed
    world.outbox.blocks = [block for block in world.outbox.blocks if block.end > 5]
    world.outbox.first = 5
    again = check_nothing_is_lost(world, 305, sender.sent)
    assert sorted(one.token for one in again) == list(range(305))


def test_an_outbox_that_begins_behind_the_lanes_is_a_gap(world: World) -> None:
    world.put(5)
    world.outbox.blocks, world.outbox.first = [], 5
    courier, _ = world.courier()
    with pytest.raises(WaypostError, match="store_gap"):
        courier.step()


def test_a_crash_while_retries_wait(world: World) -> None:
    world.put(5)
    courier, sender = world.courier(FakeSender(fails()))
    settle(courier)
    courier, sender = world.courier()
    settle(courier)
    assert sender.sent == []
    world.clock.advance(1000)
    settle(courier)
    assert [dict(one.headers)["Waypost-Repeat-Reason"] for one in sender.sent] == ["retry"] * 5
    assert world.depth() == (0, 0, 0)


def test_crashes_again_and_again_keep_the_first_time_and_count_attempts(world: World) -> None:
    world.put(1)
    starts = []
    for attempt in range(1, 4):
        courier, sender = world.courier(FakeSender(hangs))
        courier.step()
        courier.step()
        headers = dict(sender.sent[0].headers)
        assert headers["Waypost-Attempt"] == str(attempt)
        starts.append(headers["Waypost-First-Attempt"])
        world.clock.advance(700)
    assert len(set(starts)) == 1


# --- writes that fail --------------------------------------------------------------------------------


@pytest.mark.parametrize("fails_after_writing", [False, True])
def test_while_the_journal_fails_nothing_new_is_sent_and_nothing_is_lost(
    tmp_path: Path, fails_after_writing: bool
) -> None:
    world = World(tmp_path, in_flight_max=3)
    world.put(9)
    courier, sender = world.courier()
    courier.step()
    journal = courier._journal
    assert isinstance(journal, MemoryJournal)
    journal.failures, journal.fails_after_writing = 4, fails_after_writing
    for _ in range(4):
        assert courier.step() == 0
    assert len(sender.sent) == 3
    assert world.stats.values["errors"] == 4
    settle(courier)
    assert [request.token for request in sender.sent] == list(range(9))
    assert {one.outcomes[0].id for one in world.attempts()} == {f"p{seq}" for seq in range(9)}
    assert world.depth() == (0, 0, 0)


@pytest.mark.parametrize("is_written", [False, True])
def test_while_the_lanes_fail_nothing_new_is_sent_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    world = World(tmp_path, in_flight_max=3)
    world.put(9)
    courier, sender = world.courier()
    courier.step()
    apply = courier._lanes.apply

    def broken(batch: LaneBatch) -> None:
        if is_written:
            apply(batch)
        raise WaypostError("data_unwritable", "disk full")

    with monkeypatch.context() as patch:
        patch.setattr(courier._lanes, "apply", broken)
        for _ in range(5):
            assert courier.step() == 0
        assert len(sender.sent) == 3
    settle(courier)
    assert [request.token for request in sender.sent] == list(range(9))
    assert all("Waypost-Repeat" not in dict(request.headers) for request in sender.sent)
    assert world.depth() == (0, 0, 0)


def test_a_fenced_courier_stops(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.put(1)
    courier, sender = world.courier()

    def fenced(batch: LaneBatch) -> None:
        raise WaypostError("fenced")

    courier.step()
    world.put(1)
    monkeypatch.setattr(courier._lanes, "apply", fenced)
    with pytest.raises(WaypostError, match="fenced"):
        courier.step()
    assert len(sender.sent) == 1


def test_an_unreadable_postback_is_set_aside_and_the_rest_goes_on(world: World) -> None:
    world.put(1)
    world.outbox.put([b"\x91\x63"])
    world.put(1)
    courier, sender = world.courier()
    settle(courier)
    assert [request.token for request in sender.sent] == [0, 2]
    (aside,) = [frame for frame in world.journal_feed.frames() if isinstance(frame, SetAside)]
    assert (aside.source, aside.position, aside.raw) == ("outbox", 1, b"\x91\x63")
