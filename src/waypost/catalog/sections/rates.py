"""The section `rates`: what currencies are worth, for amounts that partners are told in another currency.

Owns: the checks of this section. Reads a tree; notes problems. Never fetches a rate: they are what the catalog says, so
the version of a postback's catalog says what was converted with what.
"""

from decimal import Decimal, InvalidOperation

from waypost.catalog.reading import Field, Reader
from waypost.model.money import is_currency

RATES_MAX = 400
_RATE_CHARS_MAX = 32
_BASE = "base"


def read_rates(reader: Reader, field: Field) -> dict[str, Decimal]:
    """By currency, how many units are worth one of the base's, itself included. Empty without the section."""
    entries = dict(reader.entries(field, RATES_MAX))
    if not entries:
        return {}
    base = entries.pop(_BASE, None)
    if base is None:
        hint = "such as `base: EUR`, and beside it `USD: 1.08`: one EUR is 1.08 USD"
        reader.problems.add("catalog_missing_key", "`base` is missing", field.node.at, field=field.path, hint=hint)
    base_text = reader.text(base, length_max=16) if base is not None else None
    rates: dict[str, Decimal] = {}
    if base is not None and base_text is not None and _is_known(reader, base, base_text):
        rates[base_text] = Decimal(1)
    for name, entry in entries.items():
        text = reader.text(entry, length_max=_RATE_CHARS_MAX)
        if text is None or not _is_known(reader, entry, name):
            continue
        if name == base_text:
            hint = "one of the base is one of the base: remove it"
            reader.wrong("catalog_bad_value", entry, f"`{name}` is the base", hint=hint)
            continue
        rate = _rate(reader, entry, text)
        if rate is not None:
            rates[name] = rate
    return rates


def _is_known(reader: Reader, field: Field, code: str) -> bool:
    if is_currency(code):
        return True
    upper = code.upper()
    hint = f"write `{upper}`" if is_currency(upper) else "a code of three letters, such as USD"
    reader.wrong("catalog_bad_value", field, f"`{code[:40]}` is no ISO 4217 currency", hint=hint)
    return False


def _rate(reader: Reader, field: Field, text: str) -> Decimal | None:
    try:
        rate = Decimal(text)
    except InvalidOperation:
        rate = Decimal(0)
    if rate.is_finite() and Decimal("1e-9") <= rate <= Decimal("1e9"):
        return rate
    hint = "how many units are worth one of the base, such as `1.0842`"
    reader.wrong("catalog_bad_value", field, f"`{text[:40]}` is no rate", hint=hint)
    return None
