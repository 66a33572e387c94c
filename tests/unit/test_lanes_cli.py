"""`waypost lanes` on a data folder where no courier works: what it lists, what it asks, what it journals."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from support.clock import FakeClock
from waypost import assembly
from waypost.cli.main import app
from waypost.courier.restraint import Held
from waypost.engines.local.egress import own_addresses
from waypost.engines.local.positions import FilePositions
from waypost.engines.segments.feed import SegmentFeed
from waypost.engines.sqlite.lanes import SqliteLanes
from waypost.errors import WaypostError
from waypost.explain.lanes import LaneSources, report
from waypost.layout import Layout
from waypost.model.frames import OperatorChange, Outcome, PostbackOut, SendResult
from waypost.model.lane_words import LaneWord, word_of
from waypost.model.lanes import lane_number
from waypost.model.wire import decode_block, encode_frame
from waypost.ports.lanes import Chore, ItemState, LaneBatch, LaneControl, LaneItem, LaneState
from waypost.settings import load_settings

CATALOG = """
waypost: 1
advertisers:
  acme: {token: s3cret}
offers:
  vpn: {advertiser: acme, url: "http://a.example/", goals: {install: {payout: 1.20 USD}}}
partners:
  geozo:
    delivery: {source_address: 192.0.2.9}
    postbacks: [{on: {goal: install}, get: "http://p.example/?t={txn_id}", lane: fast}]
  other:
    postbacks: [{on: {goal: install}, get: "http://q.example/?t={txn_id}"}]
links:
  demo: {partner: geozo, offer: vpn}
"""
NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000


class House:
    """A data folder with a catalog and a shard: lane geozo has 3 dead, 1 held, 2 waiting; geozo/fast 1 waiting."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder / "data")
        self.settings = load_settings(environment={})
        (folder / "catalog.yaml").write_text(CATALOG)
        assembly.apply_catalog_with_journal(
            folder / "catalog.yaml", assembly.make_data_folder(folder / "data"), self.settings
        )
        view = assembly.open_catalogs(self.layout, self.settings).open(1)
        partner = view.partner_named("geozo")
        assert partner is not None
        self.geozo = partner.no
        self.fast = lane_number(self.geozo, "fast")
        lanes = [self.geozo] * 6 + [self.fast]
        with closing(self.shard()) as shard:
            items = [_item(seq, lane) for seq, lane in enumerate(lanes)]
            shard.apply(LaneBatch(taken_end=7, taken=items, intents=[(seq, 1, NOW_MS) for seq in range(4)]))
            results = [SendResult.GIVEN_UP] * 3 + [SendResult.HELD]
            codes = ["http_status", "http_status", "dns_failed", "outcome_unknown"]
            outcomes = [
                Outcome(f"p{seq}", seq, 1, result, code)
                for seq, (result, code) in enumerate(zip(results, codes, strict=True))
            ]
            shard.apply(LaneBatch(source="courier-0", outcomes_end=4, outcomes=outcomes))

    def shard(self) -> SqliteLanes:
        return SqliteLanes(self.layout.lane_shard(0, 0), shard=0, shards=1)

    def run(self, *words: str, said: str | None = None) -> Result:
        return CliRunner().invoke(app, ["lanes", *words, "--data", str(self.layout.root)], input=said)

    def answer(self, *words: str, exit_code: int = 0) -> Any:
        done = self.run(*words, "--format", "json")
        assert done.exit_code == exit_code, done.output
        return json.loads(done.stdout)

    def words(self) -> list[tuple[str, str, str, LaneWord]]:
        """Kind, lane's name, who, and what is asked."""
        feed = SegmentFeed(self.layout.journals, "operator")
        blocks = feed.read(0, 1000)
        feed.close()
        frames = [frame for block in blocks for frame in decode_block(block.data, block.count)]
        changes = [frame for frame in frames if isinstance(frame, OperatorChange) and frame.kind.startswith("lane_")]
        return [(one.kind, one.subject, one.by, word_of(one)) for one in changes]


