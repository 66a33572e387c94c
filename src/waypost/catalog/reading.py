"""Reads nodes as what a key calls for: text, numbers, durations, names, lists; notes what is none.

Owns: the kinds of values and their bounds. Reads a tree; writes to the collector of problems only.
Never raises for a wrong value: it is noted, and None or the default goes on, so that everything else is checked too.
"""

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from waypost.catalog.keys import SHAPES, Key
from waypost.catalog.problems import Problems
from waypost.catalog.source import Items, Mapping, Node, Place, Scalar, kind_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
NAME_RULE = "letters, digits, `.`, `_`, `-`; begins with a letter or digit; at most 64 characters"
TEXT_MAX = 1 << 20  # templates have a bound of their own, from the settings
LIST_MAX = 1000

_DURATION = re.compile(r"(\d{1,9})\s?(ms|s|m|h|d|w)\Z")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_PERCENT = re.compile(r"(\d{1,3})(\.\d{1,6})?\s?%\Z")
_WHOLE = re.compile(r"\d{1,15}\Z")


class Field(NamedTuple):
    """A value and the path that leads to it."""

    node: Node
    path: str


class Fields:
    """The entries of one mapping, checked against the table: unknown, reserved and missing keys are noted."""

    __slots__ = ("_entries", "at", "path")

    def __init__(self, entries: dict[str, Node], path: str, at: Place) -> None:
        self._entries = entries
        self.path = path
        self.at = at

    def get(self, key: str) -> Field | None:
        node = self._entries.get(key)
        return None if node is None else Field(node, f"{self.path}.{key}")

    def __contains__(self, key: str) -> bool:
        return key in self._entries


