"""Every preset through a whole installation: a click by its link, the advertiser's call, and what its partner is sent;
each network's own URL, called; and one preset that is added while everything runs."""

import hashlib
import json
import re
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
import yaml

from support.installation import fetch, until
from support.presets import CALLERS, SENDERS, click_values, entry, expanded, secrets, sends
from support.sink import Answer, Received, Sink
from support.waypost_process import WaypostProcess
from waypost.catalog.preset import Preset, plain_of

pytestmark = pytest.mark.system

RULE = "?c={click_id}&s={status}&p={payout}&cur={currency}&t={txn_id}&sum={sum}"
TIMES = {
    "1795223643000": r"\d{13}", "1795224000000": r"\d{13}", "1795224000": r"\d{10}",
    "2026-11-21T01:20:00Z": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
}  # fmt: skip


def catalog(port: int) -> str:
    """All presets: senders as partners with a link each, callers as advertisers with an offer each."""
    at = f"http://127.0.0.1:{port}"
    shop = {"payout": "1.20 USD", "revenue": "2.00 USD"}
    callers = {name: {**entry(preset, "advertiser"), "token": f"token-{name}"} for name, preset in CALLERS.items()}
    offers = {"shop": {"advertiser": "acme", "url": f"{at}/land?c={{click_id}}", "goals": {"purchase": shop}}}
    for name, preset in CALLERS.items():
        payout = "100% of payout" if "payout" in preset.example["means"] else "1.00 USD"
        offers[f"of-{name}"] = {
            "advertiser": name, "url": f"{at}/land?{preset.offer}", "goals": {"purchase": {"payout": payout}},
        }  # fmt: skip
    links = {f"to-{name}": {"partner": name, "offer": "shop"} for name in SENDERS}
    links |= {f"by-{name}": {"partner": "own", "offer": f"of-{name}"} for name in CALLERS}
    text = yaml.safe_dump(
        {
            "waypost": 1,
            "advertisers": {"acme": {"token": "s3cret"}, **callers},
            "offers": offers,
            "partners": {
                "own": {"postbacks": [{"get": f"{at}/own{RULE}"}]},
                **{name: entry(preset, "partner") for name, preset in SENDERS.items()},
            },
            "links": links,
        },
        sort_keys=False,
    )
    return expanded(text, lambda name: at if name == "own" else f"{at}/{name}")


def behave(request: Received) -> Answer:
    """As the partner answers that the path names first."""
    preset = SENDERS.get(request.target.split("/")[1])
    answers = [one.answer for one in sends(preset)] if preset is not None else []
    return Answer(body=(answers[0] if answers and answers[0] else "ok").encode())


def click_of(waypost: WaypostProcess, preset: Preset) -> str:
    """A click by the link that the partner was given: its parameters, under the names that it has for them."""
    values = click_values(preset)
    lent = plain_of(preset.partner).get("click_names", {}) if preset.partner is not None else {}
    given = {ours: values.get(ours, "") for ours in preset.click} | {lent.get("external_id", "external_id"): "x1y2"}
    return waypost.click(f"to-{preset.name}", **given)


def pattern(text: str, click: str, conversion: str, nth: int) -> "re.Pattern[str]":
    """What an example's text must look like for this click and conversion."""
    of_click = hashlib.md5(b"00B7zCSd92BAroN9h8YCbaQ", usedforsecurity=False).hexdigest()[:16]
    known = {
        "00B7zCSd92BAroN9h8YCbaQ": re.escape(click),
        of_click: hashlib.md5(click.encode(), usedforsecurity=False).hexdigest()[:16],
        "c687eeab99f400000": f"c{conversion}",
        "p687eeab99f400000.1": rf"p{conversion}\.\d+",
        "T-100": f"T-{nth}",
        **TIMES,
    }
    parts = re.split("(" + "|".join(map(re.escape, known)) + ")", text)
    return re.compile("".join(known.get(part) or re.escape(part) for part in parts))


def check_sent(preset: Preset, got: list[Received], click: str, conversion: str, nth: int) -> None:
    """That one of the requests is what the example says."""
    assert bool(got) == bool(sends(preset)), preset.name
    for one in sends(preset):
        wanted = one.named(preset.name, "shop", f"to-{preset.name}")
        method, _, url = wanted.request.partition(" ")
        path = "/" + url.split("/", 3)[3]
        target = pattern(f"/{preset.name}{path}", click, conversion, nth)
        fitting = [r for r in got if r.method == method and target.fullmatch(r.target)]
        assert fitting, (preset.name, wanted.request, [r.target for r in got][:3])
        body = pattern(wanted.body, click, conversion, nth)
        item = pattern(wanted.body.strip("[]"), click, conversion, nth)  # a batch may hold others' beside it
        found = [
            r for r in fitting if body.fullmatch(r.body.decode()) or (wanted.body and item.search(r.body.decode()))
        ]
        assert found, (preset.name, wanted.body, [r.body for r in fitting][:3])
        for name, value in wanted.headers.items():
            assert found[0].headers[name.lower()] == value, preset.name


