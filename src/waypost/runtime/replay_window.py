"""How much of the traffic stays for replay once everybody has read it.

Owns: the pipeline's memory of where each feed stood at past commits. It publishes the oldest of them under a reader's
name of its own, so writers trim no further. Bounded by age and by frames: beyond either, the oldest is given up.
Never holds up anybody: a journal that nears its bound on disk is trimmed without regard to it.
"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from waypost.ports.feed import Positions

READER = "replay"


class _Mark(NamedTuple):
    """Where feeds stood."""

    at_ms: float
    positions: dict[str, int]
    frames: int


class ReplayWindow:
    """`note` at every commit or now and then; times are monotonic milliseconds."""

    def __init__(self, positions: Positions, kept_ms: int, frames_max: int) -> None:
        self._positions = positions
        self._kept_ms = kept_ms
        self._frames_max = frames_max
        self._marks: deque[_Mark] = deque()
        self._is_begun = False

    def note(self, at_ms: float, positions: Mapping[str, int]) -> dict[str, int]:
        """Takes where feeds stand now; answers, and publishes, below what none of them is to be trimmed."""
        if not self._is_begun:
            self._begin(at_ms, positions)
        self._marks.append(_Mark(at_ms, dict(positions), sum(positions.values())))
        newest = self._marks[-1]
        while len(self._marks) > 1 and (
            at_ms - self._marks[1].at_ms >= self._kept_ms or newest.frames - self._marks[0].frames > self._frames_max
        ):
            self._marks.popleft()
        floor = self._marks[0].positions
        for source in positions:
            self._positions.publish(READER, source, floor.get(source, 0))
        return {source: floor.get(source, 0) for source in positions}

    def _begin(self, at_ms: float, positions: Mapping[str, int]) -> None:
        """What an earlier process kept goes on being kept, as if it were of now."""
        self._is_begun = True
        kept = {source: self._positions.of(source).get(READER, now) for source, now in positions.items()}
        self._marks.append(_Mark(at_ms, kept, sum(kept.values())))
