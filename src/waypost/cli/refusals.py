"""`waypost refusals`: what the doors refused, and why.

Owns: the command and how it shows entries. Reads the doors' logs of refusals; writes nothing.
"""

import re
import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from waypost.cli.options import Data

app = typer.Typer(no_args_is_help=False)
_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"


@app.callback(invoke_without_command=True)
def refusals(
    data: Data,
    since: Annotated[str, typer.Option("--since", help="Not older than: 90s, 15m, 2h, 7d, or an ISO time.")] = "",
    code: Annotated[str, typer.Option("--code", help="Only this error code, e.g. wrong_token.")] = "",
    address: Annotated[str, typer.Option("--address", help="Only calls from this address.")] = "",
    contains: Annotated[str, typer.Option("--contains", help="Only where the URL or the detail contains this.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many, newest first.")] = 100,
    form: Annotated[Format, typer.Option("--format", help="text or json (one document a line).")] = Format.TEXT,
) -> None:
    """Search what the doors refused (4xx): time, address, code, method and URL, tokens struck out."""
    import msgspec

    from waypost.doors.refusals import search_refusals
    from waypost.errors import WaypostError
    from waypost.layout import Layout

    folder = Layout(data).refusals
    if not folder.is_dir():
        raise WaypostError("data_missing", "there is no log of refusals", place=str(folder))
    since_ms = parse_since(since, int(time.time() * 1000)) if since else 0
    found = search_refusals(folder, since_ms=since_ms, code=code, address=address, contains=contains, limit=limit)
    for entry in found:
        if form is Format.JSON:
            typer.echo(msgspec.json.encode(entry).decode())
            continue
        at = datetime.fromtimestamp(entry.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        many = f" ×{entry.count}" if entry.count > 1 else ""
        detail = f"  ({entry.detail})" if entry.detail else ""
        typer.echo(f"{at}Z  {entry.door}  {entry.address:15}  {entry.code}{many}  {entry.method} {entry.url}{detail}")
    if not found and form is Format.TEXT:
        typer.echo("nothing was refused that meets these conditions", err=True)


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
