"""Money of a conversion: what was reported, what the advertiser owes, what the partner earns.

Pure, in decimals. Amounts are rounded to their currency's decimals, halves away from zero.
"""

import msgspec

from waypost.catalog.model import Goal, Terms
from waypost.model.money import Money, is_currency, parse_amount, rounded


class Amount(msgspec.Struct, frozen=True, gc=False):
    """A parsed amount, or why it is none. Both empty: nothing was given."""

    money: Money | None = None
    problem: str = ""


NOTHING = Amount()


def parse_sum(text: str, currency: str, default_currency: str) -> Amount:
    """The order's value. Of several currencies (`usd,eur`) the first is the sum's."""
    if not text:
        return NOTHING
    code = (currency.partition(",")[0].strip() or default_currency).upper()
    return _amount(text, code)


def parse_reported(text: str, currency: str, default_currency: str) -> Amount:
    """An inbound `payout=`: one amount, or several (`10,0`) with their currencies in the same order.

    Zeros and empty places among several count for nothing. Several amounts are added if they share a currency;
    otherwise they would need exchange rates, and that is said.
    """
    if "," not in text:
        return parse_sum(text, currency, default_currency)
    codes = [code.strip().upper() for code in currency.split(",")]
    total: Money | None = None
    for nth, piece in enumerate(text.split(",")):
        if not piece.strip():
            continue
        code = codes[nth] if nth < len(codes) else codes[-1]
        found = _amount(piece.strip(), code or default_currency.upper())
        if found.money is None:
            return found
        if not found.money.amount:
            continue
        if total is not None and total.currency != found.money.currency:
            return Amount(None, f"amounts in {total.currency} and {found.money.currency} cannot be added without rates")
        total = found.money if total is None else Money(total.amount + found.money.amount, total.currency)
    return Amount(total) if total is not None else NOTHING


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
