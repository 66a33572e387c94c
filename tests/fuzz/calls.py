"""Whatever a call of an advertiser says: whose it is and what it means is settled, and nobody is guessed.

An input: a byte that chooses kind and way of the call, then its parts, set apart by zero bytes: query, body, token in
the path, address, two headers, amounts' currency. It is identified as at a door, decoded and judged as in the pipeline.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from urllib.parse import parse_qsl, quote_plus, unquote_plus

from fuzz.fuzzed_door import must
from support.intake import CODEC, GOALS, advertiser, arrived, click_of, intake_view
from support.traffic import START_MS, click
from waypost.catalog.aliases import ALIAS_SETS
from waypost.catalog.model import IntakeRules, Signature
from waypost.catalog.outside import Privacy
from waypost.doors.postbacks import answer_kind, wants_ok
from waypost.doors.refusals import redacted, redacted_body
from waypost.errors import ERRORS
from waypost.model.frames import Auth, Decision, PostbackIn, Verdict
from waypost.stages.call_auth import Arrival, Callers, header_token, plain_token
from waypost.stages.case import Intake, Where
from waypost.stages.checks import CheckLimits
from waypost.stages.intake import PARAMETERS_MAX, decode_body, decode_pairs
from waypost.stages.judgement import judge
from waypost.stages.redirect import query_value
from waypost.stages.rules import RuleBook
from waypost.stages.signing import SignedRequest, canonical_string, sign, verify, webhook_signature
from waypost.stages.terms import parse_amounts
from waypost.stages.visitor_data import has_visitor_data, kept_query

SECRET = "S3cret"  # short, so that it is found by the fuzzer as well
KEY, WEBHOOK_KEY = "only-the-signer-knows", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SIGNED = Signature((KEY,))
IN_QUERY = Signature((KEY,), where="query", encoding="base64", name="sig", timestamp="ts")
WEBHOOKS = Signature((WEBHOOK_KEY,), scheme="standard-webhooks")
VIEW = intake_view(
    advertiser(1, "acme", SECRET, sets=tuple(ALIAS_SETS)),
    advertiser(2, "signer", signature=SIGNED),
    advertiser(3, "silent", allow_addresses=("203.0.113.0/24",)),
    advertiser(4, "hooks", signature=WEBHOOKS),
    rules=IntakeRules((SECRET + "-all",), by_address=("203.0.113.0/24",)),
    offer_token=SECRET + "-offer",
)
OF_SILENT = "203.0.113.7"
KINDS = ("", "application/json", "application/x-www-form-urlencoded; charset=x", "text/plain", "multipart/form-data")
HEADERS = (b"waypost-token", b"authorization", b"waypost-advertiser", b"x-signature", b"x-timestamp", b"webhook-id",
           b"webhook-timestamp", b"webhook-signature")  # fmt: skip
LIMITS = CheckLimits(START_MS + 10, 86_400_000, Decimal(10**9))
STAMP = str(START_MS // 1000).encode()


class Calls:
    """The check; made once a process."""

    def __init__(self) -> None:
        self._callers = Callers(VIEW, 10)
        self._intake = Intake(VIEW)
        self._rules = RuleBook(VIEW)

    def __call__(self, data: bytes) -> None:
        if not data:
            return
        how, parts = data[0], data[1:].split(b"\0", 7) + [b""] * 8
        query, body, path_token, address, name, value, other = parts[:7]
        headers = {HEADERS[how % len(HEADERS)]: name, HEADERS[(how >> 3) % len(HEADERS)]: value}
        kind = KINDS[(how >> 2) % len(KINDS)]
        text = address.decode("latin-1") if address else OF_SILENT if how & 128 else "198.51.100.1"
        arrival = Arrival(b"POST", b"/postback", query, headers, body, kind, text, path_token)
        self._identified(arrival)
        self._judged(arrival, how)
        self._decoded(query, body, kind)
        if len(data) % 4 == 0:  # dear, and its code has few branches
            self._signed(arrival, other)
            self._cut(query, body)
        amount = parse_amounts(query.decode("utf-8", "replace"), other.decode("latin-1"), "USD", GOALS[how % 3])
        must(amount.money is None or not amount.problem, "an amount, or why there is none", amount)

    def _identified(self, arrival: Arrival) -> None:
        caller = self._callers.judge(arrival, START_MS)
        must(not caller.code or caller.code in ERRORS, "a refusal has a code", caller)
        sent = [arrival.query, arrival.body, arrival.path_token, *arrival.headers.values()]
        if caller.advertiser == 1 or caller.auth is Auth.GLOBAL:
            said = " ".join(unquote_plus(part.decode("utf-8", "replace")) for part in sent)
            must(caller.code or SECRET in said, "nobody passes for another", caller, arrival)
        elif caller.advertiser:
            must(caller.code, "who signs is believed by his signature only", caller, arrival)
        elif not caller.code and (not arrival.body or not arrival.content_type):
            must(arrival.address.startswith("203.0.113.") or arrival.body or "::ffff" in arrival.address.lower(),
                 "who is not known comes from a listed address", caller, arrival)  # fmt: skip
        token = plain_token(arrival.query)
        pairs = [pair.partition(b"=") for pair in arrival.query.split(b"&")]
        must(token == next((v for n, eq, v in pairs if n == b"token" and eq), b""), "the first token counts", token)
        header_token(arrival.headers)
        must(
            (answer_kind(caller, arrival.query) == "ok") is (wants_ok(arrival.query) or caller.answer == "ok"),
            "the answer",
        )

    def _judged(self, arrival: Arrival, how: int) -> None:
        auth = tuple(Auth)[how % len(Auth)]
        number = (0, 1, 2, 3, 99)[(how >> 4) % 5]
        frame = arrived("", advertiser_no=number, auth=auth, body=arrival.body, content_type=arrival.content_type,
                        ip=arrival.address)  # fmt: skip
        frame.query = arrival.query
        decision = self._decided(frame)
        must(decision.verdict in (Verdict.NEW, Verdict.REFUSED), "a call is admitted or refused", decision.verdict)
        must((decision.code == "") is (decision.verdict is Verdict.NEW), "a refusal has a code", decision.code)
        if how == 0:
            must(decision == self._decided(frame), "the same call is judged the same")

    def _decided(self, frame: PostbackIn) -> Decision:
        case = self._intake.open_case(frame, Where("door-0", 0))
        found = CODEC.decode(case.click_text)
        if found is not None:
            case.name_click(found)
            case.click = click(found.ms, found.seq, route=found.route)
        self._intake.resolve(case, VIEW)
        return judge(case, {}, LIMITS, 1, self._rules).decision

    def _decoded(self, query: bytes, body: bytes, kind: str) -> None:
        found = decode_pairs(query)
        must(len(found) <= PARAMETERS_MAX, "parameters are bounded")
        must(found == _plainly(query), "decoded as a library does", found)
        for name in ("mode", "offer"):
            said = query_value(query, name.encode())
            has_bare = name.encode() in query.split(b"&")  # a name without `=` is an empty value, or nothing
            if b"%" not in query and b"+" not in query and not has_bare and query.count(b"&") < PARAMETERS_MAX:
                must((said or "") == found.get(name, ""), "both readings agree", said, found)
        frame = arrived("", body=body, content_type=kind)
        try:
            values = decode_body(frame)
        except ValueError:
            return
        must(all(type(value) is str for value in values.values()), "values are texts", values)
        must(len(values) <= PARAMETERS_MAX, "parameters are bounded")

    def _signed(self, arrival: Arrival, other: bytes) -> None:
        query, body = arrival.query, arrival.body
        right = SignedRequest(b"POST", b"/postback", query, arrival.headers, body)
        for terms in (SIGNED, IN_QUERY, WEBHOOKS):
            must(verify(terms, right, START_MS) in ERRORS, "nobody guesses a signature")
        text = canonical_string(b"POST", b"/postback", query, STAMP, body)
        headers = {b"x-signature": sign(KEY, text).encode(), b"x-timestamp": STAMP}
        must(verify(SIGNED, right._replace(headers=headers), START_MS) == "", "who signs is believed", query)
        if other:
            for changed in (right._replace(body=body + other), right._replace(query=query + other)):
                code = verify(SIGNED, changed._replace(headers=headers), START_MS)
                must(code == "wrong_signature", "what is changed is not signed", code)
        sent = webhook_signature(WEBHOOK_KEY, b"m1", STAMP, body)
        hook = {b"webhook-id": b"m1", b"webhook-timestamp": STAMP, b"webhook-signature": f"v1,{sent}".encode()}
        must(verify(WEBHOOKS, right._replace(headers=hook), START_MS) == "", "a webhook is believed")

    def _cut(self, query: bytes, body: bytes) -> None:
        """What is kept holds no token and no visitor's address."""
        secret = SECRET.encode()
        must(
            redacted(b"/postback?x=" + secret + b"&" + query, _is_secret).startswith("/postback?x=***&"),
            "no token is kept",
        )
        must(
            redacted(b"/" + secret + b"/postback?" + query, _is_secret).startswith("/***/postback?"), "no token is kept"
        )
        kept = redacted_body(b'{"token": "' + SECRET.encode() + b'", "x": 1}' + body, _is_secret)
        must(not kept.startswith('{"token": "' + SECRET), "no token is kept", kept)
        for how in ("truncated", "none"):
            privacy = Privacy(ip=how, user_agent="none", referrer="none")
            done = kept_query(query, privacy, b"k" * 16)
            if not has_visitor_data(query):
                must(done == query, "what need not be cut is not", query, done)
            values = decode_pairs(done)
            must(not values.get("user_agent") and not values.get("referrer"), "no agent is kept", query, done)
            address = values.get("ip", "")
            must(
                not address or (how == "truncated" and address.endswith((".0", "::"))),
                "no address is kept",
                query,
                done,
            )


