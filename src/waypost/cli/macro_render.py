"""`waypost macro render`: what a template becomes.

Owns: the command, the sample's values, and how it shows each macro. Reads a data folder where an id is given; writes
nothing. A value is the one that `--set` says, else the recorded conversion's, else (with --sample) the sample's.
"""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NoReturn

import typer

from waypost.errors import WaypostError
from waypost.macros.encoding import Position
from waypost.macros.names import IN_POSTBACK, SUB_COUNT
from waypost.macros.syntax import MacroError
from waypost.macros.template import compile_template

SAMPLE: dict[str, str] = {
    "click_id": "00B7zCSd92BAroN9h8YCbaQ",
    "external_id": "partner-click-42",
    **{f"sub{number}": f"sub-{number}" for number in range(1, SUB_COUNT + 1)},
    "source": "site.example",
    "keyword": "red shoes",
    "ad_campaign_id": "camp-7",
    "creative_id": "banner-3",
    "cost": "0.05",
    "link": "demo",
    "offer": "acme-vpn",
    "partner": "geozo",
    "advertiser": "acme",
    "goal": "install",
    "event": "install",
    "status": "approved",
    "status_before": "pending",
    "verdict": "new",
    "payout": "1.20",
    "currency": "USD",
    "revenue": "1.50",
    "sum": "10.00",
    "sum_currency": "USD",
    "txn_id": "order-1001",
    "conversion_id": "c687eeab99f400000",
    "click_time": "1795223643",
    "conversion_time": "1795227243",
    "test": "0",
    "country": "DE",
    "region": "DE-BE",
    "city": "Berlin",
    "isp": "Example Net",
    "device": "mobile",
    "brand": "Samsung",
    "os": "Android",
    "os_version": "14",
    "browser": "Chrome Mobile",
    "browser_version": "126",
    "language": "de",
    "postback_id": "p687eeab99f400000.1",
    "attempt": "1",
    "is_repeat": "0",
    "reason": "first",
    "corrects": "",
    "attempt_time": "1795227250",
    "first_attempt_time": "1795227250",
}


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"


class Values(NamedTuple):
    """`origins`: where each value is from."""

    values: dict[str, str]
    origins: dict[str, str]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(render)


def render(
    template: Annotated[str, typer.Argument(help="The template.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A macro's value; repeatable.")
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Give the other macros sample values.")] = False,
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="A data folder; with --id.")] = None,
    id_: Annotated[
        str, typer.Option("--id", metavar="ID", help="A recorded conversion's or postback's id: its values.")
    ] = "",
    position: Annotated[Position, typer.Option(help="Where the text will stand.")] = Position.URL,
    format_: Annotated[Format, typer.Option("--format", help="How to answer.")] = Format.TEXT,
) -> None:
    """Render one template with the given values; a macro without a value is empty."""
    given = _values(set_ or [], sample, data, id_)
    try:
        compiled = compile_template(template, position=position, names=IN_POSTBACK)
        rendered = compiled.render(given.values)
    except WaypostError as error:
        _fail(error, format_)
    unused = sorted(name for name, origin in given.origins.items() if origin == "set" and name not in compiled.names)
    macros = [
        {"name": name, "value": given.values.get(name, ""), "from": given.origins.get(name, "")}
        for name in compiled.names
    ]
    if format_ is Format.JSON:
        _print_json({"rendered": rendered, "names": compiled.names, "unused": unused, "macros": macros})
        return
    typer.echo(rendered)
    if sample or id_:
        _echo_macros(macros)
    if unused:
        typer.echo(f"not in the template: {', '.join(unused)}", err=True)


def _values(pairs: list[str], sample: bool, data: Path | None, id_: str) -> Values:
    if bool(id_) != bool(data):
        raise typer.BadParameter("--data and --id go together", param_hint="--id")
    given = Values({}, {})
    if sample:
        given.values.update(SAMPLE)
        given.origins.update(dict.fromkeys(SAMPLE, "sample"))
    if data and id_:
        values, origins = _recorded(data, id_)
        if not sample:
            given.values.clear()
        given.values.update(values)
        given.origins.update(origins)
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{pair!r} is not NAME=VALUE", param_hint="--set")
        given.values[name] = value
        given.origins[name] = "set"
    return given


def _recorded(data: Path, id_: str) -> tuple[dict[str, str], dict[str, str]]:
    """The values of a recorded id. Raises WaypostError `data_missing`, `not_found`."""
    from waypost import assembly
    from waypost.explain.trace import trace
    from waypost.explain.values import recorded_values
    from waypost.layout import Layout
    from waypost.settings import load_settings

    sources = assembly.open_explain_sources(data, load_settings(Layout(data).settings))
    try:
        return recorded_values(trace(id_, sources, partner=""))
    finally:
        sources.close()


def _echo_macros(macros: list[dict[str, str]]) -> None:
    """A line for each macro: its name, where its value is from, the value."""
    wide = max((len(macro["name"]) for macro in macros), default=0)
    for macro in macros:
        origin = macro["from"] or "no value"
        typer.echo(f"  {macro['name']:{wide}}  {origin:20}  {macro['value']}".rstrip())


def _fail(error: WaypostError, format_: Format) -> NoReturn:
    if format_ is Format.JSON:
        column = error.column if isinstance(error, MacroError) else 0
        answer = {"code": error.code, "detail": error.detail, "place": error.place, "hint": error.hint}
        _print_json({"error": {**answer, "column": column}})
    else:
        typer.echo(f"error: {error}", err=True)
    raise typer.Exit(1)


def _print_json(answer: Any) -> None:
    typer.echo(json.dumps(answer, ensure_ascii=False, indent=1))
