"""How far a journal is durable, told by its writer to all readers in a page of shared memory.

Owns: `journal/SOURCE/mark`, one page, mapped by writer and readers. Two places are written in turn, each with a serial
number and a checksum: a reader never takes half of one, and a writer that is killed while it writes leaves the other.

What the mark says holds for as long as the machine runs: memory and files are the same for all who look. It is not on
disk with each append, so after a loss of power it may be older than the segments. It carries the number of the boot
that wrote it; a reader that finds another goes by the segments themselves (`standing.py`). A writer that ends well
marks that too, on disk.
"""

import errno
import mmap
import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from waypost.engines.local.durable import sync_path

MARK_FILE = "mark"
_BYTES = 4096
_PLACES = (0, 128)
_FORM = struct.Struct("<QQQQq?Q16s")  # serial, the mark, a number of whoever wrote it, the boot
_SUM = struct.Struct("<I")
_WHOLE = _FORM.size + _SUM.size
_USED = _PLACES[1] + _WHOLE


class Mark(NamedTuple):
    """Where a journal stands: its last segment, the next position, the offset in that segment at which the next record
    goes. `is_clean`: its writer ended well."""

    start: int
    end: int
    offset: int
    watermark_ms: int
    is_clean: bool = False


def boot_id() -> bytes:
    """This boot's number; 16 zeros where the system does not tell."""
    try:
        return bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""))[:16]
    except (OSError, ValueError):
        return bytes(16)


_BOOT = boot_id()


class MarkReader:
    """One journal's mark. Opens it when it is there."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / MARK_FILE
        self._map: mmap.mmap | None = None
        self._seen = b""
        self._found: tuple[Mark, bool] | None = None

    def read(self) -> tuple[Mark, bool] | None:
        """The mark, and whether it holds now; None where there is none, or it is damaged."""
        shared = self._map or self._opened()
        if shared is None:
            return None
        data = shared[:_USED]
        if data != self._seen:
            found = _newest(data)
            if found is None:  # both places looked half written: one was, then the other. Nobody writes that fast twice
                data = shared[:_USED]
                found = _newest(data)
            self._seen, self._found = data, found[1:] if found is not None else None
        return self._found

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None
        self._seen = b""

    def _opened(self) -> mmap.mmap | None:
        try:
            descriptor = os.open(self._file, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            if os.fstat(descriptor).st_size >= _BYTES:
                self._map = mmap.mmap(descriptor, _BYTES, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        return self._map


class MarkWriter:
    """The writer's side; there is one, and it holds the journal's lock."""

    def __init__(self, folder: Path) -> None:
        """Makes the page where there is none. Raises OSError."""
        descriptor = os.open(folder / MARK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(descriptor).st_size < _BYTES:
                if os.pwrite(descriptor, bytes(_BYTES), 0) < _BYTES:
                    raise OSError(errno.ENOSPC, "no room for the journal's mark")
                os.fsync(descriptor)
                sync_path(folder)
            self._map = mmap.mmap(descriptor, _BYTES)
        finally:
            os.close(descriptor)
        self._writer = int.from_bytes(os.urandom(8), "little")
        found = _newest(self._map[:_USED])
        self._serial = found[0] if found is not None else 0
        self._page = self._map[:_USED]

    def write(self, start: int, end: int, offset: int, watermark_ms: int, *, is_clean: bool = False) -> None:
        """Shows a `Mark` to all readers; called for each record, so none is made for it."""
        self._serial = serial = self._serial + 1
        data = _FORM.pack(serial, start, end, offset, watermark_ms, is_clean, self._writer, _BOOT)
        place = _PLACES[serial % 2]
        shared = self._map
        shared[place : place + _WHOLE] = data + _SUM.pack(zlib.crc32(data))
        self._page = shared[:_USED]

    @property
    def is_ours(self) -> bool:
        """Whether nobody else has written it since: False for a writer whose lock was taken from it."""
        return self._map[:_USED] == self._page

    def sync(self) -> None:
        """Brings it to disk. Raises OSError."""
        self._map.flush()

    def close(self) -> None:
        self._map.close()


def _newest(data: bytes) -> tuple[int, Mark, bool] | None:
    """Serial number, mark, and whether it holds."""
    best: tuple[int, Mark, bool] | None = None
    for place in _PLACES:
        form = data[place : place + _FORM.size]
        if data[place + _FORM.size : place + _WHOLE] != _SUM.pack(zlib.crc32(form)):
            continue
        serial, *words, _, boot = _FORM.unpack(form)
        if serial and (best is None or serial > best[0]):
            mark = Mark(*words)
            best = serial, mark, mark.is_clean or (boot == _BOOT and any(boot))
    return best
