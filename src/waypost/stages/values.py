"""The values of macros for one postback, and of the names in a rule's condition.

Input: a judged case and its decision. Output: text by name, for the names a rule uses. Pure.
The table of macros with their meanings is `macros/names.py`.
"""

from collections.abc import Callable
from typing import TypeAlias

from waypost.macros.names import VISITOR
from waypost.model.frames import Decision
from waypost.model.ids import conversion_text
from waypost.model.money import amount_text
from waypost.stages.case import Case

Value: TypeAlias = Callable[[Case, Decision], str]

_VALUES: dict[str, Value] = {
    "click_id": lambda case, decision: case.click_text,
    "goal": lambda case, decision: decision.goal,
    "status": lambda case, decision: decision.status,
    "payout": lambda case, decision: amount_text(decision.payout) if decision.payout is not None else "",
    "currency": lambda case, decision: decision.payout.currency if decision.payout is not None else "",
    "revenue": lambda case, decision: amount_text(decision.revenue) if decision.revenue is not None else "",
    "sum": lambda case, decision: amount_text(decision.sum) if decision.sum is not None else "",
    "sum_currency": lambda case, decision: decision.sum.currency if decision.sum is not None else "",
    "txn_id": lambda case, decision: decision.txn_id,
    "offer": lambda case, decision: case.offer.name if case.offer is not None else "",
    "partner": lambda case, decision: case.partner.name if case.partner is not None else "",
    "advertiser": lambda case, decision: case.advertiser.name if case.advertiser is not None else "",
    "link": lambda case, decision: case.route.link if case.route is not None else "",
    "conversion_id": lambda case, decision: conversion_text(decision.conversion) if decision.conversion else "",
    "click_time": lambda case, decision: str(decision.click_ms // 1000) if decision.click_ms else "",
    "conversion_time": lambda case, decision: str(decision.at_ms // 1000),
    "test": lambda case, decision: "1" if decision.test else "0",
    "status_before": lambda case, decision: decision.status_before,
    "event": lambda case, decision: decision.goal,
    "verdict": lambda case, decision: decision.verdict.value,
    "code": lambda case, decision: decision.code,
    "returning": lambda case, decision: "1" if case.click is not None and "returning" in case.click.marks else "",
}


def value_named(name: str) -> Value:
    """How a macro's value is found: a computed one, a fact of the visitor, else what the click carried by that name."""
    known = _VALUES.get(name)
    if known is not None:
        return known
    if name in VISITOR:
        return lambda case, decision: case.click.visitor.get(name, "") if case.click is not None else ""
    parameter = name.removeprefix("click.")
    return lambda case, decision: case.touch.get(parameter, "")
