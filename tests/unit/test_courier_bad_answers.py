"""Partners that answer wrongly: each way has a code of its own, and is bounded in time and bytes."""

import contextlib
import datetime
import gzip
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.certificates import Authority
from support.name_server import NameServer
from support.partners import OK, get, send, serving
from waypost.courier.curl import CurlSender
from waypost.courier.guard import AddressGuard
from waypost.errors import ERRORS
from waypost.ports.sender import SendReport
from waypost.settings import CourierSettings, load_settings

BYTES_MAX = 65_536  # of an answer, as shipped

_DAY = datetime.timedelta(days=1)

Misbehaviour = Callable[[socket.socket, "threading.Event"], None]


class Misbehaving:
    """Takes a request, then does what a function does with the connection; counts what it could get rid of."""

    def __init__(self, behave: Misbehaviour) -> None:
        self._behave = behave
        self.over = threading.Event()
        self.sent = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                opened, _ = self._listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), opened:
                opened.settimeout(10)
                self._behave(opened, self.over)

    def close(self) -> None:
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(15)
        assert not self._thread.is_alive()
        self._listener.close()


@contextlib.contextmanager
def misbehaving(behave: Misbehaviour) -> Iterator[Misbehaving]:
    server = Misbehaving(behave)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def names() -> Iterator[NameServer]:
    names = NameServer({"partner.example": ["127.0.0.1"]})
    yield names
    names.close()


@pytest.fixture
def settings(names: NameServer) -> CourierSettings:
    return msgspec.structs.replace(load_settings(None, {}).courier, dns_servers=(names.address,))


@pytest.fixture
def sender(settings: CourierSettings) -> Iterator[CurlSender]:
    sender = CurlSender(settings, AddressGuard(["127.0.0.0/8"], []))
    yield sender
    sender.close()


def after_request(*pieces: bytes, hold: bool = False) -> Misbehaviour:
    """Reads the request, sends these bytes; then closes, or waits for the other side."""

    def behave(opened: socket.socket, over: threading.Event) -> None:
        opened.recv(65_536)
        for piece in pieces:
            opened.sendall(piece)
        if hold:
            opened.recv(1)

    return behave


def forever(first: bytes, piece: bytes) -> Misbehaviour:
    """Answers without an end."""

    def behave(opened: socket.socket, over: threading.Event) -> None:
        opened.recv(65_536)
        opened.sendall(first)
        while not over.is_set():
            opened.sendall(piece)

    return behave


