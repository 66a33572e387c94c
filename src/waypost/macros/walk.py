"""The walk through a template that says where each macro stands.

Owns: the parts of URLs, JSON and XML texts as far as values may stand in them, and what a template's own text may not
do there. Reads and writes nothing. Never alters what the template's author wrote, but to spell it as its position
demands.
"""

import re
from typing import NamedTuple, NoReturn
from urllib.parse import quote

from waypost.macros.encoding import (
    JSON_STRING,
    JSON_VALUE,
    OF_POSITION,
    PATH,
    PERCENT,
    XML,
    Encoder,
    Position,
    encode_header,
    encode_raw,
    keep_in_query,
    keep_json,
)
from waypost.macros.scanner import MacroError

_plain_header = re.compile(r"[ -~]*").fullmatch
_authority = re.compile(r"(?:[^@/?#\s]*@)?(?:[A-Za-z0-9._\-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?").fullmatch
_NOT_IN_URL = re.compile(r"[^!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]+")
_SPACE_OR_CONTROL = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff]")
_JSON_STRING_SIGN = re.compile(r'\\.?|"', re.DOTALL)
_XML_SIGN = re.compile(r"<!--|-->|<!\[CDATA\[|\]\]>|<\?|\?>|[<>\"']")
_XML_INSIDE = {"<!--": "comment", "<![CDATA[": "CDATA section", "<?": "processing instruction", "<": "tag"}
_XML_ENDS = {"comment": "-->", "CDATA section": "]]>", "processing instruction": "?>", "tag": ">"}
_PARAMETERS = (Position.QUERY, Position.QUERY_KEY, Position.FORM)


class Standing(NamedTuple):
    """Where the walk stands: a URL's part and the host so far, or what a JSON or XML text is in the middle of."""

    part: str = ""
    authority: str = ""


class Walk:
    """Follows a template from its first character: literals move it on, macros ask where they stand."""

    def __init__(self, position: Position, *, place: str = "") -> None:
        self._position = position
        self._place = place
        self._part = "scheme" if position is Position.URL else ""
        self._authority = ""

    @property
    def standing(self) -> Standing:
        """Where the walk stands, to come back to."""
        return Standing(self._part, self._authority)

    def go_back(self, standing: Standing) -> None:
        """To the beginning of a condition, for its next branch."""
        self._part, self._authority = standing

    def literal(self, text: str, column: int) -> str:
        """The text as it will be rendered. Raises MacroError `macro_not_url` or `macro_syntax`."""
        if self._position is Position.URL:
            return self._url_literal(text, column)
        if self.can_drop and "\0" in text:
            self._fail("macro_syntax", "a NUL cannot stand here", column + text.index("\0"))
        if self._position is Position.JSON:
            self._json_literal(text, column)
        elif self._position is Position.XML:
            self._xml_literal(text)
        elif self._position is Position.HEADER and not _plain_header(text):
            self._fail("macro_syntax", "a header may hold printable ASCII only", column)
        return text

    def encoder(self, name: str, column: int) -> Encoder:
        """How a macro's value is written here. Raises MacroError `macro_in_host` or `macro_syntax`."""
        if self._position is Position.JSON:
            return JSON_STRING if self._part else JSON_VALUE
        if self._position is Position.XML:
            if self._part and self._part[0] not in "\"'":
                hint = "values stand in text, and in attributes between quotes"
                self._fail("macro_syntax", f"{{{name}}} stands in an XML {self._part}", column, hint=hint)
            return XML
        if self._position is not Position.URL:
            return OF_POSITION[self._position]
        self.check_not_in_host(f"{{{name}}}", column)
        return PATH if self._part == "path" else PERCENT

    def raw_encoder(self, name: str, column: int) -> Encoder:
        """How a value with the filter `raw` is written here. Raises MacroError `macro_bad_argument`."""
        self.encoder(name, column)
        if self._position is Position.RAW:
            return Encoder(encode_raw)
        if self._position is Position.HEADER:
            return Encoder(encode_header)
        if self._position is Position.JSON and not self._part:
            return Encoder(keep_json)
        if self._position in _PARAMETERS or self._part in ("query", "fragment"):
            return Encoder(keep_in_query)
        hint = "leave it out, and the value is encoded for its place"
        return self._fail(
            "macro_bad_argument", "raw is not possible here: the value could leave its place", column, hint=hint
        )

    @property
    def can_drop(self) -> bool:
        """Whether a macro that stands here is part of a parameter or member that can be left out."""
        return self._position in (*_PARAMETERS, Position.JSON) or self._part == "query"

    def check_not_in_host(self, what: str, column: int) -> None:
        """Raises MacroError `macro_in_host` before a URL's path."""
        if self._part in ("scheme", "authority"):
            part = "scheme" if self._part == "scheme" else "host or port"
            self._fail("macro_in_host", f"{what} stands in the URL's {part}", column)

    def join(self, ends: list[Standing], column: int) -> None:
        """After a condition, whose branches ended there. Raises MacroError where they do not end alike."""
        if any(end != ends[0] for end in ends):
            where = "part of the URL" if self._position is Position.URL else "place, inside or outside of quotes"
            hint = "write an {else}, or open and close it outside of the condition"
            self._fail("macro_syntax", f"the pieces of a condition do not end in the same {where}", column, hint=hint)
        self.go_back(ends[0])

    def end(self) -> None:
        """Raises MacroError where the text ends before a whole URL, JSON string or XML tag."""
        if self._part == "scheme":
            self._fail("macro_not_url", "not an http or https URL", 0)
        if self._part == "authority":
            self._check_authority(0)
        if self._position is Position.JSON and self._part:
            self._fail("macro_syntax", "a JSON string has no closing quote", 0)
        if self._position is Position.XML and self._part:
            self._fail("macro_syntax", "an XML tag, comment or section has no end", 0)

    def _json_literal(self, text: str, column: int) -> None:
        for sign in _JSON_STRING_SIGN.findall(text):
            if sign == '"':
                self._part = "" if self._part else '"'
            elif sign == "\\":
                self._fail("macro_syntax", "a backslash would escape what a macro renders", column + len(text) - 1)

    def _xml_literal(self, text: str) -> None:
        """The part is empty in text, a quote and `tag` in an attribute, otherwise what XML calls it."""
        for sign in _XML_SIGN.findall(text):
            if not self._part:
                self._part = _XML_INSIDE.get(sign, "")
            elif self._part[0] in "\"'":
                if sign == self._part[0]:
                    self._part = "tag"
            elif self._part == "tag" and sign in "\"'":
                self._part = f"{sign}attribute"
            elif sign == _XML_ENDS[self._part] or (self._part == "tag" and sign in ("-->", "]]>", "?>")):
                self._part = ""

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
            self._authority = ""
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
