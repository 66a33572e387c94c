"""The command line: parses and starts, nothing else. One file a command group stands beside this one.

Owns: the list of commands, and how an error is shown: one line on stderr, exit code 1, never a traceback for
anything that has an error code. Commands import what is heavy when they run, so that `waypost --help` is quick.
"""

import sys
from typing import Annotated

import typer

from waypost import __version__
from waypost.cli import (
    audit,
    catalog,
    demo,
    lanes,
    macro,
    preset,
    refusals,
    replay,
    resend,
    restart,
    roles,
    run,
    testcall,
    trace,
)
from waypost.errors import WaypostError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"waypost {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Waypost: self-hosted click tracking, attribution and postback delivery."""


run.register(app)
restart.register(app)
demo.register(app)
catalog.app.add_typer(preset.app, name="preset")
app.add_typer(catalog.app, name="catalog", rich_help_panel="Work")
app.add_typer(macro.app, name="macro", rich_help_panel="Work")
app.add_typer(testcall.app, name="test", rich_help_panel="Work")
trace.register(app)
audit.register(app)
replay.register(app)
resend.register(app)
app.add_typer(lanes.app, name="lanes", rich_help_panel="Answers")
app.add_typer(refusals.app, name="refusals", rich_help_panel="Answers")
roles.register(app)


def show_error(error: WaypostError) -> None:
    """Prints what went wrong: `waypost: place: detail [code] (hint)`, a line for each error it carries."""
    for line in str(error).splitlines():
        print(f"waypost: {line}", file=sys.stderr)


def main() -> None:
    """Entry point of `waypost` and `python -m waypost`."""
    try:
        app()
    except WaypostError as error:
        show_error(error)
        sys.exit(1)
