"""The calls of 190 published affiliate networks, through a real door: their URLs unchanged, made for Keitaro.

The token stands in the path, as these URLs have it: `http://{domain}/{postback_key}/postback?…`. All that the catalog
says of them is whose names they use: `aliases: keitaro`.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from support.installation import fetch, until
from support.networks import NETWORKS, Sent, calls_of, path_of
from support.waypost_process import WaypostProcess
from waypost.doors.postbacks import wants_ok

pytestmark = pytest.mark.system

CATALOG = {
    "waypost": 1,
    "advertisers": {
        "networks": {
            "token": "key",
            "aliases": "keitaro",
        }
    },
    "offers": {
        "any": {
            "advertiser": "networks",
            "url": "http://127.0.0.1:9000/?subid={click_id}",
            "goals": {"lead": {"payout": "1.20 USD"}},
        }
    },
    "partners": {"own": {}},
    "links": {"l": {"partner": "own", "offer": "any"}},
}


def decisions(waypost: WaypostProcess) -> dict[str, dict[str, Any]]:
    """What is archived, by receipt."""
    sources = waypost.sources()
    try:
        rows = sources.archive.query("SELECT receipt, verdict, code, status FROM decisions")
    finally:
        sources.close()
    return {row["receipt"]: row for row in rows}


def test_each_call_is_accepted_and_judged_right(tmp_path: Path) -> None:
    sent: dict[str, Sent] = {}
    with WaypostProcess(tmp_path, yaml.safe_dump(CATALOG)) as waypost:
        for network in NETWORKS:
            for nth in range(len(calls_of(network, ""))):
                call = calls_of(network, waypost.click("l"))[nth]  # a click of its own for each call
                answer = fetch(waypost.port, f"{path_of(network)}?{call.query}")
                if wants_ok(call.query.encode()):
                    assert (answer.status, answer.text) == (200, "OK"), call
                    sent[answer.headers["Waypost-Receipt"]] = call
                else:
                    assert (answer.status, answer.json["status"]) == (200, 1), call
                    sent[answer.json["receipt"]] = call
        until(lambda: len(decisions(waypost)) == len(sent), "all are judged and archived")
        assert found_wrong(sent, decisions(waypost)) == []
        assert waypost.stop() == 0


def found_wrong(sent: dict[str, Sent], judged: dict[str, dict[str, Any]]) -> list[Any]:
    wrong = []
    for receipt, call in sent.items():
        row = judged[receipt]
        if row["code"] != call.code or (not call.code and row["status"] != call.status):
            wrong.append((call, row))
    return wrong
