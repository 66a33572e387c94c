"""Partners that hang, break off, drip or fail hold up nobody else, and get all that is theirs once they are well."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

from support.installation import until
from support.sink import Answer, Received, Sink
from support.waypost_process import WaypostProcess

pytestmark = pytest.mark.system

PARTNERS, EACH = 20, 12
SICK = {
    1: Answer(after_s=600.0),
    2: Answer(status=0),
    3: Answer(body=b"." * 600, byte_s=1.0),
    4: Answer(status=500, body=b"sick"),
}
# What hangs and drips could take all that may be in flight, and for longer than the test waits, if lanes had no bound.
SETTINGS = f"[courier]\nin_flight_max = {2 * EACH}\n"
DELIVERY = "{concurrency: 4, timeout: 2m, retry: [300ms, 500ms, 1s, 1s, 1s, 1s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s]"
BREAKER = "breaker: {calls: 5, pause: 500ms, pause_max: 1s}}"


def _catalog(port: int) -> str:
    partners = "".join(
        f"  partner-{n}:\n    delivery: {DELIVERY}, {BREAKER}\n"
        f'    postbacks: [{{on: {{goal: install}}, get: "http://127.0.0.1:{port}/{n}?n={{sub1}}"}}]\n'
        for n in range(1, PARTNERS + 1)
    )
    links = "".join(f"  link-{n}: {{partner: partner-{n}, offer: vpn}}\n" for n in range(1, PARTNERS + 1))
    return (
        "waypost: 1\nadvertisers: {acme: {token: s3cret}}\noffers:\n"
        '  vpn: {advertiser: acme, url: "http://127.0.0.1/land?cid={click_id}", goals: {install: {payout: 1.20 USD}}}\n'
        f"partners:\n{partners}links:\n{links}"
    )


def _partner(request: Received) -> int:
    return int(request.target[1:].partition("?")[0])


def _numbers(requests: Iterable[Received]) -> Counter[str]:
    return Counter(request.target.partition("?n=")[2] for request in requests)


def test_the_sick_hold_up_nobody_and_get_everything_once_they_are_well(tmp_path: Path) -> None:
    delivered: list[Received] = []  # what was answered 200 and whole
    is_sick = True

    def behave(request: Received) -> Answer:
        if is_sick and _partner(request) in SICK:
            return SICK[_partner(request)]
        delivered.append(request)
        return Answer()

    with Sink() as sink, WaypostProcess(tmp_path, _catalog(sink.port), SETTINGS) as house:
        sink.behave = behave
        for n in range(PARTNERS * EACH):
            click = house.click(f"link-{1 + n % PARTNERS}", sub1=str(n))
            assert house.postback(click_id=click, goal="install", token="s3cret").status == 200
        healthy = {str(n) for n in range(PARTNERS * EACH) if 1 + n % PARTNERS not in SICK}
        until(lambda: _numbers(delivered).keys() >= healthy, "the healthy have theirs while the sick are sick")
        assert _numbers(delivered) == Counter(healthy), "and nothing twice"
        until(lambda: {_partner(one) for one in sink.received} >= SICK.keys(), "all of the sick were tried")
        until(lambda: house.audit()["counts"]["delivered"] == len(healthy), "the courier knows")
        sink.stop()  # their servers are started anew: what hangs is broken off
        is_sick = False
        sink.start()
        everything = Counter(str(n) for n in range(PARTNERS * EACH))
        until(lambda: _numbers(delivered) == everything, "the sick have theirs, once each")
        until(lambda: not house.audit()["counts"]["in_flight"], "the last answers are in the lanes")
        assert house.stop() == 0, house.said()
        counts = house.audit()["counts"]
        assert not any(counts[name] for name in ("queued", "in_flight", "not_taken")), counts
        _check_marks(sink.received)


def _check_marks(received: Iterable[Received]) -> None:
    """Whatever a partner got for the second time says so, with the same id."""
    seen: dict[str, list[Received]] = defaultdict(list)
    for request in received:
        seen[request.id].append(request)
    assert len(seen) == PARTNERS * EACH
    for requests in seen.values():
        assert len({request.target for request in requests}) == 1
        assert not any(not request.is_repeat for request in requests[1:])
        assert sorted({request.attempt for request in requests}) == [request.attempt for request in requests]
    tried_again = {_partner(requests[0]) for requests in seen.values() if len(requests) > 1}
    assert tried_again <= set(SICK) and tried_again, "only the sick were tried again"
