"""PROXY prefaces and IPv6 on real sockets: whose address reaches the journal, and what a bad beginning costs."""

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.certificates import Authority
from support.doors import Client, RunningDoor, door_settings, running_door
from support.installation import until
from waypost.doors.refusal_search import Wanted, search_refusals
from waypost.model.frames import PostbackIn

CALL = b"GET /postback?token=s3cret HTTP/1.1\r\nHost: d\r\n\r\n"
V1 = b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n"
V2 = (
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x27"
    + socket.inet_pton(socket.AF_INET6, "2001:dead::1") * 2
    + struct.pack("!HH", 1, 2)
    + b"\x04\x00\x00"
)
HERE = ("127.0.0.0/8", "::1/128")


def _last_ip(door: RunningDoor) -> str:
    frame = door.journal.frames[-1]
    assert isinstance(frame, PostbackIn)
    return frame.ip


@pytest.fixture(scope="module")
def behind_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDoor]:
    settings = door_settings(proxies=HERE, proxy_protocol=("http",), request_timeout_ms=300)
    with running_door(tmp_path_factory.mktemp("door"), settings=settings) as running:
        yield running


@pytest.mark.parametrize(
    ("preface", "ip"),
    [(V1, "203.0.113.9"), (V2, "2001:dead::1"), (b"PROXY UNKNOWN\r\n", "127.0.0.1")],
)
def test_the_preface_tells_whose_connection_it_is(behind_proxy: RunningDoor, preface: bytes, ip: str) -> None:
    client = Client(behind_proxy.address)
    client.send(preface + CALL * 2)
    assert [client.read().status, client.read().status] == [200, 200]
    assert _last_ip(behind_proxy) == ip
    client.send(CALL)
    assert client.read().status == 200
    client.close()


def test_a_preface_may_come_byte_by_byte(behind_proxy: RunningDoor) -> None:
    for preface, ip in ((V1, "203.0.113.9"), (V2, "2001:dead::1")):
        client = Client(behind_proxy.address)
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in preface + CALL:
            client.send(bytes([byte]))
        assert client.read().status == 200
        assert _last_ip(behind_proxy) == ip
        client.close()


def test_a_header_behind_the_preface_is_believed_only_of_a_named_proxy(behind_proxy: RunningDoor) -> None:
    told = CALL[:-2] + b"X-Forwarded-For: 192.0.2.77\r\n\r\n"
    for preface, ip in ((V1, "203.0.113.9"), (b"PROXY TCP4 127.9.9.9 127.0.0.1 1 2\r\n", "192.0.2.77")):
        assert behind_proxy.ask(preface + told).status == 200
        assert _last_ip(behind_proxy) == ip


@pytest.mark.parametrize("data", [CALL, b"PROXY TCP4 no\r\n" + CALL, V1[:20], b""])
def test_a_connection_without_a_sound_preface_is_closed(behind_proxy: RunningDoor, data: bytes) -> None:
    before = behind_proxy.stats.values["door_not_ready"]
    with socket.create_connection(behind_proxy.address, timeout=10) as plain:
        plain.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            assert plain.recv(100) == b""
    assert behind_proxy.stats.values["door_not_ready"] == before + 1
    assert behind_proxy.ask(V1 + CALL).status == 200


def test_others_speak_for_themselves(tmp_path: Path) -> None:
    settings = door_settings(proxies=("192.0.2.0/24",), proxy_protocol=("http",))
    with running_door(tmp_path, settings=settings) as door:
        assert door.ask(CALL[:-2] + b"X-Forwarded-For: 203.0.113.9\r\n\r\n").status == 200
        assert _last_ip(door) == "127.0.0.1"
        assert door.ask(V1 + CALL).status == 400  # no proxy of ours: its preface is no request
    assert [entry.address for entry in search_refusals(tmp_path, Wanted())] == ["127.0.0.1"]


def test_refusals_and_limits_go_by_the_address_that_was_told(tmp_path: Path) -> None:
    settings = door_settings(proxies=HERE, address_refused_per_s=1, address_refused_burst=1)
    with running_door(tmp_path, settings=settings) as door:
        asked = [door.get("/nothing", f"X-Forwarded-For: 203.0.113.{nth}").status for nth in (1, 1, 2)]
        assert asked == [404, 429, 404]
    found = search_refusals(tmp_path, Wanted(code="unknown_path"))
    assert [entry.address for entry in found] == ["203.0.113.2", "203.0.113.1"]


def test_a_preface_before_a_handshake(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    folder = tmp_path / "tls"
    authority.issue(folder / "a.crt", folder / "a.key", "one.example")
    settings = door_settings(proxies=HERE, proxy_protocol=("tls",))
    with running_door(tmp_path, settings=settings, tls_folder=folder) as door:
        plain = socket.create_connection(door.address, timeout=10)
        plain.sendall(V2)
        context = ssl.create_default_context(cafile=str(authority.file))
        with context.wrap_socket(plain, server_hostname="one.example") as client:
            client.sendall(CALL)
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
        assert _last_ip(door) == "2001:dead::1"


def test_an_address_of_ipv6_is_listened_on(tmp_path: Path) -> None:
    with running_door(tmp_path, host="[::1]") as door:
        assert door.get("/postback?token=s3cret").status == 200
        assert _last_ip(door) == "::1"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", door.address[1]), timeout=10)


def test_all_addresses_of_both_families(tmp_path: Path) -> None:
    with running_door(tmp_path, host="::") as door:
        for host in ("::1", "127.0.0.1"):
            client = Client((host, door.address[1]))
            client.send(CALL)
            assert client.read().status == 200
            assert _last_ip(door) == host  # an IPv4 address is written as one
            client.close()


def test_a_drain_lets_those_on_their_way_in(tmp_path: Path) -> None:
    with running_door(tmp_path, settings=door_settings(proxies=HERE, proxy_protocol=("http",))) as door:
        client = Client(door.address)
        client.send(V1[:10])
        while not any(acceptor.under_way for acceptor in door.door._acceptors):
            pass
        door.door.stop()
        client.send(V1[10:] + CALL)
        answer = client.read()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert client.is_closed()
        client.close()


def test_one_address_has_so_many_handshakes_under_way_and_keeps_nobody_else_out(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    folder = tmp_path / "tls"
    folder.mkdir()
    authority.issue(folder / "a.crt", folder / "a.key", "localhost")
    with running_door(tmp_path, settings=door_settings(address_handshakes_max=3), tls_folder=folder) as door:
        context = ssl.create_default_context(cafile=str(authority.file))
        silent = [socket.create_connection(door.address, timeout=10) for _ in range(3)]
        until(lambda: door.door._acceptors, "the listener")
        (acceptor,) = door.door._acceptors
        until(lambda: acceptor.under_way == 3, "three handshakes under way")
        beyond = socket.create_connection(door.address, timeout=10)
        assert beyond.recv(1) == b"", "closed without a word"
        other = socket.create_connection(door.address, timeout=10, source_address=("127.0.0.2", 0))
        with context.wrap_socket(other, server_hostname="localhost") as client:
            client.sendall(CALL)
            assert client.recv(12) == b"HTTP/1.1 200"
        silent.pop().close()
        until(lambda: acceptor.under_way == 2, "one of them gone")
        again = socket.create_connection(door.address, timeout=10)
        with context.wrap_socket(again, server_hostname="localhost") as client:
            client.sendall(CALL)
            assert client.recv(12) == b"HTTP/1.1 200"
        for one in (*silent, beyond):
            one.close()
    assert door.stats.values["door_not_ready"] >= 1 and not acceptor._of_addresses
