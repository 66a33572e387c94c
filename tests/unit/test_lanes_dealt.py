"""Lanes dealt to another number of couriers: real shards in SQLite, killed anywhere; couriers around them in memory."""

import contextlib
import errno
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.catalogs import MemoryCatalogs, MemoryView
from support.clock import FakeClock
from support.courier_world import Die
from support.crash import run_and_kill
from support.feeds import MemoryFeed, MemoryJournal, MemoryPositions
from support.sender import FakeSender, answered
from waypost.catalog.model import Delivery, Partner, PostbackRule
from waypost.courier.courier import Courier
from waypost.courier.policies import Policies
from waypost.courier.settling import Settling
from waypost.engines.sqlite import lanes_deal
from waypost.engines.sqlite.lanes import SqliteLanes
from waypost.engines.sqlite.lanes_deal import (
    TABLES,
    Deal,
    clear_other_deals,
    current_deal,
    deal_anew,
    deal_folder,
    put_in_force,
)
from waypost.errors import WaypostError
from waypost.model.frames import Attempt, Outcome, PostbackOut, SendResult, SetAside
from waypost.model.lane_words import PAUSE, RESUME, LaneWord, change_of
from waypost.ports.lanes import Chore, ItemState, LaneBatch, LaneControl, LaneItem, LaneState
from waypost.ports.sender import SendReport, SendRequest
from waypost.settings import load_settings
from waypost.telemetry.stats import Stats

LANES = 7


def shard_of(folder: Path, deal: Deal, shard: int, **options: Any) -> SqliteLanes:
    file = deal_folder(folder, deal.number) / f"shard-{shard}.db"
    return SqliteLanes(file, shard=shard, shards=deal.shards, **options)


def filled(folder: Path, deal: Deal, count: int = 60, *, until: int | None = None) -> list[SqliteLanes]:
    """Shards in which something of everything stands; open for writing."""
    put_in_force(folder, deal)
    shards = [shard_of(folder, deal, shard) for shard in range(deal.shards)]
    for number, shard in enumerate(shards):
        seqs = [seq for seq in range(count) if shard.owns(1 + seq % LANES)]
        items = [
            LaneItem(seq, 1 + seq % LANES, f"p{seq}", ItemState.QUEUED, 0, 0, 0, b"frame %d" % seq, key=f"k{seq % 3}")
            for seq in seqs
        ]
        shard.apply(LaneBatch(0, until or count, items, [(seq, 1, 1000) for seq in seqs[::2]]))
        results = (SendResult.DELIVERED, SendResult.RETRY, SendResult.GIVEN_UP, SendResult.HELD, SendResult.UNKNOWN)
        outcomes = [Outcome(f"p{seq}", seq, 1, results[seq % 5], "status_5xx", 2000 + seq) for seq in seqs[::2]]
        lane = next(lane for lane in range(1, LANES + 1) if shard.owns(lane))
        shard.apply(
            LaneBatch(
                source=f"courier-{number}",
                outcomes_end=len(outcomes) + 7 * number,
                outcomes=outcomes,
                controls=[LaneControl(lane, LaneState.PAUSED, "410")],
                chores=[Chore(10 + number, "retry", lane, (2,), 99)],
                control_source="operator",
                control_end=20 + number,
                buckets={lane: b"bucket %d" % lane},
            )
        )
    return shards


def closed(shards: list[SqliteLanes]) -> None:
    for shard in shards:
        shard.close()


def everything(folder: Path) -> dict[str, Any]:
    """All that stands in the deal in force, whatever shard it is in; fails if a shard disagrees with itself."""
    deal = current_deal(folder)
    assert deal is not None
    found: dict[str, Any] = {"items": [], "depths": [], "controls": {}, "chores": [], "buckets": {}, "positions": {}}
    for number in range(deal.shards):
        shard = shard_of(folder, deal, number, read_only=True)
        assert shard.problems() == []
        items = list(shard.items())
        assert all(shard.owns(item.lane) for item in items)
        found["items"] += items
        found["depths"] += shard.depths()
        found["controls"] |= shard.controls()
        found["chores"] += shard.chores()
        found["buckets"] |= shard.buckets()
        found["positions"] |= shard.outcome_positions()
        found["outbox"] = shard.outbox_position()
        shard.close()
    for name in ("items", "depths", "chores"):
        found[name].sort(key=lambda one: one[0] if isinstance(one, tuple) else str(one))
    return found


