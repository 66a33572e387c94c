"""Attribution: which touch gets the credit.

Input: a resolved case. Output: `Credit`. Pure. So far a call names its click, so that click gets it.
"""

from typing import NamedTuple

from waypost.model.ids import ClickKey
from waypost.stages.case import Case


class Credit(NamedTuple):
    """Who is credited; `how` says by what."""

    partner: int
    route: int
    click: ClickKey
    how: str


def credit(case: Case) -> Credit | None:
    """The touch that gets the credit; None where none can."""
    if case.click_key is None or case.route is None:
        return None
    return Credit(case.route.partner, case.route.no, case.click_key, "click_id")
