"""Dates: other systems' format letters ↔ the `date` filter.

Owns: the tables of letters (PHP's and Java's) and both directions. Reads and writes nothing.

Sources: php.net, "DateTimeInterface::format"; docs.oracle.com, `java.text.SimpleDateFormat` (Branch's `dateformat`).
"""

import re
from collections.abc import Mapping

from waypost.macros.dialects.dialect import Found, Reading
from waypost.macros.dialects.translation import Severity
from waypost.macros.filters import FILTERS
from waypost.macros.syntax import Macro, MacroError, parse, quote_argument

PHP: Mapping[str, str] = {"Y": "%Y", "y": "%y", "m": "%m", "d": "%d", "H": "%H", "i": "%M", "s": "%S", "U": "%s"}
JAVA: Mapping[str, str] = {"yyyy": "%Y", "yy": "%y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}
_UTC = frozenset({"UTC", "GMT", "ETC/UTC", "ETC/GMT", "Z"})
_RUN = re.compile(r"([A-Za-z])\1*|.", re.DOTALL)


def zones_available() -> bool:
    """Whether this release's `date` takes a time zone."""
    return FILTERS["date"].most > 1


def from_letters(name: str, form: str, letters: Mapping[str, str], *, zone: str = "") -> Reading:
    """Our macro for a time in that format; `{name}` itself where Unix seconds are asked for."""
    zone = "" if zone.upper() in _UTC else zone
    if zone and not zones_available():
        return _refused(f"dates are in UTC only; {zone[:40]} is not available yet")
    if form == "U" and letters is PHP:
        return Reading(f"{{{name}}}")
    out = []
    for run in _RUN.finditer(form):
        for letter in (run[0],) if letters is JAVA else run[0]:
            if (letter[0].isalpha() and letter not in letters) or letter == "\\":
                return _refused(f"the date format {letter} is not available; {' '.join(letters)} are")
            out.append(letters.get(letter, "%%" if letter == "%" else letter))
    arguments = quote_argument("".join(out)) + (f", {quote_argument(zone)}" if zone else "")
    return Reading(f"{{{name}|date({arguments})}}")


def to_letters(name: str, ours: str, letters: Mapping[str, str]) -> tuple[str, str] | None:
    """(format, zone) of our macro in those letters; None where it is no date, or has no letters for it."""
    try:
        nodes = parse("{" + ours + "}")
    except MacroError:
        return None
    if len(nodes) != 1 or not isinstance(nodes[0], Macro) or nodes[0].name != name:
        return None
    calls = nodes[0].calls
    if not calls and letters is PHP:
        return "U", ""
    if len(calls) != 1 or calls[0].name != "date" or not calls[0].arguments:
        return None
    values = [argument.value for argument in calls[0].arguments]
    back = {ours_one: theirs for theirs, ours_one in letters.items()} | {"%%": "%"}
    out = []
    for piece in re.findall(r"%.|[^%]", values[0], re.DOTALL):
        if piece[0] == "%" and piece not in back:
            return None
        if piece[0] != "%" and (piece.isalpha() or piece in "\\{}"):
            return None
        out.append(back.get(piece, piece))
    return "".join(out), values[1] if len(values) > 1 else ""


def _refused(detail: str) -> Reading:
    return Reading(None, (Found(Severity.ERROR, "macro_bad_argument", detail),))
