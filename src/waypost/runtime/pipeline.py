"""The pipeline's loop: journals in, clicks and decisions out, one batch after the other.

Owns: the batch's size, and what waits in memory (a mirror of the ledger's parked calls and cap
counters). Reads journals, click store, catalog; applies to click store, then to ledger, each in one transaction.
Never judges (stages do) and never sends. A kill -9 anywhere leaves positions that the next start goes on from.
"""

import heapq
from collections.abc import Callable, Sequence
from decimal import Decimal

from waypost.catalog.view import CatalogView
from waypost.errors import WaypostError
from waypost.model.frames import (
    BatchRecord,
    Before,
    Click,
    Conversion,
    Decision,
    SourceRange,
    Verdict,
)
from waypost.model.ids import ClickIdCodec, ClickKey, KeyRing
from waypost.model.wire import Unreadable, decode_frame, encode_frame
from waypost.ports.board import BoardWriter
from waypost.ports.catalog_source import CatalogSource
from waypost.ports.click_store import ClickStore
from waypost.ports.clock import Clock
from waypost.ports.feed import Positions
from waypost.ports.ledger import Ledger, LedgerChanges, Parked
from waypost.runtime.board import BoardKeeper
from waypost.runtime.journal_reader import Reading, Taken
from waypost.runtime.repeats import SPARE_MS, in_order_of_acceptance, mark_repeats
from waypost.runtime.replay_window import ReplayWindow
from waypost.runtime.resends import Resends, Resent
from waypost.settings import PipelineSettings
from waypost.stages.case import Case, Intake, Where, is_waiting_for_click
from waypost.stages.checks import CheckLimits
from waypost.stages.judgement import Judgement, judge, set_aside
from waypost.stages.rules import RuleBook
from waypost.telemetry.log import logger
from waypost.telemetry.stats import Stats

READER = "pipeline"
_LOG, _OUTBOX = "ledger-log", "outbox"
_TRIM_EVERY_MS = 2000
_PAUSE_AFTER_ERROR_MS = 200
_VIEWS_MAX = 64
_STALE_MAX = 1000  # entries of released calls that the heaps of parked ones may hold
_SAMPLE_MIN = 50  # fewer calls say little of what one takes
_COUNTERS = {
    Verdict.NEW: "pipeline_new",
    Verdict.UPDATED: "pipeline_updated",
    Verdict.DUPLICATE: "pipeline_duplicates",
    Verdict.REFUSED: "pipeline_refused",
    Verdict.SET_ASIDE: "pipeline_set_aside",
}
_log = logger("pipeline")


