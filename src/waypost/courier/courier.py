"""The courier: sends what the outbox holds, lane by lane, and knows of each send what became of it.

Owns: the cycle that joins outbox, lanes, sender and journal. Reads the outbox and its own journal; writes its journal
and its shard of the lanes. Never decides what a partner is owed, and never sends before the intent is durable.

One cycle, two commits: take the reports of attempts that ended → append them to the journal → one transaction in the
lanes with those outcomes, the postbacks newly taken from the outbox and the intents of what goes out next → give these
to the sender. A crash between any two of these loses nothing: the outbox is taken again from the lanes' position,
outcomes that the journal has and the lanes lack are applied at the start, and what is in flight then is sent again,
marked. While a commit fails nothing new is sent, and the same commit is tried again.
"""

from collections.abc import Callable

from waypost.courier.control import GONE, Control
from waypost.courier.dispatch import Dispatch
from waypost.courier.landing import Flight, Landed, land
from waypost.courier.lane import FAR
from waypost.courier.latency import LatencyWindow, bucket_of
from waypost.courier.offline import TOKENS_BELOW, Offline, is_cut
from waypost.courier.outbox_reader import OutboxReader, new_item
from waypost.courier.policies import Policies
from waypost.courier.recovery import Recovery
from waypost.courier.render import Renderer
from waypost.courier.schedule import Bundle, Lane, Schedule, Waiting
from waypost.courier.secrets import Resolve, Secrets
from waypost.errors import WaypostError
from waypost.model.frames import Attempt, AttemptReason, PostbackOut, SendResult, SetAside
from waypost.model.wire import encode_frame
from waypost.ports.catalog_source import CatalogSource
from waypost.ports.clock import Clock
from waypost.ports.feed import Feed, Journal, Positions
from waypost.ports.lanes import LaneBatch, LaneItem, Lanes, Rank
from waypost.ports.sender import Sender, SendReport
from waypost.settings import CourierSettings
from waypost.stages.lanes import Blame, blame_of, retry_after_ms
from waypost.telemetry.log import logger
from waypost.telemetry.stats import Stats

_HOUSEKEEPING_MS = 1000  # heartbeat, positions, gauges, a look at the catalog's version
_CATALOG_POLL_MS = 200
_TRIM_MS = 5000
_TICK_MS = 150
_WRITE_AGAIN_MS = 100  # pause before a commit that failed is tried again
_LATE_MS = 50  # a commit that took longer counts against rates when it ends
_LANES_SHOWN_MAX = 200
_LOOK_AHEAD = 64  # postbacks taken in a cycle beyond what there is room for, to find other lanes
# Names of their own: to find an enum's member takes long, and this is done for each send.
_DELIVERED, _RETRY = SendResult.DELIVERED, SendResult.RETRY
_LIVE, _RESEND, _FIRST = Rank.LIVE, Rank.RESEND, AttemptReason.FIRST
_STOPS = frozenset({"fenced", "store_out_of_order", "store_corrupt", "wire_version"})  # trying again cannot help

_log = logger("courier")


