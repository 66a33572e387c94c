"""The keys under which visitors are told apart: one a UTC day, gone when the day is over.

Engine: a file that all doors of a data folder share (`engines/local/visitor_keys.py`).
"""

from typing import Protocol

DAY_MS = 86_400_000


class VisitorKeys(Protocol):
    """Used by one door. `of` is asked on its loop, `refresh` beside it."""

    def of(self, ms: int) -> bytes:
        """The key of the day that `ms` falls into. Never waits: where the day's shared key is not known, one that this
        process alone has for this day stands in for it."""

    def refresh(self, ms: int) -> None:
        """Learns the keys of the day of `ms` and the next one, and drops those of days before it for good.

        Does what it can: an unwritable folder is logged, and doors go on with keys of their own.
        """
