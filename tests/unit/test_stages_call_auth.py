"""Whose call it is: places, levels, names, gates; and what the pipeline makes of calls that a door could not tell."""

import json

import pytest

from support.intake import advertiser, arrived, click_of, decided, intake_view, opened
from support.traffic import START_MS
from waypost.catalog.model import IntakeRules, Signature
from waypost.model.frames import Auth, Verdict
from waypost.model.partition import NO_PARTITION, partition_of
from waypost.stages.call_auth import Arrival, Caller, Callers
from waypost.stages.signing import canonical_string, sign

ACME = advertiser(1, "acme", "old-token", tokens_before=("new-token",))
NET = advertiser(2, "net", "net-token", sets=("affise",), allow_addresses=("198.51.100.0/24", "2001:db8::/32"))
SIGNER = advertiser(3, "signer", "signer-token", signature=Signature(("k2", "k1")))
QUIET = advertiser(4, "quiet", "quiet-token", wrong_token=200, allow_addresses=("198.51.100.1/32",), answer="gif")
FORM = "application/x-www-form-urlencoded; charset=utf-8"
VIEW = intake_view(ACME, NET, SIGNER, QUIET, rules=IntakeRules(("global-token",)), offer_token="offer-token")


def judged(
    query: str = "", *, headers: dict[bytes, bytes] | None = None, address: str = "203.0.113.7", **more: object
) -> Caller:
    arrival = Arrival(b"GET", b"/postback", query.encode(), headers or {}, address=address, **more)  # type: ignore[arg-type]
    return Callers(VIEW, 100).judge(arrival, START_MS)


@pytest.mark.parametrize(
    ("arrival", "auth", "number", "code"),
    [
        ({"query": "token=old-token"}, Auth.TOKEN, 1, ""),
        ({"query": "a=b&token=new-token"}, Auth.TOKEN, 1, ""),
        ({"query": "token=new%2Dtoken"}, Auth.TOKEN, 1, ""),
        ({"path_token": b"old-token"}, Auth.TOKEN, 1, ""),
        ({"path_token": b"old%2Dtoken"}, Auth.TOKEN, 1, ""),
        ({"headers": {b"waypost-token": b"old-token"}}, Auth.TOKEN, 1, ""),
        ({"headers": {b"authorization": b"Bearer  old-token"}}, Auth.TOKEN, 1, ""),
        ({"headers": {b"authorization": b"bearer old-token"}}, Auth.TOKEN, 1, ""),
        ({"headers": {b"authorization": b"Basic b2xkLXRva2Vu"}}, Auth.DEFERRED, 0, "missing_token"),
        ({"body": b"x=1&token=old-token", "content_type": FORM}, Auth.TOKEN, 1, ""),
        ({"body": b"token=old-token"}, Auth.TOKEN, 1, ""),
        ({"query": "token=global-token"}, Auth.GLOBAL, 0, ""),
        ({"query": "secure=global-token"}, Auth.GLOBAL, 0, ""),
        ({"query": "foo=global-token"}, Auth.DEFERRED, 0, "missing_token"),
        ({"query": "token=offer-token"}, Auth.OFFER, 1, ""),
        ({"query": "secure=net-token", "address": "198.51.100.9"}, Auth.TOKEN, 2, ""),
        ({"query": "secure=net-token", "address": "::ffff:198.51.100.9"}, Auth.TOKEN, 2, ""),
        ({"query": "secure=net-token", "address": "2001:db8::77"}, Auth.TOKEN, 2, ""),
        ({"query": "secure=net-token"}, Auth.TOKEN, 2, "address_not_allowed"),
        ({"query": "secure=net-token", "test": True}, Auth.TOKEN, 2, ""),
        ({"query": "secure=old-token"}, Auth.DEFERRED, 0, "missing_token"),  # that is no name of acme's
        ({"query": "txn_id=old-token"}, Auth.DEFERRED, 0, "missing_token"),
        ({"query": "token=nobody"}, Auth.DEFERRED, 0, "wrong_token"),
        ({"query": "token=old-token", "path_token": b"nobody"}, Auth.DEFERRED, 0, "wrong_token"),
        ({"query": "token=old-token", "headers": {b"waypost-token": b"nobody"}}, Auth.DEFERRED, 0, "wrong_token"),
        ({"query": ""}, Auth.DEFERRED, 0, "missing_token"),
        ({"body": b'{"token": "old-token"}', "content_type": "application/json"}, Auth.DEFERRED, 0, ""),
        ({"query": "token=signer-token"}, Auth.SIGNATURE, 3, "missing_signature"),
        ({"query": "advertiser=signer"}, Auth.SIGNATURE, 3, "missing_signature"),
        ({"query": "advertiser=acme"}, Auth.DEFERRED, 0, "missing_token"),  # who signs nothing is not named by it
        ({"query": "advertiser=signer&token=x"}, Auth.SIGNATURE, 3, "missing_signature"),
    ],
)  # fmt: skip
def test_a_caller_is_told_by_every_place(arrival: dict[str, object], auth: Auth, number: int, code: str) -> None:
    caller = judged(**arrival)  # type: ignore[arg-type]
    assert (caller.auth, caller.advertiser, caller.code) == (auth, number, code)


