"""Whose address counts: chains of named proxies, the one header that is believed, PROXY prefaces of both versions."""

import socket
import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support.parsed import Recorder, Wire
from waypost.doors.proxies import PREFACE_BYTES_MAX, BadPreface, Proxies, plain_address, plain_ipv4, read_preface
from waypost.errors import WaypostError

V2 = b"\r\n\r\n\x00\r\nQUIT\n"
NAMED = ("10.0.0.0/8", "2001:db8::/32")


def v2(address: str, *, command: int = 0x21, extra: bytes = b"") -> bytes:
    """A version 2 preface for a TCP connection."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    body = packed + packed + struct.pack("!HH", 1234, 443) + extra
    return V2 + struct.pack("!BBH", command, 0x21 if ":" in address else 0x11, len(body)) + body


@pytest.mark.parametrize(
    ("header", "value", "origin"),
    [
        ("X-Forwarded-For", "203.0.113.9", "203.0.113.9"),
        ("X-Forwarded-For", "1.1.1.1, 203.0.113.9", "203.0.113.9"),
        ("X-Forwarded-For", "1.1.1.1, 203.0.113.9, 10.1.1.1,10.2.2.2", "203.0.113.9"),
        ("X-Forwarded-For", "10.1.1.1, 10.2.2.2", "10.1.1.1"),
        ("X-Forwarded-For", "203.0.113.9:4711, 10.2.2.2", "203.0.113.9"),
        ("X-Forwarded-For", "[2001:dead::1]:4711, 2001:db8::7", "2001:dead::1"),
        ("X-Forwarded-For", "::ffff:203.0.113.9", "203.0.113.9"),
        ("X-Forwarded-For", "fe80::1%eth0", "fe80::1"),
        ("X-Forwarded-For", "1.1.1.1, unknown", "10.0.0.1"),
        ("X-Forwarded-For", "1.1.1.1, unknown, 10.2.2.2", "10.2.2.2"),
        ("X-Forwarded-For", "", "10.0.0.1"),
        ("X-Forwarded-For", "for=203.0.113.9", "10.0.0.1"),
        ("Forwarded", "for=203.0.113.9", "203.0.113.9"),
        ("Forwarded", 'for=1.1.1.1, For="[2001:dead::1]:80";proto=https;by=10.0.0.3', "2001:dead::1"),
        ("Forwarded", "for=203.0.113.9;proto=http, for=10.3.3.3", "203.0.113.9"),
        ("Forwarded", "for=1.1.1.1, for=_hidden, for=10.3.3.3", "10.3.3.3"),
        ("Forwarded", "proto=https", "10.0.0.1"),
        ("Forwarded", 'for=203.0.113.9;host="evil,for=1.1.1.1"', "203.0.113.9"),
        ("Forwarded", 'host="evil;for=1.1.1.1";for=203.0.113.9', "203.0.113.9"),
        ("Forwarded", r'host="a\",for=1.1.1.1"; for="203.0.113.9:80"', "203.0.113.9"),
        ("Forwarded", 'for="1.1.1.1, for=203.0.113.9', "203.0.113.9"),  # the client's own quote reaches no further
        ("Forwarded", 'for=1.1.1.1", for=10.3.3.3', "10.3.3.3"),
        ("Forwarded", "203.0.113.9", "10.0.0.1"),
    ],
)
def test_the_rightmost_address_that_is_no_named_proxy_counts(header: str, value: str, origin: str) -> None:
    assert Proxies(NAMED, header).origin("10.0.0.1", value.encode()) == origin


@given(st.binary(max_size=300))
def test_no_header_breaks_the_reading(value: bytes) -> None:
    for header in ("X-Forwarded-For", "Forwarded"):
        assert Proxies(NAMED, header).origin("10.0.0.1", value)


@given(st.lists(st.ip_addresses().map(str), min_size=1, max_size=6))
def test_a_forged_beginning_of_the_chain_changes_nothing(chain: list[str]) -> None:
    proxies = Proxies(("198.51.100.0/24",), "X-Forwarded-For")
    value = ", ".join([*chain, "203.0.113.9", "198.51.100.7"]).encode()
    assert proxies.origin("198.51.100.1", value) == "203.0.113.9"


def test_only_named_proxies_are_trusted() -> None:
    proxies = Proxies(NAMED, "Forwarded")
    assert proxies.trusts("10.255.0.1")
    assert proxies.trusts("2001:db8::1%eth0")
    assert not proxies.trusts("11.0.0.1")
    assert not proxies.trusts("2001:dead::1")
    assert not proxies.trusts("")
    assert not Proxies((), "Forwarded").trusts("10.0.0.1")
    for nth in range(10_000):
        proxies.trusts(f"192.0.{nth >> 8}.{nth & 255}")
    assert len(proxies._named) <= 4096


@pytest.mark.parametrize(("networks", "header"), [(("10.0.0.0/33",), "Forwarded"), ((), "X-Real-IP")])
def test_wrong_settings_are_said(networks: tuple[str, ...], header: str) -> None:
    with pytest.raises(WaypostError) as refused:
        Proxies(networks, header)
    assert refused.value.code == "bad_settings"


@pytest.mark.parametrize(
    ("peer", "head", "address"),
    [
        ("10.0.0.1", b"X-Forwarded-For: 203.0.113.9\r\n", "203.0.113.9"),
        ("::ffff:10.0.0.1", b"X-Forwarded-For: 203.0.113.9\r\n", "203.0.113.9"),
        ("10.0.0.1", b"x-forwarded-for: 1.1.1.1\r\nX-FORWARDED-FOR: 203.0.113.9\r\n", "203.0.113.9"),
        ("10.0.0.1", b"Forwarded: for=203.0.113.9\r\n", "10.0.0.1"),
        ("10.0.0.1", b"", "10.0.0.1"),
        ("192.0.2.7", b"X-Forwarded-For: 203.0.113.9\r\n", "192.0.2.7"),
        ("::ffff:192.0.2.7", b"X-Forwarded-For: 203.0.113.9\r\n", "192.0.2.7"),
    ],
)
def test_a_request_has_the_address_that_its_proxy_tells(peer: str, head: bytes, address: str) -> None:
    door = Recorder(proxies=NAMED)
    connection, _ = door.connect(Wire((peer, 4000)))
    for _ in range(2):  # by the parser, and past it
        connection.data_received(b"GET /a HTTP/1.1\r\nHost: d\r\n" + head + b"\r\n")
        door.turn()
    connection.data_received(b"GET /a HTTP/1.1\r\nHost: d\r\n\r\n")
    door.turn()
    assert [request[-1] for request in door.requests] == [address, address, plain_address(peer)]


@pytest.mark.parametrize(
    ("data", "address"),
    [
        (b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n", "203.0.113.9"),
        (b"PROXY TCP6 2001:dead::1 2001:db8::1 4711 443\r\n", "2001:dead::1"),
        (b"PROXY TCP6 ::ffff:203.0.113.9 ::1 4711 443\r\n", "203.0.113.9"),
        (b"PROXY UNKNOWN\r\n", ""),
        (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", ""),
        (v2("203.0.113.9"), "203.0.113.9"),
        (v2("2001:dead::1"), "2001:dead::1"),
        (v2("::ffff:203.0.113.9"), "203.0.113.9"),
        (v2("203.0.113.9", extra=b"\x04\x00\x03abc"), "203.0.113.9"),
        (v2("203.0.113.9", command=0x20), ""),
        (V2 + b"\x20\x00\x00\x00", ""),
        (V2 + b"\x21\x00\x00\x00", ""),
        (V2 + b"\x21\x31\x00\xd8" + b"/" * 216, ""),
    ],
)
def test_a_preface_is_read_whole_and_no_further(data: bytes, address: str) -> None:
    assert read_preface(data + b"GET / HTTP/1.1\r\nHost: d\r\n\r\n") == (len(data), address)
    for cut in range(1, len(data)):
        assert read_preface(data[:cut]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: d\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.1 4711\r\n",
        b"PROXY TCP4 2001:dead::1 2001:db8::1 4711 443\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443000\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.1 -1 443\r\n",
        b"PROXY TCP5 203.0.113.9 198.51.100.1 1 443\r\n",
        b"PROXY TCP4 a b c d\r\n",
        b"PROXY " + b"x" * 200,
        V2 + b"\x11\x11\x00\x0c" + b"x" * 12,
        V2 + b"\x22\x11\x00\x0c" + b"x" * 12,
        V2 + b"\x21\x11\x00\x0b" + b"x" * 11,
        V2 + b"\x21\x21\x00\x0c" + b"x" * 12,
        V2 + b"\x21\x11\xff\xff",
    ],
)
def test_what_is_no_preface_is_refused(data: bytes) -> None:
    with pytest.raises(BadPreface):
        read_preface(data)


@given(
    st.one_of(
        st.binary(max_size=80),
        st.binary(max_size=80).map(lambda tail: V2 + tail),
        st.binary(max_size=110).map(lambda tail: b"PROXY " + tail),
        st.tuples(st.binary(min_size=2, max_size=2), st.integers(0, 65535), st.binary(max_size=300)).map(
            lambda parts: V2 + parts[0] + struct.pack("!H", parts[1]) + parts[2]
        ),
        st.tuples(st.sampled_from([b"TCP4", b"TCP6"]), st.text(max_size=30)).map(
            lambda parts: b"PROXY %b %b 1.1.1.1 1 2\r\n" % (parts[0], parts[1].encode())
        ),
    ),
    st.binary(max_size=20),
)
def test_any_bytes_are_a_preface_a_part_of_one_or_refused(data: bytes, behind: bytes) -> None:
    try:
        found = read_preface(data)
    except BadPreface:
        with pytest.raises(BadPreface):  # what follows makes nothing good
            read_preface(data + behind)
        return
    if found is None:
        assert len(data) < PREFACE_BYTES_MAX
    else:
        assert 0 < found[0] <= len(data)
        assert read_preface(data + behind) == found
        assert read_preface(data[: found[0]]) == found


addresses = st.one_of(
    st.ip_addresses().map(str),
    st.lists(
        st.integers(0, 300).map(str) | st.sampled_from(["", "00", "01", "+1", " 1", "1\n", "\u0661"]), max_size=5
    ).map(".".join),
    st.text(max_size=8),
)


@given(addresses)
@example("1.2.3.4\0")
@example("1.2.3.4\n")
@example("1.2.3")
@example("0x1.2.3.4")
def test_the_plain_form_is_what_the_library_writes(text: str) -> None:
    four = plain_ipv4(text)
    try:
        found = IPv4Address(text)
    except ValueError:
        assert four == b""
    else:
        assert four == found.packed and str(found) == text
