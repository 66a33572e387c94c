"""Trace and audit of what is done with postbacks in their lanes: paused, redriven, dropped, held, superseded."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from support.explain_world import World
from waypost.cli.audit import report_text
from waypost.explain.audit import audit
from waypost.explain.report import AuditReport
from waypost.explain.story import AttemptEvent, HandledEvent, PostbackEvent, Story
from waypost.explain.story_text import print_story
from waypost.explain.trace import trace
from waypost.model.frames import Attempt, AttemptReason, Outcome, SendResult
from waypost.model.lane_words import DROP, PAUSE, RETRY, LaneWord, change_of
from waypost.model.wire import encode_frame
from waypost.ports.lanes import ItemState, LaneBatch, LaneItem

LANE = 1
STATES = (int(ItemState.DEAD), int(ItemState.HELD))
FAR = 1 << 40


@pytest.fixture(params=[True, False], ids=["archived", "not archived"])
def archived(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with contextlib.closing(World(tmp_path / "data")) as made:
        yield made


def cause(world: World, name: str) -> str:
    """A postback; answers its id."""
    receipt = world.call(f"click_id={world.click(name)}&goal=install&txn_id=t-{name}")
    world.work(archive=False)
    return f"p{receipt[1:]}.1"


def ask(world: World, kind: str, *, archive: bool, **said: object) -> None:
    word = LaneWord(LANE, **said)  # type: ignore[arg-type]
    world.put("operator", change_of(kind, "geozo", word, at_ms=world.clock.now_ms(), by="ann"))
    world.clock.advance(1000)
    world.work(archive=archive)


def told(world: World, id: str) -> tuple[Story, PostbackEvent, str]:
    """The story, its postback, and all of it as text."""
    with contextlib.closing(world.sources()) as sources:
        story = trace(id, sources)
    (postback,) = [event for event in story.events if isinstance(event, PostbackEvent)]
    text = io.StringIO()
    print_story(story, Console(file=text, width=100))
    return story, postback, text.getvalue()


def audited(world: World) -> AuditReport:
    with contextlib.closing(world.sources()) as sources:
        report = audit(sources)
    assert report.ok, report.problems
    return report


def handled(story: Story) -> list[HandledEvent]:
    return [event for event in story.events if isinstance(event, HandledEvent)]


def standing(world: World, id: str) -> LaneItem:
    item = world.lanes.item(id)
    assert item is not None
    return item


def without_attempt(world: World, item: LaneItem, result: SendResult, detail: str) -> None:
    """What the courier writes where something becomes of a postback and no request is made."""
    outcome = Outcome(item.id, item.seq, item.attempt, result, item.code)
    now = world.clock.now_ms()
    frame = Attempt(item.lane, item.lane, now, AttemptReason.FIRST, "", "", (outcome,), detail=detail)
    journal = world.journals["courier-0"]
    start = journal.append([encode_frame(frame)], at_ms=now, watermark_ms=now)
    world.lanes.apply(LaneBatch(source="courier-0", outcomes_start=start, outcomes_end=start + 1, outcomes=[outcome]))
    world.courier._outcome_position = start + 1


def test_a_paused_lane_is_told_with_its_reason(world: World, archived: bool) -> None:
    ask(world, PAUSE, archive=archived, why="their release")
    id = cause(world, "plain")
    world.work(archive=archived)
    _, postback, text = told(world, id)
    assert postback.state == "queued"
    assert postback.lane_state.startswith("paused by ann since 20")
    assert postback.lane_state.endswith(": their release")
    assert "their release" in text
    assert audited(world).counts.queued == 1


def test_driven_again_with_who(world: World, archived: bool) -> None:
    id = cause(world, "never")
    assert told(world, id)[1].state == "dead"
    ask(world, RETRY, archive=archived, states=STATES, until_seq=FAR, why="repaired")
    story, postback, text = told(world, id)
    (event,) = handled(story)
    assert (event.result, event.by, event.why, event.code) == ("redriven", "ann", "repaired", "address_forbidden")
    assert "redriven" in text
    attempts = [one for one in story.events if isinstance(one, AttemptEvent)]
    assert [one.attempt for one in attempts] == [1, 2]
    assert (postback.state, postback.attempts) == ("dead", 2)
    counts = audited(world).counts
    assert (counts.attempts, counts.dead) == (2, 1)


def test_dropped_with_who_and_why(world: World, archived: bool) -> None:
    id = cause(world, "never")
    other = cause(world, "plain")
    ask(world, DROP, archive=archived, states=STATES, until_seq=FAR, why="a test of theirs")
    story, postback, text = told(world, id)
    (event,) = handled(story)
    assert (event.result, event.by, event.why) == ("dropped", "ann", "a test of theirs")
    assert postback.state == "dropped"
    assert "a test of theirs" in text
    assert told(world, other)[1].state == "delivered"
    report = audited(world)
    counts = report.counts
    assert (counts.postbacks, counts.delivered, counts.dropped, counts.dead) == (2, 1, 1, 0)
    assert "2 caused = 1 delivered + 1 dropped + 0 queued" in report_text(report)


def test_held_and_superseded(world: World, archived: bool) -> None:
    ask(world, PAUSE, archive=archived)
    held, gone = cause(world, "one"), cause(world, "two")
    without_attempt(world, standing(world, held), SendResult.HELD, "of two the first")
    without_attempt(world, standing(world, gone), SendResult.SUPERSEDED, "p1.2 took its place")
    world.work(archive=archived)
    story, postback, _ = told(world, held)
    assert (postback.state, [event.result for event in handled(story)]) == ("held", ["held"])
    story, postback, text = told(world, gone)
    assert (postback.state, [event.why for event in handled(story)]) == ("superseded", ["p1.2 took its place"])
    assert "superseded" in text
    report = audited(world)
    counts = report.counts
    assert (counts.postbacks, counts.held, counts.superseded, counts.queued, counts.attempts) == (2, 1, 1, 0, 0)
    assert "+ 1 superseded + 1 held" in report_text(report)


def test_an_outcome_that_stands_twice_is_counted_once(world: World) -> None:
    """As after an append that seemed to fail: one in the archive, one beyond it."""
    id = cause(world, "never")
    ask(world, DROP, archive=True, states=STATES, until_seq=FAR, why="x")
    frame = encode_frame(
        Attempt(LANE, LANE, 1, AttemptReason.RETRY, "", "", (Outcome(id, 0, 1, SendResult.DROPPED),), by="ann")
    )
    now = world.clock.now_ms()
    world.journals["courier-0"].append([frame], at_ms=now, watermark_ms=now)
    counts = audited(world).counts
    assert (counts.postbacks, counts.dropped, counts.delivered) == (1, 1, 0)
