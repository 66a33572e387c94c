"""Which visitors this door process has seen of late: what it takes to mark a click as a duplicate, best effort.

Owns: a bounded memory in two halves; when the young half is full it becomes the old one and the old one is forgotten.
Per process, as all a door keeps in memory: a visitor whose connection lands on another door, or who comes after a
restart, looks new. Exact counts are made over the archive (docs/visits.md). Holds keys of visitors, never addresses.
"""

from collections.abc import Sequence
from typing import TypeAlias

Mark: TypeAlias = tuple[str, ...]
NEW: Mark = ()
RETURNING: Mark = ("returning",)
DUPLICATE: Mark = ("duplicate", "returning")


class RecentVisitors:
    """`note_each` is asked once a turn."""

    __slots__ = ("_half", "_old", "_window_ms", "_young")

    def __init__(self, items_max: int, window_ms: int) -> None:
        self._half = max(1, items_max // 2)
        self._window_ms = window_ms
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}

    def note_each(self, users: Sequence[bytes], links: Sequence[bytes | None], ms: int) -> list[Mark]:
        """Notes touches, one after the other, and marks each: RETURNING if its visitor was noted before, as far as the
        memory goes, DUPLICATE if that was within the window and for this link. One without a link is not noted."""
        marks = [NEW] * len(users)
        young, old, full = self._young, self._old, self._half - 1
        before_ms = ms - self._window_ms
        for nth, user in enumerate(users):
            link = links[nth]
            if link is None:
                if user in young or user in old:
                    marks[nth] = RETURNING
                continue
            key = user + link
            if user in young or user in old:
                last_ms = young.get(key)
                if last_ms is None:
                    last_ms = old.get(key, before_ms)
                marks[nth] = DUPLICATE if last_ms > before_ms else RETURNING
            if len(young) >= full:
                self._old = old = young
                self._young = young = {}
            young[user] = young[key] = ms
        return marks
