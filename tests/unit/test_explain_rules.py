"""What the trace says of rules: those a decision names, those of others, and those that it does not name."""

from support.catalogs import MemoryCatalogs, MemoryView, design_view
from support.rules import judged_with, rule
from support.traffic import START_MS, click
from waypost.catalog.model import Partner
from waypost.explain.names import Names
from waypost.explain.rules import rule_lines
from waypost.explain.story import RuleLine
from waypost.model.frames import Decision
from waypost.stages.archive_rows import rows_of
from waypost.stages.rules import REASONS_KEPT_MAX

QUERY = "click_id={id}&goal=install&sum=12.50&txn_id=t9"


def lines_of(decision: Decision, view: MemoryView, country: str = "") -> list[RuleLine]:
    (row,) = rows_of("ledger-log", 5, [decision])["decisions"]
    return rule_lines(row, Names(MemoryCatalogs(view)), country)


def test_a_rule_of_another_partner_is_told_with_its_owner_and_name() -> None:
    view = design_view()
    view._partners[3] = Partner(3, "analytics", (rule(1, scope="all", name="everything", condition="sum > 100"),))
    decision = judged_with([], QUERY, view=view).decision
    own, other = lines_of(decision, view)
    assert (own.rule, own.partner, own.postback) == (1, "", decision.rules[0].postback)
    assert (other.partner, other.name, other.wants) == ("analytics", "everything", "if sum > 100; for all")
    assert other.stopped_by == "not so: sum > 100 (sum is 12.50)"


def test_rules_that_the_decision_does_not_name_are_worked_out_from_its_facts() -> None:
    view = design_view()
    quiet = [rule(nth, goals=("purchase",)) for nth in range(1, REASONS_KEPT_MAX + 1)]
    quiet += [rule(REASONS_KEPT_MAX + 1, countries=("AT",)), rule(REASONS_KEPT_MAX + 2)]
    view._partners[1] = Partner(1, "geozo", tuple(quiet))
    one = click(START_MS)
    one.visitor = {"country": "DE"}
    decision = judged_with([], QUERY, touched=one, view=view).decision
    assert len(decision.rules) == 1
    lines = lines_of(decision, view, "DE")
    assert [line.rule for line in lines] == [REASONS_KEPT_MAX + 2, *range(1, REASONS_KEPT_MAX + 2)]
    assert lines[1].stopped_by == "goal is install, the rule wants purchase"
    assert lines[-1].stopped_by == "country is DE, the rule wants AT"


def test_what_is_worked_out_is_what_a_decision_that_keeps_it_says() -> None:
    view = design_view()
    rules = tuple(rule(nth, statuses=("declined",), offers=(f"o{nth}",)) for nth in range(1, 5))
    view._partners[1] = Partner(1, "geozo", rules)
    decision = judged_with([], QUERY, view=view).decision
    kept = lines_of(decision, view)
    decision.rules = ()
    assert lines_of(decision, view) == kept
