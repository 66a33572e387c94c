"""Which addresses a list of networks takes in.

Owns: the look-up, and a bounded memory of its answers. Pure: the same list and address always give the same answer.
An IPv4 address written as IPv6 (`::ffff:192.0.2.1`) is that IPv4 address; a zone (`%eth0`) does not count.
"""

from bisect import bisect_right
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

KNOWN_MAX = 10_000


class AllowList:
    """Networks as sorted ranges, by IP version."""

    __slots__ = ("_ends", "_known", "_starts")

    def __init__(self, networks: Sequence[str]) -> None:
        self._known: dict[str, bool] = {}
        self._starts: dict[int, list[int]] = {4: [], 6: []}
        self._ends: dict[int, list[int]] = {4: [], 6: []}
        found = [ip_network(text) for text in networks]
        for network in sorted(found, key=lambda one: (int(one.network_address), one.prefixlen)):
            starts, ends = self._starts[network.version], self._ends[network.version]
            if ends and int(network.network_address) <= ends[-1]:
                continue  # networks nest or are apart
            starts.append(int(network.network_address))
            ends.append(int(network.broadcast_address))

    def permits(self, address: str) -> bool:
        """Whether the address is in one of the networks; what is no address is in none."""
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            known = self._known[address] = self._look_up(address)
        return known

    def _look_up(self, text: str) -> bool:
        address = parse_address(text)
        if address is None:
            return False
        nth = bisect_right(self._starts[address.version], int(address)) - 1
        return nth >= 0 and int(address) <= self._ends[address.version][nth]


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, IPv4 where it is one in IPv6's clothes; None if it is none."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found
