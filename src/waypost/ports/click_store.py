"""The click store: clicks by their key, for as long as a conversion may refer to them.

Engines: SQLite, one file a day. Later: PostgreSQL partitions.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from waypost.model.ids import ClickKey


class ClickRange(msgspec.Struct, frozen=True):
    """The clicks that journal `source` holds in [start, end), as their frames' bytes."""

    source: str
    start: int
    end: int
    clicks: Sequence[tuple[ClickKey, bytes]]


class ClickStore(Protocol):
    """One writer (the pipeline); readers of their own open it read-only."""

    def apply(self, ranges: Sequence[ClickRange]) -> None:
        """Stores the clicks of a batch's ranges and moves the positions of their sources; durable on return.

        Idempotent: a key that is there already stays as it is, and a range at or below the store's position is taken
        again without harm. Raises WaypostError `store_out_of_order` if a `start` lies beyond the position.
        """

    def positions(self) -> dict[str, int]:
        """How far each journal has been applied."""

    def get_many(self, keys: Sequence[ClickKey]) -> dict[ClickKey, bytes]:
        """The frames' bytes of those keys that are stored; absent keys are left out."""

    def keys(self, start_ms: int = 0, end_ms: int = 1 << 42) -> Iterator[ClickKey]:
        """All keys in a range of time, in order."""

    def days(self) -> Iterable[int]:
        """Days held, as days since 1970-01-01, sorted."""

    def drop_before(self, day: int) -> list[int]:
        """Unlinks whole days before `day`; answers those dropped, which stay known as dropped."""

    def dropped_before(self) -> int:
        """Days before this one were dropped by retention."""

    def problems(self) -> list[str]:
        """What in this store disagrees with itself, in words that name the item; empty when all is well."""

    def close(self) -> None: ...
