"""What a job of resends selects: over real stores, a part of them archived and a part not."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from support.explain_world import World, some_of_everything
from waypost.explain.names import Names
from waypost.explain.resend_jobs import count, jobs
from waypost.explain.resend_report import jobs_text, preview_text
from waypost.explain.resends import Again, Pick, Tails, Wanted, counted
from waypost.explain.story import AttemptEvent
from waypost.explain.trace import trace
from waypost.model.frames import PostbackOut, Resend
from waypost.model.ids import conversion_text
from waypost.model.wire import decode_block

FAR = 1 << 60


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path)
    monkeypatch.setattr(world.ledger, "trim", lambda log, outbox: None)  # what was there is compared with
    some_of_everything(world)
    yield world
    world.close()


def picked(world: World, *, after: int = -1, job: str = "j1", **wanted: object) -> list[Pick]:
    sources = world.sources()
    try:
        asked = Wanted(**{"until": FAR, **wanted})  # type: ignore[arg-type]
        return list(Again(sources, asked, Tails(sources)).picks(job, 7, after))
    finally:
        sources.close()


def outbox(world: World) -> list[PostbackOut]:
    blocks = world.ledger.outbox().read(0, 1 << 20)
    frames = [frame for block in blocks for frame in decode_block(block.data, block.count)]
    return [frame for frame in frames if isinstance(frame, PostbackOut)]


def sub1(post: PostbackOut) -> str:
    """Which click's it is; those of refused calls (partner 2) do not say."""
    return post.values.get("sub1", "refused")


def test_what_was_delivered_comes_back_as_it_was_and_what_stands_is_named(world: World) -> None:
    posts = outbox(world)
    picks = picked(world)
    assert [pick.place for pick in picks] == list(range(len(posts))), "in the outbox's order, archived or not"
    states = {sub1(posts[pick.place]): pick.why_not for pick in picks}
    kinds = (("plain", ""), ("later", "queued"), ("never", "dead"), ("hangs", "in_flight"))
    assert states == {f"{name}-{half}": state for half in "ab" for name, state in kinds} | {"refused": ""}
    for pick in picks:
        if pick.step is None:
            continue
        assert (pick.step.job, pick.step.place, pick.step.at_ms, pick.step.kind) == ("j1", pick.place, 7, "again")
        again, was = pick.step.postback, posts[pick.place]
        assert again is not None and again.begun == 1 and again.first_ms >= was.created_ms
        assert msgspec.structs.replace(again, begun=0, first_ms=0) == was


def test_each_filter_narrows_it(world: World) -> None:
    posts = outbox(world)

    def names(**wanted: object) -> list[str]:
        return sorted(sub1(posts[pick.place]) for pick in picked(world, **wanted))

    assert names(status="delivered") == ["plain-a", "plain-b", "refused", "refused"]
    assert names(status="failed") == names(code="address_forbidden") == ["never-a", "never-b"]
    assert names(code="http_status") == ["later-a", "later-b"]
    assert len(names(goal="install")) == len(names(partner=1)) == 8 and names(goal="purchase") == []
    assert names(partner=2) == ["refused", "refused"] and names(partner=3) == []
    plain = next(post for post in posts if sub1(post) == "plain-b")
    assert names(ids=(plain.id,)) == names(ids=(conversion_text(plain.conversion),)) == ["plain-b"]
    middle_ms = sorted(post.created_ms for post in posts)[len(posts) // 2]
    assert names(to_ms=middle_ms) == sorted(sub1(post) for post in posts if post.created_ms < middle_ms)
    assert names(from_ms=middle_ms) == sorted(sub1(post) for post in posts if post.created_ms >= middle_ms)
    assert names(until=3) == sorted(sub1(post) for post in posts[:3])


@pytest.mark.parametrize("after", (0, 3, 4, 9))
def test_a_job_goes_on_behind_any_place(world: World, after: int) -> None:
    assert picked(world, after=after) == [pick for pick in picked(world) if pick.place > after]


def test_what_was_resent_counts_its_attempts_and_is_selected_once(tmp_path: Path) -> None:
    world = World(tmp_path)  # nothing hangs in it
    for nth in range(4):
        world.call(f"click_id={world.click(f'plain-{nth}')}&goal=install")
        world.work(archive=nth == 1)
    steps = [pick.step for pick in picked(world, status="delivered") if pick.step is not None]
    assert [step.place for step in steps] == [0, 1, 2, 3]
    world.put("operator", Resend(7, "j1", "begin", text="{}"), *steps, Resend(7, "j1", "end"))
    for archive in (False, True):
        world.work(archive=archive)
        again = [pick for pick in picked(world) if pick.step is not None]
        assert [(pick.place, pick.step.postback.begun) for pick in again if pick.step and pick.step.postback] == [
            (0, 2), (1, 2), (2, 2), (3, 2),
        ]  # fmt: skip
        sources = world.sources()
        rows = jobs(sources)
        count(sources, rows)
        row = rows["j1"]
        assert (row.state, row.added, row.delivered, row.waiting, row.written) == ("added", 4, 4, 0, 0)
        assert "j1  added" in jobs_text(rows.values(), Names(sources.catalogs))
        sent = steps[0].postback
        assert sent is not None
        tries = [event for event in trace(sent.id, sources).events if isinstance(event, AttemptEvent)]
        assert [(one.attempt, one.is_repeat, one.reason) for one in tries] == [(1, False, "first"), (2, True, "resend")]
        sources.close()
    world.close()


def test_a_job_of_which_the_pipeline_has_not_read_is_shown(world: World) -> None:
    steps = [pick.step for pick in picked(world, job="j9") if pick.step is not None]
    world.put("operator", Resend(7, "j9", "begin", text='{"partner": 1}', every_us=20_000), *steps)
    sources = world.sources()
    row = jobs(sources)["j9"]
    sources.close()
    assert (row.state, row.added, row.written, row.last) == ("adding", 0, len(steps), steps[-1].place)
    assert row.wanted == Wanted(partner=1)


def test_a_preview_counts_by_rule_and_says_what_is_left_out(world: World) -> None:
    sources = world.sources()
    tails = Tails(sources)
    preview = counted(Again(sources, Wanted(until=FAR), tails).picks("", 7))
    assert preview.postbacks == Counter({(1, 1): 2, (2, 2): 2}) and preview.steps == 4
    assert preview.left == Counter(queued=2, dead=2, in_flight=2) and len(preview.left_ids) == 2
    text = preview_text(preview, Wanted(), Names(sources.catalogs), tails.behind)
    sources.close()
    assert (
        "geozo: 2 by rule 1; first p" in text
        and "2: it is a dead letter in its lane: see `waypost lanes retry`" in text
    )
    assert f"is {tails.behind} frames behind" in text and tails.behind > 0
