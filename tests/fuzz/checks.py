"""The checks by name, and the inputs that are kept: those that broke something once, and those that lead furthest.

`kept/NAME.txt` holds one input a line, with Python's escapes; a line that begins with `#` says what the
next one broke.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from fuzz import calls, connections, texts

KEPT = Path(__file__).parent / "kept"
Check = Callable[[bytes], None]
CHECKS: dict[str, tuple[Callable[[], Check], Callable[[], Iterator[bytes]]]] = {
    "connections": (connections.Connections, connections.seeds),
    "texts": (texts.Texts, texts.seeds),
    "calls": (calls.Calls, calls.seeds),
}


def load(name: str) -> tuple[Check, list[bytes]]:
    """A check, made ready, and its seeds."""
    make, seeds = CHECKS[name]
    return make(), list(seeds())


def kept_inputs(name: str) -> list[bytes]:
    """What is kept of earlier runs."""
    file = KEPT / f"{name}.txt"
    lines = file.read_text("ascii").splitlines() if file.exists() else []
    return [
        line.encode("latin-1").decode("unicode_escape").encode("latin-1")
        for line in lines
        if line and not line.startswith("#")
    ]