class Pipeline:
    """See the module. Used by one thread; `step` is one batch."""

    def __init__(
        self,
        *,
        reading: Reading,
        positions: Positions,
        clicks: ClickStore,
        ledger: Ledger,
        catalogs: CatalogSource,
        ring: KeyRing,
        settings: PipelineSettings,
        clock: Clock,
        stats: Stats,
        outbox_readers: Sequence[str] = ("archivist", "courier"),
        board: BoardWriter | None = None,
    ) -> None:
        """`outbox_readers`: the names under which all readers of the outbox publish their positions."""
        self._board = BoardKeeper(board, settings.board_lifetime_ms, stats) if board is not None else None
        self._outbox_readers = outbox_readers
        self._reading = reading
        self._positions = positions
        self._clicks = clicks
        self._ledger = ledger
        self._catalogs = catalogs
        self._codec = ClickIdCodec(ring)
        self._settings = settings
        self._clock = clock
        self._stats = stats
        self._views: dict[int, CatalogView] = {}
        self._intake: Intake | None = None
        self._rules: RuleBook
        self._trimmed_at_ms = 0.0
        self._own_feeds = (ledger.log(), ledger.outbox())
        self._window = ReplayWindow(positions, settings.replay_kept_ms, settings.replay_frames_max)
        self._frames_max = settings.batch_frames_max
        self._sum_max = Decimal(settings.sum_max)
        self._load()

    def _load(self) -> None:
        """What is mirrored in memory, from the ledger: at the start and after a commit that failed."""
        self._applied = self._ledger.positions()
        self._batch = self._ledger.next_batch()
        self._counters = self._ledger.caps()
        self._reading.reset()
        self._parked: dict[tuple[str, int], Parked] = {}
        self._parked_by_door: dict[int, list[tuple[int, str, int]]] = {}
        self._parked_due: list[tuple[int, str, int]] = []
        for parked in self._ledger.parked():
            self._remember(parked)
        if self._board is not None:
            self._board.forget()

    def run(self, stop: Callable[[], bool]) -> None:
        """Steps until told to stop, then until nothing is left to read."""
        while True:
            stopping = stop()
            self._stats.beats += 1
            try:
                done = self.step()
            except WaypostError as error:
                # A store that is full or unreachable: nothing is lost, the batch is taken again.
                self._stats.add("errors")
                _log.error("step_failed", code=error.code, detail=error.detail, place=error.place)
                self._load()
                self._clock.sleep_ms(_PAUSE_AFTER_ERROR_MS)
                done = 0
                if stopping:
                    return
            if done == 0:
                if stopping:
                    return
                self._clock.sleep_ms(self._settings.poll_ms)

    def step(self) -> int:
        """One batch: answers how many frames and parked calls it dealt with; 0 when there was nothing to do."""
        version = self._catalogs.current()
        self._stats.set("catalog_version", version)
        if version == 0:
            return 0
        now_ms = self._clock.now_ms()
        began_ms = self._clock.monotonic_ms()
        taken = self._reading.take(self._applied, now_ms, self._frames_max)
        self._stats.set("pipeline_lag_frames", self._reading.lag)
        released = self._release(taken, now_ms)
        if not taken.ranges and not released:
            self._trim(began_ms)
            self._tell_doors(version, now_ms, began_ms)
            return 0
        self._note_watermarks(taken)
        if taken.clicks:
            self._clicks.apply(taken.clicks)
        changes = self._judge(taken, released, now_ms, version)
        self._commit(changes)
        self._adapt(len(taken.calls) + len(released), self._clock.monotonic_ms() - began_ms)
        self._count(taken, changes)
        self._trim(began_ms)
        self._tell_doors(version, now_ms, began_ms)
        return sum(taken_range.end - taken_range.start for taken_range in taken.ranges) + len(released)

    def _note_watermarks(self, taken: Taken) -> None:
        """Records the watermarks of journals without news too: what is parked or released depends on them."""
        read = {one.source for one in taken.ranges}
        for source, watermark_ms in self._reading.watermarks.items():
            if source not in read:
                position = self._applied.get(source, 0)
                taken.ranges.append(SourceRange(source, position, position, watermark_ms))

    # --- waiting for clicks ----------------------------------------------------------------------------

    def _remember(self, parked: Parked) -> None:
        key = (parked.source, parked.position)
        self._parked[key] = parked
        heapq.heappush(self._parked_by_door.setdefault(parked.click_door, []), (parked.click_ms, *key))
        heapq.heappush(self._parked_due, (parked.due_ms, *key))

    def _release(self, taken: Taken, now_ms: int) -> list[tuple[Parked, str]]:
        """Parked calls to be judged now, each with the code it is refused with if its click is still missing.

        A call is released when its click's door has a watermark beyond the click's time: then the click is stored or
        was never journaled. Or when it has waited as long as it may.
        """
        released: dict[tuple[str, int], str] = {}
        for door, heap in self._parked_by_door.items():
            watermark_ms = self._reading.watermarks.get(f"door-{door}", 0)
            while heap and heap[0][0] < watermark_ms:
                _, source, position = heapq.heappop(heap)
                released[source, position] = "click_not_found"
        while self._parked_due and self._parked_due[0][0] <= now_ms:
            _, source, position = heapq.heappop(self._parked_due)
            released.setdefault((source, position), "click_not_arrived")
        found = [(self._parked.pop(key), code) for key, code in sorted(released.items()) if key in self._parked]
        if len(self._parked_due) > 2 * len(self._parked) + _STALE_MAX:
            self._forget_stale()
        return found

    def _forget_stale(self) -> None:
        """Makes the heaps anew from what is parked: entries of released calls stay in one heap or the other."""
        parked, self._parked = self._parked, {}
        self._parked_by_door, self._parked_due = {}, []
        for one in parked.values():
            self._remember(one)

    # --- judging ---------------------------------------------------------------------------------------

    def _judge(self, taken: Taken, released: list[tuple[Parked, str]], now_ms: int, version: int) -> LedgerChanges:
        view = self._view(version)
        if self._intake is None or self._intake.view is not view:
            self._intake = Intake(view)
            self._rules = RuleBook(view)
        self._tallied: dict[str, int] = {}
        record = BatchRecord(self._batch, now_ms, version, tuple(taken.ranges), 0, 0)
        changes = LedgerChanges(record, [], [], [], [], {}, [], [])
        cases = self._open_cases(taken, released, changes, now_ms)
        noted = mark_repeats(cases, self._ledger, changes, self._settings.keyed_kept_ms)
        cases = self._find_clicks(cases, changes, now_ms)
        ready = self._park_or_resolve(cases, changes, now_ms, view)
        known = self._ledger.conversions_by_identity([case.identity for case in ready if case.identity])
        fresh: dict[bytes, tuple[Conversion, bool]] = {}
        fired: dict[ClickKey, set[int]] = {}
        has_firsts = self._rules.has_firsts
        if has_firsts:
            fired = self._ledger.fired([case.click_key for case in ready if case.click_key is not None])
        limits = CheckLimits(now_ms, self._settings.click_window_ms, self._sum_max)
        for case in ready:
            try:
                held = fresh.get(case.identity)
                case.existing = held[0] if held is not None else known.get(case.identity)
                if has_firsts and case.click_key is not None:
                    case.fired = fired.get(case.click_key, ())
                judgement = judge(case, self._counters, limits, version, self._rules)
                self._collect(case, judgement, changes, fresh, was_new=held is not None and held[1])
                if judgement.firsts and case.click_key is not None:
                    fired.setdefault(case.click_key, set()).update(judgement.firsts)
                    changes.fired += [(case.click_key, rule) for rule in judgement.firsts]
            except Exception as error:  # one poisonous item must not hold up the rest
                self._set_aside(case, error, changes, now_ms, version)
        resent = Resent()
        if taken.resends:
            steps = Resends(self._ledger, changes, fresh, known, fired, self._intake, self._rules, self._view)
            resent = steps.take(taken.resends)
            self._tallied["pipeline_resends"] = resent.added
        for conversion, is_new in fresh.values():
            (changes.created if is_new else changes.updated).append(conversion)
        if changes.updated or released or changes.fired or noted or resent.before:
            changes.before = Before(
                tuple([known[identity] for identity, (_, is_new) in fresh.items() if not is_new]),
                tuple([parked.call for parked, _ in released]),
                tuple([(*key, rule) for key, rule in changes.fired]),
                tuple(noted),
                resent.before,
            )
        record.decisions, record.postbacks = len(changes.decisions), len(changes.postbacks)
        record.parked, record.released = len(changes.parked), len(changes.released)
        return changes

    def _open_cases(
        self, taken: Taken, released: list[tuple[Parked, str]], changes: LedgerChanges, now_ms: int
    ) -> list[Case]:
        assert self._intake is not None
        version = changes.record.catalog
        cases: list[Case] = []
        waited = [(Where(parked.source, parked.position), parked.call, parked, code) for parked, code in released]
        fresh = [(where, call, None, "") for where, call in taken.calls]
        # In the order of acceptance, whatever door took them.
        for where, call, parked, code in in_order_of_acceptance((*waited, *fresh)):
            try:
                case = self._intake.open_case(call, where)
            except Exception as error:
                self._set_aside(Case(call, where), error, changes, now_ms, version)
                if parked is not None:
                    changes.released.append((where.source, where.position))
                continue
            if parked is not None:
                case.final_code = code
                case.parked_ms = parked.parked_ms
                changes.released.append((where.source, where.position))
            cases.append(case)
        for where, unreadable in taken.unreadable:
            changes.decisions.append(encode_frame(_unreadable(where, unreadable, now_ms, version)))
            self._tally(Verdict.SET_ASIDE)
        return cases

    def _find_clicks(self, cases: list[Case], changes: LedgerChanges, now_ms: int) -> list[Case]:
        """Deciphers the ids and looks the clicks up; answers the cases that can go on."""
        named = [case for case in cases if case.click_text]
        for case, click_id in zip(named, self._codec.decode_many([c.click_text for c in named]), strict=True):
            if click_id is not None:
                case.name_click(click_id)
        # Not for repeats: they do not wait for their click, and must be decided alike whether it is there or not.
        named = [case for case in named if not case.repeats]
        stored = self._clicks.get_many([case.click_key for case in named if case.click_key is not None])
        damaged: set[Where] = set()
        for case in named:
            data = stored.get(case.click_key) if case.click_key is not None else None
            if data is None:
                continue
            try:
                found = decode_frame(data)
                case.click = found if isinstance(found, Click) else None
            except WaypostError as error:  # a damaged row: its calls are set aside, and hold up nobody else's
                damaged.add(case.where)
                self._set_aside(case, error, changes, now_ms, changes.record.catalog)
        return [case for case in cases if case.where not in damaged] if damaged else cases

    def _park_or_resolve(self, cases: list[Case], changes: LedgerChanges, now_ms: int, view: CatalogView) -> list[Case]:
        """Parks those whose click may still come; resolves the others."""
        assert self._intake is not None
        ready: list[Case] = []
        for case in cases:
            if is_waiting_for_click(case) and not self._is_click_gone(case):
                changes.parked.append(self._to_park(case, now_ms))
                continue
            try:
                terms = self._view(case.click.catalog) if case.click is not None else None
                self._intake.resolve(case, terms)
            except Exception as error:
                self._set_aside(case, error, changes, now_ms, view.version)
                continue
            ready.append(case)
        return ready

    def _is_click_gone(self, case: Case) -> bool:
        """Whether the click's door has a watermark beyond the click already, so that waiting is of no use."""
        assert case.click_id is not None
        if self._reading.watermarks.get(f"door-{case.click_id.door}", 0) <= case.click_id.ms:
            return False
        case.final_code = "click_not_found"
        return True

    def _to_park(self, case: Case, now_ms: int) -> Parked:
        assert case.click_id is not None
        return Parked(
            source=case.where.source,
            position=case.where.position,
            parked_ms=now_ms,
            due_ms=now_ms + self._settings.park_max_ms,
            click_ms=case.click_id.ms,
            click_door=case.click_id.door,
            call=case.frame,
        )

    def _collect(
        self,
        case: Case,
        judgement: Judgement,
        changes: LedgerChanges,
        fresh: dict[bytes, tuple[Conversion, bool]],
        *,
        was_new: bool,
    ) -> None:
        """Adds what follows from one case. What cannot be encoded raises before anything is added."""
        decision = encode_frame(judgement.decision)
        postbacks = [encode_frame(postback) for postback in judgement.postbacks] if judgement.postbacks else ()
        changes.decisions.append(decision)
        self._tally(judgement.decision.verdict)
        if judgement.held_back:
            self._tallied["pipeline_held_back"] = self._tallied.get("pipeline_held_back", 0) + judgement.held_back
        if judgement.conversion is not None:
            fresh[case.identity] = (judgement.conversion, judgement.is_new or was_new)
        changes.postbacks.extend(postbacks)
        for key, counted in judgement.caps.items():
            self._counters[key] = self._counters.get(key, 0) + counted
            changes.caps[key] = changes.caps.get(key, 0) + counted

    def _set_aside(self, case: Case, error: Exception, changes: LedgerChanges, now_ms: int, version: int) -> None:
        if isinstance(error, WaypostError) and error.code == "data_unwritable":
            raise error  # the disk's fault, not the item's
        _log.error("item_set_aside", source=case.where.source, position=case.where.position, error=repr(error))
        raw = encode_frame(case.frame)
        decision = set_aside(case, "poisonous_item", repr(error), raw, now_ms, version)
        changes.decisions.append(encode_frame(decision))
        self._tally(Verdict.SET_ASIDE)

    def _tally(self, verdict: Verdict) -> None:
        name = _COUNTERS[verdict]
        self._tallied[name] = self._tallied.get(name, 0) + 1

    def _view(self, version: int) -> CatalogView:
        view = self._views.get(version)
        if view is None:
            if len(self._views) >= _VIEWS_MAX:
                oldest = self._views.pop(next(iter(self._views)))
                if self._intake is None or oldest is not self._intake.view:
                    oldest.close()
            view = self._views[version] = self._catalogs.open(version)
        return view

    # --- committing ------------------------------------------------------------------------------------

    def _commit(self, changes: LedgerChanges) -> None:
        try:
            self._ledger.apply(changes)
        except Exception:
            self._load()  # counters and parked calls in memory may be ahead of what is stored
            raise
        self._batch += 1
        for taken in changes.record.ranges:
            self._applied[taken.source] = taken.end
        for parked in changes.parked:
            self._remember(parked)
        if self._board is not None and changes.caps:
            self._board.touch(changes.caps)

    def _tell_doors(self, version: int, now_ms: int, began_ms: float) -> None:
        if self._board is not None:
            self._board.step(self._view(version), self._counters, now_ms, began_ms)

    def _adapt(self, judged: int, took_ms: float) -> None:
        """The next batch's size: what takes about `batch_work_ms`, for then nobody waits long for a commit.

        When more than that lies waiting, waiting is what costs: the batch is as large as it may be, and commits few.
        """
        if judged < _SAMPLE_MIN or self._reading.lag > self._settings.batch_frames_max:
            self._frames_max = self._settings.batch_frames_max
            return
        fitting = int(judged * self._settings.batch_work_ms / max(took_ms, 0.1))
        self._frames_max = max(_SAMPLE_MIN, min(self._settings.batch_frames_max, fitting))

    def _count(self, taken: Taken, changes: LedgerChanges) -> None:
        add = self._stats.add
        add("pipeline_batches")
        add("pipeline_clicks", sum(len(one.clicks) for one in taken.clicks))
        add("pipeline_calls", len(changes.decisions))
        for name, count in self._tallied.items():
            add(name, count)
        add("pipeline_postbacks", len(changes.postbacks))
        self._stats.set("pipeline_parked", len(self._parked))

    def _trim(self, now_ms: float) -> None:
        """Publishes what is finished with, and drops what every reader of the ledger's feeds has taken."""
        if now_ms - self._trimmed_at_ms < _TRIM_EVERY_MS:
            return
        self._trimmed_at_ms = now_ms
        for source, position in self._applied.items():
            self._positions.publish(READER, source, position)
        log, outbox = (feed.head().end for feed in self._own_feeds)
        kept = self._window.note(now_ms, {**self._applied, _LOG: log, _OUTBOX: outbox})
        log_below = min(kept[_LOG], self._positions.of(_LOG).get("archivist", 0))
        readers = self._positions.of(_OUTBOX)
        outbox_below = min(kept[_OUTBOX], *(readers.get(reader, 0) for reader in self._outbox_readers))
        if log_below or outbox_below:
            self._ledger.trim(log_below, outbox_below)
        day = self._clock.now_ms() // 86_400_000 - self._settings.clicks_kept_days
        if day > 0:
            self._clicks.drop_before(day)
            self._ledger.forget_fired(day * 86_400_000)
        kept_ms = self._settings.keyed_kept_ms + self._settings.replay_kept_ms + SPARE_MS
        self._ledger.forget_keyed(self._clock.now_ms() - kept_ms)

    def close(self) -> None:
        self._reading.close()
        for feed in self._own_feeds:
            feed.close()
        self._ledger.close()
        self._clicks.close()


def _unreadable(where: Where, frame: Unreadable, now_ms: int, version: int) -> Decision:
    return Decision(
        where.source,
        where.position,
        0,
        now_ms,
        now_ms,
        Verdict.SET_ASIDE,
        code="unreadable_frame",
        details={"error": frame.why},
        catalog=version,
        raw=frame.raw,
    )
