"""Jobs of resends in the pipeline, over real SQLite engines: each postback once a job, whatever is written twice, and
replays of all that come out the same to the byte.
"""

import itertools
import random
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from support.replay_world import CATALOG, SETTINGS, ReplayWorld
from support.traffic import START_MS, call, click, click_id
from waypost.assembly import replay_recording
from waypost.cli.replay import report_text
from waypost.engines.sqlite.click_store import SqliteClickStore
from waypost.model.frames import Click, Conversion, PostbackOut, Resend, ResendJob
from waypost.model.ids import ClickKey
from waypost.model.wire import decode_frame
from waypost.stages.rules import rule_key

NOW_MS = START_MS + 1_000_000


def lived(root: Path, seed: int = 1) -> ReplayWorld:
    world = ReplayWorld(root)
    world.live(seed, count=160)
    return world


def again(world: ReplayWorld, job: str, *, every_us: int = 0) -> list[Resend]:
    """A job's steps for everything that the outbox holds."""
    steps = [
        Resend(NOW_MS, job, "again", place, postback=msgspec.structs.replace(out, begun=2, first_ms=START_MS))
        for place, out in world.outbox()
        if not out.job
    ]
    return [Resend(NOW_MS, job, "begin", text="{}", by="me", every_us=every_us), *steps, Resend(NOW_MS, job, "end")]


def job_of(world: ReplayWorld, name: str) -> ResendJob:
    with closing(world.ledger()) as ledger:
        return ledger.jobs([name])[name]


def of_job(world: ReplayWorld, name: str) -> list[PostbackOut]:
    return [out for _, out in world.outbox() if out.job == name]


def test_each_postback_goes_into_the_outbox_once_more_as_it_was(tmp_path: Path) -> None:
    world = lived(tmp_path)
    before = [out for _, out in world.outbox()]
    world.order(*again(world, "j1"))
    world.judge()
    sent = of_job(world, "j1")
    assert [out.id for out in sent] == [out.id for out in before]
    for old, new in zip(before, sent, strict=True):
        assert (new.values, new.catalog, new.rule, new.lane, new.key, new.corrects) == (
            old.values, old.catalog, old.rule, old.lane, old.key, old.corrects,
        )  # fmt: skip
        assert (new.begun, new.first_ms, new.due_ms, new.accepted_ms) == (2, START_MS, 0, old.accepted_ms)
        assert new.created_ms > old.created_ms
    job = job_of(world, "j1")
    assert (job.state, job.added, job.refused, job.by) == ("added", len(before), {}, "me")


def test_what_is_written_twice_is_taken_once(tmp_path: Path) -> None:
    world = lived(tmp_path)
    steps = again(world, "j1")
    world.order(*steps[:10])
    world.judge()
    world.order(*steps[:5])  # a command that lost count
    world.order(*steps[3:])
    world.judge()
    world.order(*steps)
    world.judge()
    assert [out.id for out in of_job(world, "j1")] == [step.postback.id for step in steps if step.postback]
    world.order(*again(world, "j2"))
    world.judge()
    assert len(of_job(world, "j2")) == len(of_job(world, "j1")), "another job is another wish"


def test_a_job_puts_no_more_into_the_outbox_than_its_rate(tmp_path: Path) -> None:
    world = lived(tmp_path)
    began_ms = world.clock.now_ms()
    world.order(*again(world, "j1", every_us=20_000))
    world.judge()
    due = [out.due_ms or out.created_ms for out in of_job(world, "j1")]
    assert len(due) > 50 and due[0] >= began_ms
    assert all(later - sooner >= 20 for sooner, later in itertools.pairwise(due))
    assert due[-1] - due[0] < 40 * len(due)


def test_a_cancelled_job_adds_nothing_more(tmp_path: Path) -> None:
    world = lived(tmp_path)
    steps = again(world, "j1")
    world.order(*steps[:6])
    world.order(Resend(NOW_MS, "j1", "cancel", text="a mistake"), *steps[6:])
    world.judge()
    job = job_of(world, "j1")
    assert (job.state, job.why, job.added, job.refused) == ("cancelled", "a mistake", 5, {"cancelled": len(steps) - 7})


def test_steps_without_a_job_or_of_a_kind_to_come_harm_nothing(tmp_path: Path) -> None:
    world = lived(tmp_path)
    known = world.outbox()
    odd = Resend(NOW_MS, "j1", "of a later release", 3)
    world.order(Resend(NOW_MS, "nobody", "again", 0, postback=known[0][1]), again(world, "j1")[0], odd)
    world.judge()
    assert world.outbox() == known
    assert job_of(world, "j1").refused == {"poisonous_item": 1}


def test_what_todays_catalog_forbids_is_not_sent_again(tmp_path: Path) -> None:
    world = lived(tmp_path)
    refused = {}
    for name, text in (
        ("partner_inactive", CATALOG.replace("  geozo:\n", "  geozo:\n    active: false\n")),
        ("rule_gone", CATALOG.replace("name: every-sale", "name: another")),
    ):
        world.apply(text)
        world.order(*again(world, name))
        world.judge()
        refused[name] = job_of(world, name).refused
    total = sum(not out.job for _, out in world.outbox())
    sales = sum(out.rule == 3 and not out.job for _, out in world.outbox())
    assert refused == {"partner_inactive": {"partner_inactive": total}, "rule_gone": {"rule_gone": sales}} and sales
    steps = again(world, "gone")
    for step in steps:
        if step.postback is not None:
            step.postback.catalog = 999
    world.order(*steps)
    world.judge()
    assert job_of(world, "gone").refused == {"template_gone": total}


