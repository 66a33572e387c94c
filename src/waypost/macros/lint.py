"""What is doubtful in a template of our own language: errors of the compiler, and what somebody left in its text.

Owns: the check behind `waypost macro check`. Reads and writes nothing. Never translates: see dialects.
"""

import re

from waypost.macros.dialects.leftovers import find_leftovers
from waypost.macros.dialects.translation import Problem, problem_of, warning
from waypost.macros.encoding import Position
from waypost.macros.names import NameSet
from waypost.macros.syntax import Literal, MacroError, parse
from waypost.macros.template import compile_template

_BRACED_NAME = re.compile(r"\{\s*[A-Za-z_][\w.\-]*\s*\}")


def check_template(text: str, *, position: Position, names: NameSet) -> tuple[Problem, ...]:
    """The compiler's error, if there is one, then a warning for each placeholder or foreign macro in its text."""
    problems: list[Problem] = []
    try:
        compile_template(text, position=position, names=names)
        nodes = parse(text)
    except MacroError as fault:
        return (problem_of(fault),)
    for node in nodes:
        if not isinstance(node, Literal):
            continue
        for leftover in find_leftovers(node.text):
            code = "macro_placeholder" if leftover.placeholder else "macro_foreign"
            kind = "a placeholder that was left in" if leftover.placeholder else "a macro of another system"
            detail = f"{leftover.text[:64]} looks like {kind}"
            problems.append(warning(code, detail, column=node.column + leftover.start))
        for found in _BRACED_NAME.finditer(node.text):
            detail = f"{found[0][:64]} is rendered as it stands, braces included"
            hint = "write single braces if it is meant to be a macro"
            problems.append(warning("macro_foreign", detail, column=node.column + found.start(), hint=hint))
    return tuple(problems)
