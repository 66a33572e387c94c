"""Which visitors this door process has seen of late: what it takes to mark a click as a duplicate, best effort.

Owns: a bounded memory in two halves; when the young half is full it becomes the old one and the old one is forgotten.
Per process, as all a door keeps in memory: a visitor whose connection lands on another door, or who comes after a
restart, looks new. Exact counts are made over the archive (docs/visits.md). Holds keys of visitors, never addresses.
"""


class RecentVisitors:
    """`note` is asked once a click."""

    __slots__ = ("_half", "_old", "_window_ms", "_young")

    def __init__(self, items_max: int, window_ms: int) -> None:
        self._half = max(1, items_max // 2)
        self._window_ms = window_ms
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}

    def has_seen(self, user: bytes) -> bool:
        """Whether the visitor touched any link here today, as far as the memory goes."""
        return user in self._young or user in self._old

    def note(self, user: bytes, link: bytes, ms: int) -> tuple[bool, bool]:
        """Notes a touch: whether `has_seen` knew the visitor before, and whether he touched this link within the
        window before."""
        key = user + link
        young, old = self._young, self._old
        has_seen = user in young or user in old
        before = None
        if has_seen:
            before = young.get(key)
            if before is None:
                before = old.get(key)
        if len(young) + 2 > self._half:
            self._old = young
            young = self._young = {}
        young[user] = young[key] = ms
        return has_seen, before is not None and ms - before < self._window_ms
