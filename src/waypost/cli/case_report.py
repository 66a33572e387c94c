"""How cases came out, for people and for programs.

Owns: the layout of both. Reads results; writes nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from waypost.runtime.case_check import Mismatch
    from waypost.runtime.case_run import CaseResult


def case_report(results: "Sequence[CaseResult]", folder: Path) -> str:
    """A line for each case, and below one that failed what differs and why; last, the count."""
    lines: list[str] = []
    for result in results:
        if not result.problems:
            lines.append(f"ok    {result.name}")
            continue
        lines.append(f"FAIL  {result.name} ({folder / result.place})")
        for problem in result.problems:
            lines += _problem_lines(problem, folder)
    wrong = sum(bool(result.problems) for result in results)
    counted = f"{len(results)} {'case' if len(results) == 1 else 'cases'}"
    lines.append(f"{counted}, all as expected" if not wrong else f"{counted}, {wrong} not as expected")
    return "\n".join(lines)


def report_json(results: "Sequence[CaseResult]", folder: Path) -> dict[str, Any]:
    """The same as one JSON object."""
    wrong = sum(bool(result.problems) for result in results)
    return {
        "ok": not wrong,
        "cases": [
            {
                "name": result.name,
                "place": str(folder / result.place),
                "ok": not result.problems,
                "problems": [
                    {
                        "place": str(folder / one.place),
                        "what": one.what,
                        "expected": one.expected,
                        "got": one.got,
                        "why": list(one.why),
                    }
                    for one in result.problems
                ],
            }
            for result in results
        ],
        "failed": wrong,
    }


def _problem_lines(problem: "Mismatch", folder: Path) -> list[str]:
    lines = [f"      {folder / problem.place}: {problem.what}"]
    lines += [f"        expected  {problem.expected}", f"        got       {problem.got}"]
    if mark := _difference_mark(problem.expected, problem.got):
        lines.append(f"                  {mark}")
    return lines + [f"        because   {reason}" for reason in problem.why]


def _difference_mark(expected: str, got: str) -> str:
    """A sign below the first character that differs, where two long texts begin alike."""
    same = next(
        (nth for nth, (one, other) in enumerate(zip(expected, got, strict=False)) if one != other),
        min(len(expected), len(got)),
    )
    is_worth_it = same >= 10 and "$any" not in expected and max(len(expected), len(got)) < 200
    return " " * same + "^" if is_worth_it else ""
