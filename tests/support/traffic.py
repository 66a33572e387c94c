"""Clicks and calls as frames, for tests and benches of what reads journals."""

from waypost.model.frames import Auth, Click, PostbackIn
from waypost.model.ids import ClickIdCodec, KeyRing, receipt_number
from waypost.model.partition import partition_of
from waypost.model.wire import encode_frame

RING = KeyRing({"a": b"0123456789abcdef"})
START_MS = 1_790_000_000_000


def click(ms: int, seq: int = 0, *, door: int = 0, route: int = 1, flags: int = 0, query: str = "sub1=abc") -> Click:
    return Click(ms, door, seq, route, flags, partition_of("acme"), 1, query.encode(), "203.0.113.0", b"test-agent")


def click_id(frame: Click, ring: KeyRing = RING) -> str:
    return ClickIdCodec(ring).encode(frame.ms, frame.door, frame.seq, frame.route, frame.flags)


def call(ms: int, query: str, seq: int = 0, *, door: int = 0, auth: Auth = Auth.TOKEN, body: bytes = b"") -> PostbackIn:
    return PostbackIn(
        receipt=receipt_number(ms, door, seq),
        at_ms=ms,
        door=door,
        partition=partition_of("acme"),
        advertiser=1 if auth is Auth.TOKEN else 0,
        auth=auth,
        catalog=1,
        method="GET",
        query=query.encode(),
        body=body,
    )


def encoded(*frames: Click | PostbackIn) -> list[bytes]:
    return [encode_frame(frame) for frame in frames]
