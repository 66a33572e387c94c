"""How commands on catalogs print their answers and errors, in text and in JSON.

Owns: the forms, and the exit code 1 of what is refused. Never decides what is right: `catalog/` does.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from waypost.catalog.problems import CatalogError, CatalogErrors
from waypost.errors import WaypostError


class Format(StrEnum):
    """How answers are printed."""

    TEXT = "text"
    JSON = "json"


FormatOption = Annotated[Format, typer.Option("--format", help="How to print the answer.")]


def print_answer(format: Format, said: Any, text: Callable[[], str]) -> None:
    """Prints an answer."""
    typer.echo(json.dumps(said, ensure_ascii=False) if format is Format.JSON else text())


@contextmanager
def reporting(path: Path, format: Format) -> Iterator[None]:
    """Prints coded errors, each with its place, and ends with 1."""
    try:
        yield
    except WaypostError as error:
        errors = error.errors if isinstance(error, CatalogErrors) else (error,)
        more = error.more if isinstance(error, CatalogErrors) else 0
        if format is Format.JSON:
            said = {"ok": False, "errors": [_error_json(path, one) for one in errors], "more": more}
            typer.echo(json.dumps(said, ensure_ascii=False))
        else:
            for one in errors:
                typer.echo(_error_text(path, one), err=True)
            total = len(errors) + more
            shown = f", the first {len(errors)} shown" if more else ""
            typer.echo(f"{total} {'error' if total == 1 else 'errors'}{shown}", err=True)
        sys.stdout.flush()
        raise typer.Exit(1) from error


def _error_text(path: Path, error: WaypostError) -> str:
    place = f"{_shown(path, error)}: " if error.place else ""
    return f"{place}{error.detail} [{error.code}] ({error.hint})"


def _shown(path: Path, error: WaypostError) -> str:
    """The place as the user can open it: the catalog's own names are relative to what was given."""
    if not isinstance(error, CatalogError):
        return error.place
    return str((path if path.is_dir() else path.parent) / error.place)


def _error_json(path: Path, error: WaypostError) -> dict[str, Any]:
    said: dict[str, Any] = {"code": error.code, "place": _shown(path, error), "detail": error.detail}
    if isinstance(error, CatalogError):
        file, _, line = _shown(path, error).rpartition(":")
        said |= {"file": file, "line": int(line), "field": error.field, "value": error.value}
        said["detail"] = error.message
    return said | {"hint": error.hint}
