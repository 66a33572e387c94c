"""The pipeline over real SQLite engines, with seeded traffic, a clock that tests move, and crashes anywhere.

A failure prints its seed: `pytest tests/sim -k 'seed'`.
"""

import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.catalogs import MemoryCatalogs, design_view
from support.clock import FakeClock
from support.traffic import RING, START_MS, call, click, click_id
from waypost.engines.local.positions import FilePositions
from waypost.engines.segments.feed import SegmentFeeds
from waypost.engines.segments.journal import SegmentJournal
from waypost.engines.sqlite.click_store import SqliteClickStore
from waypost.engines.sqlite.ledger import SqliteLedger
from waypost.errors import WaypostError
from waypost.model.frames import BatchRecord, Decision, PostbackIn, PostbackOut, Verdict
from waypost.model.ids import KeyedReceipts
from waypost.model.wire import decode_block, encode_frame
from waypost.ports.feed import Block, Feed
from waypost.runtime.journal_reader import JournalReader, Reading
from waypost.runtime.pipeline import Pipeline
from waypost.runtime.replay import RecordedReading
from waypost.settings import PipelineSettings, load_settings
from waypost.telemetry.stats import Stats


class World:
    """A data folder with door journals, and pipelines that may die over it."""

    def __init__(self, root: Path, *, limit: int = 100_000, **settings: int) -> None:
        self.root = root
        self.clock = FakeClock(START_MS + 1_000_000)
        self.catalogs = MemoryCatalogs(design_view(limit=limit))
        self.settings: PipelineSettings = msgspec.structs.replace(load_settings(None, {}).pipeline, **settings)
        self.doors = [self.journal(f"door-{number}") for number in range(2)]

    def journal(self, source: str) -> SegmentJournal:
        return SegmentJournal(self.root / "journal", source, load_settings(None, {}).journal, self.clock)

    def pipeline(self, reading: Reading | None = None) -> Pipeline:
        return Pipeline(
            reading=reading or JournalReader(SegmentFeeds(self.root / "journal"), self.clock),
            positions=FilePositions(self.root / "positions"),
            clicks=SqliteClickStore(self.root / "clicks"),
            ledger=SqliteLedger(self.root / "ledger" / "ledger.db"),
            catalogs=self.catalogs,
            ring=RING,
            settings=self.settings,
            clock=self.clock,
            stats=Stats("pipeline"),
        )

    def blocks(self, source: str, start: int, end: int) -> list[Block]:
        return SegmentFeeds(self.root / "journal").open(source).read(start, end - start)

    def append(self, door: int, *frames: Any, watermark_ms: int = 0) -> None:
        latest = max([getattr(frame, "ms", 0) or getattr(frame, "at_ms", 0) for frame in frames], default=0)
        self.doors[door].append(
            [encode_frame(frame) for frame in frames], at_ms=latest, watermark_ms=watermark_ms or latest
        )

    def drain(self) -> Pipeline:
        pipeline = self.pipeline()
        while pipeline.step():
            pass
        return pipeline

    def ledger(self) -> SqliteLedger:
        return SqliteLedger(self.root / "ledger" / "ledger.db", read_only=True)

    def log(self) -> list[Any]:
        return frames_of(self.ledger().log())

    def decisions(self) -> list[Decision]:
        return [frame for frame in self.log() if isinstance(frame, Decision)]

    def postbacks(self) -> list[PostbackOut]:
        return frames_of(self.ledger().outbox())


def frames_of(feed: Feed) -> list[Any]:
    found: list[Any] = []
    position = 0
    while blocks := feed.read(position, 1000):
        for block in blocks:
            found += decode_block(block.data, block.count)
            position = block.end
    return found


def test_a_click_and_its_postback(tmp_path: Path) -> None:
    world = World(tmp_path)
    one = click(START_MS)
    world.append(0, one)
    world.append(1, call(START_MS + 5, f"click_id={click_id(one)}&goal=install"))
    world.drain()
    (decision,) = world.decisions()
    assert (decision.source, decision.position, decision.verdict) == ("door-1", 0, Verdict.NEW)
    assert [postback.id for postback in world.postbacks()] == [decision.rules[0].postback]
    assert world.ledger().problems() == []


