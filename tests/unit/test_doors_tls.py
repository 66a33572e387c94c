"""TLS at the door: who gets which certificate, what is too old to be spoken, and certificates that change."""

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.certificates import Authority
from support.doors import RunningDoor, door_settings, running_door
from waypost.doors.tls import TlsFolder, load_pair
from waypost.errors import WaypostError
from waypost.telemetry.stats import Stats

CALL = b"GET /postback?token=s3cret HTTP/1.1\r\nHost: d\r\n\r\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def _issue(authority: Authority, folder: Path, stem: str, *names: str, **times: float) -> None:
    authority.issue(folder / f"{stem}.crt", folder / f"{stem}.key", *names, **times)


def _folder(path: Path, stats: Stats | None = None) -> TlsFolder:
    return TlsFolder(path, lambda: int(time.time() * 1000), stats or Stats("door-0"))


class TlsClient:
    """A handshake with the authority trusted, and requests on it."""

    def __init__(
        self, door: RunningDoor, authority: Authority, name: str | None = "one.example", **changes: object
    ) -> None:
        context = ssl.create_default_context(cafile=str(authority.file))
        context.set_alpn_protocols(["h2", "http/1.1"])
        context.check_hostname = name is not None
        for option, value in changes.items():
            setattr(context, option, value)
        plain = socket.create_connection(door.address, timeout=10)
        try:
            self.sock = context.wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise

    def names(self) -> list[str]:
        certificate = self.sock.getpeercert()
        assert certificate is not None
        return [str(value) for _, value in certificate["subjectAltName"]]

    def ask(self, data: bytes = CALL) -> bytes:
        self.sock.sendall(data)
        return self.sock.recv(65536)

    def close(self) -> None:
        self.sock.close()


@contextlib.contextmanager
def _client(
    door: RunningDoor, authority: Authority, name: str | None = "one.example", **changes: object
) -> Iterator[TlsClient]:
    client = TlsClient(door, authority, name, **changes)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def door(tmp_path: Path, authority: Authority) -> Iterator[RunningDoor]:
    folder = tmp_path / "tls"
    _issue(authority, folder, "default", "one.example", "127.0.0.1")
    _issue(authority, folder, "shops", "*.shop.example", "Shop.Example")
    authority.issue(folder / "live" / "fullchain.pem", folder / "live" / "privkey.pem", "live.example")
    with running_door(tmp_path, settings=door_settings(tls_check_ms=5), tls_folder=folder) as running:
        yield running


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("one.example", "one.example"),
        ("a.shop.example", "*.shop.example"),
        ("B.SHOP.example", "*.shop.example"),
        ("shop.example", "*.shop.example"),
        ("live.example", "live.example"),
        (None, "one.example"),
    ],
)
def test_a_handshake_gets_the_certificate_of_its_name(
    door: RunningDoor, authority: Authority, name: str | None, first: str
) -> None:
    with _client(door, authority, name) as client:
        assert client.names()[0] == first
        assert client.sock.selected_alpn_protocol() == "http/1.1"
        assert client.sock.version() == "TLSv1.3"
        assert client.ask().startswith(b"HTTP/1.1 200 OK\r\n")
        assert client.ask(CALL * 2).count(b'"status":1') >= 1


