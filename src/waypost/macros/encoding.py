"""Positions in a request, and how a value is written in each so that it cannot leave it.

Owns: the positions, their encoders, and the signs that each leaves as they are. Reads and writes nothing. Never knows
which part of a text a value stands in: see walk.py.

Sources: RFC 3986 (only unreserved characters stay in a value), RFC 8259 for JSON, RFC 9110 section 5.5 for headers,
XML 1.0 sections 2.2 and 2.4.
"""

import json
import re
import string
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import quote

from waypost.macros.scanner import ValueRefusedError

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
    XML = "xml"
    RAW = "raw"


_unreserved = re.compile(r"[A-Za-z0-9_.~\-]*").fullmatch
_plain_header = re.compile(r"[ -~]*").fullmatch
_not_header = re.compile(r"[^ -~]+")
_plain_json = re.compile(r"[ !#-\[\]-~]*").fullmatch
_json_number = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch
_plain_xml = re.compile(r"[ !#-%(-;=?-~]*").fullmatch
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_XML_SIGNS = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)
_NOT_IN_QUERY = re.compile(r"[^!$%&'()*+,\-./0-9:;=?@A-Z_a-z~]+")
_RAW_JSON_DEPTH_MAX = 64


def encode_percent(value: str) -> str:
    """Percent-encoded UTF-8; only letters, digits and `-._~` stay."""
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


def encode_xml(value: str) -> str:
    """For text and quoted attributes: signs and other scripts as references, what XML cannot hold as U+FFFD."""
    if _plain_xml(value):
        return value
    return _NOT_XML.sub("\ufffd", value).translate(_XML_SIGNS).encode("ascii", "xmlcharrefreplace").decode()


def encode_raw(value: str) -> str:
    """As it is."""
    return value


def keep_in_query(value: str) -> str:
    """For `raw` in a query or form: separators and escapes stay, what no query may hold is percent-encoded."""
    return _NOT_IN_QUERY.sub(lambda found: quote(found[0], safe="", errors="replace"), value)


def keep_json(value: str) -> str:
    """For `raw` outside quotes: a whole JSON value, or `null` where there is none."""
    if not value:
        return "null"
    try:
        if max(value.count("["), value.count("{")) > _RAW_JSON_DEPTH_MAX:
            raise ValueError(value)
        json.loads(value, parse_constant=_no_constant)
    except ValueError as error:
        raise ValueRefusedError(f"{value[:40]!r} is no JSON value") from error
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


class Encoder(NamedTuple):
    """How values are written in one place.

    `signs` are the ASCII characters that stay: a value of these alone is written as it is. Empty where the value must
    be looked at as a whole. `refused` are values that are none here: `.` and `..` in a path would climb, encoded or not
    (RFC 3986, 5.2.4).
    """

    encode: Encode
    signs: bytes = b""
    refused: tuple[str, ...] = ()


_UNRESERVED = (string.ascii_letters + string.digits + "-._~").encode()
_PRINTABLE = bytes(range(0x20, 0x7F))

PERCENT = Encoder(encode_percent, _UNRESERVED)
PATH = Encoder(encode_percent, _UNRESERVED, (".", ".."))
HEADER = Encoder(encode_header, _PRINTABLE)
JSON_STRING = Encoder(encode_json_string, _PRINTABLE.translate(None, b'"\\'))
JSON_VALUE = Encoder(encode_json_value)
XML = Encoder(encode_xml, _PRINTABLE.translate(None, b"&<>\"'"))
RAW = Encoder(encode_raw)

OF_POSITION: dict[Position, Encoder] = {
    Position.PATH: PATH,
    Position.QUERY_KEY: PERCENT,
    Position.QUERY: PERCENT,
    Position.FRAGMENT: PERCENT,
    Position.HEADER: HEADER,
    Position.FORM: PERCENT,
    Position.RAW: RAW,
}