HEAD = b"HTTP/1.1 200 OK\r\n"
PROMISE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("behave", "code", "status"),
    [
        pytest.param(after_request(b"220 mail.example ESMTP\r\n"), "response_malformed", 0, id="another protocol"),
        pytest.param(after_request(b"\x16\x03\x01\x00\x05hello"), "response_malformed", 0, id="bytes"),
        pytest.param(after_request(b"<html>OK</html>"), "response_malformed", 0, id="HTTP/0.9"),
        pytest.param(after_request(b"HTTP/1.1 2xx OK\r\n\r\n"), "response_malformed", 0, id="a status that is none"),
        pytest.param(after_request(b"HTTP/7.3 200 OK\r\n\r\n"), "response_malformed", 0, id="an unknown version"),
        pytest.param(after_request(HEAD + b"Content-Length: 10\r\n\r\nshort"), "response_cut", 200, id="too short"),
        pytest.param(after_request(HEAD + b"Content-Length: -5\r\n\r\n"), "response_malformed", 200, id="negative"),
        pytest.param(after_request(HEAD + b"Content-Length: 9999999999\r\n\r\n"), "response_too_large", 200, id="vast"),
        pytest.param(forever(HEAD + b"\r\n", b"x" * 8192), "response_too_large", 200, id="endless body"),
        pytest.param(forever(CHUNKED, b"4\r\nabcd\r\n" * 999), "response_too_large", 200, id="endless chunks"),
        pytest.param(forever(HEAD, b"X-A: b\r\n" * 1000), "response_headers", 200, id="endless headers"),
        pytest.param(forever(HEAD + b"X-A: ", b"b" * 8192), "response_headers", 200, id="an endless header"),
        pytest.param(forever(PROMISE, PROMISE), "response_headers", 100, id="endless promises"),
        pytest.param(after_request(CHUNKED + b"zz\r\nx"), "response_chunks", 200, id="a chunk of no length"),
        pytest.param(after_request(CHUNKED + b"2\r\nOKOK\r\n"), "response_chunks", 200, id="a chunk that is too long"),
        pytest.param(after_request(CHUNKED + b"ffffffffffffffffff\r\n"), "response_chunks", 200, id="a vast chunk"),
        pytest.param(after_request(CHUNKED + b"5\r\nab"), "response_cut", 200, id="chunks without an end"),
        pytest.param(after_request(), "response_missing", 0, id="closed at once"),
        pytest.param(after_request(b"HTTP/1.1 2"), "response_missing", 0, id="half a line"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_has_its_code(sender: CurlSender, behave: Misbehaviour, code: str, status: int) -> None:
    with misbehaving(behave) as server:
        (report,) = send(sender, get(server.port))
    assert (report.code, report.sent) == (code, True), report
    assert report.status == status
    assert len(report.body) <= 512 and len(report.detail) <= 500
    assert ERRORS[report.code].retriable


def test_a_body_longer_than_it_says_is_cut_and_poisons_nothing(sender: CurlSender) -> None:
    second = b"HTTP/1.1 500 Not yours\r\nContent-Length: 0\r\n\r\n"
    with misbehaving(after_request(HEAD + b"Content-Length: 2\r\n\r\nOK" + second, hold=True)) as server:
        (report,) = send(sender, get(server.port))
        assert (report.code, report.status, report.body) == ("", 200, b"OK")
        server.over.set()
        (report,) = send(sender, get(server.port, token=2))
        assert (report.status, report.reused) == (200, False)


def test_a_head_that_is_cut_behind_its_status_counts_by_the_status(sender: CurlSender) -> None:
    """libcurl takes the end of the connection for the end of the head; the status line came whole."""
    with misbehaving(after_request(HEAD + b"X-A: b")) as server:
        (report,) = send(sender, get(server.port))
    assert (report.code, report.status) == ("", 200)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_a_bomb_is_not_unpacked(sender: CurlSender, coding: str) -> None:
    whole = b"\0" * 50_000_000
    packed = gzip.compress(whole) if "gzip" in coding else zlib.compress(whole)
    assert len(packed) < BYTES_MAX
    answer = HEAD + f"Content-Encoding: {coding}\r\nContent-Length: {len(packed)}\r\n\r\n".encode() + packed
    with serving(lambda nth, data: answer) as server:
        (report,) = send(sender, get(server.port, body_bytes=BYTES_MAX))
        assert b"accept-encoding" not in server.requests[0].lower()
        assert b"\r\nte:" not in server.requests[0].lower()
    assert (report.code, report.status, report.body) == ("", 200, packed)


def test_an_unpacked_transfer_coding_is_an_error(sender: CurlSender) -> None:
    packed = gzip.compress(b"\0" * 10_000_000)
    head = HEAD + b"Transfer-Encoding: gzip\r\nConnection: close\r\n\r\n"
    with misbehaving(after_request(head + packed)) as server:
        (report,) = send(sender, get(server.port, body_bytes=BYTES_MAX))
    assert len(report.body) <= BYTES_MAX and report.body in (b"", packed)


def test_a_drip_of_bytes_ends_at_the_total_timeout(sender: CurlSender) -> None:
    def behave(opened: socket.socket, over: threading.Event) -> None:
        opened.recv(65_536)
        opened.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
        while not over.wait(0.05):
            opened.sendall(b"x")

    with misbehaving(behave) as server:
        started = time.monotonic()
        (report,) = send(sender, get(server.port, total_timeout_ms=400))
        took = time.monotonic() - started
    assert (report.code, report.status, report.sent) == ("send_timeout", 200, True)
    assert 0.3 < took < 5


def test_a_drip_of_headers_ends_at_the_total_timeout(sender: CurlSender) -> None:
    def behave(opened: socket.socket, over: threading.Event) -> None:
        opened.recv(65_536)
        opened.sendall(HEAD)
        while not over.wait(0.05):
            opened.sendall(b"X-A: b\r\n")

    with misbehaving(behave) as server:
        (report,) = send(sender, get(server.port, total_timeout_ms=400))
    assert (report.code, report.sent) == ("send_timeout", True)


def test_who_never_answers_is_waited_for_so_long(sender: CurlSender) -> None:
    with misbehaving(lambda opened, over: opened.recv(1) and over.wait(10)) as server:  # type: ignore[arg-type, func-returns-value]
        (report,) = send(sender, get(server.port, total_timeout_ms=300))
        server.over.set()
    assert (report.code, report.sent, report.status) == ("send_timeout", True, 0)


def test_a_partner_that_reads_nothing(sender: CurlSender) -> None:
    with misbehaving(lambda opened, over: over.wait(10) and None) as server:  # type: ignore[arg-type, func-returns-value]
        body = b"x" * 20_000_000
        (report,) = send(
            sender, get(server.port, method="POST", body=body, total_timeout_ms=400, first_byte_timeout_ms=100)
        )
        server.over.set()
    assert (report.code, report.sent) == ("send_timeout", True)  # the request never left whole, so no byte was due


@pytest.mark.parametrize("first", [b"", HEAD + b"Content-Length: 100\r\n\r\nhalf"])
def test_a_reset_in_the_middle(sender: CurlSender, first: bytes) -> None:
    def behave(opened: socket.socket, over: threading.Event) -> None:
        opened.recv(65_536)
        opened.sendall(first)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with misbehaving(behave) as server:
        (report,) = send(sender, get(server.port))
    assert (report.code, report.sent) == ("send_failed", True), report


# --- requests that cannot be made --------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/pb",
        "partner.example/pb",
        "ftp://partner.example/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http:partner.example",
        "http://",
        "http:///pb",
        "http://?x",
        "http://par tner.example/",
        "http://partner.example:port/",
        "http://partner.example:70000/",
        "http://partner.example:0/",
        "http://partner.example:-1/",
        "http://a@b@partner.example/",
        "http://partner.example\\@other.example/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://[1.2.3.4]/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "http://0x1ffffffff/",
        "http://a..b/",
        "http://-a.example/",
        "http://" + "a" * 300 + ".example/",
        "http://par%00tner.example/",
        "http://par%ZZtner.example/",
        "http://par%0d%0atner.example/",
        "http://par\x00tner.example/",
        "http://%ff.example/",
        "http://\u2488.example..\u3002/",
        "http://partner.example/a b",
        "http://partner.example/a\r\nX-Injected: 1",
        "http://partner.example/\x00",
    ],
)
def test_a_template_that_renders_to_no_url(sender: CurlSender, url: str) -> None:
    (report,) = send(sender, get(0, url=url))
    assert (report.code, report.sent, report.address) == ("render_bad_url", False, ""), report
    assert report.detail
    assert not ERRORS[report.code].retriable


