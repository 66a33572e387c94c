"""Large pages: which stretches of memory are asked for, and what comes of it where the kernel plays along."""

import ctypes
import mmap
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from waypost.runtime import large_pages
from waypost.runtime.large_pages import STRETCH, LargePages, is_full, stretches
from waypost.telemetry.stats import Stats

MAPS = """\
55d0c0000000-55d0c0021000 r--p 00000000 fd:00 1 /usr/bin/python3.11
55d0c1e1f000-55d0c4970000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000200000 rw-p 00000000 00:00 0
7f0000300000-7f0000600000 rw-p 00000000 00:00 0
7f0000700000-7f0000a00000 r--p 00000000 00:00 0
7f0001000000-7f0001200000 rw-s 00000000 00:01 77 /dev/zero (deleted)
7f0002000000-7f0002200000 rw-p 00000000 fd:00 12 /usr/lib/libc.so.6
7ffc00000000-7ffc00400000 rw-p 00000000 00:00 0 [stack]
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0 [vdso]
"""


@pytest.fixture
def memory() -> Iterator[tuple[mmap.mmap, int]]:
    """Eight mebibytes of the process's own, and where the first whole stretch of it begins."""
    with mmap.mmap(-1, 4 * STRETCH, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as found:
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            found.madvise(mmap.MADV_NOHUGEPAGE)  # where all memory is large from the start: not this
        view = ctypes.c_char.from_buffer(found)
        at = ctypes.addressof(view)
        del view
        yield found, -(-at // STRETCH) * STRETCH


def touch(memory: mmap.mmap) -> None:
    for offset in range(0, len(memory), mmap.PAGESIZE):
        memory[offset] = 1


def large_bytes(at: int) -> int:
    """What of the mapping that holds an address lies in large pages, as the kernel says."""
    is_ours, found = False, 0
    for line in Path("/proc/self/smaps").read_text("utf-8").splitlines():
        name = line.split()[0]
        if "-" in name and not name.endswith(":"):
            begin, _, end = name.partition("-")
            is_ours = int(begin, 16) <= at < int(end, 16)
        elif is_ours and name == "AnonHugePages:":
            found += int(line.split()[1]) * 1024
    return found


def test_whole_stretches_of_the_processs_own_memory_are_looked_at_and_nothing_else() -> None:
    heap = list(range(0x55D0C2000000, 0x55D0C4970000 - STRETCH + 1, STRETCH))
    assert len(heap) == 20
    assert list(stretches(MAPS)) == [*heap, 0x7F0000000000, 0x7F0000400000]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's files")
def test_a_stretch_is_full_when_its_pages_are_in_memory(memory: tuple[mmap.mmap, int]) -> None:
    found, at = memory
    assert at in stretches(Path("/proc/self/maps").read_text("utf-8"))
    assert not is_full(at)
    touch(found)
    assert is_full(at)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's files")
def test_what_is_full_comes_to_lie_in_large_pages_and_what_is_empty_stays_small(memory: tuple[mmap.mmap, int]) -> None:
    found, at = memory
    stats = Stats("door-0")
    pages = LargePages(stats, 1000)
    if not pages.collapse():
        pytest.skip("the administrator wants no large pages")
    assert large_bytes(at) == 0, "nothing is taken up that is not in use"
    touch(found)
    found.madvise(mmap.MADV_HUGEPAGE)  # as memory is that nobody has forbidden
    content = found[:]
    before = stats.values["process_large_bytes"]
    assert pages.collapse()
    assert found[:] == content
    if stats.values["process_large_bytes"] == before:
        pytest.skip("this kernel has no call for it, or no memory")
    assert large_bytes(at) >= 3 * STRETCH
    assert stats.values["process_large_bytes"] - before >= 3 * STRETCH
    asked = dict(pages._settled)
    assert pages.collapse() and pages._settled.items() >= asked.items(), "asked for once"


def test_where_the_administrator_says_never_nothing_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "enabled"
    said.write_text("always madvise [never]\n", "ascii")
    monkeypatch.setattr(large_pages, "_NEVER", said)
    stats = Stats("door-0")
    assert not LargePages(stats, 1000).collapse() and stats.values["process_large_bytes"] == 0


def test_a_system_without_such_files_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_pages, "_NEVER", tmp_path / "none")
    with LargePages(Stats("door-0"), 1) as pages:
        pages._thread.join(20)
        assert not pages._thread.is_alive(), "it does not try again"


def test_it_can_be_turned_off() -> None:
    with LargePages(Stats("door-0"), 0) as pages:
        assert not pages._thread.is_alive()
