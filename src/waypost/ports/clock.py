"""The clock as an interface: time is an argument everywhere below the loops.

Engines: `engines/local/clock.py` (the system's), and a fake that tests set by hand.
"""

from typing import Protocol


class Clock(Protocol):
    def now_ms(self) -> int:
        """Unix time in milliseconds; may step back when the system's clock is set."""

    def now_us(self) -> int:
        """The same in microseconds."""

    def monotonic_ms(self) -> float:
        """Milliseconds from an arbitrary start; never steps back."""

    def sleep_ms(self, duration_ms: float) -> None:
        """Waits; a fake advances its time instead."""