@pytest.mark.parametrize("value", ["a\r\nX-Injected: 1", "a\nb", "a\rb", "a\0b"])
def test_a_header_with_a_line_break(sender: CurlSender, value: str) -> None:
    with serving(lambda nth, data: OK) as server:
        for headers in ([("X-A", value)], [(f"X-{value}", "a")]):
            (report,) = send(sender, get(server.port, headers=headers))
            assert (report.code, report.sent) == ("render_bad_header", False)
        (report,) = send(sender, get(server.port))
        assert report.status == 200 and len(server.requests) == 1


def test_a_host_that_does_not_resolve(sender: CurlSender) -> None:
    (report,) = send(sender, get(80, host="nowhere.example"))
    assert (report.code, report.sent) == ("dns_failed", False)
    assert "nowhere.example" in report.detail


# --- TLS ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    ours, foreign = Authority(folder), Authority(folder / "foreign")
    ours.issue(folder / "good.pem", folder / "good.key", "partner.example")
    ours.issue(folder / "other.pem", folder / "other.key", "other.example", "127.0.0.1")
    ours.issue(folder / "expired.pem", folder / "expired.key", "partner.example", days=-1, age_days=10)
    ours.issue(folder / "early.pem", folder / "early.key", "partner.example", days=10, age_days=-1)
    foreign.issue(folder / "foreign.pem", folder / "foreign.key", "partner.example")
    return folder


