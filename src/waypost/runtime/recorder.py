"""The recorder: takes a stretch of traffic out of an installation that may be at work.

Owns: which batches can be recorded, and how the ledger's state at the first of them follows from today's. Reads
journals, the ledger's log and outbox, ledger and click store, all read-only; hands the parts to a recording's writer.
Never judges, never writes to the installation.

The ledger holds today's state only. Each batch's block in the log ends with what the batch changed, as it stood before
(`Before`): the state at the first recorded batch is today's with the changes since then undone.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from waypost import __version__
from waypost.errors import WaypostError
from waypost.model.frames import (
    BatchRecord,
    Before,
    Click,
    Conversion,
    Decision,
    PostbackIn,
    Resend,
    ResendJob,
    SourceRange,
    Verdict,
)
from waypost.model.ids import ClickKey, KeyRing
from waypost.model.wire import decode_block, decode_frame, split_block
from waypost.ports.catalog_source import CatalogSource
from waypost.ports.click_store import ClickStore
from waypost.ports.feed import Block, Feed, Feeds
from waypost.ports.ledger import Keyed, Ledger, Parked
from waypost.ports.recording import RecordedBatch, RecordingInfo, RecordingWriter, StartState

DOORS = "door-"  # the journals that decisions are made from …
OPERATOR = "operator"  # … and the one that postbacks are sent again from
_FRAMES_AT_ONCE = 5_000
_KEYS_AT_ONCE = 2_000


class RecorderSources(NamedTuple):
    """The installation's stores, open for reading."""

    feeds: Feeds
    ledger: Ledger
    clicks: ClickStore
    catalogs: CatalogSource
    ring: KeyRing
    park_max_ms: int


class _Batch(NamedTuple):
    """A block of the ledger's log."""

    record: BatchRecord
    raws: tuple[bytes, ...]  # the decisions' frames
    decisions: list[Decision]
    before: Before


@dataclass
class _Undo:
    """What has changed since the first recorded batch began."""

    starts: dict[str, int] = field(default_factory=dict)  # by journal, where the first of these batches begins
    before: dict[int, Conversion] = field(default_factory=dict)
    created: set[int] = field(default_factory=set)
    touched: set[int] = field(default_factory=set)
    released: list[tuple[PostbackIn, Decision]] = field(default_factory=list)  # parked calls with what became of them
    fired: set[tuple[int, int, int, int]] = field(default_factory=set)
    keyed: dict[int, Keyed | None] = field(default_factory=dict)
    jobs: dict[str, ResendJob] = field(default_factory=dict)  # as they stood before; with an empty state, not at all

    def note(self, batch: _Batch) -> None:
        for taken in batch.record.ranges:
            self.starts.setdefault(taken.source, taken.start)
        for conversion in batch.before.conversions:
            self.before.setdefault(conversion.receipt, conversion)
        self._note_released(batch)
        self.fired.update(batch.before.fired)
        for noted in batch.before.keyed:
            self.keyed.setdefault(noted[0], Keyed(*noted) if noted[1] else None)
        for job in batch.before.jobs:
            self.jobs.setdefault(job.id, job)
        for decision in batch.decisions:
            if decision.conversion:
                self.touched.add(decision.conversion)
                if decision.verdict is Verdict.NEW:
                    self.created.add(decision.conversion)

    def _note_released(self, batch: _Batch) -> None:
        """A receipt from a key may come to several calls, in the end even to several that waited: not in one batch."""
        calls = {call.receipt: call for call in batch.before.released}
        for decision in batch.decisions if calls else ():
            if decision.receipt in calls and decision.code != "repeated_key":  # that is another call
                self.released.append((calls[decision.receipt], decision))

    def conversion_at_start(self, receipt: int, ledger: Ledger) -> Conversion | None:
        if receipt in self.created:
            return None
        return self.before.get(receipt) or ledger.conversion(receipt)

    def keyed_at_start(self, receipts: Sequence[int], ledger: Ledger) -> tuple[Keyed, ...]:
        found = {**ledger.keyed(receipts), **{one: self.keyed[one] for one in receipts if one in self.keyed}}
        return tuple(one for one in found.values() if one is not None)

    def caps_at_start(self, ledger: Ledger) -> dict[str, int]:
        caps = ledger.caps()
        for receipt in self.touched:
            after = ledger.conversion(receipt)
            before = self.conversion_at_start(receipt, ledger)
            for conversion, sign in ((after, -1), (before, 1)):
                for key, counted in conversion.caps if conversion is not None else ():
                    caps[key] = caps.get(key, 0) + sign * counted
        return {key: counted for key, counted in caps.items() if counted}

    def parked_at_start(self, ledger: Ledger, park_max_ms: int) -> tuple[Parked, ...]:
        parked = ledger.parked()
        for call, said in self.released:
            due_ms = said.parked_ms + park_max_ms
            parked.append(
                Parked(said.source, said.position, said.parked_ms, due_ms, said.click_ms, said.click_door, call)
            )
        return tuple(one for one in parked if one.position < self.starts.get(one.source, 0))


