"""Signatures: the canonical string to the byte, keys in turn, the window, and Standard Webhooks."""

import hashlib
import hmac
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.catalog.model import Signature
from waypost.stages.signing import (
    EXPIRED,
    MISSING,
    WRONG,
    SignedRequest,
    canonical_string,
    is_in_time,
    sign,
    verify,
    webhook_signature,
)

# The worked example of docs/intake.md.
STAMP = b"1790000000"
QUERY = b"advertiser=acme&click_id=0AbC&goal=install&payout=1.20"
DIGEST = "68fd41cd28b2e1ebf2bd64f5c8a2fe3c59147409234b08d7cbf6245c255f9f1f"
DIGEST_2 = "137ca80ca2cc20a373e45d8f13ea3359270da15af9e9e9d56fbfb3d4d3b0824e"
NOW_MS = 1_790_000_000_000
KEY = "correct-horse"


def signed(
    terms: Signature,
    *,
    method: bytes = b"GET",
    query: bytes = QUERY,
    body: bytes = b"",
    key: str = KEY,
    stamp: bytes = STAMP,
) -> SignedRequest:
    text = canonical_string(method, b"/postback", query, stamp, body)
    made = sign(key, text, algorithm=terms.algorithm, encoding=terms.encoding)
    headers = {terms.name.lower().encode(): made.encode(), terms.timestamp.lower().encode(): stamp}
    return SignedRequest(method, b"/postback", query, headers, body)


TERMS = Signature((KEY, "older-key"))


def test_the_canonical_string_is_that_of_the_documentation() -> None:
    text = canonical_string(b"GET", b"/postback", QUERY, STAMP, b"")
    empty = hashlib.sha256(b"").hexdigest()
    assert text.decode().split("\n") == ["waypost-1", "1790000000", "GET", "/postback", QUERY.decode(), empty]
    assert sign(KEY, text) == hmac.new(KEY.encode(), text, "sha256").hexdigest() == DIGEST


def test_version_2_covers_the_headers_that_change_what_a_call_means_and_version_1_is_still_taken() -> None:
    headers = {b"content-type": b"application/json", b"idempotency-key": b"order-17"}
    text = canonical_string(b"POST", b"/postback", QUERY, STAMP, b"{}", version=2, headers=headers)
    body = hashlib.sha256(b"{}").hexdigest()
    assert text.decode().split("\n") == [
        *("waypost-2", "1790000000", "POST", "/postback", QUERY.decode(), "application/json", "order-17", body)
    ]
    assert sign(KEY, text) == DIGEST_2
    by_headers = {b"x-signature": sign(KEY, text).encode(), b"x-timestamp": STAMP}
    request = SignedRequest(b"POST", b"/postback", QUERY, headers | by_headers, b"{}")
    assert verify(TERMS, request, NOW_MS) == ""
    for changed in (
        {b"content-type": b"text/plain"},
        {b"idempotency-key": b"order-18"},
        {b"idempotency-key": b""},
        {b"content-type": b"application/json\norder-17", b"idempotency-key": b""},
    ):
        assert verify(TERMS, request._replace(headers=headers | by_headers | changed), NOW_MS) == WRONG
    plain = signed(TERMS)
    first = plain._replace(headers={**plain.headers, b"idempotency-key": b"anything"})
    assert verify(TERMS, first, NOW_MS) == "", "which is why a sender of keys signs version 2"


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
@pytest.mark.parametrize("key", [KEY, "older-key"])
def test_a_right_signature_is_taken_under_each_key(algorithm: str, encoding: str, key: str) -> None:
    terms = Signature((KEY, "older-key"), algorithm=algorithm, encoding=encoding)
    assert verify(terms, signed(terms, key=key), NOW_MS) == ""
    assert verify(terms, signed(terms, key="a third"), NOW_MS) == WRONG


@pytest.mark.parametrize(
    "changed",
    [
        {"method": b"POST"},
        {"path": b"/key/postback"},
        {"query": QUERY.replace(b"1.20", b"9.99")},
        {"query": QUERY + b"&payout=9"},
        {"body": b"payout=9"},
    ],
)
def test_whatever_is_changed_on_the_way_is_noticed(changed: dict[str, bytes]) -> None:
    assert verify(TERMS, signed(TERMS)._replace(**changed), NOW_MS) == WRONG