@pytest.mark.parametrize(("old", "new"), [(1, 2), (2, 3), (3, 1), (2, 2), (5, 4)])
def test_dealing_changes_nothing_but_who_has_it(tmp_path: Path, old: int, new: int) -> None:
    shards = filled(tmp_path, Deal(0, old))
    before = everything(tmp_path)
    assert len(before["items"]) > 30 and len(before["chores"]) == old
    made = deal_anew(tmp_path, Deal(0, old), new)
    closed(shards)
    clear_other_deals(tmp_path, made)
    assert current_deal(tmp_path) == made == Deal(1, new)
    after = everything(tmp_path)
    assert after.pop("positions") == {**before.pop("positions"), "operator": 20}  # what all had of it
    assert after == before
    assert not list(tmp_path.glob("shard-*"))
    for number in range(new):  # a courier works on it as on any
        shard = shard_of(tmp_path, made, number)
        shard.apply(LaneBatch(60, 61, [LaneItem(60, number, "p60", ItemState.QUEUED, 0, 0, 0, b"")]))
        assert shard.problems() == []
        shard.close()


def test_a_courier_that_comes_back_goes_on_where_its_journal_was_applied(tmp_path: Path) -> None:
    """3 → 1 → 2: what was applied of the journals of those that are gone is kept meanwhile."""
    deal = Deal(0, 3)
    shards = filled(tmp_path, deal)
    ends = {**everything(tmp_path)["positions"], "operator": 20}
    for shards_next in (1, 2):
        following = deal_anew(tmp_path, deal, shards_next)
        closed(shards)
        deal = following
        shards = [shard_of(tmp_path, deal, number) for number in range(deal.shards)]
        assert everything(tmp_path)["positions"] == ends
    assert shards[1].outcome_positions()["courier-1"] == ends["courier-1"]
    assert "courier-2" in shards[0].outcome_positions() and "courier-2" not in shards[1].outcome_positions()
    closed(shards)


def test_every_table_of_a_shard_is_dealt(tmp_path: Path) -> None:
    shards = filled(tmp_path, Deal(0, 1))
    rows = shards[0]._open.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    assert {name for (name,) in rows} == TABLES
    closed(shards)


def test_shards_that_stand_apart_or_have_something_in_flight_are_not_dealt(tmp_path: Path) -> None:
    shards = filled(tmp_path / "a", Deal(0, 2))
    shards[1].apply(LaneBatch(60, 70))
    with pytest.raises(WaypostError, match="store_out_of_order"):
        deal_anew(tmp_path / "a", Deal(0, 2), 1)
    closed(shards)
    shards = filled(tmp_path / "b", Deal(0, 1))
    shards[0].apply(LaneBatch(intents=[(1, 1, 1)]))
    with pytest.raises(WaypostError, match="store_out_of_order"):
        deal_anew(tmp_path / "b", Deal(0, 1), 2)
    closed(shards)
    assert current_deal(tmp_path / "b") == Deal(0, 1)
    shards = filled(tmp_path / "c", Deal(0, 1))
    shards[0].apply(LaneBatch(60, 61, [LaneItem(60, 1, "p60", ItemState.QUEUED, 0, 0, 0, b"")], [(60, 1, 1)]))
    with pytest.raises(WaypostError, match="store_out_of_order"):
        deal_anew(tmp_path / "c", Deal(0, 1), 2)
    closed(shards)


def test_flights_that_are_lost_are_told_by_the_new_deal_too(tmp_path: Path) -> None:
    deal = Deal(0, 2)
    shards = filled(tmp_path, deal)
    for number, shard in enumerate(shards):
        seqs = [seq for seq in range(60, 70) if shard.owns(1 + seq % LANES)]
        items = [LaneItem(seq, 1 + seq % LANES, f"p{seq}", ItemState.QUEUED, 0, 0, 0, b"") for seq in seqs]
        shard.apply(LaneBatch(60, 70, items, [(seq, 1, 1) for seq in seqs]))
        shard._open.execute("DELETE FROM flights")
        shards[number] = (shard.close(), shard_of(tmp_path, deal, number))[1]
    for following in (Deal(1, 3), Deal(2, 1)):
        assert deal_anew(tmp_path, deal, following.shards) == following
        closed(shards)
        deal = following
        shards = [shard_of(tmp_path, deal, number) for number in range(deal.shards)]
        problems = "\n".join(problem for shard in shards for problem in shard.problems())
        assert problems.count("the block of flights") == 2
        assert all(f" {seq}" in problems for seq in range(60, 70))
    closed(shards)