def record(
    sources: RecorderSources, writer: RecordingWriter, *, from_ms: int | None, to_ms: int | None
) -> RecordingInfo:
    """Records the batches with `from_ms` <= their time < `to_ms`; None is as far as there is any.

    Raises WaypostError `recording_gone` if the stretch begins before what is still held (says since when it is),
    `recording_empty` if it has no batch.
    """
    log = sources.ledger.log()
    names = [name for name in sources.feeds.sources() if name.startswith(DOORS) or name == OPERATOR]
    journals = {name: sources.feeds.open(name) for name in names}
    try:
        first = _first_batch(log, journals, from_ms)
        return _Recorder(sources, writer, log, journals, first).record(to_ms)
    finally:
        log.close()
        for feed in journals.values():
            feed.close()


def _first_batch(log: Feed, journals: dict[str, Feed], from_ms: int | None) -> int:
    """The log's position of the first batch to record: all from it on is still held."""
    held_from = {name: feed.head().first for name, feed in journals.items()}
    missing_ms = -1  # the time of the last batch whose frames are gone
    has_earlier = False
    for position, batch in _batches(log, log.head().first):
        record = batch.record
        if any(taken.start < held_from[taken.source] for taken in record.ranges if _is_judged(taken, journals)):
            missing_ms = record.now_ms
        elif from_ms is None:
            return position
        elif record.now_ms < from_ms:
            has_earlier = True
        elif has_earlier or record.batch == 1 or record.now_ms == from_ms or 0 <= missing_ms < from_ms:
            return position
        else:
            hint = f"begin at {record.now_ms}; the settings' replay_kept_ms says how long traffic is kept"
            raise WaypostError("recording_gone", "what was judged from then on is no longer all there", hint=hint)
    raise WaypostError("recording_empty", "no batch was committed in that time, or none is held")


def _is_judged(taken: SourceRange, journals: Container[str]) -> bool:
    """Whether decisions or postbacks were made of what was taken."""
    return taken.source in journals and (taken.source.startswith(DOORS) or taken.resends > 0)


def _batches(log: Feed, position: int) -> Iterator[tuple[int, _Batch]]:
    """Each block of the log from a position on, as far as there are any now."""
    while blocks := log.read(position, _FRAMES_AT_ONCE):
        for block in blocks:
            frames = decode_block(block.data, block.count)
            raws = split_block(block.data)
            record = frames[0]
            if not isinstance(record, BatchRecord):
                raise WaypostError("store_corrupt", "a block has no batch record", place=f"ledger-log {block.first}")
            decisions = [frame for frame in frames if isinstance(frame, Decision)]
            before = next((frame for frame in frames if isinstance(frame, Before)), Before())
            yield block.first, _Batch(record, tuple(raws[1 : 1 + record.decisions]), decisions, before)
        position = blocks[-1].end


