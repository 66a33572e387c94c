"""Postback rules: which decisions cause which postbacks.

Input: a decision and one of its partner's rules. Output: whether it fires, or the condition that stops it. Pure.
A rule fires once for each entry of a conversion into a status; for refusals only where it says so.
"""

from waypost.catalog.model import PostbackRule
from waypost.model.frames import Decision, Verdict


def stopped_by(rule: PostbackRule, decision: Decision, offer: str) -> str:
    """Empty if the rule fires on this decision, else the condition that stops it, in words."""
    if rule.verdicts:
        if decision.verdict.value not in rule.verdicts:
            return f"verdict is {decision.verdict}, the rule wants {' or '.join(rule.verdicts)}"
    elif decision.verdict is Verdict.REFUSED or decision.verdict is Verdict.SET_ASIDE:
        return f"the call was {decision.verdict}"
    elif decision.status == decision.status_before:
        return f"no transition: the conversion was {decision.status} already"
    if rule.statuses and decision.status not in rule.statuses:
        return f"status is {decision.status or 'none'}, the rule wants {' or '.join(rule.statuses)}"
    if rule.goals and decision.goal not in rule.goals:
        return f"goal is {decision.goal or 'none'}, the rule wants {' or '.join(rule.goals)}"
    if rule.offers and offer not in rule.offers:
        return f"offer is {offer or 'none'}, the rule wants {' or '.join(rule.offers)}"
    return ""
