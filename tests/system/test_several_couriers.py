"""Several couriers on one installation: their number changed under load with kills in between, and one that has slept
through another's taking over.
"""

import contextlib
import os
import signal
import sqlite3
import subprocess
import threading
from collections import defaultdict
from pathlib import Path

import pytest

from support.expected import catalog
from support.installation import until
from support.load import Load, visits_of
from support.sink import Answer, Received, Sink
from support.waypost_process import WaypostProcess

pytestmark = pytest.mark.system

VISITS = 500
RATE = 60.0
RETRY = "[200ms, 200ms, 300ms, 500ms, 1s, 1s, 1s, 2s, 2s, 2s]"
LATE = "[pipeline]\nboard_lifetime_ms = 1\n"
NUMBERS = (2, 3, 1)  # of couriers, after the first one


def _slow_now_and_then(request: Received) -> Answer:
    """So that something is in flight whenever the couriers are killed."""
    return Answer(200, 0.15 if sum(request.id.encode()) % 3 else 0.0)


def _is_settled(house: WaypostProcess) -> bool:
    counts = house.audit()["counts"]
    return not any(counts[name] for name in ("parked", "unread", "queued", "in_flight", "not_taken"))


def _set_couriers(house: WaypostProcess, count: int) -> None:
    (house.data / "settings.toml").write_text(f"{LATE}[courier]\nshards = {count}\n", "utf-8")


def _check_repeats(received: list[Received]) -> dict[str, list[Received]]:
    """No request but the first of a postback is unmarked; answers the requests of each."""
    sends: dict[str, list[Received]] = defaultdict(list)
    for request in sorted(received, key=lambda one: one.at_s):
        sends[request.id].append(request)
    for id, requests in sends.items():
        assert sum(1 for one in requests if not one.is_repeat) <= 1, (id, requests)
        assert len({one.attempt for one in requests}) == len(requests), (id, requests)
    return sends


def test_the_number_of_couriers_changes_under_load_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    with Sink() as sink:
        sink.behave = _slow_now_and_then
        house = WaypostProcess(tmp_path / "house", catalog(sink.port, RETRY), LATE)
        with house, Load(house.port, visits_of(2026, VISITS), rate=RATE) as load:
            for nth, count in enumerate(NUMBERS):
                until(lambda nth=nth: load.reached(90 * (nth + 1)), f"load before there are {count}")
                if count == 3:  # once in good order, else with everything killed
                    house.stop()
                else:
                    house.kill_everything()
                _set_couriers(house, count)
                house.start()
                couriers = {name for name in house.pids() if name.startswith("courier-")}
                assert couriers == {f"courier-{number}" for number in range(count)}
                house.kill_and_await(f"courier-{count - 1}")
            load.finish(deadline_s=120)
            until(lambda: _is_settled(house), "all postbacks are delivered")
            assert house.stop() == 0, house.said()
            counts = house.audit()["counts"]
        sends = _check_repeats(sink.received)
        assert len(sends) == counts["delivered"] == counts["postbacks"] > VISITS / 2
        assert counts["dead"] == 0
        assert sorted(file.name for file in (house.data / "lanes").glob("deal-*")) == ["deal-3"]


CATALOG = """
waypost: 1
advertisers: {{acme: {{token: s3cret}}}}
offers: {{vpn: {{url: "http://127.0.0.1:9/?c={{click_id}}", advertiser: acme, goals: {{install: {{payout: 1 USD}}}}}}}}
partners: {{geozo: {{postbacks: [{{on: {{goal: install}}, get: "http://127.0.0.1:{port}/pb?c={{sub1}}"}}]}}}}
links: {{demo: {{partner: geozo, offer: vpn}}}}
"""


def _convert(house: WaypostProcess, count: int, word: str) -> None:
    for number in range(count):
        click = house.click("demo", sub1=f"{word}-{number}")
        assert house.postback(click_id=click, goal="install", token="s3cret").status == 200


