"""`explain/audit.py` over the real engines: clean when all is there, on a live system too; see also the deletions."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.explain_world import World, some_of_everything
from waypost.explain.audit import audit


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
