"""The wire form: how frames become bytes and come back, in blocks.

Owns: the block's layout. A block is one byte of wire version, then a MessagePack array of frames, each an array
that starts with its struct's tag. A door encodes each frame once and joins; a reader decodes a block in one call.
Never drops a frame: what this release cannot decode comes back as an `Unreadable` with its bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from waypost.errors import WaypostError
from waypost.model.frames import AnyFrame, Frame

WIRE_VERSION = 1
_HEADER = b"\x01\xdd"  # wire version 1, then MessagePack's array with a 32-bit length

# How a map of so many entries begins (MessagePack's fixmap and map 16).
MAP_HEADS = tuple(bytes([0x80 | count] if count < 16 else [0xDE, *count.to_bytes(2, "big")]) for count in range(256))

_encoder = msgspec.msgpack.Encoder()
_block_decoder = msgspec.msgpack.Decoder(list[AnyFrame])
_frame_decoder: msgspec.msgpack.Decoder[AnyFrame] = msgspec.msgpack.Decoder(AnyFrame)
_raw_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])


class Unreadable(msgspec.Struct):
    """A frame that could not be decoded: its bytes, and why."""

    raw: bytes
    why: str


Decoded: TypeAlias = AnyFrame | Unreadable


encode_frame: Callable[[Frame], bytes] = _encoder.encode
"""One frame's bytes, to be joined into a block."""


def encode_part(content: object) -> msgspec.Raw:
    """What a field of a frame holds, encoded beforehand; it may stand in the field's place where a frame is encoded."""
    return msgspec.Raw(_encoder.encode(content))


def encode_entries(content: Mapping[str, str]) -> bytes:
    """The entries of a map, encoded one after the other, to follow one of `MAP_HEADS`."""
    count = len(content)
    return _encoder.encode(content)[1 if count < 16 else 3 if count < 1 << 16 else 5 :]


def decode_frame(data: bytes) -> AnyFrame:
    """One frame from its bytes. Raises WaypostError `unreadable_frame`."""
    try:
        return _frame_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WaypostError("unreadable_frame", str(error)) from error


def join_block(frames: Sequence[bytes]) -> bytes:
    """A block from encoded frames."""
    return b"".join((_HEADER, len(frames).to_bytes(4, "big"), *frames))


def decode_block(data: bytes, count: int) -> list[Decoded]:
    """The `count` frames of a block, in order; bad ones as `Unreadable`.

    Raises WaypostError `wire_version` if a newer release wrote the block.
    """
    if data[:1] != _HEADER[:1]:
        if data and data[0] > WIRE_VERSION:
            raise WaypostError("wire_version", f"block has wire version {data[0]}, this release reads {WIRE_VERSION}")
        return [Unreadable(data if nth == 0 else b"", "not a block") for nth in range(count)]
    body = memoryview(data)[1:]
    try:
        frames: list[Decoded] = list(_block_decoder.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        frames = _decode_one_by_one(body)
    if len(frames) != count:
        why = f"block holds {len(frames)} frames, {count} were announced"
        frames = frames[:count] + [Unreadable(data if not frames else b"", why)] * (count - len(frames))
    return frames


def _decode_one_by_one(body: memoryview) -> list[Decoded]:
    try:
        raws = _raw_decoder.decode(body)
    except msgspec.DecodeError:
        return []
    frames: list[Decoded] = []
    for raw in raws:
        try:
            frames.append(_frame_decoder.decode(raw))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            frames.append(Unreadable(bytes(raw), str(error)))
    return frames


def split_block(data: bytes) -> list[bytes]:
    """The frames' bytes, undecoded. Raises WaypostError `store_corrupt` if the block is no block."""
    try:
        return [bytes(raw) for raw in _raw_decoder.decode(memoryview(data)[1:])]
    except msgspec.DecodeError as error:
        raise WaypostError("store_corrupt", f"a block cannot be split: {error}") from error
