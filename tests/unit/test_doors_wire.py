"""What a door does with bytes: order, keep-alive, versions, bodies in pieces, bounds, slowness, garbage, drain."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.doors import Client, DoorJournal, RunningDoor, door_settings, running_door
from waypost.doors.refusal_search import Wanted, search_refusals
from waypost.model.frames import PostbackIn
from waypost.model.wire import decode_frame

CALL = b"GET /postback?token=s3cret&txn_id=%d HTTP/1.1\r\nHost: d\r\n\r\n"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDoor]:
    with running_door(tmp_path_factory.mktemp("door")) as running:
        yield running


@pytest.fixture
def client(door: RunningDoor) -> Iterator[Client]:
    made = Client(door.address)
    yield made
    made.close()


def test_pipelined_requests_are_answered_in_their_order(door: RunningDoor, client: Client) -> None:
    mixed = [
        CALL % 1,
        b"GET /c/none HTTP/1.1\r\nHost: d\r\n\r\n",
        b"GET /c/demo HTTP/1.1\r\nHost: d\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: d\r\n\r\n",
    ]
    client.send(b"".join(mixed * 200))
    statuses = [client.read().status for _ in range(800)]
    assert statuses == [200, 404, 302, 200] * 200


def test_a_target_that_is_not_encoded_is_taken_as_if_it_were(door: RunningDoor, client: Client) -> None:
    journal = door.journal
    query = "token=s3cret&goal=Заказ&x=\u2028\xff".encode() + b"\xff"
    for _ in range(2):
        client.send(b"GET /postback?%b HTTP/1.1\r\nHost: d\r\n\r\n" % query + CALL % 2)
        assert [client.read().status for _ in range(2)] == [200, 200]
        kept = journal.frames[-2]
        assert isinstance(kept, PostbackIn)
        assert kept.query == b"token=s3cret&goal=%D0%97%D0%B0%D0%BA%D0%B0%D0%B7&x=%E2%80%A8%C3%BF%FF"
    client.send(CALL % 3)
    assert client.read().status == 200


@pytest.mark.parametrize(
    "line", [b"GET /postback?x=\xd0\x97\x00 HTTP/1.1", b"GE\xd0 / HTTP/1.1", b"GET /\xd0 HTTP/9.9"]
)
def test_what_is_wrong_besides_stays_wrong(client: Client, line: bytes) -> None:
    client.send(line + b"\r\nHost: d\r\n\r\n")
    assert client.read().json["error"] == "malformed_request"


def test_answers_wait_for_the_commit_of_those_before_them(tmp_path: Path) -> None:
    with running_door(tmp_path) as door:
        door.journal.gate.clear()
        client = Client(door.address)
        client.send(CALL % 1 + b"GET /nothing HTTP/1.1\r\nHost: d\r\n\r\n")
        other = door.get("/healthz")  # has nothing before it, and waits for nobody
        assert other.json["pending"] <= 1
        client.sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.sock.recv(1, socket.MSG_PEEK)
        client.sock.settimeout(10)
        door.journal.gate.set()
        assert [client.read().status, client.read().status] == [200, 404]
        client.close()


def test_a_deep_pipeline_is_read_only_as_far_as_answers_go_out(tmp_path: Path) -> None:
    with running_door(tmp_path) as door:
        client = Client(door.address)
        client.send(b"".join(CALL % nth for nth in range(3000)))
        assert [client.read().status for _ in range(3000)] == [200] * 3000
        client.close()
        queries = [frame.query for frame in door.journal.frames if isinstance(frame, PostbackIn)]
    assert queries == [b"token=s3cret&txn_id=%d" % nth for nth in range(3000)]


def test_commits_are_shared_and_bounded(tmp_path: Path) -> None:
    with running_door(tmp_path, settings=door_settings(commit_frames_max=10)) as door:
        client = Client(door.address)
        client.send(b"".join(CALL % nth for nth in range(95)))
        assert [client.read().status for _ in range(95)] == [200] * 95
        client.close()
    sizes = [len(frames) for frames, _ in door.journal.blocks]
    assert sum(sizes) == 95
    assert max(sizes) == 10


def test_no_frame_is_older_than_a_watermark_before_it(tmp_path: Path) -> None:
    with running_door(tmp_path, settings=door_settings(heartbeat_ms=1, commit_frames_max=7)) as door:
        clients = [Client(door.address) for _ in range(5)]
        for nth in range(40):
            for client in clients:
                client.send(CALL % nth + b"GET /c/demo HTTP/1.1\r\nHost: d\r\n\r\n")
            for client in clients:
                assert [client.read().status, client.read().status] == [200, 302]
        for client in clients:
            client.close()
        with door.journal.changed:
            seen = len(door.journal.heartbeats)
            assert door.journal.changed.wait_for(lambda: len(door.journal.heartbeats) > seen + 1, 10)
    floor_ms = 0
    for frames, watermark_ms in door.journal.blocks:
        for raw in frames:
            frame = decode_frame(raw)
            time_ms = frame.at_ms if isinstance(frame, PostbackIn) else frame.ms  # type: ignore[union-attr]
            assert floor_ms <= time_ms <= watermark_ms
        floor_ms = watermark_ms
    assert door.journal.heartbeats == sorted(door.journal.heartbeats)
    assert door.journal.heartbeats[-1] >= floor_ms


@pytest.mark.parametrize(
    ("head", "stays", "told"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: d\r\n\r\n", True, ""),
        (b"GET /healthz HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n", False, "close"),
        (b"GET /healthz HTTP/1.0\r\n\r\n", False, "close"),
        (b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True, "keep-alive"),
        (b"GET /postback?token=s3cret HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True, "keep-alive"),
        (b"GET /postback?token=s3cret HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n", False, "close"),
        (b"GET /c/demo HTTP/1.0\r\n\r\n", False, "close"),
        (
            b"GET /postback?token=s3cret HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
            False,
            "close",
        ),
        (b"\r\n\r\nGET /healthz HTTP/1.1\r\nHost: d\r\n\r\n", True, ""),
    ],
)
def test_keep_alive(client: Client, head: bytes, stays: bool, told: str) -> None:
    client.send(head)
    answer = client.read()
    assert answer.status in (200, 302)
    assert answer.headers.get("connection", "") == told
    assert answer.headers["date"].endswith("GMT")
    if stays:
        client.send(CALL % 5)
        assert client.read().status == 200
    else:
        assert client.is_closed()


def test_connect_is_refused_and_closed(client: Client) -> None:
    client.send(CALL % 1 + b"CONNECT d:443 HTTP/1.1\r\nHost: d:443\r\n\r\n")
    assert client.read().status == 200
    assert client.read().status == 404
    assert client.is_closed()


def test_a_request_may_come_byte_by_byte(door: RunningDoor, client: Client) -> None:
    data = b"POST /postback HTTP/1.1\r\nHost: d\r\nWaypost-Token: s3cret\r\nContent-Length: 3\r\n\r\na=1"
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for nth in range(len(data)):
        client.send(data[nth : nth + 1])
    assert client.read().status == 200
    frame = door.journal.frames[-1]
    assert isinstance(frame, PostbackIn) and frame.body == b"a=1"


def test_a_chunked_body_is_put_together_and_its_trailer_is_no_header(door: RunningDoor, client: Client) -> None:
    client.send(
        b"POST /postback?token=s3cret HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"4\r\nwiki\r\n5;x=y\r\npedia\r\n0\r\nWaypost-Test: wrong\r\n\r\n" + CALL % 2
    )
    assert [client.read().status, client.read().status] == [200, 200]
    frame = door.journal.frames[-2]
    assert isinstance(frame, PostbackIn) and frame.body == b"wikipedia"


def test_a_client_that_expects_it_is_told_to_go_on(client: Client) -> None:
    client.send(b"POST /postback?token=s3cret HTTP/1.1\r\nHost: d\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert client.read().status == 100
    client.send(b"body")
    assert client.read().status == 200


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET /" + b"x" * 8193 + b" HTTP/1.1\r\nHost: d\r\n\r\n", "url_too_long"),
        (
            b"GET / HTTP/1.1\r\nHost: d\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"v" * 90) for n in range(200)),
            "headers_too_large",
        ),
        (b"GET / HTTP/1.1\r\nHost: d\r\nX: " + b"y" * 80_000, "headers_too_large"),
        (
            b"POST /postback HTTP/1.1\r\nHost: d\r\nContent-Length: 65537\r\nExpect: 100-continue\r\n\r\n",
            "body_too_large",
        ),
        (
            b"POST /postback HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n" + b"z" * 70_000,
            "body_too_large",
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "malformed_request"),
        (b"GET / HTTP/9.9\r\n\r\n", "malformed_request"),
        (b"POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "malformed_request"),
    ],
)
def test_bounds_and_garbage_end_in_one_clear_answer(client: Client, data: bytes, code: str) -> None:
    client.send(CALL % 1)
    assert client.read().status == 200
    for at in range(0, len(data), 16_000):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.send(data[at : at + 16_000])
    answer = client.read()
    assert answer.json["error"] == code
    assert answer.headers["connection"] == "close"
    client.sock.shutdown(socket.SHUT_WR)
    assert client.is_closed()


def test_a_refusal_waits_its_turn(client: Client) -> None:
    client.send(CALL % 1 + b"GARBAGE\r\n\r\n")
    assert client.read().status == 200
    assert client.read().json["error"] == "malformed_request"


def test_slow_and_silent_clients_are_ended(tmp_path: Path) -> None:
    limits = door_settings(request_timeout_ms=80, idle_timeout_ms=120)
    with running_door(tmp_path, settings=limits) as door:
        slow, silent, keeps = (Client(door.address) for _ in range(3))
        slow.send(b"GET /c/demo HTT")
        keeps.send(CALL % 1)
        assert keeps.read().status == 200
        assert slow.read().json["error"] == "request_timeout"
        assert silent.is_closed()
        assert keeps.is_closed()
        for client in (slow, silent, keeps):
            client.close()
    assert door.stats.values["door_timeouts"] >= 3
    assert [entry.code for entry in search_refusals(tmp_path, Wanted())] == ["request_timeout"]


def test_one_connection_too_many_is_told_so(tmp_path: Path) -> None:
    with running_door(tmp_path, settings=door_settings(connections_max=2)) as door:
        held = [Client(door.address) for _ in range(2)]
        for client in held:
            client.send(CALL % 1)
            assert client.read().status == 200
        extra = Client(door.address)
        answer = extra.read()
        assert (answer.status, answer.json["error"]) == (503, "too_many_connections")
        extra.close()
        for client in held:
            client.send(CALL % 2)
            assert client.read().status == 200
            client.close()


def test_a_client_that_hangs_up_loses_its_answer_and_nothing_else(tmp_path: Path) -> None:
    with running_door(tmp_path) as door:
        door.journal.gate.clear()
        client = Client(door.address)
        client.send(CALL % 7)
        while not door.get("/healthz").json["pending"]:
            pass
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        client.close()
        door.journal.gate.set()
        assert door.get("/postback?token=s3cret").status == 200
        assert len(door.journal.frames) == 2


def test_a_half_closed_client_still_gets_its_answer(client: Client) -> None:
    client.send(CALL % 7)
    client.sock.shutdown(socket.SHUT_WR)
    assert client.read().status == 200
    assert client.is_closed()


def test_drain_answers_what_is_in_hand_and_closes_politely(tmp_path: Path) -> None:
    with running_door(tmp_path) as door:
        waits, keeps, begun = (Client(door.address) for _ in range(3))
        for client in (keeps, begun):
            client.send(CALL % 1)
            assert client.read().status == 200
        door.journal.gate.clear()
        waits.send(CALL % 1)
        begun.send(b"GET /healthz HTT")
        while not door.get("/healthz").json["pending"]:
            pass
        door.door.stop()
        while not door.door.is_draining:
            pass
        keeps.send(b"GET /healthz HTTP/1.1\r\nHost: d\r\n\r\n")
        answer = keeps.read()
        assert (answer.json["draining"], answer.headers["connection"]) == (True, "close")
        begun.send(b"P/1.1\r\n\r\n")
        assert begun.read().headers["connection"] == "close"
        door.journal.gate.set()
        assert waits.read().status == 200
        assert waits.is_closed() and keeps.is_closed() and begun.is_closed()
        door.thread.join(10)
        assert not door.thread.is_alive()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(door.address, timeout=5)
        for client in (waits, keeps, begun):
            client.close()


def test_a_drain_costs_nobody_an_answer_who_sends_on(tmp_path: Path) -> None:
    with running_door(tmp_path) as door:
        door.journal.gate.clear()
        client = Client(door.address)
        client.send(CALL % 1)
        while not door.door.commit.pending:
            pass
        door.door.stop()
        while not door.door.is_draining:
            pass
        client.send(CALL % 2)  # answered: it was in hand when the drain had begun, and is the last
        client.send(CALL % 3 * 50)
        door.journal.gate.set()
        answers = [client.read(), client.read()]
        assert [answer.status for answer in answers] == [200, 200]
        assert answers[1].headers["connection"] == "close"
        assert client.file.read() == b""  # an end, not a reset
        client.close()
    assert len(door.journal.frames) == 2


def test_drain_is_bounded(tmp_path: Path) -> None:
    limits = door_settings()
    limits = msgspec.structs.replace(limits, supervisor=msgspec.structs.replace(limits.supervisor, drain_ms=800))
    with running_door(tmp_path, settings=limits) as door:
        stubborn = Client(door.address)
        stubborn.send(b"GET /never-end")
        while not door.door.connections or not next(iter(door.door.connections)).in_request:
            pass
        door.door.stop()
        door.thread.join(10)
        assert not door.thread.is_alive()
        assert stubborn.is_closed()
        stubborn.close()


def test_the_journal_is_trimmed_once_both_readers_have_published(tmp_path: Path) -> None:
    class Published:
        def __init__(self) -> None:
            self.positions = {"pipeline": 40}

        def publish(self, reader: str, source: str, position: int) -> None:
            self.positions[reader] = position

        def of(self, source: str) -> dict[str, int]:
            assert source == "door-0"
            return dict(self.positions)

    positions = Published()
    limits = door_settings()
    limits = msgspec.structs.replace(limits, journal=msgspec.structs.replace(limits.journal, trim_interval_ms=2))
    journal = DoorJournal()
    with running_door(tmp_path, settings=limits, positions=positions, journal=journal) as door:
        for _ in range(5):
            door.get("/healthz")
        assert not any(journal.trimmed), "a reader that has said nothing stands at the beginning"
        positions.publish("archivist", "door-0", 30)
        with journal.changed:
            assert journal.changed.wait_for(lambda: any(journal.trimmed), 10)
        assert next(filter(None, journal.trimmed)) == 30


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=200),
            st.sampled_from(
                [
                    b"GET /postback?token=s3cret HTTP/1.1\r\nHost: d\r\n\r\n",
                    b"GET /c/demo?%ff=%&sub1=%zz HTTP/1.1\r\nHost: d\r\n",
                    b"\r\n\r\n",
                    b"Content-Length: 5\r\n",
                    b"Transfer-Encoding: chunked\r\n\r\n",
                    b"Connection: close\r\n\r\n",
                    b"Upgrade: x\r\nConnection: upgrade\r\n\r\n",
                    b"POST /\xff/postback?\x00 HTTP/1.0\r\n",
                    b"ffffffffffffffff\r\n",
                ]
            ),
        ),
        max_size=6,
    )
)
def test_no_bytes_break_the_door(door: RunningDoor, pieces: list[bytes]) -> None:
    client = Client(door.address)
    with contextlib.suppress(OSError):  # what comes behind a request that closes meets a closed connection
        for piece in pieces:
            client.send(piece)
        client.sock.shutdown(socket.SHUT_WR)
        while client.sock.recv(65536):
            pass
    client.close()
    assert door.stats.values["errors"] == 0
    assert door.get("/postback?token=s3cret").status == 200


_PROCESS = """
import sys, socket
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from support.catalogs import MemoryCatalogs, design_view
from support.doors import OPERATOR_KEY, RING, DoorJournal, door_settings
from waypost.doors.door import Door
from waypost.engines.local.clock import SystemClock
from waypost.engines.local.visitor_keys import FileVisitorKeys
from waypost.telemetry.stats import Stats
journal = DoorJournal()
Door(number=0, sockets=[socket.socket(fileno=int(sys.argv[1]))], journal=journal,
     catalogs=MemoryCatalogs(design_view()), ring=RING, operator_key=OPERATOR_KEY,
     refusals_file=Path(sys.argv[2]) / "door-0.db", settings=door_settings(), clock=SystemClock(),
     stats=Stats("door-0"), visitor_keys=FileVisitorKeys(Path(sys.argv[2]) / "visitors.json")).run()
