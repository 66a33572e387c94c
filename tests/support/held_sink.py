"""A partner's server that stands still at a stage of a request until it is let go: for what happens to a sender there.

A thread for each connection; each connection carries one request. Nothing of Waypost is in it.
"""

import socket
import threading
from enum import IntEnum
from typing import NamedTuple

BODY = b"thank you"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(BODY), BODY)


class Stage(IntEnum):
    """How far a request gets before the server stands still."""

    CONNECTING = 1  # no connection is taken
    CONNECTED = 2  # nothing is read of it
    READ = 3  # the request is read
    HALF_HEAD = 4  # half of the status line is sent
    HALF_BODY = 5
    NEVER = 9  # answered at once


class Got(NamedTuple):
    """A request that came whole. Names of headers are in lower case."""

    target: str
    headers: dict[str, str]


class HeldSink:
    """`stage` may be set at any time; `let_go` has what stands still go on to its end."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.answered = 0  # requests that were answered whole
        self.held = 0  # requests that stood still at a stage so far
        self.stage = Stage.NEVER
        self._go = threading.Event()
        self._may_accept = threading.Event()
        self._may_accept.set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._is_closed = False
        self._fillers: list[socket.socket] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> "HeldSink":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed = True
        self.let_go()
        with socket.create_connection(("127.0.0.1", self.port)):  # has the thread look
            pass
        self._thread.join()
        self._listener.close()

    def hold_at(self, stage: Stage) -> None:
        """The requests that come from now on stand still there."""
        self._go.clear()
        self.held = 0
        self.stage = stage
        if stage is Stage.CONNECTING:
            self._fill()

    def let_go(self) -> None:
        """All go on, and none stands still from now on."""
        self.stage = Stage.NEVER
        for filler in self._fillers:
            filler.close()
        self._fillers = []
        self._go.set()
        self._may_accept.set()

    def _fill(self) -> None:
        """Takes no more connections, and has strangers take the places in which they would wait: a SYN is not
        answered then."""
        self._may_accept.clear()
        with socket.create_connection(("127.0.0.1", self.port)):  # the one that the thread is waiting for
            pass
        self._listener.listen(0)
        timeouts = 0
        while timeouts < 2:  # one may be a busy machine's
            filler = socket.socket()
            filler.settimeout(0.3)
            self._fillers.append(filler)
            try:
                filler.connect(("127.0.0.1", self.port))
            except TimeoutError:
                timeouts += 1

    def _accept(self) -> None:
        while not self._is_closed:
            connection, _ = self._listener.accept()
            self._may_accept.wait()
            self._listener.listen(64)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._answer(connection)
            except OSError:
                return  # the sender is dead

    def _answer(self, connection: socket.socket) -> None:
        self._hold(Stage.CONNECTED)
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(65536)
            if not piece:
                return
            head += piece
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        with self._lock:
            self.got.append(Got(first.split(" ")[1], headers))
        self._hold(Stage.READ)
        sent = 0
        for stage, length in ((Stage.HALF_HEAD, 9), (Stage.HALF_BODY, len(ANSWER) - len(BODY) // 2)):
            if self.stage is stage:
                connection.sendall(ANSWER[sent:length])
                sent = length
                self._hold(stage)
        connection.sendall(ANSWER[sent:])
        with self._lock:
            self.answered += 1

    def _hold(self, stage: Stage) -> None:
        if self.stage is stage:
            with self._lock:
                self.held += 1
            self._go.wait()
