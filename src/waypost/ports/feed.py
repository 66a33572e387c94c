"""Feeds and journals: append-only sequences of frames with positions.

A *feed* is what readers see of a journal, of the ledger's log and of the outbox: blocks of frames, each block
committed at once, positions counted in frames from 0 without gaps. A *journal* is a feed that one process appends to.

What the weaker engine guarantees, and callers may rely on: a block is read whole or not at all; positions that a
reader has not published past are not dropped; a frame may be delivered again after a crash of the reader, so what is
applied must be idempotent by position.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Block(msgspec.Struct, frozen=True):
    """Frames committed together, one or more. `watermark_ms`: no later frame of this feed has an older time than this.

    `data` is `model.wire`'s block form.
    """

    first: int
    count: int
    at_ms: int
    watermark_ms: int
    data: bytes

    @property
    def end(self) -> int:
        return self.first + self.count


class Head(msgspec.Struct, frozen=True):
    """Where a feed stands: `first` is the lowest position still held, `end` the next to be written.

    A reader that has read up to `end` may rely on `watermark_ms`, which a heartbeat moves without a block.
    """

    first: int
    end: int
    watermark_ms: int


class Feed(Protocol):
    """The reader's side. One instance is used by one thread."""

    @property
    def name(self) -> str: ...

    def read(self, position: int, frames_max: int) -> list[Block]:
        """Blocks from `position` on, in order, until `frames_max` frames are reached (at least one block if any).

        `position` is a block's end, as a former read gave it, or 0. Empty when nothing new is there. Raises
        WaypostError `store_gap` if the position was dropped or lies inside a block, `store_corrupt` if blocks do not
        follow each other.
        """

    def head(self) -> Head:
        """Where the feed stands now; `end` and `watermark_ms` belong together."""

    def problems(self) -> list[str]:
        """What in this store disagrees with itself, in words that name the item; empty when all is well."""

    def close(self) -> None: ...


class Journal(Protocol):
    """The writer's side. One process holds it; opening takes the source's lock (WaypostError `journal_in_use`)."""

    @property
    def source(self) -> str: ...

    @property
    def end(self) -> int:
        """The next position."""

    @property
    def bytes_on_disk(self) -> int:
        """How much it takes up, near enough to compare with the bound."""

    @property
    def last_ms(self) -> int:
        """The highest watermark ever written; a writer starts its own time above it."""

    def append(self, frames: Sequence[bytes], *, at_ms: int, watermark_ms: int) -> int:
        """Commits the encoded frames as one block; durable on return. Answers the first frame's position.

        Raises WaypostError `journal_full` (bound on disk reached) or `journal_unavailable` (disk full, I/O error).
        After `journal_unavailable` it is unknown whether the block will be read: nobody may have been told that it was
        accepted, and a second append of the same frames may make them appear twice. The caller may try new appends.
        """

    def heartbeat(self, *, at_ms: int, watermark_ms: int) -> None:
        """Moves the head's watermark without a block. Raises as `append` does."""

    def trim(self, below: int) -> int:
        """Drops whole segments whose frames all lie below `below`; answers the lowest position still held."""

    def close(self) -> None: ...


class Feeds(Protocol):
    """Finds the journals of a data folder, those that appear later included."""

    def sources(self) -> list[str]:
        """Names of all journals there are, sorted."""

    def open(self, source: str) -> Feed: ...


class Positions(Protocol):
    """What each reader has finished with; a writer trims below the lowest."""

    def publish(self, reader: str, source: str, position: int) -> None:
        """Durable enough to trim by: a crash may set it back, never forward."""

    def of(self, source: str) -> dict[str, int]:
        """Position by reader name."""
