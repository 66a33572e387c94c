"""Recordings: a stretch of an installation's traffic with all that its decisions were made from, in one file.

Engines: SQLite (`engines/sqlite/recording.py`). A recording is written once, whole, and read by any later release: it
holds frames in their wire form. It holds clicks, calls and the key ring as well: keep it as safe as the data folder.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from waypost.model.frames import BatchRecord, Conversion, ResendJob
from waypost.model.ids import ClickKey, KeyRing
from waypost.ports.feed import Block
from waypost.ports.ledger import Keyed, Parked


class RecordingInfo(msgspec.Struct, frozen=True):
    """What a recording is of. Times are those of its first and last batch."""

    waypost: str
    from_ms: int
    to_ms: int
    batches: int
    clicks: int
    calls: int
    postbacks: int


class StartState(msgspec.Struct, frozen=True):
    """What the stores held when the first batch began, as far as its calls concern it.

    `positions` by journal; `clicks` those that calls refer to and that no journal of the recording holds.
    """

    positions: dict[str, int]
    conversions: tuple[Conversion, ...]
    caps: dict[str, int]
    parked: tuple[Parked, ...]
    fired: tuple[tuple[ClickKey, int], ...]
    clicks: tuple[tuple[ClickKey, bytes], ...]
    keyed: tuple[Keyed, ...] = ()
    jobs: tuple[ResendJob, ...] = ()


class RecordedBatch(msgspec.Struct, frozen=True):
    """A ledger commit as it was: its record, and the decisions' and postbacks' frames."""

    record: BatchRecord
    decisions: tuple[bytes, ...]
    postbacks: tuple[bytes, ...]


class RecordingWriter(Protocol):
    """Takes the parts in any order; the file is there, whole, once `finish` has returned."""

    def add_block(self, source: str, block: Block) -> None: ...

    def add_batch(self, batch: RecordedBatch) -> None:
        """Batches come in their order."""

    def finish(self, info: RecordingInfo, state: StartState, ring: KeyRing, versions: Sequence[int]) -> None:
        """`versions` of the catalog, and the numbers of its things, are kept too."""


class Recording(Protocol):
    """The reader's side."""

    @property
    def info(self) -> RecordingInfo: ...

    def start(self) -> StartState: ...

    def ring(self) -> KeyRing: ...

    def batches(self) -> Iterator[RecordedBatch]: ...

    def blocks(self, source: str, start: int, end: int) -> list[Block]:
        """The blocks of a journal's positions [start, end). Raises WaypostError `store_corrupt` if some are missing."""

    def unpack_catalogs(self, folder: Path) -> None:
        """Writes the catalog versions, and their numbers, into a folder of their own."""

    def close(self) -> None: ...