print(len(journal.frames), flush=True)
"""


def test_sigterm_ends_the_process_and_leaves_the_parents_socket(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROCESS, str(listener.fileno()), str(tmp_path), str(Path(__file__).parents[1])],
            pass_fds=[listener.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.stdout is not None
        with process.stdout:
            client = Client(listener.getsockname())
            client.send(CALL % 1)
            assert client.read().status == 200
            process.send_signal(signal.SIGTERM)
            assert client.is_closed()
            client.close()
            assert process.wait(20) == 0
            assert process.stdout.read().split()[-1] == b"1"
        later = Client(listener.getsockname())  # waits in the parent's backlog for the next door
        later.close()


@pytest.mark.parametrize(
    "data",
    [
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET http://d/healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: d\r\nHost: d\r\n\r\n",
        b"GET /healthz HTTP/1.0\r\nHost: d\r\nhost: e\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: d/e\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: d, e\r\n\r\nGET /healthz HTTP/1.1\r\nHost: d e\r\n\r\n",
        b"POST /postback HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\na=1",
        b"POST /postback HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\na=1",
        b"POST /postback HTTP/1.1\r\nHost: d\r\nContent-Length: 3, 3\r\n\r\na=1",
        b"POST /postback HTTP/1.1\r\nHost: d\r\nContent-Length: +3\r\n\r\na=1",
        b"POST /postback HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /postback HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        b"POST /postback HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /postback HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /postback HTTP/1.1\r\nHost: d\r\nContent-Length : 3\r\n\r\na=1",
        b"POST /postback HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n5;\nx\r\nabcde\r\n0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: d\r\nX-Long: a\r\n b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: d\r\n Host: e\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: d\nX: y\r\n\r\nGET /healthz HTTP/1.1\rHost: d\r\n\r\n",
    ],
)
def test_what_two_readers_might_read_in_two_ways_is_refused(door: RunningDoor, data: bytes) -> None:
    client = Client(door.address)
    client.send(data)
    answer = client.read()
    assert (answer.status, answer.json["error"]) == (400, "malformed_request")
    assert client.is_closed()
    client.close()


def test_a_whole_url_is_read_as_its_host_and_target(door: RunningDoor) -> None:
    found = door.get("http://d/c/demo?sub1=a")
    assert found.status == 302
    oddity = door.get("http://d?x=/c/demo")
    assert (oddity.status, oddity.json["error"]) == (404, "unknown_path")
    assert door.get("http://user@d:80/healthz").status == 200


@pytest.mark.parametrize("cut", [1, 12, 30, 32, 33, 40, 60])
def test_a_target_that_was_not_encoded_may_come_in_pieces(door: RunningDoor, cut: int) -> None:
    request = "GET /postback?token=s3cret&goal=Заказ&sub=é HTTP/1.1\r\nHost: d\r\n\r\n".encode()
    before = len(door.journal.frames)
    connection = Client(door.address)
    for _ in range(2):  # the second finds a parser that was given up
        connection.send(request[:cut])
        _turns(door, 3)
        connection.send(request[cut : cut + 2])
        _turns(door, 3)
        connection.send(request[cut + 2 :])
        assert connection.read().status == 200
    connection.close()
    queries = {frame.query for frame in door.journal.frames[before:] if isinstance(frame, PostbackIn)}
    assert queries == {b"token=s3cret&goal=%D0%97%D0%B0%D0%BA%D0%B0%D0%B7&sub=%C3%A9"}


def _turns(door: RunningDoor, count: int) -> None:
    """Until the door has had so many turns: each answers a question."""
    for _ in range(count):
        assert door.get("/healthz").status == 200


def test_a_line_of_odd_bytes_that_never_ends_is_refused(door: RunningDoor) -> None:
    client = Client(door.address)
    for nth in range(10):
        client.send(b"\xd0\x97" * 1000 if nth else b"GET /postback?goal=")
    assert client.read().json["error"] == "url_too_long"
    client.close()
