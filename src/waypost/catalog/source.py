"""The catalog's text as a tree in which every node knows its file and line.

Owns: the YAML subset that a catalog is written in. Reads: text that somebody else has read. Writes nothing.
Never decides what a scalar means: `on`, `no`, `30%` and `007` stay the text that was written, and the reader of each
key takes it as what the key calls for (so YAML 1.1's habit of reading `on:` as true does no harm).

The subset of YAML 1.2: one document a file; mappings with text keys, sequences, scalars; anchors and aliases, within a
bound on what they expand to; no tags but `!!str`, no merge keys. Nodes are built from libyaml's events without
recursion, because composing on libyaml's side recurses without a bound and is three times slower.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from waypost.catalog.problems import Problems

DEPTH_MAX = 32
ALIAS_NODES_MAX = 200_000  # what all aliases of a file may add
_TEXT_PER_NODE = 64  # a long scalar counts as one node for so many characters

Place: TypeAlias = tuple[str, int]  # file, line from 1

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT_TAGS = ("!", "tag:yaml.org,2002:str")


class Scalar:
    """A value as written. `plain` says that it stood without quotes."""

    __slots__ = ("at", "plain", "text")

    def __init__(self, text: str, plain: bool, at: Place) -> None:
        self.text = text
        self.plain = plain
        self.at = at

    @property
    def empty(self) -> bool:
        """Whether this is YAML's null."""
        return self.plain and self.text in ("", "~", "null", "Null", "NULL")


class Mapping:
    """Keys in their order; `keys` says where each is written."""

    __slots__ = ("at", "entries", "keys")

    def __init__(self, at: Place) -> None:
        self.at = at
        self.entries: dict[str, Node] = {}
        self.keys: dict[str, Place] = {}


class Items:
    """A sequence."""

    __slots__ = ("at", "nodes")

    def __init__(self, at: Place) -> None:
        self.at = at
        self.nodes: list[Node] = []


Node: TypeAlias = Scalar | Mapping | Items


def kind_of(node: Node) -> str:
    """What a node is, in words for messages."""
    if isinstance(node, Mapping):
        return "a mapping"
    return "a list" if isinstance(node, Items) else "text"


def read_sources(
    sources: Sequence[tuple[str, str]],
    problems: Problems,
    *,
    is_to_be: str = "a catalog is a mapping of sections",
    begins: str = "waypost: 1",
) -> Mapping:
    """One tree from all (file, text) pairs: top-level sections are merged, names in them must differ.

    Mistakes of syntax and duplicates go to `problems`; what could be read is in the tree. `is_to_be` and `begins` are
    what is said of a file that is no mapping.
    """
    root = Mapping(("", 1))
    for file, text in sources:
        tree = _Builder(file, problems, (is_to_be, begins)).build(text)
        if tree is None:
            continue
        for key, node in tree.entries.items():
            _merge(root, key, node, tree.keys[key], problems)
    return root


def _merge(root: Mapping, key: str, node: Node, at: Place, problems: Problems) -> None:
    known = root.entries.get(key)
    if known is None:
        if isinstance(node, Mapping):  # copied: an anchor may share it
            copy = Mapping(node.at)
            copy.entries.update(node.entries)
            copy.keys.update(node.keys)
            node = copy
        root.entries[key] = node
        root.keys[key] = at
    elif isinstance(known, Mapping) and isinstance(node, Mapping):
        for name, entry in node.entries.items():
            if name in known.entries:
                _duplicate(f"{key}.{name}", known.keys[name], node.keys[name], problems)
            else:
                known.entries[name] = entry
                known.keys[name] = node.keys[name]
    elif isinstance(known, Scalar) and known.empty:
        root.entries[key] = node
        root.keys[key] = at
    elif isinstance(node, Scalar) and (node.empty or (isinstance(known, Scalar) and known.text == node.text)):
        pass
    else:
        _duplicate(key, root.keys[key], at, problems)


def _duplicate(field: str, first: Place, second: Place, problems: Problems) -> None:
    problems.add(
        "catalog_duplicate",
        f"given twice: first at {first[0]}:{first[1]}",
        second,
        field=field,
        value=field.rpartition(".")[2],
    )


class _RefusedError(Exception):
    """A file that is given up: message, place, hint."""

    def __init__(self, message: str, at: Place, hint: str = "", code: str = "catalog_syntax") -> None:
        super().__init__(message)
        self.message, self.at, self.hint, self.code = message, at, hint, code


class _Open:
    """A mapping or sequence that is being filled; `weight` counts nodes, those of aliases included."""

    __slots__ = ("anchor", "key", "key_at", "node", "weight")

    def __init__(self, node: Mapping | Items, anchor: str | None) -> None:
        self.node = node
        self.anchor = anchor
        self.key: str | None = None
        self.key_at: Place = node.at
        self.weight = 1


