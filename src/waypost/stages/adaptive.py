"""How many requests a lane may have in flight: it follows how the partner does. Pure; time comes from the caller.

Owns: a lane's limit, its baseline of latency. The limit begins small and doubles with each round of answers, up to what
the catalog allows. It is halved by failures, at most once for each round of requests; it shrinks while answers take
more than twice as long as they used to, and while none come at all, before any timeout. It grows again by one a round,
where it was what held the lane back. It is never below 1.

The baseline follows at once where answers come faster and slowly where they take longer, so that a partner that has
become slower for good gets its share again.
"""

from math import sqrt

_START = 16
_RESTART = 4  # after a breaker, an outage
_SLOWER = 2.0  # than the baseline: then it shrinks …
_SLACK_US = 20_000.0  # … if it is also so much longer
_SILENT_MS = 1000  # no answer for so long, or ten times the baseline: then it is halved
_SILENT_TIMES = 10
_SILENT_PROOF = 4  # so many requests at least, or half of what is allowed
_DOWN, _UP = 0.3, 0.01  # how far the baseline follows, each tick


class Adaptive:
    """One lane's. Where it is not `free`, only a restart keeps it below the catalog's limit."""

    __slots__ = ("_cut_ms", "_is_starting", "_silent_ms", "_value", "base_us", "is_free", "most")

    def __init__(self, most: int, is_free: bool) -> None:
        self.most, self.is_free = most, is_free
        self._value = float(min(most, _START) if is_free else most)
        self._is_starting = True
        self._cut_ms = self._silent_ms = 0
        self.base_us = 0.0

    @property
    def limit(self) -> int:
        """How many may be in flight now."""
        return max(1, int(self._value))

    def follow(self, most: int, is_free: bool) -> None:
        """The catalog says something else."""
        if is_free != self.is_free or most < self._value:
            self._value = float(min(most, max(self._value, _START) if is_free else most))
        elif most > self.most:
            self._is_starting = True
        self.most, self.is_free = most, is_free

    def restart(self) -> None:
        """What it knew holds no more; it begins small, whatever the catalog says of adapting."""
        self._value = float(min(self.most, _RESTART))
        self._is_starting = True
        self.base_us = 0.0

    def answers(self, count: int, mean_us: float, in_flight: int, was_full: bool) -> None:
        """Answers of the last tick that were no failures, and how long they took on average."""
        self._silent_ms = 0
        value, base_us = self._value, self.base_us
        if base_us:
            self.base_us = base_us = base_us + (mean_us - base_us) * (_DOWN if mean_us < base_us else _UP)
        else:
            self.base_us = base_us = mean_us
        is_slow = mean_us > _SLOWER * base_us and mean_us - base_us > _SLACK_US
        if self.is_free and is_slow:
            self._is_starting = False
            if in_flight * 2 >= value:
                wanted = value * max(0.5, _SLOWER * base_us / mean_us) + sqrt(value)
                self._value = max(1.0, min(value, 0.7 * value + 0.3 * wanted))
        elif was_full and value < self.most:
            self._value = min(self.most, value + (min(count, value) if self._is_starting else count / value))

    def failed(self, begun_ms: int, now_ms: int) -> None:
        """A failure that the partner is to blame for; of those that were begun together the first counts."""
        if self.is_free and begun_ms > self._cut_ms:
            self._cut_ms = now_ms
            self._halve(self._value)

    def silent(self, in_flight: int, since_ms: int, now_ms: int) -> None:
        """Requests are in flight, and none has ended since then."""
        patience_ms = max(_SILENT_MS, _SILENT_TIMES * self.base_us / 1000)
        is_proof = in_flight >= min(_SILENT_PROOF, self._value / 2)
        if self.is_free and is_proof and now_ms - max(since_ms, self._silent_ms) >= patience_ms:
            self._silent_ms = now_ms
            self._halve(min(self._value, in_flight))

    def _halve(self, value: float) -> None:
        self._is_starting = False
        self._value = max(1.0, value / 2)
