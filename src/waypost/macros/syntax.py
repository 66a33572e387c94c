"""The template grammar: text → nodes with their columns.

Owns: the grammar, and every message about a text that does not follow it. Reads and writes nothing.
Never knows which macros or filters exist, nor where a value will stand: names.py, filters.py, template.py do.

    template = { literal | macro } ;
    literal  = { any character except "{" and "}" | "{{" | "}}" } ;       (* "{{" is one "{", "}}" one "}" *)
    macro    = "{" name { "|" filter } "}" ;
    name     = letter { letter | digit | "_" | "-" | "." } ;
    filter   = word [ "(" [ argument { "," argument } ] ")" ] ;
    word     = letter { letter | digit | "_" } ;
    argument = value | value "=" [ value ] ;                              (* the second form is keyed *)
    value    = bare | quoted ;
    bare     = { any character except white space and "," "=" "(" ")" "|" "{" "}" "'" '"' } ;
    quoted   = "'" { any character except "'" and "\\" | "\\" any character } "'" ;  (* \\n \\t \\r; else itself *)
    letter   = "A" … "Z" | "a" … "z" | "_" ;

White space is allowed around names, filters, arguments and their signs. Reserved, and refused until a release has
them: conditions `{if …}` `{elif …}` `{else}` `{end}`, optional pieces `{?name}…{end}`, policies for missing values
`{name!}` `{name?}`, macros inside arguments.
"""

import re
from typing import NamedTuple, NoReturn

from waypost.macros.scanner import Argument, Call, MacroError, ValueRefusedError, quote_argument

__all__ = ["Argument", "Call", "Literal", "Macro", "MacroError", "Node", "ValueRefusedError", "parse", "quote_argument"]

KEYWORDS = frozenset({"if", "elif", "else", "end", "for", "set"})

_LITERAL = re.compile(r"[^{}]+")
_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BARE = re.compile(r"[^\s,=()|{}'\"]+")
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*+)'", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class Literal(NamedTuple):
    """Text that is rendered as it stands, braces already unescaped."""

    text: str
    column: int


class Macro(NamedTuple):
    """A place for a value, and the filters it passes through, in order."""

    name: str
    calls: tuple[Call, ...]
    column: int


Node = Literal | Macro


def parse(text: str, *, place: str = "") -> tuple[Node, ...]:
    """The template's nodes; time is linear in its length.

    Raises MacroError `macro_syntax` with the column of the first thing that does not follow the grammar.
    """
    return _Parser(text, place).template()


class _Parser:
    """Recursive descent over one text; `at` only ever grows."""

    def __init__(self, text: str, place: str) -> None:
        self.text = text
        self.place = place
        self.at = 0

    def template(self) -> tuple[Node, ...]:
        nodes: list[Node] = []
        literal: list[str] = []
        literal_column = 1
        text, end = self.text, len(self.text)
        while self.at < end:
            if not literal:
                literal_column = self.at + 1
            found = _LITERAL.match(text, self.at)
            if found:
                literal.append(found[0])
                self.at = found.end()
            elif text.startswith(("{{", "}}"), self.at):
                literal.append(text[self.at])
                self.at += 2
            elif text[self.at] == "}":
                self._fail("a } without its {", hint="write }} for a literal brace")
            else:
                if literal:
                    nodes.append(Literal("".join(literal), literal_column))
                    literal = []
                nodes.append(self._macro())
        if literal:
            nodes.append(Literal("".join(literal), literal_column))
        return tuple(nodes)

    def _macro(self) -> Macro:
        column = self.at + 1
        self.at += 1
        self._space()
        found = _NAME.match(self.text, self.at)
        if not found:
            self._no_name(column)
        name = found[0]
        self.at = found.end()
        self._space()
        if name in KEYWORDS:
            self._reserved(f"{{{name} …}}", "conditions", column)
        if self._peek() in ("!", "?"):
            self._reserved(f"{{{name}{self._peek()}}}", "policies for missing values", column)
        calls = []
        while self._peek() == "|":
            self.at += 1
            self._space()
            calls.append(self._call())
            self._space()
        if self._peek() != "}":
            self._unclosed(name, column)
        self.at += 1
        return Macro(name, tuple(calls), column)

    def _call(self) -> Call:
        column = self.at + 1
        found = _WORD.match(self.text, self.at)
        if not found:
            self._fail("a filter's name is missing after |")
        self.at = found.end()
        self._space()
        arguments: list[Argument] = []
        if self._peek() != "(":
            return Call(found[0], (), column)
        self.at += 1
        self._space()
        if self._peek() == ")":
            self.at += 1
            return Call(found[0], (), column)
        while True:
            arguments.append(self._argument())
            sign = self._peek()
            if sign not in (",", ")"):
                self._bad_argument(found[0])
            self.at += 1
            if sign == ")":
                return Call(found[0], tuple(arguments), column)
            self._space()

    def _argument(self) -> Argument:
        column = self.at + 1
        value = self._value()
        self._space()
        if self._peek() != "=":
            if value is None:
                self._fail("an argument is missing", hint="write '' for an empty one")
            return Argument(None, value, column)
        if value is None:
            self._fail("the name before = is missing", hint="write '' for an empty one")
        self.at += 1
        self._space()
        right = self._value()
        self._space()
        return Argument(value, right or "", column)

    def _value(self) -> str | None:
        if self._peek() == "'":
            found = _QUOTED.match(self.text, self.at)
            if not found:
                self._fail("a quoted argument has no closing '")
            self.at = found.end()
            return _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), found[1])
        if self._peek() == "{":
            self._reserved("{…} in an argument", "macros inside arguments", self.at + 1)
        found = _BARE.match(self.text, self.at)
        if not found:
            return None
        self.at = found.end()
        return found[0]

    def _space(self) -> None:
        found = _SPACE.match(self.text, self.at)
        if found:
            self.at = found.end()

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _no_name(self, column: int) -> NoReturn:
        sign = self._peek()
        if sign == "?":
            self._reserved("{?name}…{end}", "optional pieces", column)
        if sign in ("#", "/", "@", "!"):
            self._reserved(f"{{{sign}…}}", "blocks", column)
        self.at = column - 1
        if sign == "}":
            self._fail("a macro without a name", hint="write {{ and }} for literal braces")
        self._fail("a { that opens no macro", hint="write {{ for a literal brace")

    def _unclosed(self, name: str, column: int) -> NoReturn:
        sign = self._peek()
        if not sign:
            self.at = column - 1
            self._fail(f"{{{name} has no closing }}", hint="write {{ for a literal brace")
        if sign in (":", "="):
            self._fail(
                f"{sign!r} after {{{name} is no part of this language",
                hint="another system's template? translate it with `waypost macro import`",
            )
        self._fail(f"{sign!r} is not expected after {{{name}", hint="filters follow |, macros end with }")

    def _bad_argument(self, name: str) -> NoReturn:
        sign = self._peek()
        if not sign:
            self._fail(f"{name}( has no closing )")
        self._fail(f"{sign!r} is not expected in {name}(…)", hint="put texts with signs or spaces in '…'")

    def _reserved(self, what: str, feature: str, column: int) -> NoReturn:
        self.at = column - 1
        self._fail(f"{what}: {feature} are not available yet", hint="write it without, until a release has them")

    def _fail(self, detail: str, *, hint: str = "") -> NoReturn:
        raise MacroError("macro_syntax", detail, column=self.at + 1, place=self.place, hint=hint)