# --- what is missing -----------------------------------------------------------------------------------

NEW_RULE = """      - name: late
        on: {goal: install, status: approved}
        get: http://127.0.0.1:9001/late?sub={sub1}&cid={click_id}&money={payout}&at={conversion_time}
links:"""
LATER = CATALOG.replace("links:", NEW_RULE, 1)


def missing(world: ReplayWorld, job: str) -> list[Resend]:
    """A job's steps for all conversions."""
    with closing(world.ledger()) as ledger, closing(SqliteClickStore(world.layout.clicks, read_only=True)) as clicks:
        steps = []
        for conversion in ledger.conversions():
            key = ClickKey(conversion.click_ms, conversion.click_door, conversion.click_seq)
            touched = decode_frame(clicks.get_many([key])[key])
            assert isinstance(touched, Click)
            steps.append(
                Resend(
                    NOW_MS,
                    job,
                    "missing",
                    conversion.receipt,
                    conversion=conversion.receipt,
                    accepted_ms=conversion.created_ms,
                    click=touched,
                    click_id=click_id(touched),
                )
            )
    return [Resend(NOW_MS, job, "begin"), *steps, Resend(NOW_MS, job, "end")]


def conversions(world: ReplayWorld) -> dict[int, Conversion]:
    with closing(world.ledger()) as ledger:
        return {one.receipt: one for one in ledger.conversions()}


def test_a_rule_that_was_added_tells_of_what_was_before_it_once(tmp_path: Path) -> None:
    world = lived(tmp_path)
    world.apply(LATER)
    before = conversions(world)
    wanted = {one.receipt for one in before.values() if (one.goal, one.status) == ("install", "approved")}
    world.order(*missing(world, "j1"))
    world.judge()
    sent = of_job(world, "j1")
    assert {out.conversion for out in sent} == wanted and len(sent) == len(wanted) > 10
    for out in sent:
        known = before[out.conversion]
        assert out.id == f"p{known.receipt:016x}.{known.postbacks + 1}" and out.rule == 4
        assert (
            out.values["sub1"]
            and out.values["payout"] in ("1.20", "1.30", "0.85")
            and len(out.values["click_id"]) == 23
        )
        assert (out.begun, out.first_ms) == (0, 0), "it was never sent: it is no repeat"
    after = conversions(world)
    late = next(
        rule for rule in world.catalogs().open(world.catalogs().current()).partner(1).rules if rule.name == "late"
    )
    assert all(after[receipt].told[-1][0] == rule_key(1, late) for receipt in wanted)
    job = job_of(world, "j1")
    assert (job.added, job.refused) == (len(sent), {"nothing_missing": len(before) - len(sent)})
    world.order(*missing(world, "j2"))
    world.judge()
    assert of_job(world, "j2") == [], "what was told is known, so a second job has nothing to tell"


def test_what_is_missing_is_corrected_later_like_everything_else(tmp_path: Path) -> None:
    world = ReplayWorld(tmp_path)
    one = click(START_MS, query="sub1=abc")
    world.append(0, one, call(START_MS + 1, f"click_id={click_id(one)}&goal=purchase&sum=10&txn_id=T"))
    world.judge()
    text = NEW_RULE.replace("{goal: install, status: approved}", "{goal: purchase}").replace(
        "{payout}", "{payout}&s={sum}"
    )
    world.apply(CATALOG.replace("links:", text, 1))
    world.order(*missing(world, "j1"))
    world.append(0, call(START_MS + 50, f"click_id={click_id(one)}&goal=purchase&sum=30&txn_id=T"))
    world.judge()
    (late,) = of_job(world, "j1")
    corrections = [out for _, out in world.outbox() if out.corrects == late.id]
    assert (late.values["sum"] == "30.00" and not corrections) or [out.values["sum"] for out in corrections] == [
        "30.00"
    ]


@pytest.mark.parametrize("seed", range(2))
def test_replays_of_resends_come_out_the_same(tmp_path: Path, seed: int) -> None:
    world = lived(tmp_path / "lived", seed)
    world.order(*again(world, "j1", every_us=3_000))
    world.judge()
    world.apply(
        LATER.replace(
            "on: {goal: install, status: approved}\n        get: http://127.0.0.1:9001/late",
            "first_only: true\n        get: http://127.0.0.1:9001/late",
        )
    )
    steps = missing(world, "j2")
    for at in range(0, len(steps), 11):
        world.order(*steps[at : at + 11])
        world.judge()
    world.live(seed + 10, count=60, from_ms=START_MS + 100_000)
    assert of_job(world, "j1") and of_job(world, "j2")
    times = world.batch_times()
    rng = random.Random(seed)
    stretches = [(None, None), *((start, None) for start in rng.sample(times, 6)), (times[len(times) // 2], times[-2])]
    for nth, (from_ms, to_ms) in enumerate(stretches):
        file = tmp_path / f"r{nth}"
        info = world.record(file, from_ms=from_ms, to_ms=to_ms)
        report = replay_recording(file, SETTINGS)
        assert report.is_same, f"seed {seed}, {from_ms} to {to_ms}:\n{report_text(report)}"
        assert report.postbacks_same == info.postbacks == report.postbacks_was
