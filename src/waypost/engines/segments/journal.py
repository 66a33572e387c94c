"""Journals as plain files: segments per writer, a record a group commit, each written through to the disk by one call.

Owns: `journal/SOURCE/START.seg`, its mark and the writer's lock beside them. A segment is named by its first position;
the next one starts where it ends. Never decides who has finished reading: positions come from the caller. Never waits
for a reader, and never writes on in a segment that has met an I/O error (docs/decisions/0016, 0039).
Room ahead of what is written: `room.py`.
"""

import contextlib
import fcntl
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from waypost.engines.local.durable import sync_path
from waypost.engines.segments.form import (
    HEADER_BYTES,
    RECORDS_AT,
    Label,
    encode_beat,
    encode_header,
    encode_label,
    segment_file,
    segments,
)
from waypost.engines.segments.mark import MarkWriter
from waypost.engines.segments.room import DSYNC, NO_ROOM, ROOM_MAX, Room
from waypost.engines.segments.segment import Segment, behind
from waypost.engines.segments.standing import Standing
from waypost.errors import WaypostError
from waypost.model.wire import join_block
from waypost.ports.clock import Clock
from waypost.settings import JournalSettings

_PAGE = 4096


def write_through(descriptor: int, pieces: Sequence[bytes], offset: int) -> None:
    """Writes all of it at an offset; durable on return, for the descriptor is open so. Raises OSError."""
    written, wanted = os.pwritev(descriptor, pieces, offset), sum(map(len, pieces))
    while written < wanted:  # cut off by want of room, mostly: the next call says so
        written += os.pwrite(descriptor, b"".join(pieces)[written:], offset + written)


