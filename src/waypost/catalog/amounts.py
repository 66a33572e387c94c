"""Terms as they are written: `1.20 USD`, `30%` of the sum, `70% of payout` as it was reported.

Owns: this small notation, both ways. Reads and writes nothing. Never uses a float, and never converts a currency.
"""

import re
from decimal import Decimal

from waypost.catalog.model import Terms
from waypost.catalog.reading import Field, Reader
from waypost.model.money import Money, is_currency

PERCENT_MAX = 1000
WHOLE_DIGITS_MAX = 12
DECIMALS_MAX = 6
FORMS = "such as `1.20 USD`, `30%` (of the sum) or `70% of payout` (as reported)"

_FIXED = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*([A-Za-z]{3})\Z")
_SHARE = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*%(?:\s+of\s+(sum|payout))?\Z")
_SYMBOLS = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₽": "RUB", "₹": "INR", "₴": "UAH"}
_ZERO = Terms("fixed", amount=Money(Decimal(0), "USD"))  # stands in for terms that were refused


def read_terms(reader: Reader, field: Field | None) -> Terms:
    """The terms of a goal. What is wrong is noted, and nothing is owed by what comes back then."""
    text = reader.text(field, length_max=80)
    if field is None or text is None:
        return _ZERO
    text = text.strip()
    fixed = _FIXED.match(text)
    if fixed:
        return _fixed(reader, field, fixed[1], fixed[2])
    share = _SHARE.match(text)
    if share:
        return _share(reader, field, share[1], share[2])
    reader.wrong("catalog_bad_value", field, f"`{text}` is no amount", hint=_hint(text))
    return _ZERO


def _fixed(reader: Reader, field: Field, number: str, currency: str) -> Terms:
    if not is_currency(currency):
        if is_currency(currency.upper()):
            message, hint = f"a currency is written in capitals, not `{currency}`", f"write `{currency.upper()}`"
        else:
            message, hint = f"`{currency}` is no ISO 4217 currency", "a code of three letters, such as USD"
        reader.wrong("catalog_bad_value", field, message, hint=hint)
        return _ZERO
    amount = _number(reader, field, number)
    return _ZERO if amount is None else Terms("fixed", amount=Money(amount, currency))


def _share(reader: Reader, field: Field, number: str, base: str | None) -> Terms:
    percent = _number(reader, field, number)
    if percent is None:
        return _ZERO
    if percent > PERCENT_MAX:
        message = f"{number}% is more than {PERCENT_MAX}%"
        reader.wrong("catalog_bad_value", field, message, hint="a share of the whole is 100% or less")
        return _ZERO
    kind = "share_of_reported" if base == "payout" else "share_of_sum"
    return Terms(kind, share=percent.scaleb(-2).normalize() + 0)


def _number(reader: Reader, field: Field, text: str) -> Decimal | None:
    whole, _, decimals = text.lstrip("+-").partition(".")
    if text.startswith("-"):
        reader.wrong("catalog_bad_value", field, f"{text} is negative", hint="what is owed is zero or more")
    elif len(whole) > WHOLE_DIGITS_MAX or len(decimals) > DECIMALS_MAX:
        message = f"{text[:40]} has too many digits"
        hint = f"at most {WHOLE_DIGITS_MAX} before the point and {DECIMALS_MAX} behind it"
        reader.wrong("catalog_bad_value", field, message, hint=hint)
    else:
        return Decimal(text)
    return None


def _hint(text: str) -> str:
    number = re.sub(r"[^\d.,]", "", text)
    symbol = next((code for sign, code in _SYMBOLS.items() if sign in text), "")
    if "," in text:
        return f"write a decimal point: `{number.replace(',', '.')} {symbol or 'USD'}`"
    if symbol:
        return f"write `{number} {symbol}`"
    if number and number == text:
        return f"add a currency or a percent sign: `{text} USD` or `{text}%`"
    return FORMS


def terms_text(terms: Terms) -> str:
    """Terms as a catalog writes them."""
    if terms.amount is not None:
        return str(terms.amount)
    percent = f"{(terms.share or Decimal(0)).scaleb(2).normalize():f}%"
    return f"{percent} of payout" if terms.kind == "share_of_reported" else percent
