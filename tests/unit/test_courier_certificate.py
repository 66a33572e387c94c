"""A client's certificate on real TLS: shown to who asks for it, by the rule's requests and no others."""

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pycurl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from waypost.courier import slot
from waypost.courier.curl import CurlSender
from waypost.courier.guard import AddressGuard
from waypost.ports.sender import SendReport, SendRequest
from waypost.settings import load_settings

SETTINGS = load_settings(None, {}).courier


def make_certificate(folder: Path, name: str, issuer: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
    """A key and a certificate for loopback, self-signed or by an issuer, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, issued_by = issuer if issuer is not None else (key, None)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issued_by.subject if issued_by is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    )
    certificate = builder.sign(signer, hashes.SHA256())
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / f"{name}.key").write_bytes(pem)
    return key, certificate


class Handler(BaseHTTPRequestHandler):
    """Answers with the name in the client's certificate."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        shown: Any = self.connection.getpeercert()
        name = dict(pair[0] for pair in shown["subject"])["commonName"] if shown else "nobody"
        self.send_response(200)
        self.send_header("Content-Length", str(len(name)))
        self.end_headers()
        self.wfile.write(name.encode())

    def log_message(self, format: str, *arguments: Any) -> None: ...


@contextmanager
def partner(folder: Path, verify: ssl.VerifyMode) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = verify
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    issuer = make_certificate(tmp_path, "ca")
    for name in ("server", "us"):
        make_certificate(tmp_path, name, issuer)
    new_easy = slot.new_easy

    def trusting(settings: Any) -> Any:
        easy = new_easy(settings)
        easy.setopt(pycurl.CAINFO, str(tmp_path / "ca.pem"))
        return easy

    monkeypatch.setattr(slot, "new_easy", trusting)
    return tmp_path


def exchange(sender: CurlSender, url: str, certificate: str = "", key: str = "") -> SendReport:
    sender.submit([SendRequest(7, "GET", url, [], b"", 5_000, 5_000, certificate, key)])
    while True:
        found = sender.reports(1_000)
        if found:
            return found[0]


def test_a_certificate_is_shown_by_its_requests_and_no_others(folder: Path) -> None:
    sender = CurlSender(SETTINGS, AddressGuard(["127.0.0.0/8"], []))
    try:
        with partner(folder, ssl.CERT_OPTIONAL) as url:
            for _ in range(2):  # one handle, one kept connection each way
                shown = exchange(sender, url, str(folder / "us.pem"), str(folder / "us.key"))
                assert (shown.status, shown.body) == (200, b"us")
                plain = exchange(sender, url)
                assert (plain.status, plain.body) == (200, b"nobody")
    finally:
        sender.close()


def test_a_partner_that_demands_one_refuses_who_has_none(folder: Path) -> None:
    sender = CurlSender(SETTINGS, AddressGuard(["127.0.0.0/8"], []))
    try:
        with partner(folder, ssl.CERT_REQUIRED) as url:
            assert exchange(sender, url, str(folder / "us.pem"), str(folder / "us.key")).body == b"us"
            assert exchange(sender, url).code in ("tls_failed", "send_failed")
            assert exchange(sender, url, str(folder / "missing.pem")).code == "tls_failed"
    finally:
        sender.close()
