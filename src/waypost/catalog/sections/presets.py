"""`preset:` and `with:` of partners and advertisers: what a preset lends is put below their own keys, before anything
else reads them.

Owns: the merge, and the checks of a preset's name and values. Changes the tree; notes problems. Never reads what it
lends: every key of it is checked as if it stood in the catalog, and a mistake in it names both lines.
"""

import re
from collections.abc import Collection
from urllib.parse import quote

from waypost.catalog.preset import PLACEHOLDER, SIDES, Parameter, Preset
from waypost.catalog.presets import Shelf
from waypost.catalog.problems import Problems
from waypost.catalog.source import Items, Mapping, Node, Place, Scalar, kind_of

EVENTS = "events"  # in `with`: goals that the catalog calls otherwise than the preset
_REFERENCE = re.compile(r"(?:env:[A-Za-z_][A-Za-z0-9_]{0,127}|file:[^\s'\\]{1,500})\Z")
_EVENTS, _AUTH = ".postbacks.events", ".postbacks.auth."  # paths in what is lent


class LentPlace(tuple[str, int]):
    """The place of `preset:` in the catalog, for something that stands in the preset; `origin` says where."""

    origin: str

    @classmethod
    def of(cls, at: Place, origin: str) -> "LentPlace":
        made = cls(at)
        made.origin = origin
        return made


def expand_presets(tree: Mapping, problems: Problems, shelf: Shelf) -> None:
    """Puts what presets lend into the partners and advertisers of a catalog's tree."""
    goals: Collection[str] | None = None
    for side, section in SIDES.items():
        entries = tree.entries.get(section)
        for name, entry in list(entries.entries.items()) if isinstance(entries, Mapping) else ():
            if isinstance(entry, Mapping) and ("preset" in entry.entries or "with" in entry.entries):
                if goals is None:
                    goals = _goals(tree)
                assert isinstance(entries, Mapping)
                expansion = _Expansion(problems, shelf, f"{section}.{name}", side, entry, goals)
                entries.entries[name] = expansion.expanded()


def _goals(tree: Mapping) -> set[str]:
    """The goals of all offers."""
    offers = tree.entries.get("offers")
    found: set[str] = set()
    for offer in offers.entries.values() if isinstance(offers, Mapping) else ():
        goals = offer.entries.get("goals") if isinstance(offer, Mapping) else None
        found.update(goals.entries if isinstance(goals, Mapping) else ())
    return found