class _Builder:
    """Builds one file's tree from libyaml's events."""

    def __init__(self, file: str, problems: Problems, form: tuple[str, str]) -> None:
        self._file = file
        self._problems = problems
        self._form = form
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int] | None] = {}  # None: still being filled
        self._aliased = 0
        self._root: Node | None = None

    def build(self, text: str) -> Mapping | None:
        """The file's top-level mapping; None if it is empty or was given up."""
        try:
            self._run(text)
            root = self._root
            if root is None or (isinstance(root, Scalar) and root.empty):
                return None
            if not isinstance(root, Mapping):
                is_to_be, begins = self._form
                raise _RefusedError(is_to_be, root.at, f"begin with `{begins}`")
            return root
        except _RefusedError as refused:
            self._problems.add(refused.code, refused.message, refused.at, hint=refused.hint)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            at = (self._file, mark.line + 1 if mark else 1)
            context = f" ({error.context})" if error.context else ""
            self._problems.add("catalog_syntax", f"{error.problem or 'not YAML'}{context}", at, hint=_hint_for(error))
        except (yaml.YAMLError, UnicodeError, ValueError) as error:
            self._problems.add("catalog_syntax", str(error).splitlines()[0], (self._file, 1))
        return None

    def _run(self, text: str) -> None:
        file = self._file
        documents = 0
        events: Iterable[Any] = yaml.parse(text, Loader=_Loader)
        for event in events:
            kind = type(event)
            if kind is ScalarEvent:
                at = (file, event.start_mark.line + 1)
                if event.tag is not None and event.tag not in _TEXT_TAGS:
                    raise _RefusedError(f"tags such as {event.tag} have no meaning here", at, "remove it")
                scalar = Scalar(event.value, not event.style and event.tag is None, at)
                self._add(scalar, 1 + len(event.value) // _TEXT_PER_NODE, event.anchor)
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                self._open(event, kind is MappingStartEvent)
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                opened = self._stack.pop()
                self._add(opened.node, opened.weight, opened.anchor)
            elif kind is AliasEvent:
                self._alias(event.anchor, (file, event.start_mark.line + 1))
            elif kind is DocumentStartEvent:
                documents += 1
                if documents > 1:
                    at = (file, event.start_mark.line + 1)
                    raise _RefusedError("a second document in one file", at, "remove the `---`, or split the file")

    def _open(self, event: Any, mapping: bool) -> None:
        at = (self._file, event.start_mark.line + 1)
        if event.tag is not None:
            raise _RefusedError(f"tags such as {event.tag} have no meaning here", at, "remove it")
        if len(self._stack) >= DEPTH_MAX:
            raise _RefusedError(f"nested deeper than {DEPTH_MAX}", at, "a catalog is at most eight levels deep")
        if self._stack:
            top = self._stack[-1]
            if isinstance(top.node, Mapping) and top.key is None:
                raise _RefusedError("a key must be text", at, "quote it if it begins with `{` or `[`")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._stack.append(_Open(Mapping(at) if mapping else Items(at), event.anchor))

    def _alias(self, name: str, at: Place) -> None:
        if name not in self._anchors:
            raise _RefusedError(f"nothing is anchored as &{name}", at)
        anchored = self._anchors[name]
        if anchored is None:
            raise _RefusedError(f"*{name} stands within what it names", at)
        node, weight = anchored
        self._aliased += weight
        if self._aliased > ALIAS_NODES_MAX:
            raise _RefusedError(
                f"aliases expand to more than {ALIAS_NODES_MAX} nodes", at, "write it out", "catalog_too_large"
            )
        self._add(node, weight, None, at)

    def _add(self, node: Node, weight: int, anchor: str | None, alias_at: Place | None = None) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, weight)
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        top.weight += weight
        parent = top.node
        if isinstance(parent, Items):
            parent.nodes.append(node)
        elif top.key is None:
            if not isinstance(node, Scalar):
                raise _RefusedError("a key must be text", node.at)
            top.key, top.key_at = node.text, alias_at or node.at
        else:
            self._put(parent, top.key, top.key_at, node)
            top.key = None

    def _put(self, parent: Mapping, key: str, at: Place, node: Node) -> None:
        if key in parent.entries:
            field = ".".join([o.key for o in self._stack[:-1] if o.key is not None] + [key])
            _duplicate(field, parent.keys[key], at, self._problems)
            return
        parent.entries[key] = node
        parent.keys[key] = at


def _hint_for(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or ""
    if "cannot start any token" in problem and "\\t" in repr(problem):
        return "indent with spaces, not with tabs"
    if "mapping values are not allowed" in problem:
        return "quote a text that contains `: `, and check the indentation"
    if "expected ',' or '}'" in problem or "expected ',' or ']'" in problem:
        return "quote a text that contains `,` or a brace, and close what is open"
    return "check the indentation and the quotes around this line"
