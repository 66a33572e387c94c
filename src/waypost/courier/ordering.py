"""Postbacks of one order key go one at a time, in the outbox's order.

Owns: which keys of a lane have a postback in memory or in flight, and which postbacks corrections took the place of.
Reads the lanes store; writes nothing. The truth is the store: whoever has an elder there, queued or in flight, is not
kept in memory, and when the elder has ended the next one is read. So a retry holds those behind it, what is dead or
held does not, and after a restart it comes out the same.

A correction of a postback that was never begun takes its place: the partner has heard nothing, and is told once.
"""

from typing import NamedTuple

from waypost.courier.lane import Lane
from waypost.model.frames import Outcome, PostbackOut, SendResult
from waypost.model.wire import decode_frame
from waypost.ports.lanes import ItemState, LaneItem, Lanes

_ELDERS_MAX = 100  # among which the original of a correction is looked for


class Superseded(NamedTuple):
    """A postback whose place a correction takes: to be journaled."""

    lane: Lane
    post: PostbackOut
    outcome: Outcome


class Ordering:
    """Of all lanes of a shard."""

    def __init__(self, lanes: Lanes) -> None:
        self._store = lanes
        self.superseded: list[Superseded] = []  # not journaled yet

    def admit(self, lane: Lane, item: LaneItem, post: PostbackOut) -> bool:
        """Whether an item of the store may stand in memory; otherwise it is read again when its turn has come."""
        key = item.key
        if post.corrects and self._supersede(lane, item, post.corrects):
            return False
        if key in lane.heads:
            return False
        first = self._store.keyed(lane.number, key, 1)
        if first and first[0].seq != item.seq:
            return False
        lane.heads[key] = item.seq
        return True

    def following(self, lane: Lane, seq: int, now_ms: int) -> LaneItem | None:
        """What comes after an item that has ended: the eldest of its key, if it may go now."""
        key = lane.keys_in_flight.pop(seq, None)
        if key is None:
            return None
        lane.heads.pop(key, None)
        first = self._store.keyed(lane.number, key, 1)
        if not first or first[0].state is not ItemState.QUEUED or not 0 <= first[0].due_ms <= now_ms:
            return None
        return first[0] if first[0].seq < lane.until_seq else None

    def _supersede(self, lane: Lane, item: LaneItem, corrected: str) -> bool:
        """Whether the original stands and was never begun; then this one will follow it without having been one."""
        for elder in self._store.keyed(lane.number, item.key, _ELDERS_MAX):
            if elder.seq >= item.seq:
                break
            if elder.id != corrected or elder.attempt or elder.state is not ItemState.QUEUED:
                continue
            post = decode_frame(elder.frame)
            if not isinstance(post, PostbackOut) or post.begun or elder.seq in lane.keys_in_flight:
                continue
            lane.remove(elder.seq)
            lane.heads[item.key] = elder.seq
            lane.keys_in_flight[elder.seq] = item.key  # until it is committed
            outcome = Outcome(elder.id, elder.seq, 0, SendResult.SUPERSEDED, successor=item.seq)
            self.superseded.append(Superseded(lane, post, outcome))
            return True
        return False
