"""Every filter there is: one table with its arguments and its meaning.

Owns: the table and what each filter does. A filter is built once, when its template is compiled; what it builds
takes a text and answers a text. Reads and writes nothing; never knows the position that the value will stand in.

An empty value (a missing one) passes by every filter but `default` and `map`: the hash of nothing is no hash.
Sources: MD5 RFC 1321, SHA-1 and SHA-256 FIPS 180-4 (over UTF-8, lower-case hex); base64 and base64url RFC 4648;
percent-encoding RFC 3986; JSON RFC 8259; date directives as in POSIX strftime, numeric ones only.
"""

import base64
import difflib
import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import NamedTuple
from urllib.parse import quote

from waypost.macros.scanner import Argument, Call, MacroError, ValueRefusedError

Apply = Callable[[str], str]
Build = Callable[[tuple[Argument, ...]], Apply]

DECIMALS_MAX = 12
_NUMBER = re.compile(r"[+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,9}", re.ASCII)
_UNIX_TIME = re.compile(r"\d{1,12}", re.ASCII)
_DIRECTIVE = re.compile(r"%(.?)", re.DOTALL)
_DIRECTIVES = "YmdHMSjys%"
_CONTEXT = Context(prec=100, rounding=ROUND_HALF_UP)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_10000_S = 253402300800


class Filter(NamedTuple):
    """`signature` is how it is written; `least` and `most` count its arguments, `keyed` says they are all `a=b`."""

    name: str
    signature: str
    meaning: str
    build: Build
    least: int = 0
    most: int = 0
    keyed: bool = False
    takes_empty: bool = False


