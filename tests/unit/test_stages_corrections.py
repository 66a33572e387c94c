"""Corrections: which updates of a conversion are told again, by which rules, to whom. Pure."""

from typing import Any

import msgspec

from support.catalogs import design_view
from support.rules import judged_with, rule
from support.traffic import START_MS, click
from waypost.catalog.model import Delivery, Partner, PostbackRule
from waypost.model.frames import Conversion, Verdict
from waypost.model.lanes import lane_number
from waypost.stages.judgement import Judgement

SALE = "click_id={id}&goal=purchase&txn_id=t1"
TAKES = Delivery(corrections=True)


def sale(no: int = 1, **fields: Any) -> PostbackRule:
    return rule(no, **{"name": f"r{no}", "macros": ("sub1", "payout"), **fields})


def judged(
    query: str, *rules: PostbackRule, delivery: Delivery = TAKES, existing: Conversion | None = None
) -> Judgement:
    view = design_view()
    view._partners[1] = Partner(1, "geozo", rules, delivery)
    return judged_with([], query, view=view, existing=existing)


def told(*rules: PostbackRule, query: str = f"{SALE}&sum=10", delivery: Delivery = TAKES) -> Conversion:
    found = judged(query, *rules, delivery=delivery).conversion
    assert found is not None
    return found


def test_another_sum_is_told_as_a_correction_of_the_last_postback() -> None:
    known = told(sale())
    first = judged(f"{SALE}&sum=20", sale(), existing=known)
    assert first.decision.verdict is Verdict.UPDATED
    (sent,) = first.postbacks
    name = f"p{known.receipt:016x}"
    assert (sent.id, sent.corrects, sent.values["payout"]) == (f"{name}.2", f"{name}.1", "6.00")
    assert [(one.rule, one.postback, one.stopped_by) for one in first.decision.rules] == [(1, sent.id, "")]
    assert first.conversion is not None and first.conversion.postbacks == 2
    (again,) = judged(f"{SALE}&sum=30", sale(), existing=first.conversion).postbacks
    assert (again.id, again.corrects) == (f"{name}.3", f"{name}.2"), "each corrects the one before it"


def test_what_a_rule_does_not_tell_is_not_corrected() -> None:
    silent = sale(macros=("sub1", "txn_id"))
    judgement = judged(f"{SALE}&sum=20", silent, existing=told(silent))
    assert judgement.decision.verdict is Verdict.UPDATED and judgement.postbacks == ()
    assert judgement.decision.rules[0].stopped_by == "no transition: the conversion was approved already"
    rounded = judged(f"{SALE}&sum=10.01", sale(), existing=told(sale()))
    assert rounded.decision.verdict is Verdict.UPDATED and rounded.postbacks == (), "the payout is 3.00 as before"


def test_a_way_back_to_what_was_told_is_no_correction_of_what_was_never_said() -> None:
    """What counts is what the partner was told last, not what the conversion was before."""
    bounded = sale(condition="sum < 15", macros=("sub1", "payout", "sum"))
    known = told(bounded)
    beyond = judged(f"{SALE}&sum=20", bounded, existing=known)
    assert beyond.postbacks == () and "is not corrected: not so: sum < 15" in beyond.decision.rules[0].stopped_by
    back = judged(f"{SALE}&sum=10", bounded, existing=beyond.conversion)
    assert back.decision.verdict is Verdict.UPDATED and back.postbacks == ()
    (lower,) = judged(f"{SALE}&sum=8", bounded, existing=beyond.conversion).postbacks
    assert lower.corrects.endswith(".1")


def test_a_partner_that_takes_none_gets_none_and_the_decision_says_so() -> None:
    none = Delivery()
    judgement = judged(f"{SALE}&sum=20", sale(), delivery=none, existing=told(sale(), delivery=none))
    assert judgement.postbacks == ()
    assert judgement.decision.rules[0].stopped_by == (
        "no transition: the conversion was approved already; "
        "what it told has changed, but the partner takes no corrections"
    )
    later = judged(f"{SALE}&sum=20", sale(), existing=told(sale(), delivery=none))
    assert len(later.postbacks) == 1, "what was told is known also where corrections are taken later only"


def test_a_rule_that_fires_by_itself_is_not_corrected_besides() -> None:
    every = sale(macros=("status", "payout"))
    judgement = judged(f"{SALE}&status=declined", every, existing=told(every))
    (sent,) = judgement.postbacks
    assert (sent.corrects, sent.values["status"]) == ("", "declined")
    (corrected,) = judged(f"{SALE}&sum=40", every, existing=judgement.conversion).postbacks
    assert corrected.corrects == sent.id


