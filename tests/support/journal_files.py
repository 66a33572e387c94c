"""What stands in journals' files, piece by piece, so that tests can take any of it away."""

from pathlib import Path
from typing import NamedTuple

from waypost.engines.segments.form import RECORDS_AT
from waypost.engines.segments.segment import Segment, behind


class Piece(NamedTuple):
    """Some bytes of a journal's file, and how the audit names them when they are gone."""

    file: Path
    kind: str  # `label`, `record` or `mark`
    offset: int
    size: int
    named: str

    def blank(self) -> None:
        """Takes it away."""
        with self.file.open("r+b") as opened:
            opened.seek(self.offset)
            opened.write(bytes(self.size))


def pieces(root: Path) -> list[Piece]:
    """All pieces of all journals below a folder."""
    found = [Piece(file, "mark", 0, 4096, "its mark is missing or damaged") for file in sorted(root.rglob("mark"))]
    for file in sorted(root.rglob("*.seg")):
        segment = Segment(file)
        assert segment.label is not None
        offset, start = RECORDS_AT, segment.label.start
        while (record := segment.record(offset, segment.size)) is not None:
            found.append(Piece(file, "record", offset, behind(offset, record) - offset, f"positions {record.first} to"))
            offset = behind(offset, record)
        if offset > RECORDS_AT:  # nobody misses a segment that holds nothing
            found.append(Piece(file, "label", 0, RECORDS_AT, f"positions {start} to"))
        segment.close()
    return found
