"""Who a request says it is from: every kind of proof, OAuth tokens and their ends, and secrets that show nowhere."""

import hashlib
import hmac
import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from support.courier_world import World, settle
from support.rules import rule
from support.sender import FakeSender, answered
from waypost.catalog.model import Authentication, Basic, Batch, Delivery, Hmac, OAuth, Success
from waypost.courier.authentication import webhook_headers
from waypost.courier.secrets import forms_of, without, without_in_body
from waypost.errors import WaypostError
from waypost.model.frames import SendResult
from waypost.ports.sender import SendReport, SendRequest

URL = "http://partner.example/pb?c={sub1}"
TOKEN_URL = "http://auth.example/token"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def sent_with(world: World, auth: Authentication, **fields: Any) -> dict[str, str]:
    """The headers of one request under this authentication."""
    world.rules[1] = rule(1, **{"url": URL, "auth": auth, **fields})
    world.put(1)
    courier, sender = world.courier()
    settle(courier)
    return dict(sender.sent[0].headers)


# --- kinds -------------------------------------------------------------------------------------------


def test_basic_and_bearer(world: World) -> None:
    world.secrets = {"env:PASSWORD": "pass:word", "env:TOKEN": "tok-1"}
    headers = sent_with(world, Authentication(basic=Basic("me", "env:PASSWORD")))
    assert b64decode(headers["Authorization"].removeprefix("Basic ")) == b"me:pass:word"
    assert sent_with(world, Authentication(bearer="env:TOKEN"))["Authorization"] == "Bearer tok-1"


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "sha512", "md5"])
def test_an_hmac_over_a_text_of_the_rule(world: World, algorithm: str) -> None:
    auth = Authentication(
        hmac=Hmac(
            "X-Sign", "k3y", algorithm, "{method}\n{path}?{query}\n{timestamp}\n{body}\n{sub1}", "hex", "h=", "X-Time"
        )
    )
    headers = sent_with(world, auth, method="POST", body="é={sub1}")
    stamp = str(world.clock.now_ms() // 1000)
    text = f"POST\n/pb?c=0\n{stamp}\né=0\n0"
    assert headers["X-Time"] == stamp
    assert headers["X-Sign"] == "h=" + hmac.new(b"k3y", text.encode(), algorithm).hexdigest()


def test_an_hmac_is_made_anew_for_each_attempt(world: World) -> None:
    auth = Authentication(hmac=Hmac("X-Sign", "k3y", "sha256", "{timestamp_ms}", "base64"))
    world.rules[1] = rule(1, url=URL, auth=auth)
    world.put(1)
    courier, sender = world.courier(FakeSender(lambda one: answered(one, status=500)))
    settle(courier)
    world.clock.advance(1_000)
    settle(courier)
    first, second = (dict(one.headers)["X-Sign"] for one in sender.sent)
    now_ms = world.clock.now_ms()
    assert first == b64encode(hmac.digest(b"k3y", str(now_ms - 1_000).encode(), "sha256")).decode()
    assert second == b64encode(hmac.digest(b"k3y", str(now_ms).encode(), "sha256")).decode()


def test_standard_webhooks_against_the_specifications_own_example() -> None:
    headers = webhook_headers(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert headers == [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ]


def test_standard_webhooks_sign_by_every_key_and_keep_the_id_over_attempts(world: World) -> None:
    old, new = "whsec_" + b64encode(b"old key" * 4).decode(), "whsec_" + b64encode(b"new key" * 4).decode()
    world.secrets = {"env:NEW": new}
    world.rules[1] = rule(1, method="POST", url=URL, body="{sub1}", auth=Authentication(webhooks=(old, "env:NEW")))
    world.put(1)
    courier, sender = world.courier(FakeSender(lambda one: answered(one, status=500)))
    settle(courier)
    world.clock.advance(1_000)
    settle(courier)
    for request in sender.sent:
        headers = dict(request.headers)
        signed = f"p0.{headers['webhook-timestamp']}.".encode() + request.body
        assert headers["webhook-id"] == "p0"
        assert headers["webhook-signature"].split(" ") == [
            "v1," + b64encode(hmac.digest(key * 4, signed, hashlib.sha256)).decode() for key in (b"old key", b"new key")
        ]
    assert len({dict(one.headers)["webhook-timestamp"] for one in sender.sent}) == 2


def test_a_batch_is_signed_as_one(world: World) -> None:
    auth = Authentication(webhooks=(b64encode(b"key").decode(),))
    world.rules[1] = rule(1, method="POST", url="http://p.example/", auth=auth, batch=Batch(2, 1_000, '"{sub1}"'))
    world.put(2, batched=True)
    courier, sender = world.courier()
    settle(courier)
    headers = dict(sender.sent[0].headers)
    assert headers["webhook-id"] == headers["Waypost-Id"] and sender.sent[0].body == b'["0","1"]'


def test_a_client_certificate_goes_with_its_requests_and_no_others(world: World) -> None:
    world.rules[1] = rule(1, url=URL, auth=Authentication(certificate="c.pem", key="k.pem"))
    world.put(1)
    world.put(1, lane=2)
    courier, sender = world.courier()
    settle(courier)
    assert [(one.certificate, one.key) for one in sender.sent] == [("c.pem", "k.pem"), ("", "")]


def test_a_secret_that_is_not_there_is_an_attempt_that_is_tried_again(world: World) -> None:
    world.rules[1] = rule(1, url=URL, auth=Authentication(bearer="env:TOKEN"))
    world.put(1)
    courier, sender = world.courier()
    settle(courier)
    (attempt,) = world.attempts()
    assert sender.sent == [] and world.depth() == (1, 0, 0)
    assert (attempt.outcomes[0].code, attempt.outcomes[0].result) == ("auth_secret", SendResult.RETRY)
    assert "TOKEN is not set" in attempt.detail
    world.secrets["env:TOKEN"] = "there now"
    world.clock.advance(1_000)
    settle(courier)
    assert dict(sender.sent[0].headers)["Authorization"] == "Bearer there now"


# --- OAuth -------------------------------------------------------------------------------------------

OAUTH = OAuth(TOKEN_URL, "id:1", "env:SECRET", "postbacks", "aud")


class Partner:
    """Answers requests for tokens and postbacks; `good` is the token that it takes."""

    def __init__(self, **answer: Any) -> None:
        self.answer = {"token_type": "Bearer", "expires_in": 3600, **answer}
        self.given = 0
        self.good = ""
        self.asked: list[SendRequest] = []
        self.got: list[SendRequest] = []
        self.is_silent = False
        self.token_status = 200

    def __call__(self, request: SendRequest) -> SendReport | None:
        if request.url == TOKEN_URL:
            if self.is_silent:
                return None
            self.asked.append(request)
            self.given += 1
            body = json.dumps({**self.answer, "access_token": f"token-{self.given}"}).encode()
            return answered(request, status=self.token_status, body=body)
        self.got.append(request)
        token = dict(request.headers)["Authorization"].removeprefix("Bearer ")
        return answered(request, status=401 if self.good and token != self.good else 200)


def oauth_world(world: World, oauth: OAuth = OAUTH) -> World:
    world.secrets = {"env:SECRET": "s3cr+t"}
    world.rules[1] = rule(1, url=URL, auth=Authentication(oauth=oauth))
    return world


def test_one_token_is_got_for_many_postbacks_and_kept(world: World) -> None:
    oauth_world(world).put(10)
    partner = Partner()
    courier, _ = world.courier(FakeSender(partner))
    settle(courier)
    assert len(partner.asked) == 1 and len(partner.got) == 10
    assert {dict(one.headers)["Authorization"] for one in partner.got} == {"Bearer token-1"}
    (asked,) = partner.asked
    assert b64decode(dict(asked.headers)["Authorization"].removeprefix("Basic ")) == b"id%3A1:s3cr%2Bt"
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["client_credentials"], "scope": ["postbacks"], "audience": ["aud"],
    }  # fmt: skip
    world.put(1)
    settle(courier)
    assert len(partner.asked) == 1 and world.depth() == (0, 0, 0)
    assert world.stats.values["courier_attempts"] == 11


def test_id_and_secret_may_go_into_the_body(world: World) -> None:
    oauth_world(world, OAuth(TOKEN_URL, "me", "env:SECRET", in_body=True)).put(1)
    partner = Partner()
    courier, _ = world.courier(FakeSender(partner))
    settle(courier)
    assert parse_qs(partner.asked[0].body.decode())["client_secret"] == ["s3cr+t"]
    assert "Authorization" not in dict(partner.asked[0].headers)


def test_postbacks_wait_for_the_token_and_other_partners_do_not(world: World) -> None:
    oauth_world(world).put(2)
    world.rules[2] = rule(1, url="http://other.example/")
    world.put(1, lane=2)
    partner = Partner()
    partner.is_silent = True
    sender = FakeSender(lambda one: partner(one) if "other" not in one.url else answered(one))
    courier, _ = world.courier(sender)
    settle(courier)
    assert [one.url for one in sender.sent] == [TOKEN_URL, "http://other.example/"]
    assert world.depth() == (0, 2, 0)  # their intents are on disk
    partner.is_silent = False
    settle(courier)
    assert len(partner.got) == 2 and world.depth() == (0, 0, 0)


def test_a_token_is_renewed_in_the_background_before_it_expires(world: World) -> None:
    oauth_world(world).put(1)
    partner = Partner(expires_in=600)
    courier, _ = world.courier(FakeSender(partner))
    settle(courier)
    world.clock.advance(541_000)  # less than a minute is left
    partner.is_silent = True
    world.put(1)
    settle(courier)
    assert dict(partner.got[1].headers)["Authorization"] == "Bearer token-1"  # used on meanwhile
    partner.is_silent = False
    settle(courier)
    world.put(1)
    settle(courier)
    assert dict(partner.got[2].headers)["Authorization"] == "Bearer token-2" and len(partner.asked) == 2


def test_a_refused_token_is_replaced_once_and_the_attempt_repeated_at_once(world: World) -> None:
    oauth_world(world).put(1)
    partner = Partner()
    courier, _ = world.courier(FakeSender(partner))
    settle(courier)
    partner.good = "token-2"
    world.put(3)
    settle(courier)
    assert len(partner.asked) == 2 and world.depth() == (0, 0, 0)
    codes = [one.outcomes[0].code for one in world.attempts()]
    assert codes.count("token_rejected") == 3
    repeats = [dict(one.headers) for one in partner.got if "Waypost-Repeat" in dict(one.headers)]
    assert [one["Authorization"] for one in repeats] == ["Bearer token-2"] * 3  # marked, as every repeat


def test_a_partner_that_refuses_every_token_is_retried_at_the_lanes_own_pace(world: World) -> None:
    oauth_world(world).put(1)
    partner = Partner()
    partner.good = "none of these"
    courier, _ = world.courier(FakeSender(partner))
    settle(courier)
    assert len(partner.got) == 2 and len(partner.asked) == 2  # once more at once, with a new token
    assert [one.outcomes[0].next_due_ms - world.clock.now_ms() for one in world.attempts()] == [0, 10_000]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"token_status": 400}, "answered 400"),
        ({"answer": {"access_token": 7}}, "answered 200"),
        ({"answer": {"token_type": "mac"}}, "of type mac"),
        ({"answer": {"scope": "s3cr+t"}, "token_status": 500}, "answered 500"),
    ],
)
def test_a_token_that_cannot_be_got_fails_the_attempts_and_they_are_tried_again(
    world: World, change: dict[str, Any], said: str
) -> None:
    oauth_world(world).put(2)
    partner = Partner()
    partner.token_status = change.get("token_status", 200)
    partner.answer |= change.get("answer", {})
    answer = partner.__call__
    courier, _ = world.courier(
        FakeSender(lambda one: answered(one, body=b"{}") if "access_token" in change.get("answer", {}) else answer(one))
    )
    settle(courier)
    assert [one.outcomes[0].code for one in world.attempts()] == ["auth_failed"] * 2
    assert all(said in one.detail and "s3cr+t" not in one.detail for one in world.attempts())
    assert world.depth() == (2, 0, 0)
    courier._sender.answer = Partner()  # type: ignore[attr-defined]
    world.clock.advance(1_000)
    settle(courier)
    assert world.depth() == (0, 0, 0)


