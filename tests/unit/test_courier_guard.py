"""The address guard, over every range it forbids."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from waypost.courier.guard import FORBIDDEN, AddressGuard, parse_ranges
from waypost.errors import WaypostError

# Written out apart from the code: what must be forbidden, and an address just outside where one is public.
RANGES = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "::/128",
    "::1/128",
    "ff00::/8",
    "fe80::/10",
    "fc00::/7",
    "2001:db8::/32",
    "3fff::/20",
    "100::/64",
    "2002::/16",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "5f00::/16",
    "::ffff:0:0/96",
    "fec0::/10",
    "2001::/32",
    "2001::/23",
    "100:0:0:1::/64",
    "::ffff:0:0:0/96",
    "4000::/3",
    "e000::/4",
]
PUBLIC = [
    "1.0.0.0",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.88.98.255",
    "192.88.100.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "198.51.101.0",
    "203.0.112.255",
    "203.0.114.0",
    "223.255.255.255",
    "8.8.8.8",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "2001:4860:4860::8888",
    "2400::1",
]


@pytest.mark.parametrize("text", RANGES)
def test_first_and_last_address_of_each_range_is_forbidden(text: str) -> None:
    guard = AddressGuard([], [80, 443])
    network = ip_network(text)
    for address in (network[0], network[-1], network[network.num_addresses // 2]):
        assert guard.judge(str(address), 80) == "address_forbidden", address
        assert str(address) in guard.judge(str(address), 80).why


@pytest.mark.parametrize("text", RANGES)
def test_its_neighbours_are_judged_by_their_own_range(text: str) -> None:
    """What is next to a forbidden range is allowed, unless it is in another, or where IPv6 has no public addresses."""
    guard = AddressGuard([], [80, 443])
    network = ip_network(text)
    highest = 2**network.max_prefixlen - 1
    numbers = {int(network[0]) - 1, int(network[-1]) + 1}
    for number in sorted(number for number in numbers if 0 <= number <= highest):
        address = (IPv4Address if network.version == 4 else IPv6Address)(number)
        is_public = address.version == 4 or address in ip_network("2000::/3")
        is_listed = any(address in ip_network(one) for one in RANGES)
        expected = "address_forbidden" if is_listed or not is_public else ""
        assert guard.judge(str(address), 443) == expected, address


@pytest.mark.parametrize("text", [one for one in RANGES if ":" not in one])
@pytest.mark.parametrize("form", ["::ffff:{}", "64:ff9b::{}", "64:ff9b:1::{}", "::{}", "2002:{hex}::1"])
def test_no_form_of_ipv6_leads_to_a_forbidden_ipv4_address(text: str, form: str) -> None:
    """Also where the operator allows the form, as one does whose network translates."""
    allowing = AddressGuard(["64:ff9b::/96", "64:ff9b:1::/48", "2002::/16"], [80])
    for inner in (ip_network(text)[0], ip_network(text)[-1]):
        high, low = divmod(int(inner), 65_536)
        address = form.format(inner, hex=f"{high:x}:{low:x}")
        for guard in (AddressGuard([], [80]), allowing):
            assert guard.judge(address, 80) == "address_forbidden", address


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_allowed(text: str) -> None:
    assert AddressGuard([], [80, 443]).judge(text, 443) == ""


def test_the_table_holds_every_range() -> None:
    for text in RANGES:
        network = ip_network(text)
        assert any(network.version == held.version and network.subnet_of(held) for held, _ in FORBIDDEN), text  # type: ignore[arg-type]


def test_ports() -> None:
    lane = AddressGuard([], [80, 443])
    assert lane.judge("8.8.8.8", 9443, (9443, 9444)) == "" and lane.judge("8.8.8.8", 80, (9443,)) == ""
    assert lane.judge("8.8.8.8", 9443) == "port_forbidden" and lane.judge("10.0.0.1", 9443, (9443,)) != ""
    guard = AddressGuard(["127.0.0.0/8"], [80, 443])
    assert guard.judge("8.8.8.8", 22) == "port_forbidden"
    assert guard.judge("8.8.8.8", 443) == ""
    assert guard.judge("127.0.0.1", 9001) == ""
    assert guard.judge("10.0.0.1", 22) == "address_forbidden"


@pytest.mark.parametrize(
    ("allow", "address", "verdict"),
    [
        ("127.0.0.0/8", "127.9.9.9", ""),
        ("127.0.0.0/8", "::1", "address_forbidden"),
        ("127.0.0.0/8", "::ffff:127.0.0.1", ""),  # the same address under another name
        ("127.0.0.1", "127.0.0.2", "address_forbidden"),
        ("::1", "::1", ""),
        ("::1", "127.0.0.1", "address_forbidden"),
        ("10.1.0.0/16", "10.2.0.1", "address_forbidden"),
        ("64:ff9b::/96", "64:ff9b::808:808", ""),  # leads to 8.8.8.8
        ("64:ff9b::/96", "64:ff9b::7f00:1", "address_forbidden"),  # leads to 127.0.0.1
        ("64:ff9b:1::/48", "64:ff9b:1::a9fe:a9fe", "address_forbidden"),  # leads to 169.254.169.254
        ("2002::/16", "2002:0808:0808::1", ""),
        ("2002::/16", "2002:7f00:0001::1", "address_forbidden"),
        ("fe80::/10", "fe80::1%eth0", ""),
        ("127.0.0.0/8", "64:ff9b::7f00:1", "address_forbidden"),
        ("127.0.0.0/8", "no address", "address_forbidden"),
    ],
)
def test_allowed_ranges(allow: str, address: str, verdict: str) -> None:
    assert AddressGuard([allow], []).judge(address, 80) == verdict


def test_what_was_judged_is_remembered_within_a_bound() -> None:
    guard = AddressGuard([], [80])
    for number in range(25_000):
        guard.judge(str(ip_address(0x08000000 + number)), 80)
    assert len(guard._judged) <= 20_000


@pytest.mark.parametrize("text", ["", "localhost", "127.0.0.0/99", "1.2.3"])
def test_a_range_that_is_none(text: str) -> None:
    with pytest.raises(WaypostError, match="bad_address_range"):
        parse_ranges([text])
