"""Connections that need something before their first request: a PROXY preface from a named proxy, a TLS handshake.

Owns: accepting on such a socket, and connections until they are ready; how many may be on the way there, and how long.
Hands each to a protocol made for the client's address. Never lets a slow handshake hold up another, and never reads a
byte beyond the preface.
"""

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from functools import partial

from waypost.doors.limits import limited_by
from waypost.doors.proxies import PREFACE_BYTES_MAX, BadPreface, Proxies, plain_address, read_preface

_ACCEPTED_AT_ONCE_MAX = 64  # then others get their turn
_PAUSE_S = 0.1  # when the system has no descriptors or memory left

MakeProtocol = Callable[[str], asyncio.Protocol]
NoteFailed = Callable[[str, str], None]
"""Takes the address and what went wrong."""


class Acceptor:
    """One listening socket; `proxies` where a preface is expected, `context` where TLS is."""

    def __init__(
        self,
        listener: socket.socket,
        make: MakeProtocol,
        *,
        context: ssl.SSLContext | None,
        proxies: Proxies | None,
        timeout_s: float,
        under_way_max: int,
        of_address_max: int,
        trusts: Callable[[str], bool],
        note_failed: NoteFailed,
    ) -> None:
        """`of_address_max` bounds those of one address (0: none), unless it is a named proxy: `trusts`."""
        self._of_address_max = of_address_max
        self._trusts = trusts
        self._of_addresses: Counter[str] = Counter()
        self._listener = listener
        self._make = make
        self._context = context
        self._proxies = proxies
        self._timeout_s = timeout_s
        self._under_way_max = under_way_max
        self._note_failed = note_failed
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        listener.setblocking(False)
        self._watch()

    @property
    def under_way(self) -> int:
        """Connections that are not ready yet."""
        return len(self._tasks)

    def close(self) -> None:
        """Accepts nothing more; what is under way goes on. The socket stays open: it is the caller's."""
        self._is_open = False
        self._loop.remove_reader(self._listener)

    def abort(self) -> None:
        """Ends what is still under way."""
        for task in self._tasks:
            task.cancel()

    def _watch(self) -> None:
        if self._is_open:
            self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE_MAX):
            try:
                client, peer = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._note_failed("", str(error))
                self._loop.remove_reader(self._listener)
                self._loop.call_later(_PAUSE_S, self._watch)
                return
            if len(self._tasks) >= self._under_way_max:
                client.close()
                self._note_failed(plain_address(peer[0]), "too many handshakes at once")
                continue
            address = plain_address(peer[0])
            key = "" if self._trusts(address) else limited_by(address)
            if key and 0 < self._of_address_max <= self._of_addresses[key]:
                client.close()
                self._note_failed(address, "too many handshakes of this address at once")
                continue
            self._of_addresses[key] += 1
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = self._loop.create_task(self._prepare(client, address))
            self._tasks.add(task)
            task.add_done_callback(partial(self._done, key))

    def _done(self, key: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._of_addresses[key] -= 1
        if not self._of_addresses[key]:
            del self._of_addresses[key]

    async def _prepare(self, client: socket.socket, peer: str) -> None:
        address = peer
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._proxies is not None and self._proxies.trusts(peer):
                    address = await self._preface(client) or peer
                await self._loop.connect_accepted_socket(lambda: self._make(address), client, ssl=self._context)
        except (OSError, BadPreface, EOFError, TimeoutError) as error:  # ssl.SSLError is an OSError
            self._note_failed(address, str(error) or type(error).__name__)
            client.close()
        except BaseException:
            client.close()
            raise

    async def _preface(self, client: socket.socket) -> str:
        """Reads the preface, and not one byte more; the address in it."""
        held = b""
        while True:
            await self._readable(client)
            try:
                seen = client.recv(PREFACE_BYTES_MAX, socket.MSG_PEEK)
            except BlockingIOError:
                continue
            if not seen:
                raise EOFError("closed before the preface was whole")
            found = read_preface(held + seen)
            if found is not None:
                client.recv(found[0] - len(held))
                return found[1]
            held += client.recv(len(seen))

    async def _readable(self, client: socket.socket) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(client, lambda: None if ready.done() else ready.set_result(None))
        try:
            await ready
        finally:
            with contextlib.suppress(OSError, ValueError):
                self._loop.remove_reader(client)
