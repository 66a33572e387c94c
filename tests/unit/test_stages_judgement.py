"""Judging a call: every check, every verdict, money, caps, rules. Pure: no store, no clock."""

from decimal import Decimal

import msgspec
import pytest

from support.catalogs import MemoryView, design_view, usd
from support.traffic import RING, START_MS, call, click, click_id
from waypost.catalog.model import Advertiser, Browser, Goal, Offer, Terms
from waypost.model.frames import Auth, Click, Conversion, PostbackIn, Status, Verdict
from waypost.model.ids import FLAG_TEST, FLAG_UNRECORDED, ClickIdCodec, KeyRing
from waypost.model.money import Money
from waypost.model.partition import NO_PARTITION, partition_of
from waypost.stages.caps import counter_key
from waypost.stages.case import Case, Intake, Where, is_waiting_for_click
from waypost.stages.checks import CHECKS, OTHER_CODES, Check, CheckLimits, run_checks
from waypost.stages.judgement import Judgement, judge
from waypost.stages.rules import RuleBook

CODEC = ClickIdCodec(RING)
NOW_MS = START_MS + 120_000
LIMITS = CheckLimits(NOW_MS, 30 * 86_400_000, Decimal("1000000000"))


def open_case(frame: PostbackIn, touched: Click | None, view: MemoryView) -> Case:
    case = Intake(view).open_case(frame, Where("door-0", 7))
    found = CODEC.decode(case.click_text) if case.click_text else None
    if found is not None:
        case.name_click(found)
    if touched is not None and found is not None:
        case.click = touched
    Intake(view).resolve(case, view)
    return case


def judged(
    query: str,
    *,
    touched: Click | None = None,
    view: MemoryView | None = None,
    existing: Conversion | None = None,
    counters: dict[str, int] | None = None,
    frame: PostbackIn | None = None,
    at_ms: int = START_MS + 60_000,
) -> Judgement:
    """The judgement of a call for a click of link `demo`; `{id}` in the query is its click id."""
    one = touched if touched is not None else click(START_MS)
    asked = call(at_ms, query.replace("{id}", click_id(one))) if frame is None else frame
    case = open_case(asked, one, view or design_view())
    case.existing = existing
    return judge(case, counters or {}, LIMITS, 1, RuleBook(view or design_view()))


def letters(judgement: Judgement) -> dict[str, str]:
    assert len(judgement.decision.checks) == len(CHECKS)
    return {check.name: letter for check, letter in zip(CHECKS, judgement.decision.checks, strict=True)}


def test_an_install_becomes_an_approved_conversion_and_a_postback() -> None:
    judgement = judged("click_id={id}&goal=install&token=s3cret")
    decision = judgement.decision
    assert (decision.verdict, decision.code, decision.status) == (Verdict.NEW, "", "approved")
    assert "f" not in decision.checks
    assert (decision.payout, decision.revenue) == (usd("1.20"), usd("1.20"))
    assert judgement.is_new and judgement.conversion is not None
    assert judgement.conversion.receipt == decision.receipt and judgement.conversion.postbacks == 1
    (postback,) = judgement.postbacks
    assert postback.values == {"sub1": "abc", "payout": "1.20", "status": "approved"}
    assert postback.id == f"p{decision.receipt:016x}.1"
    assert [(one.rule, one.postback, one.stopped_by) for one in decision.rules] == [(1, postback.id, "")]
    (key,) = judgement.caps
    assert key.startswith("o1:conversions:day:Europe/Berlin@20") and judgement.caps[key] == 1


def test_a_share_of_the_sum_is_rounded_to_the_currency() -> None:
    decision = judged("click_id={id}&goal=purchase&sum=10.05&currency=eur&txn_id=t").decision
    assert decision.payout == Money(Decimal("3.02"), "EUR")  # 3.015, halves away from zero
    decision = judged("click_id={id}&goal=purchase&sum=1001&currency=JPY&txn_id=t").decision
    assert decision.payout == Money(Decimal("300"), "JPY")
    assert decision.rules[0].stopped_by == "goal is purchase, the rule wants install"


