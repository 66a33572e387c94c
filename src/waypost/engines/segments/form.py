"""The form of a journal's segment on disk.

Owns: what the bytes mean, and nothing that is opened. A segment begins with its label (where it starts, the watermark
before it, a salt) and two places for the watermark of heartbeats; records follow one behind the other, and then zeros
or nothing. A record is a block of frames with its positions and times.

Each record has a checksum that begins with the segment's salt. So what a crash left half written is told from what was
written whole, and frames, whose content strangers choose, cannot pass for a record of their own.
"""

import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from waypost.errors import WaypostError

SUFFIX = ".seg"
OLD_SUFFIX = ".db"  # of segments before this form
RECORDS_AT = 512  # the first record's offset
_MAGIC = b"wpseg\x00\x00\x01"  # the last byte is the form's number
_LABEL = struct.Struct("<8sQqI")  # magic, start, watermark, salt; the checksum follows
_BEAT = struct.Struct("<q")  # watermark; the checksum follows
_BEATS_AT = (128, 256)  # two, written in turn: one is whole whatever happens to the other
_SUM = struct.Struct("<I")
_RECORD = struct.Struct("<IQIqq")  # bytes, first position, frames, at_ms, watermark_ms; the checksum stands before it
HEADER_BYTES = _SUM.size + _RECORD.size
_PIECE = 4096  # zlib lets go of the interpreter's lock for more than 5 KiB, which costs more than the sum


class Label(NamedTuple):
    """What a segment says of itself. `watermark_ms` is that of all that came before."""

    start: int
    watermark_ms: int
    salt: int


class Record(NamedTuple):
    """One record's header, and the offset behind it and its data."""

    first: int
    frames: int
    at_ms: int
    watermark_ms: int
    size: int


def segment_file(folder: Path, start: int) -> Path:
    return folder / f"{start:016d}{SUFFIX}"


def segments(folder: Path) -> list[int]:
    """First positions of a journal's segments, in order. Raises WaypostError `wire_version` for another form's."""
    try:
        files = list(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise WaypostError("journal_unavailable", str(error), place=str(folder)) from error
    starts = []
    for file in files:
        if file.suffix == SUFFIX and file.stem.isdigit():
            starts.append(int(file.stem))
        elif file.suffix == OLD_SUFFIX and file.stem.isdigit():
            raise WaypostError(
                "wire_version",
                f"{file.name} is a segment of an older form",
                place=str(folder),
                hint="let the release that wrote it process all it holds, stop it, and remove the folder",
            )
    return sorted(starts)


def encode_label(label: Label) -> bytes:
    """The segment's first bytes, up to its first record."""
    data = _LABEL.pack(_MAGIC, *label)
    return (data + _SUM.pack(zlib.crc32(data))).ljust(RECORDS_AT, b"\0")


def decode_label(data: bytes) -> Label | None:
    """None where it is damaged, or not written whole yet. Raises WaypostError `wire_version`."""
    if len(data) < _LABEL.size + _SUM.size:
        return None
    magic, *words = _LABEL.unpack_from(data)
    if magic[:7] == _MAGIC[:7] and magic[7] > _MAGIC[7]:
        raise WaypostError("wire_version", f"segment of form {magic[7]}, this release reads {_MAGIC[7]}")
    if magic != _MAGIC or _SUM.unpack_from(data, _LABEL.size)[0] != zlib.crc32(data[: _LABEL.size]):
        return None
    return Label(*words)


def encode_beat(label: Label, watermark_ms: int, nth: int) -> tuple[bytes, int]:
    """A heartbeat's bytes, and the offset at which the nth of this writer goes."""
    data = _BEAT.pack(watermark_ms)
    return data + _SUM.pack(zlib.crc32(data, label.salt)), _BEATS_AT[nth % 2]


def watermark_of(data: bytes, label: Label) -> int:
    """The highest watermark that the segment's first bytes speak of."""
    found = label.watermark_ms
    for place in _BEATS_AT:
        beat = data[place : place + _BEAT.size]
        if data[place + _BEAT.size : place + _BEAT.size + _SUM.size] == _SUM.pack(zlib.crc32(beat, label.salt)):
            found = max(found, _BEAT.unpack(beat)[0])
    return found


def encode_header(label: Label, first: int, count: int, at_ms: int, watermark_ms: int, data: bytes) -> bytes:
    """What stands before a block's data."""
    header = _RECORD.pack(len(data), first, count, at_ms, watermark_ms)
    return _SUM.pack(_sum_of(label, header, data)) + header


def decode_header(data: bytes, at: int) -> Record | None:
    """The header at this place of the bytes, unchecked; None where they end before it does."""
    if at + HEADER_BYTES > len(data):
        return None
    size, first, count, at_ms, watermark_ms = _RECORD.unpack_from(data, at + _SUM.size)
    return Record(first, count, at_ms, watermark_ms, size)


def is_whole(label: Label, data: bytes, at: int, record: Record) -> bool:
    """Whether the record at this place of the bytes is what was written."""
    start = at + HEADER_BYTES
    if record.frames < 1 or start + record.size > len(data):
        return False
    header = data[at + _SUM.size : start]
    return bool(_SUM.unpack_from(data, at)[0] == _sum_of(label, header, memoryview(data)[start : start + record.size]))


def _sum_of(label: Label, header: bytes, data: bytes | memoryview) -> int:
    found = zlib.crc32(header, label.salt)
    if len(data) <= _PIECE:
        return zlib.crc32(data, found)
    view = memoryview(data)
    for at in range(0, len(view), _PIECE):
        found = zlib.crc32(view[at : at + _PIECE], found)
    return found
