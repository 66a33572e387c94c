"""Readers' positions in small files: `positions/READER/SOURCE`.

Owns: these files. They are hints for trimming only: what a reader has applied stands in its own store.
"""

from pathlib import Path
from shutil import rmtree


class FilePositions:
    """One file a reader and source, replaced whole; a crash may leave an older one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._published: dict[tuple[str, str], int] = {}

    def publish(self, reader: str, source: str, position: int) -> None:
        if self._published.get((reader, source)) == position:
            return
        file = self._folder / reader / source
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{source}.tmp")
        temporary.write_text(str(position), "ascii")
        temporary.replace(file)
        self._published[reader, source] = position

    def readers(self) -> list[str]:
        """Who has published."""
        return sorted(folder.name for folder in self._folder.glob("*") if folder.is_dir())

    def forget(self, reader: str) -> None:
        """There is no such reader any more."""
        rmtree(self._folder / reader, ignore_errors=True)

    def of(self, source: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for file in self._folder.glob(f"*/{source}"):
            text = file.read_text("ascii")
            if text.isdigit():
                found[file.parent.name] = int(text)
        return found
