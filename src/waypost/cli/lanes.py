"""`waypost lanes`: what stands in lanes, and what an operator makes of them.

Owns: the commands and their options. Reads the shards of lanes and what couriers publish; what is to be done is told
to couriers by the operator's journal, whether they work or not. Never writes a shard.
"""

import time
from itertools import islice
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from waypost.cli.lanes_asking import Asking, ask, lane_sources
from waypost.cli.options import Data
from waypost.cli.refusals import parse_since
from waypost.cli.reporting import Format, FormatOption, print_answer


class _Group(TyperGroup):
    """`waypost lanes geozo` is `waypost lanes list geozo`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_Group, help="Partners' lanes: what stands in them, and what you make of them.")

_LANES = "A partner (all its lanes), or PARTNER/LANE."
Names = Annotated[list[str], typer.Argument(metavar="LANE...", help=_LANES)]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason; it is shown and kept.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who asks; your user name, if nothing is said.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it is done.")]
Codes = Annotated[list[str] | None, typer.Option("--code", metavar="CODE", help="Only with this error code.")]
Ids = Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="Only this postback.")]
Older = Annotated[str, typer.Option("--older-than", metavar="AGE", help="Only older ones: 90s, 15m, 2h, 7d, ISO time.")]
Newer = Annotated[str, typer.Option("--newer-than", metavar="AGE", help="Only newer ones: the same forms.")]
_TEXT = Format.TEXT


@app.command("list")
def list_lanes(
    data: Data,
    partner: Annotated[str, typer.Argument(metavar="LANE", help=_LANES)] = "",
    egress: Annotated[bool, typer.Option("--egress", help="Print the addresses that partners must allow.")] = False,
    format: FormatOption = _TEXT,
) -> None:
    """List lanes: state, what waits, how it goes. The word `list` may be left out. Works while couriers are down."""
    import msgspec

    from waypost.cli.lanes_text import egress_text, print_lanes
    from waypost.engines.local.egress import own_addresses
    from waypost.explain.lanes import egress_rows, report

    with lane_sources(data) as (sources, _, settings):
        if egress:
            ours = list(settings.courier.egress_addresses) or own_addresses()
            rows = egress_rows(sources, partner, ours)
            print_answer(format, [msgspec.to_builtins(row) for row in rows], lambda: egress_text(rows))
            return
        found = report(sources, partner)
    if format is Format.JSON:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        print_lanes(found)


@app.command()
def dead(
    data: Data,
    partner: Annotated[str, typer.Argument(metavar="LANE", help=_LANES)],
    code: Codes = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many, oldest first.")] = 100,
    format: FormatOption = _TEXT,
) -> None:
    """List a partner's dead letters, and what is held until you decide: when, why, which."""
    import msgspec

    from waypost.cli.lanes_text import print_standing
    from waypost.explain.lanes import ENDED, lanes_named, standing, standing_row

    with lane_sources(data) as (sources, _, _):
        lanes = lanes_named(sources, partner)
        found = (item for lane in lanes for item in standing(sources, lane, ENDED, code or ()))
        rows = [standing_row(sources, item) for item in islice(found, limit)]
        more = sum(1 for _ in found)
    if format is Format.JSON:
        typer.echo(msgspec.json.encode({"postbacks": rows, "more": more}).decode())
    else:
        print_standing(rows, more)


@app.command()
def pause(data: Data, lanes: Names, why: Why = "", by: By = "", yes: Yes = False, format: FormatOption = _TEXT) -> None:
    """Send nothing more; what is in flight ends. The lane keeps everything."""
    ask(data, Asking("lane_pause", lanes, why, by), yes=yes, format=format)


@app.command()
def resume(
    data: Data, lanes: Names, why: Why = "", by: By = "", yes: Yes = False, format: FormatOption = _TEXT
) -> None:
    """Open lanes that were paused, by you or by a partner's 410."""
    ask(data, Asking("lane_resume", lanes, why, by), yes=yes, format=format)


@app.command()
def drain(data: Data, lanes: Names, why: Why = "", by: By = "", yes: Yes = False, format: FormatOption = _TEXT) -> None:
    """Send what stands in the lane now, keep what comes later, then pause."""
    ask(data, Asking("lane_drain", lanes, why, by), yes=yes, format=format)


@app.command()
def retry(
    data: Data,
    lanes: Annotated[list[str] | None, typer.Argument(metavar="LANE...", help=_LANES)] = None,
    all: Annotated[bool, typer.Option("--all", help="All lanes of all partners.")] = False,
    code: Codes = None,
    id: Ids = None,
    older_than: Older = "",
    newer_than: Newer = "",
    why: Why = "",
    by: By = "",
    yes: Yes = False,
    format: FormatOption = _TEXT,
) -> None:
    """Send dead letters, and what is held, again: in small steps, marked as repeats, while other lanes go on."""
    from waypost.explain.lanes import ENDED

    if bool(lanes) == all:
        raise typer.BadParameter("name lanes, or say --all")
    from_ms, to_ms = _between(newer_than, older_than)
    asking = Asking("lane_retry", lanes or (), why, by, ENDED, code or (), id or (), from_ms, to_ms)
    ask(data, asking, yes=yes, format=format)


@app.command()
def drop(
    data: Data,
    lanes: Names,
    why: Why,
    queued: Annotated[bool, typer.Option("--queued", help="Also what waits to be sent.")] = False,
    code: Codes = None,
    id: Ids = None,
    older_than: Older = "",
    newer_than: Newer = "",
    by: By = "",
    yes: Yes = False,
    format: FormatOption = _TEXT,
) -> None:
    """Give up dead letters and what is held, for ever; never what is in flight. Each is journaled with your reason."""
    from waypost.explain.lanes import ENDED, WAITING

    if not why.strip():
        raise typer.BadParameter("say why: it is all that remains of them", param_hint="--why")
    from_ms, to_ms = _between(newer_than, older_than)
    states = (*ENDED, *WAITING) if queued else ENDED
    ask(data, Asking("lane_drop", lanes, why, by, states, code or (), id or (), from_ms, to_ms), yes=yes, format=format)


def _between(newer_than: str, older_than: str) -> tuple[int, int]:
    now_ms = int(time.time() * 1000)
    return (
        parse_since(newer_than, now_ms) if newer_than else 0,
        parse_since(older_than, now_ms) if older_than else 0,
    )
