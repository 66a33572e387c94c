"""The console over snapshots in a folder: who is silent, what is counted, what a page, a probe and Prometheus get."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient
from prometheus_client.parser import text_string_to_metric_families

from waypost.catalog.view import CatalogView
from waypost.console.app import create_app
from waypost.console.page import render_page
from waypost.console.status import StatusReader
from waypost.errors import WaypostError
from waypost.settings import load_settings
from waypost.telemetry.names import METRICS

NOW = 1_000_000


class FixedClock:
    def __init__(self) -> None:
        self.ms = NOW

    def now_ms(self) -> int:
        return self.ms

    def now_us(self) -> int:
        """See `ports.clock.Clock.now_us`."""
        return self.now_ms() * 1000

    def monotonic_ms(self) -> float:
        return float(self.ms)

    def sleep_ms(self, duration_ms: float) -> None:
        self.ms += int(duration_ms)


class NoCatalogs:
    def current(self) -> int:
        return 0

    def open(self, version: int) -> CatalogView:
        raise WaypostError("no_catalog")

    def versions(self) -> list[int]:
        return []


class Installation:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FixedClock()
        self.reader = StatusReader(folder, NoCatalogs(), load_settings(environment={}).console, self.clock)

    def publish(self, role: str, pid: int, values: dict[str, float], at_ms: int = NOW, **details: Any) -> None:
        content = {"role": role, "pid": pid, "at_ms": at_ms, "values": values, "details": details}
        (self.folder / f"{role}.json").write_text(json.dumps(content))

    def supervise(self, **states: str) -> None:
        roles = {
            name.replace("_", "-"): {"pid": nth + 10, "state": state, "restarts": nth, "exit_code": None}
            for nth, (name, state) in enumerate(states.items())
        }
        self.publish("supervisor", 1, {}, roles=roles)


@pytest.fixture
def house(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


@pytest.fixture
def client(house: Installation) -> Iterator[TestClient[Any]]:
    with TestClient(create_app(house.reader, house.clock)) as client:
        yield client


def states(house: Installation) -> dict[str, str]:
    return {role.name: role.state for role in house.reader.status().roles}


def test_a_role_without_news_is_silent(house: Installation) -> None:
    house.supervise(door_0="running", pipeline="running", archivist="pausing")
    house.publish("door-0", 10, {})
    house.publish("pipeline", 11, {}, at_ms=NOW - 5001)
    assert states(house) == {
        "supervisor": "running",
        "door-0": "running",
        "pipeline": "silent",
        "archivist": "pausing",
    }
    assert not house.reader.status().ok


def test_a_role_that_never_published_is_silent(house: Installation) -> None:
    house.supervise(door_0="running")
    (role,) = [role for role in house.reader.status().roles if role.name == "door-0"]
    assert (role.state, role.age_ms) == ("silent", -1)


def test_all_well(house: Installation) -> None:
    house.supervise(door_0="running")
    house.publish("door-0", 10, {"errors": 3})
    status = house.reader.status()
    assert status.ok
    assert [(role.name, role.pid, role.errors) for role in status.roles] == [("supervisor", 1, 0), ("door-0", 10, 3)]


def test_roles_started_by_hand_are_shown_too(house: Installation) -> None:
    house.publish("courier-0", 5, {})
    assert states(house) == {"courier-0": "running"}


def test_nothing_running_is_not_well(house: Installation) -> None:
    assert not house.reader.status().ok


def test_rates_and_sums_over_roles(house: Installation) -> None:
    for second in range(3):
        for door in (0, 1):
            house.publish(f"door-{door}", 10 + door, {"door_clicks": 100 * second}, at_ms=NOW + 1000 * second)
        house.reader.observe()
    status = house.reader.status()
    assert status.rates["door_clicks"] == 200.0
    assert status.counts["door_clicks"] == 400
    assert status.history["door_clicks"] == [0.0, 200.0, 200.0]


def test_a_role_that_began_again_gives_no_negative_rate(house: Installation) -> None:
    house.publish("door-0", 10, {"door_clicks": 5000}, at_ms=NOW)
    house.reader.observe()
    house.publish("door-0", 11, {"door_clicks": 10}, at_ms=NOW + 1000)
    house.reader.observe()
    assert house.reader.status().rates["door_clicks"] == 0.0
    house.publish("door-0", 11, {"door_clicks": 40}, at_ms=NOW + 2000)
    house.reader.observe()
    assert house.reader.status().rates["door_clicks"] == 30.0


def test_a_damaged_snapshot_is_left_out(house: Installation) -> None:
    house.publish("door-0", 10, {})
    (house.folder / "pipeline.json").write_text('{"role": "pipe')
    assert states(house) == {"door-0": "running"}


def test_the_probe_names_what_does_not_work(house: Installation, client: TestClient[Any]) -> None:
    house.supervise(door_0="running", pipeline="running")
    house.publish("door-0", 10, {})
    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "degraded", "not_ok": {"pipeline": "silent"}}
    house.publish("pipeline", 11, {})
    assert client.get("/healthz").status_code == 200


def test_every_metric_is_exposed_with_its_help_and_role(house: Installation, client: TestClient[Any]) -> None:
    house.publish("door-0", 10, {metric.name: 7 for metric in METRICS})
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    for metric in METRICS:
        family = families[f"waypost_{metric.name}"]
        assert (family.type, family.documentation) == (metric.kind, metric.meaning)
        (sample,) = family.samples
        assert (sample.labels, sample.value) == ({"role": "door-0"}, 7)
        assert sample.name == f"waypost_{metric.name}" + ("_total" if metric.kind == "counter" else "")


def test_the_status_as_json(house: Installation, client: TestClient[Any]) -> None:
    house.publish("courier-0", 5, {"courier_queued": 3}, lanes={"geozo": {"queued": 3}})
    content = client.get("/api/status").json()
    assert content["counts"] == {"courier_queued": 3}
    assert content["lanes"] == [{"name": "geozo", "values": {"queued": 3}}]


def test_the_page_is_whole_and_loads_nothing_from_elsewhere(house: Installation, client: TestClient[Any]) -> None:
    house.supervise(door_0="running")
    house.publish("door-0", 10, {"door_clicks": 1234})
    answer = client.get("/")
    assert answer.status_code == 200
    assert "1,234 redirected" in answer.text
    assert "http-equiv=refresh" in answer.text
    assert "//" not in answer.text.replace("<!doctype", "")
    assert "script" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_names_are_escaped(house: Installation) -> None:
    house.publish("courier-0", 5, {}, lanes={"<b>x": {"<i>": "<u>"}})
    house.publish("supervisor", 1, {}, catalog_errors=["<script>"])
    page = render_page(house.reader.status())
    assert "<script>" not in page
    assert "<b>x" not in page
    assert "&lt;u&gt;" in page
    assert "The newest catalog was refused" in page


def test_an_unknown_path_is_not_found(client: TestClient[Any]) -> None:
    assert client.get("/nothing").status_code == 404
