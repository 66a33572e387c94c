"""How much one address may ask for without saying who it is: refused requests, clicks, connections.

Owns: the buckets and counts by address; IPv6 counts by /64, which is what one customer has. Reads and writes nothing
else. Never slows down a caller whose token is right: only requests that end in a refusal draw from a bucket (and clicks
where the settings say so), and an address with a known caller may have any number of connections.
Memory is bounded: of more addresses than `limited_addresses_max` the one that was quiet longest is forgotten, that is,
gets a full bucket again.
"""

from ipaddress import IPv6Address
from math import ceil
from typing import Protocol

from waypost.settings import DoorSettings


class Known(Protocol):
    """A connection."""

    is_known: bool  # a call on it had a right token


class Buckets:
    """A token bucket an address."""

    def __init__(self, per_s: int, burst: int, addresses_max: int) -> None:
        self.is_on = per_s > 0
        self._per_ms = per_s / 1000
        self._burst = float(max(1, burst))
        self._addresses_max = max(1, addresses_max)
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, as of a time; the quiet longest first

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, address: str, now_ms: float) -> int:
        """Takes one: 0, or the seconds after which there will be one again."""
        if not self.is_on:
            return 0
        key = limited_by(address)
        tokens, at_ms = self._buckets.pop(key, (self._burst, now_ms))
        tokens = min(self._burst, tokens + max(0.0, now_ms - at_ms) * self._per_ms)
        wait_s = 0 if tokens >= 1 else max(1, ceil((1 - tokens) / self._per_ms / 1000))
        if len(self._buckets) >= self._addresses_max:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = (tokens - (not wait_s), now_ms)
        return wait_s


class LargeBodies:
    """The places for bodies that are larger than a single call's, while they are received.

    Whoever is not known to be somebody's caller has at most half of them, and from one address an eighth of that: what
    strangers send, however slowly, keeps nobody out whose token stands where it can be seen before the body.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._of_strangers = places // 2
        self._of_address = max(1, places // 16)
        self._known: set[object] = set()
        self._strangers: dict[object, str] = {}

    def __len__(self) -> int:
        return len(self._known) + len(self._strangers)

    def take(self, sender: object, address: str, *, is_known: bool) -> bool:
        """Whether there is a place; it is taken until `leave`."""
        if len(self) >= self._places:
            return False
        if is_known:
            self._known.add(sender)
            return True
        key = limited_by(address)
        if len(self._strangers) >= self._of_strangers:
            return False
        if sum(other == key for other in self._strangers.values()) >= self._of_address:
            return False
        self._strangers[sender] = key
        return True

    def leave(self, sender: object) -> None:
        """Gives the place back, if the sender had one."""
        self._known.discard(sender)
        self._strangers.pop(sender, None)


class Limits:
    """The limits of a door. `now_ms` is monotonic, and the door's tick: nearer than a second it need not be."""

    def __init__(self, settings: DoorSettings) -> None:
        bound = settings.limited_addresses_max
        self.refused = Buckets(settings.address_refused_per_s, settings.address_refused_burst, bound)
        self.clicks = Buckets(settings.address_clicks_per_s, settings.address_clicks_burst, bound)
        self.deferred = Buckets(settings.address_deferred_per_s, settings.address_deferred_burst, bound)
        self.large_bodies = LargeBodies(settings.batches_max)
        self._connections_max = settings.address_connections_max
        self._connections: dict[str, set[Known]] = {}

    def admits(self, connection: Known, address: str) -> bool:
        """Counts a new connection; whether its address may have one more."""
        if not self._connections_max:
            return True
        held = self._connections.setdefault(limited_by(address), set())
        held.add(connection)
        return len(held) <= self._connections_max or any(other.is_known for other in held)

    def left(self, connection: Known, address: str) -> None:
        """A connection that was counted has ended."""
        key = limited_by(address)
        held = self._connections.get(key)
        if held is not None:
            held.discard(connection)
            if not held:
                del self._connections[key]


def limited_by(address: str) -> str:
    """What an address is counted as: itself, or its /64."""
    if ":" not in address:
        return address
    try:
        number = int(IPv6Address(address.partition("%")[0]))
    except ValueError:
        return address
    return f"{number >> 64:x}/64"
