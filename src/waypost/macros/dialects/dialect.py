"""What a dialect is: its brackets, a table of its names, and what else it can say.

Owns: Dialect, Row and the small notation that tables are written in. Reads and writes nothing. Never translates: see
postbacks.

A table is text, one meaning a line, so that it can be read beside the page it was taken from:

    theirs, also theirs -> ours                       the same value
    theirs -> ours|filter ; what differs              translated, with a warning that says so
    theirs -> ; why not                               refused with that reason
    sub_id_#1-30 -> sub#                              a numbered family
    theirs, heard? -> ours                            `heard` is in no document that was read

The first of several names is the one that an export writes. What has no value in a postback of this release (a fact of
the place or device that no release keeps yet) is refused, and will be translated from the day it has one.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from waypost.macros.dialects.brackets import Token
from waypost.macros.dialects.translation import Severity
from waypost.macros.filters import FILTERS
from waypost.macros.names import IN_POSTBACK, LEAVES_FOR_NOBODY, is_personal

DRAWN = "drawn from the postback's id, so that every attempt has the same"
NOT_KEPT = "Waypost keeps no such fact of a click"
# Our macros that the click's URL must carry for them to have a value.
_FROM_CLICK = re.compile(r"external_id|source|keyword|ad_campaign_id|creative_id|sub\d+|click\..+")
_CALL = re.compile(r"\|\s*(\w+)")
_FAMILY = re.compile(r"#(\d+)-(\d+)")


_SENT: dict[str, frozenset[str]] = {}  # by dialect: made once, when it is first asked for


class Row(NamedTuple):
    """`ours` is the inside of our macro, empty where there is none; `note` says what differs, or why there is none.

    `confirmed`: whether a document of the system, or a template that was published for it, has the name.
    """

    ours: str
    note: str = ""
    confirmed: bool = True

    @property
    def name(self) -> str:
        """Our macro's name, without filters."""
        return self.ours.partition("|")[0].strip()

    @property
    def click(self) -> bool:
        """Whether the click's URL must carry it for it to have a value."""
        return bool(_FROM_CLICK.fullmatch(self.name))

    @property
    def personal(self) -> bool:
        """Whether it identifies a person or a device: the value leaves for nobody."""
        return bool(self.ours) and is_personal(self.name)


class Found(NamedTuple):
    """A problem of one token, before it has a column."""

    severity: Severity
    code: str
    detail: str
    hint: str = ""


class Reading(NamedTuple):
    """One token read: our text for it, None where there is none, and what a person should know."""

    text: str | None
    found: tuple[Found, ...] = ()


class Dialect(NamedTuple):
    """One system's language.

    `free`: a name that the table does not have is a parameter of the click. `read` is asked before the table, for what
    is more than a name; None means that the token is an ordinary one. `write` is its inverse: our macro's inside, as it
    is spelled canonically → theirs with their signs. `spelled` is a macro's picture where it is more than the
    first form. `checked` says against what the names were held, and when.
    """

    name: str
    title: str
    forms: tuple[str, ...]
    rows: Mapping[str, Row]
    source: str
    free: bool = False
    read: Callable[[Token], Reading | None] | None = None
    write: Callable[[str], str | None] | None = None
    spelled: str = ""
    checked: str = ""

    @property
    def sent(self) -> frozenset[str]:
        """The names that have a counterpart; one set for each table."""
        found = _SENT.get(self.name)
        if found is None:
            found = _SENT[self.name] = frozenset(name for name, row in self.rows.items() if row.ours)
        return found

    @property
    def picture(self) -> str:
        """How an export writes a name that stands for x."""
        return self.spelled or self.forms[0]

    def write_name(self, name: str) -> str:
        """The name with the dialect's signs."""
        opening, closing = re.split("[xX]", self.picture, maxsplit=1)
        return f"{opening}{name}{closing}"

    def knows(self, token: Token) -> bool:
        """Whether the token is one of this dialect's own."""
        if token.form not in self.forms:
            return False
        if token.name in self.rows:
            return True
        reading = self.read(token) if self.read else None
        return reading is not None and not any(found.code == "macro_placeholder" for found in reading.found)


def no_counterpart(piece: str, name: str, row: Row) -> Found:
    """Why a name that the dialect has cannot be sent."""
    hint = "remove it, or write a text"
    if row.note == NOT_KEPT and is_personal(name):
        hint = LEAVES_FOR_NOBODY
    elif row.note == NOT_KEPT:
        hint = f"pass it in the click's URL as a parameter of its own, then write {{click.{name}}}"
    return Found(Severity.ERROR, "macro_unknown", f"{piece[:64]} has no counterpart: {row.note}", hint)


def leaves_empty(piece: str) -> Found:
    """That a token's value leaves for nobody."""
    detail = f"{piece[:64]} identifies a person or a device: it leaves Waypost empty"
    return Found(Severity.WARNING, "macro_unfilled", detail, "remove it, unless the partner wants it empty")


def read_row(piece: str, name: str, row: Row) -> Reading:
    """What a row of the table says of a token."""
    if not row.ours:
        return Reading(None, (no_counterpart(piece, name, row),))
    found = []
    if row.note:
        found.append(Found(Severity.WARNING, "macro_adapted", f"{piece[:64]}: {row.note}"))
    if row.personal:
        found.append(leaves_empty(piece))
    return Reading(f"{{{row.ours}}}", tuple(found))


def rows(table: str) -> dict[str, Row]:
    """The table that the text holds. Raises ValueError for a line that is none: tables are code."""
    found: dict[str, Row] = {}
    for line in table.strip().splitlines():
        text, _, note = line.partition(" ; ")
        theirs, arrow, ours = text.partition("->")
        if not arrow:
            raise ValueError(f"no arrow in {line!r}")
        for name in (part.strip() for part in theirs.split(",")):
            for theirs_one, ours_one in _family(name.removesuffix("?"), ours.strip()):
                if theirs_one in found:
                    raise ValueError(f"{theirs_one} stands twice in a table")
                found[theirs_one] = _row(ours_one, note.strip())._replace(confirmed=not name.endswith("?"))
    return found


def _family(theirs: str, ours: str) -> list[tuple[str, str]]:
    spread = _FAMILY.search(theirs)
    if not spread:
        return [(theirs, ours)]
    numbers = range(int(spread[1]), int(spread[2]) + 1)
    return [(_FAMILY.sub(str(number), theirs), ours.replace("#", str(number))) for number in numbers]


def _row(ours: str, note: str) -> Row:
    row = Row(ours, note)
    if ours and row.name not in IN_POSTBACK:
        return Row("", NOT_KEPT)
    missing = [call for call in _CALL.findall(ours) if call not in FILTERS]
    return Row("", f"this release has no filter {missing[0]}") if missing else row