def tls_report(folder: Path, settings: CourierSettings, behave: Misbehaviour) -> SendReport:
    settings = msgspec.structs.replace(settings, authorities_file=str(folder / "authority.pem"))
    sender = CurlSender(settings, AddressGuard(["127.0.0.0/8"], []))
    try:
        with misbehaving(behave) as server:
            url = f"https://partner.example:{server.port}/"
            return send(sender, get(0, url=url, connect_timeout_ms=400, total_timeout_ms=800))[0]
    finally:
        sender.close()


def showing(folder: Path, name: str, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Misbehaviour:
    """TLS with a certificate, and an answer in it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    if newest < ssl.TLSVersion.TLSv1_2:
        context.set_ciphers("ALL:@SECLEVEL=0")
    context.maximum_version = newest

    def behave(opened: socket.socket, over: threading.Event) -> None:
        with context.wrap_socket(opened, server_side=True) as inner:
            inner.recv(65_536)
            inner.sendall(OK)

    return behave


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # old versions are what is to be refused
@pytest.mark.parametrize(
    ("name", "newest", "code"),
    [
        ("good", ssl.TLSVersion.TLSv1_3, ""),
        ("good", ssl.TLSVersion.TLSv1_2, ""),
        ("good", ssl.TLSVersion.TLSv1_1, "tls_version"),
        ("good", ssl.TLSVersion.TLSv1, "tls_version"),
        ("other", ssl.TLSVersion.TLSv1_3, "tls_wrong_name"),
        ("expired", ssl.TLSVersion.TLSv1_3, "tls_expired"),
        ("early", ssl.TLSVersion.TLSv1_3, "tls_expired"),
        ("foreign", ssl.TLSVersion.TLSv1_3, "tls_untrusted"),
    ],
)
def test_certificates_and_versions(
    folder: Path, settings: CourierSettings, name: str, newest: ssl.TLSVersion, code: str
) -> None:
    report = tls_report(folder, settings, showing(folder, name, newest))
    assert report.code == code, report
    assert (report.status, report.sent) == ((0, False) if code else (200, True))
    assert report.address == "127.0.0.1"


def test_a_certificate_that_signed_itself(folder: Path, settings: CourierSettings, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "partner.example")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + _DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("partner.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "self.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    form = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (tmp_path / "self.key").write_bytes(form)
    assert tls_report(folder, settings, showing(tmp_path, "self")).code == "tls_untrusted"


@pytest.mark.parametrize(
    ("behave", "code"),
    [
        (after_request(b"HTTP/1.1 400 This is no TLS\r\n\r\n"), "tls_failed"),
        (after_request(b"\0" * 100), "tls_failed"),
        (after_request(b"\x15\x03\x03\x00\x02\x02\x28"), "tls_failed"),  # an alert: handshake failure
        (after_request(), "tls_failed"),
        (lambda opened, over: over.wait(10) and None, "tls_failed"),
    ],
    ids=["HTTP", "zeros", "an alert", "closed", "silence"],
)
def test_what_is_no_handshake(folder: Path, settings: CourierSettings, behave: Misbehaviour, code: str) -> None:
    report = tls_report(folder, settings, behave)
    assert (report.code, report.sent) == (code, False), report
