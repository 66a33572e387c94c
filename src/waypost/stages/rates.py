"""How many requests a lane may begin now: its rate limits, all of which hold at once. Pure; time comes from the caller.

Owns: what was begun of late. A limit holds in every span of its length, wherever the span begins, and not on average
only: a bucket of `burst` tokens gives the pace, and a list of what was begun within the last span bounds the sum. The
list has at most about 64 entries: what is begun within one 64th of the span shares one, which counts as of its last.

The state fits into a few hundred bytes. Written down with the intents that it counts, it survives a kill exactly.
"""

from collections.abc import Sequence

import msgspec

from waypost.catalog.model import Rate

_NS = 1_000_000  # in a millisecond
_ENTRIES = 64


class _Kept(msgspec.Struct, array_like=True):
    """One limit's state as it is written down; `begun` are (first_ms, last_ms, count)."""

    limit: int
    per_ms: int
    debt_ns: int
    begun: list[tuple[int, int, int]]


class _State(msgspec.Struct, array_like=True):
    at_ms: int
    kept: list[_Kept]


class _Limit:
    """One rate. The bucket is full at `full_ns`; each token that lacks makes this later by `cost_ns`."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.cost_ns = -(-rate.per_ms * _NS // rate.limit)
        self.full_ns = 0
        self.begun: list[list[int]] = []
        self.sum = 0

    def free_ms(self, now_ms: int) -> int:
        """When one more may be begun; not above `now_ms`: now."""
        rate = self.rate
        while self.begun and self.begun[0][1] + rate.per_ms <= now_ms:
            self.sum -= self.begun.pop(0)[2]
        token_ms = -(-(self.full_ns - (rate.burst - 1) * self.cost_ns) // _NS)
        if self.sum >= rate.limit:
            over, at = self.sum - rate.limit, 0
            while (over := over - self.begun[at][2]) >= 0:
                at += 1
            return max(token_ms, self.begun[at][1] + rate.per_ms)
        return token_ms

    def take(self, now_ms: int) -> None:
        self.full_ns = max(self.full_ns, now_ms * _NS) + self.cost_ns
        self.sum += 1
        if self.begun and now_ms - self.begun[-1][0] < max(1, self.rate.per_ms // _ENTRIES):
            self.begun[-1][1] = now_ms
            self.begun[-1][2] += 1
        else:
            self.begun.append([now_ms, now_ms, 1])

    def late(self, now_ms: int, count: int) -> None:
        """The last so many of those taken are begun only now. The bucket then lacks what it would lack, had they been
        taken now."""
        left = count
        while left and self.begun:
            entry = self.begun[-1]
            moved = min(left, entry[2])
            entry[2] -= moved
            left -= moved
            if not entry[2]:
                self.begun.pop()
        self.sum -= count - left
        self.full_ns -= count * self.cost_ns
        for _ in range(count):
            self.take(now_ms)

    def move(self, by_ms: int) -> None:
        self.full_ns += by_ms * _NS
        for entry in self.begun:
            entry[0] += by_ms
            entry[1] += by_ms

    def inherit(self, kept: _Kept, at_ms: int) -> None:
        """Takes over what another limit, or this one before a change, knew: what was begun counts on, and tokens that
        lacked lack on, up to the burst."""
        lacking = -(-kept.debt_ns * kept.limit // (kept.per_ms * _NS))
        self.full_ns = at_ms * _NS + min(lacking, self.rate.burst) * self.cost_ns
        if (kept.limit, kept.per_ms) == (self.rate.limit, self.rate.per_ms):
            self.full_ns = at_ms * _NS + min(kept.debt_ns, self.rate.burst * self.cost_ns)
        self.begun = [list(entry) for entry in kept.begun]
        self.sum = sum(entry[2] for entry in self.begun)


class Rates:
    """The limits of one lane."""

    def __init__(self, rates: Sequence[Rate], state: bytes = b"") -> None:
        """`state` is what `encoded` answered, perhaps under other rates; what cannot be read counts as nothing."""
        self._limits = [_Limit(rate) for rate in rates]
        self._at_ms = 0
        self.is_changed = False  # since `encoded` was asked last
        if not state:
            return
        try:
            read = msgspec.msgpack.decode(state, type=_State)
        except msgspec.DecodeError:
            return
        self._at_ms = read.at_ms
        for limit in self._limits if read.kept else ():
            limit.inherit(_nearest(read.kept, limit.rate.per_ms), read.at_ms)

    def free_ms(self, now_ms: int) -> int:
        """When one more may be begun; 0: now."""
        self._see(now_ms)
        free_ms = max(limit.free_ms(now_ms) for limit in self._limits)
        return free_ms if free_ms > now_ms else 0

    def take(self, now_ms: int) -> None:
        """One is begun."""
        self._see(now_ms)
        for limit in self._limits:
            limit.take(now_ms)
        self.is_changed = True

    def late(self, now_ms: int, count: int) -> None:
        """The last so many of those taken are begun only now: they count from here on, and not from when they were
        taken."""
        self._see(now_ms)
        for limit in self._limits:
            limit.late(now_ms, count)
        self.is_changed = True

    def now_per_s(self, now_ms: int) -> float:
        """What was begun within the last span of the shortest limit, a second."""
        limit = min(self._limits, key=lambda one: one.rate.per_ms)
        begun = sum(count for _, last_ms, count in limit.begun if last_ms + limit.rate.per_ms > now_ms)
        return round(begun * 1000 / limit.rate.per_ms, 3)

    def encoded(self) -> bytes:
        """The state, to be written down with what it counts."""
        self.is_changed = False
        kept = [
            _Kept(
                limit.rate.limit,
                limit.rate.per_ms,
                max(0, limit.full_ns - self._at_ms * _NS),
                [(first, last, count) for first, last, count in limit.begun],
            )
            for limit in self._limits
        ]
        return msgspec.msgpack.encode(_State(self._at_ms, kept))

    def _see(self, now_ms: int) -> None:
        """A clock that was set back has let no time pass: what was begun is as long ago as it was."""
        if now_ms < self._at_ms:
            for limit in self._limits:
                limit.move(now_ms - self._at_ms)
        self._at_ms = now_ms


def _nearest(kept: Sequence[_Kept], per_ms: int) -> _Kept:
    """The shortest that covers a span, else the longest."""
    longer = [one for one in kept if one.per_ms >= per_ms]
    return min(longer, key=lambda one: one.per_ms) if longer else max(kept, key=lambda one: one.per_ms)
