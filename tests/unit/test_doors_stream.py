"""The gRPC service, spoken to by a real client: order, durability, authentication, bounds, drain, TLS."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import grpc
import pytest

from support.catalogs import MemoryCatalogs
from support.certificates import Authority
from support.doors import OPERATOR_KEY, DoorJournal, RunningDoor, door_settings, running_door
from support.grpc_client import Stream, channel_to, conversions, report
from support.installation import until
from support.intake import advertiser, intake_view
from waypost.catalog.model import IntakeRules
from waypost.doors.bulk import Outcome
from waypost.doors.proto.waypost_pb2 import Answers, Conversion
from waypost.doors.refusal_search import Wanted, search_refusals
from waypost.doors.stream import StreamService, address_of, answers_of, query_of
from waypost.errors import WaypostError
from waypost.model.frames import Auth, PostbackIn
from waypost.model.ids import receipt_text
from waypost.runtime.sockets import open_listener
from waypost.runtime.sockets import port_of as port_of_socket
from waypost.stages.call_auth import Caller
from waypost.stages.intake import decode_pairs

ROOT = Path(__file__).parent.parent.parent
VIEW = intake_view(
    advertiser(1, "acme", "s3cret"),
    advertiser(2, "aliased", "other-token", sets=("affise",)),
    advertiser(3, "far", "far-token", allow_addresses=("198.51.100.0/24",), wrong_token=200),
    rules=IntakeRules(("global-token",)),
    offer_token="offer-token",
)
ACME = {"waypost-token": "s3cret"}


def port_of(door: RunningDoor) -> int:
    """The service's port, once it is open: the door starts in a thread."""
    return int(until(lambda: door.door.stream and door.door.stream.port, "the gRPC service open"))


@pytest.fixture
def door(tmp_path: Path) -> Iterator[RunningDoor]:
    settings = door_settings(batch_lines_max=200, line_bytes_max=500, grpc_batches_pending_max=4)
    catalogs = MemoryCatalogs(VIEW)
    with running_door(tmp_path, catalogs=catalogs, settings=settings, grpc_address="127.0.0.1:0") as running:
        yield running


@pytest.fixture
def channel(door: RunningDoor) -> Iterator[grpc.Channel]:
    with channel_to(port_of(door)) as channel:
        yield channel


def taken(door: RunningDoor) -> list[PostbackIn]:
    return [frame for frame in door.journal.frames if isinstance(frame, PostbackIn)]


def test_each_message_is_answered_in_order_and_is_one_commit(door: RunningDoor, channel: grpc.Channel) -> None:
    stream = Stream(channel, ACME)
    sent = [[{"click_id": f"{nth}x{item}", "goal": "install"} for item in range(nth)] for nth in (1, 0, 100, 3)]
    for calls in sent:
        stream.send(conversions(*calls))
    stream.end()
    answers = [stream.read() for _ in sent]
    assert [len(one) for one in answers] == [1, 0, 100, 3] and stream.failure() == ("OK", "")
    frames = taken(door)
    receipts = [answer.receipt for one in answers for answer in one]
    assert receipts == [receipt_text(frame.receipt) for frame in frames]
    assert [frame.query.decode() for frame in frames] == [
        f"click_id={call['click_id']}&goal=install" for calls in sent for call in calls
    ]
    assert {(f.advertiser, f.auth, f.origin, f.method, f.ip, f.body, f.test) for f in frames} == {
        (1, Auth.TOKEN, "grpc", "POST", "127.0.0.1", b"", False)
    }
    starts = {frames[0] for frames, _ in door.journal.blocks}
    assert len(starts) <= 3, "a message's conversions are not spread over commits"


def test_a_single_call(door: RunningDoor, channel: grpc.Channel) -> None:
    (answer,) = report(channel, conversions({"click_id": "a"}), {"authorization": "Bearer s3cret"})
    assert answer.receipt == receipt_text(taken(door)[0].receipt)


