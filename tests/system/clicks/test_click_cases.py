"""The click service as a black box: every case of `cases.yaml`, played against a real installation of its catalog.

One installation a catalog; its cases are played in the order of the table, then each is looked at by a test of its own.
"""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
from typer.testing import CliRunner

from support.click_cases import Answer, Case, ask, click_id_of, fault, fault_of_trace, read_cases
from support.geo_file import PLACES, write_geo_file
from support.installation import until
from support.waypost_process import WaypostProcess, of_event
from waypost.cli.main import app

pytestmark = pytest.mark.system

HERE = Path(__file__).parent
CATALOGS = {file.stem: file for file in sorted((HERE / "catalogs").glob("*.yaml"))}
CASES = read_cases(HERE / "cases.yaml", frozenset(CATALOGS))
PROVIDERS = {"192.0.2.0/24": {"isp": "Deutsche Telekom"}, "198.51.100.0/24": {"isp": "Example Cable"}}
SETTINGS = """
[door]
count = 1
proxies = ["127.0.0.0/8"]
address_refused_per_s = 0
[visitors]
city_file = "{city}"
isp_file = "{isp}"
"""
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
RETRY_S = 30
ONE_AT_A_TIME = Lock()  # a command in this process takes hold of its standard output


def catalog_text(name: str) -> str:
    """A catalog, with the days of the week that today is not filled in: the day after may begin while cases run."""
    today = datetime.now(UTC).weekday()
    near = {DAYS[today], DAYS[(today + 1) % 7]}
    text = CATALOGS[name].read_text("utf-8").replace("NOT_TODAY", f"[{', '.join(set(DAYS) - near)}]")
    return text.replace("TODAY", f"[{', '.join(near)}]").replace("FINGERPRINT", ":".join(["14"] * 32))


class Played:
    """An installation whose cases have all been played; `answers` by the case's name."""

    def __init__(self, waypost: WaypostProcess, cases: list[Case]) -> None:
        self._waypost = waypost
        self.cases = cases
        self.answers: dict[str, list[Answer]] = {}
        connection = HTTPConnection("127.0.0.1", waypost.port, timeout=20)
        for case in cases:
            self.answers[case.name] = self._play(connection, case)
        connection.close()
        last = [case for case in cases if case.expect.trace and "kind" not in case.expect.trace][-1]
        until(lambda: self.click(last)["is_stored"], "the last click is stored")

    def _play(self, connection: HTTPConnection, case: Case) -> list[Answer]:
        answers = [ask(connection, case, nth) for nth in range(1, case.times + 1)]
        for answer in answers if case.convert else []:
            call = self._waypost.postback(click_id=click_id_of(case, answer), **case.convert)
            assert call.status == 200, call
        if case.retry and fault(case, answers):

            def again() -> bool:
                answers[:] = [ask(connection, case, 1)]
                return not fault(case, answers)

            until(again, f"{case.where}: as expected", RETRY_S)
        return answers

    def click(self, case: Case) -> dict[str, Any]:
        """What `waypost trace` says of the click of a case; waits until there is something to be said."""
        click_id = click_id_of(case, self.answers[case.name][0])
        assert click_id, f"{case.where}: the answer names no click"

        def found() -> list[dict[str, Any]]:
            words = ["trace", click_id, "--data", str(self._waypost.data), "--format", "json"]
            with ONE_AT_A_TIME:
                done = CliRunner().invoke(app, words)
            return of_event(json.loads(done.stdout), "click") if done.exit_code == 0 else []

        return dict(until(found, f"{case.where}: the click is found")[0])

    def refusals(self) -> list[dict[str, Any]]:
        done = self._waypost.waypost("refusals", "--data", str(self._waypost.data), "--format", "json")
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def installations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Played]]:
    """All catalogs' installations, side by side, their cases played; at the end nothing is missing in any."""
    folder = tmp_path_factory.mktemp("clicks")
    write_geo_file(folder / "city.mmdb", PLACES)
    write_geo_file(folder / "isp.mmdb", PROVIDERS)
    settings = SETTINGS.format(city=folder / "city.mmdb", isp=folder / "isp.mmdb")
    houses = {name: WaypostProcess(folder / name, catalog_text(name), settings) for name in CATALOGS}

    def play(name: str) -> Played:
        houses[name].start()
        return Played(houses[name], [case for case in CASES if case.catalog == name])

    with ThreadPoolExecutor(len(CATALOGS)) as beside:
        try:
            yield dict(zip(CATALOGS, beside.map(play, CATALOGS), strict=True))
            list(beside.map(lambda house: house.audit(), houses.values()))
        finally:
            list(beside.map(lambda house: house.__exit__(), houses.values()))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_click_service_does_what_the_table_says(case: Case, installations: dict[str, Played]) -> None:
    played = installations[case.catalog]
    assert fault(case, played.answers[case.name]) == ""
    if case.expect.trace:
        assert fault_of_trace(case, played.click(case)) == ""


def test_no_click_leaves_the_hosts_of_the_catalog(installations: dict[str, Played]) -> None:
    for name, played in installations.items():
        hosts = set(re.findall(r"\w+://[\w.-]+", CATALOGS[name].read_text("utf-8")))
        places = [answer.headers.get("location", "") for answers in played.answers.values() for answer in answers]
        led = {found[0] for place in places if (found := re.match(r"\w+://[\w.-]+", place))}
        assert led <= hosts
        assert all(re.match(r"\w+://", place) for place in places if place)


def test_whatever_a_visitor_is_answered_nobody_keeps(installations: dict[str, Played]) -> None:
    for played in installations.values():
        for case in played.cases:
            for answer in played.answers[case.name]:
                if answer.status < 400 and case.target.startswith(("/c", "/i/")):
                    assert answer.headers["cache-control"] == "no-store", case.name


def test_every_refusal_is_in_the_log_with_its_code_and_no_whole_address(installations: dict[str, Played]) -> None:
    for played in installations.values():
        expected = {case.expect.error for case in played.cases if case.expect.error}
        kept: list[dict[str, Any]] = []

        def has_all(played: Played = played, kept: list[Any] = kept, expected: set[str] = expected) -> bool:
            kept[:] = played.refusals()
            return expected <= {one["code"] for one in kept}

        until(has_all, "the log has all codes")
        text = json.dumps(kept)
        assert "p4rtner" not in text and "192.0.2.7" not in text