@pytest.mark.parametrize(
    ("off_ms", "code"),
    [(0, ""), (300_000, ""), (-300_000, ""), (301_000, EXPIRED), (-301_000, EXPIRED), (10**9, EXPIRED)],
)
def test_a_timestamp_counts_within_its_window(off_ms: int, code: str) -> None:
    assert verify(TERMS, signed(TERMS), NOW_MS + off_ms) == code


def test_a_timestamp_may_be_in_milliseconds() -> None:
    assert verify(TERMS, signed(TERMS, stamp=b"1790000000123"), NOW_MS) == ""
    for stamp in (b"", b"now", b"-1790000000", b"1790000000.5", b"1" * 40, "١٧".encode()):
        assert not is_in_time(stamp, 10**15, NOW_MS)


def test_without_signature_or_timestamp_it_is_missing() -> None:
    request = signed(TERMS)
    for name in (b"x-signature", b"x-timestamp"):
        headers = {key: value for key, value in request.headers.items() if key != name}
        assert verify(TERMS, request._replace(headers=headers), NOW_MS) == MISSING


def test_it_may_stand_in_the_query() -> None:
    terms = Signature((KEY,), where="query", name="signature", timestamp="timestamp", encoding="base64")
    plain = QUERY + b"&timestamp=" + STAMP
    made = sign(KEY, canonical_string(b"GET", b"/postback", plain, STAMP, b""), encoding="base64")
    quoted = made.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D").encode()
    for query in (plain + b"&signature=" + quoted, b"signature=" + quoted + b"&" + plain):
        assert verify(terms, SignedRequest(b"GET", b"/postback", query, {}, b""), NOW_MS) == ""
    altered = SignedRequest(b"GET", b"/postback", plain + b"&goal=x&signature=" + quoted, {}, b"")
    assert verify(terms, altered, NOW_MS) == WRONG
    assert verify(terms, SignedRequest(b"GET", b"/postback", plain, {}, b""), NOW_MS) == MISSING


WEBHOOK_SECRET = "whsec_" + b64encode(b"0123456789abcdef0123456789abcdef").decode()


def webhook(*signatures: str, body: bytes = b'{"goal":"install"}') -> SignedRequest:
    headers = {
        b"webhook-id": b"msg_1",
        b"webhook-timestamp": STAMP,
        b"webhook-signature": " ".join(signatures).encode(),
    }
    return SignedRequest(b"POST", b"/postback", b"advertiser=acme", headers, body)


def test_standard_webhooks_are_taken() -> None:
    terms = Signature((WEBHOOK_SECRET,), "standard-webhooks")
    right = webhook_signature(WEBHOOK_SECRET, b"msg_1", STAMP, b'{"goal":"install"}')
    content = b'msg_1.1790000000.{"goal":"install"}'
    key = b"0123456789abcdef0123456789abcdef"
    assert right == b64encode(hmac.new(key, content, "sha256").digest()).decode()
    assert verify(terms, webhook(f"v1,{right}"), NOW_MS) == ""
    assert verify(terms, webhook("v1,AAAA", f"v1,{right}"), NOW_MS) == ""  # by two keys of the sender
    assert verify(terms, webhook(f"v1a,{right}"), NOW_MS) == MISSING
    assert verify(terms, webhook("v1,AAAA"), NOW_MS) == WRONG
    assert verify(terms, webhook(f"v1,{right}", body=b"{}"), NOW_MS) == WRONG
    assert verify(terms, webhook(f"v1,{right}"), NOW_MS + 400_000) == EXPIRED


def test_a_key_that_is_no_webhook_secret_matches_nothing() -> None:
    anybodys = b64encode(hmac.digest(b"", b"msg_1." + STAMP + b'.{"goal":"install"}', "sha256")).decode()
    assert verify(Signature(("whsec_",), "standard-webhooks"), webhook(f"v1,{anybodys}"), NOW_MS) == WRONG
    terms = Signature(("not base64!",), "standard-webhooks")
    assert verify(terms, webhook("v1,AAAA"), NOW_MS) == WRONG


@given(st.binary(max_size=60), st.dictionaries(st.binary(max_size=20), st.binary(max_size=40), max_size=4), st.binary())
def test_nothing_that_is_sent_crashes_it_or_passes(query: bytes, headers: dict[bytes, bytes], body: bytes) -> None:
    for terms in (
        TERMS,
        Signature((KEY,), where="query", name="signature", timestamp="timestamp"),
        Signature((WEBHOOK_SECRET,), "standard-webhooks"),
    ):
        assert verify(terms, SignedRequest(b"POST", b"/postback", query, headers, body), NOW_MS)
