"""What becomes of a send whose outcome a crash took: by the catalog's word, whatever moment the crash came at.

The couriers here are killed before and after each commit of theirs, and the ones that take over are killed again in
the midst of that, at each of their commits.
"""

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support.courier_world import Die, World, fails, hangs, settle
from support.rules import rule
from support.sender import FakeSender
from waypost.catalog.model import Batch, Delivery
from waypost.courier.courier import Courier
from waypost.model.frames import SendResult
from waypost.ports.lanes import ItemState
from waypost.ports.sender import SendRequest

POSTBACKS = 5


class Deaths:
    """Kills a courier at its `nth` commit: before it (even numbers) or after it (odd ones)."""

    def __init__(self, courier: Courier, nth: int) -> None:
        self._left = nth
        for store, name in ((courier._journal, "append"), (courier._lanes, "apply")):
            setattr(store, name, self._dying(getattr(store, name)))

    def _dying(self, commit: Any) -> Any:
        def wrapped(*given: Any, **named: Any) -> Any:
            self._tick()
            done = commit(*given, **named)
            self._tick()
            return done

        return wrapped

    def _tick(self) -> None:
        if self._left == 0:
            raise Die
        self._left -= 1


def lived(world: World, nth: int, sender: FakeSender) -> bool:
    """A courier that is killed at its nth moment; False if it never came to that."""
    courier, _ = world.courier(sender)
    Deaths(courier, nth)
    try:
        settle(courier)
    except Die:
        return False
    return True


def stands(world: World) -> dict[str, tuple[ItemState, str, bool]]:
    lanes = world.lanes()
    assert lanes.problems() == []
    found = {item.id: (item.state, item.code, item.unknown) for item in lanes.items()}
    lanes.close()
    return found


def played(folder: Path, on_unknown: str, first: int, second: int) -> tuple[World, list[SendRequest], bool]:
    """One courier is killed at its moment `first`, the next at `second`, and the third brings all to its end."""
    world = World(folder, in_flight_max=2)
    world.deliveries[1] = Delivery(on_unknown=on_unknown)
    world.put(POSTBACKS)
    sent: list[SendRequest] = []
    ended = False
    for nth in (first, second):
        sender = FakeSender()
        sender.sent = sent
        ended = lived(world, nth, sender)
    sender = FakeSender()
    sender.sent = sent
    courier, _ = world.courier(sender)
    settle(courier)
    return world, sent, ended


MOMENTS = 14  # more than any of these couriers has


@pytest.mark.parametrize("on_unknown", ["resend", "hold", "drop"])
def test_the_catalogs_word_is_kept_at_whatever_commit_a_courier_and_its_successor_die(
    tmp_path: Path, on_unknown: str
) -> None:
    seen = Counter[str]()
    for first, second in itertools.product(range(MOMENTS), repeat=2):
        folder = tmp_path / f"{first}-{second}"
        folder.mkdir()
        world, sent, ended = played(folder, on_unknown, first, second)
        where = f"killed at {first} and {second}"
        delivered = Counter(
            outcome.id for one in world.attempts() for outcome in one.outcomes if outcome.result is SendResult.DELIVERED
        )
        at_rest = stands(world)
        assert set(delivered) | set(at_rest) == {f"p{seq}" for seq in range(POSTBACKS)}, where
        assert not set(delivered) & set(at_rest), where
        times = Counter(request.token for request in sent)
        for token, requests in itertools.groupby(sorted(sent, key=lambda one: one.token), key=lambda one: one.token):
            marks = ["Waypost-Repeat" in dict(request.headers) for request in requests]
            assert marks.count(False) <= 1 and all(marks[1:]), (where, token)
        if on_unknown == "resend":
            assert at_rest == {}, where
        else:
            state = ItemState.HELD if on_unknown == "hold" else ItemState.DEAD
            assert {(one[0], one[1]) for one in at_rest.values()} <= {(state, "outcome_unknown")}, where
            assert set(times.values()) <= {1}, f"{where}: sent again without being told to"
        seen["at rest"] += bool(at_rest)
        seen["repeated"] += max(times.values()) > 1
        seen["not killed twice"] += ended
    assert seen["not killed twice"] > 0, "more moments are needed"
    assert seen["repeated" if on_unknown == "resend" else "at rest"] > 50


