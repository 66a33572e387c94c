"""The short way of a call and the thorough one: the same frame, the same answer, whatever is asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.doors import Answer, RunningDoor, running_door
from waypost.doors.inbox import Piece
from waypost.doors.protocol import Connection
from waypost.model.frames import PostbackIn

pairs = st.one_of(
    st.sampled_from(
        [
            b"token=s3cret",
            b"token=wrong",
            b"mytoken=s3cret",
            b"token=",
            b"return=OK",
            b"return=ok",
            b"xreturn=OK",
            b"token=%733cret",
            b"a=b#token=s3cret",
            b"key=s3cret",
            b"goal=install",
            b"",
        ]
    ),
    st.text("abc=&#%", max_size=6).map(str.encode),
)
queries = st.lists(pairs, max_size=5).map(b"&".join)
headers = st.lists(
    st.sampled_from(
        [
            b"Host: d",
            b"Waypost-Token: s3cret",
            b"Waypost-Token: no",
            b"Authorization: Bearer s3cret",
            b"Waypost-Test: x",
            b"Content-Type: text/plain",
            b"User-Agent: x",
            b"Connection: close",
        ]
    ),
    max_size=3,
    unique=True,
)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDoor]:
    with running_door(tmp_path_factory.mktemp("door")) as running:
        assert running.get("/postback?token=s3cret").status == 200  # the door knows the token from here on
        yield running


def _asked(door: RunningDoor, request: bytes) -> tuple[object, ...]:
    before = len(door.journal.frames)
    answer: Answer = door.ask(request)
    taken = []
    for frame in door.journal.frames[before:]:
        assert isinstance(frame, PostbackIn)
        assert answer.json["receipt"] == f"r{frame.receipt:016x}" if answer.headers["content-length"] != "2" else True
        taken.append(msgspec.structs.replace(frame, receipt=0, at_ms=0))
    return answer.status, len(answer.body), taken


@given(st.sampled_from([b"GET", b"GET", b"POST", b"HEAD"]), queries, headers)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_both_ways_agree(door: RunningDoor, method: bytes, query: bytes, lines: list[bytes]) -> None:
    head = b"".join(line + b"\r\n" for line in lines)
    end = b"Content-Length: 0\r\n" if method == b"POST" else b""
    request = b"%b /postback?%b HTTP/1.1\r\nHost: d\r\n%b%b\r\n" % (method, query, head, end)
    if method == b"HEAD":
        request = request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    desk = door.door._routes._postbacks
    first = _asked(door, request) if method != b"HEAD" else door.ask(request, is_head=True).status
    try:
        desk.take_plain = lambda shelf, pieces: pieces  # type: ignore[method-assign]
        second = _asked(door, request) if method != b"HEAD" else door.ask(request, is_head=True).status
    finally:
        del desk.take_plain
    assert first == second


def test_the_plain_call_goes_the_short_way(door: RunningDoor, tmp_path: Path) -> None:
    desk = door.door._routes._postbacks
    desk.take = lambda *arguments, **options: pytest.fail("the thorough way")  # type: ignore[method-assign]
    try:
        assert door.get("/postback?click_id=1&token=s3cret").status == 200
    finally:
        del desk.take


def test_a_connection_is_answered_in_its_order_whichever_way_its_requests_go(door: RunningDoor) -> None:
    """A call that must go the thorough way holds back those behind it, and those of no other connection."""
    one, two = Connection(door.door), Connection(door.door)

    def piece(connection: Connection, query: str) -> Piece:
        return connection, b"", (f"/postback?token=s3cret&{query}".encode(), {}, False)

    pieces: list[Piece] = [
        piece(one, "n=0"),
        piece(one, "n=1&idempotency_key=order"),
        piece(two, "n=2"),
        piece(one, "n=3"),
        (two, b"half a requ", None),
        piece(two, "n=4"),
    ]
    desk = door.door._routes._postbacks
    taken: list[Any] = []
    desk._commit_plain = lambda shelf, calls: taken.extend(calls)  # type: ignore[method-assign]
    try:
        left = door.door._routes.take_calls(pieces)
    finally:
        del desk._commit_plain
    assert left == [pieces[1], pieces[3], pieces[4], pieces[5]]
    assert [(connection, query[-1:]) for connection, _, query, _ in taken] == [(one, b"0"), (two, b"2")]
