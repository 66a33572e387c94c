"""`waypost run` in trouble: a door killed under load, a partner that is down, a partner that hangs at the end."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from support.catalog_text import DESIGN, changed
from support.installation import Installation, fetch, until
from support.sink import Answer, Sink
from support.steady import Steady
from support.waypost_process import ROLES, WaypostProcess, of_event

pytestmark = pytest.mark.system

DRAIN_BOUND_S = 25.0
PARTNER = "http://127.0.0.1:9001"


def two_partners(up: int, down: int, delivery: str) -> str:
    """The design's catalog with a second partner, `mobbo`, and a link `other` of its own."""
    text = changed("  geozo:\n", f"  geozo:\n    delivery: {delivery}\n").replace(PARTNER, f"http://127.0.0.1:{up}")
    get = f"get: http://127.0.0.1:{down}/other?cid={{sub1}}&n={{attempt}}&again={{is_repeat}}&id={{postback_id}}"
    second = f"  mobbo:\n    delivery: {delivery}\n    postbacks:\n      - on: {{status: approved}}\n        {get}\n"
    return text.replace("links:\n", f"{second}links:\n") + "  other: {partner: mobbo, offer: acme-vpn}\n"


def convert(house: Installation, link: str, name: str) -> str:
    """A click with `sub1` and an approved install; answers the receipt."""
    click_id = house.click(link, sub1=name)
    answer = house.postback(click_id=click_id, goal="install", token="s3cret")
    assert answer.status == 200
    return str(answer.json["receipt"])


def test_no_connection_is_refused_while_doors_are_killed_and_replaced(tmp_path: Path) -> None:
    with WaypostProcess(tmp_path, DESIGN) as house:
        kills: list[float] = []
        users = [Steady(house.port, "/c/demo?sub1=steady") for _ in range(3)]
        with users[0], users[1], users[2]:
            for nth, door in enumerate(("door-0", "door-1", "door-0")):
                until(lambda nth=nth: all(user.answered > 50 * (nth + 1) for user in users), "load")
                kills.append(time.monotonic())
                house.kill_and_await(door)
            until(lambda: all(user.answered > 200 for user in users), "load goes on")
        assert [user.refused for user in users] == [[], [], []]
        broken = [began_s for user in users for began_s, _ in user.broken]
        assert len(broken) <= len(users) * len(kills)
        for began_s in broken:
            # Connected before a kill: the door that died had taken it. Later ones wait for its successor.
            assert any(kill_s - 1 < began_s <= kill_s + 0.05 for kill_s in kills), (began_s, kills)
        assert {status for user in users for status in user.statuses} == {302}
        house.audit()


def test_a_partner_that_is_down_holds_up_nobody_and_gets_all_when_it_is_back(tmp_path: Path) -> None:
    with Sink() as up, Sink() as down:
        down.stop()
        text = two_partners(up.port, down.port, "{retry: [" + ", ".join(["500ms"] * 40) + "]}")
        with WaypostProcess(tmp_path, text) as house:
            waiting = [convert(house, "other", f"down-{nth}") for nth in range(20)]
            began_s = time.monotonic()
            for nth in range(20):
                convert(house, "demo", f"up-{nth}")
            until(lambda: len(up.received) == 20, "the partner that is up got all")
            assert time.monotonic() - began_s < 10
            assert all(request.attempt == 1 and not request.is_repeat for request in up.received)
            until(lambda: _attempts(house, waiting[0]), "an attempt at the partner that is down")
            counts = house.audit()["counts"]
            assert counts["delivered"] == 20
            assert counts["queued"] + counts["in_flight"] + counts["not_taken"] == 20
            assert _attempts(house, waiting[0])[0]["code"] == "connect_failed"

            down.start()
            until(lambda: len({request.id for request in down.received}) == 20, "the partner that is back got all")
            assert len(down.received) == 20, "nothing came twice"
            for request in down.received:
                assert request.is_repeat == (request.attempt > 1)
                again = "1" if request.is_repeat else "0"
                assert request.target.endswith(f"&n={request.attempt}&again={again}&id={request.id}")
            repeats = [request for request in down.received if request.is_repeat]
            assert {request.headers["waypost-repeat-reason"] for request in repeats} == {"retry"}
            assert house.stop() == 0
            assert house.audit()["counts"]["delivered"] == 40


def _attempts(house: WaypostProcess, receipt: str) -> list[dict[str, object]]:
    return of_event(house.trace(receipt), "attempt")


