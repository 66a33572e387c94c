"""`waypost record` and `waypost replay`: recorded traffic through the present release, or through another catalog.

Owns: the commands' options, how times are written, and the report's layout. Prints to stdout; writes nothing but the
recording. Exit code 1 where a replay that should come out the same does not.
"""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from waypost.cli.trace import Format, FormatOption

if TYPE_CHECKING:
    from waypost.ports.recording import RecordingInfo
    from waypost.runtime.replay_report import Difference, ReplayReport

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TIME_HELP = "A time such as 2026-05-01T12:00 (UTC), or how long ago: 90m, 2h."
From = Annotated[str, typer.Option("--from", metavar="TIME", help=f"From when on. {_TIME_HELP} Else all that is held.")]
To = Annotated[str, typer.Option("--to", metavar="TIME", help="Until when; else until now.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(record)
    app.command()(replay)


def record(
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="The data folder: all that Waypost keeps.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The recording to write.")],
    from_: From = "",
    to: To = "",
    format: FormatOption = Format.TEXT,
) -> None:
    """Record traffic with all that its decisions were made from, to be replayed anywhere. Keep the file safe: it holds
    clicks, calls and the key ring."""
    import msgspec

    info = _record(data, out, from_, to)
    if format is Format.JSON:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(info)).decode() + "\n")
    else:
        sys.stdout.write(f"recorded   {_stretch(info)} in {out}\n")


def replay(
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="An installation's data folder.")] = None,
    recording: Annotated[
        Path | None, typer.Option("--recording", metavar="FILE", help="A recording, in place of --data.")
    ] = None,
    from_: From = "",
    to: To = "",
    catalog: Annotated[
        Path | None,
        typer.Option("--catalog", metavar="PATH", help="The catalog to judge by, in place of those of then."),
    ] = None,
    format: FormatOption = Format.TEXT,
) -> None:
    """Judge recorded traffic again and tell every decision and every rendered byte that differs. Never sends, and
    changes nothing. Exits 1 if traffic comes out otherwise although the catalog is the same."""
    import msgspec

    from waypost import assembly
    from waypost.layout import Layout
    from waypost.settings import load_settings

    if (data is None) == (recording is None):
        raise typer.BadParameter("name either --data or --recording")
    settings = load_settings(Layout(data).settings if data is not None else None)
    with TemporaryDirectory(prefix="waypost-record-") as scratch:
        file = recording
        if file is None:
            assert data is not None
            file = Path(scratch) / "recording"
            _record(data, file, from_, to)
        elif from_ or to:
            raise typer.BadParameter("--from and --to go with --data: a recording is replayed whole")
        report = assembly.replay_recording(file, settings, catalog=catalog)
    if format is Format.JSON:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
    else:
        sys.stdout.write(report_text(report))
    if catalog is None and not report.is_same:
        raise typer.Exit(1)


def _record(data: Path, out: Path, from_: str, to: str) -> "RecordingInfo":
    from waypost import assembly
    from waypost.layout import Layout
    from waypost.settings import load_settings

    settings = load_settings(Layout(data).settings)
    return assembly.record_traffic(data, out, settings, from_ms=time_ms(from_), to_ms=time_ms(to))


def time_ms(text: str) -> int | None:
    """Unix milliseconds of a time in ISO 8601 (UTC unless it says otherwise) or of `90m` ago; None for no text.

    Raises BadParameter.
    """
    if not text:
        return None
    if text[:-1].isdigit() and text[-1] in _UNITS:
        return int((datetime.now(UTC) - timedelta(seconds=int(text[:-1]) * _UNITS[text[-1]])).timestamp() * 1000)
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no time. {_TIME_HELP}") from error
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def report_text(report: "ReplayReport") -> str:
    """The report for people: what was replayed, what money moves, then the groups."""
    calls, sent = report.calls, max(report.postbacks_was, report.postbacks_now)
    lines = [
        f"replayed   {report.batches} batches: {report.clicks} clicks, {calls} calls, {report.postbacks_was} postbacks",
        f"calls      {report.calls_same} the same, {calls - report.calls_same} differ",
        f"postbacks  {report.postbacks_same} the same to the byte, {sent - report.postbacks_same} differ",
    ]
    if report.clicks_moved or report.clicks_unsure:
        lines.append(
            f"clicks     {report.clicks_moved} would go elsewhere; of {report.clicks_unsure} too little is kept to tell"
        )
    if report.payout_was != report.payout_now:
        lines.append(f"payout     {_sums(report.payout_was)} → {_sums(report.payout_now)}")
    lines += [_group_text(group) for group in report.differences]
    if report.groups_cut:
        lines.append(f"…          {report.groups_cut} differences belong to further groups, which are not shown")
    if report.is_same:
        lines.append("ok         everything comes out the same")
    return "\n".join(lines) + "\n"


def _group_text(group: "Difference") -> str:
    where = ", ".join(f"{name} {value}" for name, value in group.where.items() if value)
    text = f"{group.count:>6} ×   {group.what}: {where}\n"
    text += f"             was  {group.was or 'nothing'}\n             now  {group.now or 'nothing'}\n"
    return text + f"             e.g. {', '.join(group.examples)}"


def _sums(sums: Mapping[str, str]) -> str:
    return " + ".join(f"{amount} {currency}" for currency, amount in sums.items()) or "nothing"


def _stretch(info: "RecordingInfo") -> str:
    first, last = (
        datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds") for ms in (info.from_ms, info.to_ms)
    )
    counts = f"{info.batches} batches, {info.clicks} clicks, {info.calls} calls, {info.postbacks} postbacks"
    return f"{counts} from {first} to {last}"