def test_a_call_before_its_click_is_parked_and_released_by_the_click(tmp_path: Path) -> None:
    world = World(tmp_path)
    one = click(START_MS)
    world.append(1, call(START_MS + 5, f"click_id={click_id(one)}&goal=install"))
    world.drain()
    assert world.decisions() == [] and len(world.ledger().parked()) == 1
    world.append(0, one, watermark_ms=START_MS + 1)
    world.drain()
    (decision,) = world.decisions()
    assert decision.verdict is Verdict.NEW and decision.parked_ms == world.clock.now_ms()
    assert world.ledger().parked() == [] and world.ledger().problems() == []


def test_a_call_whose_click_never_was_is_refused_once_the_door_is_beyond_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.append(1, call(START_MS + 5, f"click_id={click_id(click(START_MS))}&goal=install"))
    world.drain()
    world.doors[0].heartbeat(at_ms=START_MS, watermark_ms=START_MS)
    world.drain()
    assert world.decisions() == [], "a click of that very millisecond may still come"
    world.doors[0].heartbeat(at_ms=START_MS, watermark_ms=START_MS + 1)
    world.drain()
    assert [one.code for one in world.decisions()] == ["click_not_found"]


def test_a_call_whose_door_is_silent_waits_for_the_maximum_only(tmp_path: Path) -> None:
    world = World(tmp_path, park_max_ms=60_000)
    world.append(1, call(START_MS + 5, f"click_id={click_id(click(START_MS, door=9))}&goal=install"))
    world.drain()
    world.clock.sleep_ms(59_999)
    world.drain()
    assert world.decisions() == []
    world.clock.sleep_ms(1)
    world.drain()
    (decision,) = world.decisions()
    assert (decision.verdict, decision.code) == (Verdict.REFUSED, "click_not_arrived")


def test_a_parked_call_holds_up_nobody(tmp_path: Path) -> None:
    world = World(tmp_path)
    one = click(START_MS)
    world.append(0, one, watermark_ms=START_MS + 1)
    world.append(
        1,
        call(START_MS + 5, f"click_id={click_id(click(START_MS, door=9))}&goal=install"),
        call(START_MS + 5, f"click_id={click_id(one)}&goal=install", 1),
    )
    world.drain()
    assert [decision.position for decision in world.decisions()] == [1]


def test_poison_is_set_aside_with_its_bytes_and_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    one = click(START_MS)
    poison = call(START_MS + 5, f"click_id={click_id(one)}&goal=poison")
    world.append(0, one, watermark_ms=START_MS + 1)
    world.append(1, poison, call(START_MS + 6, f"click_id={click_id(one)}&goal=install", 1))
    world.doors[1].append([b"\x93\x7f\x01\x02", encode_frame(one)], at_ms=1, watermark_ms=1)
    view = world.catalogs.open(1)
    whole = view.offer
    mines = [RuntimeError("mine")]

    def offer(no: int) -> Any:
        if mines:
            raise mines.pop()
        return whole(no)

    monkeypatch.setattr(view, "offer", offer)
    world.drain()
    by_position = {decision.position: decision for decision in world.decisions()}
    assert by_position[0].verdict is Verdict.SET_ASIDE and by_position[0].code == "poisonous_item"
    assert by_position[0].raw == encode_frame(poison) and "mine" in by_position[0].details["error"]
    assert by_position[1].verdict is Verdict.NEW
    assert by_position[2].code == "unreadable_frame" and by_position[2].raw == b"\x93\x7f\x01\x02"


def test_calls_are_judged_as_they_were_accepted_whatever_doors_took_them(tmp_path: Path) -> None:
    world = World(tmp_path)
    one = click(START_MS)
    name = f"click_id={click_id(one)}&goal=install&txn_id=1"
    world.append(0, one)
    world.append(0, call(START_MS + 40, f"{name}&status=declined", door=0))
    world.append(1, call(START_MS + 5, name, door=1))
    world.drain()
    assert [(one.source, one.verdict) for one in world.decisions()] == [
        ("door-1", Verdict.NEW),
        ("door-0", Verdict.UPDATED),
    ]


