"""Every filter there is: one table with its arguments and its meaning.

Owns: the table, and how a filter that was written becomes a step that a value passes through. A step whose arguments
are texts is built once, when its template is compiled; one that takes another macro's value or a secret is built at
each render. Reads and writes nothing; never knows the position that the value will stand in.

An empty value (a missing one) passes by every filter but those that make something of it (`takes_empty`): the hash of
nothing is no hash.
"""

import difflib
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import NamedTuple

from waypost.errors import WaypostError
from waypost.macros import numbers, texts, times
from waypost.macros.scanner import Apply, Argument, Call, MacroError, Source, ValueRefusedError, check_reference

Build = Callable[[tuple[Argument, ...]], Apply]


def no_secret(reference: str) -> str:
    """What a render without secrets answers. Raises WaypostError `macro_secret`."""
    raise WaypostError("macro_secret", f"the secret {reference} is not at hand here")


class Context(NamedTuple):
    """What a render may need beside values.

    `secrets` answers what a reference (`env:NAME`, `file:PATH`) stands for; `rates` says how many units of each
    currency are worth the same, for instance `{"EUR": Decimal(1), "USD": Decimal("1.08")}`.
    """

    secrets: Callable[[str], str] = no_secret
    rates: Mapping[str, Decimal] = {}


NOTHING = Context()


class Filter(NamedTuple):
    """`signature` is how it is written; `least` and `most` count its arguments, `keyed` says they are all `a=b`."""

    name: str
    signature: str
    meaning: str
    build: Build
    least: int = 0
    most: int = 0
    keyed: bool = False
    takes_empty: bool = False
    is_signed: bool = False  # its first argument is a secret


class Step(NamedTuple):
    """A filter with its arguments. Where `resolve` is given, it answers what to apply for one render."""

    apply: Apply
    takes_empty: bool
    resolve: Callable[[Mapping[str, str], Context], Apply] | None = None
    sources: tuple[Source, ...] = ()
    needs_rates: bool = False


