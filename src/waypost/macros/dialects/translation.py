"""What a translation answers: the text, and the problems a person should look at.

Owns: Problem, Translation and what a person is told in one word. Reads and writes nothing. Never knows a dialect.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from waypost.errors import ERRORS
from waypost.macros.syntax import MacroError


class Severity(StrEnum):
    """An error refuses the template, a warning does not."""

    WARNING = "warning"
    ERROR = "error"


class Result(StrEnum):
    """What is said of a whole template."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Problem(NamedTuple):
    """`code` is one of errors.py; `column` counts characters of the given text from 1, 0 is the whole text."""

    severity: Severity
    code: str
    column: int
    detail: str
    hint: str


class Translation(NamedTuple):
    """`text` is None where a problem is an error; `draft` has all that was understood, and the rest as it stood.

    `click_parameters`: the dialect's parameter → ours.
    """

    text: str | None
    problems: tuple[Problem, ...] = ()
    click_parameters: Mapping[str, str] = {}
    draft: str = ""

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)


def error(code: str, detail: str, *, column: int = 0, hint: str = "") -> Problem:
    return Problem(Severity.ERROR, code, column, detail, hint or ERRORS[code].remedy)


def warning(code: str, detail: str, *, column: int = 0, hint: str = "") -> Problem:
    return Problem(Severity.WARNING, code, column, detail, hint or ERRORS[code].remedy)


def problem_of(fault: MacroError, *, column: int | None = None) -> Problem:
    """The error as a problem; `column` where the text at fault is not the one that was given."""
    return error(fault.code, fault.bare_detail, column=fault.column if column is None else column, hint=fault.hint)


def result_of(problems: Iterable[Problem]) -> Result:
    """The worst of them."""
    severities = {problem.severity for problem in problems}
    if Severity.ERROR in severities:
        return Result.ERROR
    return Result.WARNING if severities else Result.OK


def foremost(problems: Iterable[Problem]) -> Problem | None:
    """The one to look at first: an error before a warning, then the leftmost; last what the whole text lacks."""
    ranked = sorted(
        problems, key=lambda problem: (problem.severity is not Severity.ERROR, not problem.column, problem.column)
    )
    return ranked[0] if ranked else None
