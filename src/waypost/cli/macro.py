"""`waypost macro`: render a template, check templates, import templates from another system.

Owns: the three commands and what they print. Reads the file that it is given, or standard input; writes nothing.
Never knows a dialect or a filter: the macros' room does.
"""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from waypost.errors import WaypostError
from waypost.macros.dialects import DIALECTS
from waypost.macros.dialects.translation import Problem, Severity, Translation
from waypost.macros.encoding import Position
from waypost.macros.lint import check_template
from waypost.macros.names import IN_POSTBACK
from waypost.macros.syntax import MacroError
from waypost.macros.template import compile_template

app = typer.Typer(no_args_is_help=True, help="Render, check and import postback templates.")

OURS = "waypost"


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"


class Entry(msgspec.Struct):
    """One template of a file: its name or line, its text, the click parameters of its source."""

    name: str
    template: str
    click_parameters: dict[str, str] = {}


FormatOption = Annotated[Format, typer.Option("--format", help="How to answer.")]
PositionOption = Annotated[Position, typer.Option(help="Where the text will stand.")]
FileArgument = Annotated[str, typer.Argument(help="One template a line, or a JSON list; - is standard input.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A macro's value; repeatable.")
]


@app.command()
def render(
    template: Annotated[str, typer.Argument(help="The template.")],
    set_: SetOption = None,
    position: PositionOption = Position.URL,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Render one template with the given values; a macro without a value is empty."""
    values: dict[str, str] = {}
    for pair in set_ or []:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{pair!r} is not NAME=VALUE", param_hint="--set")
        values[name] = value
    try:
        compiled = compile_template(template, position=position, names=IN_POSTBACK)
        rendered = compiled.render(values)
    except WaypostError as error:
        _fail(error, format_)
    unused = sorted(values.keys() - set(compiled.names))
    if format_ is Format.JSON:
        _print_json({"rendered": rendered, "names": compiled.names, "unused": unused})
        return
    typer.echo(rendered)
    if unused:
        typer.echo(f"not in the template: {', '.join(unused)}", err=True)


@app.command()
def check(
    file: FileArgument,
    dialect: Annotated[str, typer.Option(help=f"The templates' language: {', '.join((OURS, *DIALECTS))}.")] = OURS,
    position: PositionOption = Position.URL,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Say of each template whether it is right; exit code 1 if one is refused."""
    if dialect == OURS:
        answers = [
            (entry, check_template(entry.template, position=position, names=IN_POSTBACK))
            for entry in _read(file, format_)
        ]
    else:
        answers = [(entry, _translate(dialect, entry).problems) for entry in _read(file, format_)]
    rows = [
        {"name": entry.name, "template": entry.template, "verdict": _verdict(problems), "problems": _plain(problems)}
        for entry, problems in answers
    ]
    if format_ is Format.JSON:
        _print_json(rows)
    else:
        for entry, problems in answers:
            typer.echo(f"{_verdict(problems):8} {entry.name}: {entry.template}")
            _echo_problems(problems)
    _exit(problems for _, problems in answers)


@app.command(name="import")
def import_(
    file: FileArgument,
    dialect: Annotated[str, typer.Option(help=f"The templates' language: {', '.join(DIALECTS)}.")],
    format_: FormatOption = Format.TEXT,
) -> None:
    """Translate each template into Waypost's language; exit code 1 if one is refused.

    A JSON list may hold objects: `{"name", "postback", "click_parameters": {name: the source's macro}}`.
    """
    answers = [(entry, _translate(dialect, entry)) for entry in _read(file, format_)]
    if format_ is Format.JSON:
        _print_json([
            {
                "name": entry.name, "template": entry.template, "verdict": _verdict(answer.problems),
                "translation": answer.text, "click_parameters": dict(answer.click_parameters),
                "problems": _plain(answer.problems),
            }
            for entry, answer in answers
        ])  # fmt: skip
    else:
        for entry, answer in answers:
            typer.echo(f"{_verdict(answer.problems):8} {entry.name}: {answer.text or entry.template}")
            _echo_problems(answer.problems)
            renamed = [f"{theirs} → {ours}" for theirs, ours in answer.click_parameters.items() if theirs != ours]
            if renamed:
                typer.echo(f"    note: rename in the click's URL: {', '.join(renamed)}")
    _exit(answer.problems for _, answer in answers)


def _translate(dialect: str, entry: Entry) -> Translation:
    if dialect not in DIALECTS:
        known = ", ".join(DIALECTS)
        raise typer.BadParameter(f"{dialect!r} is no dialect; known are {known}", param_hint="--dialect")
    return DIALECTS[dialect](entry.template, click_parameters=entry.click_parameters)


def _read(file: str, format_: Format) -> list[Entry]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(str(error), param_hint="FILE") from error
    if text.lstrip().startswith("[") and text.rstrip().endswith("]"):
        try:
            return [_entry(number, item) for number, item in enumerate(json.loads(text), 1) if _has_template(item)]
        except (ValueError, msgspec.ValidationError) as error:
            _fail(WaypostError("macro_syntax", f"not a JSON list of templates: {error}", place=file), format_)
    lines = enumerate(text.splitlines(), 1)
    return [Entry(f"line {number}", line.strip()) for number, line in lines if line.strip() and line.strip()[0] != "#"]


def _has_template(item: object) -> bool:
    return not isinstance(item, dict) or bool(item.get("postback") or item.get("template"))


def _entry(number: int, item: Any) -> Entry:
    if isinstance(item, str):
        return Entry(f"item {number}", item)
    fields = dict(item) if isinstance(item, dict) else {}
    return msgspec.convert(
        {
            "name": fields.get("name", f"item {number}"),
            "template": fields.get("postback") or fields.get("template"),
            "click_parameters": fields.get("click_parameters") or {},
        },
        Entry,
    )


def _verdict(problems: tuple[Problem, ...]) -> str:
    if any(problem.severity is Severity.ERROR for problem in problems):
        return "error"
    return "warning" if problems else "ok"


def _plain(problems: tuple[Problem, ...]) -> list[dict[str, Any]]:
    return [{**problem._asdict(), "severity": problem.severity.value} for problem in problems]


def _echo_problems(problems: tuple[Problem, ...]) -> None:
    for problem in problems:
        where = f"column {problem.column}: " if problem.column else ""
        typer.echo(f"    {problem.severity.value}: {where}{problem.detail} [{problem.code}] ({problem.hint})")


def _exit(all_problems: Any) -> None:
    if any(_verdict(problems) == "error" for problems in all_problems):
        raise typer.Exit(1)


def _fail(error: WaypostError, format_: Format) -> NoReturn:
    if format_ is Format.JSON:
        column = error.column if isinstance(error, MacroError) else 0
        answer = {
            "code": error.code,
            "detail": error.detail,
            "place": error.place,
            "hint": error.hint,
            "column": column,
        }
        _print_json({"error": answer})
    else:
        typer.echo(f"error: {error}", err=True)
    raise typer.Exit(1)


def _print_json(answer: object) -> None:
    typer.echo(json.dumps(answer, ensure_ascii=False, indent=1))