def _item(seq: int, lane: int) -> LaneItem:
    made_ms = NOW_MS + seq * DAY_MS
    frame = PostbackOut(f"p{seq}", lane, lane & 0xFFF, 0, seq, 1, 1, made_ms, made_ms, {})
    return LaneItem(seq, lane, f"p{seq}", ItemState.QUEUED, 0, 0, 0, encode_frame(frame))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_lanes_are_listed_with_what_stands_in_them(house: House) -> None:
    with closing(house.shard()) as shard:
        control = LaneControl(house.fast, LaneState.PAUSED, "they move", "ann", NOW_MS)
        chore = Chore(9, "retry", house.geozo, (2, 3), 7, by="bob", done=5)
        shard.apply(LaneBatch(controls=[control], chores=[chore]))
    listed = house.answer()
    assert not listed["is_live"]
    plain, fast = listed["lanes"]
    assert (plain["lane"], plain["live"], plain["dead"], plain["held"]) == ("geozo", 2, 3, 1)
    assert plain["work"] == [{"kind": "retry", "done": 5, "by": "bob", "why": ""}]
    assert (fast["lane"], fast["state"], fast["why"], fast["by"]) == ("geozo/fast", "paused", "they move", "ann")
    assert [row["lane"] for row in house.answer("geozo")["lanes"]] == ["geozo", "geozo/fast"]
    assert [row["lane"] for row in house.answer("geozo/fast")["lanes"]] == ["geozo/fast"]
    assert [row["live"] for row in house.answer("other")["lanes"]] == [0]
    text = house.run("list", "geozo").output
    assert "geozo/fast: paused by ann since 2027-01-15 08:00:00.000Z: they move" in text
    assert "geozo: retry at work, 5 done so far, asked by bob" in text
    assert "no courier works" in text
    assert max(map(len, text.splitlines())) <= 140


@pytest.mark.parametrize(
    ("published", "state"),
    [
        ({}, "open"),
        ({"breaker": "open", "held_by": "breaker", "held_until_ms": NOW_MS + 5000}, "breaker open"),
        ({"breaker": "half-open"}, "breaker half-open"),
        ({"held_by": Held.RATE.value, "held_until_ms": NOW_MS + 5000}, "throttled"),
        ({"held_by": Held.QUIET.value, "held_until_ms": NOW_MS + 5000}, "quiet"),
        ({"held_by": Held.RETRY_AFTER.value, "held_until_ms": NOW_MS + 5000}, "asked to wait"),
        ({"held_by": Held.PAUSED.value}, "open"),  # which is the shard's to say
    ],
)
def test_what_a_courier_publishes_is_shown_while_it_works(published: dict[str, Any], state: str) -> None:
    values = {"delivered": 3, "failures": 1, "limit": 8, "per_s": 2, "latency_p50_ms": 5, "latency_p99_ms": 9}
    snapshot = {"role": "courier-0", "at_ms": NOW_MS, "details": {"lanes": {"geozo": {**values, **published}}}}
    clock = FakeClock(NOW_MS)
    (row,) = report(LaneSources([], None, 0, [snapshot], clock)).lanes
    assert (row.lane, row.state, row.limit, row.rate_per_s, row.success) == ("geozo", state, 8, 2, 0.75)
    assert row.why == ("until 2027-01-15 08:00:05.000Z" if "held_until_ms" in published else "")
    snapshot["details"]["offline"] = {"since_ms": NOW_MS}  # type: ignore[index]
    assert report(LaneSources([], None, 0, [snapshot], clock)).lanes[0].state == "offline"
    clock.advance(6000)
    silent = report(LaneSources([], None, 0, [snapshot], clock))
    assert (silent.is_live, silent.lanes) == (False, [])


def test_an_unknown_lane_is_an_error_with_its_code(house: House) -> None:
    for name in ("geozoo", "geozo/slow", "77", "other/fast"):
        error = house.run("pause", name).exception
        assert isinstance(error, WaypostError) and error.code == "unknown_lane"
    assert house.words() == []


def test_dead_letters_and_held_ones_are_listed_within_a_bound(house: House) -> None:
    said = house.answer("dead", "geozo")
    assert [(row["id"], row["state"], row["code"]) for row in said["postbacks"]] == [
        ("p0", "dead", "http_status"),
        ("p1", "dead", "http_status"),
        ("p2", "dead", "dns_failed"),
        ("p3", "held", "outcome_unknown"),
    ]
    said = house.answer("dead", "geozo", "--limit", "1", "--code", "http_status")
    assert ([row["id"] for row in said["postbacks"]], said["more"]) == (["p0"], 1)
    text = house.run("dead", "geozo", "--limit", "3").output
    assert "the host name does not resolve" in text and "and 1 more" in text


def test_nothing_is_asked_before_it_was_shown_and_confirmed(house: House) -> None:
    said = house.run("retry", "geozo", said="n\n")
    assert said.exit_code == 1
    assert "retry: 1 lane; 4 postbacks are meant" in said.output
    assert house.answer("retry", "geozo", exit_code=1)["asked"] is False
    assert house.words() == []
    said = house.run("retry", "geozo", "--by", "ann", said="y\n")
    assert said.exit_code == 0, said.output
    assert "asked; couriers do not work; they take it up when they start" in said.output
    states = (int(ItemState.DEAD), int(ItemState.HELD))
    assert house.words() == [("lane_retry", "geozo", "ann", LaneWord(house.geozo, states=states))]


