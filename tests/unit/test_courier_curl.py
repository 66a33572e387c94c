"""The libcurl sender against real sockets on loopback."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.partners import OK, get, send, serving
from waypost.courier.curl import CurlSender
from waypost.courier.guard import AddressGuard
from waypost.settings import CourierSettings, load_settings


@pytest.fixture
def settings() -> CourierSettings:
    return load_settings(None, {}).courier


@pytest.fixture(params=[True, False], ids=["epoll", "select"])
def sender(request: pytest.FixtureRequest, settings: CourierSettings) -> Iterator[CurlSender]:
    sender = CurlSender(settings, AddressGuard(["127.0.0.0/8"], []), use_epoll=request.param)
    yield sender
    sender.close()


def test_a_whole_answer_is_reported_once_with_its_timings(sender: CurlSender) -> None:
    with serving(lambda nth, data: OK) as server:
        (report,) = send(sender, get(server.port))
    assert (report.token, report.code, report.status, report.body) == (1, "", 200, b"OK")
    assert report.address == "127.0.0.1"
    assert report.sent and not report.reused
    assert 0 < report.connect_us <= report.first_byte_us <= report.total_us
    request = server.requests[0]
    assert request.startswith(b"GET /pb?n=1 HTTP/1.1\r\n")
    assert b"\r\nWaypost-Id: p1\r\n" in request
    assert b"\r\nUser-Agent: Waypost/" in request
    assert b"Accept-Encoding" not in request and b"Cookie" not in request


def test_connections_are_reused(sender: CurlSender) -> None:
    with serving(lambda nth, data: OK) as server:
        for token in range(1, 6):
            (report,) = send(sender, get(server.port, token=token))
            assert report.reused is (token > 1)
            assert (report.connect_us > 0) is (token == 1), "it waits for a connection where there is none"
            assert token == 1 or (report.dns_us, report.tls_us) == (0, 0)
            assert 0 < report.first_byte_us <= report.total_us
    assert server.connections == 1


def test_many_at_once_are_each_reported_once(sender: CurlSender) -> None:
    with serving(lambda nth, data: OK) as server:
        reports = send(sender, *(get(server.port, token=token) for token in range(300)))
    assert [report.token for report in reports] == list(range(300))
    assert {report.status for report in reports} == {200}
    assert len(server.requests) == 300


def test_post_sends_the_body_and_the_next_get_does_not(sender: CurlSender) -> None:
    with serving(lambda nth, data: OK) as server:
        headers = [("Content-Type", "application/json"), ("X-Empty", ""), ("X-Name", "Žluťoučký")]
        send(sender, get(server.port, method="POST", body=b'{"a":1}', headers=headers))
        send(sender, get(server.port, method="PUT", body=b"{}", headers=headers))
        send(sender, get(server.port, token=2))
    post, put, plain = server.requests
    assert post.startswith(b"POST /pb?n=1 ") and post.endswith(b'\r\n\r\n{"a":1}')
    assert b"Content-Type: application/json\r\n" in post and b"X-Empty:" in post
    assert "X-Name: Žluťoučký".encode() in post
    assert put.startswith(b"PUT /pb?n=1 ") and put.endswith(b"\r\n\r\n{}")
    assert plain.startswith(b"GET /pb?n=2 ") and plain.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_reused_connection_that_dies_after_the_request_causes_no_second_request(
    sender: CurlSender, method: str
) -> None:
    with serving(lambda nth, data: OK if nth == 1 else None) as server:
        send(sender, get(server.port))
        (report,) = send(sender, get(server.port, token=2, method=method, body=b"x" if method == "POST" else b""))
        seen = [data.split(b" ")[1] for data in server.requests]
    assert seen == [b"/pb?n=1", b"/pb?n=2"]
    assert (report.code, report.sent, report.status) == ("resend_refused", True, 0)


def test_a_new_connection_that_dies_is_no_resend(sender: CurlSender) -> None:
    with serving(lambda nth, data: None) as server:
        (report,) = send(sender, get(server.port))
    assert (report.code, report.sent) == ("response_missing", True)
    assert len(server.requests) == 1


def test_the_guard_holds_on_a_reused_connection(settings: CourierSettings) -> None:
    guard = AddressGuard(["127.0.0.0/8"], [])
    sender = CurlSender(settings, guard)
    try:
        with serving(lambda nth, data: OK) as server:
            send(sender, get(server.port))
            guard._allow = ()
            guard._judged.clear()
            (report,) = send(sender, get(server.port, token=2))
            assert (report.code, report.sent) == ("address_forbidden", False)
            assert len(server.requests) == 1
    finally:
        sender.close()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_forbidden_addresses_are_not_dialled_in_any_form(settings: CourierSettings, host: str) -> None:
    sender = CurlSender(settings, AddressGuard([], [80]))
    try:
        with serving(lambda nth, data: OK) as server:
            (report,) = send(sender, get(server.port, host=host))
            assert report.code == "address_forbidden", report
            assert not report.sent and report.address
            assert server.connections == 0
    finally:
        sender.close()


def test_a_port_is_judged_too(settings: CourierSettings) -> None:
    sender = CurlSender(settings, AddressGuard([], [80, 443]))
    try:
        (report,) = send(sender, get(9, host="8.8.8.8"))
        assert (report.code, report.sent) == ("port_forbidden", False)
    finally:
        sender.close()


def test_a_redirect_is_not_followed(sender: CurlSender) -> None:
    with serving(lambda nth, data: OK) as other:
        answer = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{other.port}/\r\nContent-Length: 0\r\n\r\n".encode()
        with serving(lambda nth, data: answer) as server:
            (report,) = send(sender, get(server.port))
        assert (report.code, report.status) == ("", 302)
        assert other.connections == 0 and len(server.requests) == 1


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch, settings: CourierSettings) -> None:
    with serving(lambda nth, data: OK) as proxy, serving(lambda nth, data: OK) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        sender = CurlSender(settings, AddressGuard(["127.0.0.0/8"], []))
        try:
            (report,) = send(sender, get(server.port))
        finally:
            sender.close()
        assert report.status == 200
        assert (proxy.connections, len(server.requests)) == (0, 1)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"220 this is no HTTP\r\n\r\n", "response_malformed"),
        (b"\x00\x01\x02\x03" * 50 + b"\r\n\r\n", "response_malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nOK", "response_too_large"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 70_000, "response_too_large"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 60_000 + b"\r\n", "response_headers"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "response_malformed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "response_chunks"),
    ],
)
def test_answers_that_are_no_answers(sender: CurlSender, answer: bytes, code: str) -> None:
    with serving(lambda nth, data: answer if nth == 1 else None) as server:
        (report,) = send(sender, get(server.port))
    assert report.code == code, report
    assert len(report.body) <= 512


def test_a_lying_length_is_an_error(sender: CurlSender) -> None:
    def cut(nth: int, data: bytes) -> bytes:
        threading.Timer(0.05, server.close).start()
        return b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"

    with serving(cut) as server:
        (report,) = send(sender, get(server.port))
    assert (report.code, report.status) == ("response_cut", 200)


def test_a_compressed_answer_is_not_decoded(sender: CurlSender) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"
    with serving(lambda nth, data: answer) as server:
        (report,) = send(sender, get(server.port))
    assert (report.code, report.body) == ("", b"\x1f\x8b\x08\x00")


def test_cookies_are_not_kept(sender: CurlSender) -> None:
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n"
    with serving(lambda nth, data: answer) as server:
        send(sender, get(server.port))
        send(sender, get(server.port, token=2))
    assert b"Cookie" not in server.requests[1]


def test_silence_and_endless_answers_end_at_the_total_timeout(sender: CurlSender) -> None:
    stop = threading.Event()

    def hang(nth: int, data: bytes) -> bytes | None:
        stop.wait(5)
        return None

    with serving(hang) as server:
        started = time.monotonic()
        (report,) = send(sender, get(server.port, total_timeout_ms=150))
        stop.set()
    assert (report.code, report.sent) == ("send_timeout", True)
    assert time.monotonic() - started < 2


def test_nothing_listens(sender: CurlSender) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    (report,) = send(sender, get(port))
    assert (report.code, report.sent) == ("connect_failed", False)


def test_a_name_that_does_not_resolve(sender: CurlSender) -> None:
    (report,) = send(sender, get(80, host="no-such-host.invalid"))
    assert (report.code, report.sent) == ("dns_failed", False)


def test_tls_is_verified(sender: CurlSender) -> None:
    with serving(lambda nth, data: OK) as server:
        (report,) = send(sender, get(0, url=f"https://127.0.0.1:{server.port}/", total_timeout_ms=500))
        assert report.code in ("tls_failed", "send_timeout") and not report.sent


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "file:///etc/passwd", "http://", "gopher://127.0.0.1/", "http://a b/"]
)
def test_other_schemes_and_broken_urls_are_refused(sender: CurlSender, url: str) -> None:
    (report,) = send(sender, get(0, url=url))
    assert report.code in ("render_bad_url", "dns_failed", "response_malformed") and not report.sent


def test_retry_after_is_reported(sender: CurlSender) -> None:
    answer = b"HTTP/1.1 503 Busy\r\nRetry-After: 17\r\nContent-Length: 0\r\n\r\n"
    with serving(lambda nth, data: answer) as server:
        (report,) = send(sender, get(server.port))
    assert (report.code, report.status, report.retry_after) == ("", 503, "17")


def test_wake_ends_a_wait(sender: CurlSender) -> None:
    with ThreadPoolExecutor(1) as pool:
        started = time.monotonic()
        waiting = pool.submit(sender.reports, 5000)
        while not waiting.done() and time.monotonic() - started < 5:
            sender.wake()
            waiting.exception(timeout=1)
    assert time.monotonic() - started < 2


def test_close_abandons_what_is_in_flight(settings: CourierSettings) -> None:
    stop = threading.Event()

    def hang(nth: int, data: bytes) -> bytes | None:
        stop.wait(5)
        return None

    sender = CurlSender(settings, AddressGuard(["127.0.0.0/8"], []))
    with serving(hang) as server:
        sender.submit([get(server.port, token=token) for token in range(20)])
        while not server.requests:
            assert sender.reports(5) == []
        sender.close()
        stop.set()
    assert sender.reports(0) == []


def test_a_probe_connects_anew_and_sends_nothing(sender: CurlSender) -> None:
    with serving(lambda nth, data: OK) as server:
        send(sender, get(server.port))
        (probe,) = send(sender, get(server.port, token=2, probe=True))
        (plain,) = send(sender, get(server.port, token=3))
        assert (server.connections, len(server.requests)) == (2, 2)
    assert (probe.code, probe.status, probe.sent, probe.address) == ("", 0, False, "127.0.0.1")
    assert probe.connect_us > 0
    assert plain.status == 200 and plain.reused  # by the connection that stood before: the probe's is closed


def test_a_probe_that_cannot_connect_says_why(sender: CurlSender) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        (report,) = send(sender, get(unused.getsockname()[1], probe=True))
    assert (report.code, report.sent) == ("connect_failed", False)
    (report,) = send(sender, get(80, host="10.0.0.1", probe=True))
    assert (report.code, report.sent) == ("address_forbidden", False)
    with serving(lambda nth, data: b"no TLS\r\n") as server:
        (report,) = send(sender, get(0, url=f"https://127.0.0.1:{server.port}/", total_timeout_ms=300, probe=True))
    assert report.code in ("tls_failed", "send_timeout") and not report.sent
