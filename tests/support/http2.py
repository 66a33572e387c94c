"""A partner that speaks HTTP/2 over TLS (RFC 9113), as much of it as it takes to answer, and to misbehave exactly.

It reads frames and no headers: what it answers hangs on the connection and the stream alone.
"""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_STATUS_200 = b"\x88"  # an indexed field of the static table (RFC 7541, appendix A)
REFUSED_STREAM, HTTP_1_1_REQUIRED = 7, 13
_MAX_CONCURRENT_STREAMS = 3


class Connection:
    """What a partner may do on one connection."""

    def __init__(self, opened: ssl.SSLSocket, number: int) -> None:
        self._opened = opened
        self.number = number
        self.open_streams: set[int] = set()
        self.most_streams = 0

    def frame(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        self._opened.sendall(
            struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload
        )

    def answer(self, stream: int) -> None:
        """200, with a body."""
        self.open_streams.discard(stream)
        self.frame(_HEADERS, _END_HEADERS, stream, _STATUS_200)
        self.frame(_DATA, _END_STREAM, stream, b"OK")

    def reset(self, stream: int, code: int) -> None:
        self.open_streams.discard(stream)
        self.frame(_RST_STREAM, 0, stream, struct.pack(">I", code))

    def go_away(self, last: int) -> None:
        """Says that streams above `last` were not looked at."""
        self.frame(_GOAWAY, 0, 0, struct.pack(">II", last, 0))

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._opened, socket.SHUT_RDWR)  # without a farewell of TLS


Behave = Callable[[Connection, int, int], None]


class Http2Server:
    """`behave` is told of each whole request: its connection, its stream, and the how-manieth it is."""

    def __init__(self, certificate: Path, key: Path, behave: Behave, *, streams_max: int = 100) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.set_alpn_protocols(["h2", "http/1.1"])
        self._context, self._behave, self._streams_max = context, behave, streams_max
        self.requests: list[tuple[int, int]] = []  # connection and stream of each header block that came
        self.spoken: list[str | None] = []  # of each connection, by ALPN
        self.connections: list[Connection] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                opened, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(opened,), daemon=True))
            self._threads[-1].start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain, self._context.wrap_socket(plain, server_side=True) as opened:
            self.spoken.append(opened.selected_alpn_protocol())
            connection = Connection(opened, len(self.connections))
            self.connections.append(connection)
            if opened.selected_alpn_protocol() != "h2":
                self._speak_old(connection, opened)
                return
            with opened.makefile("rb") as reader:
                self._speak(connection, reader)

    def _speak(self, connection: Connection, reader: BinaryIO) -> None:
        if reader.read(len(_PREFACE)) != _PREFACE:
            return
        connection.frame(_SETTINGS, 0, 0, struct.pack(">HI", _MAX_CONCURRENT_STREAMS, self._streams_max))
        while len(head := reader.read(9)) == 9:
            length, kind, flags, stream = int.from_bytes(head[:3], "big"), head[3], head[4], head[5:]
            self._take(connection, kind, flags, int.from_bytes(stream, "big"), reader.read(length))

    def _take(self, connection: Connection, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            connection.frame(_SETTINGS, _ACK, 0)
        elif kind == _PING and not flags & _ACK:
            connection.frame(_PING, _ACK, 0, payload)
        elif kind == _HEADERS:
            self.requests.append((connection.number, stream))
            connection.open_streams.add(stream)
            connection.most_streams = max(connection.most_streams, len(connection.open_streams))
        if kind in (_HEADERS, _DATA) and flags & _END_STREAM:
            self._behave(connection, stream, len(self.requests))

    def _speak_old(self, connection: Connection, opened: ssl.SSLSocket) -> None:
        """HTTP/1.1, for who wants it."""
        data = b""
        while piece := opened.recv(65_536):
            data += piece
            if b"\r\n\r\n" in data:
                data = b""
                self.requests.append((connection.number, 0))
                opened.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            connection.hang_up()
        for thread in self._threads:
            thread.join(10)
