"""Partners played by one process: each listens on an address of its own, notes what arrives, and can be made sick.

Owns: the sockets, and what arrived when. `python bench/partners.py PORT COUNT` listens on 127.0.0.11 and so on, and is
told on standard input, each command being answered with a line: `sick KIND NUMBER …` (`hang`: no answer; `reset`: the
connection is broken off; `drip`: an answer of a byte a second; `error`: 500), `well` (all answer 200 at once, and
connections of the sick are closed), `count` (of all that arrived), `dump FILE` (what arrived since the last one:
`partner, n of the URL, monotonic ns, repeat, whether it was answered 200`, as JSON). A request has arrived when its
last byte is read.
"""

import contextlib
import json
import os
import select
import socket
import struct
import sys
import time
from pathlib import Path

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ERROR = b"HTTP/1.1 500 Sick\r\nContent-Length: 4\r\n\r\nsick"
DRIP_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n"
KINDS = ("hang", "reset", "drip", "error")
_DRIP_S = 1.0
_RST = struct.pack("ii", 1, 0)  # SO_LINGER: what is open is broken off


def address_of(partner: int) -> str:
    """Where a partner listens; they count from 1."""
    return f"127.0.0.{partner + 10}"


class Partners:
    """One epoll loop over all listeners, connections and the commands."""

    def __init__(self, port: int, count: int) -> None:
        self._poll = select.epoll()
        self._listeners: dict[int, tuple[socket.socket, int]] = {}
        self._connections: dict[int, tuple[socket.socket, int]] = {}
        self._parts: dict[int, bytes] = {}  # of requests that have not come whole
        self._sick: dict[int, str] = {}
        self._dripping: set[int] = set()
        self._drip_due_s = 0.0
        self._arrived: list[tuple[int, int, int, bool, bool]] = []
        self._count = 0
        for partner in range(1, count + 1):
            listener = socket.create_server((address_of(partner), port), backlog=4096)
            listener.setblocking(False)
            self._listeners[listener.fileno()] = (listener, partner)
            self._poll.register(listener, select.EPOLLIN)
        os.set_blocking(0, False)
        self._poll.register(0, select.EPOLLIN)

    def run(self) -> None:
        """Until standard input ends."""
        connections, listeners = self._connections, self._listeners
        while True:
            for descriptor, _ in self._poll.poll(0.1):
                if descriptor in connections:
                    self._receive(descriptor)
                elif descriptor in listeners:
                    self._accept(*listeners[descriptor])
                elif descriptor == 0 and not self._obey():
                    return
            if self._dripping and time.monotonic() >= self._drip_due_s:
                self._drip_due_s = time.monotonic() + _DRIP_S
                for descriptor in list(self._dripping):
                    self._send(descriptor, b".")

    def _accept(self, listener: socket.socket, partner: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = listener.accept()
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections[connection.fileno()] = (connection, partner)
                self._poll.register(connection, select.EPOLLIN)

    def _receive(self, descriptor: int) -> None:
        connection, partner = self._connections[descriptor]
        try:
            data = connection.recv(65536)
        except BlockingIOError:
            return  # it was for a connection that was dropped meanwhile, and had the same number
        except OSError:
            data = b""
        if not data:
            self._drop(descriptor)
            return
        if descriptor in self._parts:
            data = self._parts.pop(descriptor) + data
        if not data.endswith(b"\r\n\r\n"):
            self._parts[descriptor] = data
            return
        sickness = self._sick.get(partner)
        start = data.index(b"?n=") + 3
        n = int(data[start : data.index(b" ", start)])
        self._count += 1
        self._arrived.append((partner, n, time.monotonic_ns(), b"\r\nWaypost-Repeat: 1" in data, sickness is None))
        if sickness is None:
            self._send(descriptor, OK)
        elif sickness == "error":
            self._send(descriptor, ERROR)
        elif sickness == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
            self._drop(descriptor)
        elif sickness == "drip":
            self._send(descriptor, DRIP_HEAD)
            self._dripping.add(descriptor)

    def _send(self, descriptor: int, data: bytes) -> None:
        try:
            self._connections[descriptor][0].send(data)
        except OSError:
            self._drop(descriptor)

    def _drop(self, descriptor: int) -> None:
        self._parts.pop(descriptor, None)
        self._dripping.discard(descriptor)
        self._connections.pop(descriptor)[0].close()

    def _obey(self) -> bool:
        """Does what was asked for; False when nothing will be any more."""
        data = os.read(0, 65536)
        for line in data.decode().splitlines():
            word, *rest = line.split(" ")
            answer = "done"
            if word == "sick":
                self._sick |= {int(number): rest[0] for number in rest[1:]}
            elif word == "well":
                for descriptor in [key for key, value in self._connections.items() if value[1] in self._sick]:
                    self._drop(descriptor)
                self._sick.clear()
            elif word == "count":
                answer = str(self._count)
            elif word == "dump":
                Path(rest[0]).write_text(json.dumps(self._arrived), "utf-8")
                self._arrived.clear()
            print(answer, flush=True)
        return bool(data)


if __name__ == "__main__":
    Partners(int(sys.argv[1]), int(sys.argv[2])).run()
