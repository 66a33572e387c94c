"""URLs made for other trackers: what each parameter and status word comes to; several amounts in one call."""

import pytest

from support.intake import GOALS, advertiser, arrived, click_of, decided, intake_view, opened
from waypost.catalog.aliases import (
    ALIAS_SETS,
    CLICK_PARAMETERS,
    merged_clicks,
    merged_parameters,
    merged_statuses,
)
from waypost.catalog.keys import SHAPES
from waypost.model.frames import Verdict
from waypost.model.money import Money
from waypost.stages.click_names import add_ours
from waypost.stages.intake import CANONICAL
from waypost.stages.terms import parse_amounts

ALIASED = [
    ("keitaro", "subid={id}&payout=7&status=lead&tid=9", {"status": "pending", "reported": "7.00 USD", "txn_id": "9"}),
    ("keitaro", "subid={id}&revenue=7&status=sale&from=X&return=OK", {"status": "approved", "reported": "7.00 USD"}),
    ("keitaro", "sub_id={id}&status=rejected", {"status": "declined"}),
    ("keitaro", "subid={id}&status=rebill&tid=2", {"status": "approved"}),
    ("keitaro", "subid={id}&status=5&lead_status=2,5&sale_status=1&rejected_status=3", {"status": "pending"}),
    ("keitaro", "subid={id}&status=sale&lead_status=sale", {"status": "pending"}),  # the URL's own word wins
    ("keitaro", "subid={id}&status=PING&ignore_status=ping,test", {"code": "status_ignored"}),
    ("keitaro", "subid={id}&payout=1,2&currency=usd,eur", {"reported": "1.00 USD"}),
    ("affise", "clickid={id}&action_id=a1&sum=30&status=1&goal=deposit", {"sum": "30.00 USD", "payout": "3.00 USD"}),
    ("affise", "click_id={id}&status=2", {"status": "pending"}),
    ("affise", "clickId={id}&status=3&comment=no", {"status": "declined"}),
    ("affise", "clickid={id}&status=5", {"status": "pending"}),  # on hold
    ("affise", "clickid={id}&status=4", {"code": "status_unknown"}),
    ("tune", "transaction_id={id}&amount=20&adv_sub=ord-1&goal_id=deposit", {"sum": "20.00 USD", "txn_id": "ord-1"}),
    ("tune", "offer_id=26&transaction_id={id}", {"status": "approved", "txn_id": ""}),
    ("tune", "a=lsr&goal_id=sale&transaction_id={id}&payout=4", {"goal": "sale", "payout": "2.00 USD"}),
    ("tune", "transaction_id={id}&status=rejected", {"status": "declined"}),
    ("voluum", "cid={id}&payout=2.5&txid=t&et=sale&currency=EUR", {"goal": "sale", "reported": "2.50 EUR"}),
    ("binom", "cnv_id={id}&payout=3&cnv_status=Hold&cnv_currency=eur", {"status": "pending", "reported": "3.00 EUR"}),
    ("binom", "cnv_id={id}&cnv_status=reject", {"status": "declined"}),
    ("redtrack", "clickid={id}&sum=5&type=sale&status=approved", {"reported": "5.00 USD", "payout": "2.50 USD"}),
]


@pytest.mark.parametrize(("name", "query", "expected"), ALIASED)
def test_a_url_of_that_system_works_unchanged(name: str, query: str, expected: dict[str, str]) -> None:
    view = intake_view(advertiser(1, "acme", "t", sets=(name,)))
    decision = decided(view, arrived(query.format(id=click_of(1)), advertiser_no=1))
    got = {
        "code": decision.code,
        "goal": decision.goal,
        "status": decision.status,
        "txn_id": decision.txn_id,
        **{key: str(getattr(decision, key) or "") for key in ("sum", "reported", "payout")},
    }
    assert {key: got[key] for key in expected} == expected
    if "code" not in expected:
        assert (decision.verdict, decision.code) == (Verdict.NEW, "")


def test_every_set_speaks_of_what_there_is() -> None:
    for name, found in ALIAS_SETS.items():
        assert set(found.parameters) <= set(CANONICAL), name
        assert set(found.parameters) <= set(SHAPES["advertisers.NAME.parameters"]), name
        assert set(found.statuses.values()) <= {"pending", "approved", "declined"}, name
        assert set(found.clicks.values()) <= set(CLICK_PARAMETERS), name
        assert found.sources and found.paths and found.click_path, name
        names = [text for texts in found.parameters.values() for text in texts]
        assert len(names) == len(set(names)), name


