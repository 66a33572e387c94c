"""Bringing a shard to rest, before its lanes are dealt to others.

Owns: what has to be done to a shard that no courier works on: what the last one left is taken up as it always is, and
the outbox is taken up to one place, so that all shards stand there, and what operators said is taken to its end. Reads
the outbox, the operator's and the courier's journal; writes that one, then the lanes. Never sends. Run again after a
crash in its midst it comes to the same end.
"""

from waypost.courier.control import Control
from waypost.courier.outbox_reader import OutboxReader, new_item
from waypost.courier.policies import Policies
from waypost.courier.recovery import Recovery
from waypost.courier.schedule import Schedule
from waypost.errors import WaypostError
from waypost.model.frames import PostbackOut, SetAside
from waypost.model.wire import encode_frame
from waypost.ports.clock import Clock
from waypost.ports.feed import Feed, Journal, Positions
from waypost.ports.lanes import LaneBatch, LaneItem, Lanes
from waypost.settings import CourierSettings
from waypost.telemetry.stats import Stats

_TAKE = 2000


class Settling:
    """One shard's. `name` is the courier's as a reader; `keeps_unreadable` as in the courier."""

    def __init__(
        self,
        *,
        lanes: Lanes,
        journal: Journal,
        own_feed: Feed,
        outbox: Feed,
        words: Feed | None,
        policies: Policies,
        settings: CourierSettings,
        positions: Positions,
        clock: Clock,
        stats: Stats,
        name: str,
        keeps_unreadable: bool,
    ) -> None:
        self._lanes, self._journal, self._own_feed, self._outbox = lanes, journal, own_feed, outbox
        self._policies, self._positions, self._clock, self._stats = policies, positions, clock, stats
        self._name, self._keeps_unreadable = name, keeps_unreadable
        self._words, self._settings = words, settings

    def run(self, until: int) -> None:
        """Nothing is in flight then, and the outbox is taken up to `until`. Raises WaypostError `store_gap`."""
        recovery = Recovery(self._lanes, self._journal, self._own_feed, self._policies, self._clock, self._stats)
        position = recovery.run()
        reader = OutboxReader(self._outbox, self._lanes.owns, self._positions, self._name, _TAKE, until)
        reader.start(self._lanes.outbox_position())
        while (start := reader.position) < until:
            reader.look(_TAKE)
            taken, aside = self._taken(reader)
            if reader.position == start:
                raise WaypostError("store_gap", f"the outbox ends before {until}", place="outbox")
            batch = LaneBatch(start, reader.position, taken)
            if aside:
                now_ms = max(self._clock.now_ms(), self._journal.last_ms)
                end = self._journal.append(aside, at_ms=now_ms, watermark_ms=now_ms) + len(aside)
                batch.source, batch.outcomes_start, batch.outcomes_end = self._journal.source, position, end
                position = end
            self._lanes.apply(batch)
        self._hear()

    def _hear(self) -> None:
        """Takes all that operators have said, so that no shard hears again what another has done already."""
        schedule = Schedule(self._lanes, self._settings, self._policies.of)
        control = Control(
            self._words, self._lanes, schedule, self._policies, self._positions, self._name, self._clock, self._stats
        )
        control.start()
        while (batch := control.hear() or control.hear()) is not None:  # the first may find that it is behind the feed
            self._lanes.apply(batch)
            control.committed()

    def close(self) -> None:
        """Gives the shard up."""
        for store in (self._lanes, self._journal, self._own_feed, self._outbox, self._words):
            if store is not None:
                store.close()

    @property
    def outbox_position(self) -> int:
        return self._lanes.outbox_position()

    def _taken(self, reader: OutboxReader) -> tuple[list[LaneItem], list[bytes]]:
        """All that was read: new items, and frames about what is none."""
        now_ms = self._clock.now_ms()
        taken: list[LaneItem] = []
        aside: list[bytes] = []
        while (found := reader.next()) is not None:
            seq, frame, raw = found
            if isinstance(frame, PostbackOut):
                taken.append(new_item(seq, frame, raw, now_ms))
            elif self._keeps_unreadable:
                raw, why = getattr(frame, "raw", b""), getattr(frame, "why", "no postback")
                aside.append(encode_frame(SetAside(self._outbox.name, seq, now_ms, "unreadable_frame", why, raw)))
        return taken, aside