def test_a_door_that_has_more_to_read_than_a_batch_takes_holds_the_others_back(tmp_path: Path) -> None:
    world = World(tmp_path, batch_frames_max=20)
    clicks = [click(START_MS, seq) for seq in range(60)]
    names = [f"click_id={click_id(one)}&goal=install&txn_id={nth}" for nth, one in enumerate(clicks)]
    world.append(0, *clicks)
    for nth, name in enumerate(names):
        world.append(1, call(START_MS + 10 * nth + 1, name, door=1))
    for nth, name in enumerate(names[1::7], 1):
        world.append(0, call(START_MS + 10 * (7 * nth - 6) + 5, f"{name}&status=declined", door=0))
    world.drain()
    decisions = world.decisions()
    assert [one.receipt for one in decisions] == sorted(one.receipt for one in decisions)
    assert Counter(one.verdict for one in decisions) == {Verdict.NEW: 60, Verdict.UPDATED: len(names[1::7])}


def test_a_clock_that_was_set_back_holds_nothing_up(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.clock.set_back(1_000_000 + 3_600_000)
    one = click(START_MS)
    world.append(0, one, watermark_ms=START_MS + 1)
    world.append(1, call(START_MS + 5, f"click_id={click_id(one)}&goal=install", door=1))
    world.drain()
    assert [one.verdict for one in world.decisions()] == [Verdict.NEW]


def test_a_damaged_click_sets_its_call_aside_and_holds_up_nobody(tmp_path: Path) -> None:
    world = World(tmp_path)
    broken, whole = click(START_MS), click(START_MS + 1)
    world.append(0, broken, whole, watermark_ms=START_MS + 2)
    world.drain().close()
    (file,) = (file for file in (tmp_path / "clicks").glob("*.db") if file.stem.isdigit())
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("UPDATE clicks SET data = x'c1' WHERE key = (SELECT min(key) FROM clicks)")
    calls = [call(START_MS + 5 + n, f"click_id={click_id(one)}&goal=install") for n, one in enumerate((broken, whole))]
    world.append(1, *calls)
    world.drain()
    assert [one.verdict for one in world.decisions()] == [Verdict.SET_ASIDE, Verdict.NEW]
    assert world.decisions()[0].raw and world.ledger().problems() == []


def test_a_cap_is_exact_over_batches_and_restarts(tmp_path: Path) -> None:
    world = World(tmp_path, limit=25, batch_frames_max=7)
    clicks = [click(START_MS + nth) for nth in range(60)]
    world.append(0, *clicks, watermark_ms=START_MS + 100)
    for nth, one in enumerate(clicks):
        world.append(1, call(START_MS + 200 + nth, f"click_id={click_id(one)}&goal=install"))
        if nth % 13 == 0:
            world.drain()
    world.drain()
    counts = Counter(decision.code for decision in world.decisions())
    assert counts == {"": 25, "cap_reached": 35}
    assert list(world.ledger().caps().values()) == [25]


def traffic(world: World, seed: int, count: int = 150) -> None:
    """Clicks and calls on two doors in a random order: duplicates, updates, early calls, junk."""
    rng = random.Random(seed)
    now = START_MS
    known: list[str] = []
    for nth in range(count):
        now += rng.randrange(1, 50)
        door = rng.randrange(2)
        kind = rng.random()
        if kind < 0.4 or not known:
            one = click(now, nth % 100, door=door, route=rng.choice((1, 2)), query=f"sub1=s{nth}")
            known.append(click_id(one))
            late = rng.random() < 0.2
            if late:  # the call comes first
                world.append(1 - door, call(now, f"click_id={click_id(one)}&goal=install&txn_id=e{nth}"))
            world.append(door, one)
        else:
            goal = rng.choice(("install", "purchase", "nothing"))
            status = rng.choice(("", "approved", "pending", "declined"))
            query = f"click_id={rng.choice(known)}&goal={goal}&sum={rng.randrange(1, 99)}&status={status}"
            query += rng.choice(("", f"&txn_id=t{rng.randrange(20)}"))
            world.append(door, call(now, query, nth % 1000, door=door))
    for door in (0, 1):
        world.doors[door].heartbeat(at_ms=now, watermark_ms=now + 1)


class CrashError(Exception):
    pass


def crash_after(pipeline: Pipeline, rng: random.Random) -> None:
    """Makes one of the pipeline's writes die before or after it happens."""
    target, name = rng.choice(((pipeline._clicks, "apply"), (pipeline._ledger, "apply")))
    whole = getattr(target, name)
    after = rng.random() < 0.5
    countdown = [rng.randrange(1, 4)]

    def dying(argument: Any) -> None:
        countdown[0] -= 1
        if countdown[0] > 0:
            whole(argument)
            return
        if after:
            whole(argument)
        raise CrashError

    setattr(target, name, dying)


@pytest.mark.parametrize("seed", range(12))
def test_crashes_anywhere_change_no_decision(tmp_path: Path, seed: int) -> None:
    calm, rough = (World(tmp_path / name, batch_frames_max=20) for name in ("calm", "rough"))
    traffic(calm, seed)
    traffic(rough, seed)
    calm.drain()
    rng = random.Random(seed)
    for _ in range(200):
        pipeline = rough.pipeline()
        crash_after(pipeline, rng)
        try:
            while pipeline.step():
                pass
            break
        except CrashError:
            pass
        finally:
            pipeline.close()
    rough.drain()

    def essence(world: World) -> list[tuple[Any, ...]]:
        return sorted((d.source, d.position, d.verdict, d.code, d.status, str(d.payout)) for d in world.decisions())

    assert essence(calm) == essence(rough), f"seed {seed}"
    assert sorted(p.id for p in calm.postbacks()) == sorted(p.id for p in rough.postbacks()), f"seed {seed}"
    assert calm.ledger().caps() == rough.ledger().caps(), f"seed {seed}"
    assert rough.ledger().problems() == []
    feeds = SegmentFeeds(rough.root / "journal")
    accepted = sum(isinstance(f, PostbackIn) for n in range(2) for f in frames_of(feeds.open(f"door-{n}")))
    assert accepted == len(rough.decisions()) + len(rough.ledger().parked())


@pytest.mark.parametrize("seed", range(3))
def test_the_same_journals_and_batch_records_give_the_same_bytes(tmp_path: Path, seed: int) -> None:
    """Law 3: fed the recorded ranges at the recorded times, a fresh pipeline writes the same log."""
    world = World(tmp_path / "first", batch_frames_max=15)
    traffic(world, seed)
    world.drain()
    records = [frame for frame in world.log() if isinstance(frame, BatchRecord)]
    again = World(tmp_path / "second")
    traffic(again, seed)
    reading = RecordedReading(again.blocks)
    pipeline = again.pipeline(reading)
    for record in records:
        again.clock.advance(record.now_ms - again.clock.now_ms())
        reading.record = record
        assert pipeline.step()
    assert [encode_frame(frame) for frame in again.log()] == [encode_frame(frame) for frame in world.log()]
    assert [encode_frame(p) for p in again.postbacks()] == [encode_frame(p) for p in world.postbacks()]


def test_a_full_disk_stops_nothing_for_good(tmp_path: Path) -> None:
    world = World(tmp_path)
    one = click(START_MS)
    world.append(0, one, watermark_ms=START_MS + 1)
    world.append(1, call(START_MS + 5, f"click_id={click_id(one)}&goal=install"))
    pipeline = world.pipeline()
    whole = pipeline._ledger.apply
    failures = [WaypostError("data_unwritable", "disk full")] * 3

    def failing(changes: Any) -> None:
        if failures:
            raise failures.pop()
        whole(changes)

    pipeline._ledger.apply = failing  # type: ignore[method-assign]
    rounds = iter([False] * 6 + [True] * 100)
    pipeline.run(lambda: next(rounds))
    assert [decision.verdict for decision in world.decisions()] == [Verdict.NEW]
    assert pipeline._stats.values["errors"] == 3


def keyed(frame: PostbackIn, key: bytes) -> PostbackIn:
    receipt = KeyedReceipts(RING).number(frame.advertiser, key, test=frame.test)
    return msgspec.structs.replace(frame, receipt=receipt, keyed=True)


def test_a_key_that_was_used_before_has_no_effect_whatever_door_took_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    one, two = click(START_MS, 1), click(START_MS, 2)
    world.append(0, one, two)
    first = keyed(call(START_MS + 5, f"click_id={click_id(one)}&goal=install&txn_id=a"), b"k")
    world.append(1, first, keyed(call(START_MS + 6, f"click_id={click_id(two)}&goal=install&txn_id=b"), b"k"))
    world.append(0, call(START_MS + 6, f"click_id={click_id(two)}&goal=install&txn_id=c"))
    world.drain()
    world.append(0, msgspec.structs.replace(first, at_ms=START_MS + 7, door=0))
    world.drain()
    made, other, free, again = sorted(world.decisions(), key=lambda one: (one.at_ms, one.source != "door-1"))
    assert [one.verdict for one in (made, other, free, again)] == ["new", "duplicate", "new", "duplicate"]
    assert made.receipt == other.receipt == again.receipt == made.conversion
    assert other.code == again.code == "repeated_key"
    assert other.details["idempotency_key"].startswith("was used by the call at door-1 position 0, with other words")
    assert again.details["idempotency_key"] == "was used by the call at door-1 position 0, with the same"
    assert len(world.postbacks()) == 2 and world.ledger().problems() == []


def test_a_call_that_waits_for_its_click_holds_its_key(tmp_path: Path) -> None:
    world = World(tmp_path)
    late, there = click(START_MS + 4, 1, door=0), click(START_MS, 2, door=1)
    world.append(1, there, keyed(call(START_MS + 5, f"click_id={click_id(late)}&goal=install"), b"k"))
    world.drain()
    world.append(1, keyed(call(START_MS + 6, f"click_id={click_id(there)}&goal=install"), b"k"))
    world.drain()
    assert [(one.position, one.code) for one in world.decisions()] == [(2, "repeated_key")]
    world.append(0, late, watermark_ms=START_MS + 9)
    world.drain()
    assert [(one.position, one.verdict) for one in world.decisions()] == [(2, "duplicate"), (1, "new")]


def test_a_key_is_forgotten_in_time_but_not_one_that_made_a_conversion(tmp_path: Path) -> None:
    world = World(tmp_path, keyed_kept_ms=1000, replay_kept_ms=0)
    one = click(START_MS)
    made = keyed(call(START_MS + 5, f"click_id={click_id(one)}&goal=install"), b"made")
    refused = keyed(call(START_MS + 6, "click_id=nothing"), b"refused")
    world.append(0, one, made, refused)
    world.drain()
    world.clock.advance(999)
    world.append(0, msgspec.structs.replace(refused, at_ms=START_MS + 7))
    world.drain()
    world.clock.advance(1)
    for wait_ms in (0, 3 * 86_400_000):  # expired, and then dropped
        world.clock.advance(wait_ms)
        world.append(0, msgspec.structs.replace(refused, at_ms=START_MS + 8), made)
        world.drain()
    codes = [one.code for one in world.decisions() if one.receipt == refused.receipt]
    assert codes == ["click_id_forged", "repeated_key", "click_id_forged", "click_id_forged"]
    codes = [one.code for one in world.decisions() if one.receipt == made.receipt]
    assert codes == ["", "repeated_key", "repeated_key"] and world.ledger().problems() == []


def test_calls_are_judged_in_the_order_of_acceptance_keyed_or_not(tmp_path: Path) -> None:
    world = World(tmp_path)
    one = click(START_MS)
    world.append(0, one)
    text = f"click_id={click_id(one)}&goal=install&status="
    world.append(1, call(START_MS + 5, text + "pending", 3), keyed(call(START_MS + 5, text + "approved"), b"k"))
    world.append(1, call(START_MS + 6, text + "declined", door=1))
    world.drain()
    assert [one.position for one in world.decisions()] == [0, 1, 2]
