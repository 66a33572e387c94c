"""The whole installation on a disk that fills up under load, and is freed again."""

import threading
from pathlib import Path

import pytest

from support.expected import catalog
from support.full_disk import SmallDisk, small_disk
from support.installation import fetch, until
from support.load import Load, visits_of
from support.sink import Sink
from support.waypost_process import WaypostProcess, decided_receipts

pytestmark = pytest.mark.system

MEGABYTES = 96
RETRY = "[200ms, 200ms, 500ms, 1s, 1s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s]"
FULL_FOR_S = 4.0


def test_calls_are_refused_clicks_redirected_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    with small_disk(tmp_path, MEGABYTES) as disk, Sink() as sink:
        house = WaypostProcess(tmp_path, catalog(sink.port, RETRY))
        with house, Load(house.port, visits_of(7, 900), rate=70) as load:
            until(lambda: load.reached(200), "load")
            assert load.unavailable == 0
            _while_full(house, disk, load)
            until(lambda: _answers(house, 200), "calls are taken again, by itself")
            load.finish(deadline_s=90)
            assert load.unavailable > 0, "the disk was never full to a door"
            assert (load.wrong, load.connect_failures, load.unanswered) == ([], [], 0)
            until(lambda: _is_settled(house), "all that was accepted is decided and delivered")
            counts = house.status()["counts"]
            print(
                f"\n{load.unavailable} calls refused and sent again; "
                + ", ".join(
                    f"{name} {counts.get(name, 0):.0f}"
                    for name in (
                        "door_unavailable",
                        "door_clicks_unrecorded",
                        "door_commits_failed",
                        "door_given_up",
                        "errors",
                    )
                )
            )
            assert counts["door_unavailable"] > 0 and counts["door_commits_failed"] > 0
            assert counts["door_clicks_unrecorded"] > 0
            assert house.stop() == 0, house.said()
            house.audit()
            _assert_all_decided(house, load)


def _while_full(house: WaypostProcess, disk: SmallDisk, load: Load) -> None:
    """Fills the disk; calls get 503, clicks their redirect, for as long as that lasts."""
    until(lambda: disk.fill() or _answers(house, 503), "the disk is full", 30)
    clicks = load.clicks
    for _ in range(int(FULL_FOR_S / 0.1)):
        disk.fill()
        click = fetch(house.port, "/c/geozo-vpn", {"sub1": "while-full"})
        assert click.status == 302
        call = fetch(house.port, "/postback", {"token": "s3cret", "goal": "install"})
        assert call.status in (200, 503), call
        if call.status == 503:
            assert call.headers["Retry-After"] == "1"
            assert call.json["error"] == "journal_unavailable"
        threading.Event().wait(0.1)
    assert load.clicks > clicks, "visitors got on"
    disk.free()


def _answers(house: WaypostProcess, status: int) -> bool:
    """Whether every one of some calls, which the doors share, is answered so. They are long: doors have made room
    ahead, which has to be used up before the disk is full to them."""
    parameters = {"token": "s3cret", "goal": "install", "note": "x" * 4000}
    return all(fetch(house.port, "/postback", parameters).status == status for _ in range(8))


def _is_settled(house: WaypostProcess) -> bool:
    counts = house.audit()["counts"]
    return not any(counts[name] for name in ("unread", "queued", "in_flight", "not_taken"))


def _assert_all_decided(house: WaypostProcess, load: Load) -> None:
    acknowledged = {receipt for visit in load.visits for call in visit.calls for receipt in call.tries if receipt}
    assert len(acknowledged) > len(load.visits)
    assert acknowledged - decided_receipts(house) == set()
