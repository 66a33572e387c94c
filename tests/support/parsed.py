"""A connection without a socket: what its parser hands over, and what it says by itself."""

from typing import Any

import msgspec

from waypost.doors.answers import Answers
from waypost.doors.inbox import Inbox
from waypost.doors.known_heads import KnownHeads
from waypost.doors.limits import Limits
from waypost.doors.protocol import Connection
from waypost.doors.proxies import Proxies
from waypost.settings import load_settings


class Turns:
    """Stands for the loop: what is due at the end of the turn is kept until `run`."""

    def __init__(self) -> None:
        self.due: list[Any] = []

    def call_soon(self, act: Any, *arguments: Any) -> None:
        self.due.append((act, arguments))

    def run(self) -> None:
        while self.due:
            act, arguments = self.due.pop(0)
            act(*arguments)


class Wire:
    """Stands for the transport; `peername` is what it says of the other side."""

    def __init__(self, peername: tuple[str, int] = ("192.0.2.7", 40000)) -> None:
        self.peername = peername
        self.written = b""
        self.is_over = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.peername if name == "peername" else default

    def write(self, data: bytes) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_over = True

    def close(self) -> None:
        self.is_over = True

    abort = close

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


class Recorder:
    """Stands for the door: keeps each request as (method, url, headers, body, mode, address), and answers it."""

    def __init__(self, *, knows: bool = True, **changes: Any) -> None:
        self.settings = msgspec.structs.replace(load_settings(environment={}).door, **changes)
        self.limits = Limits(self.settings)
        self.proxies = Proxies(self.settings.proxies, self.settings.proxy_header)
        self.wanted_headers: frozenset[bytes] = frozenset()
        self.answers = Answers(1, 1_800_000_000.0)
        self.connections: set[Connection] = set()
        self.is_draining = False
        self.tick_ms = 0.0
        self.direct_answers = 0
        self.known_heads = KnownHeads(self.settings.url_bytes_max)
        self.inbox = Inbox(self.known_heads.find)
        self.turns = Turns()
        self.inbox.start(self.turns)  # type: ignore[arg-type]
        if not knows:
            self.known_heads.close()
        self.commit: Any = self
        self.requests: list[tuple[Any, ...]] = []
        self.waiting: list[Connection] = []
        self.noted: list[str] = []
        self.parsed = 0

    def handle(self, connection: Connection) -> None:
        headers = dict(connection.headers)
        self.requests.append(
            (connection.method, connection.url, headers, connection.body, connection.mode, connection.address)
        )
        connection.wait()
        self.waiting.append(connection)

    def is_known_sender(self, connection: Connection) -> bool:
        return False

    def note_unreadable(self, connection: Connection, code: str, data: bytes) -> None:
        self.noted.append(code)

    def note_crash(self, connection: Connection, error: BaseException) -> None:
        raise error

    def add_behind(self, connection: Connection, response: bytes) -> None:
        self.waiting.append(connection)

    def connect(self, wire: Wire | None = None) -> tuple[Connection, Wire]:
        wire = wire or Wire()
        connection = Connection(self)  # type: ignore[arg-type]
        connection.connection_made(wire)  # type: ignore[arg-type]
        return connection, wire

    def turn(self) -> None:
        """The end of a turn: what came in is handled, and then answered."""
        self.turns.run()
        waiting, self.waiting = self.waiting, []
        for connection in waiting:
            connection.release(b"answer\r\n")
