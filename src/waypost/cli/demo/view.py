"""What the demo shows: a live view on a terminal, plain lines elsewhere.

Owns: the looks. Reads the roles' snapshots (as the console does) and the demo's own counts. Changes nothing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from waypost.cli.demo.servers import Partners
from waypost.cli.demo.traffic import Traffic
from waypost.telemetry.rates import Rates, total
from waypost.telemetry.stats import read_snapshots

_FLOW = (
    ("clicks redirected", "door_clicks"),
    ("postbacks accepted", "door_postbacks"),
    ("calls judged", "pipeline_calls"),
    ("postbacks delivered", "courier_delivered"),
    ("rows archived", "archive_rows"),
)
_VERDICTS = (
    ("new", "pipeline_new"),
    ("updated", "pipeline_updated"),
    ("duplicate", "pipeline_duplicates"),
    ("refused", "pipeline_refused"),
    ("set aside", "pipeline_set_aside"),
    ("waiting", "pipeline_parked"),
)


class Addresses(NamedTuple):
    """Where everything is."""

    door: str
    console: str
    data: Path


class View:
    """Call `look` once a second; then `rendered` or `line`."""

    def __init__(self, addresses: Addresses, traffic: Traffic, partners: Partners) -> None:
        self._addresses = addresses
        self._traffic = traffic
        self._partners = partners
        self._rates = Rates()
        self._snapshots: list[dict[str, Any]] = []

    def look(self) -> None:
        """Takes the newest snapshots."""
        self._snapshots = read_snapshots(self._addresses.data / "run")
        self._rates.observe(self._snapshots)

    def total(self, name: str) -> float:
        return total(self._snapshots, name)

    def trace_command(self) -> str:
        """What to type to see one conversion's whole story."""
        receipt = self._traffic.receipt
        return f"waypost trace --data {self._addresses.data} {receipt}" if receipt else "(in a moment)"

    def rendered(self) -> RenderableType:
        """The terminal's view."""
        where = Table.grid(padding=(0, 2))
        where.add_row("door", self._addresses.door)
        where.add_row("console", self._addresses.console)
        where.add_row("try", Text(self.trace_command(), style="bold cyan"))
        where.add_row("end", "Ctrl-C")
        tables = [self._flow(), self._verdicts(), self._roles()]
        return Group(Panel(where, title="Waypost demo"), Columns(tables, padding=(0, 3)), self._lanes())

    def line(self) -> str:
        """One line of plain text."""
        flow = ", ".join(f"{self.total(metric):.0f} {what}" for what, metric in _FLOW[:4])
        latency = self.total("courier_latency_p50_ms")
        restarts = self.total("role_restarts")
        return f"{flow}; refused {self.total('pipeline_refused'):.0f}; p50 {latency:.0f} ms; restarts {restarts:.0f}"

    def _flow(self) -> Table:
        table = Table(title="Flow", title_justify="left", box=None, padding=(0, 1))
        for name in ("", "per s", "total"):
            table.add_column(name, justify="left" if not name else "right")
        for what, metric in _FLOW:
            table.add_row(what, f"{self._rates.total(metric):.1f}", f"{self.total(metric):,.0f}")
        return table

    def _verdicts(self) -> Table:
        table = Table(title="Verdicts", title_justify="left", box=None, padding=(0, 1))
        table.add_column("")
        table.add_column("total", justify="right")
        for what, metric in _VERDICTS:
            table.add_row(what, f"{self.total(metric):,.0f}")
        return table

    def _roles(self) -> Table:
        table = Table(title="Roles", title_justify="left", box=None, padding=(0, 1))
        for name in ("", "state", "restarts"):
            table.add_column(name, justify="right" if name == "restarts" else "left")
        for name, role in self._supervised().items():
            state = str(role["state"])
            table.add_row(name, Text(state, style="green" if state == "running" else "yellow"), str(role["restarts"]))
        return table

    def _supervised(self) -> Mapping[str, Mapping[str, Any]]:
        for snapshot in self._snapshots:
            if snapshot["role"] == "supervisor":
                roles: Mapping[str, Mapping[str, Any]] = snapshot.get("details", {}).get("roles", {})
                return roles
        return {}

    def _lanes(self) -> Table:
        lanes: dict[str, Mapping[str, Any]] = {}
        for snapshot in self._snapshots:
            lanes |= snapshot.get("details", {}).get("lanes", {})
        names = list(dict.fromkeys(name for lane in lanes.values() for name in lane))
        table = Table(title="Lanes", title_justify="left", box=None, padding=(0, 1))
        table.add_column("partner")
        for name in (*names, "got", "repeats"):
            table.add_column(name.replace("_", " "), justify="right")
        for name, lane in sorted(lanes.items()):
            values = [f"{lane.get(column, 0):,.0f}" for column in names]
            table.add_row(name, *values, f"{self._partners.calls[name]:,}", f"{self._partners.repeats[name]:,}")
        return table
