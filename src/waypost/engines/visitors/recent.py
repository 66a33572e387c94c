"""A bounded memory of answers: what was asked for lately stays, the rest is dropped, half at a time.

Owns: one such memory, in one process. Reads and writes nothing else.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Recent(Generic[_Key, _Value]):
    """At most `items_max` answers. When the young half is full it becomes the old one, and the old one is dropped.

    `young` is that half, for who wants to look there first without a call.
    So an answer is forgotten only when `items_max / 2` others came since it was last asked for.
    """

    __slots__ = ("_find", "_half", "_old", "items_max", "misses", "young")

    def __init__(self, items_max: int, find: Callable[[_Key], _Value]) -> None:
        self.items_max = items_max
        self._half = max(1, items_max // 2)
        self._find = find
        self.young: dict[_Key, _Value] = {}
        self._old: dict[_Key, _Value] = {}
        self.misses = 0  # answers that had to be found

    def get(self, key: _Key) -> _Value:
        """The answer, remembered or found."""
        found = self.young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is None:
                self.misses += 1
                found = self._find(key)
            if len(self.young) >= self._half:
                self._old, self.young = self.young, {}
            self.young[key] = found
        return found

    def clear(self) -> None:
        """Forgets everything."""
        self.young, self._old = {}, {}

    def __len__(self) -> int:
        return len(self.young) + len(self._old)
