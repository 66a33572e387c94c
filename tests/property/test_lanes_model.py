"""Random batches against a plain model of what `ports.lanes` says of them: repeated, failing, and with the shard opened
again as a kill would leave it. However many blocks of flights are kept, nothing is to be seen of them."""

import random
import shutil
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from waypost.engines.sqlite.lanes import UNKNOWN_CODE, SqliteLanes
from waypost.errors import WaypostError
from waypost.model.frames import Outcome, SendResult
from waypost.ports.lanes import ItemState, LaneBatch, LaneItem, Rank

LANES = 4
_QUEUED, _IN_FLIGHT, _DEAD, _HELD = ItemState
_TAKES_OUT = (SendResult.DROPPED, SendResult.SUPERSEDED)
_ENDS = (
    *(SendResult.DELIVERED,) * 5, SendResult.RETRY, SendResult.GIVEN_UP, SendResult.HELD, SendResult.UNKNOWN,
    SendResult.REDRIVEN, *_TAKES_OUT,
)  # fmt: skip


class Model:
    """Items by place, as the port says they become; nothing is kept but in this dictionary."""

    def __init__(self) -> None:
        self.items: dict[int, LaneItem] = {}
        self.outbox_end = self.journal_end = 0

    def apply(self, batch: LaneBatch) -> None:
        for item in batch.taken:
            if item.seq >= self.outbox_end:
                self.items[item.seq] = item
        self.outbox_end = max(self.outbox_end, batch.taken_end)
        if batch.outcomes_end > self.journal_end:
            for outcome in batch.outcomes:
                self._end(outcome)
            self.journal_end = batch.outcomes_end
        for seq, attempt, at_ms in batch.intents:
            item = self.items.get(seq)
            if item is not None and item.state == _QUEUED and item.attempt + 1 == attempt:
                self._change(
                    item, state=_IN_FLIGHT, attempt=attempt, due_ms=at_ms, first_ms=item.first_ms or at_ms,
                    unknown=False,
                )  # fmt: skip

    def _end(self, outcome: Outcome) -> None:
        item, result = self.items.get(outcome.seq), outcome.result
        if item is None or item.attempt != outcome.attempt:
            return
        is_open = item.state == _IN_FLIGHT or (item.state == _QUEUED and item.unknown)
        if result in _TAKES_OUT:
            if item.state != _IN_FLIGHT:
                del self.items[item.seq]
        elif result is SendResult.REDRIVEN:
            if item.state in (_DEAD, _HELD):
                unknown = item.unknown or outcome.code == UNKNOWN_CODE
                self._ended(item, outcome, _QUEUED, unknown, excused=item.attempt)
        elif result is SendResult.HELD and item.state in (_QUEUED, _IN_FLIGHT):
            self._ended(item, outcome, _HELD, item.unknown or outcome.code == UNKNOWN_CODE)
        elif not is_open:
            return
        elif result is SendResult.DELIVERED:
            del self.items[item.seq]
        elif result is SendResult.GIVEN_UP:
            self._ended(item, outcome, _DEAD, False)
        elif result is SendResult.RETRY:
            self._ended(item, outcome, _QUEUED, False)
        elif item.state == _IN_FLIGHT:
            self._ended(item, outcome, _QUEUED, True)

    def _ended(self, item: LaneItem, outcome: Outcome, state: ItemState, unknown: bool, excused: int = -1) -> None:
        excused = item.excused + (not outcome.counted) if excused < 0 else excused
        self._change(item, state=state, due_ms=outcome.next_due_ms, unknown=unknown, code=outcome.code, excused=excused)

    def _change(self, item: LaneItem, **changes: object) -> None:
        self.items[item.seq] = msgspec.structs.replace(item, **changes)

    def in_order(self) -> list[LaneItem]:
        return [self.items[seq] for seq in sorted(self.items)]


