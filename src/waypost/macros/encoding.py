"""Positions in a request, and how a value is written in each so that it cannot leave it.

Owns: the positions, their encoders, and the walk that says in which part of a URL or JSON text a template stands.
Reads and writes nothing. Never alters what the template's author wrote, but to spell it as its position demands.

Sources: RFC 3986 (only unreserved characters stay in a value), RFC 8259 for JSON, RFC 9110 section 5.5 for headers.
"""

import json
import re
from collections.abc import Callable
from enum import StrEnum
from typing import NoReturn
from urllib.parse import quote

from waypost.macros.scanner import MacroError, ValueRefusedError

Encode = Callable[[str], str]


class Position(StrEnum):
    """Where a text will stand. `url` is a whole URL, whose parts are told apart by the template's own signs."""

    URL = "url"
    PATH = "path"
    QUERY_KEY = "query-key"
    QUERY = "query"
    FRAGMENT = "fragment"
    HEADER = "header"
    FORM = "form"
    JSON = "json"
    RAW = "raw"


_unreserved = re.compile(r"[A-Za-z0-9_.~\-]*").fullmatch
_plain_header = re.compile(r"[ -~]*").fullmatch
_not_header = re.compile(r"[^ -~]+")
_plain_json = re.compile(r"[ !#-\[\]-~]*").fullmatch
_json_number = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch
_authority = re.compile(r"(?:[^@/?#\s]*@)?(?:[A-Za-z0-9._\-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?").fullmatch
_NOT_IN_URL = re.compile(r"[^!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]+")
_SPACE_OR_CONTROL = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff]")
_JSON_STRING_SIGN = re.compile(r'\\.?|"', re.DOTALL)


def encode_percent(value: str) -> str:
    """Percent-encoded UTF-8; only letters, digits and `-._~` stay."""
    return value if _unreserved(value) else quote(value, safe="", errors="replace")


def encode_path(value: str) -> str:
    """As encode_percent. `.` and `..` are refused: they would climb, encoded or not (RFC 3986, 5.2.4)."""
    if value in (".", ".."):
        raise ValueRefusedError(f"{value!r} in a path would lead to another path")
    return value if _unreserved(value) else quote(value, safe="", errors="replace")


def encode_header(value: str) -> str:
    """Printable ASCII stays, all else (line breaks, controls, other scripts) is percent-encoded."""
    if _plain_header(value):
        return value
    return _not_header.sub(lambda found: quote(found[0], safe="", errors="replace"), value)


def encode_json_string(value: str) -> str:
    """For between the quotes of a JSON string."""
    return value if _plain_json(value) else json.dumps(value)[1:-1]


def encode_json_value(value: str) -> str:
    """For outside quotes: a number as it is, any other text with quotes around it."""
    return value if _json_number(value) else json.dumps(value)


def encode_raw(value: str) -> str:
    """As it is."""
    return value


_ENCODERS: dict[Position, Encode] = {
    Position.PATH: encode_path,
    Position.QUERY_KEY: encode_percent,
    Position.QUERY: encode_percent,
    Position.FRAGMENT: encode_percent,
    Position.HEADER: encode_header,
    Position.FORM: encode_percent,
    Position.RAW: encode_raw,
}


class Walk:
    """Follows a template from its first character: literals move it on, macros ask where they stand.

    For positions other than URL and JSON it stands still.
    """

    def __init__(self, position: Position, *, place: str = "") -> None:
        self._position = position
        self._place = place
        self._part = "scheme" if position is Position.URL else ""
        self._authority = ""
        self._in_string = False

    def literal(self, text: str, column: int) -> str:
        """The text as it will be rendered. Raises MacroError `macro_not_url` or `macro_syntax`."""
        if self._position is Position.URL:
            return self._url_literal(text, column)
        if self._position is Position.JSON:
            for sign in _JSON_STRING_SIGN.findall(text):
                if sign == '"':
                    self._in_string = not self._in_string
                elif sign == "\\":
                    self._fail("macro_syntax", "a backslash would escape what a macro renders", column + len(text) - 1)
        if self._position is Position.HEADER and not _plain_header(text):
            self._fail("macro_syntax", "a header may hold printable ASCII only", column)
        return text

    def encoder(self, name: str, column: int) -> Encode:
        """How a macro's value is written here. Raises MacroError `macro_in_host`."""
        if self._position is Position.JSON:
            return encode_json_string if self._in_string else encode_json_value
        if self._position is not Position.URL:
            return _ENCODERS[self._position]
        if self._part in ("scheme", "authority"):
            part = "scheme" if self._part == "scheme" else "host or port"
            self._fail("macro_in_host", f"{{{name}}} stands in the URL's {part}", column)
        return encode_path if self._part == "path" else encode_percent

    def end(self) -> None:
        """Raises MacroError where the text ends before a whole URL or JSON string."""
        if self._part == "scheme":
            self._fail("macro_not_url", "not an http or https URL", 0)
        if self._part == "authority":
            self._check_authority(0)
        if self._in_string:
            self._fail("macro_syntax", "a JSON string has no closing quote", 0)

    def _url_literal(self, text: str, column: int) -> str:
        bad = _SPACE_OR_CONTROL.search(text)
        if bad:
            self._fail("macro_not_url", f"{bad[0]!r} cannot stand in a URL", column + bad.start())
        start = 0
        if self._part == "scheme":
            start = text.find("://") + 3
            if text[:start].lower() not in ("http://", "https://"):
                self._fail("macro_not_url", "not an http or https URL", column)
            self._part = "authority"
        if self._part == "authority":
            ends = [found for found in (text.find(sign, start) for sign in "/?#") if found >= 0]
            end = min(ends, default=len(text))
            self._authority += text[start:end]
            if not ends:
                return text
            self._check_authority(column)
            self._part = "path"
            start = end
        if self._part == "path" and "?" in text[start:].partition("#")[0]:
            self._part = "query"
        if "#" in text[start:]:
            self._part = "fragment"
        return text[:start] + _NOT_IN_URL.sub(lambda found: quote(found[0], safe=""), text[start:])

    def _check_authority(self, column: int) -> None:
        found = _authority(self._authority)
        if not found or (found[1] and not 0 < int(found[1]) < 65536):
            hint = "" if self._authority.isascii() else "write the host in its xn-- form"
            self._fail("macro_not_url", f"{self._authority[:80]!r} is no host", column, hint=hint)

    def _fail(self, code: str, detail: str, column: int, *, hint: str = "") -> NoReturn:
        raise MacroError(code, detail, column=column, place=self._place, hint=hint)