def test_nothing_is_acknowledged_before_it_is_durable(door: RunningDoor, channel: grpc.Channel) -> None:
    door.journal.gate.clear()
    stream = Stream(channel, ACME)
    stream.send(conversions({"click_id": "a"}))
    answered = threading.Event()
    reader = threading.Thread(target=lambda: (stream.read(), answered.set()))
    reader.start()
    assert not answered.wait(0.3) and not taken(door)
    door.journal.gate.set()
    assert answered.wait(10) and len(taken(door)) == 1
    reader.join()
    stream.end()


def test_a_stream_is_read_no_further_while_too_much_waits(door: RunningDoor, channel: grpc.Channel) -> None:
    door.journal.gate.clear()
    stream = Stream(channel, ACME)
    for nth in range(20):
        stream.send(conversions({"click_id": str(nth)}))
    until(lambda: door.door.commit.pending >= 4, "four waiting")
    for _ in range(20):  # many turns of the door, in which it might have read on
        assert door.get("/healthz").json["pending"] == 4
    assert door.door.commit.pending == 4, "so many may wait, and no more"
    door.journal.gate.set()
    assert [len(stream.read()) for _ in range(20)] == [1] * 20
    stream.end()
    assert [frame.query for frame in taken(door)] == [b"click_id=%d" % nth for nth in range(20)]


@pytest.mark.parametrize(
    ("metadata", "status", "code"),
    [
        ({"waypost-token": "wrong"}, "UNAUTHENTICATED", "wrong_token"),
        ({"waypost-test": "wrong"}, "UNAUTHENTICATED", "wrong_test_key"),
    ],
)
def test_who_may_not_is_told_by_status_and_code(
    door: RunningDoor, channel: grpc.Channel, metadata: dict[str, str], status: str, code: str
) -> None:
    stream = Stream(channel, metadata)
    stream.send(conversions({"click_id": "a"}))
    found, text = stream.failure()
    assert (found, text.partition(":")[0]) == (status, code) and not taken(door)
    assert dict(stream.call.trailing_metadata())["waypost-error"] == code
    with pytest.raises(grpc.RpcError) as error:
        report(channel, conversions({"click_id": "a"}), metadata)
    assert str(error.value.details()).startswith(code)


def test_each_conversion_may_carry_its_own_token(door: RunningDoor, channel: grpc.Channel) -> None:
    calls: list[dict[str, Any]] = [{"token": t} for t in ("s3cret", "wrong", "global-token", "offer-token")]
    calls += [{}, {"parameters": {"secure": "other-token"}}, {"token": "far-token"}]
    answers = report(channel, conversions(*({**call, "click_id": "a"} for call in calls)), {})
    assert [answer.error for answer in answers] == ["", "wrong_token", "", "", "missing_token", "", ""]
    assert [frame.auth for frame in taken(door)] == [Auth.TOKEN, Auth.GLOBAL, Auth.OFFER, Auth.TOKEN]
    assert answers[1].message and not answers[1].retriable
    door.door._refusals.close()
    notes = search_refusals(door.refusals, Wanted())
    assert {note.code for note in notes} == {"wrong_token", "missing_token", "address_not_allowed"}


def test_keys_make_the_receipts_that_http_makes(door: RunningDoor, channel: grpc.Channel) -> None:
    call = {"click_id": "a", "idempotency_key": "k"}
    first, second = report(channel, conversions(call, call), ACME)
    assert first.receipt == second.receipt and taken(door)[0].keyed
    assert first.receipt == door.get("/postback?token=s3cret", "Idempotency-Key: k").json["receipt"]


def test_tests_are_marked(door: RunningDoor, channel: grpc.Channel) -> None:
    report(channel, conversions({"click_id": "a"}), {**ACME, "waypost-test": OPERATOR_KEY})
    assert taken(door)[0].test


