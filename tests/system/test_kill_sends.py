"""kill -9 to a courier in every state of a send, for partners of all three words on unknown outcomes: nothing is lost,
nothing is sent again unmarked, and what the catalog says is done.

The server holds the request at a stage. Where the state is the courier's own, it is held by a lock that another
process may always hold: SQLite's, on the shard of lanes or on the courier's journal.
"""

import contextlib
import os
import resource
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pytest

from support.held_sink import Got, HeldSink, Stage
from support.installation import until
from support.waypost_process import WaypostProcess
from waypost.assembly_lanes import open_lanes
from waypost.engines.segments.feed import SegmentFeed
from waypost.engines.sqlite.ledger import OUTBOX, SqliteFeedOfLedger
from waypost.layout import Layout
from waypost.model.frames import Attempt, SendResult
from waypost.model.wire import decode_block
from waypost.ports.lanes import ItemState, LaneItem
from waypost.settings import load_settings

pytestmark = pytest.mark.system

STILL_MS = 1500  # without a snapshot, of which there are ten a second
WORDS = ("resend", "hold", "drop")
SETTINGS = "[supervisor]\nrestart_pause_ms = 50\nrestart_pause_max_ms = 50\nstatus_ms = 100\n"
CATALOG = """
waypost: 1
advertisers: {acme: {token: s3cret}}
offers:
  vpn: {url: "http://127.0.0.1:9/?c={click_id}", advertiser: acme, goals: {install: {payout: 1 USD}}}
partners:
%s
links:
%s
"""


def catalog(port: int) -> str:
    partners = "".join(
        f"  {word}: {{delivery: {{on_unknown: {word}}}, postbacks: [{{on: {{goal: install}}, "
        f'get: "http://127.0.0.1:{port}/{word}?s={{sub1}}"}}]}}\n'
        for word in WORDS
    )
    return CATALOG % (partners, "".join(f"  {word}: {{partner: {word}, offer: vpn}}\n" for word in WORDS))


