"""Names judged whole: a name of which any answer is forbidden is not dialled at all.

Owns: a few threads that resolve, and what is known of names for a while. libcurl tries a name's addresses one after
the other and shows each only when it dials it, so a name with one public and one private address could reach the
private one's neighbour, or be steered by who answers last; here all answers are judged before the first dial. The
address that is dialled is judged again by `guard.py`: names may change in between.
Never decides for a name that does not resolve: libcurl says so in its own words.
"""

import socket
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from urllib.parse import urlsplit

from waypost.courier.guard import AddressGuard, Judgement

KNOWN_MS = 30_000  # how long a judgement on a name is used
_NAMES_MAX = 20_000
_THREADS_MAX = 8  # names resolved at once: a name server that hangs must not hold up all others
_PORT = 443  # any: a port is judged when it is dialled
_FINE = Judgement("")


def authority_of(url: str) -> str:
    """Host and port as they stand in a URL; what judgements are remembered by."""
    return url.partition("://")[2].partition("/")[0].partition("?")[0].partition("#")[0]


class NameJudge:
    """`known` and `ask` are called by the sender's thread; answers come through `done`, from threads of its own."""

    def __init__(self, guard: AddressGuard, done: Callable[[str, Judgement], None]) -> None:
        self._guard = guard
        self._done = done
        self._known: dict[str, tuple[float, Judgement]] = {}
        self._asked: SimpleQueue[str | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._waiting = 0

    def known(self, authority: str) -> Judgement | None:
        """What is known of a name; None if it must be asked for."""
        found = self._known.get(authority)
        if found is None or found[0] < time.monotonic() * 1000:
            return None
        return found[1]

    def ask(self, authority: str) -> None:
        """Has a name resolved and judged; `done` is told."""
        self._waiting += 1
        if self._waiting > len(self._threads) and len(self._threads) < _THREADS_MAX:
            thread = threading.Thread(target=self._work, name="waypost-names", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._asked.put(authority)

    def answered(self, authority: str, judgement: Judgement) -> None:
        """Remembers an answer; called by the sender's thread."""
        self._waiting -= 1
        if len(self._known) >= _NAMES_MAX:
            self._known.clear()
        self._known[authority] = (time.monotonic() * 1000 + KNOWN_MS, judgement)

    def close(self) -> None:
        """Ends the threads; one that waits for a name server is left behind."""
        for _ in self._threads:
            self._asked.put(None)

    def _work(self) -> None:
        while (authority := self._asked.get()) is not None:
            self._done(authority, self._judge(authority))

    def _judge(self, authority: str) -> Judgement:
        try:
            host = urlsplit(f"//{authority}").hostname or ""
            answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM) if host else []
        except (OSError, ValueError, UnicodeError):
            return _FINE  # libcurl will say what is wrong with it
        for answer in answers:
            address = str(answer[4][0])
            judgement = self._guard.judge(address, _PORT)
            if judgement == "address_forbidden":
                return Judgement(str(judgement), f"{host} resolves to {address}: {judgement.why}", address)
        return _FINE
