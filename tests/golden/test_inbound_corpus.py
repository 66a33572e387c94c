"""The postback URLs of 190 published affiliate networks, filled in as each network would, and judged.

The advertiser is configured as a user of these URLs would: Keitaro's parameter names as aliases, its statuses as words.
What is expected of each call is worked out here from the URL alone, apart from the code under test.
"""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec
import pytest

from support.catalogs import design_view, usd
from support.traffic import RING, START_MS, call, click, click_id
from waypost.catalog.model import Advertiser, Goal, Terms
from waypost.model.frames import Decision
from waypost.model.ids import ClickIdCodec
from waypost.stages.case import Intake, Where
from waypost.stages.checks import CheckLimits
from waypost.stages.judgement import judge

NETWORKS = json.loads((Path(__file__).parent / "corpus" / "affiliate-networks.json").read_text("utf-8"))
CLICK = click(START_MS)
CLICK_ID = click_id(CLICK)
# The dialects' macros, the longest delimiters first.
MACRO = re.compile(
    r"\[\[\[.+?\]\]\]|\{\{.+?\}\}|##.+?##|\$\{.+?\}|#\{.+?\}|\{[^{}]+(?:\([^)]*\))?\}|\[[^\[\]]+\]|#[\w.]+#|%[a-z]\w*%"
)
PARAMETERS = {
    "click_id": ("subid",),
    "txn_id": ("tid",),
    "pending_status": ("lead_status",),
    "approved_status": ("sale_status",),
    "declined_status": ("rejected_status", "reject_status", "trash_status"),
}
WORDS = {"sale": "approved", "lead": "pending", "rejected": "declined"}
OURS = {"approved", "pending", "declined"}


class Sent(NamedTuple):
    """One call of a network: the query it sends, and what is right to make of it."""

    name: str
    query: str
    code: str
    status: str


def fill(value: str, filling: str) -> str:
    """The network's macros in a value replaced; a placeholder that the user has not filled in stays."""
    nth = iter(range(99))  # of several amounts in one value (`CPA,RevShare`) one applies, the others are 0

    def macro(found: re.Match[str]) -> str:
        if "replace" in found[0].lower():
            return found[0]
        return filling if next(nth) == 0 or filling != "7.50" else "0"

    return MACRO.sub(macro, value)


def status_values(lists: dict[str, str]) -> list[tuple[str, str]]:
    """(value, our status) for each value that the URL itself explains; the first list that names one wins."""
    found: dict[str, str] = {}
    for parameters, status in (
        (("sale_status",), "approved"),
        (("lead_status",), "pending"),
        (("rejected_status", "reject_status", "trash_status"), "declined"),
    ):
        for parameter in parameters:
            for value in lists.get(parameter, "").split(","):
                if value:
                    found.setdefault(value.lower(), status)
    return list(found.items())


def expected(fields: dict[str, str], explained: dict[str, str]) -> tuple[str, str]:
    """(code, status) that a person would find right for the filled-in fields."""
    judged = [fields.get(name, "") for name in ("subid", "status", "payout", "currency", "tid")]
    if any(MACRO.fullmatch(value) or value.lower() == "replace" for value in judged):
        return "unresolved_macro", ""
    if fields.get("subid", "") != CLICK_ID:
        return "click_id_forged" if fields.get("subid") else "click_id_missing", ""
    status = fields.get("status", "").lower()
    meant = explained.get(status) or WORDS.get(status) or (status if status in OURS else "")
    if status and not meant:
        return "status_unknown", ""
    codes = fields.get("currency", "usd").upper().split(",")
    if fields.get("payout") and any(len(code) != 3 for code in codes):
        return "payout_malformed", meant or "approved"
    return "", meant or "approved"


def calls_of(network: dict[str, str]) -> list[Sent]:
    """A call for each status that the URL explains, and one with our own word where it explains none."""
    template = urlsplit(network["postback"].replace("{domain}", "t.example").replace("{postback_key}", "key")).query
    pairs = [piece.partition("=")[::2] for piece in network["postback"].split("?", 1)[1].split("&")]
    assert template
    lists = {name: unquote(value) for name, value in pairs}
    explained = dict(status_values(lists))
    sent: list[Sent] = []
    for value in explained or {"approved": ""}:
        query: list[str] = []
        for name, text in pairs:
            whole = unquote(text)
            if name == "status" and (MACRO.search(whole) or "," in whole):
                filled = value if "," in whole else fill(whole, value)
            elif name == "status" and whole == "":
                filled = ""
            else:
                filling = {"subid": CLICK_ID, "payout": "7.50", "currency": "USD", "tid": f"t-{value}", "goal": "lead"}
                filled = fill(whole, filling.get(name, "x"))
            query.append(f"{name}={quote(filled, safe=',')}")
        fields: dict[str, str] = {}
        for name, text in parse_qsl("&".join(query), keep_blank_values=True):
            fields.setdefault(name, text)
        sent.append(Sent(network["name"], "&".join(query), *expected(fields, explained)))
    return sent


def judged(query: str) -> Decision:
    view = design_view()
    view._advertisers[1] = Advertiser(1, "acme", 0, "key", PARAMETERS, WORDS)
    goals = (Goal("lead", Terms("fixed", usd("1.20"))),)
    view._offers[1] = msgspec.structs.replace(view._offers[1], goals=goals)
    case = Intake(view).open_case(call(START_MS + 9, query), Where("door-0", 0))
    found = ClickIdCodec(RING).decode(case.click_text)
    if found is not None:
        case.name_click(found)
        case.click = CLICK
    Intake(view).resolve(case, view)
    return judge(case, {}, CheckLimits(START_MS + 10, 86_400_000, Decimal(10**9)), 1).decision


CALLS = [sent for network in NETWORKS for sent in calls_of(network)]


@pytest.mark.parametrize("sent", CALLS, ids=lambda sent: f"{sent.name}-{sent.status or sent.code}")
def test_a_network_s_call_is_judged_right(sent: Sent) -> None:
    decision = judged(sent.query)
    assert (decision.code, decision.status if not sent.code else "") == (
        sent.code,
        sent.status if not sent.code else "",
    )
    if not sent.code and "payout=7.50" in sent.query:
        assert decision.reported is not None and decision.reported.amount >= Decimal("7.50")


def test_the_corpus_is_covered() -> None:
    """Most URLs work as published; the others are refused for what is left in them."""
    admitted = {sent.name for sent in CALLS if not sent.code}
    refused = {sent.name: sent.code for sent in CALLS if sent.code and sent.name not in admitted}
    assert len(admitted) + len(refused) == len({network["name"] for network in NETWORKS})
    counts: dict[str, Any] = {code: sum(c == code for c in refused.values()) for code in set(refused.values())}
    assert len(admitted) >= 130, counts
    assert set(counts) <= {"unresolved_macro", "click_id_forged", "status_unknown", "payout_malformed"}, counts
