"""An entry that is added to a catalog's text: lines go in, all else stays as it was written, comments and order too.

Owns: where the lines go. Takes text, answers text; writes nothing. Never checks the entry: compiling the result does.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import yaml
from yaml.nodes import MappingNode, ScalarNode

from waypost.errors import WaypostError

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN = re.compile(r"[A-Za-z0-9_/.$][A-Za-z0-9_/.@:$=+-]*(?<!:)\Z")
_WORDS = frozenset(("true", "false", "null", "yes", "no", "on", "off"))

Entry = Mapping[str, "str | Entry"]


class NewEntry(NamedTuple):
    """An entry and the section that it goes into."""

    section: str
    name: str
    entry: Entry


class _Section(NamedTuple):
    """A top-level section: the first line behind it, and the column of its entries' names. Lines count from 0.

    `braces` is the line of a section that is written as `{}`, which its entries take the place of; -1 otherwise.
    """

    end: int
    indent: int
    braces: int = -1


def with_entry(text: str, section: str, name: str, entry: Entry) -> str:
    """The text of a right catalog, with the entry at the end of its section, or in a new section at the end.

    Raises WaypostError `catalog_bad_value` for a section that is written within braces, where no line can go; an empty
    pair of them gives way.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines()
    found = _find(text, lines, section)
    if found is None:
        gap = [""] if lines and lines[-1].strip() else []
        at, added = len(lines), [*gap, f"{section}:", *_entry_lines(name, entry, 2)]
    else:
        at, added = found.end, _entry_lines(name, entry, found.indent)
        if found.braces >= 0:
            lines[found.braces] = lines[found.braces].replace("{}", "", 1).rstrip()
    return newline.join([*lines[:at], *added, *lines[at:]]) + newline


def entry_text(name: str, entry: Entry) -> str:
    """The entry alone, as it is written."""
    return "\n".join(_entry_lines(name, entry, 2))


def _entry_lines(name: str, entry: Entry, indent: int) -> list[str]:
    lines = [f"{' ' * indent}{_scalar(name)}:"]
    for key, value in entry.items():
        if isinstance(value, str):
            lines.append(f"{' ' * (indent + 2)}{_scalar(key)}: {_scalar(value)}")
        else:
            lines += _entry_lines(key, value, indent + 2)
    return lines


def _scalar(text: str) -> str:
    if _PLAIN.match(text) and text.lower() not in _WORDS:
        return text
    return "'" + text.replace("'", "''") + "'"


def _find(text: str, lines: list[str], section: str) -> _Section | None:
    root = yaml.compose(text, Loader=_Loader)  # as deep as a catalog may be nested, which whoever compiled it saw to
    if root is None:
        return None
    if not isinstance(root, MappingNode) or root.flow_style:
        raise _in_braces("the catalog")
    keys = [key for key, _ in root.value]
    for nth, (key, value) in enumerate(root.value):
        if key.value != section:
            continue
        behind = keys[nth + 1].start_mark.line if nth + 1 < len(keys) else len(lines)
        is_empty = isinstance(value, ScalarNode) and value.start_mark.index == value.end_mark.index
        written = text[value.start_mark.index : value.end_mark.index]
        if written == "{}" and value.start_mark.line == key.start_mark.line:
            return _Section(key.start_mark.line + 1, 2, key.start_mark.line)
        if not is_empty and not (isinstance(value, MappingNode) and not value.flow_style and value.value):
            raise _in_braces(f"`{section}`")
        if value.start_mark.index < key.start_mark.index:
            raise _in_braces(f"`{section}`")  # an alias: what it names stands elsewhere
        while behind > key.start_mark.line + 1 and _is_between(lines[behind - 1]):
            behind -= 1
        return _Section(behind, 2 if is_empty else value.value[0][0].start_mark.column)
    return None


def _is_between(line: str) -> bool:
    """Whether a line may stand between two sections: it is blank, a comment that is not indented, or a mark of YAML."""
    return not line.strip() or line.startswith(("#", "...", "---"))


def _in_braces(what: str) -> WaypostError:
    hint = "write it as lines, each name on one of its own, or add the entry by hand (--dry-run prints it)"
    return WaypostError("catalog_bad_value", f"{what} is not written as a block of lines", hint=hint)
