"""`explain/audit.py` over the real engines: clean when all is there, on a live system too; see also the deletions."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.explain_world import World, some_of_everything
from support.traffic import click, click_id
from waypost.explain.audit import audit
from waypost.model.frames import Click


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "data")
    with contextlib.closing(world):
        yield world


def test_a_world_where_all_is_there(world: World) -> None:
    some_of_everything(world)
    sources = world.sources()
    report = audit(sources)
    sources.close()
    assert report.problems == []
    assert report.ok
    counts = report.counts
    assert counts.clicks == 10
    assert counts.impressions == 2
    assert counts.accepted == 2 * (4 + 4 + 1 + 1) + 1
    assert counts.verdicts == {"new": 8, "updated": 2, "duplicate": 2, "refused": 4, "set_aside": 2}
    assert (counts.parked, counts.unread) == (2, 1)
    assert counts.conversions == 8
    assert counts.postbacks == 10
    assert (counts.delivered, counts.queued, counts.in_flight, counts.dead) == (4, 2, 2, 2)
    assert set(report.not_archived) == {"door-0", "door-1", "courier-0", "operator", "ledger-log", "outbox"}


def test_an_empty_world(world: World) -> None:
    sources = world.sources()
    report = audit(sources)
    sources.close()
    assert report.ok, report.problems
    assert report.counts.accepted == 0


@pytest.mark.slow
def test_a_world_at_work_is_never_called_incomplete(world: World) -> None:
    """Audits while journals grow, the pipeline commits, lanes change, the archivist cuts and feeds are trimmed."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def live() -> None:
        nth = 0
        try:
            while not stop.is_set():
                nth += 1
                for name in ("plain", "later", "plain", "hangs" if nth % 7 == 0 else "plain"):
                    click = world.click(f"{name}-{nth}", door=nth % 2)
                    world.call(f"click_id={click}&goal=install", door=(nth + 1) % 2)
                    world.call(f"click_id={click}&goal=install&status=declined", door=0)
                world.call(f"click_id={click_id(click_of(world))}&goal=install")  # its click comes afterwards
                world.pipeline.step()
                world.courier.step()
                world.archivist.step()
                world.clock.advance(700)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=live)
    thread.start()
    sources = world.sources()
    try:
        for _ in range(8):
            report = audit(sources)
            assert report.problems == []
    finally:
        stop.set()
        thread.join()
        sources.close()
    assert failed == []
    assert report.counts.accepted > 20
    assert min(world.positions.of("outbox").values()) > 0


def click_of(world: World) -> Click:
    """A click that is not recorded yet, a little ahead of the clock."""
    return click(world.clock.now_ms() + 1500, seq=5)
