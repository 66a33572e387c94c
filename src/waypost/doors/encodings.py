"""Bodies that come compressed: gzip and zstd, unpacked within a bound.

Owns: `Content-Encoding` of requests. Pure. Never unpacks more than the bound, whatever a few bytes claim to hold.
"""

import io
import zlib

import zstandard

from waypost.errors import WaypostError

ENCODINGS = ("gzip", "zstd")
_GZIP = 31  # zlib's word for it, with the largest window
_SKIPPABLE = b"\x2a\x4d\x18"  # behind a byte 0x50 to 0x5f
_RLE = 1  # a block of one byte, repeated
_ZSTD_WINDOW_MAX = 8 << 20  # what RFC 8878 asks every decoder to take


def decoded(body: bytes, encoding: bytes, bytes_max: int) -> bytes:
    """The body as it was before it was compressed.

    Raises WaypostError `unknown_encoding`, `batch_malformed`, `batch_too_large`.
    """
    name = encoding.strip().lower()
    if name in (b"", b"identity"):
        found = body
    elif name in (b"gzip", b"x-gzip"):
        found = _gunzipped(body, bytes_max)
    elif name == b"zstd":
        found = _unzstd(body, bytes_max)
    else:
        raise WaypostError("unknown_encoding")
    if len(found) > bytes_max:
        raise WaypostError("batch_too_large")
    return found


def _gunzipped(body: bytes, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    left = bytes_max + 1
    while body and left > 0:  # a gzip file may have several members, one behind the other
        member = zlib.decompressobj(_GZIP)
        try:
            parts.append(member.decompress(body, left))
        except zlib.error as error:
            raise WaypostError("batch_malformed", "the body is not gzip") from error
        left -= len(parts[-1])
        if left > 0 and not member.eof:
            raise WaypostError("batch_malformed", "the gzip body is cut off")
        body = member.unused_data
    return b"".join(parts)


def _unzstd(body: bytes, bytes_max: int) -> bytes:
    source = io.BytesIO(body)
    reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_MAX).stream_reader(source, read_across_frames=True)
    try:
        found = reader.read(bytes_max + 1)
        if len(found) <= bytes_max and not _is_whole(body):
            raise WaypostError("batch_malformed", "the zstd body is cut off")
    except zstandard.ZstdError as error:
        raise WaypostError("batch_malformed", "the body is not zstd, or asks for too large a window") from error
    return found


def _is_whole(body: bytes) -> bool:
    """Whether the last frame has its last block (RFC 8878, 3.1.1): the reader ends without a word where it has not."""
    at = 0
    while at < len(body):
        if body[at + 1 : at + 4] == _SKIPPABLE and body[at] >> 4 == 5:
            at += 8 + int.from_bytes(body[at + 4 : at + 8], "little")
            continue
        has_checksum = zstandard.get_frame_parameters(body[at : at + 18]).has_checksum
        at += zstandard.frame_header_size(body[at : at + 18])
        is_last = False
        while not is_last:
            if at + 3 > len(body):
                return False
            head = int.from_bytes(body[at : at + 3], "little")
            is_last = bool(head & 1)
            at += 3 + (1 if head >> 1 & 3 == _RLE else head >> 3)
        at += 4 * has_checksum
    return at == len(body)
