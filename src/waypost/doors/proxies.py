"""Who is at the other end: the address behind the proxies that the settings name, and behind nobody else's say.

Owns: the named proxies, the reading of the header by which they tell whom they speak for, and of the PROXY protocol's
preface (versions 1 and 2, HAProxy's proxy-protocol.txt). Reads and writes nothing else. Never believes an address that
did not come through an unbroken chain of named proxies: walking from the right, the first address that is none counts.
Only one header is believed, the one that the proxies are known to write; they pass the other on as it came.
"""

import re
import struct
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from socket import inet_pton

from waypost.errors import WaypostError

HEADERS = (b"x-forwarded-for", b"forwarded")
PREFACE_BYTES_MAX = 1024  # version 2 may carry extensions; a longer preface is refused
_V1_BYTES_MAX = 107
_V1 = b"PROXY "
_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD = struct.Struct("!12sBBH")
_ADDRESSES_MAX = 4096  # of which is remembered whether they are named
_CHAIN_MAX = 32  # hops that are looked at
_IPV4 = 2  # AF_INET, everywhere; the enum's member is slower to hand over
_QUOTE = re.compile(r'\\.|"')  # or what stands for a sign within quotes
_PAIR = re.compile(r'([^=;"\s]+)=("(?:[^"\\]|\\.)*"|[^;"]*)')  # of a Forwarded header (RFC 7239)


class BadPreface(ValueError):  # noqa: N818 (what came, not what went wrong)
    """The connection does not begin as the PROXY protocol says."""


class Proxies:
    """The named proxies: `trusts` their addresses, and finds the `origin` that they tell."""

    def __init__(self, networks: Sequence[str], header: str) -> None:
        try:
            self._networks = [ip_network(text, strict=False) for text in networks]
        except ValueError as error:
            raise WaypostError("bad_settings", str(error), place="[door] proxies") from error
        self._ranges = [  # of those of IPv4, for a quick answer
            (int(network.network_address), int(network.broadcast_address))
            for network in self._networks
            if network.version == 4
        ]
        # The first bytes that those ranges begin with: an address with another one is none of theirs.
        self._first_bytes = {byte for first, last in self._ranges for byte in range(first >> 24, (last >> 24) + 1)}
        self.header = header.lower().encode()
        if self.header not in HEADERS:
            raise WaypostError("bad_settings", f"{header!r} is no such header", place="[door] proxy_header")
        self._is_list = self.header == HEADERS[0]  # of addresses; or of elements as in RFC 7239
        self._named: dict[str, bool] = {}

    def trusts(self, address: str) -> bool:
        """Whether it is a named proxy's."""
        if not self._networks:
            return False
        found = self._named.get(address)
        if found is None:
            if len(self._named) >= _ADDRESSES_MAX:
                self._named.clear()
            found = self._named[address] = self._is_named(address)
        return found

    def origin(self, peer: str, value: bytes) -> str:
        """The address that the chain in the header's value leads to; `peer` is a named proxy."""
        text = value.decode("latin-1")
        if self._is_list and ":" not in text:  # an error of `inet_pton` is dear
            try:
                if inet_pton(_IPV4, text)[0] not in self._first_bytes:
                    return text  # one hop, and none of ours
            except (OSError, ValueError):  # see `plain_ipv4`
                pass
        known = peer
        for hop in _hops(text):
            address = _node(hop if self._is_list else _forwarded_for(hop))
            if not address:
                return known  # obfuscated or garbage: the proxy that wrote it is the last we know
            known = address
            if not self.trusts(address):
                return address
        return known

    def _is_named(self, address: str) -> bool:
        if four := plain_ipv4(address):
            number = int.from_bytes(four, "big")
            return any(first <= number <= last for first, last in self._ranges)
        try:
            found = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return any(found in network for network in self._networks if network.version == found.version)


