"""Thousands of requests a second from well-behaved clients, each error counted: nothing is tried again.

Two kinds of client share the rate: some keep their connection until they are told `Connection: close`, and then make a
new one; the others make a new one for each request. Requests have their times beforehand (an open loop): a client that
was kept waiting sends what it missed as fast as it can, so a pause of the server's hides nothing.
Runs in a thread of its own.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from typing import cast

import uvloop

WITHIN_S = 15.0  # no answer within this is an error
KEEPING, ONE_EACH = 24, 16  # clients of each kind


class Client(asyncio.Protocol):
    """Sends its next request when its time has come and the last one is answered; makes connections as it needs."""

    def __init__(self, flood: "Flood", loop: asyncio.AbstractEventLoop, requests: Sequence[bytes], rate: float) -> None:
        self._flood = flood
        self._loop = loop
        self._requests = requests
        self._pause_s = 1 / rate
        self._due_s = loop.time()
        self._transport: asyncio.WriteTransport | None = None
        self._answer = b""
        self._count = 0
        self._sent_s = 0.0  # 0: nothing is awaited
        self._is_closing = False  # what the server has announced
        self._connecting: asyncio.Task[None] | None = None

    def next(self) -> None:
        """Sends the next request now, or when it is due."""
        if self._flood.is_stopped:
            self.close()
            return
        self._due_s += self._pause_s
        wait_s = self._due_s - self._loop.time()
        if wait_s > 0.001:
            self._loop.call_later(wait_s, self._send)
        else:
            self._loop.call_soon(self._send)

    def overdue(self, now_s: float) -> bool:
        return bool(self._sent_s) and now_s - self._sent_s > WITHIN_S

    def fail(self, why: str) -> None:
        self._flood.errors.append(f"{self._loop.time() - self._flood.began_s:.3f} s: {why}")
        self._sent_s = 0.0
        self.close()
        self.next()

    def close(self) -> None:
        if self._transport is not None:
            transport, self._transport = self._transport, None
            transport.close()

    def _send(self) -> None:
        self._sent_s = self._loop.time()
        if self._transport is None:
            self._connecting = self._loop.create_task(self._connect())
        else:
            self._write()

    def _write(self) -> None:
        assert self._transport is not None
        self._transport.write(self._requests[self._count % len(self._requests)])
        self._count += 1

    async def _connect(self) -> None:
        try:
            await self._loop.create_connection(lambda: self, "127.0.0.1", self._flood.port)
        except OSError as error:
            self.fail(f"not connected: {error}")
        else:
            self._write()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._answer = b""
        self._is_closing = False

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end:
            return
        head = head.lower()
        if len(body) < int(head.partition(b"content-length:")[2].partition(b"\r")[0]):
            return
        self._answer = b""
        self._flood.statuses[int(head[9:12])] += 1
        self._flood.latencies_s.append(self._loop.time() - self._sent_s)
        self._sent_s = 0.0
        if b"connection: close" in head:
            self._is_closing = True
            self.close()
        self.next()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._transport = None
            if self._sent_s:
                self.fail(f"closed without an answer: {exc}")
            # An idle connection that ends is no error, and the next request makes another.


class Flood:
    """`rate` requests a second to `targets` in turn, `new_share` of them over connections of their own."""

    def __init__(self, port: int, targets: Sequence[str], *, rate: float, new_share: float) -> None:
        self.port = port
        self.errors: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.latencies_s: list[float] = []
        self.is_stopped = False
        self.began_s = self._ended_s = 0.0
        self._rate, self._new_share = rate, new_share
        self._targets = [target.encode("ascii") for target in targets]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Flood":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_stopped = True
        self._thread.join(WITHIN_S * 2)

    @property
    def answered(self) -> int:
        return self.statuses.total()

    @property
    def rate(self) -> float:
        """Answers a second, from beginning to end."""
        return self.answered / (self._ended_s - self.began_s)

    def quantile_ms(self, share: float) -> float:
        """Of the times from a request's sending to its answer, a new connection included."""
        return sorted(self.latencies_s)[int(share * (len(self.latencies_s) - 1))] * 1000

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._all())

    async def _all(self) -> None:
        loop = asyncio.get_running_loop()
        self.began_s = loop.time()
        clients = []
        for count, share, header in (
            (KEEPING, 1 - self._new_share, b""),
            (ONE_EACH, self._new_share, b"Connection: close\r\n"),
        ):
            requests = [b"GET %b HTTP/1.1\r\nHost: w\r\n%b\r\n" % (target, header) for target in self._targets]
            for nth in range(count):
                turned = requests[nth % len(requests) :] + requests[: nth % len(requests)]
                clients.append(Client(self, loop, turned, self._rate * share / count))
        for client in clients:
            client.next()
        while not self.is_stopped:
            await asyncio.sleep(0.1)
            for client in clients:
                if client.overdue(loop.time()):
                    client.fail(f"no answer within {WITHIN_S} s")
        self._ended_s = loop.time()
        await asyncio.sleep(0.5)  # what is under way is answered