def test_a_caller_carries_what_the_door_needs() -> None:
    assert judged("token=old-token") == Caller(Auth.TOKEN, 1, partition_of("acme"))
    offer = judged("token=offer-token")
    assert (offer.offer, offer.partition) == (1, partition_of("acme"))
    assert judged("token=global-token").partition == NO_PARTITION
    quiet = judged("token=quiet-token")
    assert (quiet.code, quiet.hides, quiet.answer) == ("address_not_allowed", True, "gif")
    assert not judged("token=nobody").hides


def test_the_installation_may_hide_refusals_and_hold_addresses() -> None:
    view = intake_view(ACME, rules=IntakeRules(("g",), ("192.0.2.0/24",), wrong_token=200))
    callers = Callers(view, 100)

    def ask(query: bytes, address: str) -> Caller:
        return callers.judge(Arrival(b"GET", b"/postback", query, address=address), START_MS)

    assert ask(b"token=old-token", "192.0.2.9").code == ""
    assert ask(b"token=old-token", "192.0.3.9").code == "address_not_allowed"
    assert ask(b"token=g", "192.0.3.9").code == "address_not_allowed"
    assert ask(b"token=no", "192.0.2.9")[3:7] == ("wrong_token", 0, "json", True)
    json_call = Arrival(b"POST", b"/postback", b"", {}, b"{}", "application/json", "192.0.3.9")
    assert callers.judge(json_call, START_MS).code == "address_not_allowed"


