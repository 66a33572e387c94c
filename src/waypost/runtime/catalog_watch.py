"""Watches the catalog's file or folder and applies what changed, in a child process.

Owns: when a change is taken to be whole (it looked the same twice), and the child that applies it. The child checks
and compiles; a broken catalog is reported with all its errors and counted, and the version in force goes on.
Never reads a catalog itself: 100,000 links are compiled without stalling the supervisor.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple, TypeAlias

Fingerprint: TypeAlias = tuple[tuple[str, int, int], ...]

_OUTPUT_BYTES_MAX = 1 << 20


class ApplyResult(NamedTuple):
    """How one application ended; `lines` is what the child printed, errors with file:line if it was refused."""

    applied: bool
    lines: list[str]


def fingerprint(path: Path) -> Fingerprint:
    """(name, mtime in ns, size) of the file, or of every file in the folder; empty if nothing is there."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue  # just removed: the next look sees it
        found.append((str(file), status.st_mtime_ns, status.st_size))
    return tuple(found)


class CatalogWatch:
    """`step` as often as you like; it looks every `interval_ms`. Times are monotonic milliseconds."""

    def __init__(self, path: Path, command: Sequence[str], output_file: Path, interval_ms: int) -> None:
        self._path = path
        self._command = list(command)
        self._output_file = output_file
        self._interval_ms = interval_ms
        self._next_look_ms = 0.0
        self._applied: Fingerprint = ()
        self._seen: Fingerprint = ()
        self._child: subprocess.Popen[bytes] | None = None

    def apply_now(self) -> ApplyResult:
        """Applies what stands there and waits for the end."""
        self._applied = self._seen = fingerprint(self._path)
        child = self._start()
        child.wait()
        return self._result(child)

    def step(self, now_ms: float) -> ApplyResult | None:
        """Looks, starts a child or collects it; answers a result when one has just ended."""
        if self._child is not None:
            if self._child.poll() is None:
                return None
            child, self._child = self._child, None
            return self._result(child)
        if now_ms < self._next_look_ms:
            return None
        self._next_look_ms = now_ms + self._interval_ms
        seen, before = fingerprint(self._path), self._seen
        self._seen = seen
        if seen != self._applied and seen == before:  # an editor may still be writing: only a second look is sure
            self._applied = seen
            self._child = self._start()
        return None

    def stop(self) -> None:
        """Ends a child that is still applying: what it had not finished is not in force."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def _start(self) -> subprocess.Popen[bytes]:
        output: IO[bytes]
        with self._output_file.open("wb") as output:
            return subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
            )

    def _result(self, child: subprocess.Popen[bytes]) -> ApplyResult:
        with self._output_file.open("rb") as output:
            text = output.read(_OUTPUT_BYTES_MAX).decode("utf-8", "replace")
        return ApplyResult(child.returncode == 0, text.splitlines())
