"""Partners on loopback, made of sockets, that answer as a test has them answer."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

from waypost.courier.curl import CurlSender
from waypost.ports.sender import SendReport, SendRequest

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"
CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nOK"

Answer = Callable[[int, bytes], bytes | None]


class RawServer:
    """Accepts connections and lets a function answer each request's bytes; None closes without an answer."""

    def __init__(self, answer: Answer, host: str = "127.0.0.1", port: int = 0) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.peers: list[str] = []
        self._answer = answer
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((host, port))
        self._listener.listen(128)
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, peer = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self.peers.append(peer[0])
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            data = b""
            while True:
                while not _is_whole(data):
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    data += piece
                self.requests.append(data)
                answer = self._answer(len(self.requests), data)
                data = b""
                if answer is None:
                    return
                connection.sendall(answer)

    def hang_up(self) -> None:
        """Closes what is connected."""
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()


def _is_whole(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.split(b":")[1])
    return True


@contextlib.contextmanager
def serving(answer: Answer, host: str = "127.0.0.1") -> Iterator[RawServer]:
    server = RawServer(answer, host)
    try:
        yield server
    finally:
        server.close()


def get(port: int, *, token: int = 1, host: str = "127.0.0.1", method: str = "GET", **changes: object) -> SendRequest:
    """A request to loopback, or wherever `url` says."""
    values: dict[str, object] = {
        "token": token,
        "method": method,
        "url": f"http://{host}:{port}/pb?n={token}",
        "headers": [("Waypost-Id", "p1")],
        "body": b"",
        "connect_timeout_ms": 2000,
        "total_timeout_ms": 4000,
    }
    return SendRequest(**{**values, **changes})  # type: ignore[arg-type]


def send(sender: CurlSender, *requests: SendRequest) -> list[SendReport]:
    """Sends them and waits for all; their reports by token. Each is reported once."""
    sender.submit(requests)
    found: list[SendReport] = []
    end = time.monotonic() + 10
    while len(found) < len(requests) and time.monotonic() < end:
        found += sender.reports(100)
    assert sender.in_flight == 0
    assert sender.reports(0) == []
    return sorted(found, key=lambda report: report.token)