class World(NamedTuple):
    """What the states are played in; `killed` counts sends, `repeated` those that were sent again."""

    house: WaypostProcess
    sink: HeldSink
    numbers: dict[str, int]

    @property
    def layout(self) -> Layout:
        return Layout(self.house.data)

    def convert(self, name: str) -> None:
        """One conversion for each partner."""
        for word in WORDS:
            click = self.house.click(word, sub1=name)
            assert self.house.postback(click_id=click, goal="install", token="s3cret").status == 200

    def items(self) -> list[LaneItem]:
        shards = open_lanes(self.layout, load_settings(self.layout.settings))
        found = [item for shard in shards for item in shard.items()]
        for shard in shards:
            assert shard.problems() == []
            shard.close()
        return found

    def in_flight(self) -> int:
        return sum(item.state is ItemState.IN_FLIGHT for item in self.items())

    def attempts(self) -> list[Attempt]:
        feed = SegmentFeed(self.layout.journals, "courier-0")
        found: list[Attempt] = []
        position = feed.head().first
        while blocks := feed.read(position, 1000):
            frames = [frame for block in blocks for frame in decode_block(block.data, block.count)]
            found += [frame for frame in frames if isinstance(frame, Attempt)]
            position = blocks[-1].end
        feed.close()
        return found

    def got(self, name: str) -> dict[str, list[Got]]:
        """Requests of this name that came whole, by partner."""
        return {word: [one for one in self.sink.got if one.target == f"/{word}?s={name}"] for word in WORDS}

    def stands_still(self) -> bool:
        """Whether the courier's loop has come to a standstill: it publishes nothing then."""
        return bool(time.time() * 1000 - self.house.snapshot("courier-0")["at_ms"] > STILL_MS)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with HeldSink() as sink:
        house = WaypostProcess(tmp_path_factory.mktemp("sends"), catalog(sink.port), SETTINGS)
        with house:
            yield World(house, sink, Counter())


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Nobody else can write to it meanwhile."""
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()


def lanes_locked(world: World) -> AbstractContextManager[None]:
    return locked(world.layout.lane_shard(0))


@contextlib.contextmanager
def disk_full(world: World) -> Iterator[None]:
    """The courier can write nothing to any file any more; it ends in this state."""
    pid = int(world.house.snapshot("courier-0")["pid"])
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]))
    yield


def killed(world: World) -> int:
    """SIGKILL to the courier; answers the pid that was."""
    pid = int(world.house.snapshot("courier-0")["pid"])
    os.kill(pid, signal.SIGKILL)
    until(lambda: not _lives(pid), "it is dead")
    return pid


def _lives(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def works_again(world: World, before: int) -> None:
    until(lambda: world.house.snapshot("courier-0").get("pid") not in (None, before), "a courier works again")


def is_settled(world: World) -> bool:
    shards = open_lanes(world.layout, load_settings(world.layout.settings))
    outbox = SqliteFeedOfLedger(world.layout.ledger, OUTBOX)
    is_taken = all(shard.outbox_position() == outbox.head().end for shard in shards)
    for store in (*shards, outbox):
        store.close()
    return is_taken and not any(item.state in (ItemState.QUEUED, ItemState.IN_FLIGHT) for item in world.items())


def check(world: World, name: str, before: list[LaneItem], *, arrived: int, known: Collection[str] = ()) -> None:
    """What must have become of the three sends: `arrived` is how often each came to the partner before the kill;
    `known` are the partners for whom the outcome, or that nothing was begun, was on disk."""
    until(lambda: is_settled(world), f"{name}: all is settled")
    seen = {item.seq for item in before}
    at_rest = {item.state: item.code for item in world.items() if item.seq not in seen}
    got = world.got(name)
    world.numbers["sends"] += len(WORDS)
    for requests in got.values():
        marks = ["waypost-repeat" in one.headers for one in requests]
        assert marks.count(False) <= 1 and all(marks[1:]), (name, requests)
        world.numbers["repeats"] += marks.count(True)
        world.numbers["arrived twice"] += len(requests) > 1
    for word in known:
        assert [one.headers["waypost-attempt"] for one in got[word]] == ["1"], (name, word)
    if "resend" not in known:
        assert len(got["resend"]) == arrived + 1
        last = got["resend"][-1].headers
        assert (last["waypost-repeat-reason"], last["waypost-attempt"]) == ("unknown-after-crash", "2")
    states = {"hold": ItemState.HELD, "drop": ItemState.DEAD}
    unknown = [word for word in states if word not in known]
    assert [len(got[word]) for word in unknown] == [arrived] * len(unknown)
    assert at_rest == {states[word]: "outcome_unknown" for word in unknown}


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.NEVER])
def test_killed_while_the_partner_holds_the_request(world: World, stage: Stage) -> None:
    """Connecting, request sent, request read, answer half there: in each the outcome is unknown."""
    name, before = stage.name.lower(), world.items()
    world.sink.hold_at(stage)
    world.convert(name)
    until(lambda: world.in_flight() == 3, "the intents are on disk")
    if stage is not Stage.CONNECTING:
        until(lambda: world.sink.held == 3, "the requests stand still")
    pid = killed(world)
    arrived = 1 if stage >= Stage.READ else 0
    assert [len(requests) for requests in world.got(name).values()] == [arrived] * 3
    world.sink.let_go()
    if stage is Stage.CONNECTED:  # what the kernel had taken for the server is read now, though its sender is dead
        until(lambda: all(world.got(name).values()), "what was sent is read")
        arrived = 1
    works_again(world, pid)
    check(world, name, before, arrived=arrived)


def test_killed_before_the_intent_is_on_disk(world: World) -> None:
    before = world.items()
    with lanes_locked(world):
        world.convert("unbegun")
        until(world.stands_still, "the courier waits for its commit")
        pid = killed(world)
        assert not any(world.got("unbegun").values()), "sent before its intent was on disk"
    works_again(world, pid)
    check(world, "unbegun", before, arrived=0, known=WORDS)


def _held_until_answered(world: World, name: str, lock: AbstractContextManager[None], come: Callable[[], bool]) -> int:
    """Kills the courier when it has its answers, all at once, and has come to a place that the lock holds it at."""
    answered = world.sink.answered
    world.sink.hold_at(Stage.READ)
    world.convert(name)
    until(lambda: world.sink.held == 3, "the requests stand still")
    with lock:
        pid = int(world.house.snapshot("courier-0")["pid"])
        os.kill(pid, signal.SIGSTOP)
        world.sink.let_go()
        until(lambda: world.sink.answered >= answered + 3, "the answers wait for it")
        os.kill(pid, signal.SIGCONT)
        until(come, "the courier is held")
        return killed(world)


def test_killed_with_the_answer_in_hand_and_not_in_the_journal(world: World) -> None:
    before, attempts = world.items(), len(world.attempts())
    pid = _held_until_answered(world, "unwritten", disk_full(world), world.stands_still)
    assert len(world.attempts()) == attempts
    works_again(world, pid)
    check(world, "unwritten", before, arrived=1)


def test_killed_with_the_outcome_in_the_journal_and_not_in_the_lanes(world: World) -> None:
    before, attempts = world.items(), len(world.attempts())
    lock = lanes_locked(world)
    pid = _held_until_answered(world, "unapplied", lock, lambda: len(world.attempts()) > attempts)
    assert world.in_flight() == 3
    journaled = world.attempts()[attempts:]
    assert all(one.outcomes[0].result is SendResult.DELIVERED for one in journaled)
    known = [word for word in WORDS if any(one.url.endswith(f"/{word}?s=unapplied") for one in journaled)]
    assert known, "all three, unless the sender handed over its reports one by one"
    works_again(world, pid)
    check(world, "unapplied", before, arrived=1, known=known)


def test_at_the_end_everything_is_accounted_for(world: World) -> None:
    house, numbers = world.house, world.numbers
    house.kill_everything()
    house.start()
    until(lambda: is_settled(world), "all is settled")
    assert house.stop() == 0, house.said()
    counts = house.audit()["counts"]
    states = Counter(item.state for item in world.items())
    assert counts["postbacks"] == counts["delivered"] + counts["held"] + counts["dead"]
    assert (counts["held"], counts["dead"]) == (states[ItemState.HELD], states[ItemState.DEAD]) > (5, 5)
    print(
        f"\nkilled in {numbers['sends'] // 3} states of a send: {numbers['sends']} sends, {numbers['repeats']} sent "
        f"again, each marked; {numbers['arrived twice']} of them had arrived before"
    )
