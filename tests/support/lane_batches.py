"""Small batches for lanes, and what stands in them."""

from waypost.model.frames import Outcome, SendResult
from waypost.ports.lanes import ItemState, LaneBatch, LaneItem, Lanes


def item(seq: int, lane: int = 1) -> LaneItem:
    return LaneItem(seq, lane, f"p{seq}", ItemState.QUEUED, 0, 0, 0, b"frame %d" % seq)


def taking(start: int, end: int, *, lanes: int = 1, **more: object) -> LaneBatch:
    return LaneBatch(start, end, [item(seq, 1 + seq % lanes) for seq in range(start, end)], **more)  # type: ignore[arg-type]


def ended(start: int, *outcomes: Outcome) -> LaneBatch:
    return LaneBatch(source="courier-0", outcomes_start=start, outcomes_end=start + len(outcomes), outcomes=outcomes)


def outcome(seq: int, attempt: int, result: SendResult, due_ms: int = 0) -> Outcome:
    return Outcome(f"p{seq}", seq, attempt, result, "", due_ms)


def states(lanes: Lanes) -> dict[int, tuple[ItemState, int]]:
    return {found.seq: (found.state, found.attempt) for found in lanes.items()}
