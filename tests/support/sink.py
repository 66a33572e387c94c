"""A partner's server that is no part of Waypost: an asyncio HTTP server in a thread of its own.

Keeps every request with its time, target, headers and body in the order of arrival, and answers as the test says:
at once, late, with an error, or never.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import NamedTuple


class Received(NamedTuple):
    """One request. Header names are in lower case; `at_s` is monotonic."""

    at_s: float
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """Which postback it is."""
        return self.headers["waypost-id"]

    @property
    def attempt(self) -> int:
        return int(self.headers["waypost-attempt"])

    @property
    def is_repeat(self) -> bool:
        """Whether it is marked as sent before."""
        return "waypost-repeat" in self.headers


class Answer(NamedTuple):
    """What a request is answered with, and after how long; status 0 closes the connection without an answer. The body
    goes out a byte at a time where `byte_s` says how long each takes."""

    status: int = 200
    after_s: float = 0.0
    body: bytes = b"ok"
    byte_s: float = 0.0


class Sink:
    """Listens between `start` and `stop`; `behave` may be replaced at any time. `port` 0 takes a free one."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.received: list[Received] = []
        self.behave: Callable[[Received], Answer] = lambda request: Answer()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    def __enter__(self) -> "Sink":
        self._thread.start()
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start(self) -> "Sink":
        """Takes the port. Raises OSError if it is taken."""
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def stop(self) -> None:
        """Closes the port and every connection; what was received stays."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while (request := await _read(reader)) is not None:
                self.received.append(request)
                answer = self.behave(request)
                if answer.after_s:
                    await asyncio.sleep(answer.after_s)
                if not answer.status:
                    return
                await _write(writer, answer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return  # the sender went away, or this server stops
        finally:
            self._connections.discard(task)
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()


async def _write(writer: asyncio.StreamWriter, answer: Answer) -> None:
    head = b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n\r\n" % (answer.status, len(answer.body))
    if not answer.byte_s:
        writer.write(head + answer.body)
        await writer.drain()
        return
    writer.write(head)
    for byte in answer.body:
        await asyncio.sleep(answer.byte_s)
        writer.write(bytes((byte,)))
        await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(time.monotonic(), method, target, headers, body)
