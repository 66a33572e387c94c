"""The board: the small snapshot that the pipeline leaves for doors, so that they need not ask the ledger.

Engine: one file, replaced whole (`engines/local/board.py`). The pipeline writes it, doors and the console read it.
A board is a hint with an end: what it says holds until it expires or the cap's period ends, whichever is first, so
doors whose pipeline is gone go on redirecting. What is exact is the ledger, and the pipeline's refusal by it.
"""

from typing import Protocol

import msgspec

FORM = 1
NEVER_MS = 1 << 62


class CapRoom(msgspec.Struct, frozen=True):
    """What is left of one cap that is near its limit: `remaining` until `until_ms`, when its period ends."""

    offer: int
    cap: str  # the counter's key in the ledger, which names the period
    limit: int
    remaining: int
    until_ms: int


class Board(msgspec.Struct, frozen=True):
    """As of `at_ms`; nothing of it holds from `expires_ms` on."""

    form: int
    catalog: int
    at_ms: int
    expires_ms: int
    caps: tuple[CapRoom, ...] = ()

    def exhausted(self, now_ms: int) -> tuple[frozenset[int], int]:
        """The offers that have no room now, and until when this very answer holds."""
        if now_ms >= self.expires_ms:
            return frozenset(), NEVER_MS
        used_up = [room for room in self.caps if room.remaining <= 0 and now_ms < room.until_ms]
        holds_ms = min([self.expires_ms, *(room.until_ms for room in used_up)])
        return frozenset(room.offer for room in used_up), holds_ms


class BoardWriter(Protocol):
    """The pipeline's side."""

    def publish(self, board: Board) -> None:
        """Replaces what readers see, whole. Need not be durable: the next one makes it good.

        Raises WaypostError `data_unwritable`.
        """


class BoardReader(Protocol):
    """A door's side. Never waits for the writer."""

    def look(self) -> Board | None:
        """The board if it is another than at the last look; None if it is the same, or there is none to be read.

        A board of a form that this release does not know counts as none.
        """