def test_bounds(door: RunningDoor, channel: grpc.Channel) -> None:
    answers = report(channel, conversions({"goal": "x" * 600}, {"goal": "y"}), ACME)
    assert [answer.error for answer in answers] == ["line_too_long", ""]
    stream = Stream(channel, ACME)
    stream.send(conversions({"goal": "a"}))
    stream.send(conversions(*({"goal": "a"} for _ in range(201))))
    assert len(stream.read()) == 1, "what came before is answered"
    assert stream.failure()[0] == "INVALID_ARGUMENT"
    raw = Stream(channel, ACME, raw=True)
    raw.send(b"\xff\xff no message")
    assert raw.failure()[1].startswith("batch_malformed")
    large = Stream(channel, ACME, raw=True)
    large.send(bytes(5 << 20))
    assert large.failure()[0] == "RESOURCE_EXHAUSTED"
    assert len(taken(door)) == 2


def test_streams_at_once_are_bounded(tmp_path: Path) -> None:
    settings = door_settings(grpc_streams_max=1)
    with (
        running_door(tmp_path, catalogs=MemoryCatalogs(VIEW), settings=settings, grpc_address="127.0.0.1:0") as door,
        channel_to(port_of(door)) as channel,
    ):
        first = Stream(channel, ACME)
        first.send(conversions({"click_id": "a"}))
        first.read()
        assert Stream(channel, ACME).failure()[1].startswith("too_many_streams")
        first.end()
        assert first.failure()[0] == "OK"
        second = Stream(channel, ACME)
        second.send(conversions({"click_id": "a"}))
        assert second.read()
        second.end()


def test_what_cannot_be_journaled_is_answered_as_retriable_and_the_stream_goes_on(
    door: RunningDoor, channel: grpc.Channel
) -> None:
    door.journal.failing = "journal_full"
    stream = Stream(channel, ACME)
    stream.send(conversions({"click_id": "a"}, {"click_id": "b"}))
    assert [(answer.error, answer.retriable) for answer in stream.read()] == [("journal_full", True)] * 2
    door.journal.failing = ""
    stream.send(conversions({"click_id": "a"}))
    assert stream.read()[0].receipt
    stream.end()


def test_a_drain_answers_what_it_has_and_says_so(tmp_path: Path) -> None:
    journal = DoorJournal()
    catalogs = MemoryCatalogs(VIEW)
    with (
        running_door(tmp_path, catalogs=catalogs, journal=journal, grpc_address="127.0.0.1:0") as door,
        channel_to(port_of(door)) as channel,
    ):
        stream = Stream(channel, ACME)
        stream.send(conversions({"click_id": "a"}))
        assert stream.read()
        journal.gate.clear()
        stream.send(conversions({"click_id": "b"}))
        until(lambda: door.door.commit.pending, "the second waiting for the disk")
        door.door.stop()
        until(lambda: door.door.is_draining, "the drain begun")
        journal.gate.set()
        assert len(stream.read()) == 1
        status, text = stream.failure()
        assert (status, text.partition(":")[0]) == ("UNAVAILABLE", "door_draining")
        door.thread.join(20)
        assert len(taken(door)) == 2


def test_a_client_that_goes_away_leaves_nothing_behind(door: RunningDoor) -> None:
    door.journal.gate.clear()
    with channel_to(port_of(door)) as channel:
        stream = Stream(channel, ACME)
        stream.send(conversions({"click_id": "a"}))
        until(lambda: door.door.commit.pending, "the call waiting for the disk")
    stream.end()
    door.journal.gate.set()
    service = door.door.stream
    assert service is not None
    until(lambda: service._streams == 0 and not service._readers, "nothing left of the stream")
    until(lambda: taken(door), "the call in the journal")
    assert len(taken(door)) == 1, "what was taken stays"


def test_a_token_that_was_withdrawn_ends_the_stream(door: RunningDoor, channel: grpc.Channel) -> None:
    stream = Stream(channel, ACME)
    stream.send(conversions({"click_id": "a"}))
    stream.read()
    catalogs = door.catalogs
    assert isinstance(catalogs, MemoryCatalogs)
    view = intake_view(advertiser(1, "acme", "another"))
    view._version = 2
    catalogs.views[2] = view
    until(lambda: door.door._routes.shelf and door.door._routes.shelf.version == 2, "the new catalog taken")
    stream.send(conversions({"click_id": "b"}))
    assert stream.failure()[1].startswith("wrong_token") and len(taken(door)) == 1