def build_filter(call: Call, *, place: str = "") -> Step:
    """The call as a step. Raises MacroError `macro_unknown_filter` or `macro_bad_argument`."""
    row = FILTERS.get(call.name)
    if row is None:
        close = difflib.get_close_matches(call.name.lower(), FILTERS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"filters are: {', '.join(FILTERS)}"
        detail = f"there is no filter {call.name[:64]}"
        raise MacroError("macro_unknown_filter", detail, column=call.column, place=place, hint=hint)
    written = f"it is written {row.signature}"
    count = len(call.arguments)
    if not row.least <= count <= row.most:
        detail = f"{row.name} does not take {count} argument{'' if count == 1 else 's'}"
        raise MacroError("macro_bad_argument", detail, column=call.column, place=place, hint=written)
    for argument in call.arguments:
        if (argument.key is not None) != row.keyed:
            detail = f"{row.name} takes {'a=b' if row.keyed else 'plain'} arguments"
            raise MacroError("macro_bad_argument", detail, column=argument.column, place=place, hint=written)
    arguments = _signed(call.arguments, place) if row.is_signed else call.arguments
    sources = tuple(argument.source for argument in arguments if argument.source is not None)
    try:
        if row.name == "convert" and count < row.most:
            raise ValueError("convert must be told the currency that the amount is in")
        if row.name == "convert":
            numbers.check_convert(arguments)
            return Step(_unresolved, False, _converting(arguments), sources, needs_rates=True)
        if row.is_signed:
            row.build(arguments)  # to see that it can be, with an empty key
        if sources:
            return Step(_unresolved, row.takes_empty, _resolving(row, arguments), sources)
        return Step(row.build(arguments), row.takes_empty)
    except ValueError as error:
        raise MacroError("macro_bad_argument", str(error), column=call.column, place=place, hint=written) from error


def _signed(arguments: tuple[Argument, ...], place: str) -> tuple[Argument, ...]:
    key = arguments[0]
    if key.source is None:
        reference = check_reference(key.value, column=key.column, place=place)
        key = Argument(None, "", key.column, Source("secret", reference))
    elif not key.source.secret:
        detail = "a signature's key is a secret, not a macro's value"
        raise MacroError("macro_bad_argument", detail, column=key.column, place=place)
    return (key, *arguments[1:])


def _resolving(row: Filter, arguments: tuple[Argument, ...]) -> Callable[[Mapping[str, str], Context], Apply]:
    def resolve(values: Mapping[str, str], context: Context) -> Apply:
        try:
            return row.build(_resolved(arguments, values, context))
        except ValueRefusedError:
            raise
        except ValueError as error:
            raise ValueRefusedError(str(error)) from error

    return resolve


def _converting(arguments: tuple[Argument, ...]) -> Callable[[Mapping[str, str], Context], Apply]:
    def resolve(values: Mapping[str, str], context: Context) -> Apply:
        try:
            return numbers.build_convert(_resolved(arguments, values, context), context.rates)
        except ValueError as error:
            raise ValueRefusedError(str(error)) from error

    return resolve


def _resolved(arguments: tuple[Argument, ...], values: Mapping[str, str], context: Context) -> tuple[Argument, ...]:
    return tuple(
        argument
        if argument.source is None
        else Argument(argument.key, value_of(argument.source, values, context), argument.column)
        for argument in arguments
    )


def value_of(source: Source, values: Mapping[str, str], context: Context) -> str:
    """A macro's value, empty if it is missing, or a secret."""
    return context.secrets(source.secret) if source.secret else values.get(source.name, "")


def _unresolved(value: str) -> str:
    raise AssertionError("a step with other macros' values is resolved first")


def _plain(apply: Apply) -> Build:
    return lambda arguments: apply


_ROWS = (
    Filter("map", "map(a=b, c=d, *=other)",
           "the text beside the value; `*` is any other value, and without it a value that is not listed stays",
           texts.build_map, 1, 1000, keyed=True, takes_empty=True),
    Filter("default", "default(text)", "the text, where the value is missing or empty",
           texts.build_default, 1, 1, takes_empty=True),
    Filter("lower", "lower", "lower case", _plain(str.lower)),
    Filter("upper", "upper", "upper case", _plain(str.upper)),
    Filter("trim", "trim", "without white space at both ends", _plain(str.strip)),
    Filter("append", "append(text)", "the value, then the text", texts.build_append, 1, 1),
    Filter("prepend", "prepend(text)", "the text, then the value", texts.build_prepend, 1, 1),
    Filter("join", "join(sign, text, …)", "the value and the texts that are not empty, with the sign between them",
           texts.build_join, 2, 100, takes_empty=True),
    Filter("replace", "replace(old, new)", "each `old` as `new`", texts.build_replace, 2, 2),
    Filter("slice", "slice(start, end)",
           "characters from `start` to before `end` (the end); negative numbers count from the end",
           texts.build_slice, 1, 2),
    Filter("truncate", "truncate(length)", "at most so many characters", texts.build_truncate, 1, 1),
    Filter("split", "split(sign, nth)",
           "what stands between the signs: part `nth` from 0, or from the end if negative; empty if there is none",
           texts.build_split, 2, 2),
    Filter("first", "first(sign)", "what stands before the first sign", texts.build_first, 1, 1),
    Filter("round", "round(decimals)", "the number with so many decimals (0), halves away from zero",
           numbers.build_round, 0, 1),
    Filter("int", "int", "the number without its decimals", numbers.build_int),
    Filter("abs", "abs", "the number without its sign", numbers.build_abs),
    Filter("number", "number(form)",
           "the number as in the form: `'0.00'`, `'#,##0.00'`, `'0.##'` (`#`: decimals only where they are not 0)",
           numbers.build_number, 1, 1),
    Filter("add", "add(number)", "the sum", numbers.build_add, 1, 1),
    Filter("sub", "sub(number)", "the difference", numbers.build_sub, 1, 1),
    Filter("mul", "mul(number)", "the product", numbers.build_mul, 1, 1),
    Filter("div", "div(number)", "the quotient, with at most 12 decimals", numbers.build_div, 1, 1),
    Filter("minor", "minor(currency)", "the amount in the currency's smallest unit, such as cents",
           numbers.build_minor, 1, 1),
    Filter("convert", "convert(to, from)",
           "the amount in another currency, with its decimals; `payout` and `sum` know their `from`",
           _plain(_unresolved), 1, 2),
    Filter("date", "date(format, timezone)",
           "a time as a date (ISO 8601) in a time zone (UTC); directives %Y %m %d %H %M %S %j %y %s %b %a %z %:z %%",
           times.build_date, 0, 2),
    Filter("unix", "unix", "a time as Unix seconds", times.build_unix),
    Filter("unix_ms", "unix_ms", "a time as Unix milliseconds", times.build_unix_ms),
    Filter("random", "random(least, most, salt)",
           "a whole number between them, drawn from the value: the same for the same value and salt",
           texts.build_random, 2, 3),
    Filter("uuid", "uuid(salt)", "a UUID (version 8), drawn from the value: the same for the same value and salt",
           texts.build_uuid, 0, 1),
    Filter("md5", "md5", "MD5, hex", texts.build_hash("md5")),
    Filter("sha1", "sha1", "SHA-1, hex", texts.build_hash("sha1")),
    Filter("sha256", "sha256", "SHA-256, hex", texts.build_hash("sha256")),
    Filter("sha512", "sha512", "SHA-512, hex", texts.build_hash("sha512")),
    Filter("hmac_sha1", "hmac_sha1(secret, form)", "HMAC-SHA-1, as `hex` (that, if not said), `base64` or `base64url`",
           texts.build_hmac("sha1"), 1, 2, is_signed=True),
    Filter("hmac_sha256", "hmac_sha256(secret, form)", "HMAC-SHA-256, likewise",
           texts.build_hmac("sha256"), 1, 2, is_signed=True),
    Filter("hmac_sha512", "hmac_sha512(secret, form)", "HMAC-SHA-512, likewise",
           texts.build_hmac("sha512"), 1, 2, is_signed=True),
    Filter("base64", "base64", "base64 with padding", texts.build_written("base64")),
    Filter("base64url", "base64url", "base64 for URLs, without padding", texts.build_written("base64url")),
    Filter("hex", "hex", "the bytes in hex", texts.build_written("hex")),
    Filter("urlencode", "urlencode", "percent-encoded once more than the position asks for", _plain(texts.percent)),
    Filter("urldecode", "urldecode", "percent escapes decoded once", _plain(texts.unpercent)),
    Filter("json", "json", "a JSON string, quotes included", _plain(texts.json_string)),
    Filter("raw", "raw", "the last filter: the value is written as it is, as far as its position can bear it",
           _plain(str), takes_empty=True),
)  # fmt: skip

FILTERS: dict[str, Filter] = {row.name: row for row in _ROWS}