def test_every_preset_reaches_its_partner_and_every_call_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for preset in (*SENDERS.values(), *CALLERS.values()):
        for name, value in secrets(preset).items():
            monkeypatch.setenv(name, value)
    with Sink() as sink:
        sink.behave = behave
        waypost = WaypostProcess(tmp_path, catalog(sink.port))
        with waypost:
            clicks = {name: click_of(waypost, preset) for name, preset in SENDERS.items()}
            conversions = {}
            for nth, (name, click) in enumerate(clicks.items()):
                parameters = {"click_id": click, "goal": "purchase", "token": "s3cret", "sum": "10.00"}
                answer = waypost.postback(**parameters, currency="USD", txn_id=f"T-{nth}")
                conversions[name] = str(answer.json["receipt"])[1:]
            called = {name: call_as(waypost, preset) for name, preset in CALLERS.items()}

            def of(name: str) -> list[Received]:
                return [request for request in sink.received if request.target.startswith(f"/{name}/")]

            told = [name for name, preset in SENDERS.items() if sends(preset)]
            until(lambda: all(of(name) for name in told) and len(own(sink)) >= len(CALLERS), "all are called", 60)
            until(lambda: not is_waiting(waypost), "nothing is left to send", 60)
            for nth, (name, preset) in enumerate(SENDERS.items()):
                check_sent(preset, of(name), clicks[name], conversions[name], nth)
            for name, preset in CALLERS.items():
                check_understood(preset, own(sink)[called[name]])
            assert not [request.target for request in sink.received if request.is_repeat]
            waypost.audit()
            assert waypost.stop() == 0


def is_waiting(waypost: WaypostProcess) -> bool:
    values = waypost.snapshot("courier-0").get("values", {})
    return bool(values.get("courier_queued") or values.get("courier_in_flight"))


def own(sink: Sink) -> dict[str, dict[str, str]]:
    """What the partner `own` was sent, by click."""
    found = {}
    for request in sink.received:
        if request.target.startswith("/own?"):
            pairs = dict(pair.split("=", 1) for pair in request.target.partition("?")[2].split("&"))
            found[pairs["c"]] = {name: unquote(value) for name, value in pairs.items()}
    return found


def call_as(waypost: WaypostProcess, preset: Preset) -> str:
    """The click by the offer's URL with what the preset adds, and the network's call with its macros filled in."""
    answer = fetch(waypost.port, f"/c/by-{preset.name}", {"mode": "json"}).json
    click = str(answer["click_id"])
    assert answer["url"].endswith("/land?" + preset.offer.replace("{click_id}", click)), answer
    target = preset.example["called"].replace("CLICK", click)
    said = fetch(waypost.port, f"/postback?token={quote(f'token-{preset.name}')}&{target}")
    assert said.status == 200, (preset.name, said)
    lent = plain_of(preset.advertiser) if preset.advertiser is not None else {}
    assert said.text == "OK" if lent.get("answer") == "ok" else json.loads(said.text)["status"] == 1
    return click


def check_understood(preset: Preset, got: dict[str, str]) -> None:
    means = preset.example["means"]
    assert got["s"] == means["status"], preset.name
    assert (got["p"], got["cur"]) == (means.get("payout", "1.00"), means.get("currency", "USD")), preset.name
    assert got["t"] == means.get("txn_id", "") and got["sum"] == means.get("sum", ""), preset.name


def test_what_is_added_to_a_running_installation_works_at_once(tmp_path: Path) -> None:
    with Sink() as sink:
        text = """waypost: 1
advertisers: {acme: {token: s3cret}}   # not to be touched, and need not be
offers:
  shop: {advertiser: acme, url: "http://127.0.0.1:9/?c={click_id}", goals: {purchase: {payout: 1.20 USD}}}
"""
        with WaypostProcess(tmp_path, text) as waypost:
            words = ["catalog", "preset", "add", "bemob", "--catalog", str(waypost.catalog), "--as", "joe"]
            added = waypost.waypost(*words, "--with", f"host=127.0.0.1:{sink.port}", "--offer", "shop")
            assert added.returncode == 0, added.stderr
            link = re.search(r"/c/joe\?\S+", added.stdout)
            assert link is not None
            path = link[0].replace("{clickid}", "joes-click") + "&mode=json"
            click = until(lambda: fetch(waypost.port, path).json.get("click_id"), "the link works")
            assert waypost.postback(click_id=click, goal="purchase", token="s3cret").status == 200
            until(lambda: sink.received, "the partner is called")
            (request,) = sink.received
            wanted = r"/postback\?cid=joes-click&payout=1\.20&txid=c[0-9a-f]{16}&status=approved"
            assert re.fullmatch(wanted, request.target), request.target
            assert waypost.stop() == 0