def test_own_words_win_over_a_sets_and_an_earlier_set_over_a_later() -> None:
    own = {"txn_id": ("subid",)}
    merged = merged_parameters(own, ("keitaro", "affise", "redtrack"))
    assert merged["txn_id"] == ("subid", "tid", "action_id") and merged["click_id"][:2] == ("sub_id", "clickid")
    assert merged["payout"] == ("revenue", "sum")
    assert merged_statuses({"sale": "pending"}, ("keitaro", "affise")) == {
        "sale": "pending", "lead": "pending", "rebill": "approved", "rejected": "declined",
        "1": "approved", "2": "pending", "3": "declined", "5": "pending",
    }  # fmt: skip
    assert merged_clicks({"aff_sub": "source"}, ("tune",))["aff_sub"] == "source"


def test_a_list_of_statuses_is_said_to_be_one() -> None:
    view = intake_view(advertiser(1, "acme", "t", sets=("keitaro",)))
    query = f"subid={click_of(1)}&status=reg,dep,lead&lead_status=reg,dep&sale_status=lead"
    decision = decided(view, arrived(query, advertiser_no=1))
    assert decision.code == "status_unknown" and "template" in decision.details["status_known"]


@pytest.mark.parametrize(
    ("text", "currency", "amount"),
    [
        ("7.50", "", "7.50 USD"),
        ("7.50", "eur", "7.50 EUR"),
        ("7.50", "eur,usd", "7.50 EUR"),
        ("10,0", "EUR", "10.00 EUR"),  # parts of one value: CPA and revenue share
        ("10,2.5", "EUR", "12.50 EUR"),
        ("0,4.25", "", "4.25 USD"),
        (",4.25", "", "4.25 USD"),
        ("1,2", "usd,eur", "1.00 USD"),  # the same value in two currencies: the goal's counts
        ("1,2", "eur,usd", "2.00 USD"),
        ("1,2", "eur,gbp", "1.00 EUR"),  # … or the first that has one
        ("0,2", "eur,gbp", "2.00 GBP"),
        ("7.50,0", "rub,usd,eur", "7.50 RUB"),
        ("1,2,3", "usd,eur,usd", "4.00 USD"),
        ("1,2", ",eur", "1.00 USD"),
        ("0,0", "usd,eur", ""),
        (",", "", ""),
        ("", "usd,eur", ""),
    ],
)
def test_several_amounts_come_to_one(text: str, currency: str, amount: str) -> None:
    found = parse_amounts(text, currency, "USD", GOALS[0])
    assert (str(found.money) if found.money is not None else "", found.problem) == (amount, "")


@pytest.mark.parametrize(
    ("text", "currency", "problem"),
    [
        ("7,50", "USD", "decimal comma"),
        ("1,2,3", "usd,eur", "3 amounts and 2 currencies do not pair"),
        ("1,x", "usd,eur", "'x' is no plain decimal number"),
        ("1,2", "usd,euros", "'EUROS' is no ISO 4217 currency"),
        ("1,2,3,4,5,6,7,8,9,10,11", "USD", "more than 10"),
        ("abc", "", "'abc' is no plain decimal number"),
    ],
)
def test_amounts_that_mean_nothing_are_said(text: str, currency: str, problem: str) -> None:
    found = parse_amounts(text, currency, "USD", GOALS[0])
    assert found.money is None and problem in found.problem


def test_the_goals_currency_is_that_of_its_fixed_amounts() -> None:
    assert [goal.currency for goal in GOALS] == ["USD", "", ""]
    view = intake_view(advertiser(1, "acme", "t", currency="EUR"))
    query = f"click_id={click_of(1)}&goal=sale&payout=1,2&currency=usd,eur"
    assert decided(view, arrived(query, advertiser_no=1)).reported == Money(2, "EUR")  # type: ignore[arg-type]


def test_click_parameters_are_read_under_the_partners_names() -> None:
    view = intake_view(advertiser(1, "acme", "t"))
    partner = view.partner(1)
    assert partner is not None
    names = merged_clicks({}, ("keitaro",))
    view._partners[1] = partner.__class__(1, "own", (), click_names=names)
    case = opened(view, arrived(f"click_id={click_of(1)}&goal=install", advertiser_no=1))
    assert case.click is not None
    case.click.query = b"sub_id_1=a%2Bb&sub_id_30=z&sub2=own&sub_id_2=theirs&utm_term=shoes&cost=0.2"
    case.touched = None
    values = {name: case.touch.get(name) for name in ("sub1", "sub2", "sub30", "keyword", "cost", "sub_id_1")}
    assert values == {
        "sub1": "a+b", "sub2": "own", "sub30": "z", "keyword": "shoes", "cost": "0.2", "sub_id_1": "a+b",
    }  # fmt: skip


def test_of_several_names_the_first_that_is_there_counts() -> None:
    parameters = {"b": "2", "c": "3"}
    add_ours(parameters, {"a": "sub1", "b": "sub1", "c": "sub1"})
    assert parameters["sub1"] == "2"
