"""Catalog versions on their way to another folder, perhaps of another release: compiled catalogs and all numbers.

Owns: that form. Reads and writes a `catalog/` folder. Never copies an artefact: its layout is this release's own, so
whoever takes the versions in writes them anew. References to secrets stay references.
"""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import msgspec

from waypost.catalog.compiled import decode_compiled, encode_compiled, fingerprint
from waypost.catalog.numbering import Numbered, names_to_number
from waypost.engines.sqlite.catalog_artefact import write_artefact
from waypost.engines.sqlite.catalog_numbers import Numbers
from waypost.engines.sqlite.catalog_view import SqliteCatalogView

_CACHE_ITEMS = 100  # of a view that is only asked for the whole


class CatalogExport(msgspec.Struct, frozen=True):
    """`numbers` as (kind, name, number); `versions` compiled catalogs in their encoded form; `current` is in force."""

    numbers: list[tuple[str, str, int]]
    versions: dict[int, bytes]
    current: int


def export_catalogs(folder: Path, versions: Iterable[int]) -> CatalogExport:
    """These versions of a folder; the last of them is the one in force there. Raises WaypostError `no_catalog`."""
    compiled: dict[int, bytes] = {}
    for version in sorted(versions):
        view = SqliteCatalogView(folder / "versions" / f"{version}.db", version, _CACHE_ITEMS)
        with closing(view):
            compiled[version] = encode_compiled(view.compiled())
    with closing(Numbers(folder / "numbers.db", read_only=True)) as numbers:
        return CatalogExport(numbers.rows(), compiled, max(compiled))


def import_catalogs(export: CatalogExport, folder: Path) -> None:
    """Makes a folder that holds the versions, under the numbers that they had."""
    (folder / "versions").mkdir(parents=True)
    with closing(Numbers(folder / "numbers.db")) as numbers:
        numbers.restore(export.numbers)
        for version, data in export.versions.items():
            compiled = decode_compiled(data)
            numbered = Numbered(compiled, numbers.assign(names_to_number(compiled)))
            numbers.begin_version(fingerprint(data), version)
            write_artefact(folder / "versions" / f"{version}.db", version, numbered, data)
    (folder / "current").write_text(f"{export.current}\n", "ascii")
