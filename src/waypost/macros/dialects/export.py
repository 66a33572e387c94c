"""Our templates in another system's language: the inverse of an import.

Owns: the walk over our text and the inverse tables. Reads and writes nothing.

An import followed by an export gives back what was understood. Where a system has several names for one thing, the
first of its table comes back, which the system reads as the same.
"""

import re
from collections.abc import Iterable
from functools import cache

from waypost.macros.dialects import DIALECTS
from waypost.macros.dialects.brackets import find_tokens
from waypost.macros.dialects.dialect import Dialect
from waypost.macros.dialects.translation import Problem, Severity, Translation, error, problem_of, warning
from waypost.macros.names import CLICK_PREFIX
from waypost.macros.syntax import Macro, MacroError, parse
from waypost.macros.template import TEMPLATE_BYTES_MAX

_INSIDE = r"(?:[^{}'\\]|'(?:[^'\\]|\\.)*+'|\\)*+"
_PIECE = re.compile(
    r"(?P<literal>(?:[^{}]|\{\{|\}\})+)"
    rf"|(?P<flag>\{{if {_INSIDE}\}}1\{{else\}}0\{{end\}})|\{{(?P<macro>{_INSIDE})\}}",
    re.DOTALL,
)
_Canonical = tuple[str, tuple[tuple[str, tuple[tuple[str | None, str], ...]], ...]]


def export(dialect: Dialect, ours: str, *, click_parameters: Iterable[str] = ()) -> Translation:
    """Our template as one of the dialect's. Never raises for any text; errors are in the answer."""
    if len(ours.encode("utf-8", "surrogatepass")) > TEMPLATE_BYTES_MAX:
        return Translation(None, (error("macro_too_large", f"the template is over {TEMPLATE_BYTES_MAX} bytes"),))
    parameters = frozenset(click_parameters)
    problems: list[Problem] = []
    out: list[str] = []
    at = 0
    while at < len(ours):
        found = _PIECE.match(ours, at)
        if not found:
            return Translation(None, (_fault(ours, at),))
        if found["literal"] is not None:
            out.append(_literal(dialect, found["literal"], at, problems))
        elif found["flag"] is not None:
            theirs = dialect.write(found["flag"]) if dialect.write else None
            if theirs is None:  # not one word there: its pieces are read one by one
                found = re.compile(rf"\{{(?P<macro>{_INSIDE})\}}", re.DOTALL).match(ours, at)
                assert found is not None  # the flag begins with one
                theirs = _macro(dialect, found["macro"], at, parameters, problems)
            out.append(theirs)
        else:
            out.append(_macro(dialect, found["macro"], at, parameters, problems))
        at = found.end()
    refused = any(problem.severity is Severity.ERROR for problem in problems)
    text = "".join(out)
    return Translation(None if refused else text, tuple(problems), draft=text)


def _fault(ours: str, at: int) -> Problem:
    try:
        parse(ours)
    except MacroError as fault:
        return problem_of(fault)
    return error("macro_syntax", "this piece cannot be exported", column=at + 1)


def _literal(dialect: Dialect, piece: str, at: int, problems: list[Problem]) -> str:
    text = piece.replace("{{", "{").replace("}}", "}")
    for token in find_tokens(text):
        if dialect.knows(token):
            detail = f"{token.text[:64]} is text here, and a macro in {dialect.title}'s language"
            problems.append(warning("macro_foreign", detail, column=at + token.start + 1))
    return text


def _macro(dialect: Dialect, inside: str, at: int, parameters: frozenset[str], problems: list[Problem]) -> str:
    """Theirs for one of our macros; its own text where there is none, and an error says so."""
    canonical = _canonical(inside)
    if canonical is not None:
        name, calls = canonical
        if not calls and name in parameters:
            return dialect.write_name(name)
        theirs = _inverse(dialect.name).get(canonical)
        if theirs is not None:
            return dialect.write_name(theirs)
        if not calls and dialect.free and name.startswith(CLICK_PREFIX):
            return dialect.write_name(name.removeprefix(CLICK_PREFIX))
    written = dialect.write(inside) if dialect.write else None
    if written is not None:
        return written
    detail = f"{{{inside[:60]}}} has no counterpart in {dialect.title}'s language"
    problems.append(error("macro_unknown", detail, column=at + 1, hint="remove it, or write a text"))
    return "{" + inside + "}"


@cache
def _inverse(name: str) -> dict[_Canonical, str]:
    """Our macro → the first of the dialect's names for it."""
    dialect = DIALECTS[name]
    inverse: dict[_Canonical, str] = {}
    # What is the same comes before what is nearly so.
    for theirs, row in sorted(dialect.rows.items(), key=lambda item: bool(item[1].note)):
        canonical = _canonical(row.ours) if row.ours else None
        if canonical is not None and (dialect.read is None or not _differs(dialect, theirs, canonical)):
            inverse.setdefault(canonical, theirs)
    return inverse


def _differs(dialect: Dialect, theirs: str, canonical: _Canonical) -> bool:
    """Whether the dialect reads this name as more than its row says (Keitaro's `{status}`)."""
    token = next(iter(find_tokens(dialect.write_name(theirs))), None)
    reading = dialect.read(token) if token and dialect.read else None
    return reading is not None and reading.text is not None and _canonical(reading.text[1:-1]) != canonical


def _canonical(inside: str) -> _Canonical | None:
    """Our macro without the ways in which it can be spelled; None for a condition, or no macro."""
    try:
        nodes = parse("{" + inside + "}")
    except MacroError:
        return None
    if len(nodes) != 1 or not isinstance(nodes[0], Macro):
        return None
    macro = nodes[0]
    if getattr(macro, "policy", ""):
        return None  # what a missing value does is our language's alone
    calls = tuple(
        (call.name, tuple((argument.key, argument.value) for argument in call.arguments)) for call in macro.calls
    )
    return macro.name, calls
