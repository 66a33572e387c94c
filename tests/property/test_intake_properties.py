"""Whatever bytes a call has, it is decoded, judged and refused or admitted: no crash, and nobody else's name."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from support.intake import GOALS, advertiser, arrived, click_of, decided, intake_view
from support.traffic import START_MS
from waypost.catalog.aliases import ALIAS_SETS
from waypost.catalog.model import IntakeRules, Signature
from waypost.doors.refusals import redacted, redacted_body
from waypost.model.frames import Auth, PostbackIn, Verdict
from waypost.stages.call_auth import Arrival, Callers
from waypost.stages.terms import parse_amounts

SECRET = "only-this-0123456789-abcdefghijklmnopqrstuvwxyz"
VIEW = intake_view(
    advertiser(1, "acme", SECRET, sets=tuple(ALIAS_SETS)),
    advertiser(2, "signer", signature=Signature((SECRET + "-key",))),
    advertiser(3, "silent", allow_addresses=("203.0.113.0/24",)),
    rules=IntakeRules((SECRET + "-global",), by_address=("203.0.113.0/24",)),
    offer_token=SECRET + "-offer",
)
NAMES = st.sampled_from(
    sorted({name for found in ALIAS_SETS.values() for names in found.parameters.values() for name in names})
)
VALUES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["1", "1,2", "7,50", "usd,eur", "sale", "{id}", click_of(1), click_of(2), ","]),
)
QUERIES = st.one_of(
    st.binary(max_size=120),
    st.lists(st.tuples(NAMES, VALUES), max_size=12).map(
        lambda pairs: "&".join(map("=".join, pairs)).encode("utf-8", "replace")
    ),
)
BODIES = st.one_of(
    st.binary(max_size=120),
    st.dictionaries(
        NAMES, st.one_of(VALUES, st.integers(), st.none(), st.lists(st.integers(), max_size=2)), max_size=8
    ).map(lambda content: json.dumps(content).encode()),
)
KINDS = st.sampled_from(
    ["", "application/json", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data"]
)


@settings(max_examples=300)
@given(QUERIES, BODIES, KINDS, st.sampled_from(list(Auth)), st.sampled_from([0, 1, 2, 3, 99]), st.text(max_size=20))
def test_any_call_is_judged(query: bytes, body: bytes, kind: str, auth: Auth, number: int, address: str) -> None:
    frame: PostbackIn = arrived("", advertiser_no=number, auth=auth, body=body, content_type=kind, ip=address)
    frame.query = query
    decision = decided(VIEW, frame)
    assert decision.verdict in (Verdict.NEW, Verdict.REFUSED)
    assert (decision.code == "") is (decision.verdict is Verdict.NEW)
    if auth is Auth.DEFERRED and not number:  # nobody's token was sent, and no address spoke for acme
        assert decision.verdict is Verdict.REFUSED


@settings(max_examples=300)
@given(QUERIES, BODIES, KINDS, st.binary(max_size=20), st.dictionaries(st.binary(max_size=12), st.binary(max_size=20)))
def test_nobody_is_taken_for_another(
    query: bytes, body: bytes, kind: str, path_token: bytes, headers: dict[bytes, bytes]
) -> None:
    arrival = Arrival(b"POST", b"/postback", query, headers, body, kind, "198.51.100.1", path_token)
    caller = Callers(VIEW, 10).judge(arrival, START_MS)
    assert caller.advertiser in (0, 2)
    assert caller.advertiser == 0 or caller.code == "missing_signature"


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_amounts_come_to_one_or_a_reason(text: str, currency: str) -> None:
    found = parse_amounts(text, currency, "USD", GOALS[0])
    assert found.money is None or not found.problem


@given(st.binary(max_size=100))
def test_no_token_is_left_in_what_is_kept(data: bytes) -> None:
    secret = SECRET.encode()
    for url in (b"/postback?x=" + secret + b"&" + data, b"/" + secret + b"/postback?" + data):
        assert SECRET not in redacted(url, lambda text: text == SECRET)
    for body in (b"a=b&token=" + secret, b'{"token": "' + secret + b'", ' + data, b'{"x":"' + secret + b'"'):
        assert SECRET not in redacted_body(body, lambda text: text == SECRET)
