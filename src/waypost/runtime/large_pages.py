"""Large pages for what a role keeps in memory: the kernel is asked to put full stretches of 2 MiB into one page each.

A role looks up visitors, lines and lanes all over a hundred megabytes; with pages of 4 KiB the processor must find out
for nearly each look where the page lies, which in a virtual machine takes it two walks. Measured:
docs/decisions/0043-large-pages.md.

Owns: a thread, and the memory of what was asked for already. Reads /proc/self/maps and /proc/self/pagemap. Never asks
for a stretch of which much is not in use, so the process takes up no more memory than before; never where the machine's
administrator has said `never`; and never more than one stretch at a time, for the process stands still for that long (a
fraction of a millisecond). Does nothing where the kernel (before 6.1) or the system has no such call.
"""

import ctypes
import errno
import mmap
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from waypost.telemetry.log import logger
from waypost.telemetry.stats import Stats

STRETCH = 2 << 20  # bytes of a large page
_PAGES = STRETCH // mmap.PAGESIZE  # small ones, of a stretch
_PRESENT_MIN = _PAGES * 7 // 8  # the others would be taken up too
_MADV_COLLAPSE = 25  # Linux madvise(2), since 6.1
_PRESENT = bytes(byte >> 7 for byte in range(256))  # bit 63 of an entry: docs of Linux, admin-guide/mm/pagemap
_PAUSE_S = 0.02  # between two stretches
_NEVER = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_MAPS, _PAGEMAP = Path("/proc/self/maps"), Path("/proc/self/pagemap")


class LargePages:
    """Looks every `interval_ms` (0: never) for stretches that have filled up; a context manager."""

    def __init__(self, stats: Stats, interval_ms: int) -> None:
        self._stats = stats
        self._interval_s = interval_ms / 1000
        self._settled: dict[int, bool] = {}  # stretches that were asked for, by address: whether it was done
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="large-pages", daemon=True)
        self._log = logger("process")

    def __enter__(self) -> "LargePages":
        if self._interval_s and sys.platform == "linux":
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(self._interval_s):
            if not self.collapse():
                return

    def collapse(self) -> bool:
        """Asks for all stretches that are full by now, and were not asked for before; False where it is of no use to
        try again."""
        try:
            if "[never]" in _NEVER.read_text("ascii"):
                return False
            madvise = ctypes.CDLL(None, use_errno=True).madvise
            madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
            found = list(stretches(_MAPS.read_text("utf-8", "replace")))
            self._settled = {at: self._settled[at] for at in found if at in self._settled}
            for at in found:
                if at in self._settled or not is_full(at):
                    continue
                if madvise(at, STRETCH, _MADV_COLLAPSE) == 0:
                    self._settled[at] = True
                elif ctypes.get_errno() == errno.EINVAL:  # no memory for this: a stack, or a kernel without the call
                    self._settled[at] = False
                if self._end.wait(_PAUSE_S):
                    break
        except (OSError, AttributeError) as error:  # no such files, no such call
            self._log.info("large_pages_off", error=str(error))
            return False
        self._stats.set("process_large_bytes", sum(self._settled.values()) * STRETCH)
        return True


def stretches(maps: str) -> Iterator[int]:
    """The addresses of whole stretches of memory that is the process's own to write, by what /proc/self/maps says."""
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) < 5 or fields[1] != "rw-p" or fields[4] != "0" or (len(fields) > 5 and fields[5] != "[heap]"):
            continue
        begin, _, end = fields[0].partition("-")
        first = -(-int(begin, 16) // STRETCH) * STRETCH
        yield from range(first, int(end, 16) - STRETCH + 1, STRETCH)


def is_full(at: int) -> bool:
    """Whether nearly all pages of a stretch are in memory. Raises OSError."""
    with _PAGEMAP.open("rb", buffering=0) as pages:
        pages.seek(at // mmap.PAGESIZE * 8)
        entries = pages.read(_PAGES * 8)
    return entries[7::8].translate(_PRESENT).count(1) >= _PRESENT_MIN
