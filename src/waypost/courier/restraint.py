"""What holds one lane back: its catalog's limits, how its partner does, what an operator or the partner asked for.

Owns: a lane's rates, breaker, adaptive concurrency, quiet hours and the pause that its partner asked for. Reads and
writes no store; `buckets` of the lanes' batch carry `Rates.encoded`. Never decides which postback is next.
"""

from enum import Enum

from waypost.courier.policies import Policy
from waypost.ports.lanes import LaneControl, LaneState
from waypost.stages.adaptive import Adaptive
from waypost.stages.breaker import Breaker, BreakerState
from waypost.stages.lanes import Blame
from waypost.stages.quiet_hours import QuietHours
from waypost.stages.rates import Rates

FOR_EVER_MS = 1 << 60
UNTIL_FREED = -1  # until one of its requests has ended
_FAILURES_BORNE = 0.2  # a smaller share of failures does not make a lane slower
_CLOSED = BreakerState.CLOSED


class Held(Enum):
    """Why a lane sends nothing now; the words are shown."""

    NOT = ""
    PAUSED = "paused"
    RETRY_AFTER = "retry after"
    BREAKER = "breaker"
    QUIET = "quiet hours"
    RATE = "rate"


_Free = tuple[int, Held]
_FREE: _Free = (0, Held.NOT)


class Restraint:
    """One lane's."""

    __slots__ = ("adaptive", "breaker", "control", "quiet", "rates", "wait_ms")

    def __init__(self, lane: int, policy: Policy, bucket: bytes = b"") -> None:
        """`bucket` is what its rates were when they were committed last."""
        self.control: LaneControl | None = None
        self.wait_ms = 0  # the partner asked to be left alone until then
        self.breaker = Breaker(lane, policy.breaker)
        self.adaptive = Adaptive(policy.concurrency, policy.delivery.adaptive)
        self.rates: Rates | None = None
        self.quiet: QuietHours | None = None
        self.follow(policy, bucket)

    def follow(self, policy: Policy, bucket: bytes = b"") -> None:
        """Takes over what the catalog in force says; what was counted counts on."""
        delivery = policy.delivery
        self.breaker.rule = policy.breaker
        self.adaptive.follow(policy.concurrency, delivery.adaptive)
        if self.rates is not None:
            bucket = self.rates.encoded()
        self.rates = Rates(delivery.rates, bucket) if delivery.rates else None
        self.quiet = QuietHours(delivery.quiet_hours) if delivery.quiet_hours else None

    @property
    def is_plain(self) -> bool:
        """Whether nothing but the number in flight has to be asked before a send."""
        return (
            self.rates is None
            and self.quiet is None
            and self.control is None
            and not self.wait_ms
            and self.breaker.state is _CLOSED
        )

    def until(self, now_ms: int) -> _Free:
        """Until when nothing may be begun, and why. 0: one may be begun now."""
        if self.control is not None and self.control.state is LaneState.PAUSED:
            return FOR_EVER_MS, Held.PAUSED
        if self.wait_ms > now_ms:
            return self.wait_ms, Held.RETRY_AFTER
        self.wait_ms = 0
        if self.quiet is not None and (end_ms := self.quiet.end_ms(now_ms)):
            return end_ms, Held.QUIET
        if self.rates is not None and (free_ms := self.rates.free_ms(now_ms)):
            return free_ms, Held.RATE
        if self.breaker.state is not _CLOSED and (free_ms := self.breaker.free_ms(now_ms)):
            return free_ms, Held.BREAKER
        return _FREE

    def begin(self, now_ms: int) -> None:
        """One is begun."""
        if self.rates is not None:
            self.rates.take(now_ms)
        self.breaker.begin(now_ms)

    def good(self, begun_ms: int, now_ms: int) -> None:
        """One ended well. To be told of each while the breaker is not closed."""
        if self.breaker.ended(True, begun_ms, now_ms):
            self.adaptive.restart()

    def failed(self, blame: Blame, good: int, begun_ms: int, now_ms: int, wait_ms: int) -> None:
        """One failed, after so many good ones that were not counted yet; the partner asked for a pause until then."""
        self.breaker.count(good, 0, now_ms)
        if blame is Blame.NOBODY:
            self.breaker.abandon()
            return
        if wait_ms > now_ms:
            self.wait_ms = max(self.wait_ms, wait_ms)
        if blame is Blame.POSTBACK:
            self.good(begun_ms, now_ms)
            self.breaker.count(1, 0, now_ms)
            return
        self.breaker.ended(False, begun_ms, now_ms)
        self.breaker.count(0, 1, now_ms)
        if blame is Blame.BUSY or self.breaker.state is not _CLOSED or self.breaker.share > _FAILURES_BORNE:
            self.adaptive.failed(begun_ms, now_ms)

    def forgive(self) -> None:
        """The line was down: what failed was nobody's fault, and the return is slow."""
        self.breaker.clear()
        self.adaptive.restart()