class Reader:
    """Typed access to nodes. `shapes` are the keys of each mapping: a catalog's, or those of another kind of file."""

    def __init__(self, problems: Problems, shapes: dict[str, dict[str, Key]] = SHAPES) -> None:
        self.problems = problems
        self._shapes = shapes

    def wrong(self, code: str, field: Field, message: str, *, hint: str = "", meant: Collection[str] = ()) -> None:
        """Notes a problem with a value; the value is shown."""
        text = field.node.text if isinstance(field.node, Scalar) else ""
        self.problems.add(code, message, field.node.at, field=field.path, value=text, hint=hint, meant=meant)

    # --- mappings ------------------------------------------------------------------------------------

    def fields(self, field: Field, shape: str, at: Place | None = None) -> Fields | None:
        """A mapping with the keys of `shape`. None, noted, if it is no mapping. `at` is where its name stands."""
        node, path = field
        place = at or node.at
        if isinstance(node, Scalar) and node.empty:
            node = Mapping(node.at)
        if not isinstance(node, Mapping):
            keys = ", ".join(f"`{name}`" for name, key in self._shapes[shape].items() if key.available)
            self.wrong("catalog_wrong_type", field, f"takes a mapping, not {kind_of(node)}", hint=f"its keys: {keys}")
            return None
        known = self._shapes[shape]
        entries: dict[str, Node] = {}
        prefix = f"{path}." if path else ""
        for name, entry in node.entries.items():
            key = known.get(name)
            if key is None:
                self._unknown_key(name, prefix, shape, node.keys[name])
            elif not key.available:
                self.problems.add(
                    "catalog_not_available", f"not available yet ({key.meaning})", node.keys[name], field=prefix + name
                )
            else:
                entries[name] = entry
        for name, key in known.items():
            if key.required and name not in entries and name not in node.entries:
                self.problems.add(
                    "catalog_missing_key", f"`{name}` is missing ({key.meaning})", place, field=prefix + name,
                    hint=f"add `{name}:`, which takes {key.takes}",
                )  # fmt: skip
        return Fields(entries, path, place)

    def _unknown_key(self, name: str, prefix: str, shape: str, at: Place) -> None:
        meant = tuple(n for n, key in self._shapes[shape].items() if key.available)
        hint = "known here: " + ", ".join(f"`{known}`" for known in meant)
        if name == "<<":
            meant, hint = (), "merge keys have no meaning here: write the keys out, or alias the whole value"
        message = f"`{name[:64]}` is no key of this mapping"
        self.problems.add(
            "catalog_unknown_key", message, at, field=prefix + name[:64], value=name, hint=hint, meant=meant
        )

    def named(self, field: Field) -> Iterator[tuple[str, Field, Place]]:
        """The entries of a mapping by name: (name, field, where the name stands); bad names are noted and left out."""
        node, path = field
        if isinstance(node, Scalar) and node.empty:
            return
        if not isinstance(node, Mapping):
            self.wrong("catalog_wrong_type", field, f"takes a mapping by name, not {kind_of(node)}")
            return
        for name, entry in node.entries.items():
            if NAME.match(name):
                yield name, Field(entry, f"{path}.{name}"), node.keys[name]
            else:
                message = f"`{name[:80]}` cannot be a name"
                self.problems.add("catalog_bad_value", message, node.keys[name], field=path, value=name, hint=NAME_RULE)

    def entries(self, field: Field, count_max: int) -> list[tuple[str, Field]]:
        """The entries of a mapping with free keys; noted if it is none or longer than `count_max`."""
        node, path = field
        if isinstance(node, Scalar) and node.empty:
            return []
        if not isinstance(node, Mapping):
            self.wrong("catalog_wrong_type", field, f"takes a mapping, not {kind_of(node)}")
            return []
        if len(node.entries) > count_max:
            message = f"has {len(node.entries)} entries, at most {count_max} are taken"
            self.problems.add("catalog_too_large", message, node.at, field=path, hint="shorten it")
        pairs = list(node.entries.items())[:count_max]
        return [(name, Field(entry, f"{path}.{name}")) for name, entry in pairs]

    # --- lists ---------------------------------------------------------------------------------------

    def items(self, field: Field | None, count_max: int = LIST_MAX) -> list[Field]:
        """The elements of a list; noted if it is none or longer than `count_max`."""
        if field is None or (isinstance(field.node, Scalar) and field.node.empty):
            return []
        node, path = field
        if not isinstance(node, Items):
            hint = "begin each element with `- `"
            self.wrong("catalog_wrong_type", field, f"takes a list, not {kind_of(node)}", hint=hint)
            return []
        return self._elements(node, path, count_max)

    def one_or_many(self, field: Field | None) -> list[Field]:
        """A single value as a list of one, or a list's elements."""
        if field is None:
            return []
        node, path = field
        return self._elements(node, path) if isinstance(node, Items) else [field]

    def _elements(self, node: Items, path: str, count_max: int = LIST_MAX) -> list[Field]:
        if len(node.nodes) > count_max:
            message = f"has {len(node.nodes)} elements, at most {count_max} are taken"
            self.problems.add("catalog_too_large", message, node.at, field=path, hint="shorten it")
        return [Field(element, f"{path}[{nth}]") for nth, element in enumerate(node.nodes[:count_max])]

    # --- values --------------------------------------------------------------------------------------

    def text(self, field: Field | None, *, length_max: int = TEXT_MAX, secret: bool = False) -> str | None:
        """A scalar as it is written; noted if it is a mapping, a list, empty or too long."""
        if field is None:
            return None
        node, path = field
        if not isinstance(node, Scalar):
            hint = "quote a text that begins with `{` or `[`"
            self.wrong("catalog_wrong_type", field, f"takes text, not {kind_of(node)}", hint=hint)
            return None
        if not node.text or node.empty:
            self.problems.add(
                "catalog_wrong_type", "is empty", node.at, field=path, hint="give a value, or remove the key"
            )
            return None
        if len(node.text) > length_max:
            message = f"is {len(node.text)} characters long, at most {length_max} are taken"
            value = "" if secret else node.text
            self.problems.add("catalog_too_large", message, node.at, field=path, value=value, hint="shorten it")
            return None
        return node.text

    def flag(self, field: Field | None, default: bool) -> bool:
        """`true` or `false`, as in YAML 1.2."""
        text = self.text(field)
        if field is None or text is None:
            return default
        plain = isinstance(field.node, Scalar) and field.node.plain
        if plain and text in ("true", "True", "TRUE"):
            return True
        if plain and text in ("false", "False", "FALSE"):
            return False
        meant = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(text.lower(), "")
        hint = f"write `{meant}`" if meant else "without quotes"
        self.wrong("catalog_wrong_type", field, f"takes `true` or `false`, not `{text[:40]}`", hint=hint)
        return default

    def whole(self, field: Field | None, *, least: int, most: int, hint: str = "") -> int | None:
        """A whole number within bounds."""
        text = self.text(field)
        if field is None or text is None:
            return None
        digits = text.replace("_", "")
        if not _WHOLE.match(digits):
            self.wrong("catalog_wrong_type", field, f"takes a whole number, not `{text[:40]}`", hint="digits only")
            return None
        number = int(digits)
        if not least <= number <= most:
            self.wrong("catalog_bad_value", field, f"{number} is not within {least} to {most}", hint=hint)
            return None
        return number

    def duration_ms(self, field: Field | None, *, least_ms: int, most_ms: int) -> int | None:
        """A duration such as `15s` or `30d`, in milliseconds."""
        text = self.text(field)
        if field is None or text is None:
            return None
        found = _DURATION.match(text)
        if found is None:
            hint = "a number and a unit: `500ms`, `15s`, `2m`, `12h`, `30d` or `2w`"
            self.wrong("catalog_bad_value", field, f"`{text[:40]}` is no duration", hint=hint)
            return None
        ms = int(found[1]) * _UNIT_MS[found[2]]
        if not least_ms <= ms <= most_ms:
            bounds = f"{duration_text(least_ms)} to {duration_text(most_ms)}"
            self.wrong("catalog_bad_value", field, f"`{text}` is not within {bounds}", hint="correct it")
            return None
        return ms

    def share(self, field: Field | None) -> float | None:
        """A percentage of at most 100 as a share: `20%` is 0.2."""
        text = self.text(field)
        if field is None or text is None:
            return None
        if not _PERCENT.match(text) or float(text.rstrip("% ")) > 100:
            self.wrong("catalog_bad_value", field, f"`{text[:40]}` is no percentage up to 100%", hint="such as `20%`")
            return None
        return float(text.rstrip("% ")) / 100

    def choice(self, field: Field | None, options: Collection[str], later: Collection[str] = ()) -> str | None:
        """One of a few words; those in `later` are known and refused as not available yet."""
        text = self.text(field)
        if field is None or text is None or text in options:
            return text
        if text in later:
            self.wrong("catalog_not_available", field, f"`{text}` is not available yet")
        else:
            hint = "one of " + ", ".join(f"`{option}`" for option in options)
            self.wrong("catalog_bad_value", field, f"`{text[:40]}` is not known here", hint=hint, meant=options)
        return None

    def reference(self, field: Field | None, names: Collection[str], kind: str) -> str | None:
        """The name of something that the catalog has."""
        text = self.text(field)
        if field is None or text is None or text in names:
            return text
        hint = f"add it below `{kind}s:`" if kind != "goal" else "add it to an offer's goals"
        self.wrong("catalog_unknown_name", field, f"there is no {kind} `{text[:64]}`", hint=hint, meant=names)
        return None


def duration_text(ms: int) -> str:
    """The shortest exact text of a duration, in the catalog's own units."""
    for unit in ("d", "h", "m", "s"):
        if ms and ms % _UNIT_MS[unit] == 0:
            return f"{ms // _UNIT_MS[unit]}{unit}"
    return f"{ms}ms"