def test_a_reported_payout_is_revenue_and_leaves_the_payout_alone() -> None:
    decision = judged("click_id={id}&goal=install&payout=2.50").decision
    assert (decision.reported, decision.revenue, decision.payout) == (usd("2.50"), usd("2.50"), usd("1.20"))


def test_a_goal_may_pay_a_share_of_what_was_reported() -> None:
    view = design_view()
    goals = (Goal("install", Terms("share_of_reported", None, Decimal("0.5")), Terms("fixed", usd("9"))),)
    view._offers[1] = msgspec.structs.replace(view._offers[1], goals=goals)
    decision = judged("click_id={id}&payout=3", view=view).decision
    assert (decision.payout, decision.revenue) == (usd("1.50"), usd("9"))
    refused = judged("click_id={id}", view=view).decision
    assert (refused.verdict, refused.code) == (Verdict.REFUSED, "sum_missing")


REFUSALS = [
    ("click_id={id}&goal=install&status={status}", "unresolved_macro"),
    ("click_id=[CLICKID]&goal=install", "unresolved_macro"),
    ("click_id={id}&goal=install&txn_id=##TXN##", "unresolved_macro"),
    ("click_id={id}&goal=install&status=REPLACE", "unresolved_macro"),
    ("goal=install", "click_id_missing"),
    ("click_id=&goal=install", "click_id_missing"),
    ("click_id=a0123456789&goal=install", "click_id_forged"),
    ("click_id=aZZZZZZZZZZZZZZZZZZZZZZ&goal=install", "click_id_forged"),
    ("click_id=a0000000000000000000001&goal=install", "click_id_forged"),
    ("click_id={id}", "goal_unknown"),
    ("click_id={id}&goal=Install", "goal_unknown"),
    ("click_id={id}&goal=install&status=shipped", "status_unknown"),
    ("click_id={id}&goal=purchase&sum=12,50", "sum_malformed"),
    ("click_id={id}&goal=purchase&sum=-1", "sum_malformed"),
    ("click_id={id}&goal=purchase&sum=1e9", "sum_malformed"),
    ("click_id={id}&goal=purchase&sum=NaN", "sum_malformed"),
    ("click_id={id}&goal=purchase&sum=1000000001", "sum_malformed"),
    ("click_id={id}&goal=purchase&sum=5&currency=XXQ", "sum_malformed"),
    ("click_id={id}&goal=purchase", "sum_missing"),
    ("click_id={id}&goal=install&payout=abc", "payout_malformed"),
    ("click_id={id}&goal=install&payout=-3", "payout_malformed"),
    ("click_id={id}&goal=install&payout=1,2,3&currency=usd,eur", "payout_malformed"),
    ("click_id={id}&goal=install&payout=7,50", "payout_malformed"),
    ("click_id={id}&goal=install&payout=1,x&currency=usd,eur", "payout_malformed"),
    ("click_id={id}&goal=install&status=reg,dep,lead", "status_unknown"),
]


@pytest.mark.parametrize(("query", "code"), REFUSALS)
def test_refusals_by_the_call_itself(query: str, code: str) -> None:
    judgement = judged(query)
    assert (judgement.decision.verdict, judgement.decision.code) == (Verdict.REFUSED, code)
    assert judgement.conversion is None and judgement.postbacks == () and not judgement.caps
    failing = [name for name, letter in letters(judgement).items() if letter == "f"]
    assert failing and judgement.decision.details[failing[0]]


def test_all_reasons_are_kept_not_the_first() -> None:
    decision = judged("click_id={id}&goal=nothing&status={st}&txn_id=[x]", at_ms=START_MS + 40 * 86_400_000)
    failed = [name for name, letter in letters(decision).items() if letter == "f"]
    assert failed == ["macros_resolved", "goal_known", "click_age"]
    assert decision.decision.code == "unresolved_macro"


def test_window_and_order_of_time() -> None:
    window_ms = 30 * 86_400_000
    assert judged("click_id={id}&goal=install", at_ms=START_MS + window_ms).decision.verdict is Verdict.NEW
    assert judged("click_id={id}&goal=install", at_ms=START_MS + window_ms + 1).decision.code == "click_expired"
    assert judged("click_id={id}&goal=install", at_ms=START_MS - 5000).decision.code == "before_click"


