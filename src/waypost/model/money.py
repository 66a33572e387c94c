"""Amounts of money: a decimal and a currency, and how many decimals a currency has.

Owns: parsing, rounding and text of amounts. Source of the table: ISO 4217 (active codes and minor units).
Never converts between currencies, and never uses a float.
"""

import re
from decimal import ROUND_HALF_UP, Decimal

import msgspec

# Minor units other than 2, and the codes that have 2 (ISO 4217).
_NONE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"
_FOUR = "CLF UYW"
_TWO = """
AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP
CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR
KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN
PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD
TZS UAH USD UYU UZS VED VES WST XCD YER ZAR ZMW ZWG
"""
_DECIMALS = {
    code: decimals for decimals, codes in ((0, _NONE), (2, _TWO), (3, _THREE), (4, _FOUR)) for code in codes.split()
}


class Money(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An amount in a currency (an ISO 4217 code in capitals)."""

    amount: Decimal
    currency: str

    def __str__(self) -> str:
        return f"{amount_text(self)} {self.currency}"


_QUANTA = {decimals: Decimal(1).scaleb(-decimals) for decimals in (0, 2, 3, 4)}
_AMOUNT = re.compile(r"-?(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})\Z")


def is_currency(code: str) -> bool:
    return code in _DECIMALS


def decimals_of(currency: str) -> int:
    """How many decimals the currency's amounts are written with; 2 for an unknown one."""
    return _DECIMALS.get(currency, 2)


def rounded(amount: Decimal, currency: str) -> Decimal:
    """The amount to the currency's decimals, halves away from zero."""
    return amount.quantize(_QUANTA[decimals_of(currency)], ROUND_HALF_UP)


def amount_text(money: Money) -> str:
    """`1.20` for USD, `1` for JPY; more decimals are kept where the amount has them."""
    least = decimals_of(money.currency)
    amount = money.amount
    quantum = _QUANTA[least]
    if amount.same_quantum(quantum):
        return f"{amount:f}"
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and -exponent > least:
        amount = amount.normalize()
        exponent = amount.as_tuple().exponent
        if isinstance(exponent, int) and -exponent > least:
            return f"{amount:f}"
    return f"{amount.quantize(quantum):f}"


def parse_amount(text: str) -> Decimal | None:
    """A plain decimal number (`12`, `-3.50`, `.5`); None for anything else, exponents and NaN included."""
    return Decimal(text) if _AMOUNT.match(text) else None
