"""A running door on a real loopback socket, with a journal in memory that can be made to fail or to wait."""

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from support.catalogs import MemoryCatalogs, design_view
from waypost.doors.door import Door
from waypost.engines.local.board import FileBoard
from waypost.engines.local.clock import SystemClock
from waypost.engines.local.visitor_keys import FileVisitorKeys
from waypost.errors import WaypostError
from waypost.model.frames import AnyFrame
from waypost.model.ids import KeyRing
from waypost.model.wire import decode_frame
from waypost.ports.catalog_source import CatalogSource
from waypost.ports.feed import Positions
from waypost.ports.visitors import Visitors
from waypost.runtime.sockets import open_listener
from waypost.settings import Settings, load_settings
from waypost.telemetry.stats import Stats

RING = KeyRing({"0": bytes(range(16))})
OPERATOR_KEY = "0f" * 32


class DoorJournal:
    """`ports.feed.Journal` in memory. `failing` is the code that appends raise; `gate` holds them back when clear."""

    source = "door-0"

    def __init__(self, last_ms: int = 0) -> None:
        self.last_ms = last_ms
        self.blocks: list[tuple[list[bytes], int]] = []
        self.heartbeats: list[int] = []
        self.trimmed: list[int] = []
        self.failing = ""
        self.gate = threading.Event()
        self.gate.set()
        self.changed = threading.Condition()

    @property
    def bytes_on_disk(self) -> int:
        return 0

    @property
    def end(self) -> int:
        return sum(len(frames) for frames, _ in self.blocks)

    @property
    def frames(self) -> list[AnyFrame]:
        return [decode_frame(frame) for frames, _ in self.blocks for frame in frames]

    def append(self, frames: Sequence[bytes], *, at_ms: int, watermark_ms: int) -> int:
        if not self.gate.wait(20):
            raise WaypostError("journal_unavailable", "the test left the gate shut")
        if self.failing:
            raise WaypostError(self.failing, "the test says so")
        with self.changed:
            first = self.end
            self.blocks.append((list(frames), watermark_ms))
            self.changed.notify_all()
        return first

    def heartbeat(self, *, at_ms: int, watermark_ms: int) -> None:
        if self.failing:
            raise WaypostError(self.failing, "the test says so")
        with self.changed:
            self.heartbeats.append(watermark_ms)
            self.changed.notify_all()

    def trim(self, below: int) -> int:
        with self.changed:
            self.trimmed.append(below)
            self.changed.notify_all()
        return below

    def close(self) -> None:
        pass


class Answer(NamedTuple):
    """One HTTP answer, read whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


class Client:
    """A raw connection: sends bytes, reads answers one by one."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.sock = socket.create_connection(address, timeout=10)
        self.file = self.sock.makefile("rb")

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def read(self, *, is_head: bool = False) -> Answer:
        """The next answer; an EOFError if the door has closed."""
        line = self.file.readline()
        if not line:
            raise EOFError("closed by the door")
        version, status, _ = line.split(b" ", 2)
        assert version == b"HTTP/1.1"
        headers = {}
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        length = 0 if is_head else int(headers.get("content-length", "0"))
        return Answer(int(status), headers, self.file.read(length))

    def is_closed(self) -> bool:
        """Whether the door has ended the connection (waits for it)."""
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.file.close()
        self.sock.close()


class RunningDoor(NamedTuple):
    door: Door
    address: tuple[str, int]
    journal: DoorJournal
    catalogs: CatalogSource
    stats: Stats
    thread: threading.Thread
    refusals: Path

    def ask(self, data: bytes, *, is_head: bool = False) -> Answer:
        """One request on a connection of its own."""
        client = Client(self.address)
        try:
            client.send(data)
            return client.read(is_head=is_head)
        finally:
            client.close()

    def get(self, target: str, *headers: str, method: str = "GET") -> Answer:
        lines = "".join(f"{line}\r\n" for line in headers)
        request = f"{method} {target} HTTP/1.1\r\nHost: door\r\n{lines}\r\n".encode()
        return self.ask(request, is_head=method == "HEAD")

    def post(self, target: str, body: bytes, *headers: str) -> Answer:
        lines = "".join(f"{line}\r\n" for line in headers)
        head = f"POST {target} HTTP/1.1\r\nHost: door\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
        return self.ask(head.encode() + body)


def door_settings(**changes: object) -> Settings:
    """The shipped settings with changes to [door]; refusals are limited only where a test asks for it."""
    settings = load_settings(environment={})
    changes = {"address_refused_per_s": 0, **changes}
    return msgspec.structs.replace(settings, door=msgspec.structs.replace(settings.door, **changes))


@contextmanager
def running_door(
    folder: Path,
    *,
    journal: DoorJournal | None = None,
    catalogs: CatalogSource | None = None,
    settings: Settings | None = None,
    positions: Positions | None = None,
    number: int = 3,
    tls_folder: Path | None = None,
    host: str = "127.0.0.1",
    visitors: Visitors | None = None,
    grpc_address: str = "",
) -> Iterator[RunningDoor]:
    """A door in a thread; drained at the end. With a folder of certificates it speaks TLS only."""
    listener = open_listener(host, 0)
    address = listener.getsockname()[:2]
    sockets = [listener]
    journal = journal or DoorJournal()
    catalogs = catalogs if catalogs is not None else MemoryCatalogs(design_view())
    stats = Stats(f"door-{number}")
    door = Door(
        number=number,
        sockets=[] if tls_folder else sockets,
        tls_sockets=sockets if tls_folder else [],
        tls_folder=tls_folder,
        journal=journal,
        catalogs=catalogs,
        ring=RING,
        operator_key=OPERATOR_KEY,
        refusals_file=folder / "door-0.db",
        settings=settings or door_settings(),
        clock=SystemClock(),
        stats=stats,
        positions=positions,
        visitors=visitors,
        visitor_keys=FileVisitorKeys(folder / "keys" / "visitors.json"),
        board=FileBoard(folder / "board" / "current.json"),
        grpc_address=grpc_address,
    )
    thread = threading.Thread(target=door.run)
    thread.start()
    try:
        yield RunningDoor(door, address, journal, catalogs, stats, thread, folder)
    finally:
        journal.gate.set()
        door.stop()
        thread.join(20)
        listener.close()
    assert not thread.is_alive()