def test_a_token_of_one_partner_is_not_anothers(world: World) -> None:
    oauth_world(world).put(1)
    world.rules[2] = world.rules[1]
    world.put(1, lane=2)
    partner = Partner()
    courier, _ = world.courier(FakeSender(partner))
    settle(courier)
    assert len(partner.asked) == 2


# --- what shows nowhere --------------------------------------------------------------------------------


def test_secrets_are_taken_out_of_url_body_and_detail(world: World) -> None:
    world.secrets = {"env:TOKEN": "t0p secret/key"}
    world.deliveries[1] = Delivery()
    world.rules[1] = rule(
        1, url="http://p.example/?k=t0p%20secret%2Fkey&c={sub1}", auth=Authentication(bearer="env:TOKEN")
    )
    world.put(1)
    echo = b'{"you sent": "Bearer t0p secret/key"}'
    courier, _ = world.courier(FakeSender(lambda one: answered(one, body=echo)))
    settle(courier)
    (attempt,) = world.attempts()
    assert attempt.url == "http://p.example/?k=***&c=0"
    assert attempt.body == b'{"you sent": "Bearer ***"}'


def test_a_secret_that_the_bound_cuts_is_taken_out_too() -> None:
    forms = forms_of(["abcdefgh", "no"])
    assert without("x abcdefgh y", forms) == "x *** y"
    for length in range(4, 8):
        assert without_in_body(b"token=" + b"abcdefgh"[:length], forms) == b"token=***"
    assert without_in_body(b"token=abc", forms) == b"token=abc"  # too little of it to tell


