"""Moments in texts: what counts as one, and the filters that write them.

Owns: the forms of a moment (Unix seconds, Unix milliseconds, ISO 8601) and of dates. Reads the time-zone tables that
come with the installation; writes nothing, and never asks what time it is.

Sources: date directives as in POSIX strftime, with English names of days and months; `%:z` as in GNU date.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from waypost.macros.scanner import Apply, Argument, ValueRefusedError

_SECONDS = re.compile(r"\d{1,12}", re.ASCII).fullmatch
_MILLISECONDS = re.compile(r"\d{13,15}", re.ASCII).fullmatch
_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:?\d\d)?)?", re.ASCII).fullmatch
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+\-]*(?:/[A-Za-z0-9_+\-]+){0,3}").fullmatch
_DIRECTIVE = re.compile(r"%(:?.?)", re.DOTALL)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_10000_MS = 253402300800_000


def moment_ms(value: str) -> int | None:
    """The moment that a text is, in Unix milliseconds, or None; an ISO time without an offset is UTC."""
    if _SECONDS(value):
        ms = int(value) * 1000
    elif _MILLISECONDS(value):
        ms = int(value)
    elif _ISO(value):
        try:
            at = datetime.fromisoformat(value)
            ms = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
        except (ValueError, OverflowError):
            return None
    else:
        return None
    return ms if 0 <= ms < _YEAR_10000_MS else None


def build_unix(arguments: tuple[Argument, ...]) -> Apply:
    return lambda value: str(_moment("unix", value) // 1000)


def build_unix_ms(arguments: tuple[Argument, ...]) -> Apply:
    return lambda value: str(_moment("unix_ms", value))


def build_date(arguments: tuple[Argument, ...]) -> Apply:
    form = arguments[0].value if arguments else "%Y-%m-%dT%H:%M:%SZ"
    zone: tzinfo = UTC if len(arguments) < 2 else _zone(arguments[1].value)
    for directive in _DIRECTIVE.findall(form):
        if directive not in _FIELDS:
            raise ValueError(f"date does not know %{directive}; it knows {' '.join('%' + d for d in _FIELDS)}")

    parts = [_FIELDS[part] if nth % 2 else part for nth, part in enumerate(_DIRECTIVE.split(form))]

    def apply(value: str) -> str:
        try:
            at = (_EPOCH + timedelta(milliseconds=_moment("date", value))).astimezone(zone)
        except OverflowError as error:  # the last hours of the year 9999, east of Greenwich
            raise ValueRefusedError(f"date: {value[:40]!r} is out of range") from error
        return "".join(part if isinstance(part, str) else part(at) for part in parts)

    return apply


def _offset(at: datetime, sign: str) -> str:
    minutes = int((at.utcoffset() or timedelta()).total_seconds()) // 60
    ahead, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    return f"{ahead}{minutes // 60:02}{sign}{minutes % 60:02}"


_FIELDS: dict[str, Callable[[datetime], str]] = {
    "Y": lambda at: f"{at.year:04}",
    "m": lambda at: f"{at.month:02}",
    "d": lambda at: f"{at.day:02}",
    "H": lambda at: f"{at.hour:02}",
    "M": lambda at: f"{at.minute:02}",
    "S": lambda at: f"{at.second:02}",
    "j": lambda at: f"{at.timetuple().tm_yday:03}",
    "y": lambda at: f"{at.year % 100:02}",
    "s": lambda at: str((at - _EPOCH) // timedelta(seconds=1)),
    "b": lambda at: _MONTHS[at.month - 1],
    "a": lambda at: _DAYS[at.weekday()],
    "z": lambda at: _offset(at, ""),
    ":z": lambda at: _offset(at, ":"),
    "%": lambda at: "%",
}


def _moment(name: str, value: str) -> int:
    ms = moment_ms(value)
    if ms is None:
        raise ValueRefusedError(f"{name}: {value[:40]!r} is not a Unix time or an ISO 8601 date")
    return ms


def _zone(name: str) -> ZoneInfo:
    try:
        if not _ZONE(name):
            raise ValueError(name)
        return ZoneInfo(name)
    except (ValueError, KeyError, OSError) as error:  # an unknown zone is a KeyError
        raise ValueError(f"{name[:40]!r} is no time zone such as Europe/Kyiv") from error
