"""`waypost refusals`: what the doors refused, and why.

Owns: the command and how it shows entries. Reads the doors' logs of refusals; writes nothing.
"""

import re
import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from waypost.cli.options import Data
from waypost.telemetry.printable import printable

if TYPE_CHECKING:
    from waypost.doors.refusals import Refusal

app = typer.Typer(no_args_is_help=False)
_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"


@app.callback(invoke_without_command=True)
def refusals(
    data: Data,
    since: Annotated[str, typer.Option("--since", help="Not older than: 90s, 15m, 2h, 7d, or an ISO time.")] = "",
    until: Annotated[str, typer.Option("--until", help="Not newer than: the same forms.")] = "",
    code: Annotated[str, typer.Option("--code", help="Only this error code, e.g. wrong_token.")] = "",
    address: Annotated[str, typer.Option("--address", help="Only calls from this address or CIDR range.")] = "",
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", help="Only calls with this parameter: NAME or NAME=VALUE. Several: all of them."),
    ] = None,
    advertiser: Annotated[str, typer.Option("--advertiser", help="Only calls that came in this one's name.")] = "",
    contains: Annotated[str, typer.Option("--contains", help="Only where URL, body or detail contain this.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many, newest first.")] = 100,
    form: Annotated[Format, typer.Option("--format", help="text or json (one document a line).")] = Format.TEXT,
) -> None:
    """Search what the doors refused (4xx, or 200 where the catalog says so): time, address, code, URL, body.

    Tokens are struck out. The log is bounded ([door] refusals_max); what it has dropped is said on stderr.
    """
    import msgspec

    from waypost.doors.refusal_search import Wanted, count_dropped, search_refusals
    from waypost.errors import WaypostError
    from waypost.layout import Layout

    folder = Layout(data).refusals
    if not folder.is_dir():
        raise WaypostError("data_missing", "there is no log of refusals", place=str(folder))
    now_ms = int(time.time() * 1000)
    wanted = Wanted(
        since_ms=parse_since(since, now_ms) if since else 0,
        until_ms=parse_since(until, now_ms) if until else 1 << 62,
        code=code,
        address=address,
        parameters=tuple(parameter or ()),
        advertiser=advertiser,
        contains=contains,
    )
    try:
        found = search_refusals(folder, wanted, limit)
    except ValueError as error:
        raise typer.BadParameter(f"{address!r} is no address or CIDR range") from error
    for entry in found:
        typer.echo(msgspec.json.encode(entry).decode() if form is Format.JSON else line_of(entry))
    if not found and form is Format.TEXT:
        typer.echo("nothing was refused that meets these conditions", err=True)
    if dropped := count_dropped(folder):
        typer.echo(f"{dropped} older entries were dropped: the log is bounded", err=True)


def line_of(entry: "Refusal") -> str:
    """An entry as a line of text."""
    at = datetime.fromtimestamp(entry.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    many = f" ×{entry.count}" if entry.count > 1 else ""
    whose = f"  {entry.advertiser}" if entry.advertiser else ""
    body = f"  {entry.body!r}" if entry.body else ""
    detail = f"  ({entry.detail})" if entry.detail else ""
    head = f"{at}Z  {entry.door}  {entry.address:15}  {entry.code}{many}{whose}"
    return printable(f"{head}  {entry.method} {entry.url}{body}{detail}")


def parse_since(text: str, now_ms: int) -> int:
    """Unix milliseconds of `15m` before now, or of an ISO time (UTC where it names no zone).

    Raises typer.BadParameter for anything else.
    """
    if age := re.fullmatch(r"(\d{1,9})([smhd])", text):
        return now_ms - int(age[1]) * _UNITS_MS[age[2]]
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is neither an age like 15m nor an ISO time") from error
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
