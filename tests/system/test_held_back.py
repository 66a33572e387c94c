"""Lanes that are held back, on real processes and sockets: a day's limit over kills, order over retries and kills, and
a line that is down."""

from collections import defaultdict
from pathlib import Path

import pytest

from support.installation import until
from support.sink import Answer, Received, Sink
from support.waypost_process import WaypostProcess

pytestmark = pytest.mark.system

PARTNERS, EACH, LIMIT = 6, 40, 25
LOST_MAX = 16  # requests in flight when partner 1's courier is killed: its limit of them
SETTINGS = (
    "[courier]\noffline_lanes = 3\noffline_probe_ms = 300\n"
    "retry_schedule_ms = [200, 200, 400, 400, 800, 800, 800, 800]\nbreaker_pause_ms = 300\nbreaker_pause_max_ms = 600\n"
)


def _catalog(port: int) -> str:
    deliveries = {1: f"{{rate: {{limit: {LIMIT}, per: day, burst: {LIMIT}}}}}", 2: "{ordering: click, breaker: off}"}
    partners = "".join(
        f"  partner-{n}:\n    delivery: {deliveries.get(n, '{concurrency: 4}')}\n    postbacks:\n"
        f'      - {{on: {{goal: install}}, get: "http://127.0.0.1:{port}/{n}?n={{sub1}}&goal=install"}}\n'
        f'      - {{on: {{goal: sale}}, get: "http://127.0.0.1:{port}/{n}?n={{sub1}}&goal=sale"}}\n'
        for n in range(1, PARTNERS + 1)
    )
    links = "".join(f"  link-{n}: {{partner: partner-{n}, offer: vpn}}\n" for n in range(1, PARTNERS + 1))
    return (
        "waypost: 1\nadvertisers: {acme: {token: s3cret}}\noffers:\n"
        '  vpn: {advertiser: acme, url: "http://127.0.0.1/land?cid={click_id}",\n'
        "    goals: {install: {payout: 1.20 USD}, sale: {payout: 2 USD}}}\n"
        f"partners:\n{partners}links:\n{links}"
    )


def _partner(request: Received) -> int:
    return int(request.target[1:].partition("?")[0])


def _of(sink: Sink, partner: int) -> list[Received]:
    return [request for request in list(sink.received) if _partner(request) == partner]


def _value(house: WaypostProcess, name: str) -> float:
    return float(house.snapshot("courier-0").get("values", {}).get(name, -1))


def _is_at_its_limit(house: WaypostProcess) -> bool:
    """Whether partner 1 has had its day's share, and everybody else all that there is."""
    counts = house.audit()["counts"]
    lanes = house.snapshot("courier-0").get("details", {}).get("lanes", {})
    is_read = not (counts["unread"] or counts["not_taken"] or counts["in_flight"])
    return is_read and set(lanes) == {"partner-1"} and lanes["partner-1"]["held_by"] == "rate"


def test_a_limit_and_an_order_hold_over_kills(tmp_path: Path) -> None:
    failed: set[str] = set()

    def behave(request: Received) -> Answer:
        if _partner(request) == 2 and request.target not in failed:  # each fails once
            failed.add(request.target)
            return Answer(status=500)
        return Answer()

    with Sink() as sink, WaypostProcess(tmp_path, _catalog(sink.port), SETTINGS) as house:
        sink.behave = behave
        for n in range(EACH):
            for partner in (1, 2):
                click = house.click(f"link-{partner}", sub1=str(n))
                for goal in ("install", "sale"):
                    assert house.postback(click_id=click, goal=goal, token="s3cret").status == 200
            if n % 10 == 9:
                house.kill_and_await("courier-0")
        until(lambda: _is_at_its_limit(house), "all but what is over the limit")
        delivered = 2 * EACH - house.audit()["counts"]["queued"]
        house.kill_and_await("courier-0")
        until(lambda: _is_at_its_limit(house), "held back again")
        assert 2 * EACH - house.audit()["counts"]["queued"] == delivered
        firsts = [request.id for request in _of(sink, 1) if not request.is_repeat]
        repeats = [request for request in _of(sink, 1) if request.is_repeat]  # of a kill's unknown outcomes
        assert len(firsts) == len(set(firsts))
        assert len(firsts) + len(repeats) <= LIMIT
        assert len(repeats) <= LIMIT - delivered <= LOST_MAX, "a send whose outcome a kill took counts, too"
        by_click = defaultdict(list)
        for request in _of(sink, 2):
            number, _, goal = request.target.partition("?n=")[2].partition("&goal=")
            by_click[number].append(goal)
        assert len(by_click) == EACH
        for goals in by_click.values():
            assert set(goals) == {"install", "sale"} and goals == sorted(goals), "all of the first before the second"
        assert house.stop() == 0, house.said()


def test_a_line_that_is_down_costs_no_attempts(tmp_path: Path) -> None:
    with Sink() as sink, WaypostProcess(tmp_path, _catalog(sink.port), SETTINGS) as house:
        clicks = [house.click(f"link-{1 + n % PARTNERS}", sub1=str(n)) for n in range(PARTNERS * 4)]
        for click in clicks:
            assert house.postback(click_id=click, goal="install", token="s3cret").status == 200
        until(lambda: len(sink.received) == len(clicks), "all is well")
        sink.stop()
        for click in clicks:
            assert house.postback(click_id=click, goal="sale", token="s3cret").status == 200
        until(lambda: _value(house, "courier_offline") == 1, "it knows that it is offline")
        before = _value(house, "courier_attempts")
        house.kill_and_await("courier-0")
        until(lambda: _value(house, "courier_offline") == 1, "and finds out again")
        assert before <= 2 * len(clicks)
        sink.start()
        until(lambda: len({request.target for request in sink.received}) == 2 * len(clicks), "all is told")
        until(lambda: _value(house, "courier_offline") != 1, "it is online")
        told = [request.id for request in sink.received]
        assert len(told) == len(set(told)), "nothing twice"
        until(lambda: not house.audit()["counts"]["in_flight"], "the last answers are in the lanes")
        assert house.stop() == 0, house.said()
