"""Judging a call under rules that a test writes down."""

from decimal import Decimal
from typing import Any

from support.catalogs import MemoryView, design_view
from support.traffic import RING, START_MS, call, click, click_id
from waypost.catalog.model import Partner, PostbackRule
from waypost.model.frames import Click, Conversion
from waypost.model.ids import ClickIdCodec
from waypost.stages.case import Intake, Where
from waypost.stages.checks import CheckLimits
from waypost.stages.judgement import Judgement, judge
from waypost.stages.rules import RuleBook

CODEC = ClickIdCodec(RING)
LIMITS = CheckLimits(START_MS + 120_000, 30 * 86_400_000, Decimal("1000000000"))


def rule(no: int, **fields: Any) -> PostbackRule:
    """A rule that fires on every transition, but for what is given."""
    plain: dict[str, Any] = {
        "goals": (), "statuses": (), "verdicts": (), "offers": (), "method": "GET",
        "url": "http://127.0.0.1:9001/pb", "headers": {}, "body": "", "macros": (),
    }  # fmt: skip
    return PostbackRule(no, **{**plain, **fields})


def judged_with(
    rules: list[PostbackRule],
    query: str,
    *,
    touched: Click | None = None,
    view: MemoryView | None = None,
    existing: Conversion | None = None,
    fired: set[int] | None = None,
) -> Judgement:
    """The judgement of a call for a click of link `demo`, whose partner has these rules; `view` replaces all of it."""
    if view is None:
        view = design_view()
        view._partners[1] = Partner(1, "geozo", tuple(rules))
    one = touched if touched is not None else click(START_MS)
    case = Intake(view).open_case(call(START_MS + 60_000, query.replace("{id}", click_id(one))), Where("door-0", 7))
    found = CODEC.decode(case.click_text)
    if found is not None:
        case.name_click(found)
        case.click = one
    Intake(view).resolve(case, view)
    case.existing = existing
    case.fired = fired or ()
    return judge(case, {}, LIMITS, 1, RuleBook(view))
