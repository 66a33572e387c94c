"""The archive: what happened, in columns, for traces, reports and audits.

Engines: Parquet segments read by DuckDB. Later: ClickHouse.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec


class ArchiveRange(msgspec.Struct, frozen=True):
    """Positions [start, end) of a feed that are archived."""

    feed: str
    start: int
    end: int


class Archive(Protocol):
    """One writer (the archivist); any number of readers."""

    def apply(self, feed: str, start: int, end: int, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Stores the rows that a feed's [start, end) gave, by table; visible at once and whole, durable on return.

        Each position gives exactly one row in one table, which names it in `position`; the engine adds the column
        `feed`. So a lost row shows, and (feed, position) names the same item here as in the feed.

        Idempotent: a range at or below the archive's position is skipped. Raises `store_out_of_order` on a gap.
        """

    def positions(self) -> dict[str, int]:
        """How far each feed is archived."""

    def ranges(self) -> list[ArchiveRange]:
        """What is held, merged where adjacent: a hole shows as two ranges."""

    def compact(self) -> int:
        """Merges small segments; answers how many were merged."""

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows of a SELECT over the tables (a table without rows yet is empty, not absent)."""

    def problems(self) -> list[str]:
        """What in this store disagrees with itself, in words that name the item; empty when all is well."""

    def close(self) -> None: ...
