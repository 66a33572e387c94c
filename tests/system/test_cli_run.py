"""`waypost run` as an operator meets it: starting, refusing to start, reloading, restarting, ending."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.installation import Installation, Sink, fetch, until

pytestmark = pytest.mark.system

README = (Path(__file__).parent.parent.parent / "README.md").read_text("utf-8")
_CATALOG = README.partition("```yaml\n")[2].partition("```")[0]  # what a newcomer copies must work as it stands


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture
def house(tmp_path: Path, sink: Sink) -> Installation:
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(_CATALOG.replace("9001", str(sink.port)))
    return Installation(tmp_path, catalog)


def roles_alive(pids: dict[str, int]) -> list[str]:
    return [name for name, pid in pids.items() if Path(f"/proc/{pid}").exists()]


def test_a_click_and_a_postback_reach_a_partner(house: Installation, sink: Sink) -> None:
    with house:
        redirect = fetch(house.port, "/c/demo", {"sub1": "abc"})
        assert redirect.status == 302
        target = re.fullmatch(r"http://127\.0\.0\.1:9000/land\?cid=(\w{23})&s=abc", redirect.headers["Location"])
        assert target is not None
        answer = house.postback(click_id=target[1], goal="install", token="s3cret")
        assert answer.status == 200
        assert answer.json["status"] == 1
        assert re.fullmatch(r"r[0-9a-f]{16}", answer.json["receipt"])
        until(lambda: sink.calls, "the partner is called")
        assert house.stop() == 0
    ((path, headers),) = sink.calls
    assert path == "/pb?cid=abc&money=1.20&type=lead"
    assert (headers["Waypost-Attempt"], headers.get("Waypost-Repeat")) == ("1", None)


def test_test_calls_go_the_real_way_and_are_marked(house: Installation, sink: Sink) -> None:
    with house:
        place = ("--data", str(house.data), "--port", str(house.port))
        click = house.waypost("test", "click", "demo", *place, "--param", "sub1=xyz")
        assert click.returncode == 0, click.stderr
        assert "s=xyz" in click.stdout
        call = house.waypost("test", "postback", "demo", *place, "--goal", "install")
        assert call.returncode == 0, call.stderr
        assert "verdict   new" in call.stdout
        assert "payout 1.20 USD" in call.stdout
        assert "delivered: answered 200" in call.stdout
        assert "s3cret" not in call.stdout
        unknown = house.waypost("test", "postback", "demi", *place)
        assert unknown.returncode == 1
        assert unknown.stderr.startswith("waypost: demi: ")
        assert "[unknown_link]" in unknown.stderr
    ((_, headers),) = sink.calls
    assert headers["Waypost-Test"] == "1"


def test_the_second_start_on_a_folder_is_refused(house: Installation) -> None:
    with house:
        second = house.waypost(*house.run_words())
        assert second.returncode == 1
        assert "[data_in_use]" in second.stderr
        assert f"pid {house.pid}" in second.stderr
        assert "Traceback" not in second.stderr
        assert house.health().status == 200


def test_a_port_that_another_waypost_has_is_refused(house: Installation, tmp_path: Path) -> None:
    with house:
        other = Installation(tmp_path / "other", house.catalog)
        other.data.parent.mkdir()
        other.port = house.port
        refused = other.waypost(*other.run_words())
        assert refused.returncode == 1
        assert f"127.0.0.1:{house.port}: " in refused.stderr
        assert "[port_in_use]" in refused.stderr


def test_a_broken_catalog_starts_nothing(house: Installation) -> None:
    house.catalog.write_text(_CATALOG.replace("partner: geozo", "partner: geoso").replace("payout: 30%", "payot: 30%"))
    refused = house.waypost(*house.run_words())
    assert refused.returncode == 1
    lines = refused.stderr.strip().splitlines()
    assert len([line for line in lines if re.match(r".*catalog\.yaml:\d+: ", line)]) >= 2
    assert "geozo" in refused.stderr  # the hint at what was meant
    assert not list((house.data / "run").glob("*.json"))


def test_no_catalog_at_all_is_said(house: Installation) -> None:
    words = [word for word in house.run_words() if word not in ("--catalog", str(house.catalog))]
    refused = house.waypost(*words)
    assert refused.returncode == 1
    assert "[no_catalog]" in refused.stderr


def test_an_address_range_that_is_none_is_refused(house: Installation) -> None:
    refused = house.waypost(*house.run_words(), "--allow-target", "everything")
    assert refused.returncode == 1
    assert "[bad_address_range]" in refused.stderr


def test_a_changed_catalog_is_taken_and_a_broken_one_is_not(house: Installation) -> None:
    with house:
        first = house.catalog.read_text()
        house.catalog.write_text(first + "  second: {partner: geozo, offer: acme-vpn}\n")
        until(lambda: fetch(house.port, "/c/second").status == 302, "the new link works")
        house.catalog.write_text(first + "  third: {partner: nobody, offer: acme-vpn}\n")
        until(lambda: house.status()["counts"].get("catalog_refused") == 1, "the refusal is counted")
        assert any("nobody" in line for line in house.status()["catalog_errors"])
        assert fetch(house.port, "/c/second").status == 302
        assert house.health().status == 200


def test_with_a_version_in_force_a_broken_catalog_does_not_keep_it_from_starting(house: Installation) -> None:
    with house:
        house.stop()
    house.catalog.write_text("waypost: 1\nlinks: {demo: {partner: x, offer: y}}\n")
    with house:
        assert "version 1 goes on" in house.said()
        assert fetch(house.port, "/c/demo").status == 302


def test_each_role_that_dies_is_started_again(house: Installation, sink: Sink) -> None:
    with house:
        before = house.pids()
        for name in before:
            if name != "supervisor":
                os.kill(before[name], signal.SIGKILL)
        until(lambda: "role started again" in house.said() and _answers(house), "the console answers again")
        until(lambda: house.health().status == 200, "healthy again")
        after = house.pids()
        assert after["supervisor"] == before["supervisor"]
        assert all(after[name] != pid for name, pid in before.items() if name != "supervisor")
        assert house.status()["counts"]["role_restarts"] == len(before) - 1
        click_id = house.click("demo", sub1="after")
        assert house.postback(click_id=click_id, goal="install", token="s3cret").status == 200
        until(lambda: sink.calls, "the partner is called")


def _answers(house: Installation) -> bool:
    try:
        return house.health().status > 0
    except OSError:
        return False


def test_everything_ends_in_order_and_nothing_is_left_over(house: Installation, sink: Sink) -> None:
    with house:
        click_id = house.click("demo", sub1="last")
        pids = house.pids()
        house.postback(click_id=click_id, goal="install", token="s3cret")
        assert house.stop() == 0
        assert roles_alive(pids) == []
    assert len(sink.calls) == 1  # accepted just before the end, delivered within the drain
    assert '"killed": 0' in house.said()


def test_after_a_killed_supervisor_a_new_one_starts_at_once(house: Installation) -> None:
    with house:
        pids = house.pids()
        house.kill_supervisor()
        house.start()
        assert fetch(house.port, "/c/demo").status == 302
        assert not set(roles_alive(pids)) - {"supervisor"}
        assert house.stop() == 0


def test_a_role_is_a_command_of_its_own(house: Installation) -> None:
    with house:
        second = house.waypost("pipeline", "--data", str(house.data))
        assert second.returncode == 1
        assert "[data_in_use]" in second.stderr
        door = house.waypost("door", "--data", str(house.data), "--slot", "0")
        assert "[door_in_use]" in door.stderr
