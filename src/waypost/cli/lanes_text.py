"""Lanes as text for people, readable at 120 columns.

Owns: the layout. Nothing of what came from outside reaches the terminal that could steer it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from waypost.explain.times import time_text
from waypost.telemetry.printable import printable

if TYPE_CHECKING:
    from waypost.explain.lanes import EgressRow, LaneReport, LaneRow, StandingRow

_WIDTH_MIN = 140
_GOOD = ("open",)
_COLUMNS = "live retrying resend oldest in_flight per_s success p50_ms p99_ms dead held next_due"


def print_lanes(report: "LaneReport") -> None:
    """The table, then what is to be said of single lanes."""
    console = _console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("lane", overflow="fold")
    table.add_column("state", no_wrap=True)
    for name in _COLUMNS.split():
        table.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    for row in report.lanes:
        table.add_row(*_cells(row, report.at_ms))
    if report.lanes:
        console.print(table)
    else:
        console.print("no lane holds anything")
    for row in report.lanes:
        for line in _notes(row):
            console.print(Text(printable(line)))
    if not report.is_live:
        console.print(Text("no courier works, or not all do: this is what stands in their stores", "yellow"))


def _cells(row: "LaneRow", now_ms: int) -> list[Text]:
    waits = row.live + row.retrying + row.resend
    texts = (
        _count(row.live),
        _count(row.retrying),
        _count(row.resend),
        _age(row.oldest_ms) if waits else "",
        f"{row.in_flight}" + (f"/{row.limit}" if row.limit is not None else ""),
        _number(row.rate_per_s),
        f"{row.success:.1%}" if row.success is not None else "",
        _number(row.latency_p50_ms or None),
        _number(row.latency_p99_ms or None),
        _count(row.dead),
        _count(row.held),
        _due(row.next_due_ms, now_ms),
    )
    state = Text(row.state, "green" if row.state in _GOOD else "yellow")
    return [Text(printable(row.lane)), state, *(Text(text) for text in texts)]


def _notes(row: "LaneRow") -> list[str]:
    lines = []
    if row.state not in _GOOD and (row.why or row.by):
        by = f" by {row.by}" if row.by else ""
        since = f" since {time_text(row.since_ms)}" if row.since_ms else ""
        lines.append(f"{row.lane}: {row.state}{by}{since}{': ' + row.why if row.why else ''}")
    for work in row.work:
        why = f": {work.why}" if work.why else ""
        lines.append(f"{row.lane}: {work.kind} at work, {work.done:,} done so far, asked by {work.by}{why}")
    return lines


def print_standing(rows: "Sequence[StandingRow]", more: int) -> None:
    """Dead letters and what is held, one a line."""
    from waypost.errors import ERRORS

    console = _console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("caused", "postback", "lane", "state", "attempts", "code", "meaning"):
        table.add_column(name, overflow="fold" if name == "meaning" else "ellipsis", no_wrap=name != "meaning")
    for row in rows:
        meaning = ERRORS[row.code].meaning if row.code in ERRORS else ""
        cells = (time_text(row.created_ms), row.id, row.lane, row.state, str(row.attempts), row.code, meaning)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console.print(table if rows else "no dead letters, and nothing is held")
    if more:
        console.print(f"and {more:,} more: see --limit")


def egress_text(rows: "Sequence[EgressRow]") -> str:
    """One lane a line; those that leave as all do are together."""
    own = [row for row in rows if row.is_own]
    others = [row for row in rows if not row.is_own]
    lines = []
    if others:
        addresses = ", ".join(others[0].addresses) or "not known: set egress_addresses in [courier]"
        lines.append(f"{len(others)} {'lane' if len(others) == 1 else 'lanes'} of the machine's own: {addresses}")
        lines += [f"  {printable(row.lane)}" for row in others]
    lines += [f"{printable(row.lane)}: {', '.join(row.addresses)}" for row in own]
    return "\n".join(lines) or "the catalog has no partners"


def _console() -> Console:
    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal and console.width < _WIDTH_MIN:
        console = Console(highlight=False, width=_WIDTH_MIN)
    return console


def _count(number: int) -> str:
    return f"{number:,}" if number else "0"


def _number(number: float | None) -> str:
    return "" if number is None else f"{number:,.1f}" if number < 10 else f"{number:,.0f}"


def _age(ms: int) -> str:
    """Its two largest units: `3d 4h`, `12s`."""
    units = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
    nth = next((nth for nth, (_, unit_ms) in enumerate(units) if ms >= unit_ms), len(units) - 1)
    name, unit_ms = units[nth]
    text = f"{ms // unit_ms}{name}"
    if nth >= 3 or not ms % unit_ms // units[nth + 1][1]:
        return text
    return f"{text} {ms % unit_ms // units[nth + 1][1]}{units[nth + 1][0]}"


def _due(due_ms: int, now_ms: int) -> str:
    if not due_ms:
        return ""
    return f"in {_age(due_ms - now_ms)}" if due_ms > now_ms else "now"
