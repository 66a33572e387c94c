"""The address guard: which addresses and ports the courier may dial.

Owns: the table of forbidden ranges and the judgement on one address. Reads: `--allow-target` and the ports of the
settings. Never resolves a name (`names.py` does) and never trusts one: what is judged is the address that is dialled,
so a literal in an odd form (decimal, octal, hex) or a name that points inwards is judged by where it really leads.

Sources: IANA IPv4 and IPv6 Special-Purpose Address Registries; RFC 6890, 4291, 6052 (NAT64), 3056 (6to4).
"""

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from waypost.errors import WaypostError

_JUDGED_MAX = 20_000  # judgements remembered; then the memory is emptied

_RANGES: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared by carriers"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "6to4 relays"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "benchmarks"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved, and broadcast"),
    ("::/96", "unspecified, loopback and IPv4-compatible"),
    ("::ffff:0:0/96", "IPv4-mapped"),
    ("64:ff9b::/96", "NAT64"),
    ("64:ff9b:1::/48", "local NAT64"),
    ("100::/64", "discard"),
    ("100:0:0:1::/64", "a dummy prefix"),
    ("2001::/23", "protocol assignments, Teredo included"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment routing"),
    ("fc00::/7", "unique local"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
    ("::/3", "outside of 2000::/3, where public addresses are"),
    ("4000::/2", "outside of 2000::/3, where public addresses are"),
    ("8000::/1", "outside of 2000::/3, where public addresses are"),
)
FORBIDDEN = tuple((ip_network(text), why) for text, why in _RANGES)

_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def parse_ranges(texts: Iterable[str]) -> tuple[Network, ...]:
    """The ranges of `--allow-target`: addresses or CIDR. Raises WaypostError `bad_address_range`."""
    ranges = []
    for text in texts:
        try:
            ranges.append(ip_network(text.strip(), strict=False))
        except ValueError as error:
            raise WaypostError("bad_address_range", str(error), place=text) from error
    return tuple(ranges)


class Judgement(str):
    """An error code, or empty where the address may be dialled; `why` says more, `address` which one it was."""

    why: str
    address: str

    def __new__(cls, code: str, why: str = "", address: str = "") -> "Judgement":
        judgement = super().__new__(cls, code)
        judgement.why = why
        judgement.address = address
        return judgement


_FINE = Judgement("")


class AddressGuard:
    """Judges addresses. Safe to use from several threads: its memory only ever holds whole judgements."""

    def __init__(self, allow: Iterable[str], ports: Iterable[int]) -> None:
        self._allow = parse_ranges(allow)
        self._ports = frozenset(ports)
        self._judged: dict[tuple[str, int], Judgement] = {}

    def judge(self, address: str, port: int, ports: Collection[int] = ()) -> Judgement:
        """`address_forbidden`, `port_forbidden`, or empty. An address that cannot be read is forbidden; `ports` may be
        dialled beside the settings'."""
        key = (address, port)
        judgement = self._judged.get(key)
        if judgement is None:
            judgement = self._judge(address, port)
            if len(self._judged) >= _JUDGED_MAX:
                self._judged.clear()
            self._judged[key] = judgement
        return _FINE if ports and port in ports and judgement == "port_forbidden" else judgement

    def _judge(self, text: str, port: int) -> Judgement:
        try:
            address = ip_address(text.partition("%")[0])
        except ValueError:
            return Judgement("address_forbidden", f"{text!r} is no address")
        if self._is_allowed(address):
            return _FINE
        for seen in (address, *embedded(address)):
            why = forbidden_because(seen)
            if why:
                return Judgement("address_forbidden", f"{address} is forbidden: {why}")
        if port not in self._ports:
            return Judgement("port_forbidden", f"port {port} of {address} is not allowed")
        return _FINE

    def _is_allowed(self, address: Address) -> bool:
        """Whether `--allow-target` covers it. A mapped address is its IPv4 address under another name; a translated
        one (NAT64, 6to4) must be allowed itself and must not lead to an IPv4 address that is forbidden."""
        inner = embedded(address)
        if isinstance(address, IPv6Address) and address in _MAPPED:
            return self._covers(address) or self._covers(inner[0])
        return self._covers(address) and all(self._covers(v4) or not forbidden_because(v4) for v4 in inner)

    def _covers(self, address: Address) -> bool:
        return any(address in network for network in self._allow if network.version == address.version)


def forbidden_because(address: Address) -> str:
    """Which forbidden range holds the address; empty for none."""
    for network, why in FORBIDDEN:
        if network.version == address.version and address in network:
            return f"{why} ({network})"
    return ""


def embedded(address: Address) -> tuple[IPv4Address, ...]:
    """IPv4 addresses that an IPv6 address carries and a translator would lead to."""
    if isinstance(address, IPv4Address):
        return ()
    if address in _MAPPED or any(address in network for network in _NAT64):
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    return ()
