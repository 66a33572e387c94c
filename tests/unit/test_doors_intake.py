"""A door that takes calls: paths of other trackers, answers by kind, refusals that are told and that are not."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from support.catalogs import MemoryCatalogs
from support.doors import OPERATOR_KEY, RING, RunningDoor, running_door
from support.installation import until
from support.intake import advertiser, intake_view
from waypost.catalog.aliases import merged_clicks
from waypost.catalog.model import Facet, IntakeRules, Signature, Targeting
from waypost.doors.refusal_search import Wanted, search_refusals
from waypost.doors.refusals import Refusal
from waypost.model.frames import Auth, Click, PostbackIn
from waypost.model.ids import ClickIdCodec, receipt_text
from waypost.model.partition import NO_PARTITION, partition_of
from waypost.stages.signing import canonical_string, sign

LOOPBACK = ("127.0.0.0/8",)
ELSEWHERE = ("198.51.100.0/24",)
VIEW = intake_view(
    advertiser(1, "acme", "s3cret", tokens_before=("older",)),
    advertiser(2, "gif", "gif-token", answer="gif"),
    advertiser(3, "empty", "empty-token", answer="empty", sets=("affise",)),
    advertiser(4, "far", "far-token", allow_addresses=ELSEWHERE, wrong_token=200, answer="ok"),
    advertiser(5, "near", "near-token", allow_addresses=LOOPBACK),
    advertiser(6, "signer", signature=Signature(("k2", "k1"), name="X-Acme-Sign")),
    advertiser(7, "hooks", signature=Signature(("whsec_c2VjcmV0",), "standard-webhooks")),
    rules=IntakeRules(("global-token",), click_id=("aff_click",), headers=("x-acme-sign", "x-timestamp")),
    offer_token="offer-token",
)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[RunningDoor]:
    with running_door(tmp_path, catalogs=MemoryCatalogs(VIEW)) as running:
        yield running


def last(door: RunningDoor) -> PostbackIn:
    frame = door.journal.frames[-1]
    assert isinstance(frame, PostbackIn)
    return frame


@pytest.mark.parametrize(
    ("target", "headers", "auth", "number"),
    [
        ("/postback?token=s3cret", [], Auth.TOKEN, 1),
        ("/postback?token=older", [], Auth.TOKEN, 1),
        ("/s3cret/postback?subid=1&return=NO", [], Auth.TOKEN, 1),
        ("/s3cret/aff_lsr?transaction_id=1", [], Auth.TOKEN, 1),
        ("/aff_lsr?transaction_id=1&token=s3cret", [], Auth.TOKEN, 1),
        ("/s3cret/aff_goal?a=lsr&goal_id=2&transaction_id=1", [], Auth.TOKEN, 1),
        ("/s3cret/click.php?cnv_id=1&payout=2", [], Auth.TOKEN, 1),
        ("/click?cnv_id=1&token=s3cret", [], Auth.TOKEN, 1),
        ("/postback?clickid=1&secure=empty-token", [], Auth.TOKEN, 3),
        ("/postback?clickid=1", ["Waypost-Token: s3cret"], Auth.TOKEN, 1),
        ("/postback?clickid=1", ["Authorization: Bearer s3cret"], Auth.TOKEN, 1),
        ("/postback?token=near-token", [], Auth.TOKEN, 5),
        ("/postback?token=offer-token", [], Auth.OFFER, 1),
        ("/offer-token/postback?x=1", [], Auth.OFFER, 1),
        ("/postback?token=global-token", [], Auth.GLOBAL, 0),
    ],
)
def test_a_call_is_taken_whatever_way_it_proves_itself(
    door: RunningDoor, target: str, headers: list[str], auth: Auth, number: int
) -> None:
    for _ in range(2):  # the second time from memory
        answer = door.get(target, *headers)
        assert answer.status in (200, 204), answer
        frame = last(door)
        assert (frame.auth, frame.advertiser, frame.offer) == (auth, number, 1 if auth is Auth.OFFER else 0)
        assert frame.query == target.partition("?")[2].encode()
    assert len(door.journal.frames) == 2


def test_answers_are_of_the_kind_that_the_advertiser_reads(door: RunningDoor) -> None:
    gif = door.get("/postback?token=gif-token")
    assert (gif.headers["content-type"], gif.body[:6], gif.body[-1:]) == ("image/gif", b"GIF89a", b";")
    assert gif.headers["waypost-receipt"] == receipt_text(last(door).receipt)
    empty = door.get("/postback?secure=empty-token")
    assert (empty.status, empty.body) == (204, b"")
    for target in ("/s3cret/postback?subid=1&return=OK", "/postback?return=ok&token=gif-token"):
        answer = door.get(target)
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"OK", "text/plain")
    assert door.get("/postback?token=s3cret&areturn=OK&return=<script>").json["status"] == 1


def test_a_test_needs_the_operators_key_only_and_is_answered_in_json(door: RunningDoor) -> None:
    key = f"Waypost-Test: {OPERATOR_KEY}"
    for name, number in (("signer", 6), ("far", 4), ("gif", 2)):
        answer = door.get(f"/postback?advertiser={name}&return=OK", key)
        assert (answer.status, answer.json["status"]) == (200, 1)
        assert (last(door).advertiser, last(door).test) == (number, True)
        assert door.get(f"/postback?advertiser={name}").status == 403


def test_the_global_token_finds_the_partition_in_the_clicks_id(door: RunningDoor) -> None:
    click = ClickIdCodec(RING).encode(1_700_000_000_000, 0, 1, 2, 0)
    for name in ("click_id", "subid", "transaction_id", "aff_click"):
        door.get(f"/postback?token=global-token&{name}={click}")
        assert last(door).partition == partition_of("gif")
    for query in ("click_id=forged", f"foo={click}", ""):
        door.get(f"/postback?token=global-token&{query}")
        assert last(door).partition == NO_PARTITION


def signed(query: str, key: str, at_s: int, *, method: str = "GET", body: bytes = b"") -> list[str]:
    stamp = str(at_s).encode()
    made = sign(key, canonical_string(method.encode(), b"/postback", query.encode(), stamp, body))
    return [f"X-Acme-Sign: {made}", f"X-Timestamp: {at_s}"]


def test_a_signed_call_is_taken_in_time_and_as_it_was_signed(door: RunningDoor) -> None:
    now_s = door.door._clock.now_ms() // 1000
    query = "advertiser=signer&click_id=1&goal=install"
    for key in ("k1", "k2"):
        assert door.get(f"/postback?{query}", *signed(query, key, now_s)).status == 200
    assert (last(door).auth, last(door).advertiser) == (Auth.SIGNATURE, 6)
    body = b'{"click_id":"1"}'
    kind = "Content-Type: application/json"
    posted = door.post(f"/postback?{query}", body, kind, *signed(query, "k1", now_s, method="POST", body=body))
    assert posted.status == 200 and last(door).body == body
    for target, headers, code in (
        (f"/postback?{query}&payout=9", signed(query, "k1", now_s), "wrong_signature"),
        (f"/postback?{query}", signed(query, "k3", now_s), "wrong_signature"),
        (f"/postback?{query}", signed(query, "k1", now_s - 400), "signature_expired"),
        (f"/postback?{query}", [], "missing_signature"),
    ):
        answer = door.get(target, *headers)
        assert (answer.status, answer.json["error"]) == (403, code)
    assert len(door.journal.frames) == 3


def test_of_a_standard_webhook_only_the_body_is_believed(door: RunningDoor) -> None:
    from waypost.stages.signing import webhook_signature

    now_s = str(door.door._clock.now_ms() // 1000)
    body = b'{"click_id":"1","goal":"install"}'
    made = webhook_signature("whsec_c2VjcmV0", b"msg_1", now_s.encode(), body)
    headers = ["Webhook-Id: msg_1", f"Webhook-Timestamp: {now_s}", f"Webhook-Signature: v1,{made}"]
    answer = door.post("/postback?advertiser=hooks&payout=9999", body, "Content-Type: application/json", *headers)
    assert answer.status == 200
    assert (last(door).query, last(door).body, last(door).auth) == (b"", body, Auth.SIGNATURE)


def test_a_refusal_that_is_not_told_looks_like_a_receipt(door: RunningDoor) -> None:
    real = door.get("/postback?token=gif-token")
    hidden = door.get("/postback?token=far-token&click_id=1")
    assert (hidden.status, hidden.body) == (200, b"OK")
    told = hidden.headers["waypost-receipt"]
    assert told > real.headers["waypost-receipt"]
    assert hidden.headers.keys() - {"content-type"} == real.headers.keys() - {"content-type"}
    assert len(door.journal.frames) == 1  # and is not accepted
    written = len(door.journal.heartbeats)
    assert written >= 1  # it waited for the disk, as a call does
    door.journal.failing = "journal_unavailable"
    assert door.get("/postback?token=far-token").status == door.get("/postback?token=s3cret").status == 503
    door.journal.failing = ""
    (entry,) = found(door, Wanted(code="address_not_allowed", contains=told))
    assert (entry.advertiser, entry.url) == ("far", "/postback?token=***&click_id=1")
    assert door.get("/postback?token=s3cret&x=far-token").status == 200


def test_a_refusal_that_is_not_told_keeps_its_receipt_for_a_key_as_a_call_does(door: RunningDoor) -> None:
    def receipts(target: str, *headers: str) -> list[str]:
        return [door.get(target, *headers).headers["waypost-receipt"] for _ in range(2)]

    for target, headers in (
        ("/postback?token=far-token&click_id=1", ["Idempotency-Key: k"]),
        ("/postback?token=far-token&idempotency_key=k", []),
    ):
        first, again = receipts(target, *headers)
        assert first == again == receipts(target, *headers)[0]
    real = receipts("/postback?token=gif-token", "Idempotency-Key: k")
    assert real[0] == real[1] != receipts("/postback?token=far-token", "Idempotency-Key: k")[0]
    assert len(set(receipts("/postback?token=far-token"))) == 2  # without a key each has its own
    assert {frame.advertiser for frame in door.journal.frames if isinstance(frame, PostbackIn)} == {2}


def test_a_refusal_that_is_not_told_is_unavailable_when_calls_are(tmp_path: Path) -> None:
    with running_door(tmp_path, catalogs=MemoryCatalogs(VIEW)) as door:
        door.door.commit._is_stalled = True
        hidden, real = door.get("/postback?token=far-token"), door.get("/postback?token=s3cret")
        door.door.commit._is_stalled = False
        assert (
            (hidden.status, hidden.json["error"]) == (real.status, real.json["error"]) == (503, "journal_unavailable")
        )
        (entry,) = found(door, Wanted(code="address_not_allowed"))
        assert entry.detail == "answered 503"


def test_hidden_refusals_keep_their_place_among_pipelined_answers(door: RunningDoor) -> None:
    from support.doors import Client

    client = Client(door.address)
    try:
        targets = [
            "/postback?token=s3cret",
            "/postback?token=far-token",
            "/postback?token=nobody",
            "/s3cret/postback?a",
        ]
        client.send(b"".join(f"GET {target} HTTP/1.1\r\nHost: d\r\n\r\n".encode() for target in targets))
        answers = [client.read() for _ in targets]
    finally:
        client.close()
    assert [answer.status for answer in answers] == [200, 200, 403, 200]
    assert answers[1].body == b"OK"


def found(door: RunningDoor, wanted: Wanted) -> list[Refusal]:
    """Entries, once the log's thread has written them."""
    return list(until(lambda: search_refusals(door.refusals, wanted), f"an entry for {wanted}"))


