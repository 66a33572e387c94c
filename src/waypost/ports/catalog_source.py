"""Where catalog versions come from.

Engines: files in the data folder. Later: PostgreSQL, announced over NATS.
"""

from typing import Protocol

from waypost.catalog.view import CatalogView


class CatalogSource(Protocol):
    def current(self) -> int:
        """The version in force; 0 when none was applied. Cheap: may be asked several times a second."""

    def open(self, version: int) -> CatalogView:
        """One immutable version; costs the same whatever its size. Raises WaypostError `no_catalog`."""

    def versions(self) -> list[int]:
        """All versions held, in order."""

    def problems(self) -> list[str]:
        """What in this store disagrees with itself, in words that name the item; empty when all is well."""