class SegmentJournal:
    """The writer of one source; see `ports.feed.Journal`. Used by one thread at a time."""

    def __init__(self, folder: Path, source: str, settings: JournalSettings, clock: Clock) -> None:
        self._folder, self._source, self._settings, self._clock = folder / source, source, settings, clock
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._folder / "writer.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise WaypostError("journal_in_use", f"journal {source} has another writer", place=source) from error
        self._descriptor = -1
        self._marks: MarkWriter | None = None
        self._label = Label(0, 0, 0)
        self._end = self._offset = self._last_ms = 0
        self._room = Room()
        self._written = 0  # bytes, since the segment was opened
        self._beats = 0
        self._closed_bytes = self._due_ms = 0
        self._surely_within = settings.disk_bytes_max - _PAGE  # of what may be held before pages are counted
        self._is_doubtful = False  # whether the segment has met an I/O error, or its writer died
        try:
            self._take_up()
        except OSError as error:
            self.close()
            raise WaypostError("data_unwritable", str(error), place=str(self._folder)) from error
        except BaseException:
            self.close()
            raise

    @property
    def source(self) -> str:
        return self._source

    @property
    def end(self) -> int:
        return self._end

    @property
    def last_ms(self) -> int:
        return self._last_ms

    @property
    def bytes_on_disk(self) -> int:
        """Bytes of all segments, as known without asking the disk."""
        return self._closed_bytes + _whole_pages(max(self._room.until, self._offset))

    def append(self, frames: Sequence[bytes], *, at_ms: int, watermark_ms: int) -> int:
        """See `ports.feed.Journal.append`."""
        room = self._room
        if self._closed_bytes + room.until > self._surely_within or self._offset > room.until:
            self._check_room()
        data = join_block(frames)
        first, count = self._end, len(frames)
        size = HEADER_BYTES + len(data)
        try:
            self._prepare(at_ms)
            offset = self._offset
            header = encode_header(self._label, first, count, at_ms, watermark_ms, data)
            if room.until - offset - size < ROOM_MAX // 2 or room.error is not None:
                room.reach(offset, size, self._written)
            write_through(self._descriptor, (header, data), offset)
        except (OSError, WaypostError) as error:
            raise self._failed(error) from error
        self._written += size
        self._offset = offset + size
        self._end = first + count
        if watermark_ms > self._last_ms:
            self._last_ms = watermark_ms
        self._tell()
        return first

    def heartbeat(self, *, at_ms: int, watermark_ms: int) -> None:
        """See `ports.feed.Journal.heartbeat`."""
        try:
            self._prepare(at_ms)
            last_ms = max(self._last_ms, watermark_ms)
            beat, offset = encode_beat(self._label, last_ms, self._beats)
            write_through(self._descriptor, (beat,), offset)
        except (OSError, WaypostError) as error:
            raise self._failed(error) from error
        self._beats += 1
        self._last_ms = last_ms
        self._tell()
        self._check_room()  # the watermark moves all the same: readers must get on

    def trim(self, below: int) -> int:
        """See `ports.feed.Journal.trim`. The segment that is written to is never dropped."""
        starts = segments(self._folder)
        kept = [start for start, until in itertools.pairwise(starts) if until > below] + starts[-1:]
        for start in starts:  # from the oldest on: a crash between two of them leaves no gap
            if start < kept[0]:
                segment_file(self._folder, start).unlink(missing_ok=True)
        self._count_closed(kept)
        return kept[0]

    def close(self) -> None:
        """Ends the segment where its last record does, and says that this writer ended well."""
        if self._marks is not None:
            if self._descriptor >= 0 and not self._is_doubtful and self._marks.is_ours:
                with contextlib.suppress(OSError):  # then the next writer begins a new segment
                    self._end_room()
                    os.fsync(self._descriptor)
                    self._marks.write(self._label.start, self._end, self._offset, self._last_ms, is_clean=True)
                    self._marks.sync()
            self._marks.close()
            self._marks = None
        self._room.close()
        for descriptor in (self._descriptor, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._lock = -1

    # --- beginning and ending a segment --------------------------------------------------------------

    def _take_up(self) -> None:
        """Goes on where the last writer ended, however it ended. Raises OSError, WaypostError."""
        standing = Standing(self._folder)
        try:
            mark, marked = standing.look(), standing.marked()
        finally:
            standing.close()
        found = mark.end if mark is not None else 0
        if marked is not None and found < marked.end:
            raise self._lost(found, marked.end)
        self._marks = MarkWriter(self._folder)
        if mark is None:
            self._begin()
        else:
            self._end, self._offset, self._last_ms = mark.end, mark.offset, mark.watermark_ms
            self._open(mark.start)
            self._is_doubtful = not mark.is_clean
            if self._is_doubtful:
                self._adopt()
            self._tell()
        self._marks.sync()  # from here on it is no clean end any more
        self._count_closed(segments(self._folder))

    def _begin(self) -> None:
        """Makes the segment that starts at the end of all there is, or makes it again: nothing was in it."""
        file = segment_file(self._folder, self._end)
        if file.exists():
            self._check_nothing_in(file)
        label = Label(self._end, self._last_ms, int.from_bytes(os.urandom(4), "little"))
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC | DSYNC, 0o600)
        try:
            write_through(descriptor, (encode_label(label),), 0)
            sync_path(self._folder)
        except BaseException:
            os.close(descriptor)
            raise
        if self._descriptor >= 0:
            if not self._is_doubtful:
                with contextlib.suppress(OSError):
                    self._end_room()
            os.close(self._descriptor)
        self._descriptor, self._label = descriptor, label
        self._offset = RECORDS_AT
        self._room.move(file, RECORDS_AT)
        self._written = 0
        self._due_ms = self._clock.now_ms() + self._settings.segment_age_ms
        self._tell()
        assert self._marks is not None
        self._marks.sync()  # a mark that is lost is never older than its segment

    def _open(self, start: int) -> None:
        """Opens the segment that the last writer wrote to."""
        file = segment_file(self._folder, start)
        segment = Segment(file)
        try:
            if segment.label is None or segment.size < self._offset:
                raise self._lost(start, self._end)
            self._label = segment.label
            self._room.move(file, segment.size)
        finally:
            segment.close()
        self._descriptor = os.open(file, os.O_RDWR | DSYNC)
        self._due_ms = self._clock.now_ms() + self._settings.segment_age_ms

    def _adopt(self) -> None:
        """Takes over whole records behind the mark: of a writer that died before it told of them, or whose mark was
        lost with a disk that went and came back. They are written again, so that they are durable whatever became of
        the first time. Raises OSError."""
        segment = Segment(segment_file(self._folder, self._label.start))
        try:
            until = segment.size
            while (record := segment.record(self._offset, until)) is not None and record.first == self._end:
                write_through(self._descriptor, (segment.whole(self._offset, record),), self._offset)
                self._offset, self._end = behind(self._offset, record), self._end + record.frames
                self._last_ms = max(self._last_ms, record.watermark_ms)
            self._last_ms = max(self._last_ms, segment.watermark_ms)
        finally:
            segment.close()

    def _check_nothing_in(self, file: Path) -> None:
        """What was begun at this place may be begun anew only as long as no record is in it, but one that was refused
        just now."""
        segment = Segment(file)
        try:
            if segment.record(RECORDS_AT, segment.size) is not None and self._label.start != self._end:
                raise WaypostError(
                    "store_corrupt", f"{file.name} holds what the mark does not know", place=self._source
                )
        finally:
            segment.close()

    def _prepare(self, at_ms: int) -> None:
        """Begins the next segment when it is time, or when this one is not to be trusted."""
        assert self._marks is not None
        if not self._marks.is_ours:
            raise WaypostError("journal_in_use", f"journal {self._source} has another writer", place=self._source)
        if self._is_doubtful:
            self._check_still_there()
            self._begin()
            self._is_doubtful = False
            self._count_closed(segments(self._folder))
        elif (at_ms >= self._due_ms or self._offset >= self._settings.segment_bytes_max) and (
            self._end > self._label.start
        ):
            self._begin()
            self._count_closed(segments(self._folder))

    def _check_still_there(self) -> None:
        """After an error: what was acknowledged and cannot be found is an error of its own, and never written over."""
        file = segment_file(self._folder, self._label.start)
        try:
            size = file.stat().st_size
        except FileNotFoundError:
            size = 0
        if size < self._offset:
            raise self._lost(self._label.start, self._end)

    def _failed(self, error: Exception) -> WaypostError:
        self._is_doubtful |= not (isinstance(error, OSError) and error.errno in NO_ROOM)
        return WaypostError("journal_unavailable", str(error), place=self._source)

    def _lost(self, first: int, end: int) -> WaypostError:
        lost = f"positions {first} to {end - 1} were acknowledged and are gone"
        return WaypostError("store_corrupt", lost, place=self._source)

    # --- the mark, and room --------------------------------------------------------------------------

    def _tell(self) -> None:
        assert self._marks is not None
        self._marks.write(self._label.start, self._end, self._offset, self._last_ms)

    def _check_room(self) -> None:
        held, bound = self.bytes_on_disk, self._settings.disk_bytes_max
        if held > bound:
            raise WaypostError("journal_full", f"{held} bytes, the bound is {bound}", place=self._source)

    def _end_room(self) -> None:
        """Gives back what was made ready and not used. Raises OSError."""
        self._room.leave()
        os.ftruncate(self._descriptor, self._offset)
        self._room.until = self._offset

    def _count_closed(self, starts: Sequence[int]) -> None:
        """Notes what the closed segments take up."""
        sizes = 0
        for start in starts:
            if start != self._label.start:
                with contextlib.suppress(FileNotFoundError):
                    sizes += _whole_pages(segment_file(self._folder, start).stat().st_size)
        self._closed_bytes = sizes


def _whole_pages(size: int) -> int:
    """What a file of that size takes up."""
    return -(-size // _PAGE) * _PAGE
