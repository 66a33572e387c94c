"""Names to addresses, with the time for which the answer holds, by c-ares.

Owns: one channel of c-ares, whose thread asks the name servers: those of the settings, else those of the system
(`/etc/resolv.conf`, followed when it changes), `/etc/hosts` first, search domains included. However many names are
asked for, none waits for another. Never judges an address and remembers nothing for long.

Why not getaddrinfo: it does not tell how long an answer holds, and keeps a thread busy until the name server answers
(`docs/decisions/0031-names-resolved-once.md`).
"""

import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pycares

ADDRESSES_MAX = 256  # of one name; beyond it the answer is refused whole


class Answer(NamedTuple):
    """What a name resolves to. Without an address, `why` says what was wrong."""

    addresses: tuple[str, ...]
    ttl_ms: int
    why: str = ""


class Resolver:
    """`ask` is called by one thread; `done` by that thread or by the channel's."""

    def __init__(self, servers: Sequence[str], timeout_ms: int) -> None:
        """`servers` are addresses, with a port behind a colon where it is not 53; none: the system's."""
        # A second try waits twice as long: together they take about `timeout_ms`.
        self._channel: Any = pycares.Channel(
            servers=list(servers) or None, timeout=max(0.05, timeout_ms / 3000), tries=2
        )

    def ask(self, host: str, done: Callable[[Answer], None]) -> None:
        """Resolves a name; `done` is told once. A trailing dot keeps the search domains out."""

        def answered(result: Any, error: int | None) -> None:
            done(_answer_of(result) if error is None else Answer((), 0, str(pycares.errno.strerror(error))))

        try:
            self._channel.getaddrinfo(host, None, type=socket.SOCK_STREAM, callback=answered)
        except (pycares.AresError, ValueError, UnicodeError) as error:
            done(Answer((), 0, str(error)))

    def forget(self) -> None:
        """Has c-ares drop its own memory, which holds failures and long answers longer than we want them."""
        self._channel.reinit()

    def close(self) -> None:
        """Abandons what is being asked."""
        self._channel.close()


def _answer_of(result: Any) -> Answer:
    found = tuple(dict.fromkeys(_text(node.addr[0]) for node in result.nodes))
    if len(found) > ADDRESSES_MAX:
        return Answer((), 0, f"the name has {len(found)} addresses, at most {ADDRESSES_MAX} are taken")
    times = [node.ttl for node in result.nodes] + [alias.ttl for alias in result.cnames]
    return Answer(found, min(times, default=0) * 1000, "" if found else "the name has no address")


def _text(address: str | bytes) -> str:
    return address.decode() if isinstance(address, bytes) else address
