"""What all connections have read in one turn of the loop, taken in together before the commit of that turn begins.

While a commit is with the disk, what is read waits for its end, or until enough of it has come together: it could not
become durable any sooner, and requests that are handled a few at a time cost twice as much each.

Between two reads lie system calls, after which the interpreter finds its caches cold; requests that are handled one
after the other cost less, and so do the steps of one kind: all heads are looked at, and then all requests handled.
Measured: docs/decisions/0015-known-heads.md, 0028-a-click-in-few-steps.md, 0037-a-turn-at-once.md,
0042-what-waits-for-a-commit-waits-together.md, 0047-what-a-small-commit-costs.md.

Owns: the pieces of the turn, in the order in which they came. Reads and writes nothing else. Never holds more than
small pieces, and none for longer than `HOLD_MAX_MS`. Of each connection all is handled in its order.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import msgspec

from waypost.telemetry.log import logger

PIECE_BYTES_MAX = 4096  # a larger piece is not kept waiting: all is taken in at once
HELD_MAX = 32  # pieces that wait for a commit's end; more are taken in while the disk works
HOLD_MAX_MS = 3.0  # … and how long: a disk that hangs holds up nobody who asks for nothing of it


class Kind(msgspec.Struct, eq=False):
    """What requests have in common whose heads differ in nothing but the target and what is one visitor's own.

    `headers` are shared, and never changed; `is_asking`: one of a request's may decide what becomes of a call.
    """

    headers: dict[bytes, bytes]
    is_asking: bool = False
    memo: Any = None  # what a desk has found out of these headers


Head: TypeAlias = tuple[bytes, Kind, dict[bytes, bytes]]
"""Of a GET without a body: the target, the kind, and the headers that are its own.

Where there are such, what the kind has is the same for many: an address or a referrer is among its own, or not there.
"""


def headers_of(head: Head) -> dict[bytes, bytes]:
    """All headers of a request; not to be changed."""
    _, kind, own = head
    return {**kind.headers, **own} if own else kind.headers


Look: TypeAlias = Callable[[bytes], Head | None]
"""Finds the one request that a piece may be; hangs on nothing but the piece, and changes nothing."""


class Taker(Protocol):
    """A connection."""

    def take(self, data: bytes, head: Head | None) -> None:
        """Handles what was read, and what `Look` found in it."""

    def abort(self) -> None:
        """Ends the connection."""


Piece: TypeAlias = tuple[Any, bytes, Head | None]
"""What a connection (a `Taker`) has read, and the request that was found in it."""

TakeAtOnce: TypeAlias = Callable[[list[Piece]], list[Piece]]
"""Takes what it can of a turn's pieces, all of it at once, and answers the others in their order: of a connection, all
from the first that it does not take. What it raises, it raises before it has taken any."""


class Inbox:
    """`put` is called for each read, `empty` at the end of the turn and before anything that ends a connection."""

    __slots__ = ("_find", "_held_since_s", "_holds", "_log", "_look_at", "_loop", "_pieces", "_take_at_once", "_timer")

    def __init__(self, look: Look) -> None:
        self._find = look
        self._loop: asyncio.AbstractEventLoop | None = None
        self._take_at_once: TakeAtOnce = _nothing
        self._holds: Callable[[], bool] = _never
        self._pieces: list[tuple[Taker, bytes]] = []
        self._look_at = 1  # so many pieces call for something; `HELD_MAX` only while they are held
        self._held_since_s = 0.0
        self._timer: asyncio.TimerHandle | None = None  # goes on while commits follow each other: a new one costs more
        self._log = logger("doors")

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        take_at_once: TakeAtOnce | None = None,
        holds: Callable[[], bool] | None = None,
    ) -> None:
        """Names the loop whose turns these are. `holds` says whether a commit is under way or about to begin, whose end
        or beginning empties this."""
        self._loop = loop
        self._take_at_once = take_at_once or _nothing
        self._holds = holds or _never

    def put(self, taker: Taker, data: bytes) -> None:
        """Takes a piece; a large one empties the inbox, so that its bound is small pieces."""
        pieces = self._pieces
        pieces.append((taker, data))
        if len(pieces) == self._look_at or len(data) > PIECE_BYTES_MAX:
            self._arrange(data)

    def _arrange(self, data: bytes) -> None:
        """Sees to it that what is there will be taken in: `data` came last."""
        assert self._loop is not None
        if len(data) > PIECE_BYTES_MAX:
            self.empty()
        elif self._look_at == 1 and self._holds():
            self._look_at = HELD_MAX
            self._held_since_s = self._loop.time()
            if self._timer is None:
                self._timer = self._loop.call_later(HOLD_MAX_MS / 1000, self._end_hold)
        else:
            self._look_at = 0
            self._loop.call_soon(self.empty)

    def _end_hold(self) -> None:
        """Takes in what has been held for long enough; looks again later if that is not the case."""
        self._timer = None
        if self._look_at == HELD_MAX:
            assert self._loop is not None
            left_s = self._held_since_s + HOLD_MAX_MS / 1000 - self._loop.time()
            if left_s > 0:
                self._timer = self._loop.call_later(left_s, self._end_hold)
            else:
                self.empty()

    def empty(self) -> bool:
        """Hands on all pieces; whether there were any."""
        taken = self._pieces
        if not taken:
            return False
        self._pieces, self._look_at = [], 1
        find = self._find
        pieces: list[Piece] = [(taker, data, find(data)) for taker, data in taken]
        try:
            pieces = self._take_at_once(pieces)
        except Exception:  # a mistake of ours: one by one it may cost one connection, not all
            self._log.exception("take_at_once_failed")
        for taker, data, head in pieces:
            try:
                taker.take(data, head)
            except Exception:  # a mistake of ours: costs this connection, not the others
                self._log.exception("take_failed")
                taker.abort()
        return True


def _never() -> bool:
    return False


def _nothing(pieces: list[Piece]) -> list[Piece]:
    return pieces
