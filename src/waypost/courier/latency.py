"""Latencies of the last seconds, in bounded memory.

Owns: the histogram. Reads and writes nothing; time comes from the caller.
"""

from math import log2

_STEPS = 4  # buckets to each doubling: a quantile is right to about 19%


def bucket_of(latency_ms: float) -> int:
    """Where a latency is counted."""
    return int(log2(latency_ms) * _STEPS) if latency_ms > 1 else 0


class LatencyWindow:
    """Counts by bucket; `roll` begins a new second and forgets the oldest."""

    __slots__ = ("_seconds",)

    def __init__(self, seconds: int = 5) -> None:
        self._seconds: list[dict[int, int]] = [{} for _ in range(seconds)]

    def add(self, latency_ms: float) -> None:
        """Counts one latency; less than a millisecond counts as one."""
        self.count(bucket_of(latency_ms))

    def count(self, bucket: int) -> None:
        """Counts one latency, whose bucket is known."""
        newest = self._seconds[0]
        newest[bucket] = newest.get(bucket, 0) + 1

    def roll(self) -> None:
        """A second has passed."""
        self._seconds.insert(0, self._seconds.pop())
        self._seconds[0] = {}

    @property
    def is_empty(self) -> bool:
        return not any(self._seconds)

    def quantiles(self, *shares: float) -> list[float]:
        """The latencies in ms, not below the true ones by more than a bucket; zeros when nothing was counted."""
        counts: dict[int, int] = {}
        for second in self._seconds:
            for bucket, count in second.items():
                counts[bucket] = counts.get(bucket, 0) + count
        total = sum(counts.values())
        found = []
        for share in shares:
            seen = 0
            answer = 0.0
            for bucket in sorted(counts):
                seen += counts[bucket]
                if seen >= share * total:
                    answer = round(2 ** ((bucket + 1) / _STEPS), 1)
                    break
            found.append(answer)
        return found