def test_a_webhook_secret_that_is_none_is_said() -> None:
    with pytest.raises(WaypostError, match="not base64"):
        webhook_headers(["whsec_!!"], "p1", 1, b"")


# --- what counts as success ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("success", "status", "body", "code"),
    [
        (Success(((200, 299), (409, 409))), 409, b"", ""),
        (Success(((200, 200),)), 204, b"", "http_status"),
        (Success(give_up=((400, 404), (410, 410))), 404, b"", "status_final"),
        (Success(body_contains=("OK", "done")), 200, b"all done", ""),
        (Success(body_contains=("OK",)), 200, b"error", "answer_refused"),
        (Success(body_matches=("success*",)), 200, b"success;17\n", ""),
        (Success(body_matches=("success",)), 200, b"success;17", "answer_refused"),
        (Success(json_path="result.code", json_equals=("0", "7")), 200, b'{"result":{"code":0}}', ""),
        (Success(json_path="result.code", json_equals=("0",)), 200, b'{"result":{"code":"1"}}', "answer_refused"),
        (Success(json_path="result.0.ok", json_equals=("true",)), 200, b'{"result":[{"ok":true}]}', ""),
        (Success(json_path="result", json_equals=("0",)), 200, b"<html>", "answer_unreadable"),
        (Success(json_path="a.b", json_equals=("0",)), 200, b'{"a":1}', "answer_refused"),
    ],
)
def test_what_counts_as_success(world: World, success: Success, status: int, body: bytes, code: str) -> None:
    world.rules[1] = rule(1, url=URL, success=success)
    world.put(1)
    courier, sender = world.courier(FakeSender(lambda one: answered(one, status=status, body=body)))
    settle(courier)
    (attempt,) = world.attempts()
    assert attempt.outcomes[0].code == code
    assert world.depth() == ((0, 0, 0) if not code else (0, 0, 1) if code == "status_final" else (1, 0, 0))
    reads = bool(success.body_contains or success.body_matches or success.json_equals)
    assert sender.sent[0].body_bytes == (world.settings.response_bytes_max if reads else 0)


def test_of_a_long_answer_the_whole_is_judged_and_its_beginning_kept(world: World) -> None:
    world.rules[1] = rule(1, url=URL, success=Success(body_contains=("END",)))
    world.put(1)
    courier, _ = world.courier(FakeSender(lambda one: answered(one, body=b"x" * 5_000 + b"END")))
    settle(courier)
    (attempt,) = world.attempts()
    assert attempt.outcomes[0].result is SendResult.DELIVERED
    assert len(attempt.body) == world.settings.body_kept_bytes_max
