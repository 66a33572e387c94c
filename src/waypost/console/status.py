"""The state of a whole installation, as far as living processes publish it.

Owns: the report's form, and the judgement whether a role is silent. Reads snapshots and the catalog source.
Never asks a role anything: a role that hangs cannot hang the console.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from waypost.errors import WaypostError
from waypost.ports.catalog_source import CatalogSource
from waypost.ports.clock import Clock
from waypost.settings import ConsoleSettings
from waypost.telemetry.names import METRICS
from waypost.telemetry.rates import Rates, total
from waypost.telemetry.stats import read_snapshots

COUNTERS = frozenset(metric.name for metric in METRICS if metric.kind == "counter")
TRACKED = ("door_clicks", "door_postbacks", "pipeline_calls", "courier_delivered")  # drawn as curves


class RoleStatus(msgspec.Struct):
    """One role. `state`: running, starting, pausing (before it is started again), silent, stopping or stopped."""

    name: str
    pid: int
    state: str
    age_ms: int  # of its last snapshot; -1 if there is none
    restarts: int
    errors: int
    ok: bool


class LaneStatus(msgspec.Struct):
    """One destination's queue."""

    name: str
    values: dict[str, Any]


class Status(msgspec.Struct):
    """The whole. `counts` are sums over all roles by metric; `rates` per second over the last ten seconds."""

    ok: bool
    at_ms: int
    catalog: int
    catalog_counts: dict[str, int]
    catalog_errors: list[str]
    roles: list[RoleStatus]
    lanes: list[LaneStatus]
    counts: dict[str, float]
    rates: dict[str, float]
    history: dict[str, list[float]]


class StatusReader:
    """Reads the snapshots; `observe` once a second, so that there are rates."""

    def __init__(self, run_folder: Path, catalogs: CatalogSource, settings: ConsoleSettings, clock: Clock) -> None:
        self._run_folder = run_folder
        self._catalogs = catalogs
        self._settings = settings
        self._clock = clock
        self._rates = Rates()
        self._counted = (0, dict[str, int]())  # the catalog version whose items were counted

    def observe(self) -> None:
        """Takes a sample for rates and curves."""
        self._rates.observe(self.snapshots(), TRACKED)

    def snapshots(self) -> list[dict[str, Any]]:
        return read_snapshots(self._run_folder)

    def status(self) -> Status:
        """What stands now."""
        now_ms = self._clock.now_ms()
        snapshots = self.snapshots()
        by_role = {snapshot["role"]: snapshot for snapshot in snapshots}
        supervisor = by_role.get("supervisor", {})
        roles = self._roles(by_role, supervisor.get("details", {}).get("roles", {}), now_ms)
        names = sorted({name for snapshot in snapshots for name in snapshot.get("values", {})})
        version, counts = self._catalog()
        return Status(
            ok=bool(roles) and all(role.ok for role in roles),
            at_ms=now_ms,
            catalog=version,
            catalog_counts=counts,
            catalog_errors=list(supervisor.get("details", {}).get("catalog_errors", [])),
            roles=roles,
            lanes=_lanes(snapshots),
            counts={name: total(snapshots, name) for name in names},
            rates={name: round(self._rates.total(name), 2) for name in names if name in COUNTERS},
            history={name: [round(value, 1) for value in self._rates.history(name)] for name in TRACKED},
        )

    def _roles(
        self, by_role: Mapping[str, Mapping[str, Any]], supervised: Mapping[str, Mapping[str, Any]], now_ms: int
    ) -> list[RoleStatus]:
        """The supervisor's roles, and those that were started by hand; the supervisor itself first."""
        names = [*supervised, *(name for name in by_role if name not in supervised and name != "supervisor")]
        if "supervisor" in by_role:
            names.insert(0, "supervisor")
        return [self._role(name, by_role.get(name, {}), supervised.get(name, {}), now_ms) for name in names]

    def _role(self, name: str, snapshot: Mapping[str, Any], supervised: Mapping[str, Any], now_ms: int) -> RoleStatus:
        age_ms = max(0, now_ms - int(snapshot["at_ms"])) if snapshot else -1
        state = str(supervised.get("state", "running"))
        is_silent = age_ms < 0 or age_ms > self._settings.status_age_max_ms
        if state == "running" and is_silent:
            state = "silent"
        return RoleStatus(
            name=name,
            pid=int(supervised.get("pid", snapshot.get("pid", 0))),
            state=state,
            age_ms=age_ms,
            restarts=int(supervised.get("restarts", 0)),
            errors=int(snapshot.get("values", {}).get("errors", 0)),
            ok=state == "running",
        )

    def _catalog(self) -> tuple[int, dict[str, int]]:
        try:
            version = self._catalogs.current()
            if version and version != self._counted[0]:
                view = self._catalogs.open(version)
                try:
                    self._counted = (version, dict(view.counts()))
                finally:
                    view.close()
        except WaypostError:
            return 0, {}
        return version, self._counted[1] if version else {}


def _lanes(snapshots: list[dict[str, Any]]) -> list[LaneStatus]:
    """What couriers publish of their lanes, by partner."""
    found = []
    for snapshot in snapshots:
        lanes = snapshot.get("details", {}).get("lanes", {})
        if isinstance(lanes, dict):
            found += [LaneStatus(str(name), dict(values)) for name, values in lanes.items() if isinstance(values, dict)]
    return found
