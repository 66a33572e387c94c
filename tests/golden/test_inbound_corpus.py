"""The postback URLs of 190 published affiliate networks, filled in as each network would, and judged.

Here by the stages alone; `tests/system/test_networks.py` sends them through a real door.
"""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from support.catalogs import design_view, usd
from support.networks import NETWORKS, Sent, calls_of
from support.traffic import RING, START_MS, call, click, click_id
from waypost.catalog.aliases import merged_parameters, merged_statuses
from waypost.catalog.model import Advertiser, Goal, Terms
from waypost.model.frames import Decision
from waypost.model.ids import ClickIdCodec
from waypost.stages.case import Intake, Where
from waypost.stages.checks import CheckLimits
from waypost.stages.judgement import judge
from waypost.stages.rules import RuleBook

CLICK = click(START_MS)


def judged(query: str) -> Decision:
    view = design_view()
    names, words = merged_parameters({}, ("keitaro",)), merged_statuses({}, ("keitaro",))
    view._advertisers[1] = Advertiser(1, "acme", 0, "key", names, words)
    goals = (Goal("lead", Terms("fixed", usd("1.20"))),)
    view._offers[1] = msgspec.structs.replace(view._offers[1], goals=goals)
    case = Intake(view).open_case(call(START_MS + 9, query), Where("door-0", 0))
    found = ClickIdCodec(RING).decode(case.click_text)
    if found is not None:
        case.name_click(found)
        case.click = CLICK
    Intake(view).resolve(case, view)
    limits = CheckLimits(START_MS + 10, 86_400_000, Decimal(10**9))
    return judge(case, {}, limits, 1, RuleBook(view)).decision


CALLS = [sent for network in NETWORKS for sent in calls_of(network, click_id(CLICK))]


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
