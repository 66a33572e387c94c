"""`waypost audit`: proves that nothing was lost, or names what is missing.

Owns: the command's options and the report's layout. Prints to stdout; reads a data folder while its roles work, and
writes nothing. Exit code 1 if the stores do not agree.
"""

import sys
from typing import TYPE_CHECKING

import typer

from waypost.cli.options import Data
from waypost.cli.trace import Format, FormatOption

if TYPE_CHECKING:
    from waypost.explain.report import AuditReport, Counts


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(audit)


def audit(data: Data, format: FormatOption = Format.TEXT) -> None:
    """Count every accepted item in every store, and name what is missing. Exits 1 if the stores do not agree."""
    import msgspec

    from waypost import assembly
    from waypost.explain.audit import audit as compare
    from waypost.layout import Layout
    from waypost.settings import load_settings

    sources = assembly.open_explain_sources(data, load_settings(Layout(data).settings))
    try:
        report = compare(sources)
    finally:
        sources.close()
    if format is Format.JSON:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
    else:
        sys.stdout.write(report_text(report))
    if not report.ok:
        raise typer.Exit(1)


def _more(counts: "Counts") -> str:
    """What an installation without operators' words and corrections has none of."""
    more = ((counts.dropped, "dropped"), (counts.superseded, "superseded"), (counts.held, "held"))
    return "".join(f" + {count} {what}" for count, what in more if count)


def report_text(report: "AuditReport") -> str:
    """The report for people: two sums, the other counts, then each problem on a line."""
    counts = report.counts
    verdicts = " + ".join(f"{count} {verdict}" for verdict, count in counts.verdicts.items())
    lines = [
        f"calls      {counts.accepted} accepted = {verdicts or 0} + {counts.parked} parked + {counts.unread} unread",
        f"postbacks  {counts.postbacks} caused = {counts.delivered} delivered{_more(counts)} + {counts.queued} queued"
        f" + {counts.in_flight} in flight + {counts.dead} dead + {counts.not_taken} not taken yet",
        f"clicks     {counts.clicks} recorded",
        f"also       {counts.conversions} conversions, {counts.batches} batches, {counts.attempts} attempts",
    ]
    if counts.held_back:
        lines.append(f"percent    {counts.held_back} postbacks were left out by the percentage of their rules")
    if report.not_archived:
        behind = ", ".join(f"{name} {frames}" for name, frames in report.not_archived.items())
        lines.append(f"archive    behind by {behind} frames; they were counted too")
    if report.ok:
        lines.append("ok         every store agrees")
    for problem in report.problems:
        item = f" {problem.item}" if problem.item else ""
        lines.append(f"PROBLEM    {problem.store}:{item} {problem.what}")
    if report.problems_total:
        lines.append(
            f"FAILED     {report.problems_total} problems, {len(report.problems)} of them above [audit_failed]"
        )
    return "\n".join(lines) + "\n"
