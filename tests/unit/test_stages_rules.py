"""Which rules fire on a decision, and what stops the others: the index against looking at each rule in turn."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.catalogs import MemoryView, design_view
from support.rules import CODEC, LIMITS, judged_with, rule
from support.traffic import START_MS, call, click, click_id
from waypost.catalog.model import Batch, Partner, PostbackRule
from waypost.model.frames import Decision, Verdict
from waypost.stages.case import Intake, Where
from waypost.stages.judgement import judge
from waypost.stages.rule_index import Facts, RuleIndex, stopped_by_facts
from waypost.stages.rules import REASONS_KEPT_MAX, RuleBook, is_in_share, is_stopped_by_share

VALUES = ("", "a", "b", "c")
STATUSES = ("none", "pending", "approved", "declined")


def some(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


RULES = st.lists(
    st.builds(
        PostbackRule,
        st.just(1), some(VALUES[1:]), some(STATUSES[1:]), some(("new", "updated", "refused")), some(VALUES[1:]),
        st.just("GET"), st.just("http://p.example/"), st.just({}), st.just(""), st.just(()),
        befores=some(STATUSES), links=some(VALUES[1:]), advertisers=some(VALUES[1:]), partners=some(VALUES[1:]),
        countries=some(VALUES[1:]), scope=st.sampled_from(("own", "attributed", "all")),
    ),
    max_size=40,
)  # fmt: skip
FACTS = st.builds(
    Facts, st.sampled_from(VALUES), st.sampled_from(STATUSES[1:]), st.sampled_from(STATUSES),
    st.sampled_from([verdict.value for verdict in Verdict]),
    *[st.sampled_from(VALUES)] * 5,
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(RULES, FACTS)
def test_the_index_selects_what_looking_at_each_rule_would(rules: list[PostbackRule], facts: Facts) -> None:
    selected = RuleIndex(rules).select(facts)
    assert selected == [nth for nth, one in enumerate(rules) if not stopped_by_facts(one, facts)]


def test_a_bit_of_a_large_index_is_found_wherever_it_stands() -> None:
    rules = [rule(nth, goals=(f"g{nth}",)) for nth in range(1, 3001)]
    index = RuleIndex(rules)
    for nth in (0, 7, 8, 63, 64, 1500, 2999):
        assert index.select(Facts(f"g{nth + 1}", "approved", "none", "new", "", "", "", "", "")) == [nth]
    assert RuleIndex([rule(1)] * 3000).select(Facts("g", "approved", "none", "new", *[""] * 5)) == list(range(3000))


def outcomes(decision: Decision) -> list[tuple[int, int, bool, str]]:
    return [(one.partner, one.rule, bool(one.postback), one.stopped_by) for one in decision.rules]


QUERY = "click_id={id}&goal=install&sum=12.50&txn_id=t9"


def test_a_condition_over_amounts_sub_ids_and_the_visitor() -> None:
    wanted = [
        ("sum > 10 and click.pub == 'x7'", True),
        ("sum > 12.5", False),
        ("country in ('DE', 'AT') and not bot", True),
        ("os == 'iOS'", False),
        ("txn_id matches 't*' and status_before == '' and verdict == 'new'", True),
        ("payout >= 1.20 and currency == 'USD' and sub1 == 'abc'", True),
        ("goal == 'install' and (offer == 'other' or link == 'demo')", True),
    ]
    rules = [rule(nth, condition=text) for nth, (text, _) in enumerate(wanted, 1)]
    one = click(START_MS)
    one.query += b"&pub=x7"
    one.visitor = {"country": "DE", "os": "Android"}
    judgement = judged_with(rules, QUERY, touched=one)
    assert [bool(found.postback) for found in judgement.decision.rules] == [fires for _, fires in wanted]
    assert judgement.decision.rules[1].stopped_by == "not so: sum > 12.5 (sum is 12.50)"


def test_every_fact_can_be_asked_for() -> None:
    one = click(START_MS)
    one.visitor = {"country": "DE"}
    rules = [
        rule(1, befores=("none",), links=("demo",), advertisers=("acme",), partners=("geozo",), countries=("DE",)),
        rule(2, befores=("pending",)),
        rule(3, links=("other",)),
        rule(4, advertisers=("globex",)),
        rule(5, countries=("AT", "CH")),
        rule(6, verdicts=("updated",)),
    ]
    assert [stopped for _, _, _, stopped in outcomes(judged_with(rules, QUERY, touched=one).decision)] == [
        "",
        "status before is none, the rule wants pending",
        "link is demo, the rule wants other",
        "advertiser is acme, the rule wants globex",
        "country is DE, the rule wants AT or CH",
        "verdict is new, the rule wants updated",
    ]


def wide_view(*wide: PostbackRule) -> MemoryView:
    """The design's catalog with a third partner, whose rules look at conversions of others."""
    view = design_view()
    view._partners[3] = Partner(3, "analytics", wide)
    return view


def test_rules_for_all_and_for_attributed_look_at_conversions_of_others() -> None:
    view = wide_view(
        rule(1, scope="all"),
        rule(2, scope="attributed", partners=("geozo",)),
        rule(3, scope="all", partners=("other",)),
    )
    judgement = judged_with([], QUERY, view=view)
    number = judgement.decision.conversion
    assert [(one.lane, one.partner, one.rule, one.id) for one in judgement.postbacks] == [
        (1, 1, 1, f"p{number:016x}.1"),
        (3, 3, 1, f"p{number:016x}.2"),
        (3, 3, 2, f"p{number:016x}.3"),
    ]
    assert outcomes(judgement.decision) == [(0, 1, True, ""), (3, 1, True, ""), (3, 2, True, "")]
    assert judgement.conversion is not None and judgement.conversion.postbacks == 3