def test_tls_has_the_certificates_of_the_http_door(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    folder = tmp_path / "tls"
    folder.mkdir()
    authority.issue(folder / "a.crt", folder / "a.key", "localhost")
    trusted = grpc.ssl_channel_credentials(authority.file.read_bytes())
    catalogs = MemoryCatalogs(VIEW)
    with running_door(tmp_path, catalogs=catalogs, tls_folder=folder, grpc_address="localhost:0") as door:
        with channel_to(port_of(door), trusted) as channel:
            assert report(channel, conversions({"click_id": "a"}), ACME)[0].receipt
        other = Authority(tmp_path / "other")
        other.issue(folder / "a.crt", folder / "a.key", "localhost")
        assert door.door.tls is not None
        door.door.tls.refresh()
        changed = grpc.ssl_channel_credentials(other.file.read_bytes())
        with channel_to(port_of(door), changed) as channel:
            assert report(channel, conversions({"click_id": "a"}), ACME)[0].receipt


def test_a_port_that_another_program_has_is_said() -> None:
    async def start(port: int) -> None:
        nothing: Any = None
        service = StreamService(
            bulk=nothing,
            identify=nothing,
            commit=nothing,
            limits=nothing,
            now_ms=nothing,
            refuse=nothing,
            shelf=nothing,
            operator_key="",
            stats=nothing,
            settings=door_settings().door,
        )
        await service.start(f"127.0.0.1:{port}", None)

    with closing(open_listener("127.0.0.1", 0)) as taken_by_another:
        with pytest.raises(WaypostError) as error:
            asyncio.run(start(port_of_socket(taken_by_another)))
        assert error.value.code == "cannot_listen"


def test_a_conversion_reads_as_the_call_that_it_would_be() -> None:
    fields = {"click_id": "0Ab", "goal": "in stall", "txn_id": "a&b=ü", "sum": "12.50", "payout": "", "currency": "eur"}
    conversion = Conversion(**fields, parameters={"sub 1": "x+y", "click_id": "later"})
    found = query_of(conversion)
    assert decode_pairs(found) == {name: value for name, value in fields.items() if value} | {"sub 1": "x+y"}
    assert parse_qsl(found.decode())[-1] == ("sub 1", "x+y")


def test_answers_in_their_wire_form() -> None:
    refused = Caller(Auth.DEFERRED, 0, 0, "wrong_token", detail="x" * 300)
    outcomes: list[Outcome] = [1, refused, (1 << 63) - 1]
    found = Answers.FromString(answers_of(outcomes)).answers
    assert [one.receipt for one in found] == [receipt_text(1), "", receipt_text((1 << 63) - 1)]
    assert found[1].error == "wrong_token" and len(found[1].message) > 300


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:5", "192.0.2.1"),
        ("ipv6:%5B2001:db8::1%5D:5", "2001:db8::1"),
        ("ipv6:[::ffff:192.0.2.1]:5", "192.0.2.1"),
        ("unix:/tmp/x", ""),
        ("", ""),
    ],
)
def test_addresses_of_peers(peer: str, address: str) -> None:
    assert address_of(peer) == address


def test_the_generated_code_is_current(tmp_path: Path) -> None:
    source = "src/waypost/doors/proto/waypost.proto"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", "src", f"--python_out={tmp_path}"]
    subprocess.run([*command, f"--pyi_out={tmp_path}", source], cwd=ROOT, check=True)
    for name in ("waypost_pb2.py", "waypost_pb2.pyi"):
        made = (tmp_path / "waypost" / "doors" / "proto" / name).read_text("utf-8")
        assert made == (ROOT / "src/waypost/doors/proto" / name).read_text("utf-8"), "run `make proto`"
