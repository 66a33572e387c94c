"""A proxy on loopback that makes tunnels, or refuses them as a test says; it keeps the heads of what it was asked."""

import base64
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator


class ProxyServer:
    """An HTTP proxy that makes tunnels; `answer` says what it says instead. With `context` it speaks TLS."""

    def __init__(self, answer: bytes = b"", credentials: str = "", context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self.heads: list[bytes] = []
        self._answer, self._credentials = answer, credentials
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                opened, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(opened)
            threading.Thread(target=self._serve, args=(opened,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain, self._wrapped(plain) as opened:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = opened.recv(65_536)
                if not piece:
                    return
                head += piece
            self.heads.append(head)
            wanted = b"Proxy-Authorization: Basic " + base64.b64encode(self._credentials.encode())
            if self._answer or (self._credentials and wanted not in head):
                refused = b"HTTP/1.1 407 Who are you\r\nContent-Length: 9\r\n\r\nno secret"
                opened.sendall(self._answer or refused)
                return
            host, _, port = head.split(b" ")[1].decode().rpartition(":")
            with socket.create_connection((host.strip("[]"), int(port))) as beyond:
                opened.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                back = threading.Thread(target=_pump, args=(beyond, opened), daemon=True)
                back.start()
                _pump(opened, beyond)
                back.join(10)

    def _wrapped(self, plain: socket.socket) -> socket.socket:
        return plain if self._context is None else self._context.wrap_socket(plain, server_side=True)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for opened in self._open:
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65_536):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def proxying(
    answer: bytes = b"", credentials: str = "", context: ssl.SSLContext | None = None
) -> Iterator[ProxyServer]:
    proxy = ProxyServer(answer, credentials, context)
    try:
        yield proxy
    finally:
        proxy.close()