class Play:
    """One run of batches on a shard, and on the model."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.root = folder
        self.folder = folder / "0"
        self.model = Model()
        self.last = LaneBatch()
        self.now_ms = 1000
        self.lanes = self.open()

    def open(self, **options: bool) -> SqliteLanes:
        blocks_max = self.dice.choice((0, 1, 2, 3, 8))
        return SqliteLanes(self.folder / "shard-0.db", shard=0, shards=1, blocks_max=blocks_max, **options)

    def batch(self) -> LaneBatch:
        """What a courier might commit, and some of what it never would."""
        dice, model = self.dice, self.model
        self.now_ms += dice.randrange(5)
        batch = LaneBatch(intents=[])
        if dice.random() < 0.7:
            self._take(batch)
        intended = {seq for seq, *_ in batch.intents}
        waiting = [one for one in model.items.values() if one.state == _QUEUED and one.seq not in intended]
        for item in dice.sample(waiting, min(len(waiting), dice.randrange(4))):
            batch.intents.append((item.seq, item.attempt + dice.choice((1, 1, 1, 1, 2)), self.now_ms))  # type: ignore[attr-defined]
        if dice.random() < 0.7:
            self._end(batch)
        return batch

    def _take(self, batch: LaneBatch) -> None:
        dice, model = self.dice, self.model
        batch.taken_start = max(0, model.outbox_end - dice.choice((0, 0, 0, 2)))
        batch.taken_end = model.outbox_end + dice.randrange(12)
        share = dice.choice((0.2, 0.7, 1.0))
        batch.taken, batch.intents = taken, intents = [], []
        for seq in range(batch.taken_start, batch.taken_end):
            if dice.random() > share:
                continue  # another shard's
            due_ms = self.now_ms + 50 if dice.random() < 0.1 else 0
            item = LaneItem(
                seq, dice.randrange(1, LANES + 1), f"p{seq % 50}", _QUEUED, 0, due_ms, 0,
                b"frame %d" % seq, False, dice.choice((Rank.LIVE, Rank.RESEND)), dice.choice(("", "", "", "k")),
            )  # fmt: skip
            taken.append(item)
            if dice.random() < 0.8:
                intents.append((seq, dice.choice((1, 1, 1, 1, 1, 1, 2)), self.now_ms))

    def _end(self, batch: LaneBatch) -> None:
        dice, model = self.dice, self.model
        batch.source = "courier-0"
        batch.outcomes_start = max(0, model.journal_end - dice.choice((0, 0, 1)))
        batch.outcomes_end = model.journal_end + dice.randrange(9)
        found = list(model.items.values())
        chosen = dice.sample(found, min(len(found), batch.outcomes_end - model.journal_end))
        begun = {seq for seq, *_ in batch.intents}
        outcomes = [
            Outcome(
                item.id, item.seq, item.attempt + dice.choice((0, 0, 0, 0, 0, -1, 1)), dice.choice(_ENDS),
                dice.choice(("", "status_5xx", UNKNOWN_CODE)), self.now_ms + dice.randrange(20), dice.random() < 0.8,
            )
            for item in chosen if item.state == _IN_FLIGHT or item.seq not in begun
        ]  # fmt: skip
        outcomes += outcomes[:1]  # twice
        ends = {_DEAD, _HELD}
        batch.outcomes = [
            one for one in outcomes if one.result is not SendResult.HELD or model.items[one.seq].state not in ends
        ]

    def act(self) -> None:
        dice = self.dice
        what = dice.random()
        if what < 0.1:
            self.lanes.apply(self.last)  # again
            self.model.apply(self.last)
        elif what < 0.25:
            batch = msgspec.structs.replace(self.batch(), buckets={1: object()})  # type: ignore[dict-item]
            with pytest.raises(WaypostError):
                self.lanes.apply(batch)  # all but its last step went well
        elif what < 0.32:
            self.lanes.close()
            self.lanes = self.open()
            assert self.lanes.in_flight() == [one for one in self.model.in_order() if one.state == _IN_FLIGHT]
        elif what < 0.4:
            self.kill()
        else:
            self.last = self.batch()
            self.lanes.apply(self.last)
            self.model.apply(self.last)

    def kill(self) -> None:
        """The files go on as they are at this moment, the log that is beside the database too."""
        copy = self.root / str(int(self.folder.name) + 1)
        shutil.copytree(self.folder, copy, ignore=shutil.ignore_patterns("*-shm"))
        self.lanes.close()
        shutil.rmtree(self.folder)
        self.folder = copy
        self.lanes = self.open()
        assert self.lanes.in_flight() == [one for one in self.model.in_order() if one.state == _IN_FLIGHT]

    def check(self, lanes: SqliteLanes) -> None:
        model, items = self.model, self.model.in_order()
        assert list(lanes.items()) == items
        assert lanes.problems() == []
        assert lanes.outbox_position() == model.outbox_end
        assert lanes.outcome_positions().get("courier-0", 0) == model.journal_end
        assert lanes.in_flight() == [one for one in items if one.state == _IN_FLIGHT]
        assert lanes.at(range(0, model.outbox_end, 2)) == [one for one in items if one.seq % 2 == 0]
        counted = Counter((one.lane, one.state) for one in items)
        assert {depth.lane: (depth.queued, depth.in_flight, depth.dead, depth.held) for depth in lanes.depths()} == {
            lane: tuple(counted[lane, state] for state in ItemState) for lane in {one.lane for one in items}
        }
        for lane in range(1, LANES + 1):
            mine = [one for one in items if one.lane == lane]
            for rank in Rank:
                due = [one for one in mine if one.state == _QUEUED and one.rank == rank and one.due_ms <= self.now_ms]
                due.sort(key=lambda one: (one.due_ms, one.seq))
                assert lanes.due(lane, self.now_ms, (0, -1), 1000, rank) == due
            assert lanes.keyed(lane, "k", 1000) == [one for one in mine if one.key and one.state <= _IN_FLIGHT]
            for state in (_QUEUED, _DEAD, _HELD):
                assert lanes.standing(lane, (state,), -1, 1 << 60, 1000) == [one for one in mine if one.state == state]
        for id in {one.id for one in items}:
            assert lanes.item(id) == max((one for one in items if one.id == id), key=lambda one: one.seq)


@given(st.integers(0, 1 << 48))
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lanes_are_what_the_port_says_whatever_is_kept_in_blocks(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    play = Play(tmp_path_factory.mktemp("lanes"), seed)
    for _ in range(60):
        play.act()
        play.check(play.lanes)
    reader = play.open(read_only=True)
    play.check(reader)
    reader.close()
    play.lanes.close()