class Courier:
    """One shard of lanes. `step` and `run` are called by one thread."""

    def __init__(
        self,
        *,
        outbox: Feed,
        lanes: Lanes,
        journal: Journal,
        own_feed: Feed,
        catalogs: CatalogSource,
        sender: Sender,
        settings: CourierSettings,
        clock: Clock,
        stats: Stats,
        positions: Positions,
        shard: int = 0,
        resolve: Resolve = str,
        words: Feed | None = None,
    ) -> None:
        """`own_feed` reads what `journal` wrote; `shard` is the number of the lanes' shard; `resolve` answers a secret
        for a reference to it; `words` reads the operator's journal."""
        self._outbox, self._lanes, self._journal, self._own_feed = outbox, lanes, journal, own_feed
        self._catalogs, self._sender, self._settings = catalogs, sender, settings
        self._clock, self._stats, self._positions = clock, stats, positions
        self._name = "courier" if settings.shards == 1 else f"courier-{shard}"  # as which positions are published
        self._reader = OutboxReader(outbox, lanes.owns, positions, self._name, settings.take_max)
        self._keeps_unreadable = shard == 0  # one courier of all sets aside what no lane can be known of
        secrets = Secrets(resolve, clock.monotonic_ms)
        renderer = Renderer(catalogs, secrets)
        self._policies = Policies(settings)
        self._schedule = Schedule(lanes, settings, self._policies.of, renderer.batch_of)
        self._words = words
        self._control = Control(words, lanes, self._schedule, self._policies, positions, self._name, clock, stats)
        self._flights: dict[int, Flight] = {}  # by place in the outbox; in order of their intents
        self._dispatch = Dispatch(renderer, secrets, self._policies, self._flights, settings, clock, stats)
        self._offline = Offline(settings, stats, self._dispatch.probe)
        self._landed: list[Landed] = []  # ended, not in the journal yet
        self._aside: list[bytes] = []  # frames set aside, not in the journal yet
        self._batch: LaneBatch | None = None  # not committed yet
        self._batch_landed: list[Landed] = []
        self._delayed: list[tuple[int, int, int]] = []  # (lane, due_ms, rank) of what the batch takes and is read later
        self._picked: list[tuple[Lane, Waiting | Bundle]] = []  # whose intents the batch holds
        self._picked_ms = 0
        self._outcome_position = 0  # what the lanes have of the journal
        self._latency = LatencyWindow(2)
        self._started = False
        self._is_held = False  # the last commit failed
        self._wait_ms = 0.0
        self._housekeeping_due_ms = self._catalog_due_ms = 0.0
        self._trim_due_ms = self._last_append_ms = self._tick_due_ms = 0.0

    # --- running -------------------------------------------------------------------------------------

    def run(self, stop: Callable[[], bool]) -> None:
        """Works until `stop` answers True, then ends what is in flight, records it and closes."""
        try:
            while not stop():
                self._stats.beats += 1
                self.step()
            self.drain()
        finally:
            self.close()

    def step(self) -> int:
        """One cycle; answers how many attempts ended, were begun and postbacks were taken. 0: idle, or held up.

        Raises WaypostError where going on cannot help: `fenced`, `store_out_of_order`, `store_corrupt`, `store_gap`.
        """
        if not self._started:
            self._start()
        ended = self._land(self._sender.reports(self._wait_ms))
        work = ended
        try:
            if self._batch is not None:
                work += self._commit()
            self._schedule.refill(self._clock.now_ms())
            self._supersede()
            work += self._obey()
            work += self._plan()
            if self._batch is not None:
                self._commit()
            self._is_held = False
        except WaypostError as error:
            self._hold(error)
            work = 0
        if self._clock.monotonic_ms() >= self._tick_due_ms:
            self._tick()
        self._keep_house()
        self._wait_ms = 0.0 if work and not self._is_full else self._settings.poll_ms
        return work

    @property
    def _is_full(self) -> bool:
        """Whether there is nothing to do until a request ends: as many are in flight as may be."""
        is_settled = not self._landed and not self._control.is_at_work
        return is_settled and len(self._flights) >= self._settings.in_flight_max

    def drain(self) -> None:
        """Begins nothing more; waits for what is in flight, but no longer than one request may take."""
        deadline_ms = self._clock.monotonic_ms() + self._settings.total_timeout_ms
        if self._batch is not None:  # its commit failed: without intents, what it took just stays queued
            self._batch.intents, self._picked = (), []
        while self._flights or self._landed or self._batch is not None:
            left_ms = deadline_ms - self._clock.monotonic_ms()
            if left_ms <= 0:
                break
            self._land(self._sender.reports(min(left_ms, 50.0)))
            try:
                if self._batch is not None:
                    self._commit()
                self._record()
                if self._batch is not None:
                    self._commit()
            except WaypostError as error:
                self._hold(error)
        if self._started:
            self._publish_positions()

    def close(self) -> None:
        """Closes the sender first: what is still in flight is of unknown outcome, and is found at the next start."""
        self._sender.close()
        for store in (self._lanes, self._journal, self._own_feed, self._outbox, self._words):
            if store is not None:
                store.close()

    def _start(self) -> None:
        """Takes up where the last courier of this shard ended, however it ended."""
        self._look_at_catalog()
        recovery = Recovery(self._lanes, self._journal, self._own_feed, self._policies, self._clock, self._stats)
        self._outcome_position = recovery.run()
        self._reader.start(self._lanes.outbox_position())
        self._schedule.restore()
        self._control.start()
        self._started = True

    # --- the cycle -----------------------------------------------------------------------------------

    def _land(self, reports: list[SendReport]) -> int:
        """Turns reports into frames and outcomes; answers how many reports there were."""
        if not reports:
            return 0
        now_ms = self._clock.now_ms()
        values = self._stats.values
        kept_max, tokens, policies = self._settings.body_kept_bytes_max, self._dispatch.tokens, self._policies
        flights, freed, all_landed = self._flights, self._schedule.freed, self._landed
        ended = delivered = 0
        for report in reports:
            if report.token < 0:  # no attempt, but a token that attempts wait for, or a probe
                reports += self._other_landed(report, now_ms)
                continue
            flight = flights.pop(report.token)
            lane, post = flight.lane, flight.item.post
            lane.url = flight.url
            is_excused = report.code != "" and self._is_excused(report, lane, now_ms)
            landed = land(report, flight, now_ms, policies, kept_max, tokens, is_excused)
            ended += 1
            all_landed.append(landed)
            freed(lane, flight.item, report.total_us)
            if landed.outcomes[0].result is _DELIVERED:
                lane.good += 1
                if not lane.is_plain:
                    self._schedule.good(lane, flight.at_ms, now_ms)
            else:
                self._failed(report, flight, landed, now_ms, is_excused)
            for outcome in landed.outcomes:
                if outcome.result is _DELIVERED:
                    delivered += 1
                    lane.delivered += 1
                    if not post.job:  # a resend's call was long ago
                        bucket = bucket_of(now_ms - post.accepted_ms)
                        lane.latency.count(bucket)
                        self._latency.count(bucket)
                else:
                    lane.failed += 1
                    values["courier_retries" if outcome.result is _RETRY else "courier_given_up"] += 1
        values["courier_delivered"] += delivered
        values["courier_attempts"] += ended
        return len(reports)

    def _other_landed(self, report: SendReport, now_ms: int) -> list[SendReport]:
        """Sends what waited for a token, and answers reports of what cannot be sent without it; or takes a probe."""
        if report.token < TOKENS_BELOW:
            if self._offline.probed(report, now_ms):
                self._schedule.forgive()
            return []
        requests, failed = self._dispatch.token_landed(report)
        if requests:
            self._sender.submit(requests)
        return failed

    def _obey(self) -> int:
        """Records what has landed, with what operators ask of lanes; answers whether they did ask."""
        control = self._control
        if self._landed and control.is_at_work:  # what it would find in lanes is superseded, perhaps
            self._record()
            self._commit()
        self._landed += control.step()
        self._record()
        if not control.has_plan:
            return 0
        self._batch = control.fill(self._batch or LaneBatch())
        self._commit()  # before anything is picked: it may be gone from its lane by then
        return 1

    def _is_excused(self, report: SendReport, lane: Lane, now_ms: int) -> bool:
        """Whether a request that got no answer failed because our own line is down."""
        if not is_cut(report):
            return False
        if self._offline.failed(lane.number, now_ms, self._schedule.lanes):
            self._schedule.forgive()
        return self._offline.since_ms > 0

    def _failed(self, report: SendReport, flight: Flight, landed: Landed, now_ms: int, is_excused: bool) -> None:
        """Has the lane take note of an attempt that did not deliver."""
        lane, wait_ms = flight.lane, 0
        status = 0 if report.code else report.status
        blame = Blame.NOBODY if is_excused else blame_of(landed.outcomes[0].code, status)
        if blame is Blame.BUSY:
            policy = self._policies.of(lane.number).retry
            wait_ms = now_ms + min(retry_after_ms(report.retry_after, now_ms), policy.retry_after_max_ms)
        if status:
            self._offline.heard(lane.number, now_ms)
        self._schedule.failed(lane, blame, flight.at_ms, now_ms, wait_ms)
        if status == GONE:
            self._control.gone(lane.number, flight.url, now_ms)

    def _tick(self) -> None:
        """What is not done for each send, but a few times a second."""
        self._tick_due_ms = self._clock.monotonic_ms() + _TICK_MS
        now_ms = self._clock.now_ms()
        for lane in self._schedule.tick(now_ms):
            self._offline.heard(lane, now_ms)
        if self._offline.since_ms:
            self._sender.submit(list(self._offline.probes(now_ms)))

    def _supersede(self) -> None:
        """What corrections took the place of is journaled with what has landed."""
        now_ms = self._clock.now_ms()
        for lane, post, outcome in self._schedule.ordering.superseded:
            attempt = Attempt(lane.number, post.partner, now_ms, _FIRST, "", "", (outcome,), test=post.test)
            self._landed.append(Landed(lane, encode_frame(attempt), (outcome,)))
            lane.queued -= 1
        self._schedule.ordering.superseded.clear()

    def _record(self) -> None:
        """Appends what has landed to the journal, and plans its outcomes for the lanes."""
        landed, aside = self._landed, self._aside
        if not landed and not aside:
            return
        now_ms = self._clock.now_ms()
        frames = [*(one.frame for one in landed), *aside]
        self._lanes.check()  # who has slept through another's taking over writes nothing
        start = self._journal.append(frames, at_ms=now_ms, watermark_ms=self._watermark_ms(now_ms))
        self._last_append_ms = self._clock.monotonic_ms()
        self._landed, self._aside = [], []
        self._batch = LaneBatch(
            source=self._journal.source,
            outcomes_start=self._outcome_position,  # before `start` where an append seemed to fail: the same frames
            outcomes_end=start + len(frames),
            outcomes=[outcome for one in landed for outcome in one.outcomes],
        )
        self._batch_landed = landed

    def _plan(self) -> int:
        """Adds to the batch what is newly taken and what goes out next; answers how many."""
        batch = self._batch or LaneBatch()
        now_ms = self._clock.now_ms()
        room = self._offline.in_flight_max(self._settings.in_flight_max, now_ms) - len(self._flights)
        taken = self._take(batch, room - self._schedule.first_attempts(room)) if not self._offline.since_ms else 0
        picked = self._schedule.pick(room, now_ms) if room > 0 else []
        if picked:
            at_ms = max(self._clock.now_ms(), self._journal.last_ms)
            batch.intents = [
                (one.seq, one.attempt + 1, at_ms)
                for _, item in picked
                for one in (item.items if type(item) is Bundle else (item,))
            ]
            self._picked, self._picked_ms = picked, at_ms
            batch.buckets = self._schedule.buckets(lane for lane, _ in picked if not lane.is_plain)
        if picked or batch.taken_end > batch.taken_start:
            self._batch = batch
        return taken + len(picked)

    def _take(self, batch: LaneBatch, wanted: int) -> int:
        """Takes postbacks until `wanted` more can be begun at once; answers how many it took.

        No more than there is room for: what is taken and begun in one batch costs the lanes one write instead of two.
        What belongs to a lane that cannot send now, or has its share of all that may be in flight, is taken on the way
        and waits there: lanes that come later must get at what is free. For their sake some are taken in any case where
        all that is in sight belongs to one lane.
        """
        reader, add = self._reader, self._schedule.add
        lanes_ahead = reader.look(max(1, wanted))
        share = self._settings.in_flight_max // max(1, lanes_ahead)
        extra = _LOOK_AHEAD if lanes_ahead == 1 else 0
        batch.taken_start = reader.position
        now_ms = self._clock.now_ms()
        taken: list[LaneItem] = []
        while (wanted > 0 or extra > 0) and (found := reader.next()) is not None:
            extra -= 1
            seq, frame, raw = found
            if not isinstance(frame, PostbackOut):
                if self._keeps_unreadable:
                    self._set_aside(seq, getattr(frame, "raw", b""), getattr(frame, "why", "no postback"))
                continue
            item = new_item(seq, frame, raw, now_ms)
            taken.append(item)
            if item.due_ms or item.rank:
                self._delayed.append((frame.lane, item.due_ms, item.rank))
            else:
                wanted -= add(seq, frame, share)
        batch.taken_end, batch.taken = reader.position, taken
        return batch.taken_end - batch.taken_start

    def _set_aside(self, seq: int, raw: bytes, why: str) -> None:
        self._stats.add("errors")
        frame = SetAside(self._outbox.name, seq, self._clock.now_ms(), "unreadable_frame", why, raw)
        self._aside.append(encode_frame(frame))

    def _commit(self) -> int:
        """Commits the planned batch, then starts what it holds the intents of; answers how many attempts began."""
        assert self._batch is not None
        if self._is_held and self._picked:  # its intents go out later than planned, and a kill must not forget it
            self._schedule.late(self._picked, self._clock.now_ms())
            limited = self._schedule.buckets(lane for lane, _ in self._picked)
            self._batch.buckets = {**self._batch.buckets, **limited}
        self._lanes.apply(self._batch)
        self._outcome_position = max(self._outcome_position, self._batch.outcomes_end)
        self._batch = None
        self._control.committed()
        landed, self._batch_landed = self._batch_landed, []
        now_ms = self._clock.now_ms()
        for one in landed:
            lane = one.lane
            for outcome in one.outcomes:
                if lane.keys_in_flight:
                    self._schedule.release(lane, outcome.seq, now_ms)
                if outcome.result is _DELIVERED:
                    continue
                if outcome.result is _RETRY:
                    lane.queued += 1
                    self._schedule.later(lane, outcome.next_due_ms, one.rank)
                elif outcome.result is SendResult.GIVEN_UP:
                    lane.dead += 1
                elif outcome.result is SendResult.HELD:
                    lane.held += 1
        delayed, self._delayed = self._delayed, []
        for number, due_ms, rank in delayed:
            waiting = self._schedule.lane(number)
            waiting.queued += 1
            self._schedule.later(waiting, due_ms, rank)
        picked, self._picked = self._picked, []
        if picked:
            if now_ms - self._picked_ms > _LATE_MS:
                self._schedule.late(picked, now_ms)
            self._begin(picked, self._picked_ms)
        return len(picked)

    def _begin(self, picked: list[tuple[Lane, Waiting | Bundle]], at_ms: int) -> None:
        """Renders and submits. What cannot be rendered lands at once."""
        requests, failed = self._dispatch.begin(picked, at_ms)
        if requests:
            self._sender.submit(requests)
        if failed:
            self._land(failed)

    def _watermark_ms(self, now_ms: int) -> int:
        """No attempt that is journaled later was begun before this."""
        oldest = next(iter(self._flights.values()), None)
        return max(self._journal.last_ms, oldest.at_ms if oldest is not None else now_ms)

    def _hold(self, error: WaypostError) -> None:
        """A commit failed: nothing new is sent until it succeeds. Raises what trying again cannot help."""
        if error.code in _STOPS or error.code == "store_gap":
            raise error
        self._stats.add("errors")
        if not self._is_held:
            _log.error("held_up", code=error.code, detail=error.detail, place=error.place)
        self._is_held = True
        self._clock.sleep_ms(_WRITE_AGAIN_MS)

    # --- policies ------------------------------------------------------------------------------------

    def _look_at_catalog(self) -> None:
        version = self._catalogs.current()
        if version and version != self._schedule.version:
            self._policies.follow(self._catalogs.open(version))
            self._schedule.follow(version)
            self._stats.set("catalog_version", version)

    # --- each second ---------------------------------------------------------------------------------

    def _keep_house(self) -> None:
        now = self._clock.monotonic_ms()
        if now < self._catalog_due_ms:
            return
        self._catalog_due_ms = now + _CATALOG_POLL_MS
        try:
            self._look_at_catalog()
            if now < self._housekeeping_due_ms:
                return
            self._housekeeping_due_ms = now + _HOUSEKEEPING_MS
            is_settled = not self._landed and self._batch is None
            if is_settled and now - self._last_append_ms >= _HOUSEKEEPING_MS:
                now_ms = self._clock.now_ms()
                self._journal.heartbeat(at_ms=now_ms, watermark_ms=self._watermark_ms(now_ms))
            self._publish_positions()
            if now >= self._trim_due_ms:
                self._trim_due_ms = now + _TRIM_MS
                self._trim()
        except (WaypostError, OSError) as error:
            self._stats.add("errors")
            _log.error("housekeeping_failed", error=str(error))
        self._show()

    def _publish_positions(self) -> None:
        source = self._journal.source
        self._reader.publish(self._lanes.outbox_position())
        self._control.publish()
        self._positions.publish(self._name, source, self._lanes.outcome_positions().get(source, 0))

    def _trim(self) -> None:
        """Drops what every reader of the journal has finished with."""
        published = self._positions.of(self._journal.source)
        if published.keys() >= {"pipeline", "archivist", self._name}:
            self._journal.trim(min(published.values()))

    def _show(self) -> None:
        """Gauges, and what the console shows of each lane that did or holds something."""
        schedule, stats = self._schedule, self._stats
        lanes = schedule.lanes.values()
        p50_ms, p99_ms = self._latency.quantiles(0.5, 0.99)
        for name, value in (
            ("courier_in_flight", len(self._flights)),
            ("courier_queued", sum(lane.queued for lane in lanes)),
            ("courier_dead", sum(lane.dead for lane in lanes)),
            ("courier_held", sum(lane.held for lane in lanes)),
            ("courier_lanes_active", schedule.active),
            ("courier_lanes_held_back", sum(1 for lane in lanes if lane.gate_ms)),
            ("courier_memory_items", schedule.items),
            ("courier_latency_p50_ms", p50_ms),
            ("courier_latency_p99_ms", p99_ms),
            ("courier_lag_frames", max(0, self._outbox.head().end - self._reader.position)),
            ("journal_end", self._journal.end),
            ("journal_bytes", self._journal.bytes_on_disk),
        ):
            stats.set(name, value)
        busiest = sorted(lanes, key=lambda lane: (lane.queued + lane.in_flight, lane.delivered), reverse=True)
        stats.details["lanes"] = {
            self._policies.of(lane.number).name: _shown(lane, self._clock.now_ms())
            for lane in busiest[:_LANES_SHOWN_MAX]
        }
        self._control.show()
        self._latency.roll()
        for lane in lanes:
            lane.latency.roll()
            lane.delivered_before = lane.delivered
        if not self._landed and self._batch is None:  # what has landed will stand in its lane again
            schedule.forget_idle()


def _shown(lane: Lane, now_ms: int) -> dict[str, float | str]:
    p50_ms, p99_ms = lane.latency.quantiles(0.5, 0.99)
    restraint = lane.restraint
    return {
        "queued": lane.queued,
        "in_flight": lane.in_flight,
        "limit": lane.limit,
        "dead": lane.dead,
        "held": lane.held,
        "delivered": lane.delivered,
        "failures": lane.failed,
        "per_s": lane.delivered - lane.delivered_before,
        "latency_p50_ms": p50_ms,
        "latency_p99_ms": p99_ms,
        "breaker": restraint.breaker.state.value,
        "held_by": lane.gate_why,
        "held_until_ms": lane.gate_ms if lane.gate_ms < FAR else 0,
        "rate_per_s": restraint.rates.now_per_s(now_ms) if restraint.rates is not None else 0,
    }
