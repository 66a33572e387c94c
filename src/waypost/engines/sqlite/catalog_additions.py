"""A catalog's file that is written: entries added, whole or not at all.

Owns: which file an entry goes into, and replacing it. Reads and writes a catalog's files; never writes a text that does
not compile, and never changes a line that is there.
"""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from waypost.catalog.additions import NewEntry, with_entry
from waypost.catalog.compile import compile_catalog
from waypost.engines.local.durable import sync_path
from waypost.engines.sqlite.catalog_files import read_sources
from waypost.errors import WaypostError
from waypost.settings import CatalogSettings

NEW_FILE = "presets.yaml"  # in a folder none of whose files has the section


def add_entries(path: Path, entries: Sequence[NewEntry], settings: CatalogSettings, *, dry_run: bool) -> list[Path]:
    """Adds entries to a catalog, a file or a folder, and answers the files that were (or would be) written.

    The catalog must be right before and after. Raises CatalogErrors, `catalog_bad_value` for a section that is written
    within braces, `catalog_not_found` for files that cannot be read or written.
    """
    sources = read_sources(path, settings.bytes_max)
    compile_catalog(sources, settings)
    texts = dict(sources)
    before = dict(texts)
    for section, name, entry in entries:
        file = _file_for(texts, section) if path.is_dir() else path.name
        texts[file] = with_entry(texts.get(file, ""), section, name, entry)
    compile_catalog(list(texts.items()), settings)
    changed = [file for file, text in texts.items() if before.get(file) != text]
    folder = path if path.is_dir() else path.parent
    for file in changed:
        if not dry_run:
            _replace(folder / file, texts[file])
    return [folder / file for file in changed]


def _file_for(texts: dict[str, str], section: str) -> str:
    """The first file that has the section."""
    having = [file for file, text in texts.items() if any(line.startswith(f"{section}:") for line in text.splitlines())]
    return having[0] if having else NEW_FILE


def _replace(file: Path, text: str) -> None:
    """Writes the text beside the file, then names it: readers see the old one or the new one, never a part."""
    target = file.resolve()
    partial = target.with_name(f".{target.name}.partial")
    try:
        partial.write_bytes(text.encode())
        if target.exists():
            shutil.copymode(target, partial)
        sync_path(partial)
        partial.replace(target)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise WaypostError("catalog_not_found", f"cannot be written: {error.strerror}", place=str(file)) from error