def test_the_end_is_bounded_and_what_is_in_flight_is_delivered(tmp_path: Path) -> None:
    """One partner answers after a second, the other never: the end waits for the first, and not for long."""
    with Sink() as slow, Sink() as hanging:
        slow.behave = lambda request: Answer(200, after_s=1.0)
        hanging.behave = lambda request: Answer(200, after_s=3600)
        text = two_partners(slow.port, hanging.port, "{retry: [500ms, 60s], timeout: 3s}")
        with WaypostProcess(tmp_path, text) as house:
            for nth in range(10):
                convert(house, "demo", f"slow-{nth}")
                convert(house, "other", f"hangs-{nth}")
            until(lambda: len(slow.received) == len(hanging.received) == 10, "all are in flight")
            began_s = time.monotonic()
            assert house.stop() == 0
            assert time.monotonic() - began_s < DRAIN_BOUND_S
            assert '"killed": 0' in house.said()
            assert house.processes() == []
            counts = house.audit()["counts"]
            assert (counts["delivered"], counts["queued"], counts["in_flight"]) == (10, 10, 0)

            hanging.behave = lambda request: Answer()
            house.start()
            until(lambda: len(hanging.received) >= 20, "what was left is sent after the start")
            assert all(request.is_repeat for request in hanging.received[10:])
            assert house.stop() == 0
            assert (len(slow.received), len(hanging.received)) == (10, 20)
            assert house.audit()["counts"]["delivered"] == 20


def test_what_comes_in_at_the_very_end_is_answered_and_delivered_or_not_answered(tmp_path: Path) -> None:
    """SIGTERM while calls come: each that got its 200 is judged and delivered before the end."""
    with Sink() as sink:
        with WaypostProcess(tmp_path, DESIGN.replace(PARTNER, f"http://127.0.0.1:{sink.port}")) as house:
            answered: list[str] = []
            ended = threading.Event()

            def call() -> None:
                for nth in range(100_000):
                    try:
                        convert(house, "demo", f"end-{nth}")
                    except OSError:
                        break
                    answered.append(f"end-{nth}")
                ended.set()

            thread = threading.Thread(target=call, daemon=True)
            thread.start()
            until(lambda: len(answered) > 30, "load")
            assert house.stop() == 0
            assert ended.wait(30)
            house.audit()
        sent = [request.target.partition("cid=")[2].partition("&")[0] for request in sink.received]
        assert len(sent) == len(set(sent))
        assert set(answered) <= set(sent)
        assert len(set(sent) - set(answered)) <= 1


def test_a_role_that_hangs_is_killed_at_the_end_and_loses_nothing(tmp_path: Path) -> None:
    """A stopped courier (SIGSTOP) cannot drain: it is killed at the bound, and the next start takes up its work."""
    with Sink() as sink:
        text = DESIGN.replace(PARTNER, f"http://127.0.0.1:{sink.port}")
        with WaypostProcess(tmp_path, text, "[supervisor]\ndrain_ms = 2000\n") as house:
            os.kill(house.pids()["courier-0"], signal.SIGSTOP)
            receipts = [convert(house, "demo", f"stopped-{nth}") for nth in range(5)]
            assert house.stop() == 0
            assert '"killed": 1' in house.said()
            assert sink.received == []
            house.start()
            until(lambda: len(sink.received) == len(receipts), "all are delivered after the start")
            assert not any(request.is_repeat for request in sink.received)
            house.audit()


def test_broken_catalog_says_where_what_and_how_to_mend_it(tmp_path: Path) -> None:
    broken = changed("partner: geozo", "partner: geoso").replace("payout: 30%", "payout: 30 percent")
    house = WaypostProcess(tmp_path, broken)
    refused = house.waypost(*house.run_words())
    assert refused.returncode == 1
    assert "[catalog_unknown_name]" in refused.stderr
    assert "[catalog_bad_value]" in refused.stderr
    assert "catalog.yaml:" in refused.stderr
    assert "geozo" in refused.stderr
    assert house.processes() == []
    with pytest.raises(OSError):
        fetch(house.port, "/healthz")


def test_every_role_is_there(tmp_path: Path) -> None:
    with WaypostProcess(tmp_path, DESIGN) as house:
        assert set(house.pids()) == {"supervisor", *ROLES}
        assert len(house.processes()) == len(ROLES) + 1
        assert house.stop() == 0
        assert house.processes() == []
