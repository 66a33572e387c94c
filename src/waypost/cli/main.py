"""The command line: parses and starts, nothing else. One file a command group stands beside this one."""

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def main() -> None:
    """Entry point of `waypost` and `python -m waypost`."""
    app()