def test_a_partner_means_all_its_lanes(house: House) -> None:
    assert house.answer("pause", "geozo", "--why", "w", "--by", "a", "--yes")["items"] == 3
    assert house.words() == [
        ("lane_pause", "geozo", "a", LaneWord(house.geozo, "w")),
        ("lane_pause", "geozo/fast", "a", LaneWord(house.fast, "w")),
    ]


@pytest.mark.parametrize(
    ("options", "items"),
    [
        ((), 4),
        (("--code", "http_status"), 2),
        (("--code", "http_status", "--code", "dns_failed"), 3),
        (("--id", "p1", "--id", "p4"), 1),
        (("--older-than", "2027-01-17"), 2),
        (("--newer-than", "2027-01-17"), 2),
        (("--code", "http_status", "--newer-than", "2027-01-16"), 1),
    ],
)
def test_what_is_shown_beforehand_is_what_is_meant(house: House, options: tuple[str, ...], items: int) -> None:
    assert house.answer("retry", "--all", *options, "--yes")["items"] == items
    (word,) = house.words()
    with closing(house.shard()) as shard:
        found = shard.standing(word[3].lane, word[3].states, -1, 1 << 40, 100)
    assert len(found) == 4
    assert (word[3].codes, word[3].ids) == (
        tuple(options[nth + 1] for nth, name in enumerate(options) if name == "--code"),
        tuple(options[nth + 1] for nth, name in enumerate(options) if name == "--id"),
    )


def test_dropping_needs_a_reason_and_takes_what_waits_only_if_told(house: House) -> None:
    assert house.run("drop", "geozo", "--yes").exit_code == 2
    assert house.run("drop", "geozo", "--why", " ", "--yes").exit_code == 2
    assert house.run("drop", "geozo", "--why", "x" * 501, "--yes").exit_code == 2
    assert house.words() == []
    assert house.answer("drop", "geozo", "--why", "x", "--yes")["items"] == 4
    assert house.answer("drop", "geozo", "--why", "x", "--queued", "--yes")["items"] == 7
    assert [word[3].states for word in house.words()] == [(2, 3), (2, 3, 0), (2, 3, 0)]


def test_nothing_to_do_is_said_and_not_asked(house: House) -> None:
    said = house.run("retry", "other", "--yes")
    assert (said.exit_code, said.output) == (0, "retry: nothing to do\n")
    assert house.words() == []
    assert house.run("retry", "--yes").exit_code == 2
    assert house.run("retry", "geozo", "--all", "--yes").exit_code == 2


def test_egress_is_the_catalogs_the_settings_or_the_machines(house: House) -> None:
    lanes = house.answer("--egress")
    ours = own_addresses()
    assert [(row["lane"], row["addresses"], row["is_own"]) for row in lanes] == [
        ("geozo", ["192.0.2.9"], True),
        ("geozo/fast", ["192.0.2.9"], True),
        ("other", ours, False),
    ]
    house.layout.settings.write_text('[courier]\negress_addresses = ["198.51.100.7", "2001:db8::/64"]\n')
    assert [row["addresses"] for row in house.answer("--egress", "other")] == [["198.51.100.7", "2001:db8::/64"]]
    text = house.run("--egress").output
    assert "1 lane of the machine's own: 198.51.100.7, 2001:db8::/64" in text
    assert "geozo/fast: 192.0.2.9" in text
    house.layout.settings.write_text('[courier]\negress_addresses = ["here"]\n')
    assert isinstance(house.run("--egress").exception, WaypostError)


def test_several_operators_wait_for_each_other(house: House) -> None:
    words = [sys.executable, "-m", "waypost", "lanes", "pause", "other", "--yes", "--data", str(house.layout.root)]
    processes = [subprocess.Popen([*words, "--why", str(nth)], stdout=subprocess.DEVNULL) for nth in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert sorted(word[3].why for word in house.words()) == ["0", "1", "2", "3"]


def test_the_journal_is_kept_until_each_courier_has_read_it(house: House) -> None:
    """Also for a courier that never read it so far."""
    house.layout.settings.write_text("[journal]\nsegment_bytes_max = 4096\n")
    positions = FilePositions(house.layout.positions)
    feed = SegmentFeed(house.layout.journals, "operator")

    def first_after(*readers: str) -> int:
        for reader in readers:
            positions.publish(reader, "operator", feed.head().end)
        for nth in range(12):
            house.answer("pause", "other", "--why", f"{nth} {'x' * 400}", "--yes")
        return feed.head().first

    assert first_after("pipeline", "archivist") == 0
    assert first_after("pipeline", "archivist", "courier") > 0
