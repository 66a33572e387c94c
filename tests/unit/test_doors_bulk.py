"""Many calls at once: the frames of one sender's calls are those that each would have had by itself."""

from typing import Any

import msgspec
import pytest

from support.clock import FakeClock
from support.intake import CODEC, advertiser, click_of, intake_view
from waypost.catalog.model import IntakeRules, Signature
from waypost.doors.bulk import Bulk, Way
from waypost.doors.door_time import DoorTime
from waypost.doors.postbacks import Postbacks
from waypost.doors.shelf import Shelf
from waypost.model.frames import Auth, PostbackIn
from waypost.model.partition import NO_PARTITION
from waypost.model.wire import decode_frame
from waypost.stages.call_auth import Arrival, Caller, Gate
from waypost.stages.signing import STANDARD_WEBHOOKS
from waypost.telemetry.stats import Stats

NOW_MS = 1_700_000_000_000
VIEW = intake_view(
    advertiser(1, "acme", "s3cret"),
    advertiser(2, "signer"),
    rules=IntakeRules(("global-token",)),
    offer_token="offer-token",
)
CALLS = [
    (f"click_id={click_of(1)}&goal=install".encode(), b""),
    (b"", b'{"click_id":"b"}'),
    (f"click_id={click_of(2)}".encode(), b"{}"),
]
WAY = Way("lines", "application/json", "192.0.2.9", b"/postbacks", test=True)
NOBODY: Any = None  # what commits, answers and notes: nothing of that happens here


def by_token(token: str) -> Caller:
    return Shelf(VIEW, 100).caller(Arrival(b"POST", b"/postbacks", f"token={token}".encode()))


def signing(scheme: str) -> Caller:
    signer = advertiser(2, "signer", signature=Signature(("k1",), scheme=scheme))
    return Caller(Auth.SIGNATURE, 2, signer.partition, gate=Gate((), signer))


SENDERS = {
    "token": by_token("s3cret"),
    "offer": by_token("offer-token"),
    "global": by_token("global-token"),
    "signed": signing("canonical"),
    "body signed": signing(STANDARD_WEBHOOKS),
    "deferred": Caller(Auth.DEFERRED, 0, NO_PARTITION),
    "of an advertiser, by the installation's token": Caller(Auth.GLOBAL, 1, 7),
}


def entered(sender: Caller, apart: bool) -> tuple[list[PostbackIn], list[int]]:
    """The frames of the calls, entered together or one after the other; the clock stands still."""
    postbacks = Postbacks(
        time=DoorTime(FakeClock(NOW_MS), 3, NOW_MS), codec=CODEC, commit=NOBODY, answers=NOBODY, stats=Stats("door-3")
    )
    bulk, shelf = Bulk(postbacks, NOBODY, Stats("door-3")), Shelf(VIEW, 100)
    frames: list[bytes] = []
    receipts: list[int] = []
    for some in [[call] for call in CALLS] if apart else [CALLS]:
        entries = [(sender, b"", query, body) for query, body in some]
        made, outcomes = bulk.enter(shelf, entries, WAY)
        frames += made
        receipts += [outcome for outcome in outcomes if isinstance(outcome, int)]
    found = [decode_frame(frame) for frame in frames]
    return [frame for frame in found if isinstance(frame, PostbackIn)], receipts


@pytest.mark.parametrize("kind", SENDERS)
def test_calls_of_one_sender_have_the_frames_that_each_would_have_by_itself(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, receipts = entered(SENDERS[kind], apart=False)
    assert [frame.receipt for frame in together] == receipts and len(set(receipts)) == len(CALLS)
    monkeypatch.setattr("waypost.doors.bulk.is_alike", lambda caller: False)
    one_by_one, numbers = entered(SENDERS[kind], apart=True)
    assert (together, receipts) == (one_by_one, numbers)


def test_what_a_frame_says_hangs_on_whose_calls_they_are() -> None:
    offers, everybodys, bodies = (entered(SENDERS[kind], apart=False)[0] for kind in ("offer", "global", "body signed"))
    assert [frame.offer for frame in offers] == [1, 1, 1]
    partitions = [advertiser(1, "acme").partition, NO_PARTITION, advertiser(2, "signer").partition]
    assert [frame.partition for frame in everybodys] == partitions
    assert [(frame.query, frame.body) for frame in bodies] == [(b"", body) for _, body in CALLS]
    assert {frame.test for frame in offers} == {True} and {frame.origin for frame in offers} == {"lines"}


def test_a_key_among_them_changes_nothing_for_the_others() -> None:
    sender = SENDERS["token"]
    clock = FakeClock(NOW_MS)
    postbacks = Postbacks(
        time=DoorTime(clock, 3, NOW_MS), codec=CODEC, commit=NOBODY, answers=NOBODY, stats=Stats("door-3")
    )
    bulk = Bulk(postbacks, NOBODY, Stats("door-3"))
    keys = (b"", b"key x", b"")
    entries = [(sender, key, query, body) for key, (query, body) in zip(keys, CALLS, strict=True)]
    frames = [decode_frame(frame) for frame in bulk.enter(Shelf(VIEW, 100), entries, WAY)[0]]
    plain = entered(sender, apart=False)[0]
    assert [frame.keyed for frame in frames if isinstance(frame, PostbackIn)] == [False, True, False]
    assert [msgspec.structs.replace(frame, receipt=0, keyed=False) for frame in frames] == [
        msgspec.structs.replace(frame, receipt=0) for frame in plain
    ]
