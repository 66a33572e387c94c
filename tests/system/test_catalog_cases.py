"""The example catalog's cases, step by step against a running installation: what they expect is what happens there."""

from pathlib import Path
from typing import Any

import pytest

from support.installation import Sink, fetch, until
from support.waypost_process import WaypostProcess
from waypost import assembly
from waypost.catalog.cases import Case, Step, Words, read_cases
from waypost.runtime.case_check import matches, with_ids
from waypost.settings import load_settings
from waypost.stages.checks import CHECKS, OTHER_CODES

pytestmark = pytest.mark.system

EXAMPLE = Path(assembly.__file__).parent / "cli" / "example"
TOKENS = {"acme": "acme-s3cret", "shopwell": "shopwell-s3cret"}
MONEY = ("payout", "revenue")


def cases_of(sink: Sink) -> tuple[str, list[Case]]:
    """The example with the sink's port, and its cases."""
    catalog, cases = (
        (EXAMPLE / name).read_text("utf-8").replace("127.0.0.1:9001", f"127.0.0.1:{sink.port}")
        for name in ("catalog.yaml", "catalog.test.yaml")
    )
    compiled = assembly.check_catalog(EXAMPLE / "catalog.yaml", load_settings(None, {}), secrets=False)
    codes = {check.code for check in CHECKS} | OTHER_CODES.keys() | {"duplicate"}
    return catalog, read_cases([("cases", cases)], compiled, Words([check.name for check in CHECKS], codes, ()))


def ask(waypost: WaypostProcess, step: Step, ids: dict[str, str], advertiser: str) -> tuple[str, str]:
    """Takes a step for real: answers the Location of a click, or the receipt of a call."""
    headers = dict(step.headers)
    if not step.is_click:
        headers["waypost-token"] = step.token or TOKENS[step.advertiser or advertiser]
    answer = fetch(waypost.port, with_ids(step.target, ids), **headers)
    expected = step.expected.fields if step.expected is not None else {}
    assert str(answer.status) == (expected["http"].text if "http" in expected else "302" if step.is_click else "200")
    if step.is_click:
        location = answer.headers["Location"]
        ids["click_id"] = location.partition("?cid=")[2].partition("&")[0]
        if "url" in expected:
            assert matches(expected["url"].text, location, ids), (location, step)
        return location, ""
    return "", answer.json.get("receipt", "")


def decisions(waypost: WaypostProcess) -> dict[str, dict[str, Any]]:
    sources = waypost.sources()
    try:
        rows = sources.archive.query("SELECT receipt, verdict, code, status FROM decisions")
        return {row["receipt"]: row for row in rows}
    finally:
        sources.close()


def test_what_the_cases_expect_is_what_happens(tmp_path: Path) -> None:
    expected_calls: list[str] = []
    judged: dict[str, Step] = {}
    with Sink() as sink:
        catalog, cases = cases_of(sink)
        with WaypostProcess(tmp_path, catalog) as waypost:
            for case in cases:
                ids: dict[str, str] = {}
                advertiser = ""
                for step in case.steps:
                    location, receipt = ask(waypost, step, ids, advertiser)
                    advertiser = "shopwell" if "/shopwell-" in location else "acme" if location else advertiser
                    if receipt:
                        judged[receipt] = step
                    for sent in (step.expected.sends or ()) if step.expected is not None else ():
                        expected_calls.append(with_ids(sent.fields["url"].text, ids))
            until(lambda: len(sink.calls) >= len(expected_calls), "partners are called")
            until(lambda: judged.keys() <= decisions(waypost).keys(), "all is judged and archived")
            found = decisions(waypost)
            assert waypost.stop() == 0
        called = [f"http://127.0.0.1:{sink.port}{target}" for target, _ in sink.calls]
    told_without_asking = [url for url in called if url not in expected_calls]
    assert sorted(url for url in called if url in expected_calls) == sorted(expected_calls)
    assert len(told_without_asking) == 1  # the first call of the case about duplicates, which expects nothing
    compared = 0
    for receipt, step in judged.items():
        for name in ("verdict", "code"):
            said = step.expected.fields.get(name) if step.expected is not None else None
            if said is not None:
                assert (found[receipt][name] or "none") == said.text, (step.place, name)
                compared += 1
    assert compared >= 5
