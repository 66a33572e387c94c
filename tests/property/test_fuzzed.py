"""The fuzzers' short part: seeds and kept inputs, changes to them that stay the same, and memory that is flat.

The long part is `make fuzz` (docs/testing.md).
"""

import gc
import random
import tracemalloc
from functools import cache

import pytest

from fuzz.checks import CHECKS, Check, kept_inputs, load
from fuzz.fuzzed_door import BrokenError

CHANGED = {"connections": 1500, "calls": 1500, "texts": 400}
GROWTH_BYTES_MAX = 100_000
ONCE_MORE = 4


@cache
def loaded(name: str) -> tuple[Check, tuple[bytes, ...]]:
    check, seeds = load(name)
    return check, (*seeds, *kept_inputs(name))


def changed(data: bytes, other: bytes, draw: random.Random) -> bytes:
    """The input with some bytes replaced, cut out, doubled, or put from another input."""
    found = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at, size = draw.randrange(len(found) + 1), draw.randint(1, 12)
        start = draw.randrange(len(other))
        piece = draw.choice(
            (b"", other[start : start + size], found[at : at + size] * 2, draw.randbytes(draw.randint(1, 3)))
        )
        found[at : at + size] = piece
    return bytes(found)


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_seeds_and_what_once_broke_something(name: str) -> None:
    check, inputs = loaded(name)
    assert len(inputs) > 50
    for data in inputs:
        check(data)


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_changes_that_are_the_same_at_each_run(name: str) -> None:
    check, inputs = loaded(name)
    draw = random.Random(f"{name} 1")
    for _ in range(CHANGED[name]):
        data = changed(draw.choice(inputs), draw.choice(inputs), draw)
        try:
            check(data)
        except Exception as error:
            raise AssertionError(f"{name}: {data!r}") from error


@pytest.mark.slow
@pytest.mark.parametrize("name", ["connections", "calls"])
def test_memory_is_flat(name: str) -> None:
    check, inputs = loaded(name)
    for data in inputs:
        check(data)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(ONCE_MORE):
            for data in inputs:
                check(data)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < GROWTH_BYTES_MAX, f"{after - before} bytes are held after {ONCE_MORE * len(inputs)} inputs"


def test_a_check_can_fail() -> None:
    check, _ = loaded("connections")
    doors = check._doors  # type: ignore[attr-defined]
    door = doors[True, False]
    answer = door.answers.error
    try:
        door.answers.error = lambda *_, **__: b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nno"
        with pytest.raises(BrokenError, match="as long as it says"):
            check(b"\0\0GET /nothing HTTP/1.1\r\n\r\n")
    finally:
        door.answers.error = answer