@pytest.mark.parametrize("nth", range(1, 7))
def test_a_kill_at_any_point_leaves_the_old_deal_or_the_new_one_whole(tmp_path: Path, nth: int) -> None:
    """A kill before each fsync: of the two new files, their folder, the new `deal.json`, and behind its rename."""
    closed(filled(tmp_path, Deal(0, 3)))
    before = everything(tmp_path)

    def work(die: Callable[[], None]) -> None:
        shards = [shard_of(tmp_path, Deal(0, 3), number) for number in range(3)]
        calls = iter(range(1, 100))
        sync = lanes_deal.sync_path

        def dying(path: Path) -> None:
            if next(calls) == nth:
                die()
            sync(path)

        lanes_deal.sync_path = dying
        deal_anew(tmp_path, Deal(0, 3), 2)
        if nth == 6:
            die()
        closed(shards)

    run_and_kill(work)
    deal = current_deal(tmp_path)
    assert deal == (Deal(0, 3) if nth < 5 else Deal(1, 2))
    for _ in range(2):  # a start, and one that was killed behind its clearing
        clear_other_deals(tmp_path, deal)
        after = everything(tmp_path)
        assert {**after, "positions": 0} == {**before, "positions": 0}
    if deal.number == 0:
        shards = [shard_of(tmp_path, deal, number) for number in range(3)]
        assert deal_anew(tmp_path, deal, 2) == Deal(1, 2)  # over what was half made, if it was not cleared
        closed(shards)