def changed_view(**changes: object) -> MemoryView:
    view = design_view()
    for kind, new in changes.items():
        items = getattr(view, f"_{kind}")
        items[1] = msgspec.structs.replace(items[1], **new)
    return view


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"advertisers": {"active": False}}, "advertiser_inactive"),
        ({"offers": {"active": False}}, "offer_inactive"),
        ({"partners": {"active": False}}, "partner_inactive"),
        ({"offers": {"advertiser": 2}}, "wrong_advertiser"),
        ({"offers": {"click_window_ms": 1000}}, "click_expired"),
    ],
)
def test_refusals_by_the_catalog(changes: dict[str, object], code: str) -> None:
    assert judged("click_id={id}&goal=install", view=changed_view(**changes)).decision.code == code


def test_an_inactive_goal_and_a_route_that_is_not_there() -> None:
    view = design_view()
    goals = (Goal("install", Terms("fixed", usd("1")), active=False),)
    view._offers[1] = msgspec.structs.replace(view._offers[1], goals=goals)
    assert judged("click_id={id}&goal=install", view=view).decision.code == "goal_inactive"
    assert judged("click_id={id}&goal=install", touched=click(START_MS, route=99)).decision.code == "route_unknown"
    view._partners.clear()
    assert judged("click_id={id}&goal=install", view=view).decision.code == "partner_unknown"


def test_a_goal_that_came_later_is_said_to_have_come_later() -> None:
    old, new = design_view(1), design_view(2)
    new._offers[1] = msgspec.structs.replace(
        new._offers[1], goals=(*new._offers[1].goals, Goal("trial", Terms("fixed", usd("1"))))
    )
    one = click(START_MS)
    case = Intake(new).open_case(call(START_MS + 5, f"click_id={click_id(one)}&goal=trial"), Where("door-0", 0))
    found = CODEC.decode(case.click_text)
    assert found is not None
    case.name_click(found)
    case.click = one
    Intake(new).resolve(case, old)
    decision = judge(case, {}, LIMITS, 2, RuleBook(design_view())).decision
    assert decision.code == "goal_unknown" and "after the click" in decision.details["goal_known"]
    assert (decision.terms_catalog, decision.catalog) == (1, 2)


def test_a_deferred_token_is_judged_from_the_parameters() -> None:
    one = click(START_MS)
    for body, code in ((b'{"token":"s3cret","n":1}', ""), (b'{"token":"no"}', "bad_token"), (b"{", "call_malformed")):
        frame = call(START_MS + 5, f"click_id={click_id(one)}&goal=install", auth=Auth.DEFERRED, body=body)
        frame.content_type = "application/json"
        frame.partition = NO_PARTITION
        decision = judged("", touched=one, frame=frame).decision
        assert decision.code == code
        assert decision.partition == (NO_PARTITION if code else partition_of("acme"))


def test_the_click_id_of_another_ring_is_a_forgery() -> None:
    one = click(START_MS)
    other = click_id(one, KeyRing({"a": b"another key 16by"}))
    assert judged(f"click_id={other}&goal=install").decision.code == "click_id_forged"


def test_a_missing_click_waits_unless_waiting_has_ended() -> None:
    one = click(START_MS)
    case = open_case(call(START_MS + 5, f"click_id={click_id(one)}&goal=install"), None, design_view())
    assert is_waiting_for_click(case)
    case.final_code = "click_not_found"
    assert not is_waiting_for_click(case)
    assert judge(case, {}, LIMITS, 1, RuleBook(design_view())).decision.code == "click_not_found"


def test_an_unrecorded_click_is_credited_from_its_id() -> None:
    one = click(START_MS, flags=FLAG_UNRECORDED)
    case = open_case(call(START_MS + 5, f"click_id={click_id(one)}&goal=install"), None, design_view())
    assert not is_waiting_for_click(case)
    judgement = judge(case, {}, LIMITS, 1, RuleBook(design_view()))
    assert judgement.decision.verdict is Verdict.NEW and judgement.decision.partner == 1
    assert judgement.postbacks[0].values["sub1"] == ""
    assert "unavailable" in judgement.decision.details["click_found"]


