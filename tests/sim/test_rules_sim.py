"""Rules in the pipeline over real SQLite engines: what a rule that fires once a click has done outlives everything."""

from pathlib import Path

import pytest

from support.catalogs import MemoryCatalogs, MemoryView, design_view
from support.clock import FakeClock
from support.rules import rule
from support.traffic import RING, START_MS, call, click, click_id
from waypost.catalog.model import Partner
from waypost.engines.local.positions import FilePositions
from waypost.engines.segments.feed import SegmentFeeds
from waypost.engines.segments.journal import SegmentJournal
from waypost.engines.sqlite.click_store import SqliteClickStore
from waypost.engines.sqlite.ledger import SqliteLedger
from waypost.model.frames import Click, Decision, Frame, PostbackOut
from waypost.model.ids import ClickKey
from waypost.model.wire import decode_block, encode_frame
from waypost.runtime.journal_reader import JournalReader
from waypost.runtime.pipeline import Pipeline
from waypost.settings import load_settings
from waypost.telemetry.stats import Stats


class World:
    """A data folder with one door's journal, under rules of a test's own."""

    def __init__(self, root: Path, view: MemoryView) -> None:
        self.root, self.view = root, view
        self.clock = FakeClock(START_MS + 1_000_000)
        self.door = SegmentJournal(root / "journal", "door-0", load_settings(None, {}).journal, self.clock)
        self.stats = Stats("pipeline")

    def append(self, *frames: Frame) -> None:
        self.clock.advance(10)
        now_ms = self.clock.now_ms()
        self.door.append([encode_frame(frame) for frame in frames], at_ms=now_ms, watermark_ms=now_ms)

    def drain(self, *, dies: bool = False) -> None:
        """A pipeline of its own that reads all there is; `dies` at its first commit."""
        pipeline = Pipeline(
            reading=JournalReader(SegmentFeeds(self.root / "journal"), self.clock),
            positions=FilePositions(self.root / "positions"),
            clicks=SqliteClickStore(self.root / "clicks"),
            ledger=SqliteLedger(self.root / "ledger.db"),
            catalogs=MemoryCatalogs(self.view),
            ring=RING,
            settings=load_settings(None, {}).pipeline,
            clock=self.clock,
            stats=self.stats,
        )
        try:
            while pipeline.step():
                if dies:
                    raise KeyboardInterrupt
                self.clock.advance(1_000)
        finally:
            pipeline.close()

    def frames(self, feed: str) -> list[object]:
        ledger = SqliteLedger(self.root / "ledger.db", read_only=True)
        try:
            blocks = (ledger.outbox() if feed == "outbox" else ledger.log()).read(0, 10_000)
            assert ledger.problems() == []
            return [frame for block in blocks for frame in decode_block(block.data, block.count)]
        finally:
            ledger.close()


def world_with(root: Path, **fields: object) -> World:
    view = design_view()
    view._partners[1] = Partner(1, "geozo", (rule(1, name="once", **fields),))
    return World(root, view)


def test_a_rule_that_fires_once_a_click_does_so_over_batches_and_restarts(tmp_path: Path) -> None:
    world = world_with(tmp_path, first_only=True)
    one, other = click(START_MS), click(START_MS + 1, seq=1)
    world.append(one, other)

    def calls(*named: tuple[Click, str]) -> None:
        world.append(
            *[
                call(world.clock.now_ms(), f"click_id={click_id(touch)}&goal=install&txn_id={txn}", seq=nth)
                for nth, (touch, txn) in enumerate(named)
            ]
        )

    calls((one, "a"), (one, "b"), (other, "c"))  # twice within a batch
    world.drain()
    calls((one, "d"))
    with pytest.raises(KeyboardInterrupt):
        world.drain(dies=True)
    calls((other, "e"), (one, "f"))
    world.drain()
    decisions = [frame for frame in world.frames("log") if isinstance(frame, Decision)]
    stopped = "it has fired for this click already"
    assert [(one.txn_id, one.rules[0].stopped_by) for one in decisions] == [
        ("a", ""), ("b", stopped), ("c", ""), ("d", stopped), ("e", stopped), ("f", stopped),
    ]  # fmt: skip
    assert len([frame for frame in world.frames("outbox") if isinstance(frame, PostbackOut)]) == 2


def test_what_has_fired_is_forgotten_with_its_clicks_and_a_lost_row_is_noticed(tmp_path: Path) -> None:
    world = world_with(tmp_path, first_only=True)
    one = click(START_MS)
    world.append(one, call(world.clock.now_ms(), f"click_id={click_id(one)}&goal=install&txn_id=a"))
    world.drain()
    ledger = SqliteLedger(tmp_path / "ledger.db")
    key = ClickKey(one.ms, one.door, one.seq)
    assert len(ledger.fired([key, ClickKey(1, 2, 3)])[key]) == 1
    ledger.forget_fired(one.ms)
    assert key in ledger.fired([key]) and ledger.problems() == []
    ledger._connection.execute("DELETE FROM fired")
    assert ledger.problems() == ["ledger: 1 rows were written to fired, 0 are held"]
    ledger._connection.execute("UPDATE fired_count SET counted = 0")
    ledger.forget_fired(one.ms + 1)
    assert ledger.fired([key]) == {} and ledger.problems() == []
    ledger.close()


def test_what_a_percentage_leaves_out_is_counted(tmp_path: Path) -> None:
    world = world_with(tmp_path, share=0.0)
    one = click(START_MS)
    world.append(one, call(world.clock.now_ms(), f"click_id={click_id(one)}&goal=install&txn_id=a"))
    world.drain()
    assert world.stats.values["pipeline_held_back"] == 1 and world.stats.values["pipeline_postbacks"] == 0
