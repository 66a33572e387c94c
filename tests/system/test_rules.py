"""Rules through a whole installation: proof of every kind, a batch with an answer for each item, a delay, others'
conversions, and a courier that is killed while half of it waits."""

import hashlib
import hmac
import json
import os
import signal
from base64 import b64decode, b64encode
from pathlib import Path

import pytest
import yaml

from support.installation import fetch, until
from support.sink import Answer, Received, Sink
from support.waypost_process import WaypostProcess

pytestmark = pytest.mark.system

SECRETS = {
    "RULES_BEARER": "be4rer-secret",
    "RULES_CLIENT": "cl1ent-secret",
    "RULES_HOOK": "whsec_" + b64encode(b"hook key" * 3).decode(),
}


def catalog(port: int) -> str:
    at = f"http://127.0.0.1:{port}"
    rules = [
        {"name": "bearer", "get": f"{at}/bearer?n={{sub1}}", "auth": {"bearer": "env:RULES_BEARER"}},
        {
            "name": "oauth",
            "get": f"{at}/oauth?n={{sub1}}",
            "auth": {"oauth": {"token_url": f"{at}/token", "client_id": "me", "client_secret": "env:RULES_CLIENT"}},
        },
        {
            "name": "signed",
            "if": "sub1 != '2' and payout > 1",
            "request": {"method": "PUT", "url": f"{at}/signed", "json": {"n": "{sub1}", "payout": "{payout|number}"}},
            "auth": {
                "hmac": {"header": "X-Sign", "secret": "env:RULES_CLIENT", "text": "{method} {path} {body}"},
                "standard_webhooks": ["env:RULES_HOOK"],
            },
            "success": {"json": {"path": "result.code", "equals": 0}},
        },
        {"name": "later", "delay": "5s", "get": f"{at}/later?n={{sub1}}&s={{secret('env:RULES_BEARER')}}"},
        {
            "name": "bulk",
            "post": {"url": f"{at}/bulk", "json": {"events": "{items}"}},
            "batch": {
                "count": 3,
                "age": "4s",
                "item": {"id": "{postback_id}", "n": "{sub1}"},
                "results": {"path": "results", "id": "ref", "ok": "state", "equals": "ok"},
            },
        },
    ]
    everything = {"for": "all", "post": {"url": f"{at}/everything", "form": {"who": "{partner}", "n": "{txn_id}"}}}
    return yaml.safe_dump(
        {
            "waypost": 1,
            "advertisers": {"acme": {"token": "s3cret"}},
            "offers": {
                "vpn": {
                    "advertiser": "acme",
                    "url": f"{at}/land?c={{click_id}}",
                    "goals": {"install": {"payout": "1.20 USD"}},
                }
            },
            "partners": {
                "geozo": {"postbacks": rules, "delivery": {"retry": ["500ms", "1s", "2s", "4s"]}},
                "analytics": {"postbacks": [everything]},
            },
            "links": {"demo": {"partner": "geozo", "offer": "vpn"}},
        },
        sort_keys=False,
    )


class Partner:
    """Answers as a partner would: gives tokens, and does not take item 2 of the first batch."""

    def __init__(self) -> None:
        self.tokens = 0
        self.batches: list[list[str]] = []

    def __call__(self, request: Received) -> Answer:
        path = request.target.partition("?")[0]
        if path == "/token":
            self.tokens += 1
            return Answer(body=json.dumps({"access_token": f"t-{self.tokens}", "expires_in": 3600}).encode())
        if path == "/oauth" and request.headers["authorization"] == "Bearer t-1" and "n=2" in request.target:
            return Answer(401)
        if path == "/signed":
            return Answer(body=b'{"result":{"code":0}}')
        if path == "/bearer":
            return Answer(body=b"you sent " + request.headers["authorization"].encode())
        if path == "/bulk":
            items = json.loads(request.body)["events"]
            self.batches.append([item["n"] for item in items])
            is_first = len(self.batches) == 1
            results = [
                {"ref": item["id"], "state": "busy" if is_first and item["n"] == "2" else "ok"} for item in items
            ]
            return Answer(body=json.dumps({"results": results}).encode())
        return Answer()


def test_rules_of_every_kind_through_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    partner = Partner()
    with Sink() as sink:
        sink.behave = partner

        def got(path: str) -> list[Received]:
            return [one for one in sink.received if one.target.startswith(path)]

        with WaypostProcess(tmp_path, catalog(sink.port)) as waypost:
            for number in "1234":
                id = waypost.click("demo", sub1=number)
                asked = {"click_id": id, "goal": "install", "token": "s3cret", "txn_id": number}
                assert fetch(waypost.port, "/postback", asked).status == 200
            until(lambda: len(got("/bulk")) >= 2 and len(got("/oauth")) >= 5, "the first batch and its repeat")
            os.kill(waypost.snapshot("courier-0")["pid"], signal.SIGKILL)  # one item gathers, four are delayed
            assert not got("/later") and sorted(partner.batches[0]) == ["1", "2", "3"]
            until(lambda: len(got("/later")) >= 4 and len(got("/bulk")) >= 3, "what waited is sent")
            check_proof(got("/bearer"), got("/oauth"), got("/signed"))
            assert [sorted(one) for one in partner.batches[1:3]] == [["2"], ["4"]]
            repeat = got("/bulk")[1]
            assert (repeat.attempt, repeat.headers["waypost-batch"]) == (2, "1") and repeat.is_repeat
            firsts = [one for one in got("/later") if not one.is_repeat]
            assert len(firsts) == 4 and all("s=be4rer-secret" in one.target for one in firsts)
            assert sorted(one.body for one in got("/everything") if not one.is_repeat) == [
                b"who=geozo&n=%d" % number for number in range(1, 5)
            ]
            until(lambda: not is_waiting(waypost), "all is delivered")
            assert waypost.stop() == 0
        kept = [file for file in waypost.data.rglob("*") if file.is_file()]
        for secret in (*SECRETS.values(), "t-1", "t-2"):
            assert [file for file in kept if f"Bearer {secret}".encode() in file.read_bytes()] == []
        for secret in SECRETS.values():
            assert [file for file in kept if secret.encode() in file.read_bytes()] == []


def is_waiting(waypost: WaypostProcess) -> bool:
    """Whether the courier holds anything; a count of 0 is left out of what a role publishes."""
    values = waypost.snapshot("courier-0").get("values", {})
    return bool(values.get("courier_queued") or values.get("courier_in_flight"))


def check_proof(bearer: list[Received], oauth: list[Received], signed: list[Received]) -> None:
    assert {one.headers["authorization"] for one in bearer} == {"Bearer be4rer-secret"} and len(bearer) >= 4
    refused = [one for one in oauth if "n=2" in one.target]
    assert [one.headers["authorization"] for one in refused[:2]] == ["Bearer t-1", "Bearer t-2"]
    assert not refused[0].is_repeat and refused[1].is_repeat
    assert sorted({json.loads(one.body)["n"] for one in signed}) == ["1", "3", "4"]
    for one in signed:
        text = f"PUT /signed {one.body.decode()}"
        assert one.headers["x-sign"] == hmac.new(b"cl1ent-secret", text.encode(), hashlib.sha256).hexdigest()
        hook = f"{one.id}.{one.headers['webhook-timestamp']}.".encode() + one.body
        key = b64decode(SECRETS["RULES_HOOK"].removeprefix("whsec_"))
        assert one.headers["webhook-signature"] == "v1," + b64encode(hmac.digest(key, hook, "sha256")).decode()
