"""The log of what a door refused: bounded, searchable, and never in the way of a request.

Owns: one SQLite file a door, a ring of the newest entries. The loop notes a refusal into a bounded list; a thread
writes the list at most every WRITE_EVERY_MS. What does not fit is counted per code, so an attack shows as a number
and costs no more than the bound. Never keeps a secret: values of parameters that carry tokens are struck out.
"""

import contextlib
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from waypost.errors import WaypostError
from waypost.ports.clock import Clock
from waypost.telemetry.log import logger

WRITE_EVERY_MS = 200
NOTES_MAX = 400  # entries kept of one period; further ones are only counted
URL_BYTES_MAX = 1024
STRUCK_OUT = "***"
# Names that a token or signature goes by in the field's postback URLs.
_SECRET_NAMES = frozenset(
    {
        *("token", "access_token", "postback_token", "key", "api_key", "apikey", "secret", "secure"),
        *("password", "pass", "auth", "signature", "sig", "hash"),
    }
)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS refusals(
  id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, address TEXT NOT NULL, code TEXT NOT NULL,
  method TEXT NOT NULL, url TEXT NOT NULL, detail TEXT NOT NULL, count INTEGER NOT NULL)
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


class RefusalLog:
    """The writer's side. `note` is for the loop; the thread is the log's own."""

    def __init__(self, file: Path, entries_max: int, clock: Clock, is_secret: Callable[[str], bool]) -> None:
        self._file = file
        self._entries_max = entries_max
        self._clock = clock
        self._is_secret = is_secret
        self._notes: list[tuple[int, str, str, bytes, bytes, str]] = []
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

    def note(self, address: str, code: str, method: bytes, url: bytes, detail: str = "") -> None:
        """Takes a refusal; costs a list's append, or a count when the period's bound is reached."""
        with self._lock:
            if len(self._notes) < NOTES_MAX:
                self._notes.append((self._clock.now_ms(), address, code, method, url[:URL_BYTES_MAX], detail))
            else:
                self._missed[code] += 1

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
        rows: list[tuple[Any, ...]] = [
            (at_ms, address, code, method.decode("latin-1"), redacted(url, self._is_secret), detail, 1)
            for at_ms, address, code, method, url, detail in notes
        ]
        now_ms = self._clock.now_ms()
        rows.extend((now_ms, "", code, "", "", "counted, not kept", count) for code, count in missed.items())
        try:
            self._store(rows)
        except sqlite3.Error as error:  # support loses some lines; callers lose nothing
            self._log.error("refusals_not_written", error=str(error), entries=len(rows))
            if self._connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.close()
            self._connection = None

    def _store(self, rows: list[tuple[Any, ...]]) -> None:
        if self._connection is None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self._file, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=OFF")  # lines for support, not promises to callers
            self._connection.execute(_SCHEMA)
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(
            "INSERT INTO refusals(at_ms, address, code, method, url, detail, count) VALUES (?,?,?,?,?,?,?)", rows
        )
        self._connection.execute(
            "DELETE FROM refusals WHERE id <= (SELECT max(id) FROM refusals) - ?", (self._entries_max,)
        )
        self._connection.execute("COMMIT")


def redacted(url: bytes, is_secret: Callable[[str], bool]) -> str:
    """Path and query as text, secrets struck out: by the parameter's name, by the value, and a token in the path."""
    path, mark, query = url.decode("utf-8", "replace").partition("?")
    parts = path.split("/")
    if len(parts) == 3 and parts[2] == "postback":
        parts[1] = STRUCK_OUT
    path = "/".join(STRUCK_OUT if part and is_secret(part) else part for part in parts)
    pairs = []
    for pair in query.split("&"):
        name, equals, value = pair.partition("=")
        hidden = value and (unquote_plus(name).lower() in _SECRET_NAMES or is_secret(unquote_plus(value)))
        pairs.append(f"{name}{equals}{STRUCK_OUT if hidden else value}")
    return f"{path}{mark}{'&'.join(pairs)}".replace("\x00", "�")


def search_refusals(
    folder: Path,
    *,
    since_ms: int = 0,
    code: str = "",
    address: str = "",
    contains: str = "",
    limit: int = 100,
) -> list[Refusal]:
    """The newest entries of all doors' logs in `folder` that meet every condition given, newest first.

    `contains` looks into URL and detail. Raises WaypostError `store_corrupt` for a log that cannot be read.
    """
    found: list[Refusal] = []
    for file in sorted(folder.glob("*.db")):
        try:
            found.extend(_search(file, (since_ms, code, code, address, address, contains, contains, contains, limit)))
        except sqlite3.Error as error:
            raise WaypostError("store_corrupt", str(error), place=str(file)) from error
    found.sort(key=lambda refusal: refusal.at_ms, reverse=True)
    return found[:limit]


def _search(file: Path, conditions: tuple[Any, ...]) -> list[Refusal]:
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        connection.execute("PRAGMA busy_timeout=2000")
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'refusals'").fetchone():
            return []
        rows = connection.execute(
            "SELECT at_ms, address, code, method, url, detail, count FROM refusals WHERE at_ms >= ?"
            " AND (? = '' OR code = ?) AND (? = '' OR address = ?)"
            " AND (? = '' OR instr(url, ?) OR instr(detail, ?)) ORDER BY id DESC LIMIT ?",
            conditions,
        ).fetchall()
    return [Refusal(row[0], file.stem, *row[1:]) for row in rows]
