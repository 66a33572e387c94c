"""Many calls in one body: lines and arrays, packed or not, each answered in its place and all durable at once."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from support.catalogs import MemoryCatalogs
from support.doors import OPERATOR_KEY, Answer, Client, DoorJournal, RunningDoor, door_settings, running_door
from support.intake import advertiser, intake_view
from waypost.catalog.model import IntakeRules, Signature
from waypost.doors.batches import split
from waypost.doors.encodings import decoded
from waypost.doors.refusal_search import Wanted, search_refusals
from waypost.errors import WaypostError
from waypost.model.frames import Auth, PostbackIn
from waypost.model.ids import receipt_text

VIEW = intake_view(
    advertiser(1, "acme", "s3cret"),
    advertiser(2, "aliased", "other-token", sets=("affise",)),
    advertiser(3, "far", "far-token", allow_addresses=("198.51.100.0/24",), wrong_token=200),
    advertiser(4, "signer", signature=Signature(("k1",))),
    rules=IntakeRules(("global-token",), headers=("x-signature", "x-timestamp")),
    offer_token="offer-token",
)
BOUNDS = {"batch_lines_max": 50, "line_bytes_max": 400, "batch_decoded_bytes_max": 300_000, "body_bytes_max": 2000}


@pytest.fixture
def door(tmp_path: Path) -> Iterator[RunningDoor]:
    with running_door(tmp_path, catalogs=MemoryCatalogs(VIEW), settings=door_settings(**BOUNDS)) as running:
        yield running


def lines(*calls: Any) -> bytes:
    return b"".join((call if isinstance(call, bytes) else json.dumps(call).encode()) + b"\n" for call in calls)


def answers(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200, answer.body
    return [json.loads(line) for line in answer.body.splitlines()]


def taken(door: RunningDoor) -> list[PostbackIn]:
    return [frame for frame in door.journal.frames if isinstance(frame, PostbackIn)]


def test_each_line_is_answered_in_its_place_and_all_are_one_commit(door: RunningDoor) -> None:
    calls = [{"click_id": "a", "goal": "install"}, {"click_id": "b", "sum": 1.5}, {"click_id": "c"}]
    answer = door.post("/postbacks?token=s3cret", lines(*calls))
    said = answers(answer)
    assert [one["status"] for one in said] == [1, 1, 1] and answer.headers["content-type"] == "application/x-ndjson"
    assert len(door.journal.blocks) == 1
    frames = taken(door)
    assert [receipt_text(frame.receipt) for frame in frames] == [one["receipt"] for one in said]
    assert [json.loads(frame.body) for frame in frames] == calls
    first = frames[0]
    assert (first.advertiser, first.auth, first.origin) == (1, Auth.TOKEN, "lines")
    assert (first.content_type, first.method, first.query) == ("application/json", "POST", b"token=s3cret")


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/postbacks?token=s3cret", []),
        ("/s3cret/postbacks", []),
        ("/postbacks", ["Authorization: Bearer s3cret"]),
        ("/postbacks", ["Waypost-Token: s3cret", "Content-Type: application/json"]),
        ("/postbacks", ["Waypost-Token: s3cret", "Content-Type: application/x-www-form-urlencoded"]),
    ],
)
def test_a_token_may_stand_wherever_it_may_for_a_single_call(
    door: RunningDoor, target: str, headers: list[str]
) -> None:
    assert answers(door.post(target, lines({"click_id": "a"}), *headers))[0]["status"] == 1
    assert taken(door)[0].advertiser == 1


def test_each_line_may_carry_its_own_token(door: RunningDoor) -> None:
    calls = [
        {"token": token, "click_id": "x"} for token in ("s3cret", "global-token", "wrong", "offer-token", "s3cret")
    ]
    body = lines(*calls, {"click_id": "x"}, {"secure": "other-token", "click_id": "x"}, {"secure": "s3cret"})
    said = answers(door.post("/postbacks", body))
    codes = [one.get("error", "") for one in said]
    assert codes == ["", "", "wrong_token", "", "", "missing_token", "", "missing_token"]
    found = [(frame.advertiser, frame.auth, frame.offer) for frame in taken(door)]
    assert found == [
        (1, Auth.TOKEN, 0),
        (0, Auth.GLOBAL, 0),
        (1, Auth.OFFER, 1),
        (1, Auth.TOKEN, 0),
        (2, Auth.TOKEN, 0),
    ]


def test_a_wrong_token_of_the_request_refuses_all(door: RunningDoor) -> None:
    answer = door.post("/postbacks?token=wrong", lines({"token": "s3cret"}))
    assert (answer.status, answer.json["error"]) == (403, "wrong_token") and not taken(door)


def test_what_is_no_json_object_is_refused_alone_and_noted(door: RunningDoor) -> None:
    bad: list[bytes] = [b"{", b"[1]", b'"text"', b"nothing", b'{"idempotency_key":[]}', b"[" * 390, b"\xff\xfe"]
    long = b'{"x":"' + b"y" * 400 + b'"}'
    body = lines({"click_id": "a"}, *bad, long) + b" \r\n\n" + lines({"click_id": "b"})
    said = answers(door.post("/postbacks?token=s3cret", body))
    assert [one.get("error", "") for one in said] == ["", *["bad_line"] * len(bad), "line_too_long", ""]
    assert [json.loads(frame.body)["click_id"] for frame in taken(door)] == ["a", "b"]
    door.door._refusals.close()
    found = search_refusals(door.refusals, Wanted(code="bad_line"))
    assert {one.detail for one in found} == {f"call {nth} of its request" for nth in range(2, 2 + len(bad))}
    assert all("s3cret" not in one.url + one.body for one in found)


def test_a_line_without_a_token_whose_values_are_no_text_is_refused_alone(door: RunningDoor) -> None:
    body = b'{"x":"\xff"}\n{"\xff":1}\n' + lines({"token": "s3cret", "click_id": "a"})
    said = answers(door.post("/postbacks", body))
    assert [one.get("error", "") for one in said] == ["bad_line", "bad_line", ""]
    assert len(taken(door)) == 1 and door.stats.values["errors"] == 0


@pytest.mark.parametrize("target", ["/postbacks", "/postbacks?token=s3cret"])
def test_text_that_is_no_text_costs_its_own_line_only(door: RunningDoor, target: str) -> None:
    bad = [b'{"x":"\xff"}', b'{"x":"\\ud800"}', b'{"token":"\\ud800"}', b'{"token":"\xff"}', b'{"token":{}}']
    said = answers(door.post(target, lines(*bad, {"token": "s3cret"})))
    assert len(said) == len(bad) + 1 and said[-1]["status"] == 1
    if target == "/postbacks":
        assert {one["error"] for one in said[:-1]} <= {"bad_line", "wrong_token", "missing_token"}


def test_an_array_is_answered_as_an_array(door: RunningDoor) -> None:
    body = json.dumps([{"click_id": "a"}, 7, {"click_id": "b", "note": "{\n}"}], indent=2).encode()
    answer = door.post("/postbacks?token=s3cret", body, "Content-Type: application/json; charset=utf-8")
    assert [one.get("error", "") for one in json.loads(answer.body)] == ["", "bad_line", ""]
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(taken(door)[1].body) == {"click_id": "b", "note": "{\n}"}
    broken = door.post("/postbacks?token=s3cret", body[:-3], "Content-Type: application/json")
    assert (broken.status, broken.json["error"]) == (400, "batch_malformed")


@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_packed_bodies(door: RunningDoor, name: str, pack: Any) -> None:
    body = lines(*({"click_id": str(nth), "pad": "x" * 100} for nth in range(20)))
    halves = pack(body[:200]) + pack(body[200:])  # members, or frames, behind each other
    said = answers(door.post("/postbacks?token=s3cret", halves, f"Content-Encoding: {name}"))
    assert len(said) == len(taken(door)) == 20
    for broken in (b"no such thing", pack(body)[:-9]):
        answer = door.post("/postbacks?token=s3cret", broken, f"Content-Encoding: {name}")
        assert (answer.status, answer.json["error"]) == (400, "batch_malformed")
    bomb = door.post("/postbacks?token=s3cret", pack(b"\n" * 3_000_000), f"Content-Encoding: {name}")
    assert (bomb.status, bomb.json["error"]) == (413, "batch_too_large")
    unknown = door.post("/postbacks?token=s3cret", body, "Content-Encoding: br")
    assert (unknown.status, unknown.json["error"]) == (415, "unknown_encoding")


def test_a_body_may_be_larger_than_a_single_call_and_has_its_own_bounds(door: RunningDoor) -> None:
    calls = [{"click_id": str(nth), "pad": "x" * 300} for nth in range(50)]
    assert len(answers(door.post("/postbacks?token=s3cret", lines(*calls)))) == 50
    over = door.post("/postbacks?token=s3cret", lines(*calls, {}))
    assert (over.status, over.json["error"]) == (413, "batch_too_large")
    single = door.post("/postback?token=s3cret", lines(*calls))
    assert (single.status, single.json["error"]) == (413, "body_too_large")
    assert not door.door.limits.large_bodies


def test_large_bodies_under_way_are_bounded(tmp_path: Path) -> None:
    settings = door_settings(**(BOUNDS | {"batches_max": 2}))
    head = b"POST /postbacks?token=s3cret HTTP/1.1\r\nHost: door\r\nContent-Length: 9000\r\n\r\n"
    with running_door(tmp_path, catalogs=MemoryCatalogs(VIEW), settings=settings) as door:
        waiting = [Client(door.address) for _ in range(2)]
        for client in waiting:
            client.send(head + b"{}\n")
        while len(door.door.limits.large_bodies) < 2:
            pass
        refused = door.ask(head)
        assert (refused.status, refused.json["error"]) == (503, "too_many_batches")
        waiting[0].send(b"\n" * 8997)
        assert waiting[0].read().status == 200
        waiting[1].close()
        while door.door.limits.large_bodies:
            pass
        waiting[0].close()


def test_strangers_who_send_slowly_keep_no_known_caller_out(tmp_path: Path) -> None:
    """Anybody may begin a large body; half of the places, and of an address an eighth of those, is all he gets."""
    settings = door_settings(**(BOUNDS | {"batches_max": 32}), proxies=["127.0.0.0/8"])
    head = b"POST /postbacks%b HTTP/1.1\r\nHost: door\r\nX-Forwarded-For: 192.0.2.%d\r\nContent-Length: 9000\r\n\r\n"
    wrong = b"?token=nobodys"
    with running_door(tmp_path, catalogs=MemoryCatalogs(VIEW), settings=settings) as door:
        waiting = []
        for nth in range(16):
            client = Client(door.address)
            client.send(head % (b"" if nth % 2 else wrong, nth // 2) + b"{}\n")
            waiting.append(client)
        while len(door.door.limits.large_bodies) < 16:
            pass
        late = door.ask(head % (b"", 99))
        assert (late.status, late.json["error"]) == (503, "too_many_batches")
        waiting.pop().close()
        waiting.pop().close()
        while len(door.door.limits.large_bodies) > 14:
            pass
        again = door.ask(head % (wrong, 0))
        assert (again.status, again.json["error"]) == (503, "too_many_batches"), "two of that address are under way"
        known = Client(door.address)
        known.send(head % (b"?token=s3cret", 99) + b"{}\n" + b"\n" * 8997)
        assert known.read().status == 200
        for client in (*waiting, known):
            client.close()


def test_keys_of_lines_and_of_the_whole_request(door: RunningDoor) -> None:
    calls = lines({"idempotency_key": "k", "click_id": "a"}, {"idempotency_key": 7}, {"click_id": "b"})
    said = answers(door.post("/postbacks?token=s3cret", calls))
    single = door.get("/postback?token=s3cret", "Idempotency-Key: k").json["receipt"]
    again = answers(door.post("/postbacks?token=s3cret", calls, "Idempotency-Key: batch-1"))
    once_more = answers(door.post("/postbacks?token=s3cret", calls, "Idempotency-Key: batch-1"))
    assert said[0] == again[0] == once_more[0] and said[0]["receipt"] == single and said[1] == again[1]
    assert said[2] != again[2] == once_more[2]
    assert [frame.keyed for frame in taken(door)] == [True, True, False, True, True, True, True, True, True, True]


def test_a_refusal_that_is_not_told_looks_like_acceptance(door: RunningDoor) -> None:
    for said in (
        answers(door.post("/postbacks?token=far-token", lines({"click_id": "a"}, {"click_id": "b"}))),
        answers(door.post("/postbacks", lines({"token": "far-token"}, {"token": "far-token"}))),
    ):
        assert [one["status"] for one in said] == [1, 1] and said[0]["receipt"] < said[1]["receipt"]
    assert not taken(door) and door.journal.heartbeats
    door.door._refusals.close()
    assert len(search_refusals(door.refusals, Wanted(code="address_not_allowed"))) == 4


def test_a_signed_body_is_believed_whole(door: RunningDoor) -> None:
    import time

    from waypost.stages.signing import canonical_string, sign

    body, stamp = gzip.compress(lines({"click_id": "a"})), str(int(time.time()))
    text = canonical_string(b"POST", b"/postbacks", b"advertiser=signer", stamp.encode(), body)
    headers = [f"X-Signature: {sign('k1', text)}", f"X-Timestamp: {stamp}", "Content-Encoding: gzip"]
    assert answers(door.post("/postbacks?advertiser=signer", body, *headers))[0]["status"] == 1
    assert taken(door)[0].auth is Auth.SIGNATURE
    assert door.post("/postbacks?advertiser=signer", body, *headers[1:]).json["error"] == "missing_signature"


def test_tests_are_marked(door: RunningDoor) -> None:
    answers(door.post("/postbacks?token=s3cret", lines({"click_id": "a"}), f"Waypost-Test: {OPERATOR_KEY}"))
    assert taken(door)[0].test


def test_what_cannot_be_journaled_is_refused_whole(tmp_path: Path) -> None:
    journal = DoorJournal()
    with running_door(tmp_path, catalogs=MemoryCatalogs(VIEW), journal=journal) as door:
        journal.failing = "journal_full"
        answer = door.post("/postbacks?token=s3cret", lines({"click_id": "a"}, b"nothing"))
        assert (answer.status, answer.json["error"]) == (503, "journal_full")
        journal.failing = ""
        assert len(answers(door.post("/postbacks?token=s3cret", lines({"click_id": "a"})))) == 1


def test_pipelined_requests_are_answered_in_their_order(door: RunningDoor) -> None:
    body = lines({"click_id": "a"}, b"nothing")
    post = b"POST /postbacks?token=s3cret HTTP/1.1\r\nHost: d\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    bad = b"POST /postbacks?token=s3cret HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\n\r\n{\n\n"
    client = Client(door.address)
    client.send(post + bad + post)
    found = [answers(client.read()) for _ in range(3)]
    assert [len(one) for one in found] == [2, 1, 2] and found[1][0]["error"] == "bad_line"
    client.close()


@pytest.mark.parametrize("body", [b"", b"\n\n  \r\n"])
def test_nothing_is_answered_with_nothing(door: RunningDoor, body: bytes) -> None:
    answer = door.post("/postbacks?token=s3cret", body)
    assert (answer.status, answer.body) == (200, b"") and not taken(door)


def test_unpacking_stops_at_the_bound() -> None:
    for name, pack in ((b"gzip", gzip.compress), (b"zstd", zstandard.compress), (b"", bytes)):
        assert decoded(pack(b"x" * 1000), name, 1000) == b"x" * 1000
        with pytest.raises(WaypostError) as error:
            decoded(pack(b"x" * 1001), name, 1000)
        assert error.value.code == "batch_too_large"
    assert split(b'{"a":1}\n[]', b"application/json") == ([b'{"a":1}', b"[]"], False)