def build_filter(call: Call, *, place: str = "") -> tuple[Apply, bool]:
    """The call as a function, and whether it takes an empty value.

    Raises MacroError `macro_unknown_filter` or `macro_bad_argument`.
    """
    row = FILTERS.get(call.name)
    if row is None:
        close = difflib.get_close_matches(call.name.lower(), FILTERS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"filters are: {', '.join(FILTERS)}"
        detail = f"there is no filter {call.name[:64]}"
        raise MacroError("macro_unknown_filter", detail, column=call.column, place=place, hint=hint)
    written = f"it is written {row.signature}"
    count = len(call.arguments)
    if not row.least <= count <= row.most:
        detail = f"{row.name} does not take {count} argument{'' if count == 1 else 's'}"
        raise MacroError("macro_bad_argument", detail, column=call.column, place=place, hint=written)
    for argument in call.arguments:
        if (argument.key is not None) != row.keyed:
            detail = f"{row.name} takes {'a=b' if row.keyed else 'plain'} arguments"
            raise MacroError("macro_bad_argument", detail, column=argument.column, place=place, hint=written)
    try:
        return row.build(call.arguments), row.takes_empty
    except ValueError as error:
        raise MacroError("macro_bad_argument", str(error), column=call.column, place=place, hint=written) from error


def _map(arguments: tuple[Argument, ...]) -> Apply:
    table: dict[str, str] = {}
    for key, value, *_ in arguments:
        if key is None or key in table:
            raise ValueError(f"map has {key!r} twice")
        table[key] = value
    others = table.pop("*", None)
    if others is None:
        return lambda value: table.get(value, value)
    rest = others
    return lambda value: table.get(value, rest)


def _default(arguments: tuple[Argument, ...]) -> Apply:
    text = arguments[0].value
    return lambda value: value or text


def _round(arguments: tuple[Argument, ...]) -> Apply:
    decimals = _integer(arguments[0]) if arguments else 0
    if not 0 <= decimals <= DECIMALS_MAX:
        raise ValueError(f"round takes 0 to {DECIMALS_MAX} decimals")
    unit = Decimal(1).scaleb(-decimals)

    def apply(value: str) -> str:
        if not _NUMBER.fullmatch(value):
            raise ValueRefusedError(f"round: {value[:40]!r} is not a number")
        rounded = Decimal(value).quantize(unit, context=_CONTEXT)
        return f"{abs(rounded) if rounded.is_zero() else rounded:f}"

    return apply


def _replace(arguments: tuple[Argument, ...]) -> Apply:
    old, new = arguments[0].value, arguments[1].value
    if not old:
        raise ValueError("replace needs a text to look for")
    return lambda value: value.replace(old, new)


def _slice(arguments: tuple[Argument, ...]) -> Apply:
    start = _integer(arguments[0])
    end = _integer(arguments[1]) if len(arguments) > 1 else None
    return lambda value: value[start:end]


def _date(arguments: tuple[Argument, ...]) -> Apply:
    form = arguments[0].value if arguments else "%Y-%m-%dT%H:%M:%SZ"
    for directive in _DIRECTIVE.findall(form):
        if not directive or directive not in _DIRECTIVES:
            raise ValueError(f"date does not know %{directive}; it knows {' '.join('%' + d for d in _DIRECTIVES)}")

    def apply(value: str) -> str:
        if not _UNIX_TIME.fullmatch(value) or not int(value) < _YEAR_10000_S:
            raise ValueRefusedError(f"date: {value[:40]!r} is not a Unix time in seconds")
        at = _EPOCH + timedelta(seconds=int(value))
        fields = {
            "Y": f"{at.year:04}", "m": f"{at.month:02}", "d": f"{at.day:02}", "H": f"{at.hour:02}",
            "M": f"{at.minute:02}", "S": f"{at.second:02}", "j": f"{at.timetuple().tm_yday:03}",
            "y": f"{at.year % 100:02}", "s": str(int(value)), "%": "%",
        }  # fmt: skip
        return _DIRECTIVE.sub(lambda found: fields[found[1]], form)

    return apply


def _integer(argument: Argument) -> int:
    if not _INTEGER.fullmatch(argument.value):
        raise ValueError(f"{argument.value[:40]!r} is not a whole number")
    return int(argument.value)


def _utf8(value: str) -> bytes:
    return value.encode("utf-8", "replace")


def _plain(apply: Apply) -> Build:
    return lambda arguments: apply


_ROWS = (
    Filter("map", "map(a=b, c=d, *=other)",
           "the text beside the value; `*` is any other value, and without it a value that is not listed stays",
           _map, 1, 1000, keyed=True, takes_empty=True),
    Filter("default", "default(text)", "the text, where the value is missing or empty",
           _default, 1, 1, takes_empty=True),
    Filter("round", "round(decimals)", "the number with so many decimals (0), halves away from zero", _round, 0, 1),
    Filter("lower", "lower", "lower case", _plain(str.lower)),
    Filter("upper", "upper", "upper case", _plain(str.upper)),
    Filter("trim", "trim", "without white space at both ends", _plain(str.strip)),
    Filter("replace", "replace(old, new)", "each `old` as `new`", _replace, 2, 2),
    Filter("slice", "slice(start, end)",
           "characters from `start` to before `end` (the end); negative numbers count from the end", _slice, 1, 2),
    Filter("md5", "md5", "MD5, hex",
           _plain(lambda value: hashlib.md5(_utf8(value), usedforsecurity=False).hexdigest())),
    Filter("sha1", "sha1", "SHA-1, hex",
           _plain(lambda value: hashlib.sha1(_utf8(value), usedforsecurity=False).hexdigest())),
    Filter("sha256", "sha256", "SHA-256, hex", _plain(lambda value: hashlib.sha256(_utf8(value)).hexdigest())),
    Filter("base64", "base64", "base64 with padding", _plain(lambda value: base64.b64encode(_utf8(value)).decode())),
    Filter("base64url", "base64url", "base64 for URLs, without padding",
           _plain(lambda value: base64.urlsafe_b64encode(_utf8(value)).decode().rstrip("="))),
    Filter("hex", "hex", "the bytes in hex", _plain(lambda value: _utf8(value).hex())),
    Filter("urlencode", "urlencode", "percent-encoded once more than the position asks for",
           _plain(lambda value: quote(value, safe="", errors="replace"))),
    Filter("json", "json", "a JSON string, quotes included", _plain(lambda value: json.dumps(value))),
    Filter("date", "date(format)",
           "a Unix time as a date in UTC (ISO 8601); directives %Y %m %d %H %M %S %j %y %s %%", _date, 0, 1),
)  # fmt: skip

FILTERS: dict[str, Filter] = {row.name: row for row in _ROWS}
