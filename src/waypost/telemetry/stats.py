"""Counters of one process, published as a small file that console and supervisor read.

Owns: the counters and their snapshot's form. Writes one JSON file in DATA/run; never blocks on anybody.
Not thread-safe by design: each counter has one thread that adds to it.
"""

import json
import os
import threading
from pathlib import Path
from typing import Any

from waypost.telemetry.names import METRICS, NAMES


class Stats:
    """`stats.values[name] += 1` on hot paths; names are those of `telemetry.names`."""

    def __init__(self, role: str, file: Path | None = None) -> None:
        self.role = role
        self.values: dict[str, float] = {metric.name: 0 for metric in METRICS}
        self.details: dict[str, Any] = {}  # e.g. per lane; shown by the console
        self.beats = 0  # grows with each turn of the role's loop: a role whose loop hangs is not called alive
        self._file = file

    def set(self, name: str, value: float) -> None:
        """Sets a gauge. A name that is not listed is a mistake: KeyError."""
        if name not in NAMES:
            raise KeyError(name)
        self.values[name] = value

    def add(self, name: str, amount: float = 1) -> None:
        """Adds to a counter."""
        self.values[name] += amount

    def publish(self, now_ms: int) -> None:
        """Writes the snapshot in place of the last one."""
        if self._file is None:
            return
        content = {
            "role": self.role,
            "pid": os.getpid(),
            "at_ms": now_ms,
            "values": {name: value for name, value in self.values.items() if value},
            "details": self.details,
        }
        temporary = self._file.with_suffix(f".{os.getpid()}-{threading.get_ident()}.tmp")
        temporary.write_text(json.dumps(content), "utf-8")
        temporary.replace(self._file)


def read_snapshots(folder: Path) -> list[dict[str, Any]]:
    """All snapshots there are, by role; a file that is being replaced or is damaged is left out."""
    snapshots = []
    for file in sorted(folder.glob("*.json")):
        try:
            content = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and "role" in content:
            snapshots.append(content)
    return snapshots