class _Expansion:
    """One entry with its preset."""

    def __init__(
        self, problems: Problems, shelf: Shelf, path: str, side: str, own: Mapping, goals: Collection[str]
    ) -> None:
        self._problems = problems
        self._shelf = shelf
        self._path = path
        self._side = side
        self._own = own
        self._goals = goals
        self._values: dict[str, str] = {}
        self._parameters: dict[str, Parameter] = {}
        self._events: dict[str, Node] = {}
        self._at: Place = own.at
        self._name = ""

    def expanded(self) -> Mapping:
        """The entry with what its preset lends; as it was, noted, where that cannot be."""
        preset = self._preset()
        lent = preset.lent(self._side) if preset is not None else None
        if preset is None or lent is None:
            return self._own
        self._name = preset.name
        self._at = self._own.keys["preset"]
        if not self._read_values(preset):
            return self._own
        filled = self._filled(lent, "")
        assert isinstance(filled, Mapping)
        return self._merged(filled)

    def _preset(self) -> Preset | None:
        node = self._own.entries.get("preset")
        if node is None:
            at = self._own.keys["with"]
            hint = "add `preset: NAME`, or remove it"
            self._note("catalog_missing_key", "`with` has a meaning beside `preset` only", at, "with", hint=hint)
            return None
        if not isinstance(node, Scalar):
            self._note("catalog_wrong_type", f"takes a preset's name, not {kind_of(node)}", node.at, "preset")
            return None
        if node.text not in self._shelf.names:
            self._note(
                "catalog_unknown_name", f"there is no preset `{node.text[:64]}`", node.at, "preset", value=node.text,
                hint="`waypost catalog preset list` shows all", meant=self._shelf.names,
            )  # fmt: skip
            return None
        preset = self._shelf.preset(node.text)
        if preset.lent(self._side) is None:
            others = " and ".join(f"`{SIDES[side]}`" for side in preset.sides)
            message = f"`{preset.name}` is no preset of {SIDES[self._side]}"
            self._note("catalog_bad_value", message, node.at, "preset", hint=f"it stands in {others}")
            return None
        return preset

    # --- values --------------------------------------------------------------------------------------

    def _read_values(self, preset: Preset) -> bool:
        """Reads `with`; whether everything that is asked for is there and right."""
        before = len(self._problems)
        used = {parameter.name: parameter for parameter in preset.used(self._side)}
        node = self._own.entries.get("with")
        given = node.entries if isinstance(node, Mapping) else {}
        if node is not None and not isinstance(node, Mapping) and not (isinstance(node, Scalar) and node.empty):
            message = f"takes a mapping of the preset's parameters, not {kind_of(node)}"
            self._note("catalog_wrong_type", message, node.at, "with")
        has_events = any("events" in rule.entries for rule in _rules(preset.lent(self._side)))
        for name, value in given.items():
            assert isinstance(node, Mapping)
            if name == EVENTS and has_events:
                self._read_events(value)
            elif name in used:
                self._read_value(used[name], value)
            else:
                known = [*used, *((EVENTS,) if has_events else ())]
                hint = "it has " + ", ".join(f"`{one}`" for one in known) if known else "it has none: remove `with`"
                message = f"preset `{preset.name}` has no parameter `{name[:64]}`"
                self._note("catalog_unknown_key", message, node.keys[name], f"with.{name[:64]}",
                           value=name, hint=hint, meant=known)  # fmt: skip
        for name, parameter in used.items():
            if name in self._values or name in given:
                continue
            if parameter.default is None:
                message = f"preset `{preset.name}` asks for `{name}` ({parameter.meaning})"
                hint = f"add `with: {{{name}: {example_of(parameter)}}}`"
                self._note("catalog_missing_key", message, self._own.keys["preset"], f"with.{name}", hint=hint)
            else:
                self._values[name] = parameter.default
        self._parameters = used
        return len(self._problems) == before

    def _read_value(self, parameter: Parameter, node: Node) -> None:
        field = f"with.{parameter.name}"
        if not isinstance(node, Scalar) or node.empty:
            got = "nothing" if isinstance(node, Scalar) else kind_of(node)
            self._note("catalog_wrong_type", f"takes text, not {got}", node.at, field, hint=parameter.meaning)
        elif parameter.is_secret and not _REFERENCE.match(node.text):
            hint = "`env:NAME` or `file:PATH`: a preset's secrets never stand in a catalog"
            self._note("catalog_bad_value", "is a secret, and takes a reference to it", node.at, field, hint=hint)
        elif not parameter.is_secret and not parameter.fits(node.text):
            message = f"`{node.text[:60]}` cannot be `{parameter.name}` ({parameter.meaning})"
            hint = f"such as `{parameter.example}`" if parameter.example else "letters, digits and signs, no blanks"
            self._note("catalog_bad_value", message, node.at, field, value=node.text, hint=hint)
        else:
            self._values[parameter.name] = node.text

    def _read_events(self, node: Node) -> None:
        if isinstance(node, Mapping):
            self._events = node.entries
        else:
            message = f"takes a mapping of goals to their events, not {kind_of(node)}"
            self._note("catalog_wrong_type", message, node.at, "with.events")

    # --- what is lent --------------------------------------------------------------------------------

    def _filled(self, node: Node, path: str) -> Node:
        """A copy with the parameters' values in it, at the place of `preset:`. `path` leads to it in what is lent."""
        at = self._lent_at(node.at)
        if isinstance(node, Items):
            items = Items(at)
            items.nodes = [self._filled(entry, path) for entry in node.nodes]
            return items
        if isinstance(node, Scalar):
            text = PLACEHOLDER.sub(lambda found: self._written(found[1], path), node.text)
            return Scalar(text, node.plain, at)
        copy = Mapping(at)
        for name, entry in node.entries.items():
            inner = f"{path}.{name}"
            copy.keys[name] = self._lent_at(node.keys[name])
            copy.entries[name] = self._their_events(entry) if inner == _EVENTS else self._filled(entry, inner)
        return copy

    def _lent_at(self, at: Place) -> LentPlace:
        return LentPlace.of(self._at, f"preset {self._name}, line {at[1]}")

    def _written(self, name: str, path: str) -> str:
        """A parameter's value as it is written where it stands: in a template a secret stays a reference."""
        parameter, value = self._parameters[name], self._values[name]
        is_url = path.endswith((".get", ".url"))
        if path.startswith(_AUTH) or (parameter.is_host and is_url):
            return value
        if parameter.is_secret and value:
            return f"{{secret('{value}')}}"
        literal = quote(value, safe="") if is_url else value
        return literal.replace("{", "{{").replace("}", "}}")

    def _their_events(self, node: Node) -> Node:
        """The preset's events for the goals that this catalog has, and the user's own."""
        at = self._lent_at(node.at)
        events = Mapping(at)
        lent = node.entries if isinstance(node, Mapping) else {}
        for goal, event in lent.items():
            if goal in self._goals or goal == "*":
                events.entries[goal] = Scalar(event.text if isinstance(event, Scalar) else "", True, at)
                events.keys[goal] = at
        for goal, event in self._events.items():
            events.entries[goal] = event
            events.keys[goal] = event.at
        if not events.entries and self._goals:
            known = ", ".join(f"`{goal}`" for goal in lent)
            first = next(iter(lent.values()), None)
            example = first.text if isinstance(first, Scalar) else "Purchase"
            self._note(
                "catalog_missing_key", f"preset `{self._name}` knows the goals {known}: the catalog has none of them",
                self._at, "with.events", hint=f"add `with: {{events: {{{min(self._goals)}: {example}}}}}`",
            )  # fmt: skip
        return events

    def _merged(self, lent: Mapping) -> Mapping:
        """The entry's own keys over what is lent: mappings key by key, rules by their names, all else whole."""
        own = self._own
        merged = Mapping(own.at)
        for name in dict.fromkeys([*own.entries, *lent.entries]):
            mine, theirs = own.entries.get(name), lent.entries.get(name)
            merged.keys[name] = own.keys[name] if mine is not None else lent.keys[name]
            if mine is None or theirs is None:
                chosen = mine if mine is not None else theirs
                assert chosen is not None
                merged.entries[name] = chosen
            elif name == "postbacks":
                merged.entries[name] = _merged_rules(mine, theirs)
            elif isinstance(mine, Mapping) and isinstance(theirs, Mapping):
                both = Mapping(mine.at)
                both.entries = {**theirs.entries, **mine.entries}
                both.keys = {**theirs.keys, **mine.keys}
                merged.entries[name] = both
            else:
                merged.entries[name] = mine
        return merged

    def _note(
        self, code: str, message: str, at: Place, key: str, *, value: str = "", hint: str = "",
        meant: Collection[str] = (),
    ) -> None:  # fmt: skip
        self._problems.add(code, message, at, field=f"{self._path}.{key}", value=value, hint=hint, meant=meant)


def example_of(parameter: Parameter) -> str:
    """What a value may look like."""
    return f"env:{parameter.name.upper()}" if parameter.is_secret else parameter.example or "…"


def _rules(node: Mapping | None) -> list[Mapping]:
    rules = node.entries.get("postbacks") if node is not None else None
    return [rule for rule in rules.nodes if isinstance(rule, Mapping)] if isinstance(rules, Items) else []


def _merged_rules(mine: Node, theirs: Node) -> Node:
    """The lent rules, those of own names in their places, and then the other own ones."""
    if not isinstance(mine, Items) or not isinstance(theirs, Items):
        return mine
    own = {_rule_name(rule): rule for rule in mine.nodes if _rule_name(rule)}
    lent = [own.get(_rule_name(rule), rule) for rule in theirs.nodes]
    taken = {id(rule) for rule in lent}
    merged = Items(mine.at)
    merged.nodes = [*lent, *(rule for rule in mine.nodes if id(rule) not in taken)]
    return merged


def _rule_name(node: Node) -> str:
    name = node.entries.get("name") if isinstance(node, Mapping) else None
    return name.text if isinstance(name, Scalar) else ""