def plain_ipv4(text: str) -> bytes:
    """The four bytes of an IPv4 address as everybody writes it; empty for all else.

    Most addresses are such, and asking costs a twentieth of what the library takes to parse one.
    """
    if ":" in text:
        return b""  # an error is dear
    try:
        return inet_pton(_IPV4, text)
    except (OSError, ValueError):  # ValueError: a zero byte, or a text that cannot be encoded
        return b""


def plain_address(text: str) -> str:
    """An address as it is written everywhere: an IPv4 address that came by an IPv6 socket as IPv4."""
    return text[7:] if text.startswith("::ffff:") and "." in text else text


def read_preface(data: bytes) -> tuple[int, str] | None:
    """How many bytes the PROXY preface at the start of `data` has, and the client's address in it.

    None if `data` is only a part of it; the address is empty where the proxy speaks for itself. Raises BadPreface.
    """
    if data[:12] == _V2[: len(data)] and data:
        return _read_v2(data)
    if data[:6] == _V1[: len(data)]:
        return _read_v1(data)
    raise BadPreface("neither version of the PROXY protocol")


def _read_v1(data: bytes) -> tuple[int, str] | None:
    end = data.find(b"\r\n", 0, _V1_BYTES_MAX)
    if end < 0:
        if len(data) >= _V1_BYTES_MAX:
            raise BadPreface("version 1: the line is too long")
        return None
    words = data[:end].split(b" ")
    if words[1] == b"UNKNOWN":
        return end + 2, ""
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise BadPreface("version 1: not six words")
    try:
        address = ip_address(words[2].decode("ascii"))
        ports = [int(word) for word in words[4:]]
    except ValueError as error:
        raise BadPreface(f"version 1: {error}") from error
    if address.version != int(words[1][3:]) or not all(0 <= port <= 65535 for port in ports):
        raise BadPreface("version 1: address or port")
    return end + 2, _text(address)


def _read_v2(data: bytes) -> tuple[int, str] | None:
    if len(data) < _V2_HEAD.size:
        return None
    _, version_command, family, length = _V2_HEAD.unpack_from(data)
    if version_command not in (0x20, 0x21):
        raise BadPreface("version 2: version or command")
    size = _V2_HEAD.size + length
    if size > PREFACE_BYTES_MAX:
        raise BadPreface("version 2: too long")
    if len(data) < size:
        return None
    body = data[_V2_HEAD.size : size]
    if version_command == 0x20:
        return size, ""  # LOCAL: the proxy's own health check
    if family == 0x11:
        if length < 12:
            raise BadPreface("version 2: no room for the addresses")
        return size, _text(IPv4Address(body[:4]))
    if family == 0x21:
        if length < 36:
            raise BadPreface("version 2: no room for the addresses")
        return size, _text(IPv6Address(body[:16]))
    return size, ""  # UNSPEC, UDP or a Unix socket: the receiver ignores what it cannot use


def _text(address: IPv4Address | IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address).partition("%")[0]  # a zone means something on its own machine only


def _hops(text: str) -> Iterator[str]:
    """The elements of a list, from the right. A comma within a quoted string parts nothing: a proxy may pass on there
    what the client wrote (`host="a,for=1.2.3.4"`). What is left of a quote without its fellow is not read."""
    held = ""
    for piece in reversed(text.rsplit(",", _CHAIN_MAX)[-_CHAIN_MAX:]):
        held = f"{piece},{held}" if held else piece
        if _QUOTE.findall(held).count('"') % 2 == 0:
            yield held
            held = ""


def _forwarded_for(element: str) -> str:
    """The `for=` of one element of a Forwarded header (RFC 7239)."""
    return next((value.strip().strip('"') for name, value in _PAIR.findall(element) if name.lower() == "for"), "")


def _node(text: str) -> str:
    """The address of a hop, without port and brackets; empty if it is none."""
    text = text.strip()
    if plain_ipv4(text):
        return text
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return _text(ip_address(text))
    except ValueError:
        return ""