def test_a_decline_is_a_correction_where_the_rule_tells_the_status() -> None:
    telling = sale(1, statuses=("approved",), macros=("status", "payout"))
    silent = sale(2, statuses=("approved",), macros=("payout",))
    known = told(telling, silent)
    assert len(known.told) == 2
    judgement = judged(f"{SALE}&status=declined&sum=50", telling, silent, existing=known)
    (sent,) = judgement.postbacks
    assert (sent.rule, sent.values["status"], sent.corrects) == (1, "declined", f"p{known.receipt:016x}.1")
    assert judgement.decision.rules[1].stopped_by.endswith(
        "is not corrected: status is declined, the rule wants approved and does not tell it"
    )


def test_what_was_never_told_is_not_corrected() -> None:
    late = sale(statuses=("declined",), macros=("status", "payout"))
    known = told(late)
    assert known.told == () and known.postbacks == 0
    assert judged(f"{SALE}&sum=20", late, existing=known).postbacks == ()


def test_a_rule_is_known_by_its_name_wherever_it_stands_now() -> None:
    known = told(sale(1, name="a"), sale(2, name="b", goals=("install",)))
    moved = [sale(1, name="b", goals=("install",)), sale(2, name="a")]
    (sent,) = judged(f"{SALE}&sum=20", *moved, existing=known).postbacks
    assert sent.rule == 2
    assert judged(f"{SALE}&sum=20", sale(1, name="c"), existing=known).postbacks == (), "that rule is gone"
    other = judged(f"{SALE}&sum=20", sale(1, name="a", goals=("install",)), existing=known)
    assert other.postbacks == () and "is not corrected: goal is purchase" in other.decision.rules[0].stopped_by


def test_partners_that_look_at_conversions_of_others_are_corrected_too() -> None:
    view = design_view()
    view._partners[1] = Partner(1, "geozo", (sale(),))
    view._partners[2] = Partner(2, "mmp", (sale(scope="all"),), TAKES)
    known = judged_with([], f"{SALE}&sum=10", view=view).conversion
    assert known is not None and len(known.told) == 2
    judgement = judged_with([], f"{SALE}&sum=20", view=view, existing=known)
    (sent,) = judgement.postbacks
    assert (sent.partner, sent.corrects) == (2, f"p{known.receipt:016x}.2")
    assert [(one.partner, bool(one.postback)) for one in judgement.decision.rules] == [(0, False), (2, True)]


def test_a_partner_with_many_rules_is_corrected_and_told_why_not() -> None:
    many = [sale(no, goals=("install",)) for no in range(2, 60)]
    known = told(sale(), *many)
    corrected = judged(f"{SALE}&sum=20", sale(), *many, existing=known)
    assert [one.corrects[-2:] for one in corrected.postbacks] == [".1"]
    refused = judged(f"{SALE}&sum=20", sale(), *many, delivery=Delivery(), existing=known)
    assert [one.stopped_by for one in refused.decision.rules] == [
        "what it told has changed, but the partner takes no corrections"
    ]


def test_what_goes_one_by_one_is_the_coarsest_that_the_lane_asks_for() -> None:
    one = msgspec.structs.replace(click(START_MS), user=b"\x01\x02")

    def key(delivery: Delivery, query: str = f"{SALE}&sum=10") -> str:
        view = design_view()
        view._partners[1] = Partner(1, "geozo", (sale(verdicts=("new", "refused")),), delivery)
        (sent,) = judged_with([], query, view=view, touched=one).postbacks
        return sent.key

    conversion = key(TAKES)
    assert conversion.startswith("c") and key(Delivery()) == ""
    assert key(Delivery(ordering="click")) == key(Delivery(ordering="click", corrections=True)) == f"k{START_MS}.0.0"
    assert key(Delivery(ordering="user", corrections=True)) == "u0102"
    one = click(START_MS)
    assert key(Delivery(ordering="user")) == f"k{START_MS}.0.0", "without a hash of the user the click stands for them"
    assert key(TAKES, "click_id={id}&goal=nothing") == "", "nothing can correct what a refused call told"


def test_a_rule_may_have_a_lane_of_its_own() -> None:
    sent = judged(f"{SALE}&sum=10", sale(1), sale(2, lane="bulk")).postbacks
    assert [one.lane for one in sent] == [1, lane_number(1, "bulk")] and {one.partner for one in sent} == {1}
