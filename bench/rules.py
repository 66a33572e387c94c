"""What rules cost a decision: selection among 1,000 and 10,000 rules against selection among 10, in the same run.

Owns: nothing but memory. Prints; asserts nothing. Two shapes: all rules on one partner (as a network has them, a rule
for each offer), and a rule each on many partners that look at everybody's conversions. In both the same three rules are
selected and fire, so what differs is only how many do not. Each is measured where facts repeat, so that what was worked
out is kept, and where each decision has facts that were never seen. Rounds of all candidates take turns.
Run: python bench/rules.py
"""

import argparse
import json
from decimal import Decimal
from pathlib import Path
from statistics import median
from time import perf_counter

from waypost.catalog.model import Advertiser, Offer, Partner, PostbackRule, Route
from waypost.model.frames import Auth, Click, Decision, PostbackIn, Verdict
from waypost.model.money import Money
from waypost.stages.case import Case, Where
from waypost.stages.rules import Candidate, RuleBook, stopped_by

COUNTS = (10, 1_000, 10_000)
FIRING = 3
DECISIONS = 2_000
KNOWN = 100  # different facts, where they repeat
ROUNDS = 9


class View:
    """As much of a catalog view as rules ask for."""

    def __init__(self, partners: list[Partner]) -> None:
        self._partners = {partner.no: partner for partner in partners}

    def partner(self, no: int) -> Partner | None:
        """By its number."""
        return self._partners.get(no)

    def wide_partners(self) -> tuple[int, ...]:
        """Those with rules on conversions of others."""
        return tuple(no for no, one in self._partners.items() if any(rule.scope != "own" for rule in one.rules))

    def has_first_only(self) -> bool:
        """None here."""
        return False


def rule(no: int, scope: str, *, fires: bool) -> PostbackRule:
    """Fires on the bench's decisions, or is for another offer."""
    offers = ("vpn",) if fires else (f"offer-{no}",)
    condition = "sum > 10 and click.pub != 'x'"
    url = "http://127.0.0.1/"
    wanted = (("install",), ("approved",), (), offers)
    return PostbackRule(no, *wanted, "GET", url, {}, "", (), condition=condition, scope=scope)


def book(shape: str, count: int) -> tuple[RuleBook, Partner]:
    """The rules, and the partner whose conversions are judged."""
    firing = {count // 4, count // 2, count - 1}
    if shape == "own":
        partner = Partner(1, "p1", tuple(rule(nth + 1, "own", fires=nth in firing) for nth in range(count)))
        return RuleBook(View([partner])), partner  # type: ignore[arg-type]
    partner = Partner(1, "p1", ())
    others = [Partner(nth + 2, f"p{nth + 2}", (rule(1, "all", fires=nth in firing),)) for nth in range(count)]
    return RuleBook(View([partner, *others])), partner  # type: ignore[arg-type]


def case_of(partner: Partner, country: str) -> Case:
    """A judged conversion of a visitor from there."""
    frame = PostbackIn(1, 1, 0, 0, 1, Auth.TOKEN, 1, "GET", b"")
    case = Case(frame, Where("door-0", 0))
    case.click = Click(1, 0, 0, 1, 0, 0, 1, b"sub1=a&pub=b", visitor={"country": country})
    case.partner, case.route = partner, Route(1, "demo", 1, 1)
    case.advertiser = Advertiser(1, "acme", 0, "t")
    case.offer = Offer(1, "vpn", 1, "http://127.0.0.1/", ())
    return case


def selected(rules: RuleBook, cases: list[Case], decision: Decision) -> float:
    """Seconds that it takes to select and to look at what was selected."""
    fired = 0
    start = perf_counter()
    for case in cases:
        for entry in rules.plan(case, decision).entries:
            if type(entry) is Candidate and not stopped_by(entry, case, decision):
                fired += 1
    took = perf_counter() - start
    if fired != FIRING * len(cases):
        raise SystemExit(f"{fired} rules fired, {FIRING * len(cases)} should have")
    return took


def measured(shape: str) -> dict[tuple[int, bool], float]:
    """Decisions a second by (rules, whether facts repeat)."""
    decision = Decision("door-0", 0, 1, 1, 1, Verdict.NEW, goal="install", partner=1, conversion=1, status="approved")
    decision.sum = Money(Decimal("12.50"), "USD")
    books = {count: book(shape, count) for count in COUNTS}
    times: dict[tuple[int, bool], list[float]] = {(count, known): [] for count in COUNTS for known in (True, False)}
    fresh = 0
    for nth in range(ROUNDS + 1):
        for count, (rules, partner) in books.items():
            known = [case_of(partner, f"K{nth % KNOWN}") for nth in range(DECISIONS)]
            unknown = [case_of(partner, f"U{fresh + nth}") for nth in range(DECISIONS)]
            fresh += DECISIONS
            for repeats, cases in ((True, known), (False, unknown)):
                took = selected(rules, cases, decision)
                if nth:  # the first round makes the index
                    times[count, repeats].append(took / DECISIONS)
    return {key: 1 / median(each) for key, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for shape, words in (("own", "of one partner"), ("all", "on everybody's conversions")):
        found = measured(shape)
        for repeats, how in ((True, "facts repeat"), (False, "facts never seen")):
            for count in COUNTS[1:]:
                figure, reference = found[count, repeats], found[COUNTS[0], repeats]
                what = f"rules: {count:,} {words}, {how}"
                print(
                    f"{what:60} {1e6 / figure:6.2f} us, with 10 {1e6 / reference:6.2f} us: {reference / figure:.2f} x"
                )
                rows.append(
                    {"what": what, "figure": figure, "unit": "/s", "reference": reference, "against": "with 10 rules"}
                )
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}), "utf-8")


if __name__ == "__main__":
    main()
