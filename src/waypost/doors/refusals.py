"""The log of what a door refused: bounded, searchable, and never in the way of a request.

Owns: one SQLite file a door, a ring of the newest entries. The loop notes a refusal into a bounded list; a thread
writes the list at most every WRITE_EVERY_MS. What does not fit is counted per code, so an attack shows as a number
and costs no more than the bound; what the ring has dropped is counted too. Never keeps a secret: values of parameters
that carry tokens are struck out. How it is searched is in `refusal_search.py`.
"""

import contextlib
import re
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote_plus

import msgspec

from waypost.catalog.aliases import TOKEN_NAMES
from waypost.ports.clock import Clock
from waypost.telemetry.log import logger

WRITE_EVERY_MS = 200
NOTES_MAX = 400  # entries kept of one period; further ones are only counted
URL_BYTES_MAX = 1024
BODY_BYTES_MAX = 1024
STRUCK_OUT = "***"
# Names that a token or signature goes by in the field's postback URLs.
_SECRET_NAMES = frozenset(
    {
        *TOKEN_NAMES,
        *("access_token", "postback_token", "key", "api_key", "apikey", "secret", "verification_token"),
        *("password", "pass", "auth", "signature", "sig", "hash"),
    }
)
_POSTBACK_ENDS = ("postback", "aff_lsr", "aff_goal", "click.php", "click")
_JSON_PAIR = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:\s*)("(?:[^"\\]|\\.)*"?|[^\s,}\]]+)')
_SCHEMA = """
CREATE TABLE IF NOT EXISTS refusals(
  id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, address TEXT NOT NULL, code TEXT NOT NULL,
  method TEXT NOT NULL, url TEXT NOT NULL, detail TEXT NOT NULL, count INTEGER NOT NULL,
  body TEXT NOT NULL DEFAULT '', advertiser TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS dropped(one INTEGER PRIMARY KEY CHECK (one = 1), entries INTEGER NOT NULL);
INSERT OR IGNORE INTO dropped VALUES (1, 0);
"""


class Refusal(msgspec.Struct, frozen=True):
    """One entry. `count` above 1 stands for so many refusals that were not kept one by one."""

    at_ms: int
    door: str
    address: str
    code: str
    method: str
    url: str
    detail: str
    count: int
    body: str = ""
    advertiser: str = ""  # whose call it would have been, where that is known


class Refused(NamedTuple):
    """What is noted of a refusal, secrets and all: they are struck out before it is kept."""

    address: str
    code: str
    method: bytes
    url: bytes
    detail: str = ""
    body: bytes = b""
    advertiser: str = ""


class Notes(Protocol):
    """Where refusals are noted."""

    def note(self, refused: Refused) -> None:
        """Takes a refusal; costs next to nothing."""


class RefusalLog:
    """The writer's side. `note` is for the loop; the thread is the log's own."""

    def __init__(self, file: Path, entries_max: int, clock: Clock, is_secret: Callable[[str], bool]) -> None:
        self._file = file
        self._entries_max = entries_max
        self._clock = clock
        self._is_secret = is_secret
        self._notes: list[tuple[int, Refused]] = []
        self._missed: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._connection: sqlite3.Connection | None = None
        self._thread = threading.Thread(target=self._work, name="refusals", daemon=True)
        self._log = logger("doors")

    def start(self) -> None:
        """Starts the thread that writes."""
        self._thread.start()

    def close(self) -> None:
        """Writes what is left, and ends."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def note(self, refused: Refused) -> None:
        """Costs a list's append, or a count when the period's bound is reached."""
        with self._lock:
            if len(self._notes) < NOTES_MAX:
                url, body = refused.url[:URL_BYTES_MAX], refused.body[:BODY_BYTES_MAX]
                self._notes.append((self._clock.now_ms(), refused._replace(url=url, body=body)))
            else:
                self._missed[refused.code] += 1

    def _work(self) -> None:
        while not self._stop.wait(WRITE_EVERY_MS / 1000):
            self._write()
        self._write()
        if self._connection is not None:
            self._connection.close()

    def _write(self) -> None:
        with self._lock:
            notes, self._notes = self._notes, []
            missed, self._missed = self._missed, Counter()
        if not notes and not missed:
            return
        rows = [self._row(at_ms, refused) for at_ms, refused in notes]
        now_ms = self._clock.now_ms()
        rows.extend((now_ms, "", code, "", "", "counted, not kept", count, "", "") for code, count in missed.items())
        try:
            self._store(rows)
        except sqlite3.Error as error:  # support loses some lines; callers lose nothing
            self._log.error("refusals_not_written", error=str(error), entries=len(rows))
            if self._connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.close()
            self._connection = None

    def _row(self, at_ms: int, refused: Refused) -> tuple[Any, ...]:
        address, code, method, url, detail, body, advertiser = refused
        texts = redacted(url, self._is_secret), redacted_body(body, self._is_secret)
        return (at_ms, address, code, method.decode("latin-1"), texts[0], detail, 1, texts[1], advertiser)

    def _store(self, rows: list[tuple[Any, ...]]) -> None:
        if self._connection is None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self._file, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=OFF")  # lines for support, not promises to callers
            self._connection.executescript(_SCHEMA)
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(
            "INSERT INTO refusals(at_ms, address, code, method, url, detail, count, body, advertiser)"
            " VALUES (?,?,?,?,?,?,?,?,?)",
            rows,
        )
        dropped = self._connection.execute(
            "DELETE FROM refusals WHERE id <= (SELECT max(id) FROM refusals) - ?", (self._entries_max,)
        ).rowcount
        if dropped:
            self._connection.execute("UPDATE dropped SET entries = entries + ?", (dropped,))
        self._connection.execute("COMMIT")


def redacted(url: bytes, is_secret: Callable[[str], bool]) -> str:
    """Path and query as text, secrets struck out: by the parameter's name, by the value, and a token in the path."""
    path, mark, query = url.decode("utf-8", "replace").partition("?")
    # No path of ours has pairs, but one may be a query that has lost its way.
    parts = [_redacted_pairs(part, is_secret) if "=" in part else part for part in path.split("/")]
    if len(parts) == 3 and parts[2] in _POSTBACK_ENDS:
        parts[1] = STRUCK_OUT
    path = "/".join(STRUCK_OUT if part and is_secret(part) else part for part in parts)
    return f"{path}{mark}{_redacted_pairs(query, is_secret)}".replace("\x00", "�")


def redacted_body(body: bytes, is_secret: Callable[[str], bool]) -> str:
    """A body as text, secrets struck out; of JSON the values by their names, whole or cut off."""
    text = body.decode("utf-8", "replace").replace("\x00", "�")
    if text.lstrip()[:1] not in ("{", "["):
        return _redacted_pairs(text, is_secret)

    def struck(found: re.Match[str]) -> str:
        name, between, value = found.groups()
        hidden = name.lower() in _SECRET_NAMES or is_secret(value.strip('"'))
        return f'"{name}"{between}"{STRUCK_OUT}"' if hidden else found[0]

    return _JSON_PAIR.sub(struck, text)


def _redacted_pairs(query: str, is_secret: Callable[[str], bool]) -> str:
    pairs = []
    for pair in query.split("&"):
        name, equals, value = pair.partition("=")
        hidden = value and (unquote_plus(name).lower() in _SECRET_NAMES or is_secret(unquote_plus(value)))
        pairs.append(f"{name}{equals}{STRUCK_OUT if hidden else value}")
    return "&".join(pairs)
