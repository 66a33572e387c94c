"""Never a silent resend: what makes libcurl send again is done to it on real sockets, and requests are counted."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from support.certificates import Authority
from support.http2 import HTTP_1_1_REQUIRED, REFUSED_STREAM, Connection, Http2Server
from support.partners import OK, get, send, serving
from waypost.courier.curl import CurlSender
from waypost.courier.guard import AddressGuard
from waypost.ports.sender import Egress, SendRequest
from waypost.settings import CourierSettings, load_settings

HTTP2 = Egress(http2=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    Authority(folder).issue(folder / "partner.pem", folder / "partner.key", "127.0.0.1")
    return folder


@pytest.fixture
def settings(folder: Path) -> CourierSettings:
    return msgspec.structs.replace(load_settings(None, {}).courier, authorities_file=str(folder / "authority.pem"))


@pytest.fixture
def sender(settings: CourierSettings) -> Iterator[CurlSender]:
    sender = CurlSender(settings, AddressGuard(["127.0.0.0/8"], []))
    yield sender
    sender.close()


@contextmanager
def partner(
    folder: Path, behave: Callable[[Connection, int, int], None], streams_max: int = 100
) -> Iterator[Http2Server]:
    server = Http2Server(folder / "partner.pem", folder / "partner.key", behave, streams_max=streams_max)
    try:
        yield server
    finally:
        server.close()


def request(server: Http2Server, token: int = 1, method: str = "GET", **changes: object) -> SendRequest:
    body = b"a=b" if method == "POST" else b""
    url = f"https://127.0.0.1:{server.port}/pb?n={token}"
    return get(0, token=token, url=url, method=method, body=body, **{"egress": HTTP2, **changes})


METHODS = pytest.mark.parametrize("method", ["GET", "POST", "PUT"])


@METHODS
def test_http1_a_kept_connection_that_dies_before_the_answer(sender: CurlSender, method: str) -> None:
    with serving(lambda nth, data: OK if nth == 1 else None) as server:
        send(sender, get(server.port))
        body = b"" if method == "GET" else b"x"
        (report,) = send(sender, get(server.port, token=2, method=method, body=body))
        (after,) = send(sender, get(server.port, token=3))
        seen = [data.split(b" ")[1] for data in server.requests]
    assert (report.code, report.sent, report.status) == ("resend_refused", True, 0)
    assert seen == [b"/pb?n=1", b"/pb?n=2", b"/pb?n=3"]
    assert after.code == "response_missing"  # on a new connection, which was closed as well


def test_http1_many_on_kept_connections_that_all_die(sender: CurlSender) -> None:
    gathered = threading.Barrier(20)

    def answer(nth: int, data: bytes) -> bytes | None:
        if b"n=1" in data.split(b" ")[1][:8]:
            gathered.wait(10)  # all at once, so that each has a connection of its own
            return OK
        return None

    with serving(answer) as server:
        assert {one.status for one in send(sender, *(get(server.port, token=1_000 + n) for n in range(20)))} == {200}
        reports = send(sender, *(get(server.port, token=2_000 + n) for n in range(20)))
        seen = [data.split(b" ")[1] for data in server.requests]
    assert {report.code for report in reports} == {"resend_refused"}
    assert len(seen) == len(set(seen)) == 40


def test_http2_is_spoken_where_it_is_offered_and_wanted(sender: CurlSender, folder: Path) -> None:
    with partner(folder, lambda connection, stream, nth: connection.answer(stream)) as server:
        reports = send(sender, *(request(server, token) for token in range(1, 31)))
        assert {(one.code, one.status, one.body) for one in reports} == {("", 200, b"OK")}
        assert server.spoken == ["h2"]
        assert [one.reused for one in reports].count(False) == 1
        (plain,) = send(sender, request(server, 99, egress=None))
        assert (plain.status, plain.reused) == (200, False)  # who wants HTTP/1.1 gets it, on a connection of its own
        assert server.spoken == ["h2", "http/1.1"]
        assert len(server.requests) == 31


def test_http2_falls_back_to_http1_where_it_is_not_offered(sender: CurlSender, folder: Path) -> None:
    with partner(folder, lambda connection, stream, nth: connection.answer(stream)) as server:
        server._context.set_alpn_protocols(["http/1.1"])
        assert {one.status for one in send(sender, *(request(server, token) for token in range(5)))} == {200}
        assert set(server.spoken) == {"http/1.1"} and len(server.requests) == 5
    with serving(lambda nth, data: OK) as plain:  # and never without TLS
        assert send(sender, get(plain.port, egress=HTTP2))[0].status == 200
        assert plain.requests[0].startswith(b"GET /pb?n=1 HTTP/1.1\r\n") and b"Upgrade" not in plain.requests[0]


@pytest.mark.parametrize(("ours", "theirs", "most"), [(4, 100, 4), (100, 3, 3)])
def test_http2_streams_are_bounded(folder: Path, settings: CourierSettings, ours: int, theirs: int, most: int) -> None:
    held: list[int] = []
    gathered = threading.Event()

    def behave(connection: Connection, stream: int, nth: int) -> None:
        if gathered.is_set():
            connection.answer(stream)
            return
        held.append(stream)
        if len(held) == most:  # as many as there may be on this connection
            gathered.set()
            for one in held:
                connection.answer(one)

    sender = CurlSender(msgspec.structs.replace(settings, http2_streams_max=ours), AddressGuard(["127.0.0.0/8"], []))
    try:
        with partner(folder, lambda connection, stream, nth: connection.answer(stream), theirs) as server:
            assert send(sender, request(server, 1))[0].status == 200
            server._behave = behave
            reports = send(sender, *(request(server, token) for token in range(2, 2 + most)))
            assert {one.status for one in reports} == {200}
            reports = send(sender, *(request(server, token) for token in range(100, 140)))
            assert {one.status for one in reports} == {200}
            assert max(one.most_streams for one in server.connections) == most
            assert len(server.requests) == 41 + most
    finally:
        sender.close()


@METHODS
def test_http2_a_refused_stream(sender: CurlSender, folder: Path, method: str) -> None:
    def behave(connection: Connection, stream: int, nth: int) -> None:
        connection.answer(stream) if nth == 1 else connection.reset(stream, REFUSED_STREAM)

    with partner(folder, behave) as server:
        assert send(sender, request(server, 1))[0].status == 200
        (report,) = send(sender, request(server, 2, method))
        assert (report.code, report.sent) == ("resend_refused", True)
        assert len(server.requests) == 2
    with partner(folder, lambda connection, stream, nth: connection.reset(stream, REFUSED_STREAM)) as server:
        (report,) = send(sender, request(server, 3, method))  # on a connection of its own
        assert (report.code, report.sent) == ("resend_refused", True)
        assert len(server.requests) == 1


@METHODS
def test_http2_a_partner_that_goes_away(sender: CurlSender, folder: Path, method: str) -> None:
    """GOAWAY says that the stream was not looked at. That would make a resend safe; it is a marked one all the same."""

    def behave(connection: Connection, stream: int, nth: int) -> None:
        if nth == 1:
            connection.answer(stream)
            return
        connection.go_away(stream - 2)
        connection.hang_up()

    with partner(folder, behave) as server:
        assert send(sender, request(server, 1))[0].status == 200
        (report,) = send(sender, request(server, 2, method))
        assert report.code in ("resend_refused", "http2_failed", "send_failed") and report.sent
        assert len(server.requests) == 2
        server._behave = lambda connection, stream, nth: connection.answer(stream)
        assert send(sender, request(server, 3))[0].status == 200  # on a new connection
        assert server.requests[-1][0] == 1


def test_http2_a_connection_that_goes_away_politely_is_not_used_again(sender: CurlSender, folder: Path) -> None:
    def behave(connection: Connection, stream: int, nth: int) -> None:
        connection.go_away(stream)
        connection.answer(stream)

    with partner(folder, behave) as server:
        reports = [send(sender, request(server, token))[0] for token in (1, 2, 3)]
        assert [(one.code, one.status, one.reused) for one in reports] == [("", 200, False)] * 3
        assert [connection for connection, _ in server.requests] == [0, 1, 2]


@METHODS
@pytest.mark.parametrize("kept", [True, False])
def test_http2_a_connection_that_is_lost(sender: CurlSender, folder: Path, method: str, kept: bool) -> None:
    def behave(connection: Connection, stream: int, nth: int) -> None:
        connection.answer(stream) if kept and nth == 1 else connection.hang_up()

    with partner(folder, behave) as server:
        if kept:
            assert send(sender, request(server, 1))[0].status == 200
        (report,) = send(sender, request(server, 2, method))
        assert report.code in ("resend_refused", "http2_failed", "send_failed", "response_missing") and report.sent
        assert len(server.requests) == 1 + kept


def test_http2_a_connection_that_is_lost_with_many_streams(sender: CurlSender, folder: Path) -> None:
    def behave(connection: Connection, stream: int, nth: int) -> None:
        if nth == 1:
            connection.answer(stream)
        elif nth == 31:
            connection.hang_up()

    with partner(folder, behave) as server:
        assert send(sender, request(server, 1))[0].status == 200
        reports = send(sender, *(request(server, token) for token in range(2, 32)))
        assert all(one.code in ("resend_refused", "http2_failed", "send_failed") for one in reports)
        assert len(server.requests) == 31


@METHODS
def test_http2_a_partner_that_wants_the_old_protocol_after_all(sender: CurlSender, folder: Path, method: str) -> None:
    with partner(folder, lambda connection, stream, nth: connection.reset(stream, HTTP_1_1_REQUIRED)) as server:
        (report,) = send(sender, request(server, 1, method))
        assert (report.code, report.sent) == ("resend_refused", True)
        assert (len(server.requests), server.spoken[0]) == (1, "h2")


def test_http2_what_ends_one_stream_leaves_the_others(
    folder: Path, settings: CourierSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused by our guard, without a first byte, or too slow: the connection is others' as well."""
    monkeypatch.setattr("waypost.courier.guard.FORBIDDEN", ())  # loopback stands for a public address
    held: list[tuple[Connection, int]] = []
    arrived = threading.Semaphore(0)

    def behave(connection: Connection, stream: int, nth: int) -> None:
        if nth == 1:
            connection.answer(stream)
            return
        held.append((connection, stream))
        arrived.release()

    sender = CurlSender(settings, AddressGuard([], [443]))
    try:
        with partner(folder, behave) as server:
            ports = {"ports": (server.port,)}
            assert send(sender, request(server, 1, **ports))[0].status == 200
            sender.submit([request(server, 2, total_timeout_ms=20_000, **ports)])
            assert arrived.acquire(timeout=10)
            others = [
                request(server, 3),
                request(server, 4, first_byte_timeout_ms=150, **ports),
                request(server, 5, total_timeout_ms=300, **ports),
            ]
            sender.submit(others)
            found = []
            while len(found) < 3:
                found += sender.reports(1000)
            assert {one.token: one.code for one in found} == {
                3: "port_forbidden",
                4: "first_byte_timeout",
                5: "send_timeout",
            }
            connection, stream = held[0]
            connection.answer(stream)
            (whole,) = sender.reports(10_000)
            assert (whole.token, whole.code, whole.status) == (2, "", 200)
            assert len(server.connections) == 1
    finally:
        sender.close()