def _stopped(house: WaypostProcess, pid: int) -> bool:
    """SIGSTOP between two commits; one that is stopped within a commit keeps SQLite's lock, and nobody takes over."""
    os.kill(pid, signal.SIGSTOP)
    try:
        connection = sqlite3.connect(house.data / "lanes" / "shard-0.db", isolation_level=None, timeout=0.1)
        with contextlib.closing(connection):
            connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        os.kill(pid, signal.SIGCONT)
        return False
    return True


def test_a_courier_that_slept_through_anothers_taking_over_writes_nothing_and_says_why_it_ends(tmp_path: Path) -> None:
    """Locks are let go of when a process ends, so this takes more than a stop: somebody has removed the lock files."""
    hold, let_go = threading.Event(), threading.Event()

    def behave(request: Received) -> Answer:
        hold.set()
        return Answer(200, 0.0 if let_go.is_set() else 1.5)

    with Sink() as sink:
        sink.behave = behave
        house = WaypostProcess(tmp_path / "house", CATALOG.format(port=sink.port))
        with house:
            sleeper = house.snapshot("courier-0")["pid"]
            _convert(house, 5, "before")
            assert hold.wait(30), "nothing is in flight"
            until(lambda: _stopped(house, sleeper), "it sleeps, with requests in flight, whose answers wait for it")
            let_go.set()
            for file in ("run/courier-0.lock", "lanes/shard-0.lock", "journal/courier-0/writer.lock"):
                (house.data / file).unlink()
            words = ["courier", "--slot", "0", "--data", str(house.data), "--allow-target", "127.0.0.0/8"]
            with (tmp_path / "other.log").open("wb") as log:
                other = subprocess.Popen(house.command(*words), stdout=log, stderr=log)
            try:
                _convert(house, 5, "after")
                until(lambda: house.audit()["counts"]["delivered"] == 10, "the other one has delivered all")
                os.kill(sleeper, signal.SIGCONT)
                log_file = house.data / "logs" / "courier-0.log"
                until(lambda: "fenced" in log_file.read_text(), "the sleeper says why it ends")
                until(lambda: not Path(f"/proc/{sleeper}").exists(), "the sleeper has ended")
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(sleeper, signal.SIGCONT)
                other.terminate()
                other.wait(30)
            until(lambda: house.snapshot("courier-0")["pid"] not in (sleeper, other.pid), "the next one works")
            _convert(house, 1, "then")
            until(lambda: house.audit()["counts"]["delivered"] == 11, "it does")
            assert house.stop() == 0
            house.audit()
        sends = _check_repeats(sink.received)
        assert len(sends) == 11
        for id in sends:
            attempts = [event for event in house.trace(id)["events"] if event["event"] == "attempt"]
            delivered = [event for event in attempts if event["result"] == "delivered"]
            assert len(delivered) == 1, "the sleeper has written what became of a send that was not its own any more"


def test_replacing_couriers_with_requests_in_flight_repeats_nothing(tmp_path: Path) -> None:
    """`waypost restart` hands each shard over by closing and opening it; what is in flight is waited for."""
    with Sink() as sink:
        sink.behave = lambda request: Answer(200, 0.4)
        house = WaypostProcess(tmp_path / "house", CATALOG.format(port=sink.port))
        _set_couriers(house, 2)
        with house:
            before = {name: house.snapshot(name)["pid"] for name in ("courier-0", "courier-1")}
            with (tmp_path / "restart.log").open("wb") as log:
                restart = subprocess.Popen(house.command("restart", "--data", str(house.data)), stdout=log, stderr=log)
            count = 0
            while restart.poll() is None:
                _convert(house, 1, f"n{count}")
                count += 1
            assert restart.returncode == 0, (tmp_path / "restart.log").read_text()
            assert all(house.snapshot(name)["pid"] != pid for name, pid in before.items())
            until(lambda: house.audit()["counts"]["delivered"] == count, "all are delivered")
            assert house.stop() == 0
            house.audit()
    assert count > 20
    assert len(sink.received) == count, "sent again, though nobody died"
    assert not any(request.is_repeat for request in sink.received)