def test_a_signed_call_passes_under_each_key_and_with_either_name() -> None:
    stamp = str(START_MS // 1000).encode()
    for query in (b"advertiser=signer&goal=install", b"token=signer-token&goal=install"):
        for key in ("k1", "k2"):
            made = sign(key, canonical_string(b"GET", b"/postback", query, stamp, b"")).encode()
            headers = {b"x-signature": made, b"x-timestamp": stamp}
            caller = judged(query.decode(), headers=headers)
            assert (caller.code, caller.auth, caller.advertiser) == ("", Auth.SIGNATURE, 3)
            assert judged(query.decode() + "&x=1", headers=headers).code == "wrong_signature"
    by_header = {**headers, b"waypost-advertiser": b"signer"}
    made = sign("k2", canonical_string(b"GET", b"/postback", b"goal=install", stamp, b"")).encode()
    assert judged("goal=install", headers={**by_header, b"x-signature": made}).code == ""


# --- what the pipeline makes of it


def test_an_address_that_speaks_for_an_advertiser_vouches_for_calls_that_are_judged_later() -> None:
    callers = Callers(intake_view(ACME, rules=IntakeRules(by_address=("192.0.2.0/24",))), 100)
    for body, kind in ((b"", ""), (b"{}", "application/json")):
        arrival = Arrival(b"POST", b"/postback", b"a=1", {}, body, kind, "192.0.2.9")
        known = callers.judge(arrival, START_MS)
        assert (known.auth, known.code, known.is_vouched) == (Auth.DEFERRED, "", True)
    stranger = callers.judge(arrival._replace(address="203.0.113.7"), START_MS)
    assert (stranger.auth, stranger.code, stranger.is_vouched) == (Auth.DEFERRED, "", False)


def test_the_global_token_leaves_the_advertiser_to_the_click() -> None:
    query = f"clickid={click_of(2)}&status=1&goal=install&token=global-token"
    case = opened(VIEW, arrived(query, auth=Auth.GLOBAL, ip="198.51.100.9"))
    assert case.advertiser is not None and case.advertiser.name == "net"
    assert case.partition == partition_of("net")
    decision = decided(VIEW, arrived(query, auth=Auth.GLOBAL, ip="198.51.100.9"))
    assert (decision.verdict, decision.code, decision.status) == (Verdict.NEW, "", "approved")  # by Affise's words
    assert (
        decided(VIEW, arrived(query, auth=Auth.GLOBAL)).code == "address_not_allowed"
    )  # net's list holds all the same
    signer = arrived(f"click_id={click_of(3)}&goal=install", auth=Auth.GLOBAL)
    assert decided(VIEW, signer).code == "signature_missing"
    assert decided(VIEW, arrived("goal=install", auth=Auth.GLOBAL)).code == "click_id_missing"


def test_an_offers_token_is_good_for_its_clicks_only() -> None:
    good = arrived(f"click_id={click_of(1)}&goal=install", advertiser_no=1, auth=Auth.OFFER, offer=1)
    assert decided(VIEW, good).verdict is Verdict.NEW
    other = advertiser(1, "acme", "t")
    view = intake_view(other)
    view._offers[2] = view._offers[1].__class__(2, "second", 1, "http://127.0.0.1:9000/", view._offers[1].goals)
    view._routes[2] = view._routes[1].__class__(2, "second", 1, 2)
    bad = arrived(f"click_id={click_of(2)}&goal=install", advertiser_no=1, auth=Auth.OFFER, offer=1)
    assert decided(view, bad).code == "wrong_offer_token"


@pytest.mark.parametrize(
    ("body", "code", "name"),
    [
        ({"token": "old-token"}, "", "acme"),
        ({"token": "new-token"}, "", "acme"),
        ({"comment": "old-token"}, "bad_token", ""),  # any value that happens to be a token speaks for nobody
        ({"secure": "old-token"}, "bad_token", ""),
        ({"secure": "net-token"}, "wrong_advertiser", "net"),
        ({"token": "global-token"}, "", "acme"),
        ({"token": "offer-token"}, "", "acme"),
        ({"token": "signer-token"}, "wrong_advertiser", "signer"),
        ({"token": "nobody"}, "bad_token", ""),
        ({}, "bad_token", ""),
    ],
)
def test_a_token_in_json_is_judged_later(body: dict[str, str], code: str, name: str) -> None:
    content = json.dumps({"click_id": click_of(1), "goal": "install", **body}).encode()
    frame = arrived("", auth=Auth.DEFERRED, body=content, content_type="application/json", ip="198.51.100.9")
    decision = decided(VIEW, frame)
    assert decision.code == code
    case = opened(VIEW, frame)
    assert (case.advertiser.name if case.advertiser is not None else "") == name


def test_an_address_may_speak_for_an_advertiser_that_has_nothing_else() -> None:
    silent = advertiser(1, "silent", sets=("voluum",), allow_addresses=("198.51.100.0/24",))
    other = advertiser(2, "other", sets=("voluum",), allow_addresses=("192.0.2.0/24",))
    tokened = advertiser(3, "tokened", "t", allow_addresses=("198.51.100.0/24",))
    view = intake_view(silent, other, tokened, rules=IntakeRules(by_address=("192.0.2.0/24", "198.51.100.0/24")))
    callers = Callers(view, 10)
    query = f"cid={click_of(1)}&payout=2&txid=7"
    ask = Arrival(b"GET", b"/postback", query.encode(), address="198.51.100.3")
    assert callers.judge(ask, START_MS).code == ""
    assert callers.judge(ask._replace(address="203.0.113.1"), START_MS).code == "missing_token"
    for route, code in ((1, ""), (2, "bad_token"), (3, "bad_token")):
        frame = arrived(f"cid={click_of(route)}&payout=2&txid=7", auth=Auth.DEFERRED, ip="198.51.100.3")
        assert decided(view, frame).code == code
