"""Finds entries in doors' logs of refusals: by time, code, address or network, parameter, advertiser.

Owns: the search. Reads the logs of all doors while they are written; writes nothing. Bounded by the logs' own bound.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl

import msgspec

from waypost.doors.refusals import Refusal
from waypost.errors import WaypostError
from waypost.stages.addresses import AllowList, parse_address

_COLUMNS = "at_ms, address, code, method, url, detail, count, body, advertiser"


class Wanted(NamedTuple):
    """Conditions, all of which an entry meets; an empty one asks for nothing.

    `address` is an address or a network; `parameters` are `name` or `name=value`, in the URL or the body; `contains`
    is looked for in URL, body and detail.
    """

    since_ms: int = 0
    until_ms: int = 1 << 62
    code: str = ""
    address: str = ""
    parameters: Sequence[str] = ()
    advertiser: str = ""
    contains: str = ""


def search_refusals(folder: Path, wanted: Wanted, limit: int = 100) -> list[Refusal]:
    """The newest entries of all doors' logs in `folder` that meet the conditions, newest first.

    Raises WaypostError `store_corrupt` for a log that cannot be read, ValueError for an address that is none.
    """
    network = AllowList([str(parse_address(wanted.address) or wanted.address)]) if wanted.address else None
    found: list[Refusal] = []
    for file in sorted(folder.glob("*.db")):
        with _reading(file) as connection:
            taken = 0
            for entry in _entries(connection, file.stem, wanted):
                if _meets(entry, wanted, network):
                    found.append(entry)
                    taken += 1
                    if taken >= limit:
                        break
    found.sort(key=lambda refusal: refusal.at_ms, reverse=True)
    return found[:limit]


def count_dropped(folder: Path) -> int:
    """How many entries the logs' bound has pushed out so far."""
    dropped = 0
    for file in sorted(folder.glob("*.db")):
        with _reading(file) as connection:
            row = connection.execute("SELECT entries FROM dropped").fetchone() if _has(connection, "dropped") else None
            dropped += row[0] if row else 0
    return dropped


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA busy_timeout=2000")
            yield connection
    except sqlite3.Error as error:
        raise WaypostError("store_corrupt", str(error), place=str(file)) from error


def _has(connection: sqlite3.Connection, table: str) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is not None


def _entries(connection: sqlite3.Connection, door: str, wanted: Wanted) -> Iterator[Refusal]:
    if not _has(connection, "refusals"):
        return
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM refusals WHERE at_ms >= ? AND at_ms <= ? AND (? = '' OR code = ?)"
        " AND (? = '' OR advertiser = ?) ORDER BY id DESC",
        (wanted.since_ms, wanted.until_ms, wanted.code, wanted.code, wanted.advertiser, wanted.advertiser),
    )
    for row in rows:
        yield Refusal(row[0], door, *row[1:])


def _meets(entry: Refusal, wanted: Wanted, network: AllowList | None) -> bool:
    if network is not None and not network.permits(entry.address):
        return False
    texts = (entry.url, entry.body, entry.detail)
    if wanted.contains and not any(wanted.contains in text for text in texts):
        return False
    if not wanted.parameters:
        return True
    pairs = _pairs(entry)
    for parameter in wanted.parameters:
        name, equals, value = parameter.partition("=")
        if not any(found == name and (not equals or text == value) for found, text in pairs):
            return False
    return True


def _pairs(entry: Refusal) -> list[tuple[str, str]]:
    """The parameters of URL and body, decoded."""
    found = parse_qsl(entry.url.partition("?")[2], keep_blank_values=True)
    if entry.body.lstrip()[:1] != "{":
        return found + parse_qsl(entry.body, keep_blank_values=True)
    with contextlib.suppress(msgspec.DecodeError):
        content = msgspec.json.decode(entry.body)
        found += [(str(name), value if isinstance(value, str) else str(value)) for name, value in content.items()]
    return found
