"""Attribution: which touch gets the credit.

Input: a resolved case. Output: the route whose partner is credited. Pure. So far a call names its click, so that click
gets it.
"""

from waypost.catalog.model import Route
from waypost.stages.case import Case


def credited(case: Case) -> Route | None:
    """The route of the touch that gets the credit; None where none can."""
    return case.route