def test_each_refusal_is_found_by_what_support_knows(door: RunningDoor) -> None:
    form = "Content-Type: application/x-www-form-urlencoded"
    door.post("/postback?txn_id=77", b"token=wrong-one&click_id=abc&note=hello%20there", form)
    door.get("/postback?txn_id=78&sub=1")
    for wanted in (
        Wanted(address="127.0.0.1"),
        Wanted(address="127.0.0.0/8"),
        Wanted(parameters=("txn_id=77",)),
        Wanted(parameters=("note=hello there", "click_id")),
        Wanted(code="wrong_token"),
    ):
        entries = found(door, wanted)
        assert entries and entries[-1].url == "/postback?txn_id=77", wanted
        assert entries[-1].body == "token=***&click_id=abc&note=hello%20there"
    for none in (
        Wanted(address="10.0.0.0/8"),
        Wanted(parameters=("txn_id=7",)),
        Wanted(parameters=("token=wrong-one",)),
    ):
        assert search_refusals(door.refusals, none) == []
    assert [entry.code for entry in found(door, Wanted(parameters=("txn_id=78",)))] == ["missing_token"]


def test_clicks_of_other_trackers_urls_find_their_link(door: RunningDoor) -> None:
    for target in (
        "/link-acme?sub_id_1=x",
        "/aff_c?offer_id=offer-acme&aff_id=own&aff_sub=x",
        "/click?pid=own&offer_id=offer-acme&sub1=x",
        "/click.php?key=link-acme&t1=x",
        "/click?key=link-acme&t1=x",
    ):
        answer = door.get(target)
        assert (answer.status, answer.headers["location"]) == (302, "http://127.0.0.1:9000/"), target
        frame = door.journal.frames[-1]
        assert isinstance(frame, Click) and (frame.route, frame.query) == (1, target.partition("?")[2].encode())
    for target, code in (
        ("/nothing-here", "unknown_path"),
        ("/wp-login.php", "unknown_path"),
        ("/a/b/postback?token=s3cret", "unknown_path"),
        ("/aff_c?offer_id=nope&aff_id=own", "unknown_pair"),
        ("/click.php", "unknown_path"),
        ("/click?key=%2e%2e", "unknown_link"),
    ):
        assert door.get(target).json["error"] == code, target


