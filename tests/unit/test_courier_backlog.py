"""Starting on a big backlog costs what starting on a small one does: steps of SQLite are counted, not time."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from support.courier_world import World
from support.sender import FakeSender
from waypost.engines.sqlite import lanes as engine
from waypost.engines.sqlite.lanes import SqliteLanes
from waypost.model.frames import Outcome, PostbackOut, SendResult
from waypost.model.wire import encode_frame
from waypost.ports.lanes import ItemState, LaneBatch, LaneItem, Rank

LANES = 10
STEP = 100  # instructions of SQLite's machine that are counted as one


def fill(world: World, count: int) -> None:
    """A backlog of everything: first attempts, retries of all times, resends, dead letters, what is held."""
    lanes = SqliteLanes(world.file, shard=0, shards=1)
    now_ms = world.clock.now_ms()
    chunk = 20_000
    end = 0
    for start in range(0, count, chunk):
        items = []
        for seq in range(start, min(count, start + chunk)):
            lane = 1 + seq % LANES
            post = PostbackOut(f"p{seq}", lane, lane, 0, seq, 1, 1, now_ms, now_ms, {"sub1": str(seq)})
            due_ms = now_ms + seq if seq % 3 == 1 else 0
            rank = Rank.RESEND if seq % 30 == 1 else Rank.LIVE
            items.append(LaneItem(seq, lane, post.id, ItemState.QUEUED, 0, due_ms, 0, encode_frame(post), rank=rank))
        intents = [(item.seq, 1, now_ms) for item in items if item.seq % 3 == 2]
        lanes.apply(LaneBatch(start, items[-1].seq + 1, items, intents))
        results = (SendResult.GIVEN_UP, SendResult.HELD)
        outcomes = [Outcome(f"p{seq}", seq, 1, results[seq % 2], "status_5xx") for seq, _, _ in intents]
        lanes.apply(
            LaneBatch(source="courier-0", outcomes_start=end, outcomes_end=end + len(outcomes), outcomes=outcomes)
        )
        end += len(outcomes)
    lanes.close()
    world.outbox.first = count
    world.journal_feed.first = end


class Counting:
    """Counts the steps of every connection that the engine opens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps = 0
        connect = engine.connect

        def counting(file: Path, **options: Any) -> sqlite3.Connection:
            connection = connect(file, **options)
            connection.set_progress_handler(self._tick, STEP)
            return connection

        monkeypatch.setattr(engine, "connect", counting)

    def _tick(self) -> int:
        self.steps += 1
        return 0


def start(folder: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int, list[int]]:
    """The steps until the first requests are out, how many items are in memory then, and which were sent."""
    folder.mkdir()
    world = World(folder, in_flight_max=50)
    fill(world, count)
    with monkeypatch.context() as patch:
        counting = Counting(patch)
        courier, sender = world.courier(FakeSender(lambda request: None))
        courier.step()
        courier.step()
    in_memory = sum(
        len(lane.firsts) + sum(len(later.items) for later in lane.later) for lane in courier._schedule.lanes.values()
    )
    assert sum(lane.queued for lane in courier._schedule.lanes.values()) > count / 2
    return counting.steps, in_memory, [request.token for request in sender.sent]


def test_a_start_on_200_000_postbacks_costs_what_one_on_20_000_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, few_in_memory, few_sent = start(tmp_path / "few", 20_000, monkeypatch)
    many, many_in_memory, many_sent = start(tmp_path / "many", 200_000, monkeypatch)
    assert 0 < many <= 1.2 * few, (few, many)
    assert many_in_memory == few_in_memory <= LANES * 500
    assert many_sent == few_sent and len(many_sent) == 50


def test_bulk_work_on_a_small_lane_does_not_walk_over_a_big_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    for count in (2_000, 40_000):
        world = World(tmp_path / str(count))
        fill(world, count)
        counting = Counting(monkeypatch)
        lanes = SqliteLanes(world.file, shard=0, shards=1)
        new = LaneItem(count, 99, "new", ItemState.QUEUED, 0, 0, 0, b"")
        lanes.apply(LaneBatch(count, count + 1, [new]))
        before = counting.steps
        assert [item.id for item in lanes.standing(99, (ItemState.QUEUED,), -1, count + 1, 500)] == ["new"]
        steps.append(counting.steps - before)
        lanes.close()
    assert steps[1] <= steps[0] + 1


def test_work_that_is_due_is_found_behind_any_backlog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries stand behind all first attempts of their lane: none of these is looked at."""
    steps = []
    for count in (2_000, 40_000):
        world = World(tmp_path / str(count))
        fill(world, count)
        counting = Counting(monkeypatch)
        lanes = SqliteLanes(world.file, shard=0, shards=1)
        before = counting.steps
        (found,) = lanes.due(1, 1 << 60, (0, 1 << 60), 1)
        assert found.due_ms > 0
        assert len(lanes.lanes_with_work()) == LANES + 1  # one lane has resends, too
        steps.append(counting.steps - before)
        lanes.close()
    assert steps[1] <= steps[0] + 1