class _Recorder:
    """One recording in the making."""

    def __init__(
        self, sources: RecorderSources, writer: RecordingWriter, log: Feed, journals: dict[str, Feed], first: int
    ) -> None:
        self._sources = sources
        self._writer = writer
        self._journals = journals
        self._log = log
        self._first = first
        self._clicks: set[ClickKey] = set()  # of the recorded journals
        self._wanted: set[ClickKey] = set()  # that calls refer to
        self._later: set[ClickKey] = set()  # that came behind the stretch
        self._keyed: set[int] = set()  # receipts of calls that carry an idempotency key
        self._resent: set[int] = set()  # conversions that are told of again
        self._versions: set[int] = set()
        self._counts = {"batches": 0, "calls": 0, "postbacks": 0}
        self._to_ms = 0

    def record(self, to_ms: int | None) -> RecordingInfo:
        """All of it; see the function."""
        outbox = self._sources.ledger.outbox()
        postbacks = _Postbacks(outbox)
        undo: _Undo | None = None
        kept: set[int] = set()
        from_ms, last, is_open = 0, 0, True
        with self._sources.ledger.snapshot():
            following = self._sources.ledger.next_batch()
            for _, batch in _batches(self._log, self._first):
                record = batch.record
                if record.batch >= following:
                    break  # committed after the snapshot
                if undo is None:
                    undo, from_ms = _Undo(), record.now_ms
                is_open = is_open and (to_ms is None or record.now_ms < to_ms)
                if is_open:
                    self._take(batch, postbacks)
                    kept.update(decision.conversion for decision in batch.decisions)
                else:
                    self._pass_over(record)
                last = record.batch
                undo.note(batch)
            if undo is None or not self._counts["batches"]:
                raise WaypostError("recording_empty", "no batch was committed in that time")
            if last != following - 1:
                raise WaypostError("store_corrupt", f"the log ends at batch {last}, the ledger at {following - 1}")
            state = self._state(undo, kept)
        outbox.close()
        info = RecordingInfo(__version__, from_ms, self._to_ms, clicks=len(self._clicks), **self._counts)
        versions = sorted(self._versions | {self._sources.catalogs.current()})
        self._writer.finish(info, state, self._sources.ring, versions)
        return info

    def _take(self, batch: _Batch, postbacks: "_Postbacks") -> None:
        record = batch.record
        self._to_ms = record.now_ms
        self._versions.add(record.catalog)
        for taken in record.ranges:
            if _is_judged(taken, self._journals):
                self._copy(taken.source, taken.start, taken.end)
        for decision in batch.decisions:
            if decision.click_ms:
                self._wanted.add(ClickKey(decision.click_ms, decision.click_door, decision.click_seq))
        sent = postbacks.of(record)
        self._writer.add_batch(RecordedBatch(record, batch.raws, sent))
        self._counts["batches"] += 1
        self._counts["calls"] += len(batch.raws)
        self._counts["postbacks"] += len(sent)

    def _pass_over(self, record: BatchRecord) -> None:
        """Of a batch behind the stretch: its clicks were not there yet."""
        for taken in record.ranges:
            position = taken.start
            while taken.clicks and position < taken.end:
                for block in self._journals[taken.source].read(position, min(_FRAMES_AT_ONCE, taken.end - position)):
                    frames = decode_block(block.data, block.count)
                    self._later |= {ClickKey(one.ms, one.door, one.seq) for one in frames if type(one) is Click}
                    position = block.end

    def _copy(self, source: str, position: int, end: int) -> None:
        while position < end:
            for block in self._journals[source].read(position, min(_FRAMES_AT_ONCE, end - position)):
                self._writer.add_block(source, block)
                for frame in decode_block(block.data, block.count):
                    if type(frame) is Click:
                        self._clicks.add(ClickKey(frame.ms, frame.door, frame.seq))
                        self._versions.add(frame.catalog)
                    elif type(frame) is PostbackIn and frame.keyed:
                        self._keyed.add(frame.receipt)
                    elif type(frame) is Resend:
                        self._note_resend(frame)
                position = block.end

    def _note_resend(self, step: Resend) -> None:
        """What it refers to belongs to the recording."""
        conversion = step.conversion or (step.postback.conversion if step.postback is not None else 0)
        self._resent.add(conversion)
        if step.click is not None:
            self._wanted.add(ClickKey(step.click.ms, step.click.door, step.click.seq))
            self._versions.add(step.click.catalog)
        if step.postback is not None and step.postback.catalog in self._sources.catalogs.versions():
            self._versions.add(step.postback.catalog)

    def _state(self, undo: _Undo, kept: set[int]) -> StartState:
        ledger = self._sources.ledger
        clicks = self._clicks_at_start()
        parked = undo.parked_at_start(ledger, self._sources.park_max_ms)
        keyed = self._keyed | {one.call.receipt for one in parked if one.call.keyed}
        kept = (kept | keyed | self._resent) - {0}  # a receipt that names a conversion is never used again
        conversions = (undo.conversion_at_start(receipt, ledger) for receipt in sorted(kept))
        fired = ledger.fired(sorted(self._wanted))
        return StartState(
            positions=undo.starts,
            conversions=tuple(one for one in conversions if one is not None),
            caps=undo.caps_at_start(ledger),
            parked=parked,
            fired=tuple(
                (key, rule) for key, rules in fired.items() for rule in sorted(rules) if (*key, rule) not in undo.fired
            ),
            clicks=clicks,
            keyed=undo.keyed_at_start(sorted(keyed), ledger),
            jobs=tuple(job for job in undo.jobs.values() if job.state),
        )

    def _clicks_at_start(self) -> tuple[tuple[ClickKey, bytes], ...]:
        wanted = sorted(self._wanted - self._clicks - self._later)
        found: dict[ClickKey, bytes] = {}
        for at in range(0, len(wanted), _KEYS_AT_ONCE):
            found.update(self._sources.clicks.get_many(wanted[at : at + _KEYS_AT_ONCE]))
        for data in found.values():
            click = decode_frame(data)
            if isinstance(click, Click):
                self._versions.add(click.catalog)
        return tuple(sorted(found.items()))


class _Postbacks:
    """The outbox, read beside the log: a batch that caused postbacks has one block there, of its own time and count."""

    def __init__(self, outbox: Feed) -> None:
        self._blocks = _blocks(outbox)

    def of(self, record: BatchRecord) -> tuple[bytes, ...]:
        if not record.postbacks:
            return ()
        for block in self._blocks:
            if block.at_ms == record.now_ms and block.count == record.postbacks:
                return tuple(split_block(block.data))
        raise WaypostError("recording_gone", f"the postbacks of batch {record.batch} are no longer in the outbox")


def _blocks(feed: Feed) -> Iterator[Block]:
    position = feed.head().first
    while blocks := feed.read(position, _FRAMES_AT_ONCE):
        yield from blocks
        position = blocks[-1].end