def test_a_disk_that_is_full_leaves_the_old_deal_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = filled(tmp_path, Deal(0, 2))
    before = everything(tmp_path)
    sync, calls = lanes_deal.sync_path, iter(range(9))

    def full(path: Path) -> None:
        if next(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(path)

    with monkeypatch.context() as patch:
        patch.setattr(lanes_deal, "sync_path", full)
        with pytest.raises(WaypostError, match="data_unwritable"):
            deal_anew(tmp_path, Deal(0, 2), 3)
    assert current_deal(tmp_path) == Deal(0, 2) and everything(tmp_path) == before
    shards[0].apply(LaneBatch(60, 61))  # and whoever has the shards goes on
    shards[1].apply(LaneBatch(60, 61))
    assert deal_anew(tmp_path, Deal(0, 2), 3) == Deal(1, 3)
    closed(shards)


def test_a_kill_while_the_old_deal_is_cleared(tmp_path: Path) -> None:
    closed(filled(tmp_path, Deal(0, 2)))
    before = everything(tmp_path)

    def work(die: Callable[[], None]) -> None:
        shards = [shard_of(tmp_path, Deal(0, 2), number) for number in range(2)]
        deal = deal_anew(tmp_path, Deal(0, 2), 1)
        closed(shards)
        (tmp_path / "shard-0.db").unlink()
        die()
        clear_other_deals(tmp_path, deal)

    run_and_kill(work)
    clear_other_deals(tmp_path, Deal(1, 1))
    assert {**everything(tmp_path), "positions": 0} == {**before, "positions": 0}


def test_who_had_a_shard_of_the_old_deal_is_fenced(tmp_path: Path) -> None:
    sleeper = shard_of(tmp_path, Deal(0, 1), 0)
    put_in_force(tmp_path, Deal(0, 1))
    (tmp_path / "shard-0.lock").unlink()  # somebody tidied up
    owner = shard_of(tmp_path, Deal(0, 1), 0)
    deal = deal_anew(tmp_path, Deal(0, 1), 2)
    owner.close()
    with pytest.raises(WaypostError, match="fenced"):
        sleeper.apply(LaneBatch(0, 5))
    clear_other_deals(tmp_path, deal)
    with pytest.raises(WaypostError, match="fenced"):
        sleeper.check()
    sleeper.close()


def test_shards_from_before_deals_were_written_down(tmp_path: Path) -> None:
    assert current_deal(tmp_path) is None
    closed(filled(tmp_path, Deal(0, 2)))
    (tmp_path / "deal.json").unlink()
    assert current_deal(tmp_path) == Deal(0, 2)


def test_a_deal_that_cannot_be_read_is_said_and_not_guessed(tmp_path: Path) -> None:
    shards = filled(tmp_path, Deal(0, 2))
    deal_anew(tmp_path, Deal(0, 2), 1)
    closed(shards)
    clear_other_deals(tmp_path, Deal(1, 1))
    (tmp_path / "deal.json").write_text("{}")
    with pytest.raises(WaypostError, match="store_corrupt"):
        current_deal(tmp_path)
    (tmp_path / "deal.json").unlink()
    with pytest.raises(WaypostError, match="store_corrupt"):
        current_deal(tmp_path)


# --- couriers on them --------------------------------------------------------------------------------


class House:
    """Several couriers on one outbox, killed and dealt anew."""

    def __init__(self, folder: Path, *, on_unknown: str = "resend") -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.outbox = MemoryFeed("outbox")
        self.journals: dict[int, MemoryFeed] = {}
        self.words = MemoryFeed("operator")
        self.positions = MemoryPositions()
        self.settings = msgspec.structs.replace(
            load_settings(None, {}).courier, retry_schedule_ms=(1000,) * 30, retry_jitter=0.0, in_flight_max=20
        )
        rule = PostbackRule(1, (), (), (), (), "GET", "http://partner.example/pb?c={sub1}", {}, "", ())
        delivery = Delivery(on_unknown=on_unknown)
        partners = [Partner(number, f"partner-{number}", (rule,), delivery) for number in range(1, LANES + 1)]
        self.view = MemoryView(1, [], [], partners, [])
        self.moments_left = 0  # until who deals is killed; 0: never
        self.couriers: list[Courier] = []
        self.sent: list[SendRequest] = []
        self.stats = Stats("courier")

    def put(self, count: int) -> None:
        first, now_ms = self.outbox.end, self.clock.now_ms()
        frames = [
            PostbackOut(f"p{seq}", 1 + seq % LANES, 1 + seq % LANES, 0, seq, 1, 1, now_ms, now_ms, {"sub1": str(seq)})
            for seq in range(first, first + count)
        ]
        self.outbox.put(frames)

    def _journal(self, number: int) -> MemoryFeed:
        return self.journals.setdefault(number, MemoryFeed(f"courier-{number}"))

    def start(self, shards: int, dice: random.Random) -> None:
        """Deals if it must, as `waypost run` does, and opens the couriers."""
        deal = current_deal(self.folder)
        if deal is None:
            deal = Deal(0, shards)
            put_in_force(self.folder, deal)
        if deal.shards != shards:
            settlings = [self._settling(deal, number) for number in range(deal.shards)]
            try:
                until = max(settling.outbox_position for settling in settlings)
                for settling in settlings:
                    settling.run(until)
                deal = deal_anew(self.folder, deal, shards)
            finally:
                for settling in settlings:
                    settling.close()
        clear_other_deals(self.folder, deal)

        def answer(request: SendRequest) -> SendReport | None:
            drawn = dice.random()
            return None if drawn < 0.3 else answered(request, status=500 if drawn < 0.4 else 200)

        for number in range(deal.shards):
            sender = FakeSender(answer)
            sender.sent = self.sent
            courier = Courier(
                outbox=self.outbox, lanes=shard_of(self.folder, deal, number),
                journal=MemoryJournal(self._journal(number)), own_feed=self._journal(number),
                catalogs=MemoryCatalogs(self.view), sender=sender,
                settings=msgspec.structs.replace(self.settings, shards=deal.shards), clock=self.clock,
                stats=self.stats, positions=self.positions, shard=number, words=self.words,
            )  # fmt: skip
            self.couriers.append(courier)

    def _settling(self, deal: Deal, number: int) -> Settling:
        policies = Policies(self.settings)
        policies.follow(self.view)
        lanes, journal = shard_of(self.folder, deal, number), MemoryJournal(self._journal(number))
        lanes.apply = self._dying(lanes.apply)  # type: ignore[method-assign]
        journal.append = self._dying(journal.append)  # type: ignore[method-assign]
        return Settling(
            lanes=lanes, journal=journal,
            own_feed=self._journal(number), outbox=self.outbox, words=self.words, policies=policies,
            settings=self.settings,
            positions=self.positions,
            clock=self.clock, stats=self.stats, name="courier" if deal.shards == 1 else f"courier-{number}",
            keeps_unreadable=number == 0,
        )  # fmt: skip

    def _dying(self, commit: Callable[..., Any]) -> Callable[..., Any]:
        """A commit before or after which the one who deals is killed, if it is its turn."""

        def wrapped(*given: Any, **named: Any) -> Any:
            for is_after in (False, True):
                self.moments_left -= 1
                if self.moments_left == 0:
                    raise Die
                if not is_after:
                    done = commit(*given, **named)
            return done

        return wrapped

    def kill(self) -> None:
        for courier in self.couriers:
            courier._lanes.close()
        self.couriers = []

    def attempts(self) -> list[Attempt]:
        frames = [frame for feed in self.journals.values() for frame in feed.frames()]
        return [frame for frame in frames if isinstance(frame, Attempt)]

    def settle(self) -> None:
        """Until all is at rest: nothing queued, nothing in flight."""
        for _ in range(500):
            worked = sum(courier.step() for courier in self.couriers)
            if not worked and all(
                not depth.queued and not depth.in_flight for depth in everything(self.folder)["depths"]
            ):
                return
            self.clock.advance(1100)
        raise AssertionError("the couriers never came to rest")


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_or_doubled_unmarked_though_couriers_are_killed_and_dealt_anew(
    tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    house = House(tmp_path)
    for _ in range(5):
        house.moments_left = dice.randint(1, 8)
        with contextlib.suppress(Die):
            house.start(dice.randint(1, 4), dice)
        if not house.couriers:
            house.moments_left = 0
            house.start(dice.randint(1, 4), dice)
        house.put(dice.randint(0, 60))
        for _ in range(dice.randint(0, 12)):
            dice.choice(house.couriers).step()  # they get ahead of each other
            house.clock.advance(dice.choice((0, 1100)))
        house.kill()
    house.moments_left = 0
    house.start(2, dice)
    house.settle()
    ids = {f"p{seq}" for seq in range(house.outbox.end)}
    outcomes = [outcome for attempt in house.attempts() for outcome in attempt.outcomes]
    assert {one.id for one in outcomes if one.result is SendResult.DELIVERED} == ids
    unmarked = Counter(one.token for one in house.sent if "Waypost-Repeat" not in dict(one.headers))
    assert set(unmarked.values()) <= {1}, "sent twice, and not marked"
    numbers = Counter((one.token, dict(one.headers)["Waypost-Attempt"]) for one in house.sent)
    assert set(numbers.values()) == {1}, "an attempt's number came twice"
    assert everything(tmp_path)["items"] == []
    house.kill()


@pytest.mark.parametrize(("on_unknown", "state"), [("hold", ItemState.HELD), ("drop", ItemState.DEAD)])
def test_what_was_in_flight_when_lanes_are_dealt_becomes_what_the_catalog_says(
    tmp_path: Path, on_unknown: str, state: ItemState
) -> None:
    house = House(tmp_path, on_unknown=on_unknown)
    dice = random.Random(1)
    house.start(1, dice)
    house.put(10)
    house.couriers[0].step()
    assert len(house.sent) == 10
    house.kill()
    house.start(3, dice)
    found = everything(tmp_path)["items"]
    assert [(item.state, item.code) for item in found] == [(state, "outcome_unknown")] * 10
    house.kill()


def test_what_operators_said_is_heard_by_all_before_lanes_are_dealt_and_never_again(tmp_path: Path) -> None:
    house = House(tmp_path)
    dice = random.Random(3)
    house.start(2, dice)
    house.put(70)
    house.couriers[0].step()
    house.words.put([change_of(PAUSE, f"partner-{lane}", LaneWord(lane), at_ms=1, by="ann") for lane in (1, 2)])
    house.clock.advance(1000)
    house.couriers[1].step()  # of lane 1; the other one has heard nothing
    house.couriers[1].step()
    assert set(everything(tmp_path)["controls"]) == {1}
    house.kill()
    house.start(3, dice)
    found = everything(tmp_path)
    assert set(found["controls"]) == {1, 2} and found["positions"]["operator"] == 2
    house.words.put([change_of(RESUME, f"partner-{lane}", LaneWord(lane), at_ms=2, by="ann") for lane in (1, 2)])
    house.settle()
    house.kill()
    house.start(1, dice)
    found = everything(tmp_path)
    assert found["controls"] == {} and found["positions"]["operator"] == 4 and found["items"] == []
    house.kill()


def test_what_is_no_postback_is_set_aside_though_it_is_passed_while_dealing(tmp_path: Path) -> None:
    house = House(tmp_path)
    dice = random.Random(2)
    house.start(2, dice)
    house.put(1)
    house.outbox.put([b"\x91\x63"])
    house.put(1)
    house.couriers[1].step()
    house.couriers[1].step()
    house.kill()
    house.start(1, dice)
    house.kill()
    asides = [frame for feed in house.journals.values() for frame in feed.frames() if isinstance(frame, SetAside)]
    assert [(one.source, one.position) for one in asides] == [("outbox", 1)]
