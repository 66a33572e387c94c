"""A lane's breaker: whether a partner is worth trying now. Pure; time comes from the caller.

Owns: the share of failures of late, and what follows from it. Closed → open, when the share of failures among enough
requests is reached → half open after a pause, where one request at a time shows whether it works again → closed after
a few good ones, open again with twice the pause after a bad one. A pause is shortened by up to a fifth, by the lane's
number and the count of pauses, so that lanes that broke together are not tried together.
"""

from collections import deque
from enum import StrEnum
from hashlib import blake2b

from waypost.catalog.model import Breaker as BreakerRule

_SLOTS = 10  # of the window
_GOOD_TO_CLOSE = 3
_JITTER = 0.2


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """One lane's. `share` counts also where the rule says that it never opens."""

    __slots__ = (
        "_failed",
        "_good",
        "_ok",
        "_opens",
        "_pause_ms",
        "_probed_ms",
        "_slots",
        "lane",
        "rule",
        "since_ms",
        "state",
        "until_ms",
    )

    def __init__(self, lane: int, rule: BreakerRule) -> None:
        self.lane, self.rule = lane, rule
        self.state = BreakerState.CLOSED
        self.since_ms = self.until_ms = 0
        self._slots: deque[list[int]] = deque()  # (number, ok, failed)
        self._ok = self._failed = 0
        self._opens = self._good = 0
        self._pause_ms = 0
        self._probed_ms = 0  # when the probe that is in flight was begun; 0: none is

    def count(self, ok: int, failed: int, now_ms: int) -> bool:
        """Requests that ended while it was closed; answers whether it has opened."""
        if self.state is not BreakerState.CLOSED:
            return False
        self._roll(now_ms)
        number = now_ms * _SLOTS // self.rule.window_ms
        if not self._slots or self._slots[-1][0] != number:
            self._slots.append([number, 0, 0])
        slot = self._slots[-1]
        slot[1] += ok
        slot[2] += failed
        self._ok += ok
        self._failed += failed
        if not failed or not self.rule.share:
            return False
        total = self._ok + self._failed
        if total < self.rule.calls or self._failed < self.rule.share * total:
            return False
        is_soon = self.since_ms and now_ms - self.since_ms < 2 * self._pause_ms
        self._opens = self._opens + 1 if is_soon else 0
        self._open(now_ms)
        return True

    def ended(self, is_good: bool, begun_ms: int, now_ms: int) -> bool:
        """A request ended while it was not closed; answers whether that has closed it. What was begun before it was
        half open says nothing new."""
        if self.state is not BreakerState.HALF_OPEN or begun_ms < self.since_ms:
            return False
        self._probed_ms = 0
        if not is_good:
            self._opens += 1
            self._open(now_ms)
            return False
        self._good += 1
        if self._good < _GOOD_TO_CLOSE:
            return False
        self.state, self.since_ms, self.until_ms = BreakerState.CLOSED, now_ms, 0
        return True

    def free_ms(self, now_ms: int) -> int:
        """When a request may be begun; 0: now; -1: when the probe that is in flight has ended."""
        if self.state is BreakerState.OPEN:
            if now_ms < self.until_ms:
                return self.until_ms
            self.state, self.since_ms, self._good, self._probed_ms = BreakerState.HALF_OPEN, now_ms, 0, 0
        return -1 if self.state is BreakerState.HALF_OPEN and self._probed_ms else 0

    def begin(self, now_ms: int) -> None:
        """A request is begun."""
        if self.state is BreakerState.HALF_OPEN:
            self._probed_ms = now_ms
            self.since_ms = min(self.since_ms, now_ms)  # the clock may have been set back

    def abandon(self) -> None:
        """The probe that was in flight says nothing; another may be made."""
        self._probed_ms = 0

    def clear(self) -> None:
        """Nobody was to blame for what failed."""
        self.state, self.since_ms, self.until_ms, self._opens = BreakerState.CLOSED, 0, 0, 0
        self._slots.clear()
        self._ok = self._failed = 0

    @property
    def share(self) -> float:
        """Of failures among all that ended within the window."""
        return self._failed / max(1, self._ok + self._failed)

    def _open(self, now_ms: int) -> None:
        rule = self.rule
        seed = blake2b(f"{self.lane} {now_ms} {self._opens}".encode(), digest_size=4).digest()
        self._pause_ms = min(rule.pause_ms << min(self._opens, 32), rule.pause_max_ms)
        shorter = _JITTER * int.from_bytes(seed) / 0xFFFFFFFF
        self.state, self.since_ms = BreakerState.OPEN, now_ms
        self.until_ms = now_ms + max(1, round(self._pause_ms * (1 - shorter)))
        self._slots.clear()
        self._ok = self._failed = 0

    def _roll(self, now_ms: int) -> None:
        oldest = now_ms * _SLOTS // self.rule.window_ms - _SLOTS
        slots = self._slots
        while slots and slots[0][0] <= oldest:
            _, ok, failed = slots.popleft()
            self._ok -= ok
            self._failed -= failed
