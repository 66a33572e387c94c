"""`waypost run` with certificates: handshakes for two names, a reload under an open connection, a broken pair."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.catalog_text import DESIGN
from support.certificates import Authority
from support.installation import until
from support.waypost_process import WaypostProcess
from waypost.runtime.sockets import free_port

pytestmark = pytest.mark.system

_HANDSHAKES = 20  # in so many, each of two doors is met but for once in half a million
CALL = b"GET /postback?token=s3cret HTTP/1.1\r\nHost: d\r\n\r\n"


@contextlib.contextmanager
def _handshake(port: int, authority: Authority, name: str) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=str(authority.file))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=name) as client,
    ):
        yield client


def _serial(port: int, authority: Authority, name: str) -> object:
    with _handshake(port, authority, name) as client:
        certificate = client.getpeercert()
        return certificate and certificate["serialNumber"]


def _is_nowhere(serial: object, port: int, authority: Authority) -> bool:
    """Whether no door shows it any more: the kernel chooses the door of each connection."""
    return all(_serial(port, authority, "go.two.example") != serial for _ in range(_HANDSHAKES))


def _accepted(client: ssl.SSLSocket) -> bool:
    client.sendall(CALL)
    return b'"status":1' in client.recv(4096)


def test_certificates_by_name_and_their_reload(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    port = free_port("127.0.0.1", 0)
    settings = f'[door]\ntls_folder = "certificates"\ntls_port = {port}\ntls_check_ms = 50\n'
    waypost = WaypostProcess(tmp_path / "waypost", DESIGN, settings)
    folder = waypost.data / "certificates"
    for stem, name in (("default", "clicks.one.example"), ("two", "*.two.example")):
        authority.issue(folder / f"{stem}.crt", folder / f"{stem}.key", name)
    with waypost:
        assert f"https://127.0.0.1:{port}" in waypost.said()
        with _handshake(port, authority, "clicks.one.example") as kept:
            assert _accepted(kept)
            with _handshake(port, authority, "go.two.example") as other:
                assert _accepted(other)
            before = _serial(port, authority, "go.two.example")
            authority.issue(folder / "two.crt", folder / "two.key", "*.two.example")
            until(lambda: _is_nowhere(before, port, authority), "the new certificate at every door")
            (folder / "two.crt").write_text("broken")
            doors = [role for role in waypost.pids() if role.startswith("door-")]
            until(
                lambda: sum(waypost.snapshot(door)["values"].get("tls_refused", 0) for door in doors) >= len(doors),
                "the broken pair was refused",
            )
            after = _serial(port, authority, "go.two.example")
            assert after not in (None, before)
            assert _accepted(kept)
        expires = [waypost.snapshot(door)["values"]["tls_expires_s"] for door in doors]
        assert all(80 * 86400 < left < 90 * 86400 for left in expires)
