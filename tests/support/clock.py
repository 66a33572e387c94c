"""A clock that tests set by hand."""


class FakeClock:
    """`ports.clock.Clock`; sleeping advances it."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = float(now_ms)
        self._monotonic_ms = 0.0

    def now_ms(self) -> int:
        return round(self._now_ms * 1000) // 1000

    def now_us(self) -> int:
        return round(self._now_ms * 1000)

    def monotonic_ms(self) -> float:
        return self._monotonic_ms

    def sleep_ms(self, duration_ms: float) -> None:
        self.advance(duration_ms)

    def advance(self, duration_ms: float) -> None:
        """Moves both times on."""
        self._now_ms += duration_ms
        self._monotonic_ms += duration_ms

    def set_back(self, duration_ms: float) -> None:
        """The system's clock is set back; the monotonic one is not."""
        self._now_ms -= duration_ms
