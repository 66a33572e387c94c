"""Doors are replaced under load, and nobody notices: every request is answered, over kept connections and new ones."""

import pytest

from support.catalog_text import DESIGN
from support.flood import Flood
from support.installation import until
from support.steady import Steady
from support.waypost_process import ROLES, WaypostProcess

pytestmark = pytest.mark.system

RATE = 5000.0  # asked for, and printed what was reached: a machine that is busy carries less
TARGETS = ("/c/demo?sub1=flood", "/postback?token=s3cret&goal=install&txn_id=flood", "/c/demo?mode=json")


def restart(house: WaypostProcess, *roles: str) -> str:
    done = house.waypost("restart", "--data", str(house.data), *roles)
    assert done.returncode == 0, done.stdout + done.stderr + house.said()[-2000:]
    return done.stdout


def test_no_request_fails_while_doors_are_replaced_under_five_thousand_a_second(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with WaypostProcess(tmp_path_factory.mktemp("flood"), DESIGN) as house:
        before = house.pids()
        with Flood(house.port, TARGETS, rate=RATE * 1.04, new_share=0.2) as flood:
            until(lambda: flood.answered > RATE, "load")
            said = restart(house, "door")
            behind = flood.answered
            until(lambda: flood.answered > behind + RATE, "load goes on")
            restart(house, "door-0")
            behind = flood.answered
            until(lambda: flood.answered > behind + RATE, "load goes on")
        assert flood.errors == []
        assert set(flood.statuses) == {200, 302}
        assert "door-0: replaced" in said and "door-1: replaced" in said
        after = house.status()["roles"]
        assert not {role["pid"] for role in after if "door" in role["name"]} & set(before.values())
        assert not any(role["restarts"] for role in after)
        print(
            f"\n{flood.answered} answers at {flood.rate:.0f}/s, errors {len(flood.errors)}; "
            f"p50 {flood.quantile_ms(0.5):.2f} ms, p99 {flood.quantile_ms(0.99):.1f} ms, "
            f"slowest {flood.quantile_ms(1):.0f} ms"
        )
        assert flood.answered > 3 * RATE, "before, between and behind the replacements"
        house.audit()


def test_all_roles_are_replaced_one_by_one_and_everything_goes_on(tmp_path_factory: pytest.TempPathFactory) -> None:
    with WaypostProcess(tmp_path_factory.mktemp("all"), DESIGN) as house:
        before = house.pids()
        with Steady(house.port, "/c/demo?sub1=steady") as user:
            until(lambda: user.answered > 20, "load")
            said = restart(house)
            until(lambda: house.health().status == 200, "healthy")
        assert (user.refused, user.broken) == ([], [])
        assert [line.partition(":")[0] for line in said.splitlines()] == list(ROLES)
        after = house.pids()
        assert after["supervisor"] == before["supervisor"]
        assert not {after[role] for role in ROLES} & set(before.values())
        house.audit()
        refused = house.waypost("restart", "--data", str(house.data), "dor")
        assert refused.returncode == 1 and "[not_found]" in refused.stderr
        assert house.stop() == 0
    refused = house.waypost("restart", "--data", str(house.data))
    assert refused.returncode == 1 and "[not_running]" in refused.stderr
