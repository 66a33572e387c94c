"""How a lane's requests leave: proxy, source address, ports, TLS, first byte; and what lanes never share."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.certificates import Authority
from support.http2 import Http2Server
from support.name_server import NameServer
from support.partners import CLOSING, OK, get, send, serving
from support.proxy_server import ProxyServer, proxying
from waypost.courier.curl import CurlSender
from waypost.courier.guard import AddressGuard
from waypost.courier.slot import proxy_of
from waypost.errors import WaypostError
from waypost.ports.sender import Egress
from waypost.settings import CourierSettings, load_settings


@pytest.fixture
def server() -> Iterator[NameServer]:
    server = NameServer({"p.example": ["127.0.0.1"], "proxy.example": ["127.0.0.1"]})
    yield server
    server.close()


@pytest.fixture
def settings(server: NameServer) -> CourierSettings:
    return msgspec.structs.replace(load_settings(None, {}).courier, dns_servers=(server.address,))


@pytest.fixture(params=[True, False], ids=["epoll", "select"])
def sender(request: pytest.FixtureRequest, settings: CourierSettings) -> Iterator[CurlSender]:
    sender = CurlSender(settings, AddressGuard(["127.0.0.0/8"], []), use_epoll=request.param)
    yield sender
    sender.close()


def by(proxy: ProxyServer, user: str = "", host: str = "proxy.example") -> Egress:
    return Egress(proxy=f"http://{user}{host}:{proxy.port}")


# --- proxies -----------------------------------------------------------------------------------------


def test_a_proxy_is_told_the_address_and_makes_a_tunnel(sender: CurlSender) -> None:
    with serving(lambda nth, data: OK) as partner, proxying(credentials="me:p@ss/word") as proxy:
        url = f"http://p.example:{partner.port}/pb?n=1"
        for token in (1, 2):
            (report,) = send(sender, get(0, token=token, url=url, egress=by(proxy, "me:p%40ss%2Fword@")))
            assert (report.code, report.status, report.body) == ("", 200, b"OK")
            assert report.reused is (token == 2)
        assert len(proxy.heads) == 1
        assert proxy.heads[0].startswith(f"CONNECT 127.0.0.1:{partner.port} HTTP/1.1\r\n".encode())
        assert b"Waypost-Id" not in proxy.heads[0] and b"p.example" not in proxy.heads[0].split(b"\r\n")[0]
        assert partner.requests[0].startswith(b"GET /pb?n=1 HTTP/1.1\r\nHost: p.example")
        assert b"Proxy-" not in partner.requests[0]


def test_lanes_with_another_proxy_or_none_share_no_connection(sender: CurlSender) -> None:
    with serving(lambda nth, data: OK) as partner, proxying() as one, proxying() as two:
        url = f"http://p.example:{partner.port}/"
        ways = [None, by(one), by(two), by(one, "me:secret@")]
        for token, egress in enumerate(ways):
            assert send(sender, get(0, token=token, url=url, egress=egress))[0].reused is False
        for token, egress in enumerate(ways):
            assert send(sender, get(0, token=token, url=url, egress=egress))[0].reused is True
        assert (len(one.heads), len(two.heads), partner.connections) == (2, 1, 4)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 502 No\r\n\r\n", b"nonsense\r\n\r\n"]
)
def test_a_proxy_that_refuses_is_no_answer_of_the_partner(sender: CurlSender, answer: bytes) -> None:
    with serving(lambda nth, data: OK) as partner, proxying(answer, credentials="some:body") as proxy:
        url = f"http://p.example:{partner.port}/"
        (report,) = send(sender, get(0, url=url, egress=by(proxy, "me:s3cret-word@")))
        assert (report.code, report.sent) == ("proxy_failed", False)
        assert "s3cret-word" not in repr(report) and "no secret" not in repr(report)
        assert partner.connections == 0


def test_a_proxy_is_told_another_address_after_a_failure(sender: CurlSender, server: NameServer) -> None:
    with serving(lambda nth, data: OK) as partner, proxying() as proxy:
        server.table["two.example"] = ["127.0.0.3", "127.0.0.1"]  # nothing listens at one of them
        url = f"http://two.example:{partner.port}/"
        reports = [send(sender, get(0, token=token, url=url, egress=by(proxy)))[0] for token in range(4)]
        assert [one.code for one in reports if one.code] in ([], ["proxy_failed"])
        assert [one.status for one in reports[1:]] == [200] * 3
        told = [head.split(b" ")[1].split(b":")[0] for head in proxy.heads]
        assert told in ([b"127.0.0.3", b"127.0.0.1"], [b"127.0.0.1"])


@pytest.mark.parametrize("http2", [False, True])
def test_tls_through_a_proxy_is_the_partners(
    folder: Path, settings: CourierSettings, server: NameServer, http2: bool
) -> None:
    """To the proxy over TLS as well: both certificates are verified, each for its own name."""
    settings = msgspec.structs.replace(settings, authorities_file=str(folder / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "proxy.pem", folder / "proxy.key")
    server.table["other.example"] = ["127.0.0.1"]
    partner = Http2Server(folder / "named.pem", folder / "named.key", lambda one, stream, nth: one.answer(stream))
    sender = CurlSender(settings, AddressGuard(["127.0.0.0/8"], []))
    try:
        with proxying(context=context) as proxy:
            egress = Egress(http2=http2, proxy=f"https://proxy.example:{proxy.port}")
            (report,) = send(sender, get(0, url=f"https://p.example:{partner.port}/", egress=egress))
            assert (report.code, report.status) == ("", 200)
            assert partner.spoken == ["h2" if http2 else "http/1.1"]
            assert proxy.heads[0].startswith(f"CONNECT 127.0.0.1:{partner.port} ".encode())
            (report,) = send(sender, get(0, url=f"https://other.example:{partner.port}/", egress=egress))
            assert (report.code, report.sent) == ("tls_wrong_name", False)
            forged = Egress(http2=http2, proxy=f"https://other.example:{proxy.port}")
            (report,) = send(sender, get(0, url=f"https://p.example:{partner.port}/", egress=forged))
            assert (report.code, report.sent) == ("tls_wrong_name", False)
            assert len(partner.requests) == 1
    finally:
        sender.close()
        partner.close()


def test_a_proxy_that_is_not_there(sender: CurlSender) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        egress = Egress(proxy=f"http://me:s3cret-word@127.0.0.1:{unused.getsockname()[1]}")
        (report,) = send(sender, get(80, host="p.example", egress=egress))
    assert (report.code, report.sent) == ("proxy_failed", False) and "s3cret" not in report.detail
    (report,) = send(sender, get(80, host="p.example", egress=Egress(proxy="http://nowhere.example:3128")))
    assert (report.code, report.sent) == ("proxy_failed", False)
    (report,) = send(sender, get(80, host="p.example", egress=Egress(proxy="socks5://me:s3cret@127.0.0.1")))
    assert (report.code, report.sent) == ("proxy_failed", False) and "s3cret" not in report.detail


def test_target_and_proxy_are_both_judged(settings: CourierSettings, server: NameServer) -> None:
    server.table["inner.example"] = ["127.0.0.5"]
    server.table["pub.example"] = ["93.184.216.34"]
    sender = CurlSender(settings, AddressGuard(["127.0.0.1"], [80]))
    try:
        with proxying() as proxy:
            cases = {
                "http://inner.example/": "address_forbidden",
                "http://10.0.0.1/": "address_forbidden",
                "http://0x7f000005/": "address_forbidden",
                "http://pub.example:22/": "port_forbidden",
                "http://gone.example/": "dns_failed",
            }
            for url, code in cases.items():
                (report,) = send(sender, get(0, url=url, egress=by(proxy)))
                assert (report.code, report.sent) == (code, False), url
            far = Egress(proxy=f"http://127.0.0.9:{proxy.port}")
            (report,) = send(sender, get(0, url="http://pub.example/", egress=far))
            assert (report.code, report.sent) == ("address_forbidden", False)
            assert proxy.heads == []
    finally:
        sender.close()


@pytest.mark.parametrize(
    "text", ["", "proxy", "ftp://a", "http://", "http://a:99999", "http://a/path", "http://a?x=1", "http://[::1"]
)
def test_a_url_that_is_no_proxy(text: str) -> None:
    with pytest.raises(WaypostError, match="proxy_failed"):
        proxy_of(text)


def test_a_proxys_url_is_read() -> None:
    assert proxy_of("http://a.example")[:3] == ("http://a.example:80", "", "")
    assert proxy_of("https://u%20:p%3A@a.example/")[:3] == ("https://a.example:443", "u ", "p:")
    assert proxy_of("http://[::1]:3128").url == "http://[::1]:3128"


# --- source addresses --------------------------------------------------------------------------------


def test_requests_leave_from_their_lanes_address(sender: CurlSender) -> None:
    with serving(lambda nth, data: OK) as partner:
        url = f"http://p.example:{partner.port}/"
        ways = [Egress(source_address="127.0.0.7"), None, Egress(source_address="127.0.0.8")]
        for token, egress in enumerate(ways):
            (report,) = send(sender, get(0, token=token, url=url, egress=egress))
            assert (report.status, report.reused) == (200, False)
        assert partner.peers == ["127.0.0.7", "127.0.0.1", "127.0.0.8"]
        for token, egress in enumerate(ways):  # a kept connection is its lane's
            assert send(sender, get(0, token=token, url=url, egress=egress))[0].reused
        assert partner.connections == 3


@pytest.mark.parametrize("source", ["203.0.113.9", "::1"])
def test_an_address_that_is_not_ours_sends_nothing(sender: CurlSender, source: str) -> None:
    with serving(lambda nth, data: OK) as partner:
        url = f"http://p.example:{partner.port}/"
        (report,) = send(sender, get(0, url=url, egress=Egress(source_address=source)))
        assert (report.code, report.sent) == ("source_address_failed", False)
        assert source in report.detail
        assert partner.connections == 0


# --- ports -------------------------------------------------------------------------------------------


def test_a_lanes_ports_are_its_own(settings: CourierSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda nth, data: OK) as partner:
        guard = AddressGuard([], [80])
        monkeypatch.setattr("waypost.courier.guard.FORBIDDEN", ())  # loopback stands for a public address
        sender = CurlSender(settings, guard)
        try:
            url = f"http://p.example:{partner.port}/"
            assert send(sender, get(0, url=url))[0].code == "port_forbidden"
            (report,) = send(sender, get(0, url=url, ports=(81, partner.port)))
            assert report.status == 200
            (report,) = send(sender, get(0, url=url))  # the connection is there, but is not this lane's to use
            assert (report.code, report.sent) == ("port_forbidden", False)
            assert send(sender, get(0, url=url, ports=(81,)))[0].code == "port_forbidden"
            assert len(partner.requests) == 1
        finally:
            sender.close()


# --- the first byte ----------------------------------------------------------------------------------


def test_an_answer_that_does_not_begin_in_time(sender: CurlSender) -> None:
    gate = threading.Event()

    def answer(nth: int, data: bytes) -> bytes | None:
        if b"n=2" in data:
            gate.wait(10)
        return OK

    with serving(answer) as partner:
        assert send(sender, get(partner.port, first_byte_timeout_ms=2000))[0].status == 200
        (report,) = send(sender, get(partner.port, token=2, first_byte_timeout_ms=100, total_timeout_ms=9000))
        gate.set()
        assert (report.code, report.sent, report.status) == ("first_byte_timeout", True, 0)
        assert "100 ms" in report.detail
        (report,) = send(sender, get(partner.port, token=3, first_byte_timeout_ms=2000))
        assert (report.status, report.reused) == (200, False)
        assert len(partner.requests) == 3


def test_an_answer_that_began_may_take_its_time(sender: CurlSender) -> None:
    ended = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as opened:
            opened.recv(65_536)
            opened.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nO")
            ended.wait(0.4)
            opened.sendall(b"K")

    thread = threading.Thread(target=serve)
    thread.start()
    (report,) = send(sender, get(listener.getsockname()[1], first_byte_timeout_ms=150))
    thread.join()
    assert (report.code, report.body) == ("", b"OK")


def test_looks_at_first_bytes_are_as_many_as_handles(sender: CurlSender) -> None:
    with serving(lambda nth, data: OK) as partner:
        for start in range(0, 300, 10):
            requests = [get(partner.port, token=start + n, first_byte_timeout_ms=60_000) for n in range(10)]
            assert {one.status for one in send(sender, *requests)} == {200}
        assert len(sender._first_bytes) <= 10


# --- TLS ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    authority.issue(folder / "partner.pem", folder / "partner.key", "127.0.0.1")
    authority.issue(folder / "named.pem", folder / "named.key", "p.example")
    authority.issue(folder / "proxy.pem", folder / "proxy.key", "proxy.example")
    return folder


@contextlib.contextmanager
def over_tls(folder: Path, newest: ssl.TLSVersion) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = newest
    context.load_cert_chain(folder / "partner.pem", folder / "partner.key")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), plain, context.wrap_socket(plain, server_side=True) as opened:
                opened.recv(65_536)
                opened.sendall(CLOSING)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def test_a_lane_may_want_nothing_older_than_tls13(folder: Path, settings: CourierSettings) -> None:
    settings = msgspec.structs.replace(settings, authorities_file=str(folder / "authority.pem"))
    sender = CurlSender(settings, AddressGuard(["127.0.0.0/8"], []))
    new: Any = {"egress": Egress(tls13=True)}
    try:
        with over_tls(folder, ssl.TLSVersion.TLSv1_2) as port:
            url = f"https://127.0.0.1:{port}/"
            assert send(sender, get(0, url=url))[0].status == 200
            (report,) = send(sender, get(0, url=url, **new))
            assert (report.code, report.sent) == ("tls_version", False)
        with over_tls(folder, ssl.TLSVersion.TLSv1_3) as port:
            assert send(sender, get(0, url=f"https://127.0.0.1:{port}/", **new))[0].status == 200
    finally:
        sender.close()


# --- who we are, and how long connections are kept ---------------------------------------------------


def test_the_user_agent_says_whom_to_ask(settings: CourierSettings) -> None:
    settings = msgspec.structs.replace(settings, user_agent_comment="+https://ours.example/postbacks")
    sender = CurlSender(settings, AddressGuard(["127.0.0.0/8"], []))
    try:
        with serving(lambda nth, data: OK) as partner:
            send(sender, get(partner.port))
        head = partner.requests[0].decode()
        agent = next(line for line in head.split("\r\n") if line.startswith("User-Agent: "))
        assert agent.startswith("User-Agent: Waypost/") and agent.endswith(" (+https://ours.example/postbacks)")
    finally:
        sender.close()


@pytest.mark.parametrize("comment", ["a\r\nX: y", "(a)", "ä"])
def test_a_comment_that_would_break_the_header(comment: str) -> None:
    with pytest.raises(WaypostError, match="bad_settings"):
        load_settings(None, {"WAYPOST_COURIER_USER_AGENT_COMMENT": comment})


@pytest.mark.parametrize("server", ["[]", "ns.example", "127.0.0.1:0", "127.0.0.1:x", "1.2.3"])
def test_a_name_server_is_an_address(server: str) -> None:
    with pytest.raises(WaypostError, match="bad_settings"):
        load_settings(None, {"WAYPOST_COURIER_DNS_SERVERS": f'["{server}"]'})
    for fine in ("127.0.0.1", "127.0.0.1:53", "::1", "[::1]:5353"):
        load_settings(None, {"WAYPOST_COURIER_DNS_SERVERS": f'["{fine}"]'})


@pytest.mark.parametrize("bound", ["connection_lifetime_max_ms", "connection_idle_max_ms"])
def test_connections_end_with_age(settings: CourierSettings, bound: str) -> None:
    aged = msgspec.structs.replace(settings, **{bound: 1000})  # type: ignore[arg-type]
    sender = CurlSender(aged, AddressGuard(["127.0.0.0/8"], []))
    late = threading.Event()
    try:
        with serving(lambda nth, data: OK) as partner:
            assert send(sender, get(partner.port))[0].status == 200
            assert send(sender, get(partner.port, token=2))[0].reused
            late.wait(1.3)
            assert not send(sender, get(partner.port, token=3))[0].reused
            assert partner.connections == 2
    finally:
        sender.close()


def test_pools_that_nobody_uses_go(settings: CourierSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets of proxies change; what was kept for the old ones must not stay for ever."""
    monkeypatch.setattr("waypost.courier.curl._POOLS_MAX", 5)
    sender = CurlSender(settings, AddressGuard(["127.0.0.0/8"], []))
    try:
        with serving(lambda nth, data: CLOSING) as partner, proxying() as proxy:
            for token in range(20):
                egress = by(proxy, f"me:secret-{token}@")
                (report,) = send(sender, get(0, token=token, url=f"http://p.example:{partner.port}/", egress=egress))
                assert report.status == 200
        assert len(sender._pools) <= 5 and len(sender._slots) <= 6
    finally:
        sender.close()
