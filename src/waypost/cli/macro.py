"""`waypost macro`: render a template, check templates, translate them from and into other systems' languages.

Owns: the four commands and what they print. Reads the file that it is given, or standard input, and for `render --id`
a data folder; writes nothing. Never knows a dialect or a filter: the macros' room does.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from waypost.cli.macro_input import Entry, read_entries
from waypost.cli.macro_render import register
from waypost.errors import WaypostError
from waypost.macros.dialects import DIALECTS
from waypost.macros.dialects.calls import export_call, is_call
from waypost.macros.dialects.dialect import Dialect
from waypost.macros.dialects.export import export as export_template
from waypost.macros.dialects.guess import OURS, common_language, guess
from waypost.macros.dialects.translation import Problem, Result, Translation, error, result_of
from waypost.macros.encoding import Position
from waypost.macros.lint import Checked, Kind
from waypost.macros.lint import check as check_text
from waypost.macros.syntax import MacroError

app = typer.Typer(no_args_is_help=True, help="Render, check and translate templates of postbacks.")
register(app)

_SAMPLE = 1000  # so many first templates say what language a file is in
_NAMES = ", ".join((OURS, *DIALECTS))


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"


FormatOption = Annotated[Format, typer.Option("--format", help="How to answer.")]
PositionOption = Annotated[Position, typer.Option(help="Where the text will stand.")]
FileArgument = Annotated[str, typer.Argument(help="One template a line, or a JSON list; - is standard input.")]
TextArgument = Annotated[str, typer.Argument(metavar="FILE|TEXT", help="A file, - for standard input, or a template.")]
DialectOption = Annotated[
    str, typer.Option("--dialect", metavar="NAME", help=f"Whose language: {_NAMES}. Guessed if not told.")
]


@app.command()
def check(
    file: FileArgument,
    dialect: DialectOption = "",
    position: PositionOption = Position.URL,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Say of each template whether it is right; exit code 1 if one is refused."""
    _known(dialect)
    answers = (
        (entry, _as_it_stands(checked)) for entry, checked in _checked(_entries(file, format_), dialect, position)
    )
    worst = _print(
        ((entry, checked.problems, _check_row(entry, checked), _check_line(entry, checked))
         for entry, checked in answers),
        format_,
    )  # fmt: skip
    raise typer.Exit(1 if worst is Result.ERROR else 0)


@app.command(name="import")
def import_(
    file: TextArgument,
    dialect: DialectOption = "",
    position: PositionOption = Position.URL,
    format_: FormatOption = Format.TEXT,
) -> None:
    """Translate each template into Waypost's language; exit code 1 if one is refused.

    A JSON list may hold objects: `{"name", "postback", "click_parameters": {name: the source's macro}}` for a source,
    `{"name", "postback", "offer_parameters"}` for a network.
    """
    _known(dialect)
    answers = _checked(_entries(file, format_, text_too=True), dialect, position)
    worst = _print(
        ((entry, checked.problems, _import_row(entry, checked), _import_line(entry, checked))
         for entry, checked in answers),
        format_,
    )  # fmt: skip
    raise typer.Exit(1 if worst is Result.ERROR else 0)


@app.command()
def export(
    file: TextArgument,
    dialect: Annotated[str, typer.Option("--dialect", metavar="NAME", help=f"Whose language: {', '.join(DIALECTS)}.")],
    format_: FormatOption = Format.TEXT,
) -> None:
    """Write each template of Waypost's language in another system's; exit code 1 if one cannot be."""
    _known(dialect)
    if dialect == OURS:
        raise typer.BadParameter("templates are Waypost's already", param_hint="--dialect")
    answers = ((entry, _exported(DIALECTS[dialect], entry)) for entry in _entries(file, format_, text_too=True))
    worst = _print(
        ((entry, answer.problems,
          {"name": entry.name, "template": entry.template, "dialect": dialect, "result": result_of(answer.problems),
           "translation": answer.text, "problems": _plain(answer.problems)},
          f"{result_of(answer.problems).value:8} {entry.name}: {answer.text or entry.template}")
         for entry, answer in answers),
        format_,
    )  # fmt: skip
    raise typer.Exit(1 if worst is Result.ERROR else 0)


