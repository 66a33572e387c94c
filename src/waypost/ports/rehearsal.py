"""A door for those who try something out: requests in, answers out, no socket, no journal.

Engine: the desks of a door (`doors/rehearsal.py`). What it would have made durable is handed back with the answer.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from waypost.ports.board import Board


class TriedRequest(NamedTuple):
    """A request as a door would read it; `headers` by their names in small letters."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    address: str


class TriedAnswer(NamedTuple):
    """What came of it. `frame` is empty where nothing was to be kept; `code` says why it was refused, `detail` more."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    frame: bytes = b""
    code: str = ""
    detail: str = ""


class TriedDoor(Protocol):
    """One door with the memory that a door has, under one catalog version and one clock."""

    def take_board(self, board: Board) -> None:
        """What the pipeline says of caps from now on."""

    def ask(self, request: TriedRequest, facts: Mapping[str, str]) -> TriedAnswer:
        """`facts` are what is known of the visitor beside what the request tells."""

    def close(self) -> None: ...
