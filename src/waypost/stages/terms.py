"""Money of a conversion: what was reported, what the advertiser owes, what the partner earns.

Pure, in decimals. Amounts are rounded to their currency's decimals, halves away from zero.
"""

import re

import msgspec

from waypost.catalog.model import Goal, Terms
from waypost.model.money import Money, is_currency, parse_amount, rounded


class Amount(msgspec.Struct, frozen=True, gc=False):
    """A parsed amount, or why it is none. Both empty: nothing was given."""

    money: Money | None = None
    problem: str = ""


NOTHING = Amount()
AMOUNTS_MAX = 10
_DECIMAL_COMMA = re.compile(r"\s*\d+,\d\d\s*\Z")


def parse_amounts(text: str, currency: str, default_currency: str, goal: Goal) -> Amount:
    """An inbound `sum=` or `payout=`: one amount, or several split by commas, with their currencies in the same order.

    Several amounts of one currency are parts, and are added (`payout=CPA,REVSHARE`); amounts of several currencies say
    the same in each, and the one in the goal's currency counts, else the first that is not zero. Zeros and empty
    places among several count for nothing. More amounts than currencies do not pair, unless one currency stands for
    all; more currencies than amounts are a list of what the sender knows.
    """
    if not text:
        return NOTHING
    if "," not in text:
        return _amount(text, (currency.partition(",")[0].strip() or default_currency).upper())
    codes = [code.strip().upper() or default_currency for code in currency.split(",")]
    pieces = [piece.strip() for piece in text.split(",")]
    if len(pieces) > AMOUNTS_MAX:
        return Amount(None, f"{len(pieces)} amounts are more than {AMOUNTS_MAX}")
    if len(codes) == 1:
        if _DECIMAL_COMMA.match(text):
            return Amount(None, f"'{text[:40]}' may be two amounts or one with a decimal comma: write a point")
        codes = codes * len(pieces)
    elif len(pieces) > len(codes):
        return Amount(None, f"{len(pieces)} amounts and {len(codes)} currencies do not pair")
    totals: dict[str, Money] = {}
    for piece, code in zip(pieces, codes, strict=False):
        found = _amount(piece, code) if piece else NOTHING
        if found.problem:
            return found
        if found.money is None or not found.money.amount:
            continue
        before = totals.get(code)
        totals[code] = Money(before.amount + found.money.amount, code) if before is not None else found.money
    if not totals:
        return NOTHING
    return Amount(totals.get(goal.currency or default_currency) or next(iter(totals.values())))


def _amount(text: str, code: str) -> Amount:
    amount = parse_amount(text)
    if amount is None:
        return Amount(None, f"'{text[:40]}' is no plain decimal number")
    if not is_currency(code):
        return Amount(None, f"'{code[:10]}' is no ISO 4217 currency")
    return Amount(Money(amount, code))


def owed(terms: Terms, order: Money | None, reported: Money | None) -> Money | None:
    """What terms come to; None if what they are a share of is not there."""
    if terms.kind == "fixed":
        return terms.amount
    base = order if terms.kind == "share_of_sum" else reported
    if base is None or terms.share is None:
        return None
    return Money(rounded(base.amount * terms.share, base.currency), base.currency)


def revenue_of(goal: Goal, payout: Money | None, order: Money | None, reported: Money | None) -> Money | None:
    """What the advertiser owes: by the goal's own terms; else as it reported; else what the partner earns."""
    if goal.revenue is not None:
        return owed(goal.revenue, order, reported)
    return reported if reported is not None else payout
