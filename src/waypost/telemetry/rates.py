"""From counters to rates: what grew how fast, over the last seconds.

Owns: the memory of recent snapshots, bounded by its window. Reads snapshots that `stats.read_snapshots` gave.
Never touches a file. A role that was started again begins at zero: its growth is counted from there.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

HISTORY_POINTS = 60


class _Point(NamedTuple):
    at_ms: int
    values: Mapping[str, float]


class Rates:
    """Feed it with `observe`, once a second or so."""

    def __init__(self, window_ms: int = 10_000) -> None:
        self._window_ms = window_ms
        self._points: dict[str, deque[_Point]] = {}
        self._pids: dict[str, int] = {}
        self._history: dict[str, deque[float]] = {}

    def observe(self, snapshots: Iterable[Mapping[str, Any]], tracked: Iterable[str] = ()) -> None:
        """Takes the roles' snapshots; keeps a point of history for each of the `tracked` counters."""
        for snapshot in snapshots:
            role, pid = str(snapshot["role"]), int(snapshot.get("pid", 0))
            points = self._points.setdefault(role, deque())
            if self._pids.get(role) != pid:
                points.clear()
                self._pids[role] = pid
            point = _Point(int(snapshot.get("at_ms", 0)), snapshot.get("values", {}))
            if points and point.at_ms <= points[-1].at_ms:
                continue
            points.append(point)
            while len(points) > 2 and point.at_ms - points[0].at_ms > self._window_ms:
                points.popleft()
        for name in tracked:
            self._history.setdefault(name, deque(maxlen=HISTORY_POINTS)).append(self.now(name))

    def of(self, role: str, name: str, *, last_only: bool = False) -> float:
        """Growth per second of one role's counter over the window, or between its last two snapshots."""
        points = self._points.get(role)
        if not points or len(points) < 2:
            return 0.0
        first, last = points[-2] if last_only else points[0], points[-1]
        grown = last.values.get(name, 0) - first.values.get(name, 0)
        return max(0.0, grown * 1000 / (last.at_ms - first.at_ms))

    def total(self, name: str) -> float:
        """Growth per second of a counter over the window, all roles together."""
        return sum(self.of(role, name) for role in self._points)

    def now(self, name: str) -> float:
        """As `total`, between the last two snapshots of each role."""
        return sum(self.of(role, name, last_only=True) for role in self._points)

    def history(self, name: str) -> list[float]:
        """The tracked counter's rates, oldest first, one for each `observe`."""
        return list(self._history.get(name, ()))


def total(snapshots: Iterable[Mapping[str, Any]], name: str) -> float:
    """A metric's sum over all roles."""
    return float(sum(snapshot.get("values", {}).get(name, 0) for snapshot in snapshots))
