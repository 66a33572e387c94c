"""Recorded traffic comes out the same to the byte, from whatever batch a recording begins and wherever it ends."""

import random
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from support.replay_world import CATALOG, SETTINGS, ReplayWorld
from waypost.assembly import replay_recording
from waypost.cli.replay import report_text
from waypost.engines.sqlite.recording import SqliteRecording
from waypost.errors import WaypostError
from waypost.model.frames import Decision, PostbackOut
from waypost.model.wire import decode_frame


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ReplayWorld:
    world = ReplayWorld(tmp_path_factory.mktemp("lived"))
    world.live(1)
    return world


def test_the_world_has_what_is_hard_to_go_back_over(world: ReplayWorld, tmp_path: Path) -> None:
    world.record(tmp_path / "r")
    batches = list(SqliteRecording(tmp_path / "r").batches())
    decisions = [decode_frame(raw) for batch in batches for raw in batch.decisions]
    verdicts = Counter(one.verdict.value for one in decisions if isinstance(one, Decision))
    assert set(verdicts) == {"new", "updated", "duplicate", "refused"}
    codes = {one.code for one in decisions if isinstance(one, Decision)}
    assert codes >= {"cap_reached", "goal_unknown", "repeated_key"}
    assert any(one.parked_ms for one in decisions if isinstance(one, Decision))
    stopped = {outcome.stopped_by for one in decisions if isinstance(one, Decision) for outcome in one.rules}
    assert any("fired" in text for text in stopped), stopped
    assert len({batch.record.catalog for batch in batches}) == 2
    sent = [out for batch in batches for out in map(decode_frame, batch.postbacks) if isinstance(out, PostbackOut)]
    corrections = [out for out in sent if out.corrects]
    assert corrections and {out.corrects for out in corrections} < {out.id for out in sent}
    assert all(out.key for out in sent) and len({out.lane for out in sent}) == 2


@pytest.mark.parametrize("seed", range(3))
def test_any_stretch_comes_out_the_same(tmp_path: Path, seed: int) -> None:
    world = ReplayWorld(tmp_path / "lived", batch_frames_max=10 + 7 * seed)
    world.live(seed)
    times = world.batch_times()
    rng = random.Random(seed)
    stretches: list[tuple[int | None, int | None]] = [(None, None), (times[-1], None), (None, times[1])]
    stretches += [(start, None) for start in rng.sample(times, 5)]
    stretches += [(min(pair), max(pair) + 1) for pair in (rng.sample(times, 2) for _ in range(4))]
    for nth, (from_ms, to_ms) in enumerate(stretches):
        file = tmp_path / f"r{nth}"
        info = world.record(file, from_ms=from_ms, to_ms=to_ms)
        report = replay_recording(file, SETTINGS)
        assert report.is_same, f"seed {seed}, {from_ms} to {to_ms}:\n{report_text(report)}"
        assert (report.batches, report.calls, report.clicks) == (info.batches, info.calls, info.clicks)
        assert report.calls_same == report.calls and report.postbacks_same == info.postbacks


def test_another_catalog_is_told_in_groups(world: ReplayWorld, tmp_path: Path) -> None:
    world.record(tmp_path / "r")
    text = CATALOG.replace("1.20 USD", "2.40 USD").replace("&money=", "&usd=").replace("limit: 45", "limit: 1000")
    (tmp_path / "new.yaml").write_text(text.replace("offer: game}", "offer: vpn}"), "utf-8")
    report = replay_recording(tmp_path / "r", SETTINGS, catalog=tmp_path / "new.yaml")
    found = {difference.what for difference in report.differences}
    assert {"decision", "money", "postback changed", "postback new", "click"} <= found
    capped = next(one for one in report.differences if "cap_reached" in one.was)
    assert capped.now == "verdict `new`, code ``" and capped.where == {
        "offer": "vpn",
        "goal": "install",
        "partner": "geozo",
    }
    changed = next(one for one in report.differences if one.what == "postback changed")
    assert "&money=1." in changed.was and "&usd=2.40" in changed.now and changed.where["partner"] == "geozo"
    clicks = next(one for one in report.differences if one.what == "click")
    assert clicks.where == {"link": "two"} and "offer game" in clicks.was and "offer vpn" in clicks.now
    assert report.clicks_moved == clicks.count and report.clicks_unsure == 0
    assert report.payout_was != report.payout_now
    assert sum(1 for one in report.differences if not one.examples) == 0
    lines = report_text(report).splitlines()
    assert lines[0].startswith("replayed ") and any(line.startswith("payout ") for line in lines)


def test_a_decision_that_was_tampered_with_is_named(world: ReplayWorld, tmp_path: Path) -> None:
    """The comparison can fail: a recording whose decisions are not what the pipeline makes of it."""
    world.record(tmp_path / "r")
    connection = sqlite3.connect(tmp_path / "r")
    (nth, data) = connection.execute(
        "SELECT nth, data FROM batches WHERE instr(data, CAST('approved' AS BLOB))"
    ).fetchone()
    connection.execute("UPDATE batches SET data=? WHERE nth=?", (data.replace(b"approved", b"declined", 1), nth))
    connection.commit()
    connection.close()
    report = replay_recording(tmp_path / "r", SETTINGS)
    assert not report.is_same and report.calls - report.calls_same == 1


def test_what_is_not_held_any_more_is_said(tmp_path: Path) -> None:
    world = ReplayWorld(tmp_path / "lived")
    world.live(5)
    times = world.batch_times()
    for journal in world.doors:
        assert journal.trim(journal.end) == 0, "the segment in use stays: nothing is lost here"
    with pytest.raises(WaypostError) as empty:
        world.record(tmp_path / "r", from_ms=times[-1] + 1)
    assert empty.value.code == "recording_empty" and not (tmp_path / "r").exists()
    with sqlite3.connect(world.layout.ledger) as ledger:  # the log loses its oldest blocks, as trimming does it
        ledger.execute("DELETE FROM log_blocks WHERE row <= 2")
        ledger.execute("UPDATE log_head SET first=(SELECT min(first) FROM log_blocks), first_row=3")
    with pytest.raises(WaypostError) as gone:
        world.record(tmp_path / "r", from_ms=times[0])
    assert gone.value.code == "recording_gone" and str(times[2]) in gone.value.hint
    world.record(tmp_path / "r", from_ms=times[2])
    assert replay_recording(tmp_path / "r", SETTINGS).is_same
    with pytest.raises(WaypostError) as exists:
        world.record(tmp_path / "r")
    assert exists.value.code == "recording_exists"


@pytest.mark.parametrize("content", [b"", b"no database at all", b"SQLite format 3\x00" + bytes(200)])
def test_a_file_that_is_no_recording(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r").write_bytes(content)
    with pytest.raises(WaypostError) as error:
        replay_recording(tmp_path / "r", SETTINGS)
    assert error.value.code == "store_corrupt"
