"""The courier's own line goes down and comes back: real lanes in SQLite, everything around them in memory."""

from pathlib import Path

import msgspec
import pytest

from support.courier_world import World, settle
from support.sender import FakeSender, answered
from waypost.catalog.model import Delivery
from waypost.courier.offline import TOKENS_BELOW, is_cut
from waypost.model.frames import SendResult
from waypost.ports.lanes import ItemState
from waypost.ports.sender import SendReport, SendRequest

LANES = range(1, 11)


class Line:
    """What answers: all partners, none, or all but some."""

    def __init__(self) -> None:
        self.is_up = True
        self.broken: set[int] = set()
        self.lane_of: dict[int, int] = {}

    def __call__(self, request: SendRequest) -> SendReport | None:
        lane = int(request.url.split("//")[1].split(".")[0][1:])
        if self.is_up and lane not in self.broken:
            return answered(request, status=0 if request.probe else 200)
        return msgspec.structs.replace(answered(request, code="connect_failed"), sent=False)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, offline_share=0.8, breaker_share=0.5, offline_probe_ms=2000, retry_schedule_ms=(60_000,))
    for lane in LANES:
        world.deliveries[lane] = Delivery()
    return world


def put(world: World, each: int = 1) -> None:
    for lane in LANES:
        world.put(each, lane=lane)


@pytest.fixture(autouse=True)
def own_hosts(world: World) -> None:
    rule = world.catalogs().open(1).partner(1)
    assert rule is not None
    for lane in LANES:
        url = f"http://p{lane}.example:8080/pb?c={{sub1}}"
        world.rules[lane] = msgspec.structs.replace(rule.rules[0], url=url)


def probes(sender: FakeSender) -> list[SendRequest]:
    return [request for request in sender.sent if request.probe]


def test_offline_nothing_is_attempted_or_counted_and_one_alert_is_given(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    line = Line()
    courier, sender = world.courier(FakeSender(line))
    put(world)
    settle(courier)
    line.is_up = False
    put(world, 10)
    settle(courier)
    attempted = len(sender.sent) - 10
    assert world.stats.values["courier_offline"] == 1
    assert world.stats.details["offline"]["lanes"] == 10
    for _ in range(120):
        put(world, 2)
        settle(courier)
        world.clock.advance(1000)
    assert len(sender.sent) - 10 - len(probes(sender)) == attempted
    assert 60 <= len(probes(sender)) <= 3 * 61
    for probe in probes(sender):
        assert probe.token < TOKENS_BELOW and probe.url.endswith(".example:8080/") and probe.body == b""
    excused = [outcome for one in world.attempts() for outcome in one.outcomes if not outcome.counted]
    assert len(excused) >= attempted - 8
    assert all(outcome.result is SendResult.RETRY for outcome in excused)
    said = capsys.readouterr()  # where logs go depends on what was configured before
    assert (said.out + said.err).count("no partner can be reached") == 1
    line.is_up = True
    for _ in range(80):
        settle(courier)
        world.clock.advance(1000)
    assert world.stats.values["courier_offline"] == 0 and "offline" not in world.stats.details
    assert world.depth() == (0, 0, 0)
    delivered = [outcome.id for one in world.attempts() for outcome in one.outcomes if outcome.result == "delivered"]
    assert len(delivered) == len(set(delivered)) == world.outbox.end


def test_what_is_excused_keeps_all_its_attempts(world: World) -> None:
    line = Line()
    courier, _ = world.courier(FakeSender(line))
    put(world)
    settle(courier)
    line.is_up = False
    put(world, 3)
    settle(courier)
    waiting = [item for item in world.lanes().items() if item.excused]
    assert waiting and all(item.state is ItemState.QUEUED and item.attempt == item.excused == 1 for item in waiting)
    line.is_up = True
    seqs = {item.seq for item in waiting}
    for _ in range(3):
        world.clock.advance(2000)
        settle(courier)
    assert not seqs & {item.seq for item in world.lanes().items()}


def test_the_return_needs_two_and_begins_small(world: World) -> None:
    line = Line()
    courier, sender = world.courier(FakeSender(line))
    put(world)
    settle(courier)
    line.is_up = False
    put(world, 50)
    settle(courier)
    line.is_up, line.broken = True, set(range(2, 11))  # one partner alone can be reached
    while not any(request.probe and "//p1." in request.url for request in sender.sent[-3:]):
        world.clock.advance(2000)
        settle(courier)
    assert world.stats.values["courier_offline"] == 1
    line.broken = set()
    sender.highest = 0
    world.clock.advance(2000)
    while world.stats.values["courier_offline"]:
        courier.step()
    courier.step()
    assert sender.highest <= 16 + 3
    for _ in range(100):
        world.clock.advance(1000)
        settle(courier)
    assert world.depth() == (0, 0, 0)


def test_a_part_of_the_net_that_fails_stops_the_others_only_for_a_moment(world: World) -> None:
    line = Line()
    courier, sender = world.courier(FakeSender(line))
    put(world)
    settle(courier)
    line.broken = set(range(1, 9))
    for _ in range(60):
        put(world)
        settle(courier)
        world.clock.advance(1000)
    healthy = [request for request in sender.sent if not request.probe and "//p9." in request.url]
    assert len(healthy) >= 55
    assert world.stats.values["courier_offline"] == 0
    line.broken = set()
    for _ in range(500):
        settle(courier)
        world.clock.advance(1000)
    assert world.depth() == (0, 0, 0)


def test_one_partner_that_can_be_reached_is_not_kept_waiting_for_others(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    line = Line()
    courier, sender = world.courier(FakeSender(line))
    put(world)
    settle(courier)
    line.broken = set(range(2, 11))
    for _ in range(120):
        put(world)
        settle(courier)
        world.clock.advance(1000)
    reached = [request for request in sender.sent if not request.probe and "//p1." in request.url]
    assert len(reached) >= 60
    said = capsys.readouterr()
    assert (said.out + said.err).count("no partner can be reached") <= 2


def test_with_few_lanes_a_courier_is_never_offline(tmp_path: Path) -> None:
    world = World(tmp_path, offline_share=0.8, retry_schedule_ms=(1000, 1000))
    rule = world.catalogs().open(1).partner(1)
    assert rule is not None
    for lane in (1, 2, 3, 4):
        world.rules[lane] = msgspec.structs.replace(rule.rules[0], url=f"http://p{lane}.example/")
        world.put(5, lane=lane)
    line = Line()
    line.is_up = False
    courier, _ = world.courier(FakeSender(line))
    for _ in range(10):
        settle(courier)
        world.clock.advance(1000)
    assert world.stats.values["courier_offline"] == 0
    assert world.depth() == (0, 0, 20)


@pytest.mark.parametrize(
    ("code", "sent", "cut"),
    [
        ("dns_failed", False, True),
        ("connect_failed", False, True),
        ("tls_failed", False, True),
        ("send_timeout", False, True),
        ("send_timeout", True, False),
        ("", True, False),
        ("response_malformed", True, False),
    ],
)
def test_what_is_below_http(code: str, sent: bool, cut: bool) -> None:
    request = SendRequest(1, "GET", "http://p1.example/", (), b"", 1, 1)
    assert is_cut(msgspec.structs.replace(answered(request, code=code), sent=sent)) is cut
