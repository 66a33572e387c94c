"""Bodies of many calls with whatever bytes: every line is answered, nothing raises but what refuses the whole."""

import gzip
import itertools
import json
import socket
from collections.abc import Iterator
from urllib.parse import quote

import msgspec
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.catalogs import MemoryCatalogs
from support.doors import Client, RunningDoor, door_settings, running_door
from support.intake import advertiser, intake_view
from waypost.doors.batches import answer_of, bad_line, split
from waypost.doors.encodings import decoded
from waypost.doors.proto.waypost_pb2 import Conversion
from waypost.doors.stream import query_of
from waypost.errors import WaypostError

BOUND = 2000
VIEW = intake_view(advertiser(1, "acme", "s3cret"))


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDoor]:
    settings = door_settings(body_bytes_max=64, batch_bytes_max=4000, refusals_max=10)
    with running_door(tmp_path_factory.mktemp("door"), catalogs=MemoryCatalogs(VIEW), settings=settings) as running:
        yield running


BODIES = st.lists(
    st.sampled_from((b'{"click_id":"a"}', b"{}", b"", b"[", b"\xff", b'{"x":"' + b"y" * 90 + b'"}')), max_size=9
)


@given(BODIES, st.lists(st.integers(1, 500), max_size=12), st.booleans(), st.integers(1, 200))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_however_the_bytes_arrive_each_line_is_answered_and_the_next_request_is_read(
    door: RunningDoor, parts: list[bytes], cuts: list[int], chunked: bool, chunk: int
) -> None:
    body = b"\n".join(parts)
    head = b"POST /postbacks?token=s3cret HTTP/1.1\r\nHost: d\r\n"
    if chunked:
        pieces = [body[at : at + chunk] for at in range(0, len(body), chunk)]
        sent = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        request = head + b"Transfer-Encoding: chunked\r\n\r\n" + sent
    else:
        request = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    request += b"GET /postback?token=s3cret HTTP/1.1\r\nHost: d\r\n\r\n"
    client = Client(door.address)
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    start = 0
    for cut in [*itertools.accumulate(cuts), len(request)]:
        client.send(request[start:cut])
        start = max(start, cut)
    answer, following = client.read(), client.read()
    client.close()
    said = [json.loads(line) for line in answer.body.splitlines()]
    good = (b"{}", b'{"click_id":"a"}', b'{"x":"' + b"y" * 90 + b'"}')
    assert [one["status"] for one in said] == [int(part in good) for part in parts if part]
    assert answer.status == following.status == 200 and following.json["status"] == 1
    assert not door.door.limits.large_bodies


@given(st.binary(max_size=400), st.sampled_from((b"gzip", b"zstd", b"", b"br", b"GZIP ")))
def test_any_bytes_unpack_within_the_bound_or_are_refused(body: bytes, encoding: bytes) -> None:
    try:
        assert len(decoded(body, encoding, BOUND)) <= BOUND
    except WaypostError as error:
        assert error.code in ("batch_malformed", "batch_too_large", "unknown_encoding")


@given(st.lists(st.binary(max_size=300), max_size=4), st.integers(0, 60))
def test_what_is_packed_comes_out_whole_and_what_is_cut_off_does_not(parts: list[bytes], cut: int) -> None:
    whole = b"".join(parts)
    for encoding, pack in ((b"gzip", gzip.compress), (b"zstd", zstandard.compress)):
        packed = b"".join(pack(part) for part in parts)
        assert decoded(packed, encoding, BOUND) == whole
        short = packed[: max(0, len(packed) - cut)]
        try:
            found = decoded(short, encoding, BOUND)
        except WaypostError as error:
            assert error.code == "batch_malformed"
        else:  # it was cut where a member or frame ends
            assert whole.startswith(found) and any(short == b"".join(map(pack, parts[:n])) for n in range(5))


@given(st.binary(max_size=300), st.sampled_from((b"application/json", b"application/x-ndjson", b"")))
@settings(max_examples=300)
def test_any_bytes_split_into_calls(body: bytes, kind: bytes) -> None:
    try:
        calls, is_array = split(body, kind)
    except WaypostError as error:
        assert error.code == "batch_malformed" and body.lstrip()[:1] == b"["
        return
    if not is_array:
        assert [bytes(call) for call in calls] == [line for line in body.split(b"\n") if line.strip()]


VALUES = st.dictionaries(st.text(max_size=5), st.text(max_size=9) | st.integers() | st.lists(st.none(), max_size=2))


@given(st.lists(VALUES, max_size=6), st.booleans())
def test_calls_are_found_as_they_were_sent(values: list[dict[str, object]], as_array: bool) -> None:
    if as_array:
        calls, is_array = split(json.dumps(values, indent=1).encode(), b"application/json")
    else:
        calls, is_array = split("\n".join(map(json.dumps, values)).encode(), b"application/json")
    assert is_array is as_array
    assert [json.loads(bytes(call)) for call in calls] == values


@given(st.lists(st.integers(0, 2**63 - 1) | st.sampled_from(("bad_line", "wrong_token")), max_size=9), st.booleans())
def test_answers_stand_in_the_order_of_the_calls(outcomes: list[int | str], is_array: bool) -> None:
    made = [bad_line(one, 'with "quotes"\n') if isinstance(one, str) else one for one in outcomes]
    text = answer_of(list(made), is_array=is_array)
    found = msgspec.json.decode(text) if is_array else [msgspec.json.decode(line) for line in text.splitlines()]
    said = [one.get("error") or int(one["receipt"][1:], 16) for one in found]
    assert said == outcomes


NAMES = ("click_id", "goal", "status", "txn_id", "sum", "payout", "currency")
SAID = st.text("abcXYZ019_.~-", max_size=6) | st.text(max_size=4) | st.sampled_from("&=+ %;\0\x7fü")


@given(st.lists(SAID, min_size=len(NAMES), max_size=len(NAMES)), st.dictionaries(SAID, SAID, max_size=2))
@settings(max_examples=400)
def test_a_conversion_is_one_query_whatever_its_fields_say(values: list[str], more: dict[str, str]) -> None:
    said = [(name, value) for name, value in zip(NAMES, values, strict=True) if value] + sorted(more.items())
    expected = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in said)
    assert query_of(Conversion(**dict(zip(NAMES, values, strict=True)), parameters=more)) == expected.encode()
