"""Taking up where the last courier of a shard ended, however it ended.

Owns: what is made of sends whose outcome a crash took. Reads the courier's own journal; writes it, then the lanes.
Never sends.

What becomes of such a send is its partner's to say (`on_unknown` of the catalog in force): sent again and marked, held
until somebody decides, or given up. Where it is sent again, one that has used up its attempts so is held: what takes
the courier down with it each time must not do so for ever.

Run again after a crash in its midst it comes to the same end: outcomes that the journal has are applied
first, and what is still in flight then has none.
"""

from collections import Counter

from waypost.courier.control import GONE, paused_by_410
from waypost.courier.policies import Policies
from waypost.model.frames import Attempt, AttemptReason, Outcome, PostbackOut, SendResult
from waypost.model.wire import decode_block, decode_frame, encode_frame
from waypost.ports.clock import Clock
from waypost.ports.feed import Feed, Journal
from waypost.ports.lanes import LaneBatch, LaneControl, LaneItem, Lanes, LaneState
from waypost.telemetry.log import logger
from waypost.telemetry.stats import Stats

_READ_FRAMES_MAX = 5000
_RESULTS = {"resend": SendResult.UNKNOWN, "hold": SendResult.HELD, "drop": SendResult.GIVEN_UP}
_AGAIN_AT_LEAST = 4  # times that a send of unknown outcome is begun anew, however few retries a partner has

_log = logger("courier")


class Recovery:
    """Used once, before anything is sent."""

    def __init__(
        self, lanes: Lanes, journal: Journal, own_feed: Feed, policies: Policies, clock: Clock, stats: Stats
    ) -> None:
        self._lanes, self._journal, self._own_feed = lanes, journal, own_feed
        self._policies, self._clock, self._stats = policies, clock, stats

    def run(self) -> int:
        """Answers up to where the lanes have the courier's journal."""
        position = self._apply_own_journal()
        found = self._lanes.in_flight()
        if not found:
            return position
        return self._record(found, position)

    def _apply_own_journal(self) -> int:
        """Outcomes that were journaled and did not reach the lanes."""
        source = self._journal.source
        position = self._lanes.outcome_positions().get(source, 0)
        while blocks := self._own_feed.read(position, _READ_FRAMES_MAX):
            frames = [frame for block in blocks for frame in decode_block(block.data, block.count)]
            attempts = [frame for frame in frames if isinstance(frame, Attempt)]
            end = blocks[-1].end
            batch = LaneBatch(
                source=source,
                outcomes_start=position,
                outcomes_end=end,
                outcomes=[outcome for attempt in attempts for outcome in attempt.outcomes],
                controls=self._pauses(attempts),
            )
            self._lanes.apply(batch)
            position = end
        return position

    def _pauses(self, attempts: list[Attempt]) -> list[LaneControl]:
        """Lanes whose partner answered 410, of which the lanes do not know yet."""
        found: dict[int, LaneControl] = {}
        controls = self._lanes.controls()
        for attempt in attempts:
            known = controls.get(attempt.lane)
            is_gone = attempt.status == GONE and not attempt.code and attempt.outcomes[0].result is SendResult.GIVEN_UP
            if is_gone and (known is None or known.state is not LaneState.PAUSED):
                found[attempt.lane] = paused_by_410(attempt.lane, attempt.url, attempt.at_ms)
        for control in found.values():
            self._stats.add("courier_lanes_gone")
            _log.error("lane_paused", lane=self._policies.of(control.lane).name, why=control.why)
        return list(found.values())

    def _record(self, found: list[LaneItem], position: int) -> int:
        """Journals the attempts whose outcome is unknown, then has the lanes do as each partner wants."""
        now_ms = max(self._clock.now_ms(), self._journal.last_ms)
        attempts = [self._attempt(item, now_ms) for item in found]
        frames = [encode_frame(attempt) for attempt in attempts]
        end = self._journal.append(frames, at_ms=now_ms, watermark_ms=now_ms) + len(frames)
        outcomes = [outcome for attempt in attempts for outcome in attempt.outcomes]
        self._lanes.apply(
            LaneBatch(source=self._journal.source, outcomes_start=position, outcomes_end=end, outcomes=outcomes)
        )
        self._say(attempts)
        return end

    def _say(self, attempts: list[Attempt]) -> None:
        """One line for all of them, and one for each partner whose catalog entry wants a human to look."""
        counts = Counter(outcome.result for attempt in attempts for outcome in attempt.outcomes)
        self._stats.add("courier_unknown", len(attempts))
        self._stats.add("courier_unknown_held", counts[SendResult.HELD])
        _log.warning(
            "sends_of_unknown_outcome",
            count=len(attempts),
            sent_again=counts[SendResult.UNKNOWN],
            held=counts[SendResult.HELD],
            given_up=counts[SendResult.GIVEN_UP],
        )
        held = Counter(attempt.lane for attempt in attempts if attempt.outcomes[0].result is SendResult.HELD)
        for lane, count in sorted(held.items()):
            _log.error("held_for_a_human", lane=self._policies.of(lane).name, count=count)

    def _attempt(self, item: LaneItem, now_ms: int) -> Attempt:
        post = decode_frame(item.frame)
        assert isinstance(post, PostbackOut)
        policy = self._policies.of(item.lane)
        result = _RESULTS[policy.on_unknown]
        begun_max = max(_AGAIN_AT_LEAST, len(policy.retry.schedule_ms))
        if result is SendResult.UNKNOWN and item.attempt - item.excused > begun_max:
            result = SendResult.HELD
        due_ms = now_ms if result is SendResult.UNKNOWN else 0
        outcome = Outcome(item.id, item.seq, item.attempt, result, "outcome_unknown", due_ms)
        reason = AttemptReason.FIRST if item.attempt + post.begun == 1 else AttemptReason.RETRY
        return Attempt(
            item.lane, post.partner, now_ms, reason, "", "", (outcome,), code="outcome_unknown", test=post.test
        )
