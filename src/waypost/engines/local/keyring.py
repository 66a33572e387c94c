"""Keys and locks of one data folder: the click-id key ring, the operator's key, and who holds what.

Owns: `keys/click-ids.json`, `keys/operator.key`, and the lock files' form (the holder's pid, for messages).
Reads and writes those files only. Never replaces a key that exists: ids made under it are out in the world, so a
damaged file is an error and not a reason for a new one.

Form of the ring: `{"version": 1, "keys": {"0": "<32 hex digits>", …}}`; the last key makes new ids.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from waypost.errors import WaypostError
from waypost.layout import Layout
from waypost.model.ids import DOORS_MAX, KeyRing

_RING_VERSION = 1
_FIRST_KEY = "0"
_OPERATOR_KEY_BYTES = 32


def load_or_create_key_ring(layout: Layout) -> KeyRing:
    """The ring that every door and reader of this data folder shares; made once, whoever comes first.

    Raises WaypostError `bad_key_ring` if the file is damaged, or gone although a door has journaled: with a new ring
    all ids that are out in the world would be forgeries. `data_unwritable` if it cannot be made.
    """
    # Doors make the ring before their journal: if this one sees a journal, the ring was there before.
    if next(layout.journals.glob("door-*/*.db"), None) is not None:
        return load_key_ring(layout)
    return _ring_of(layout, _load_or_create(layout.key_ring, _new_ring))


def load_key_ring(layout: Layout) -> KeyRing:
    """The ring, for those who only read.

    Raises WaypostError `bad_key_ring` if it is damaged or gone, `data_missing` if no door has run yet.
    """
    try:
        return _ring_of(layout, layout.key_ring.read_text("ascii"))
    except FileNotFoundError as error:
        if next(layout.journals.glob("door-*/*.db"), None) is None:
            raise WaypostError("data_missing", "no door has run here yet", place=str(layout.root)) from error
        detail = "the key ring is gone, and click ids cannot be read without it"
        raise WaypostError("bad_key_ring", detail, place=str(layout.key_ring)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise WaypostError("bad_key_ring", str(error), place=str(layout.key_ring)) from error


def _ring_of(layout: Layout, text: str) -> KeyRing:
    try:
        content = json.loads(text)
        if content["version"] != _RING_VERSION:
            raise ValueError(f"version {content['version']!r} is not {_RING_VERSION}")
        return KeyRing({char: bytes.fromhex(key) for char, key in content["keys"].items()})
    except WaypostError as error:
        raise WaypostError("bad_key_ring", error.detail, place=str(layout.key_ring)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WaypostError("bad_key_ring", f"damaged: {error}", place=str(layout.key_ring)) from error


def load_or_create_operator_key(layout: Layout) -> str:
    """The key that marks test traffic as the operator's: 64 hex digits, made once.

    Raises WaypostError `bad_key_ring` if the file is damaged, `data_unwritable` if it cannot be made.
    """
    text = _load_or_create(layout.operator_key, lambda: secrets.token_hex(_OPERATOR_KEY_BYTES) + "\n").strip()
    try:
        sound = len(bytes.fromhex(text)) == _OPERATOR_KEY_BYTES
    except ValueError:
        sound = False
    if not sound:
        raise WaypostError("bad_key_ring", "damaged operator's key", place=str(layout.operator_key))
    return text


@contextmanager
def process_lock(path: Path, code: str = "data_in_use", detail: str = "", *, wait: bool = False) -> Iterator[None]:
    """Holds an exclusive lock on `path` inside the `with`; the kernel drops it if the process dies.

    With `wait` it waits for whoever has it. Raises WaypostError `code`, with the holder's pid, if another process (or
    another open of it) has the lock; `data_unwritable` if the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise WaypostError("data_unwritable", str(error), place=str(path)) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise WaypostError(code, f"{detail or 'it is in use'}: held by pid {holder}", place=str(path)) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)  # and with it the lock


def lock_holder(path: Path) -> int:
    """The pid of the process that holds the lock on `path`; 0 if nobody does."""
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read(32).decode("ascii", "replace").strip()
                return int(text) if text.isdigit() else 0
    except FileNotFoundError:
        pass
    return 0


@contextmanager
def door_lock(layout: Layout, number: int, *, wait: bool = False) -> Iterator[None]:
    """Holds a door's number: two doors with one number would make the same ids.

    Raises WaypostError `door_in_use` with the holder's pid, or `bad_settings` for a number that ids cannot carry.
    """
    if not 0 <= number < DOORS_MAX:
        raise WaypostError("bad_settings", f"door number {number} is not within 0…{DOORS_MAX - 1}")
    detail = f"door number {number} is in use"
    with process_lock(layout.run / f"door-{number}.lock", "door_in_use", detail, wait=wait):
        yield


def _new_ring() -> str:
    return json.dumps({"version": _RING_VERSION, "keys": {_FIRST_KEY: secrets.token_hex(16)}}) + "\n"


def _load_or_create(file: Path, make: Callable[[], str]) -> str:
    """The file's text. A new one appears whole or not at all: made aside, fsynced, then linked in under a lock."""
    try:
        if not file.exists():
            _create(file, make)
        return file.read_text("ascii")
    except UnicodeDecodeError as error:
        raise WaypostError("bad_key_ring", "damaged: not text", place=str(file)) from error
    except OSError as error:
        code = "bad_key_ring" if file.exists() else "data_unwritable"
        raise WaypostError(code, str(error), place=str(file)) from error


def _create(file: Path, make: Callable[[], str]) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.parent.chmod(0o700)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if file.exists():  # another process was first
            return
        aside = file.with_name(f".{file.name}.new")
        aside.unlink(missing_ok=True)  # left by a crash; nobody has seen it
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, make().encode("ascii"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        aside.rename(file)
        os.fsync(folder)
    finally:
        os.close(folder)
