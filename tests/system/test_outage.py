"""Everything behind the doors is down for a minute under load, or out of their reach: every call is still answered."""

import os
import signal
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.catalog_text import DESIGN
from support.expected import catalog
from support.installation import fetch, until
from support.load import Load, visits_of
from support.sink import Sink
from support.waypost_process import WaypostProcess, decided_receipts

pytestmark = pytest.mark.system

OUTAGE_S = float(os.environ.get("WAYPOST_TEST_OUTAGE_S", "60"))
RATE = 60.0  # visits a second
BEHIND = ("pipeline", "courier-0", "archivist", "console")
RETRY = "[200ms, 200ms, 500ms, 1s, 1s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s]"
# The doors do not learn of used-up caps: all clicks are redirected, and it is the pipeline that keeps the cap exactly.
REFUSES_LATE = "[pipeline]\nboard_lifetime_ms = 1\n"


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    assert all(pids), "a role does not work"  # 0 would be this process and its own
    for pid in pids:
        os.kill(pid, number)


@pytest.mark.slow
def test_a_minute_without_anything_behind_the_doors_costs_no_call(tmp_path: Path) -> None:
    """Half of it they hang, half of it they are dead; the supervisor, which would start them again, hangs all along."""
    visits = visits_of(11, int(RATE * (OUTAGE_S + 6)))
    with Sink() as sink, WaypostProcess(tmp_path, catalog(sink.port, RETRY), REFUSES_LATE) as house:
        with Load(house.port, visits, rate=RATE) as load:
            until(lambda: load.reached(100), "load")
            pids = house.pids()
            behind = [pids[name] for name in BEHIND]
            _signal([pids["supervisor"], *behind], signal.SIGSTOP)
            before = load.done
            threading.Event().wait(OUTAGE_S / 2)
            _signal(behind, signal.SIGKILL)
            threading.Event().wait(OUTAGE_S / 2)
            during = load.done - before
            _signal([pids["supervisor"]], signal.SIGCONT)
            assert during > RATE * OUTAGE_S * 0.5, "the load went on"
            load.finish(deadline_s=120)
        assert (load.wrong, load.unavailable, load.unanswered, load.connect_failures) == ([], 0, 0, [])
        until(lambda: _is_settled(house), "all that was accepted is decided and delivered", 120)
        assert house.stop() == 0, house.said()
        house.audit()
        acknowledged = {receipt for visit in visits for call in visit.calls for receipt in call.tries}
        assert len(acknowledged) > len(visits)
        assert acknowledged - decided_receipts(house) == set()


def _is_settled(house: WaypostProcess) -> bool:
    counts = house.audit()["counts"]
    return not any(counts[name] for name in ("unread", "queued", "in_flight", "not_taken"))


def test_a_door_works_though_the_world_it_started_in_is_gone(tmp_path: Path) -> None:
    """The ledger locked, then taken away; catalog and board out of reach: a door had all it needs when it started."""
    house = WaypostProcess(
        tmp_path, DESIGN + "".join(f"  link-{n}: {{partner: geozo, offer: acme-vpn}}\n" for n in range(50))
    )
    with house:
        receipt = house.postback(click_id=house.click("demo"), goal="install", token="s3cret").json["receipt"]
        until(lambda: receipt in house.waypost("trace", "--data", str(house.data), receipt).stdout, "it works")
        pids = house.pids()
        behind = [pids[name] for name in BEHIND]
        ledger = sqlite3.connect(house.data / "ledger" / "ledger.db", isolation_level=None, timeout=30)
        ledger.execute("BEGIN EXCLUSIVE")
        _signal([pids["supervisor"], *behind], signal.SIGSTOP)
        try:
            _assert_doors_work(house, 0)
            ledger.close()
            gone = tmp_path / "gone"
            gone.mkdir()
            for name in ("ledger", "catalog", "board", "clicks", "lanes", "archive", "positions"):
                if (house.data / name).exists():
                    (house.data / name).rename(gone / name)
            _assert_doors_work(house, 25)
            for folder in gone.iterdir():
                folder.rename(house.data / folder.name)
        finally:
            _signal([pids["supervisor"], *behind], signal.SIGCONT)
        until(lambda: house.health().status == 200, "all works again")
        until(lambda: _is_settled_but_for_the_partner(house), "what came in meanwhile is decided")
        log = (house.data / "logs" / "door-0.log").read_text() + (house.data / "logs" / "door-1.log").read_text()
        assert len(log.splitlines()) < 100, "what is gone is said, and not without end"
        house.audit()


def _assert_doors_work(house: WaypostProcess, first: int) -> None:
    """Clicks on links that were never asked for before, and calls; at all doors, and promptly."""
    for nth in range(first, first + 25):
        assert fetch(house.port, f"/c/link-{nth}", {"sub1": "gone"}).status == 302
        assert house.postback(click_id=house.click("demo"), goal="install", token="s3cret").status == 200
    assert fetch(house.port, "/c/nothing").status == 404
    assert house.postback(goal="install", token="wrong").status == 403


def _is_settled_but_for_the_partner(house: WaypostProcess) -> bool:
    counts = house.audit()["counts"]
    return not counts["unread"] and not counts["parked"]
