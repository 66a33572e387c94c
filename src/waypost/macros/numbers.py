"""Numbers in texts: what counts as one, and the filters that compute with them.

Owns: the form of a number (no exponent, at most 40 digits on each side of the point), and filters on amounts. Reads
and writes nothing. Always decimal: no amount passes through a binary fraction.
"""

import re
from collections.abc import Mapping
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal

from waypost.macros.scanner import Apply, Argument, ValueRefusedError
from waypost.model.money import decimals_of

DECIMALS_MAX = 12
_CONTEXT = Context(prec=100, rounding=ROUND_HALF_UP)
_number = re.compile(r"[+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})", re.ASCII).fullmatch
_integer = re.compile(r"[+-]?\d{1,9}", re.ASCII).fullmatch
_currency = re.compile(r"[A-Z]{3}").fullmatch
_form = re.compile(r"(#(?P<group>[,. '])##)?0((?P<point>[.,])(?P<fixed>0{0,12})(?P<optional>#{0,12}))?").fullmatch
_THOUSANDS = re.compile(r"(?<=\d)(?=(?:\d{3})+$)")
_DIVISION_UNIT = Decimal(1).scaleb(-DECIMALS_MAX)


def number_of(text: str) -> int | Decimal | None:
    """The number that a text is, or None; exact, and without exponents."""
    if len(text) <= 40 and text.isdecimal() and text.isascii():
        return int(text)
    return Decimal(text) if _number(text) else None


def whole_number(argument: Argument) -> int:
    """The argument as a whole number. Raises ValueError."""
    if not _integer(argument.value):
        raise ValueError(f"{argument.value[:40]!r} is not a whole number")
    return int(argument.value)


def build_round(arguments: tuple[Argument, ...]) -> Apply:
    decimals = whole_number(arguments[0]) if arguments else 0
    if not 0 <= decimals <= DECIMALS_MAX:
        raise ValueError(f"round takes 0 to {DECIMALS_MAX} decimals")
    unit = Decimal(1).scaleb(-decimals)
    return lambda value: _written(_decimal("round", value).quantize(unit, context=_CONTEXT))


def build_int(arguments: tuple[Argument, ...]) -> Apply:
    return lambda value: _written(_decimal("int", value).quantize(Decimal(1), ROUND_DOWN, _CONTEXT))


def build_abs(arguments: tuple[Argument, ...]) -> Apply:
    return lambda value: _written(abs(_decimal("abs", value)))


def build_number(arguments: tuple[Argument, ...]) -> Apply:
    """`#,##0.00`: a sign between thousands, a point, digits that are always written (0), or if they are not 0 (#)."""
    form = _form(arguments[0].value)
    if form is None:
        raise ValueError(f"{arguments[0].value[:40]!r} is no form of a number, such as '0.00', '#,##0.00' or '0.##'")
    group, point = form["group"] or "", form["point"] or ""
    if group and group == point:
        raise ValueError("the sign between thousands and the decimal point are the same")
    fixed, optional = len(form["fixed"] or ""), len(form["optional"] or "")
    unit = Decimal(1).scaleb(-(fixed + optional))

    def apply(value: str) -> str:
        text = _written(_decimal("number", value).quantize(unit, context=_CONTEXT))
        whole, _, decimals = text.partition(".")
        decimals = decimals[:fixed] + decimals[fixed:].rstrip("0")
        if group:
            whole = _THOUSANDS.sub(group, whole)
        return whole + point + decimals if decimals else whole

    return apply


def build_add(arguments: tuple[Argument, ...]) -> Apply:
    other = _operand("add", arguments)
    return lambda value: _shortest(_CONTEXT.add(_decimal("add", value), other))


def build_sub(arguments: tuple[Argument, ...]) -> Apply:
    other = _operand("sub", arguments)
    return lambda value: _shortest(_CONTEXT.subtract(_decimal("sub", value), other))


def build_mul(arguments: tuple[Argument, ...]) -> Apply:
    other = _operand("mul", arguments)
    return lambda value: _shortest(_CONTEXT.multiply(_decimal("mul", value), other))


def build_div(arguments: tuple[Argument, ...]) -> Apply:
    other = _operand("div", arguments)
    if not other:
        raise ValueError("nothing can be divided by 0")
    return lambda value: _shortest(_quotient(_decimal("div", value), other))


def build_minor(arguments: tuple[Argument, ...]) -> Apply:
    """1.20 USD is 120, 1 JPY is 1."""
    decimals = decimals_of(_currency_of("minor", arguments[0]))
    return lambda value: _written(
        _decimal("minor", value).scaleb(decimals, _CONTEXT).quantize(Decimal(1), context=_CONTEXT)
    )


def check_convert(arguments: tuple[Argument, ...]) -> None:
    """Raises ValueError where a currency that is written out is none."""
    for argument in arguments:
        if argument.source is None:
            _currency_of("convert", argument)


def build_convert(arguments: tuple[Argument, ...], rate_of: Mapping[str, Decimal]) -> Apply:
    """`rate_of` says how many units of each currency are worth the same."""
    target, origin = (_currency_of("convert", argument) for argument in arguments)
    unit = Decimal(1).scaleb(-decimals_of(target))

    def apply(value: str) -> str:
        amount = _decimal("convert", value)
        if target != origin:
            for currency in (origin, target):
                if not rate_of.get(currency):
                    raise NoRateError(f"convert: there is no rate of {currency}")
            amount = _CONTEXT.divide(_CONTEXT.multiply(amount, rate_of[target]), rate_of[origin])
        return _written(amount.quantize(unit, context=_CONTEXT))

    return apply


class NoRateError(ValueRefusedError):
    """An amount cannot be converted: a currency's rate is not known."""

    code = "macro_no_rate"


def _operand(name: str, arguments: tuple[Argument, ...]) -> Decimal:
    if not _number(arguments[0].value):
        raise ValueError(f"{name}: {arguments[0].value[:40]!r} is not a number")
    return Decimal(arguments[0].value)


def _currency_of(name: str, argument: Argument) -> str:
    if not _currency(argument.value):
        raise ValueError(f"{name}: {argument.value[:40]!r} is no currency such as EUR")
    return argument.value


def _decimal(name: str, value: str) -> Decimal:
    if not _number(value):
        raise ValueRefusedError(f"{name}: {value[:40]!r} is not a number")
    return Decimal(value)


def _quotient(one: Decimal, other: Decimal) -> Decimal:
    return _CONTEXT.divide(one, other).quantize(_DIVISION_UNIT, context=_CONTEXT)


def _written(number: Decimal) -> str:
    return f"{abs(number) if number.is_zero() else number:f}"


def _shortest(number: Decimal) -> str:
    text = _written(number)
    return text.rstrip("0").rstrip(".") if "." in text else text