def _is_secret(text: str) -> bool:
    return text == SECRET


def _plainly(query: bytes) -> dict[str, str]:
    """What a query says, by the standard library; the first of a name counts."""
    pieces = query.decode("utf-8", "replace").split("&")[:PARAMETERS_MAX]
    found: dict[str, str] = {}
    for piece in pieces:
        for name, value in parse_qsl(piece, keep_blank_values=True, separator="&"):
            if name:
                found.setdefault(name, value)
    return found


def seeds() -> Iterator[bytes]:
    """Calls of every kind."""
    names = sorted({name for one in ALIAS_SETS.values() for names in one.parameters.values() for name in names})
    queries = [
        f"click_id={click_of(1)}&goal=install&token={SECRET}",
        f"token={SECRET}-all&subid={click_of(1)}&payout=1,2&currency=usd,eur",
        f"cid={click_of(2)}&advertiser=signer",
        "payout=7,50&sum=1e3&currency=EUR&status=2&lead_status=1,2&sale_status=3&return=OK",
        "token=&token=x&ip=203.0.113.77&user_agent=Mozilla&referrer=https%3A%2F%2Fa.example",
        "mode=json&offer=1&xoffer=2&%6fffer=3",
        "1,2",
        "0.005,1.20",
        "-1",
        "txn_id=%00%ff&sum=" + "9" * 40,
        "goal=sale&amount=12.5&transaction_id=" + click_of(1),
        "&".join(f"{name}={nth}" for nth, name in enumerate(names)),
        quote_plus("click_id") + "=" + click_of(1) + "%20",
    ]
    bodies = [
        "",
        json.dumps({"token": SECRET, "click_id": click_of(1), "sum": 1.5, "x": [1, {"y": None}]}),
        "token=" + SECRET,
        "[[[[" * 20,
        '{"a":1e999,"b":true,"c":"\\ud800"}',
        '{"sum": 123456789012345678901234567890}',
    ]
    headers = ["", "Bearer " + SECRET, SECRET + "-offer", "v1,abc v1,def", STAMP.decode(), "signer", "hooks"]
    for nth, query in enumerate(queries):
        for number, body in enumerate(bodies):
            header = headers[(nth + number) % len(headers)]
            path = SECRET if (nth + number) % 5 == 0 else ""
            address = ("", "203.0.113.9", "::ffff:203.0.113.9", "fe80::1%eth0")[(nth * 3 + number) % 4]
            text = "\0".join((query, body, path, address, header, headers[nth % len(headers)], "eur,usd"))
            yield bytes(((nth * 29 + number * 53) % 256,)) + text.encode()