def test_json_bodies_are_stored_and_judged_later(door: RunningDoor) -> None:
    body = json.dumps({"token": "s3cret", "click_id": "1"}).encode()
    answer = door.post("/postback", body, "Content-Type: application/json")
    assert answer.json["status"] == 1
    assert (last(door).auth, last(door).advertiser, last(door).partition) == (Auth.DEFERRED, 0, NO_PARTITION)


def test_a_partners_click_names_fill_the_offers_url_and_its_targeting(tmp_path: Path) -> None:
    view = intake_view(advertiser(1, "acme", "t"))
    offer, partner = view.offer(1), view.partner(1)
    assert offer is not None and partner is not None
    url = "http://127.0.0.1:9000/?s={sub1}&e={external_id}&x={click.aff_sub}"
    targeting = Targeting((Facet("sub1", "text", ("good*",)),))
    view._offers[1] = replace(offer, url=url, targeting=targeting)
    view._partners[1] = replace(partner, click_names=merged_clicks({}, ("tune",)))
    with running_door(tmp_path, catalogs=MemoryCatalogs(view)) as door:
        for query, location in (
            ("aff_sub=good%20one&aff_click_id=7", "s=good%20one&e=7&x=good%20one"),
            ("sub1=good&aff_sub=other", "s=good&e=&x=other"),
        ):
            answer = door.get(f"/c/link-acme?{query}")
            assert answer.headers["location"] == f"http://127.0.0.1:9000/?{location}"
        assert door.get("/c/link-acme?aff_sub=bad").status != 302