@pytest.mark.parametrize("name", ["other.example", "a.b.shop.example"])
def test_an_unknown_name_gets_the_default(door: RunningDoor, authority: Authority, name: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        TlsClient(door, authority, name)
    with _client(door, authority, name, check_hostname=False) as client:
        assert client.names()[0] == "one.example"


def test_nothing_older_than_1_2_is_spoken(door: RunningDoor, authority: Authority) -> None:
    with _client(door, authority, maximum_version=ssl.TLSVersion.TLSv1_2) as client:
        assert client.sock.version() == "TLSv1.2"
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    with pytest.warns(DeprecationWarning):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(door.address, timeout=10) as plain, pytest.raises((ssl.SSLError, OSError)):
        old.wrap_socket(plain)


def test_what_is_no_handshake_ends_and_harms_nobody(tmp_path: Path, authority: Authority) -> None:
    folder = tmp_path / "tls"
    _issue(authority, folder, "default", "one.example")
    with running_door(tmp_path, settings=door_settings(request_timeout_ms=200), tls_folder=folder) as door:
        silent = socket.create_connection(door.address, timeout=10)
        with socket.create_connection(door.address, timeout=10) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: d\r\n\r\n" * 50)
            with contextlib.suppress(ConnectionResetError):
                while plain.recv(4096):
                    pass
        with _client(door, authority) as client:
            assert client.ask().startswith(b"HTTP/1.1 200")
        assert silent.recv(1) == b""  # it was given its time
        silent.close()
        end = time.monotonic() + 10
        while door.stats.values["door_not_ready"] < 2:
            assert time.monotonic() < end


def test_a_refusal_is_read_although_the_client_goes_on_sending(door: RunningDoor, authority: Authority) -> None:
    with _client(door, authority) as client:
        client.sock.sendall(b"POST /postback HTTP/1.1\r\nHost: d\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 300_000)
        assert client.sock.recv(4096).startswith(b"HTTP/1.1 413 ")


def _until_served(door: RunningDoor, authority: Authority, name: str, serial: object) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with contextlib.suppress(ssl.SSLCertVerificationError), _client(door, authority, name) as client:
            if client.sock.getpeercert()["serialNumber"] != serial:  # type: ignore[index]
                return
    raise AssertionError("the new certificate was not taken")


def test_certificates_change_under_open_connections(door: RunningDoor, authority: Authority, tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    with _client(door, authority) as client:
        serial = client.sock.getpeercert()["serialNumber"]  # type: ignore[index]
        _issue(authority, folder, "default", "one.example", "two.example")
        _until_served(door, authority, "one.example", serial)
        with _client(door, authority, "two.example") as other:
            assert other.ask().startswith(b"HTTP/1.1 200")
        _issue(authority, folder, "more", "three.example")
        _until_served(door, authority, "three.example", None)
        assert client.ask().startswith(b"HTTP/1.1 200")  # as it began


def test_a_broken_pair_leaves_the_old_one_in_force(tmp_path: Path, authority: Authority) -> None:
    _issue(authority, tmp_path, "a", "one.example")
    stats = Stats("door-0")
    folder = _folder(tmp_path, stats)
    kept = folder.for_name("one.example")
    _issue(authority, tmp_path, "b", "b.example")
    for nth, break_it in enumerate(
        (
            lambda: (tmp_path / "a.crt").write_bytes(b"-----BEGIN CERTIFICATE-----\nbroken"),
            lambda: (tmp_path / "a.crt").write_bytes((tmp_path / "b.crt").read_bytes()),  # another's key
            lambda: _issue(authority, tmp_path, "a", "one.example", days=-0.5, age_days=2),  # expired
            lambda: _issue(authority, tmp_path, "a", "one.example", days=9, age_days=-1),  # not valid yet
            lambda: (tmp_path / "a.key").write_bytes(b""),
        )
    ):
        break_it()
        for _ in range(2):  # said once
            folder.refresh()
        assert folder.for_name("one.example") is kept
        assert stats.values["tls_refused"] == nth + 1
    assert folder.for_name("b.example") is not kept
    _issue(authority, tmp_path, "a", "one.example")
    folder.refresh()
    assert folder.for_name("one.example") is not kept


def test_a_pair_that_is_gone_is_let_go_unless_it_is_the_last(tmp_path: Path, authority: Authority) -> None:
    _issue(authority, tmp_path, "a", "one.example")
    _issue(authority, tmp_path, "b", "two.example")
    stats = Stats("door-0")
    folder = _folder(tmp_path, stats)
    assert folder.names == ["one.example", "two.example"]
    (tmp_path / "a.crt").unlink()
    folder.refresh()
    assert folder.names == ["two.example"]
    (tmp_path / "b.key").rename(tmp_path / "elsewhere")
    folder.refresh()
    folder.refresh()
    assert folder.names == ["two.example"]
    assert stats.values["tls_refused"] == 1


def test_the_gauges_say_when_the_first_one_expires(tmp_path: Path, authority: Authority) -> None:
    _issue(authority, tmp_path, "a", "one.example", days=30)
    _issue(authority, tmp_path, "b", "two.example", "three.example", days=10)
    stats = Stats("door-0")
    _folder(tmp_path, stats)
    assert abs(stats.values["tls_expires_s"] - 10 * 86400) < 60
    assert stats.values["tls_names"] == 3


def test_an_expired_pair_is_served_if_there_is_no_other(tmp_path: Path, authority: Authority) -> None:
    _issue(authority, tmp_path, "a", "one.example", days=-0.5, age_days=2)
    stats = Stats("door-0")
    assert _folder(tmp_path, stats).names == ["one.example"]
    assert stats.values["tls_expires_s"] < 0


def test_a_folder_without_a_usable_pair_is_said(tmp_path: Path, authority: Authority) -> None:
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(WaypostError) as refused:
            _folder(folder)
        assert refused.value.code == "bad_certificate"
    (tmp_path / "a.crt").write_text("no certificate")
    (tmp_path / "a.key").write_text("no key")
    with pytest.raises(WaypostError) as refused:
        load_pair(tmp_path / "a.crt", tmp_path / "a.key")
    assert refused.value.place == str(tmp_path / "a.crt")
