"""The signs that templates and conditions are written in: names, filters with their arguments, quoted texts.

Owns: the lower half of the grammar (`name`, `filter`, `argument`, `value` of docs/macros.md), and the errors that
both halves raise. Reads and writes nothing. Never knows which macros or filters exist.
"""

import re
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from waypost.errors import WaypostError

Apply = Callable[[str], str]

_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BARE = re.compile(r"[^\s,=()|{}'\"]+")
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*+)'", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:[^\s'\0]+")
SECRET_HINT = "name the variable or file that holds it: 'env:NAME' or 'file:PATH'"
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class MacroError(WaypostError):
    """A template or condition at fault; `column` counts characters from 1, 0 where the whole text is meant."""

    def __init__(self, code: str, detail: str, *, column: int = 0, place: str = "", hint: str = "") -> None:
        self.column = column
        self.bare_detail = detail
        super().__init__(code, f"column {column}: {detail}" if column else detail, place=place, hint=hint)


class ValueRefusedError(ValueError):
    """A filter or a position cannot take this value; the template adds the place and raises an error with a code."""

    code = "macro_value"


class Source(NamedTuple):
    """Where a value comes from: a macro's name, or the reference of a secret."""

    name: str
    secret: str = ""


class Argument(NamedTuple):
    """One argument; `key` is None for a plain one. Where there is a `source`, the value is what that has."""

    key: str | None
    value: str
    column: int
    source: Source | None = None


class Call(NamedTuple):
    """One filter with its arguments."""

    name: str
    arguments: tuple[Argument, ...]
    column: int


def check_reference(text: str, *, column: int, place: str) -> str:
    """The text, if it says where a secret stands. Raises MacroError `macro_bad_argument`, without the text."""
    if not _REFERENCE.fullmatch(text):
        detail = "a secret is never written in a template"
        raise MacroError("macro_bad_argument", detail, column=column, place=place, hint=SECRET_HINT)
    return text


def quote_argument(value: str) -> str:
    """The value as an argument is written: bare where it can be, otherwise quoted."""
    if _BARE.fullmatch(value):
        return value
    return quote_text(value)


def quote_text(value: str) -> str:
    """The value as a text in quotes."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + escaped.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r") + "'"


class Scanner:
    """One text and how far it has been read: `at` only ever grows, and `steps` counts the looks at the text."""

    def __init__(self, text: str, place: str) -> None:
        self.text = text
        self.place = place
        self.at = 0
        self.steps = 0

    def peek(self, length: int = 1) -> str:
        """The next characters, fewer at the end."""
        return self.text[self.at : self.at + length]

    def space(self) -> None:
        """Passes white space."""
        self._take(_SPACE)

    def take_sign(self, sign: str) -> bool:
        """Passes the sign, if it is next."""
        self.steps += 1
        if not self.text.startswith(sign, self.at):
            return False
        self.at += len(sign)
        return True

    def take_name(self) -> str:
        """A macro's name; empty if there is none here."""
        return self._take(_NAME)

    def take_quoted(self) -> str | None:
        """A text in quotes; None if the next character is no quote."""
        if self.peek() != "'":
            return None
        self.steps += 1
        found = _QUOTED.match(self.text, self.at)
        if not found:
            self.fail("a quoted text has no closing '")
        self.at = found.end()
        return _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), found[1])

    def take_secret(self, name: str) -> Source | None:
        """The rest of secret('…'); None if it is not what stands here."""
        if name != "secret" or not self.take_sign("("):
            return None
        self.space()
        column = self.at + 1
        reference = self.take_quoted()
        self.space()
        if reference is None or not self.take_sign(")"):
            self.fail("secret takes a reference in quotes", hint=SECRET_HINT)
        return Source(name, check_reference(reference, column=column, place=self.place))

    def take_calls(self) -> tuple[Call, ...]:
        """The filters that stand here, each behind its |, and the white space around them."""
        calls = []
        self.space()
        while self.take_sign("|"):
            self.space()
            calls.append(self._call())
            self.space()
        return tuple(calls)

    def match(self, pattern: re.Pattern[str]) -> str:
        """What the pattern matches here, and passes it; empty if it does not match."""
        return self._take(pattern)

    def fail(self, detail: str, *, hint: str = "", column: int = 0, code: str = "macro_syntax") -> NoReturn:
        """Raises MacroError at the column, or where the reading stands."""
        raise MacroError(code, detail, column=column or self.at + 1, place=self.place, hint=hint)

    def _take(self, pattern: re.Pattern[str]) -> str:
        self.steps += 1
        found = pattern.match(self.text, self.at)
        if not found:
            return ""
        self.at = found.end()
        return found[0]

    def _call(self) -> Call:
        column = self.at + 1
        name = self._take(_WORD)
        if not name:
            self.fail("a filter's name is missing after |")
        self.space()
        arguments: list[Argument] = []
        if not self.take_sign("("):
            return Call(name, (), column)
        self.space()
        if self.take_sign(")"):
            return Call(name, (), column)
        while True:
            arguments.append(self._argument())
            if self.take_sign(")"):
                return Call(name, tuple(arguments), column)
            if not self.take_sign(","):
                self._bad_argument(name)
            self.space()

    def _argument(self) -> Argument:
        column = self.at + 1
        value = self._value()
        self.space()
        if not self.take_sign("="):
            if value is None:
                self.fail("an argument is missing", hint="write '' for an empty one")
            return _as_argument(None, value, column)
        if not isinstance(value, str):
            self.fail("the name before = is missing", hint="write '' for an empty one", column=column)
        self.space()
        right = self._value()
        self.space()
        return _as_argument(value, right or "", column)

    def _value(self) -> str | Source | None:
        quoted = self.take_quoted()
        if quoted is not None:
            return quoted
        if not self.take_sign("{"):
            return self._take(_BARE) or None
        self.space()
        name = self.take_name()
        source = self.take_secret(name) or Source(name)
        self.space()
        if not name or not self.take_sign("}"):
            self.fail("a macro in an argument is its name in braces", hint="such as {revenue|sub({payout})}")
        return source

    def _bad_argument(self, name: str) -> NoReturn:
        sign = self.peek()
        if not sign:
            self.fail(f"{name}( has no closing )")
        self.fail(f"{sign!r} is not expected in {name}(…)", hint="put texts with signs or spaces in '…'")


def _as_argument(key: str | None, value: str | Source, column: int) -> Argument:
    if isinstance(value, str):
        return Argument(key, value, column)
    return Argument(key, "", column, value)