def test_what_is_attributed_to_nobody_fires_rules_for_all_only() -> None:
    view = wide_view(rule(1, scope="all", verdicts=("refused",)), rule(2, scope="attributed", verdicts=("refused",)))
    decision = judged_with([], "click_id=a0123456789&goal=install", view=view).decision
    assert (decision.verdict, decision.partner) == (Verdict.REFUSED, 0)
    assert outcomes(decision) == [(3, 1, True, "")]


def test_a_wide_rule_of_the_credited_partner_fires_once() -> None:
    view = design_view()
    view._partners[1] = Partner(1, "geozo", (rule(1, scope="all"), rule(2)))
    decision = judged_with([], QUERY, view=view).decision
    assert outcomes(decision) == [(0, 2, True, ""), (0, 1, True, "")]


def test_a_share_is_kept_by_conversion_whatever_the_rule_and_nested() -> None:
    chosen = {share: {number for number in range(20_000) if is_in_share(7, number, share)} for share in (0.2, 0.8, 1.0)}
    assert chosen[0.2] < chosen[0.8] < chosen[1.0]
    for share, found in chosen.items():
        assert abs(len(found) / 20_000 - share) < 0.01
    assert chosen[0.2] != {number for number in range(20_000) if is_in_share(8, number, 0.2)}
    judgement = judged_with([rule(1, share=0.0), rule(2, share=1.0)], QUERY)
    assert len(judgement.postbacks) == 1
    assert judgement.decision.rules[0].stopped_by.startswith("percent: 0% of conversions are told")
    assert [is_stopped_by_share(one) for one in judgement.decision.rules] == [True, False]


def test_a_rule_that_fires_once_a_click_says_so_and_then_stops() -> None:
    rules = [rule(1, name="once", first_only=True), rule(2)]
    first = judged_with(rules, QUERY)
    assert len(first.postbacks) == 2 and len(first.firsts) == 1
    second = judged_with(rules, QUERY.replace("t9", "t10"), fired=set(first.firsts))
    assert [one.rule for one in second.postbacks] == [2] and second.firsts == ()
    assert second.decision.rules[0].stopped_by == "it has fired for this click already"
    moved = judged_with([rule(1), rule(2, name="once", first_only=True)], QUERY, fired=set(first.firsts))
    assert [one.rule for one in moved.postbacks] == [1]  # known by its name, wherever it stands


def test_events_name_goals_and_leave_others_out() -> None:
    rules = [
        rule(1, events={"install": "af_install"}, macros=("event",)),
        rule(2, events={"*": "other"}, macros=("event",)),
        rule(3, macros=("event",)),
        rule(4, events={"purchase": "af_purchase"}, macros=("event",)),
    ]
    judgement = judged_with(rules, QUERY)
    assert [one.values for one in judgement.postbacks] == [
        {"event": "af_install"}, {"event": "other"}, {"event": "install"},
    ]  # fmt: skip
    assert judgement.decision.rules[3].stopped_by == "its events name none for goal install"


def test_a_delay_and_a_batch_are_in_the_postback() -> None:
    judgement = judged_with([rule(1, delay_ms=600_000), rule(2, batch=Batch(10, 1000, "{sub1}"))], QUERY)
    assert [(one.due_ms, one.batched) for one in judgement.postbacks] == [
        (judgement.decision.decided_ms + 600_000, False), (0, True),
    ]  # fmt: skip


def test_of_many_rules_only_those_selected_say_what_stopped_them() -> None:
    many = [rule(nth, goals=("purchase",)) for nth in range(1, REASONS_KEPT_MAX + 1)]
    assert len(judged_with(many, QUERY).decision.rules) == REASONS_KEPT_MAX
    more = [*many, rule(REASONS_KEPT_MAX + 1, condition="sum > 100"), rule(REASONS_KEPT_MAX + 2)]
    assert outcomes(judged_with(more, QUERY).decision) == [
        (0, REASONS_KEPT_MAX + 1, False, "not so: sum > 100 (sum is 12.50)"),
        (0, REASONS_KEPT_MAX + 2, True, ""),
    ]


def test_a_decision_with_the_same_facts_costs_no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    view = design_view()
    book = RuleBook(view)
    looks: list[Facts] = []
    select = RuleIndex.select

    def looking(self: RuleIndex, facts: Facts) -> list[int]:
        looks.append(facts)
        return select(self, facts)

    monkeypatch.setattr(RuleIndex, "select", looking)
    made = []
    for nth in range(3):
        one = click(START_MS + nth)
        case = Intake(view).open_case(
            call(START_MS + 60_000, QUERY.replace("{id}", click_id(one))), Where("door-0", nth)
        )
        found = CODEC.decode(case.click_text)
        assert found is not None
        case.name_click(found)
        case.click = one
        Intake(view).resolve(case, view)
        made.append(judge(case, {}, LIMITS, 1, book).decision.rules)
    assert len(looks) == 2  # the partner's own rules and those of others, once each
    assert [len(rules) for rules in made] == [1, 1, 1]
