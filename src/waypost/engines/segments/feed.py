"""Journals as readers see them.

Owns: a reader's place. Reads a journal's folder; writes nothing, locks nothing, and holds up nobody. Never reads beyond
what its writer has called durable.
"""

from bisect import bisect_right
from pathlib import Path

from waypost.engines.segments.form import RECORDS_AT, segment_file, segments
from waypost.engines.segments.mark import Mark
from waypost.engines.segments.segment import Segment, behind
from waypost.engines.segments.standing import Standing
from waypost.errors import WaypostError
from waypost.model.wire import split_block
from waypost.ports.feed import Block, Head

_NO_END = 1 << 63
_STEP_BYTES = 16 * 1024  # a reader remembers where it has been, so often


class SegmentFeed:
    """The reader of one source; see `ports.feed.Feed`. Opens segments as it goes along."""

    def __init__(self, folder: Path, source: str) -> None:
        self._folder = folder / source
        self._name = source
        self._place = f"journal {source}"
        self._standing = Standing(self._folder)
        self._segment: Segment | None = None
        self._start = self._until = -1  # the positions that the segment holds; `_NO_END` for the last one
        self._position, self._offset = -1, 0  # where the reader stands
        self._places: list[tuple[int, int]] = []  # positions of this segment, and their offsets, as far as it has been

    @property
    def name(self) -> str:
        return self._name

    def read(self, position: int, frames_max: int) -> list[Block]:
        """See `ports.feed.Feed.read`; a read ends at a segment's end."""
        try:
            mark = self._standing.look()
            if mark is None or position >= mark.end:
                return []
            segment = self._segment_of(position, mark)
            is_last = mark.start == self._start
            until = mark.offset if is_last else segment.size
            end = mark.end if is_last else min(self._until, mark.end)
            if position != self._position:
                self._seek(segment, position, until, end)
            return self._blocks(segment, end, until, frames_max)
        except OSError as error:
            raise WaypostError("data_unwritable", str(error), place=self._place) from error

    def head(self) -> Head:
        """See `ports.feed.Feed.head`."""
        try:
            mark = self._standing.look()
        except OSError as error:
            raise WaypostError("data_unwritable", str(error), place=self._place) from error
        starts = segments(self._folder)
        return Head(starts[0], mark.end, mark.watermark_ms) if mark is not None and starts else Head(0, 0, 0)

    def problems(self) -> list[str]:
        """Gaps within segments and between them, records that are damaged, and a mark that is."""
        found: list[str] = []
        try:
            starts = segments(self._folder)
            mark = self._standing.look() if starts else None
            if mark is None:
                return [] if not starts else [f"{self._place}: no segment can be read"]
            marked = self._standing.marked()
            if marked is None:
                found.append(f"{self._place}: its mark is missing or damaged")
            end = max(mark.end, marked.end if marked is not None else 0)
            for start, until in zip(starts, [*starts[1:], end], strict=True):
                if start <= mark.start:  # else it is being made
                    found += self._problems_of(start, until, mark)
        except FileNotFoundError:
            return found  # it was trimmed meanwhile
        except (OSError, WaypostError) as error:
            found.append(f"{self._place}: {error}")
        return found

    def close(self) -> None:
        self._standing.close()
        if self._segment is not None:
            self._segment.close()
        self._segment, self._start, self._until, self._position = None, -1, -1, -1

    # --- a reader's place ----------------------------------------------------------------------------

    def _segment_of(self, position: int, mark: Mark) -> Segment:
        """The segment that holds a position. Raises WaypostError `store_gap`, `store_corrupt`; OSError."""
        if self._until == _NO_END and mark.start > self._start:
            self._until = self._following(segments(self._folder), self._start)
        if self._segment is None or not self._start <= position < self._until:
            starts = segments(self._folder)
            if not starts or position < starts[0]:
                first = starts[0] if starts else mark.end
                raise WaypostError(
                    "store_gap", f"position {position} was dropped; the first held is {first}", place=self._name
                )
            self._open(max(start for start in starts if start <= position), starts)
        assert self._segment is not None
        return self._segment

    def _open(self, start: int, starts: list[int]) -> None:
        try:
            segment = Segment(segment_file(self._folder, start))
        except FileNotFoundError as error:
            raise WaypostError("store_gap", f"position {start} was dropped", place=self._name) from error
        if segment.label is None:
            segment.close()
            raise WaypostError("store_corrupt", f"segment {start} does not say what it is", place=self._place)
        if self._segment is not None:
            self._segment.close()
        self._segment, self._start, self._until = segment, start, self._following(starts, start)
        self._position, self._offset = start, RECORDS_AT
        self._places = [(start, RECORDS_AT)]

    @staticmethod
    def _following(starts: list[int], start: int) -> int:
        return min((one for one in starts if one > start), default=_NO_END)

    def _seek(self, segment: Segment, position: int, until: int, end: int) -> None:
        """Moves to a block's start: from here on, or from the nearest place before it. What lies between is not
        checked but for its positions."""
        known = self._places[bisect_right(self._places, (position, _NO_END)) - 1]
        if not known[0] <= self._position <= position:
            self._position, self._offset = known
        while self._position < position:
            record = segment.header(self._offset, until)
            if record is None or record.first != self._position or record.frames < 1:
                raise self._missing(segment, self._position, end)
            self._position, self._offset = self._position + record.frames, behind(self._offset, record)
            self._remember(self._position, self._offset)
        if self._position > position:
            self._position = -1
            raise WaypostError("store_gap", f"position {position} lies inside a block", place=self._name)

    def _blocks(self, segment: Segment, end: int, until: int, frames_max: int) -> list[Block]:
        blocks: list[Block] = []
        position, offset, frames = self._position, self._offset, 0
        while position < end and frames < frames_max:
            record = segment.record(offset, until)
            if record is None or record.first != position:
                if blocks:
                    break  # the next read says so
                raise self._missing(segment, position, end)
            data = segment.data(offset, record)
            blocks.append(Block(position, record.frames, record.at_ms, record.watermark_ms, data))
            position, offset, frames = position + record.frames, behind(offset, record), frames + record.frames
            self._remember(position, offset)
        self._position, self._offset = position, offset
        return blocks

    def _remember(self, position: int, offset: int) -> None:
        if offset - self._places[-1][1] >= _STEP_BYTES:
            self._places.append((position, offset))

    def _missing(self, segment: Segment, position: int, end: int) -> WaypostError:
        """What is said of a place where no whole record stands though there should be one."""
        segment.forget()
        return WaypostError("store_corrupt", f"positions {position} to {end - 1} are missing", place=self._place)

    # --- the audit -----------------------------------------------------------------------------------

    def _problems_of(self, start: int, end: int, mark: Mark) -> list[str]:
        """One segment, whose positions end where the next one begins."""
        segment = Segment(segment_file(self._folder, start))
        try:
            if segment.label is None or segment.label.start != start:
                return [f"{self._place}: positions {start} to {end - 1} are missing: the segment's label is damaged"]
            found: list[str] = []
            position, offset = start, RECORDS_AT
            until = mark.offset if start == mark.start else segment.size
            while position < end:
                record = segment.record(offset, until)
                if record is None or record.first != position:
                    return [*found, f"{self._place}: positions {position} to {end - 1} are missing"]
                found += self._held_wrongly(position, record.frames, segment.data(offset, record))
                position, offset = position + record.frames, behind(offset, record)
            if position > end:
                found.append(f"{self._place}: positions {end} to {position - 1} stand twice")
            return found
        finally:
            segment.close()

    def _held_wrongly(self, position: int, count: int, data: bytes) -> list[str]:
        try:
            held = len(split_block(data))
        except WaypostError as error:
            return [f"{self._place}: block at position {position}: {error.detail}"]
        return [f"{self._place}: block at position {position} holds {held} frames, not {count}"] * (held != count)


class SegmentFeeds:
    """The journals of a data folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def sources(self) -> list[str]:
        """See `ports.feed.Feeds.sources`. Raises WaypostError `wire_version` for a journal of another form."""
        if not self._folder.exists():
            return []
        return sorted(entry.name for entry in self._folder.iterdir() if entry.is_dir() and segments(entry))

    def open(self, source: str) -> SegmentFeed:
        return SegmentFeed(self._folder, source)
