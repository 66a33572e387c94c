"""Lists of networks: v4, v6, CIDR, and addresses in other clothes."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.stages.addresses import KNOWN_MAX, AllowList, parse_address

LIST = AllowList(["203.0.113.7/32", "198.51.100.0/24", "198.51.100.128/25", "2001:db8::/32", "::1/128"])


@pytest.mark.parametrize(
    ("address", "permitted"),
    [
        ("203.0.113.7", True),
        ("203.0.113.8", False),
        ("198.51.100.0", True),
        ("198.51.100.255", True),
        ("198.51.101.0", False),
        ("198.51.99.255", False),
        ("::ffff:203.0.113.7", True),  # an IPv4 peer on a socket that takes both
        ("::ffff:203.0.113.8", False),
        ("2001:db8:ffff::1", True),
        ("2001:db9::", False),
        ("fe80::1%eth0", False),
        ("::1%lo", True),
        ("::1", True),
        ("", False),
        ("acme.example", False),
        ("203.0.113.07", False),
    ],
)
def test_an_address_is_looked_up(address: str, permitted: bool) -> None:
    assert LIST.permits(address) is permitted
    assert LIST.permits(address) is permitted  # as it is remembered


NETWORKS = st.one_of(
    st.ip_addresses(v=4).flatmap(lambda a: st.integers(0, 32).map(lambda n: str(ip_network(f"{a}/{n}", strict=False)))),
    st.ip_addresses(v=6).flatmap(
        lambda a: st.integers(0, 128).map(lambda n: str(ip_network(f"{a}/{n}", strict=False)))
    ),
)


@given(st.lists(NETWORKS, max_size=8), st.ip_addresses())
def test_a_list_permits_what_one_of_its_networks_has(networks: list[str], address: object) -> None:
    plain = parse_address(str(address))
    assert plain is not None
    expected = any(plain in ip_network(text) for text in networks)
    assert AllowList(networks).permits(str(address)) is expected


def test_what_is_remembered_is_bounded() -> None:
    some = AllowList(["10.0.0.0/8"])
    for number in range(KNOWN_MAX + 10):
        some.permits(str(ip_address((10 << 24) + number)))
    assert len(some._known) <= KNOWN_MAX
