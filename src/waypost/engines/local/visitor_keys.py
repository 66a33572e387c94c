"""Visitors' keys in one file: `keys/visitors.json`, today's and tomorrow's, random.

Owns: that file. Whichever door comes first makes a day's key, under a lock on the folder; a day that is over is written
out of the file, so that what was hashed under its key can be neither recomputed nor tried out. Keep it out of backups.
Unlike the click ids' ring nothing breaks without it: a damaged file is replaced.

Form: `{"version": 1, "keys": {"20778": "<64 hex digits>", …}}` by days since 1970.
"""

import fcntl
import json
import os
import secrets
from pathlib import Path

from waypost.engines.local.durable import sync_path
from waypost.ports.visitor_keys import DAY_MS
from waypost.telemetry.log import logger

KEY_BYTES = 32
_VERSION = 1
_log = logger("doors")


class FileVisitorKeys:
    """See `ports.visitor_keys.VisitorKeys`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._keys: dict[int, bytes] = {}
        self._own: tuple[int, bytes] = (-1, b"")

    def of(self, ms: int) -> bytes:
        """See the port."""
        day = ms // DAY_MS
        found = self._keys.get(day)
        if found is None:
            if self._own[0] != day:
                self._own = (day, secrets.token_bytes(KEY_BYTES))
            found = self._own[1]
        return found

    def refresh(self, ms: int) -> None:
        """See the port."""
        day = ms // DAY_MS
        if self._keys.keys() == {day, day + 1}:
            return
        try:
            self._keys = self._shared(day)
        except OSError as error:
            _log.error("visitor_keys_unavailable", file=str(self._file), error=str(error))
            self._keys = {known: key for known, key in self._keys.items() if known >= day}

    def _shared(self, day: int) -> dict[int, bytes]:
        folder_path = self._file.parent
        folder_path.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(folder_path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            held = self._read()
            wanted = {one: held.get(one) or secrets.token_bytes(KEY_BYTES) for one in (day, day + 1)}
            if wanted != held:
                self._write(wanted)
            return wanted
        finally:
            os.close(folder)

    def _read(self) -> dict[int, bytes]:
        try:
            content = json.loads(self._file.read_text("ascii"))
            keys = {int(day): bytes.fromhex(key) for day, key in content["keys"].items()}
            if content["version"] != _VERSION or any(len(key) != KEY_BYTES for key in keys.values()):
                raise ValueError("not of this form")
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
            _log.error("visitor_keys_damaged", file=str(self._file), error=str(error))
            return {}
        return keys

    def _write(self, keys: dict[int, bytes]) -> None:
        text = json.dumps({"version": _VERSION, "keys": {str(day): key.hex() for day, key in keys.items()}})
        aside = self._file.with_name(f".{self._file.name}.new")
        aside.unlink(missing_ok=True)  # left by a crash; nobody has seen it
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, text.encode("ascii") + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        aside.rename(self._file)
        sync_path(self._file.parent)
