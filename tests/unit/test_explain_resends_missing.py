"""What rules of today would tell of past conversions: which are selected, and what counts as told."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from support.catalogs import MemoryView, design_view
from support.explain_world import World
from waypost.catalog.model import Partner, PostbackRule
from waypost.explain.resends import Pick, Tails, Wanted
from waypost.explain.resends_missing import Missing
from waypost.explain.sources import ExplainSources
from waypost.model.frames import Conversion, Resend

HALF = 3


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Six installs, half of them archived, and one that was declined; rule 1 of partner geozo told of the six."""
    world = World(tmp_path)
    for nth in range(2 * HALF):
        world.call(f"click_id={world.click(f'plain-{nth}')}&goal=install&txn_id=t{nth}")
        world.work(archive=nth == HALF - 1)
    world.call(f"click_id={world.click('plain-no')}&goal=install&txn_id=no&status=declined")
    world.work(archive=False)
    yield world
    world.close()


def rules(*wanted: tuple[int, str, str]) -> tuple[PostbackRule, ...]:
    """(number, name, URL): by default as geozo's rule of the design, which has no name."""
    view = design_view()
    partner = view.partner(1)
    assert partner is not None
    (was,) = partner.rules
    return tuple(
        msgspec.structs.replace(was, no=no, name=name, url=url or was.url, statuses=("approved",))
        for no, name, url in wanted
    )


def apply(world: World, *wanted: tuple[int, str, str]) -> MemoryView:
    version = world.catalogs.current() + 1
    view = design_view(version)
    view._partners[1] = Partner(1, "geozo", rules(*wanted))
    world.catalogs.views[version] = view
    return view


def picked(world: World, *, forget: bool = False, **wanted: object) -> list[Pick]:
    """`forget`: as if an older release had made the conversions."""
    sources = world.sources()
    try:
        if forget:
            assert sources.ledger is not None
            sources.ledger = Forgetful(sources)  # type: ignore[assignment]
        return list(Missing(sources, Wanted(missing=True, **wanted), Tails(sources)).picks("j1", 7))  # type: ignore[arg-type]
    finally:
        sources.close()


class Forgetful:
    """A ledger whose conversions do not say what they told."""

    def __init__(self, sources: ExplainSources) -> None:
        self._ledger = sources.ledger

    def conversions(self) -> Iterator[Conversion]:
        assert self._ledger is not None
        return (msgspec.structs.replace(one, told=()) for one in self._ledger.conversions())

    def __getattr__(self, name: str) -> object:
        return getattr(self._ledger, name)


LATE = (2, "late", "http://127.0.0.1:9001/late?s={sub1}&p={payout}")


def test_only_what_was_added_is_missing_and_steps_carry_what_is_needed(world: World) -> None:
    assert picked(world) == []
    apply(world, (1, "", ""), LATE)
    picks = picked(world)
    assert [pick.rules for pick in picks] == [((1, 2),)] * 6, "not of what was declined"
    assert [pick.place for pick in picks] == sorted(pick.place for pick in picks)
    clicks = list(world.clicks.values())
    for nth, pick in enumerate(picks):
        step = pick.step
        assert step is not None and step.click == clicks[nth] and len(step.click_id) == 23
        assert (step.conversion, step.kind, step.job) == (pick.place, "missing", "j1") and len(step.told) == 1
        assert clicks[nth].ms < step.accepted_ms <= clicks[nth].ms + 1


def test_what_older_releases_told_is_known_from_the_archive(world: World) -> None:
    apply(world, (1, "", ""), LATE)
    assert [pick.rules for pick in picked(world, forget=True)] == [((1, 2),)] * 6


def test_a_rule_without_a_name_has_told_wherever_it_stands_now(world: World) -> None:
    apply(world, (1, "late", LATE[2]), (2, "", ""))
    assert [pick.rules for pick in picked(world)] == [((1, 1),)] * 6, "the old one is second now, and is not told again"
    apply(world, (1, "", "http://127.0.0.1:9001/other"), (2, "", ""))
    assert picked(world) == [], "nobody can say that the first is another one: it has no name"


def test_each_filter_narrows_it(world: World) -> None:
    apply(world, (1, "", ""), LATE)
    every = picked(world)
    assert len(picked(world, goal="install")) == 6 and picked(world, goal="purchase") == []
    assert len(picked(world, partner=1)) == 6 and picked(world, partner=2) == []
    assert picked(world, status="declined") == [] and len(picked(world, status="approved")) == 6
    assert [pick.id for pick in picked(world, ids=(every[4].id,))] == [every[4].id]
    created = [one.created_ms for one in world.ledger.conversions()]
    assert [pick.id for pick in picked(world, from_ms=created[2], to_ms=created[4])] == [every[2].id, every[3].id]


def test_clicks_that_the_store_has_dropped_come_from_the_archive(world: World) -> None:
    apply(world, (1, "", ""), LATE)
    before = picked(world)
    sources = world.sources()
    sources.clicks = None
    picks = list(Missing(sources, Wanted(missing=True), Tails(sources)).picks("j1", 7))
    sources.close()
    assert picks[:HALF] == before[:HALF], "to the bit"
    assert [pick.why_not for pick in picks[HALF:]] == ["click_gone"] * HALF + ["click_gone"]


def test_the_pipeline_tells_what_was_previewed_and_then_nothing_is_missing(world: World) -> None:
    apply(world, (1, "", ""), LATE)
    steps = [pick.step for pick in picked(world) if pick.step is not None]
    world.put("operator", Resend(7, "j1", "begin"), *steps, Resend(7, "j1", "end"))
    world.work(archive=False)
    assert world.ledger.jobs(["j1"])["j1"].added == 6
    assert picked(world) == []