def existing(status: str = "approved", **changes: object) -> Conversion:
    first = judged(f"click_id={{id}}&goal=install&status={status}&txn_id=t1").conversion
    assert first is not None
    return msgspec.structs.replace(first, **changes)


def test_the_same_call_again_is_a_duplicate() -> None:
    judgement = judged("click_id={id}&goal=install&txn_id=t1", existing=existing())
    assert judgement.decision.verdict is Verdict.DUPLICATE and judgement.conversion is None
    assert judgement.decision.conversion == existing().receipt
    assert judgement.decision.rules[0].stopped_by == "no transition: the conversion was approved already"


def test_another_status_is_an_update_with_a_postback_numbered_on() -> None:
    judgement = judged("click_id={id}&goal=install&status=approved&txn_id=t1", existing=existing("pending"))
    decision = judgement.decision
    assert (decision.verdict, decision.status_before, decision.status) == (Verdict.UPDATED, "pending", "approved")
    assert [one.id for one in judgement.postbacks] == [f"p{existing().receipt:016x}.1"]
    assert not judgement.caps, "a pending conversion was counted already"
    again = judged("click_id={id}&goal=install&status=approved&txn_id=t1", existing=existing("declined", postbacks=4))
    assert again.postbacks[0].id.endswith(".5") and list(again.caps.values()) == [1]


def test_a_declined_conversion_gives_its_place_back() -> None:
    known = existing()
    judgement = judged("click_id={id}&goal=install&status=declined&txn_id=t1", existing=known)
    assert judgement.decision.verdict is Verdict.UPDATED
    assert judgement.conversion is not None and judgement.conversion.caps == ()
    assert judgement.caps == {known.caps[0][0]: -1}


def test_a_status_does_not_go_back_to_pending() -> None:
    decision = judged("click_id={id}&goal=install&status=pending&txn_id=t1", existing=existing()).decision
    assert (decision.verdict, decision.code) == (Verdict.REFUSED, "status_not_updatable")


def test_a_call_that_names_no_status_leaves_it_as_it_is() -> None:
    view = design_view()
    goals = (Goal("install", Terms("fixed", usd("1.20")), status="pending"),)
    view._offers[1] = msgspec.structs.replace(view._offers[1], goals=goals)
    decision = judged("click_id={id}&goal=install&txn_id=t1", view=view, existing=existing("approved")).decision
    assert (decision.verdict, decision.status) == (Verdict.DUPLICATE, "approved")


def test_another_sum_is_an_update_without_a_transition() -> None:
    first = judged("click_id={id}&goal=purchase&sum=10&txn_id=t1").conversion
    judgement = judged("click_id={id}&goal=purchase&sum=20&txn_id=t1", existing=first)
    assert judgement.decision.verdict is Verdict.UPDATED and judgement.decision.payout == usd("6.00")
    assert judgement.postbacks == ()
    silent = judged("click_id={id}&goal=purchase&status=declined&txn_id=t1", existing=first)
    assert silent.decision.payout == usd("3.00"), "what the call does not say stays"


def test_a_transaction_stays_with_its_click() -> None:
    other = click(START_MS + 1, 5)
    decision = judged("click_id={id}&goal=install&txn_id=t1", touched=other, existing=existing()).decision
    assert decision.code == "txn_of_other_click"


def test_identity_is_the_transaction_or_else_click_and_goal() -> None:
    first, second = click(START_MS), click(START_MS, 1)
    view = design_view()

    def identity(one: Click, query: str) -> bytes:
        return open_case(call(START_MS + 5, f"click_id={click_id(one)}&{query}"), one, view).identity

    assert identity(first, "goal=install&txn_id=1") == identity(second, "goal=install&txn_id=1")
    assert identity(first, "goal=install&txn_id=1") != identity(first, "goal=purchase&txn_id=1&sum=1")
    assert identity(first, "goal=install") != identity(second, "goal=install")
    assert identity(first, "goal=install") == identity(first, "goal=install&status=declined")
    tested = click(START_MS, flags=FLAG_TEST)
    assert identity(first, "goal=install&txn_id=1") != identity(tested, "goal=install&txn_id=1")