# --- idempotency keys -----------------------------------------------------------------------------------


def receipt_of(door: RunningDoor, target: str, *headers: str, body: bytes | None = None) -> str:
    answer = door.get(target, *headers) if body is None else door.post(target, body, *headers)
    assert answer.status == 200
    return str(answer.json["receipt"])


def test_a_key_makes_the_receipt_the_same_at_any_door_and_each_time(door: RunningDoor, tmp_path: Path) -> None:
    header = "Idempotency-Key: order-17"
    first = receipt_of(door, "/postback?token=s3cret&click_id=1", header)
    assert last(door).keyed and receipt_text(last(door).receipt) == first and last(door).receipt < 1 << 62
    assert last(door).at_ms > 1_700_000_000_000
    again = [
        receipt_of(door, "/postback?token=s3cret&click_id=2", header),
        receipt_of(door, "/s3cret/postback?idempotency_key=order-17"),
        receipt_of(door, "/postback?idempotency_key=order%2D17&token=s3cret"),
        receipt_of(door, "/postback", body=b"token=s3cret&idempotency_key=order-17"),
        receipt_of(door, "/postback", "Waypost-Token: s3cret", header, "Content-Type: application/json", body=b"{}"),
    ]
    with running_door(tmp_path / "other", catalogs=MemoryCatalogs(VIEW), number=9) as other:
        again.append(receipt_of(other, "/postback?token=s3cret", header))
    assert set(again) == {first}


def test_receipts_differ_by_key_advertiser_test_and_kind_of_key(door: RunningDoor) -> None:
    header = "Idempotency-Key: order-17"
    found = [
        receipt_of(door, "/postback?token=s3cret", header),
        receipt_of(door, "/postback?token=s3cret", "Idempotency-Key: order-18"),
        receipt_of(door, "/postback?token=near-token", header),
        receipt_of(door, "/postback?token=s3cret", header, f"Waypost-Test: {OPERATOR_KEY}"),
    ]
    assert len(set(found)) == 4
    for target, headers in (("/postback?token=s3cret", ["Idempotency-Key:  "]), ("/postback?token=s3cret", [])):
        assert receipt_of(door, target, *headers) != receipt_of(door, target, *headers)
        assert not last(door).keyed
    receipt_of(door, "/postback?token=s3cret&idempotency_key=")
    assert not last(door).keyed


def test_a_key_in_a_call_without_a_token_to_be_seen_is_nobodys(door: RunningDoor) -> None:
    kind = "Content-Type: application/json"
    receipt_of(door, "/postback", kind, "Idempotency-Key: order-17", body=b'{"token":"s3cret"}')
    assert last(door).auth is Auth.DEFERRED and not last(door).keyed


def test_a_standard_webhook_sent_again_is_the_same_call(door: RunningDoor) -> None:
    import time

    from waypost.stages.signing import webhook_signature

    stamp, body = str(int(time.time())).encode(), b'{"click_id":"1"}'
    signed = webhook_signature("whsec_c2VjcmV0", b"msg_1", stamp, body)
    headers = ["webhook-id: msg_1", f"webhook-timestamp: {stamp.decode()}", f"webhook-signature: v1,{signed}"]
    headers += ["Waypost-Advertiser: hooks", "Content-Type: application/json"]
    first = receipt_of(door, "/postback", *headers, body=body)
    assert receipt_of(door, "/postback", *headers, "Idempotency-Key: somebody-else's", body=body) == first
    assert last(door).keyed
