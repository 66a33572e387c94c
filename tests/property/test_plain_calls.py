"""The short way of a call and the thorough one: the same frame, the same answer, whatever is asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.doors import Answer, RunningDoor, running_door
from waypost.catalog.outside import Domain
from waypost.doors.hosts import Hosts
from waypost.doors.inbox import Kind, Piece
from waypost.doors.limits import Buckets
from waypost.doors.protocol import Connection
from waypost.model.frames import PostbackIn
from waypost.model.wire import decode_frame
from waypost.stages.redirect import NO_TARGETS

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
        target = f"/postback?token=s3cret&{query}".encode()
        return connection, b"GET %b HTTP/1.1\r\nHost: d\r\n\r\n" % target, (target, Kind({}), ())

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
        left = door.door._routes.take_at_once(pieces)
    finally:
        del desk._commit_plain
    assert left == [pieces[1], pieces[3], pieces[4], pieces[5]]
    assert [(connection, query[-1:]) for connection, _, query, _ in taken] == [(one, b"0"), (two, b"2")]


def test_clicks_of_a_turn_are_taken_together_one_of_each_connection(door: RunningDoor) -> None:
    assert door.get("/c/demo?sub1=a").status == 302  # the link is known from here on
    shelf = door.door._routes.shelf
    assert shelf is not None
    shelf.links[b"broken"] = msgspec.structs.replace(shelf.links[b"demo"], targets=NO_TARGETS)
    connections = [Connection(door.door, f"192.0.2.{nth}") for nth in range(6)]
    targets = [
        (0, b"/c/demo?sub1=a"),
        (1, b"/c/broken?sub1=a"),  # meets an error: answered where it is found again
        (2, b"/c/demo?mode=json"),
        (0, b"/c/demo?sub1=b"),
        (3, b"/c/nobodys"),
        (1, b"/postback?token=nobodys"),
        (4, b"/c/demo"),
        (5, b"/c/demo?sub1=c"),
    ]
    connections[4].is_closing = True
    pieces: list[Piece] = [(connections[nth], b"", (target, Kind({b"host": b"d"}), ())) for nth, target in targets]
    commit = door.door.commit
    kept: list[Any] = []
    commit.add_each = lambda frames, answers, clicks=0: kept.append((frames, answers, clicks))  # type: ignore[method-assign]
    try:
        left = door.door._routes.take_at_once(pieces)
    finally:
        del commit.add_each
        del shelf.links[b"broken"]
    assert [pieces.index(piece) for piece in left] == [1, 2, 3, 4, 5, 6]
    ((frames, answers, clicks),) = kept
    assert [decode_frame(frame).query for frame in frames] == [b"sub1=a", b"sub1=c"] and clicks == 2
    assert [connection for connection, _, _ in answers] == [connections[0], connections[5]]
    assert all(b"Location: http://127.0.0.1:9000/land?cid=" in answer for _, answer, _ in answers)
    assert [connection.pending for connection in connections] == [1, 0, 0, 0, 0, 1]


def test_of_a_turns_clicks_those_of_an_address_with_too_many_are_left(door: RunningDoor) -> None:
    assert door.get("/c/demo").status == 302
    head = (b"/c/demo", Kind({b"host": b"d"}), ())
    pieces: list[Piece] = [
        (Connection(door.door, address), b"", head) for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1")
    ]
    commit, limits = door.door.commit, door.door.limits
    commit.add_each = lambda frames, answers, clicks=0: None  # type: ignore[method-assign]
    kept, limits._visits = limits._visits, Buckets(1, 1, 100)
    try:
        assert door.door._routes.take_at_once(pieces) == pieces[2:]
    finally:
        limits._visits = kept
        del commit.add_each


def test_what_is_for_a_host_that_is_not_served_is_taken_by_nobody_at_once(door: RunningDoor) -> None:
    assert door.get("/c/demo").status == 302
    shelf = door.door._routes.shelf
    assert shelf is not None
    served, shelf.hosts = shelf.hosts, Hosts((Domain("closed.example", active=False),))
    pieces: list[Piece] = [
        (Connection(door.door, "192.0.2.1"), b"GET " + target, (target, Kind({b"host": host}), ()))
        for host in (b"closed.example", b"CLOSED.example:80", b"open.example")
        for target in (b"/c/demo", b"/postback?token=s3cret")
    ]
    commit = door.door.commit
    commit.add_each = lambda frames, answers, clicks=0: None  # type: ignore[method-assign]
    try:
        assert door.door._routes.take_at_once(pieces) == pieces[:4]
    finally:
        shelf.hosts = served
        del commit.add_each