def test_a_cap_is_exact_and_in_its_own_timezone() -> None:
    judgement = judged("click_id={id}&goal=install")
    (key,) = judgement.caps
    view = design_view(limit=2)
    assert judged("click_id={id}&goal=install", view=view, counters={key: 1}).decision.verdict is Verdict.NEW
    full = judged("click_id={id}&goal=install", view=view, counters={key: 2}).decision
    assert full.code == "cap_reached" and full.details["caps"].startswith("2 of 2 conversions per day")
    declined = judged("click_id={id}&goal=install&status=declined", view=view, counters={key: 2}).decision
    assert declined.verdict is Verdict.NEW, "what does not count needs no room"


def test_a_test_touches_no_cap_and_is_marked() -> None:
    judgement = judged(
        "click_id={id}&goal=install", touched=click(START_MS, flags=FLAG_TEST), view=design_view(limit=0)
    )
    assert judgement.decision.verdict is Verdict.NEW and judgement.decision.test
    assert not judgement.caps and judgement.conversion is not None and judgement.conversion.test
    assert judgement.postbacks[0].test


def test_rules_for_refusals_fire_only_where_they_say_so() -> None:
    one = click(START_MS, route=2)
    judgement = judged("click_id={id}&goal=none", touched=one)
    assert [(out.rule, bool(out.postback)) for out in judgement.decision.rules] == [(1, False), (2, True)]
    assert judgement.postbacks[0].id == f"p{judgement.decision.receipt:016x}.1"
    assert judgement.decision.rules[0].stopped_by == "the call was refused"


def test_review_sends_to_pending() -> None:
    one = click(START_MS)
    case = open_case(call(START_MS + 5, f"click_id={click_id(one)}&goal=install"), one, design_view())
    check = Check("odd", "odd", "review", "nothing odd", "", lambda case, limits: ("f", "odd", ""))
    findings = run_checks(case, LIMITS, (*CHECKS, check))
    assert findings.review and not findings.code and findings.details["odd"] == "odd"


def test_status_words_of_url_and_advertiser() -> None:
    view = design_view()
    view._advertisers[1] = Advertiser(
        1,
        "acme",
        0,
        "s3cret",
        {"click_id": ("subid",), "pending_status": ("lead_status",), "declined_status": ("bad", "trash")},
        {"ok": "approved"},
    )

    def status(query: str) -> str:
        return judged("subid={id}&goal=install&" + query, view=view).decision.status

    assert status("status=2&lead_status=2,5") == "pending"
    assert status("status=Ok") == "approved"
    assert status("status=9&bad=8&trash=9,10") == "declined"
    assert status("") == "approved"


def test_codes_of_checks_are_unique_and_the_registry_is_stable() -> None:
    codes = [check.code for check in CHECKS] + list(OTHER_CODES)
    assert len(set(codes)) == len(codes)
    assert [check.name for check in CHECKS[:6]] == [
        "decodes", "token", "advertiser_active", "macros_resolved", "click_id_present", "click_id_authentic",
    ]  # fmt: skip


def test_several_payouts_of_one_currency_are_added() -> None:
    decision = judged("click_id={id}&goal=install&payout=10,0&currency=rub,usd,eur").decision
    assert decision.reported == Money(Decimal(10), "RUB")
    decision = judged("click_id={id}&goal=install&payout=1,2&currency=usd,usd").decision
    assert decision.reported == usd("3")


def test_offers_without_a_cap_and_status_enum() -> None:
    view = design_view()
    view._offers[1] = Offer(1, "acme-vpn", 1, "http://x/", (Goal("install", Terms("fixed", usd("1"))),))
    judgement = judged("click_id={id}", view=view)
    assert judgement.conversion is not None and judgement.conversion.status is Status.APPROVED
    assert letters(judgement)["caps"] == "s" and not judgement.caps


# --- what pages report ------------------------------------------------------------------------------------