def _exported(dialect: Dialect, entry: Entry) -> Translation:
    if is_call(entry.template):
        return Translation(export_call(entry.template))
    return export_template(dialect, entry.template, click_parameters=entry.click_parameters)


# --- what each answer is ----------------------------------------------------------------------------------


def _checked(entries: Iterator[Entry], dialect: str, position: Position) -> Iterator[tuple[Entry, Checked]]:
    """Each entry with what is said of it; a list's first templates say what language it is in."""
    prefer = ""
    if not dialect:
        sample = list(islice(entries, _SAMPLE))
        entries = chain(sample, entries)
        texts = [entry.template for entry in sample if not is_call(entry.template)]
        prefer = common_language(guess(text) for text in texts[: _SAMPLE if len(texts) > 1 else 0])
    for entry in entries:
        yield entry, _check_entry(entry, dialect, position, prefer)


def _check_entry(entry: Entry, dialect: str, position: Position, prefer: str) -> Checked:
    if entry.fault:
        problem = error("macro_syntax", f"{entry.name} is {entry.fault}")
        return Checked(Kind.POSTBACK, dialect or OURS, None, Translation(None, (problem,), draft=entry.template))
    if entry.click_parameters and not dialect:
        dialect = "keitaro"  # whose collections say what a source's click brings
    if entry.bare:
        return Checked(Kind.POSTBACK, dialect, None, Translation(None))
    checked = check_text(
        entry.template, dialect=dialect, position=position, click_parameters=entry.click_parameters, prefer=prefer
    )
    return _with_offer(checked, entry) if entry.offer_parameters else checked


def _with_offer(checked: Checked, entry: Entry) -> Checked:
    """What is said of a network's other text, too: of a column there it names the text."""
    also = tuple(
        problem._replace(column=0, detail=f"in the offer's parameters, column {problem.column}: {problem.detail}")
        for problem in _offer_parameters(entry).problems
    )
    translation = checked.translation
    return checked._replace(translation=translation._replace(problems=(*translation.problems, *also)))


def _as_it_stands(checked: Checked) -> Checked:
    """Without what only a translation would change: a check is of the template in its own language."""
    kept = tuple(problem for problem in checked.problems if problem.code != "macro_adapted")
    return checked._replace(translation=checked.translation._replace(problems=kept))


def _check_row(entry: Entry, checked: Checked) -> dict[str, Any]:
    first = checked.foremost
    return {
        "name": entry.name,
        "template": _printable(entry.template),
        "result": checked.result,
        "code": first.code if first else "",
        "column": first.column if first else 0,
        "message": _message(entry, checked),
        "dialect": checked.dialect,
        "kind": checked.kind,
        "problems": _plain(checked.problems),
    }


def _message(entry: Entry, checked: Checked) -> str:
    first = checked.foremost
    if first:
        return f"{first.detail}; {first.hint}" if first.hint else first.detail
    if entry.bare:
        return "the entry has no postback"
    if checked.kind is Kind.CALL:
        return "a URL for a network to call; its macros are the network's"
    if checked.dialect != OURS:
        return f"written for {DIALECTS[checked.dialect].title}; `waypost macro import` translates it"
    return ""


def _check_line(entry: Entry, checked: Checked) -> str:
    language = f" [{checked.dialect}]" if checked.dialect and checked.dialect != OURS else ""
    return f"{checked.result.value:8} {entry.name}{language}: {_printable(entry.template)}"


def _import_row(entry: Entry, checked: Checked) -> dict[str, Any]:
    translation = checked.translation
    row: dict[str, Any] = {
        "name": entry.name,
        "template": _printable(entry.template),
        "kind": checked.kind,
        "dialect": checked.dialect,
        "confidence": checked.guess.confidence if checked.guess else "told" if checked.dialect else "",
        "why": checked.guess.why if checked.guess else "",
        "result": checked.result,
        "translation": translation.text,
        "draft": _printable(translation.draft),
        "problems": _plain(checked.problems),
    }
    if entry.click_parameters:
        row["click_parameters"] = dict(translation.click_parameters)
        row["click_url"] = _click_url(entry, translation)
    if entry.offer_parameters:
        row["offer_parameters"] = _offer_parameters(entry).translation.text
    return row


