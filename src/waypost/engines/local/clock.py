"""The system's clock.

Owns nothing; reads the operating system's clocks. Never corrects them: who needs time that never steps back
(a door's ids, a journal's watermark) keeps its own above it.
"""

import time


class SystemClock:
    """Clock (ports/clock.py) over the operating system's."""

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return time.time_ns() // 1_000_000

    def now_us(self) -> int:
        """Unix time in microseconds."""
        return time.time_ns() // 1000

    def monotonic_ms(self) -> float:
        """Milliseconds since some start of the machine's choosing."""
        return time.monotonic_ns() / 1_000_000

    def sleep_ms(self, duration_ms: float) -> None:
        """Blocks this thread; returns at once for a duration that is not positive."""
        if duration_ms > 0:
            time.sleep(duration_ms / 1000)
