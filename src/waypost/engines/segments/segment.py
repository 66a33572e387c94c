"""One segment of a journal, opened for reading.

Owns: a descriptor, and a window of what was read last. Never reads beyond the offset that it is told: what stands there
may be half written. Never writes.
"""

import os
from pathlib import Path

from waypost.engines.segments.form import (
    HEADER_BYTES,
    RECORDS_AT,
    Label,
    Record,
    decode_header,
    decode_label,
    is_whole,
    watermark_of,
)

_WINDOW = 256 * 1024


class Segment:
    """See above. Used by one thread."""

    def __init__(self, file: Path) -> None:
        """Raises OSError; WaypostError `wire_version`."""
        self._descriptor = os.open(file, os.O_RDONLY)
        self._window, self._window_at = b"", 0
        try:
            self.label: Label | None = decode_label(os.pread(self._descriptor, RECORDS_AT, 0))
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        """Bytes that the file has, those included that were only made room with. Raises OSError."""
        return os.fstat(self._descriptor).st_size

    @property
    def watermark_ms(self) -> int:
        """That of all before this segment, or of a later heartbeat. Raises OSError."""
        return watermark_of(os.pread(self._descriptor, RECORDS_AT, 0), self.label) if self.label is not None else 0

    def header(self, offset: int, until: int) -> Record | None:
        """What the record at an offset says of itself, if it ends by `until`; nothing of it is checked."""
        at = self._window_on(offset, HEADER_BYTES, until)
        record = decode_header(self._window, at) if at >= 0 else None
        return record if record is not None and offset + HEADER_BYTES + record.size <= until else None

    def record(self, offset: int, until: int) -> Record | None:
        """The record that stands at an offset, if it is whole and ends by `until`. Raises OSError."""
        record = self.header(offset, until)
        if record is None or self.label is None:
            return None
        at = self._window_on(offset, HEADER_BYTES + record.size, until)
        return record if at >= 0 and is_whole(self.label, self._window, at, record) else None

    def data(self, offset: int, record: Record) -> bytes:
        """What the record at an offset holds; right behind `record`."""
        start = offset - self._window_at + HEADER_BYTES
        return self._window[start : start + record.size]

    def whole(self, offset: int, record: Record) -> bytes:
        """All bytes of the record at an offset; right behind `record`."""
        start = offset - self._window_at
        return self._window[start : start + HEADER_BYTES + record.size]

    def forget(self) -> None:
        """Drops the window: what it shows may have changed since."""
        self._window = b""

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _window_on(self, offset: int, size: int, until: int) -> int:
        """Where in the window the bytes stand; -1 where the file ends before they do."""
        at = offset - self._window_at
        if at < 0 or at + size > len(self._window):
            if offset + size > until:
                return -1
            self._window = os.pread(self._descriptor, min(max(size, _WINDOW), until - offset), offset)
            self._window_at, at = offset, 0
        return at if at + size <= len(self._window) else -1


def behind(offset: int, record: Record) -> int:
    """The offset of the next record."""
    return offset + HEADER_BYTES + record.size
