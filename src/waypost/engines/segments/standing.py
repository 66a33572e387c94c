"""Where a journal stands: as its mark says, or, after a loss of power, as its segments do.

Owns: how far it has looked through segments whose mark does not hold. Reads a journal's folder; writes nothing.
"""

from pathlib import Path

from waypost.engines.segments.form import RECORDS_AT, segment_file, segments
from waypost.engines.segments.mark import Mark, MarkReader
from waypost.engines.segments.segment import Segment, behind


class Standing:
    """One journal's. Used by one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._marks = MarkReader(folder)
        self._segment: Segment | None = None
        self._found = Mark(-1, 0, 0, 0)

    def look(self) -> Mark | None:
        """None where there is no journal yet. Raises OSError; WaypostError `wire_version`, `journal_unavailable`."""
        found = self._marks.read()
        if found is not None and found[1]:
            return found[0]
        return self._searched()

    def marked(self) -> Mark | None:
        """What the mark says, whether it holds or not."""
        found = self._marks.read()
        return found[0] if found is not None else None

    def close(self) -> None:
        self._marks.close()
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _searched(self) -> Mark | None:
        """Goes on, in the last segment, from where it was last, as far as records are whole."""
        for start in reversed(segments(self._folder)):
            if start != self._found.start and not self._open(start):
                continue  # it was being made: nothing is in it
            assert self._segment is not None
            self._segment.forget()
            _, end, offset, watermark_ms, _ = self._found
            until = self._segment.size
            watermark_ms = max(watermark_ms, self._segment.watermark_ms)
            while (record := self._segment.record(offset, until)) is not None and record.first == end:
                end, offset = end + record.frames, behind(offset, record)
                watermark_ms = max(watermark_ms, record.watermark_ms)
            self._found = Mark(start, end, offset, watermark_ms)
            return self._found
        return None

    def _open(self, start: int) -> bool:
        segment = Segment(segment_file(self._folder, start))
        if segment.label is None or segment.label.start != start:
            segment.close()
            return False
        if self._segment is not None:
            self._segment.close()
        self._segment = segment
        self._found = Mark(start, start, RECORDS_AT, segment.label.watermark_ms)
        return True