def _import_line(entry: Entry, checked: Checked) -> str:
    translation = checked.translation
    lines = [f"{checked.result.value:8} {entry.name}: {translation.text or _printable(entry.template)}"]
    if checked.guess and checked.dialect != OURS:
        lines.append(f"    {checked.guess.confidence.value}: {checked.guess.why}")
    if entry.click_parameters:
        lines.append(f"    the click URL to give them: {_click_url(entry, translation)}")
    if entry.offer_parameters:
        lines.append(f"    to the offer's URL: {_offer_parameters(entry).translation.text or entry.offer_parameters}")
    return "\n".join(lines)


def _click_url(entry: Entry, translation: Translation) -> str:
    """Our click URL with the source's own macros, for the source to send its clicks to."""
    pairs = (
        f"{translation.click_parameters.get(theirs, theirs)}={macro.strip()}"
        for theirs, macro in entry.click_parameters.items()
    )
    return "/c/LINK?" + "&".join(pairs)


def _offer_parameters(entry: Entry) -> Checked:
    return check_text(entry.offer_parameters, dialect="keitaro")


# --- in and out -------------------------------------------------------------------------------------------


def _known(dialect: str) -> None:
    if dialect and dialect != OURS and dialect not in DIALECTS:
        raise typer.BadParameter(f"{dialect!r} is no dialect; known are {_NAMES}", param_hint="--dialect")


def _entries(file: str, format_: Format, *, text_too: bool = False) -> Iterator[Entry]:
    """The file's templates; a list that is none ends the command."""
    if text_too and file != "-" and not Path(file).exists() and any(sign in file for sign in ":{}[]#%<>$?&=("):
        yield Entry("template", file)
        return
    try:
        yield from read_entries(file)
    except OSError as fault:
        raise typer.BadParameter(str(fault), param_hint="FILE") from fault
    except WaypostError as fault:
        _fail(fault, format_)


def _print(answers: Iterable[tuple[Entry, tuple[Problem, ...], dict[str, Any], str]], format_: Format) -> Result:
    """Each answer as soon as it is there; the worst of all."""
    worst = Result.OK
    written = 0
    for _, problems, row, line in answers:
        result = result_of(problems)
        if result is Result.ERROR or worst is Result.OK:
            worst = result
        if format_ is Format.JSON:
            sys.stdout.write(("[\n" if not written else ",\n") + json.dumps(row, ensure_ascii=False))
        else:
            sys.stdout.write(line + "\n")
            _echo_problems(problems)
        written += 1
    if format_ is Format.JSON:
        sys.stdout.write("\n]\n" if written else "[]\n")
    sys.stdout.flush()
    return worst


def _plain(problems: tuple[Problem, ...]) -> list[dict[str, Any]]:
    return [{**problem._asdict(), "severity": problem.severity.value} for problem in problems]


def _echo_problems(problems: tuple[Problem, ...]) -> None:
    for problem in problems:
        where = f"column {problem.column}: " if problem.column else ""
        line = f"    {problem.severity.value}: {where}{problem.detail} [{problem.code}] ({problem.hint})"
        sys.stdout.write(_printable(line) + "\n")


def _printable(text: str) -> str:
    """The text with what no encoder takes as question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _fail(fault: WaypostError, format_: Format) -> NoReturn:
    if format_ is Format.JSON:
        column = fault.column if isinstance(fault, MacroError) else 0
        answer = {
            "code": fault.code,
            "detail": fault.detail,
            "place": fault.place,
            "hint": fault.hint,
            "column": column,
        }
        typer.echo(json.dumps({"error": answer}, ensure_ascii=False, indent=1))
    else:
        typer.echo(f"error: {fault}", err=True)
    raise typer.Exit(1)
