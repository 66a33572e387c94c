"""Room behind what is written to a segment: the file is made longer with zeros before the writer gets there.

To write over what is there already changes nothing that the file system would have to note down, and takes the disk
half as long. Zeros take longer than a record, so a thread makes them, and nobody waits for them but whoever catches up
with it. Why: docs/decisions/0042.

Owns: the length of the segment's file, a descriptor of its own on it and the thread. Writes behind the length only, and
never what a reader reads. Its descriptor is its own because the kernel reports a failed write once for each opening of
a file: on the writer's it might tell this thread of a record that is lost, and the writer that it is durable.
"""

import errno
import os
import threading
from pathlib import Path
from queue import SimpleQueue

DSYNC = getattr(os, "O_DSYNC", 0) or os.O_SYNC  # each write is durable when it returns
ROOM_MIN, ROOM_MAX = 16 * 1024, 256 * 1024  # bytes made ready at a time: as many as were written, within this
_ZEROS = memoryview(bytes(ROOM_MAX))
# Errors that say that nothing was written, and leave all that was durable before as it is.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Room:
    """The room of a writer's segment. All methods are the writer's; `until` is what the file's length is at least,
    `error` what the thread has met."""

    def __init__(self) -> None:
        self.until = 0
        self.error: OSError | None = None
        self._file: Path | None = None
        self._descriptor = -1
        self._refused_at = -1  # the length at which there was no room for more
        self._jobs: SimpleQueue[int] = SimpleQueue()
        self._is_idle = threading.Event()
        self._is_idle.set()
        self._thread: threading.Thread | None = None

    def move(self, file: Path, until: int) -> None:
        """The segment is this file from now on, and so long."""
        self.leave()
        self._file, self.until = file, until

    def settle(self) -> None:
        """Waits for what is being made."""
        self._is_idle.wait()

    def leave(self) -> None:
        """Makes no more room in the segment; what is being made is waited for."""
        self.settle()
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._file, self._descriptor, self._refused_at, self.error = None, -1, -1, None

    def close(self) -> None:
        """Ends the thread too."""
        self.leave()
        if self._thread is not None:
            self._jobs.put(0)
            self._thread.join()
            self._thread = None

    def reach(self, offset: int, size: int, written: int) -> None:
        """Sees to room for a record at an offset, and soon behind it; `written` is what the segment has grown by.

        Where the disk has none, there is as much as there can be. Raises OSError for any other failure, of this call or
        of the thread since the last one.
        """
        end = offset + size
        if written < ROOM_MIN:  # whoever writes little needs none
            self.until = max(self.until, end)
            return
        ahead = min(ROOM_MAX, written)
        if end > self.until:
            self.settle()
            self.until = max(self.until, offset)  # records that found place where zeros did not are not written over
            if end > self.until and self.error is None:
                self._make(end - self.until + ahead)
        error = self.error
        if error is not None:
            raise error
        if 0 <= self.until - end < ahead // 2 and self._is_idle.is_set() and self._refused_at != self.until:
            self._is_idle.clear()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="room", daemon=True)
                self._thread.start()
            self._jobs.put(ahead)

    def _make(self, wanted: int) -> None:
        try:
            if self._descriptor < 0:
                assert self._file is not None
                self._descriptor = os.open(self._file, os.O_WRONLY | DSYNC)
            while wanted > 0:
                made = os.pwrite(self._descriptor, _ZEROS[:wanted], self.until)
                self.until, wanted = self.until + made, wanted - made
        except OSError as error:
            if error.errno in NO_ROOM:
                self._refused_at = self.until
            else:
                self.error = error

    def _work(self) -> None:
        while wanted := self._jobs.get():
            try:
                self._make(wanted)
            finally:
                self._is_idle.set()
