"""The template grammar: text → nodes with their columns.

Owns: the grammar, and every message about a text that does not follow it. Reads and writes nothing.
Never knows which macros or filters exist, nor where a value will stand: names.py, filters.py, template.py do.

    template = { literal | macro | block } ;
    literal  = ? any character but { and } ? | "{{" | "}}" ;                (* doubled, it is one brace *)
    macro    = "{" source [ "!" | "?" ] { "|" filter } "}" ;                (* where it is empty: ! refuse, ? drop *)
    source   = name | "secret" "(" reference ")" ;
    reference = "'env:" word "'" | "'file:" ? one or more characters but white space, ' and \\ ? "'" ;
    block    = ( "{if" condition "}" | "{?" name "}" ) template { "{elif" condition "}" template }
               [ "{else}" template ] "{end}" ;
    name     = letter { letter | digit | "-" | "." } ;                      (* but for the words of blocks *)
    filter   = word [ "(" [ argument { "," argument } ] ")" ] ;
    word     = letter { letter | digit } ;
    argument = value | text "=" [ value ] ;                                 (* the second form is keyed *)
    value    = text | "{" source "}" ;                                      (* the last is a macro's value *)
    text     = bare | quoted ;
    bare     = ? one or more characters but white space and , = ( ) | { } ' " ? ;
    quoted   = "'" { ? any character but ' and \\ ? | "\\" ? any character ? } "'" ;     (* \\n \\t \\r; else itself *)
    letter   = ? A to Z, a to z, or _ ? ;
    digit    = ? 0 to 9 ? ;

`condition` is in expression.py. White space is allowed around names, filters, arguments and their signs.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from waypost.macros.expression import Condition, Exists, Name, parse_condition
from waypost.macros.scanner import Argument, Call, MacroError, Scanner, Source, ValueRefusedError, quote_argument

__all__ = [
    "Argument", "Block", "Call", "Literal", "Macro", "MacroError", "Node", "ValueRefusedError", "every_node", "parse",
    "quote_argument",
]  # fmt: skip

KEYWORDS = frozenset({"if", "elif", "else", "end", "for", "set"})
BLOCKS_DEPTH_MAX = 16

_LITERAL = re.compile(r"[^{}]+")


class Literal(NamedTuple):
    """Text that is rendered as it stands, braces already unescaped."""

    text: str
    column: int


class Macro(NamedTuple):
    """A place for a value, and the filters it passes through, in order.

    `policy` is `!` or `?` as written, or empty; `secret` is the reference of a secret, where it is one.
    """

    name: str
    calls: tuple[Call, ...]
    column: int
    policy: str = ""
    secret: str = ""


class Block(NamedTuple):
    """Pieces to choose from: the first whose condition holds is rendered. That of `{else}` is None."""

    branches: tuple[tuple[Condition | None, tuple["Node", ...]], ...]
    column: int


Node = Literal | Macro | Block


def parse(text: str, *, place: str = "") -> tuple[Node, ...]:
    """The template's nodes; time is linear in its length.

    Raises MacroError `macro_syntax` with the column of the first thing that does not follow the grammar, or
    `macro_too_large` where blocks are too deep in one another.
    """
    return Parser(text, place).template()


def every_node(nodes: tuple[Node, ...]) -> Iterator[Node]:
    """The nodes and those inside of blocks, in the order of the text."""
    for node in nodes:
        yield node
        if isinstance(node, Block):
            for _, inner in node.branches:
                yield from every_node(inner)


class Parser:
    """Recursive descent over one text."""

    def __init__(self, text: str, place: str) -> None:
        self.scan = Scanner(text, place)
        self._depth = 0

    def template(self) -> tuple[Node, ...]:
        """All of the text."""
        nodes, word, _ = self._nodes()
        assert not word, "at depth 0 a word that ends a piece is refused"
        return nodes

    def _nodes(self) -> tuple[tuple[Node, ...], str, int]:
        """Nodes up to the end of the text or to {elif, {else, {end; that word and its column."""
        scan = self.scan
        nodes: list[Node] = []
        literal: list[str] = []
        literal_column = 1
        while sign := scan.peek():
            if not literal:
                literal_column = scan.at + 1
            plain = scan.match(_LITERAL)
            if plain:
                literal.append(plain)
            elif scan.take_sign(sign * 2):
                literal.append(sign)
            elif sign == "}":
                scan.fail("a } without its {", hint="write }} for a literal brace")
            else:
                if literal:
                    nodes.append(Literal("".join(literal), literal_column))
                    literal = []
                column = scan.at + 1
                node = self._braced(column)
                if isinstance(node, str):
                    return tuple(nodes), node, column
                nodes.append(node)
        if literal:
            nodes.append(Literal("".join(literal), literal_column))
        return tuple(nodes), "", 0

    def _braced(self, column: int) -> Macro | Block | str:
        scan = self.scan
        scan.take_sign("{")
        scan.space()
        if scan.take_sign("?"):
            return self._optional(column)
        name = scan.take_name()
        if not name:
            self._no_name(column)
        if name == "if":
            condition = parse_condition(scan)
            self._close("{if …", column)
            return self._block(condition, column)
        if name in ("elif", "else", "end"):
            if not self._depth:
                scan.fail(f"{{{name}}} without its {{if …}}", column=column)
            return name
        if name in KEYWORDS:
            scan.fail(f"{{{name} …}} is not available yet", hint="write it without", column=column)
        return self._macro(name, column)

    def _optional(self, column: int) -> Block:
        scan = self.scan
        scan.space()
        at = scan.at + 1
        name = scan.take_name()
        if not name:
            scan.fail("a name is missing after {?", hint="such as {?sub3}&s3={sub3}{end}")
        self._close(f"{{?{name}", column)
        return self._block(Exists(Name(name, (), at)), column)

    def _block(self, condition: Condition | None, column: int) -> Block:
        self._depth += 1
        if self._depth > BLOCKS_DEPTH_MAX:
            detail = f"conditions are more than {BLOCKS_DEPTH_MAX} deep in one another"
            self.scan.fail(detail, code="macro_too_large", column=column)
        branches: list[tuple[Condition | None, tuple[Node, ...]]] = []
        while True:
            nodes, word, at = self._nodes()
            branches.append((condition, nodes))
            if not word:
                self.scan.fail("a condition has no {end}", column=column)
            if word == "end":
                break
            if condition is None:
                self.scan.fail(f"{{{word}}} after {{else}}", hint="{else} is the last piece", column=at)
            condition = parse_condition(self.scan) if word == "elif" else None
            self._close(f"{{{word}", at)
        self._close("{end", at)
        self._depth -= 1
        return Block(tuple(branches), column)

    def _macro(self, name: str, column: int) -> Macro:
        scan = self.scan
        source = scan.take_secret(name) or Source(name)
        scan.space()
        policy = scan.peek() if scan.peek() in ("!", "?") else ""
        if policy:
            scan.take_sign(policy)
        calls = scan.take_calls()
        self._close(f"{{{name}", column)
        return Macro(source.name, calls, column, policy, source.secret)

    def _close(self, what: str, column: int) -> None:
        scan = self.scan
        scan.space()
        if scan.take_sign("}"):
            return
        sign = scan.peek()
        if not sign:
            scan.fail(f"{what} has no closing }}", hint="write {{ for a literal brace", column=column)
        if sign in (":", "="):
            hint = "another system's template? translate it with `waypost macro import`"
            scan.fail(f"{sign!r} after {what} is no part of this language", hint=hint)
        scan.fail(f"{sign!r} is not expected after {what}", hint="filters follow |, macros end with }")

    def _no_name(self, column: int) -> NoReturn:
        scan = self.scan
        sign = scan.peek()
        if sign in ("#", "/", "@", "!"):
            hint = "conditions are written {if …}…{end}, optional pieces {?name}…{end}"
            scan.fail(f"{{{sign}…}}: blocks of this kind are not available", hint=hint, column=column)
        if sign == "}":
            scan.fail("a macro without a name", hint="write {{ and }} for literal braces", column=column)
        scan.fail("a { that opens no macro", hint="write {{ for a literal brace", column=column)
