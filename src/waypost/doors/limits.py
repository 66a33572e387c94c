"""How much one address may ask for without saying who it is: refused requests, clicks, connections.

Owns: the buckets and counts by address; IPv6 counts by /64, which is what one customer has. Reads and writes nothing
else. Never slows down a caller whose token is right: only requests that end in a refusal draw from a bucket (and clicks
where the settings say so), and an address with a known caller may have any number of connections.
Memory is bounded by `limited_addresses_max`. It has two halves: when the young one is full it becomes the old one, and
the old one is forgotten as a whole, that is, its addresses get full buckets again. So an address is forgotten only
behind half as many others; to keep all in their order would be more work for each click.
"""

from collections.abc import Sequence
from ipaddress import ip_network
from math import ceil
from socket import AF_INET6, inet_pton
from typing import Protocol

from waypost.settings import DoorSettings
from waypost.stages.addresses import AllowList

_ROUNDING_MS = 1e-6
# Where no visitor lives: who comes from there is a proxy that nobody named, and all visitors at once.
_OURS = (
    *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
    *("::1/128", "fc00::/7", "fe80::/10"),
)


class Known(Protocol):
    """A connection."""

    is_known: bool  # a call on it had a right token


class Buckets:
    """A token bucket an address, kept as the time at which it will be full again (the generic cell rate algorithm)."""

    def __init__(self, per_s: int, burst: int, addresses_max: int) -> None:
        self.is_on = per_s > 0
        self._step_ms = 1000 / per_s if per_s else 0.0
        self._slack_ms = (max(1, burst) - 1) * self._step_ms
        self._half = max(1, addresses_max // 2)
        # By address, or /64, when its bucket will be full; none is in both.
        self._young: dict[str, float] = {}
        self._old: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def take(self, address: str, now_ms: float) -> int:
        """Takes one: 0, or the seconds after which there will be one again."""
        return self.take_each((address,), now_ms)[0]

    def take_each(self, addresses: Sequence[str], now_ms: float) -> list[int]:
        """`take` for each of these, in their order."""
        waits = [0] * len(addresses)
        if not self.is_on:
            return waits
        young, step_ms = self._young, self._step_ms
        find = young.get
        until_ms = now_ms + self._slack_ms
        too_late_ms = until_ms + _ROUNDING_MS
        for nth, key in enumerate(addresses):
            full_at_ms = find(key)
            if full_at_ms is None:
                if ":" in key:
                    key = limited_by(key)
                    full_at_ms = find(key)
                if full_at_ms is None:
                    full_at_ms = self._old.pop(key, now_ms)
                    if len(young) >= self._half:
                        self._old, self._young = young, {}
                        young = self._young
                        find = young.get
            if full_at_ms <= now_ms:
                young[key] = now_ms + step_ms
            elif full_at_ms <= too_late_ms:
                young[key] = full_at_ms + step_ms
            else:
                young[key] = full_at_ms
                waits[nth] = max(1, ceil((full_at_ms - until_ms) / 1000))
        return waits


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
        # Addresses that stand for many visitors: these, and named proxies that did not say whom they speak for.
        self._many = AllowList((*_OURS, *(str(ip_network(text, strict=False)) for text in settings.proxies)))
        self._visits = Buckets(settings.address_clicks_per_s, settings.address_clicks_burst, bound)
        self.deferred = Buckets(settings.address_deferred_per_s, settings.address_deferred_burst, bound)
        self.large_bodies = LargeBodies(settings.batches_max)
        self._connections_max = settings.address_connections_max
        self._connections: dict[str, set[Known]] = {}

    @property
    def addresses(self) -> int:
        """How many are remembered."""
        return len(self.refused) + len(self._visits) + len(self.deferred)

    def visit(self, address: str, now_ms: float) -> int:
        """Takes a visit (a click, an impression, a page's report): 0, or the seconds after which it may be tried."""
        wait_s = self._visits.take(address, now_ms)
        return 0 if wait_s and self._many.permits(address) else wait_s

    def visits(self, addresses: Sequence[str], now_ms: float) -> list[int]:
        """`visit` for each of these, in their order."""
        waits = self._visits.take_each(addresses, now_ms)
        if any(waits):
            permits = self._many.permits
            waits = [wait_s and not permits(one) and wait_s for wait_s, one in zip(waits, addresses, strict=True)]
        return waits

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
        return inet_pton(AF_INET6, address.partition("%")[0])[:8].hex() + "/64"
    except (OSError, ValueError):  # ValueError: a zero byte, or a text that cannot be encoded
        return address
