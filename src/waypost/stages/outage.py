"""Whether it is our own line that is down: most lanes fail below HTTP at once. Pure; time comes from the caller.

Owns: how each lane's last request ended. A lane counts while its last request ended within the window.
"""

from collections import OrderedDict

WINDOW_MS = 10_000


class Outage:
    """At least `lanes_min` lanes must have failed."""

    def __init__(self, lanes_min: int) -> None:
        self._lanes_min = max(1, lanes_min)
        self._last: OrderedDict[int, tuple[int, bool]] = OrderedDict()  # lane: (when, whether it failed), by when
        self._failed = 0

    def heard(self, lane: int, now_ms: int) -> None:
        """A partner answered, whatever it said."""
        self._note(lane, now_ms, False)

    def failed(self, lane: int, now_ms: int) -> None:
        """A request found no way to the partner."""
        self._note(lane, now_ms, True)

    def is_on(self, now_ms: int, share: float) -> bool:
        """Whether this share of the lanes that sent of late failed, so that partners cannot be to blame; 0: never."""
        last = self._last
        while last and next(iter(last.values()))[0] <= now_ms - WINDOW_MS:
            self._failed -= last.popitem(last=False)[1][1]
        return share > 0 and self._failed >= max(self._lanes_min, share * len(last))

    def lanes(self) -> list[int]:
        """Those that sent of late; by turns one that failed and one that did not, the latest first."""
        failed = [lane for lane, (_, has_failed) in reversed(self._last.items()) if has_failed]
        heard = [lane for lane, (_, has_failed) in reversed(self._last.items()) if not has_failed]
        found = []
        while failed or heard:
            found += [lanes.pop(0) for lanes in (failed, heard) if lanes]
        return found

    def clear(self) -> None:
        """Nothing is known."""
        self._last.clear()
        self._failed = 0

    def _note(self, lane: int, now_ms: int, failed: bool) -> None:
        before = self._last.pop(lane, None)
        self._failed += int(failed) - int(before is not None and before[1])
        self._last[lane] = (now_ms, failed)