def page_view(status: str = "pending", *, limit: int = 100_000, allow: tuple[str, ...] = ()) -> MemoryView:
    browser = Browser(("https://shop.example",), (), status)
    view = design_view(limit=limit)
    acme = Advertiser(1, "acme", partition_of("acme"), "s3cret", browser=browser, allow_addresses=allow)
    view._advertisers[1] = acme
    return view


def reported(query: str, view: MemoryView, *, existing: Conversion | None = None, **counters: int) -> Judgement:
    touched = click(START_MS)
    frame = PostbackIn(
        (START_MS + 60_000) << 22,
        START_MS + 60_000,
        0,
        partition_of("acme"),
        1,
        Auth.BROWSER,
        1,
        "POST",
        query.replace("{id}", click_id(touched)).encode(),
        ip="203.0.113.0",
        origin="browser",
    )
    return judged("", touched=touched, view=view, existing=existing, frame=frame, counters=counters)


def test_what_a_page_reports_is_pending_and_marked() -> None:
    judgement = reported("click_id={id}&goal=install", page_view(allow=("198.51.100.0/24",)))
    decision = judgement.decision
    assert (decision.verdict, decision.code, decision.status) == (Verdict.NEW, "", "pending")
    assert letters(judgement)["from_server"] == "f" and "not confirmed" in decision.details["from_server"]
    assert (letters(judgement)["token"], letters(judgement)["address"]) == ("s", "p")
    assert judgement.conversion is not None and judgement.conversion.unconfirmed
    assert judgement.caps == {} and judgement.conversion.caps == ()
    assert judgement.postbacks == ()


def test_the_catalog_may_take_a_pages_report_as_approved() -> None:
    judgement = reported("click_id={id}&goal=install", page_view("approved"))
    assert judgement.decision.status == "approved" and letters(judgement)["from_server"] == "s"
    assert judgement.conversion is not None and not judgement.conversion.unconfirmed and len(judgement.caps) == 1


def test_a_page_can_say_neither_status_nor_payout() -> None:
    judgement = reported("click_id={id}&goal=install&status=declined&payout=999&token=x", page_view())
    decision = judgement.decision
    assert (decision.status, decision.reported, decision.revenue) == ("pending", None, usd("1.20"))


def test_a_page_changes_nothing_that_is_there() -> None:
    known = judged("click_id={id}&goal=purchase&sum=10&txn_id=t&token=s3cret").conversion
    judgement = reported("click_id={id}&goal=purchase&sum=9999&txn_id=t", page_view(), existing=known)
    assert (judgement.decision.verdict, judgement.conversion) == (Verdict.DUPLICATE, None)
    assert judgement.decision.status == "approved" and judgement.decision.sum == usd("10")


@pytest.mark.parametrize(
    ("query", "status", "postbacks"),
    [("", "approved", 1), ("&status=approved", "approved", 1), ("&status=declined", "declined", 0)],
)
def test_the_advertisers_server_confirms_what_a_page_reported(query: str, status: str, postbacks: int) -> None:
    view = page_view()
    known = reported("click_id={id}&goal=install", view).conversion
    judgement = judged("click_id={id}&goal=install&token=s3cret" + query, view=view, existing=known)
    assert (judgement.decision.verdict, judgement.decision.status) == (Verdict.UPDATED, status)
    assert judgement.conversion is not None and not judgement.conversion.unconfirmed and not judgement.is_new
    assert len(judgement.postbacks) == postbacks and len(judgement.caps) == postbacks
    again = judged("click_id={id}&goal=install&token=s3cret" + query, view=view, existing=judgement.conversion)
    assert again.decision.verdict is Verdict.DUPLICATE


def test_a_cap_that_is_used_up_refuses_the_confirmation_and_not_the_report() -> None:
    view = page_view(limit=1)
    offer = view.offer(1)
    assert offer is not None
    full = {counter_key(offer.caps[0], START_MS + 60_000): 1}
    report = reported("click_id={id}&goal=install", view, **full)
    assert report.decision.verdict is Verdict.NEW
    confirmation = judged(
        "click_id={id}&goal=install&token=s3cret", view=view, existing=report.conversion, counters=full
    )
    assert (confirmation.decision.verdict, confirmation.decision.code) == (Verdict.REFUSED, "cap_reached")
