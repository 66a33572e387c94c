"""Visits with whatever bytes: a door answers each, with a status that is meant, and makes no mistake of its own."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.doors import Client, RunningDoor
from support.visits import SHOP, visited_door
from waypost.model.frames import Click, Impression, PostbackIn

PLAIN = b"".join(bytes([sign]) for sign in range(0x21, 0x7F) if sign not in b" #?")
NAMES = [
    b"click_id",
    b"goal",
    b"mode",
    b"token",
    b"ip",
    b"ua",
    b"user_agent",
    b"referrer",
    b"sub1",
    b"%69p",
    b"language",
]
VALUES = [
    b"gif",
    b"json",
    b"s2s",
    b"p4rtner",
    b"order",
    b"203.0.113.77",
    b"fe80::1%25eth0",
    b"%00%0d%0a",
    b"%ff%fe",
    b"=",
]
MEANT = {200, 204, 302, 307, 400, 403, 404, 405, 410, 415, 421, 429}

values = st.one_of(st.sampled_from(VALUES), st.binary(max_size=20).map(lambda raw: bytes(b for b in raw if b in PLAIN)))
pairs = st.tuples(st.sampled_from(NAMES), values).map(b"=".join)
queries = st.lists(pairs, max_size=6).map(b"&".join)
paths = st.sampled_from(
    [b"/c/demo", b"/c/app", b"/i/demo", b"/b/click/demo", b"/b/click/mixed", b"/b/goal", b"/", b"/c"]
)
headers = st.lists(
    st.sampled_from(
        [
            f"Origin: {SHOP}".encode(),
            b"Origin: http://[::1",
            b"Origin: \xff\xfe",
            b"Referer: http://a:99999/",
            b"User-Agent: Mozilla/5.0 (iPhone) \xf0\x9f\x98\x80",
            b"User-Agent: Mozilla/5.0 (Linux; Android 14)",
            b"Sec-Purpose: prefetch;\xff",
            b"Accept-Language: \xff,,;q=",
            b"Waypost-Token: p4rtner\xff",
            b"Host: go.example.com:\xff",
            b"If-None-Match: *",
        ]
    ),
    max_size=4,
)


def every_pair(query: bytes) -> list[tuple[str, str]]:
    return parse_qsl(query.decode("latin-1"), keep_blank_values=True)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDoor]:
    folder: Path = tmp_path_factory.mktemp("door")
    with visited_door(folder) as running:
        yield running


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([b"GET", b"HEAD", b"POST", b"OPTIONS"]), paths, queries, queries, headers)
def test_whatever_comes_is_answered(
    door: RunningDoor, method: bytes, path: bytes, query: bytes, body: bytes, lines: list[bytes]
) -> None:
    body = body if method == b"POST" else b""
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    head = b"%b %b?%b HTTP/1.1\r\nHost: d\r\n%b%b" % (
        method,
        path,
        query,
        length,
        b"".join(line + b"\r\n" for line in lines),
    )
    client = Client(door.address)
    try:
        client.send(head + b"\r\n" + body)
        answer = client.read(is_head=method == b"HEAD")
    finally:
        client.close()
    assert answer.status in MEANT, (head, answer)
    location = answer.headers.get("location", "")
    assert location == "" or location.startswith(
        ("http://shop.example/", "intent://product/", "http://elsewhere.example/")
    )
    assert door.stats.values["errors"] == 0


def test_what_was_journaled_holds_no_whole_address_and_no_token(door: RunningDoor) -> None:
    frames = door.journal.frames
    assert {type(frame) for frame in frames} >= {Click, Impression}
    for frame in frames:
        assert isinstance(frame, Click | Impression | PostbackIn)
        assert not frame.ip.endswith((".77", ".0.1")), frame
        assert all(
            value != "203.0.113.77" for name, value in every_pair(frame.query) if name.lower() in ("ip", "user_ip")
        )
        if isinstance(frame, Click) and frame.mode == "server":
            assert b"p4rtner" not in frame.query
