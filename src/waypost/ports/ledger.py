"""The ledger: conversions, caps, parked calls, and the two feeds that others read: its log and the outbox.

Engines: SQLite. Later: PostgreSQL with the partition number in every key.

A worker owns a shard, which is a set of partitions (embedded: one shard with all of them). `apply` is one transaction
on one shard, so an engine that can only commit within a partition runs a shard for each.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from waypost.model.frames import BatchRecord, Before, Conversion, PostbackIn, ResendJob
from waypost.model.ids import ClickKey
from waypost.ports.feed import Feed


class Parked(msgspec.Struct, frozen=True):
    """A call that waits for its click. (source, position) is its key; `due_ms` when it is decided in any case."""

    source: str
    position: int
    parked_ms: int
    due_ms: int
    click_ms: int
    click_door: int
    call: PostbackIn


class Keyed(msgspec.Struct, frozen=True):
    """The first call with a receipt that was made from an idempotency key: where it stands, the time of the batch that
    read it, and a hash of what it said."""

    receipt: int
    source: str
    position: int
    at_ms: int
    content: bytes


class LedgerChanges(msgspec.Struct):
    """All that one batch changes.

    `decisions` and `postbacks` are encoded Decision and PostbackOut frames: the pipeline encodes each by itself, so
    that one that cannot be encoded is set aside alone. `created` and `updated` are whole conversions, none in both
    (one that is created and changed within the batch is created). `caps` are increments by cap key. `released` names
    parked calls of earlier batches that are decided now. `fired` are rules that fire once a click, by their keys, and
    the clicks for which they now have. `keyed` are first calls with their receipts, to be known from now on.
    `jobs` of resends, as they stand now. `before` is what of this stood differently, for whoever goes back in time.
    """

    record: BatchRecord
    decisions: list[bytes]
    created: list[Conversion]
    updated: list[Conversion]
    postbacks: list[bytes]
    caps: dict[str, int]
    parked: list[Parked]
    released: list[tuple[str, int]]
    fired: list[tuple[ClickKey, int]] = []
    before: Before | None = None
    keyed: list[Keyed] = []
    jobs: list[ResendJob] = []


class Ledger(Protocol):
    """One writer (the pipeline's worker); readers of their own open it read-only."""

    def apply(self, changes: LedgerChanges) -> None:
        """Commits a batch: one transaction, durable on return.

        The record's ranges move the positions of their sources. A batch whose number was applied already is taken
        again without effect; raises WaypostError `store_out_of_order` if a batch or a range does not start where
        the ledger stands.
        """

    def positions(self) -> dict[str, int]:
        """How far each journal has been applied."""

    def next_batch(self) -> int:
        """Number of the next batch, from 1."""

    def conversions_by_identity(self, identities: Sequence[bytes]) -> dict[bytes, Conversion]: ...

    def conversion(self, receipt: int) -> Conversion | None: ...

    def conversions(self) -> Iterator[Conversion]:
        """All of them, in order of their receipts."""

    def caps(self) -> dict[str, int]:
        """All counters by cap key."""

    def fired(self, clicks: Sequence[ClickKey]) -> dict[ClickKey, set[int]]:
        """By click, the keys of the rules that have fired for it; clicks without any are left out."""

    def forget_fired(self, below_ms: int) -> None:
        """Drops what is known of clicks before this time: no call can be for them any more."""

    def keyed(self, receipts: Sequence[int]) -> dict[int, Keyed]:
        """The first calls with these receipts, of those that are known."""

    def forget_keyed(self, below_ms: int) -> None:
        """Drops some of the first calls that were read before this time, the oldest first; a bounded number."""

    def jobs(self, ids: Sequence[str] | None = None) -> dict[str, ResendJob]:
        """Jobs of resends with these ids, or all there ever were, in order of their ids."""

    def parked(self) -> list[Parked]:
        """Every parked call, in (source, position) order."""

    def log(self) -> Feed:
        """BatchRecord, Decisions, a Before unless nothing stood before: a block a batch; feed name `ledger-log`."""

    def outbox(self) -> Feed:
        """PostbackOut frames; feed name `outbox`."""

    def trim(self, log_below: int, outbox_below: int) -> None:
        """Drops whole blocks of the feeds below these positions."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Of a reader: all that is read from this object within it, feeds apart, is as of one commit."""

    def problems(self) -> list[str]:
        """What in this store disagrees with itself, in words that name the item; empty when all is well."""

    def close(self) -> None: ...