def test_another_word_in_the_catalog_holds_for_the_next_crash(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deliveries[1] = Delivery(on_unknown="hold")
    world.put(2)
    courier, _ = world.courier(FakeSender(hangs))
    courier.step()
    courier, _ = world.courier(FakeSender(hangs))
    courier.step()
    assert {state for state, *_ in stands(world).values()} == {ItemState.HELD}
    world.put(2)
    courier.step()
    world.deliveries[1] = Delivery(on_unknown="drop")
    world.put(1, lane=2)
    courier.step()
    courier, sender = world.courier()
    settle(courier)
    assert {id: state for id, (state, *_) in stands(world).items()} == {
        "p0": ItemState.HELD, "p1": ItemState.HELD, "p2": ItemState.DEAD, "p3": ItemState.DEAD
    }  # fmt: skip
    assert [request.token for request in sender.sent] == [4]


def test_what_is_held_is_found_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(tmp_path)
    world.deliveries[1] = Delivery(on_unknown="hold")
    world.put(3)
    world.put(2, lane=2)
    courier, _ = world.courier(FakeSender(hangs))
    courier.step()
    courier, _ = world.courier()
    settle(courier)
    world.clock.advance(2000)
    courier.step()
    assert world.stats.values["courier_unknown"] == 5
    assert world.stats.values["courier_unknown_held"] == world.stats.values["courier_held"] == 3
    said = capsys.readouterr()
    assert "held_for_a_human" in said.out + said.err and "partner-1" in said.out + said.err
    lanes = world.lanes()
    assert [item.seq for item in lanes.standing(1, (ItemState.HELD,), -1, 99, 10)] == [0, 1, 2]
    assert [(depth.lane, depth.held) for depth in lanes.depths()] == [(1, 3)]
    lanes.close()


@pytest.mark.parametrize(("on_unknown", "state"), [("hold", ItemState.HELD), ("drop", ItemState.DEAD)])
def test_items_that_shared_a_request_share_its_fate_and_no_others_do(
    tmp_path: Path, on_unknown: str, state: ItemState
) -> None:
    world = World(tmp_path)
    world.rules[1] = rule(1, method="POST", url="http://partner.example/pb", batch=Batch(3, 5000, "{postback_id}"))
    world.deliveries[1] = Delivery(on_unknown=on_unknown)
    world.put(7, batched=True)
    courier, sender = world.courier(FakeSender(hangs))
    courier.step()
    courier.step()
    assert len(sender.sent) == 2
    courier, sender = world.courier()
    settle(courier)
    assert {id: one[0] for id, one in stands(world).items()} == {f"p{seq}": state for seq in range(6)} | {
        "p6": ItemState.QUEUED
    }
    world.clock.advance(5000)
    settle(courier)
    assert [dict(request.headers)["Waypost-Batch"] for request in sender.sent] == ["1"]


def test_what_takes_the_courier_down_each_time_is_held_at_last(tmp_path: Path) -> None:
    world = World(tmp_path, retry_schedule_ms=(1000, 1000))
    world.put(1)
    for _ in range(5):
        courier, sender = world.courier(FakeSender(hangs))
        courier.step()
        courier.step()
        assert len(sender.sent) == 1
    courier, sender = world.courier()
    settle(courier)
    assert sender.sent == []
    assert stands(world) == {"p0": (ItemState.HELD, "outcome_unknown", True)}


def test_an_outcome_that_was_journaled_is_no_unknown_one_though_the_partner_wants_none_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deliveries[1] = Delivery(on_unknown="hold")
    world.put(2)
    assert not lived(world, 4, FakeSender(fails()))  # 0, 1: taken and begun; 2, 3: journaled; 4: before the lanes
    courier, sender = world.courier()
    settle(courier)
    assert {one[0] for one in stands(world).values()} == {ItemState.QUEUED}
    world.clock.advance(1000)
    settle(courier)
    assert [dict(one.headers)["Waypost-Repeat-Reason"] for one in sender.sent] == ["retry"] * 2
