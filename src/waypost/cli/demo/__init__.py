"""`waypost demo`: Waypost at work, with a simulated advertiser and simulated partners on loopback.

Owns: the command's options; what it does is imported when it runs.
"""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(rich_help_panel="Run")(demo)


def demo(
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Where to keep all; else a folder that is removed.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="End after so long; 0: at Ctrl-C.")] = 0,
    rate: Annotated[float, typer.Option(min=0.1, max=500, help="Clicks per second.")] = 25,
) -> None:
    """Show Waypost at work: a real installation, with a simulated advertiser and partners on loopback."""
    from waypost.cli.demo.command import run_demo

    run_demo(data, seconds, rate)
