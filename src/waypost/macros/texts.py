"""The filters on texts: words, cuts, hashes, encodings, and numbers drawn from a text.

Owns: what each of them does. Reads and writes nothing; nothing is random: what is drawn follows from the value, so
every attempt of a postback draws the same.

Sources: MD5 RFC 1321, SHA-1 and SHA-256 FIPS 180-4 (over UTF-8, lower-case hex); HMAC RFC 2104; base64 and base64url
RFC 4648; percent-encoding RFC 3986; JSON RFC 8259; UUID version 8, RFC 9562.
"""

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable
from urllib.parse import quote, unquote

from waypost.macros.numbers import whole_number
from waypost.macros.scanner import Apply, Argument

_LENGTH_MAX = 1 << 16


def build_map(arguments: tuple[Argument, ...]) -> Apply:
    table: dict[str, str] = {}
    for key, value, *_ in arguments:
        if key is None or key in table:
            raise ValueError(f"map has {key!r} twice")
        table[key] = value
    others = table.pop("*", None)
    if others is None:
        return lambda value: table.get(value, value)
    rest = others
    return lambda value: table.get(value, rest)


def build_default(arguments: tuple[Argument, ...]) -> Apply:
    text = arguments[0].value
    return lambda value: value or text


def build_append(arguments: tuple[Argument, ...]) -> Apply:
    text = arguments[0].value
    return lambda value: value + text


def build_prepend(arguments: tuple[Argument, ...]) -> Apply:
    text = arguments[0].value
    return lambda value: text + value


def build_join(arguments: tuple[Argument, ...]) -> Apply:
    sign, *others = (argument.value for argument in arguments)
    return lambda value: sign.join(text for text in (value, *others) if text)


def build_replace(arguments: tuple[Argument, ...]) -> Apply:
    old, new = arguments[0].value, arguments[1].value
    if not old:
        raise ValueError("replace needs a text to look for")
    return lambda value: value.replace(old, new)


def build_slice(arguments: tuple[Argument, ...]) -> Apply:
    start = whole_number(arguments[0])
    end = whole_number(arguments[1]) if len(arguments) > 1 else None
    return lambda value: value[start:end]


def build_truncate(arguments: tuple[Argument, ...]) -> Apply:
    length = whole_number(arguments[0])
    if not 0 < length <= _LENGTH_MAX:
        raise ValueError(f"truncate takes 1 to {_LENGTH_MAX} characters")
    return lambda value: value[:length]


def build_split(arguments: tuple[Argument, ...]) -> Apply:
    sign, nth = arguments[0].value, whole_number(arguments[1])
    if not sign:
        raise ValueError("split needs a text to split at")

    def apply(value: str) -> str:
        parts = value.split(sign)
        return parts[nth] if -len(parts) <= nth < len(parts) else ""

    return apply


def build_first(arguments: tuple[Argument, ...]) -> Apply:
    sign = arguments[0].value
    if not sign:
        raise ValueError("first needs a text to split at")
    return lambda value: value.partition(sign)[0]


def build_random(arguments: tuple[Argument, ...]) -> Apply:
    least, most = whole_number(arguments[0]), whole_number(arguments[1])
    if least > most:
        raise ValueError(f"random needs the smaller number first, not {least}, {most}")
    salt = arguments[2].value if len(arguments) > 2 else ""
    # 128 bits over at most 2e9 numbers: no number is favoured by more than 1 in 10²⁹.
    return lambda value: str(least + (int.from_bytes(_drawn("random", salt, value), "big") % (most - least + 1)))


def build_uuid(arguments: tuple[Argument, ...]) -> Apply:
    salt = arguments[0].value if arguments else ""

    def apply(value: str) -> str:
        drawn = int.from_bytes(_drawn("uuid", salt, value), "big")
        drawn = drawn & ~(0xF << 76) | (8 << 76)  # the version
        return str(uuid.UUID(int=drawn & ~(0x3 << 62) | (0x2 << 62)))  # the variant

    return apply


def _drawn(purpose: str, salt: str, value: str) -> bytes:
    return hashlib.sha256(b"\0".join(map(utf8, (purpose, salt, value)))).digest()[:16]


def build_hash(name: str) -> Callable[[tuple[Argument, ...]], Apply]:
    make = {"md5": hashlib.md5, "sha1": hashlib.sha1, "sha256": hashlib.sha256, "sha512": hashlib.sha512}[name]
    return lambda arguments: lambda value: make(utf8(value), usedforsecurity=False).hexdigest()


def build_hmac(name: str) -> Callable[[tuple[Argument, ...]], Apply]:
    def build(arguments: tuple[Argument, ...]) -> Apply:
        key = utf8(arguments[0].value)
        write = _WRITTEN.get(arguments[1].value if len(arguments) > 1 else "hex")
        if write is None:
            raise ValueError(f"{arguments[1].value[:40]!r} is none of {', '.join(_WRITTEN)}")
        return lambda value: write(hmac.digest(key, utf8(value), name))

    return build


_WRITTEN: dict[str, Callable[[bytes], str]] = {
    "hex": bytes.hex,
    "base64": lambda raw: base64.b64encode(raw).decode(),
    "base64url": lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("="),
}


def build_written(form: str) -> Callable[[tuple[Argument, ...]], Apply]:
    write = _WRITTEN[form]
    return lambda arguments: lambda value: write(utf8(value))


def percent(value: str) -> str:
    return quote(value, safe="", errors="replace")


def unpercent(value: str) -> str:
    return unquote(value, errors="replace")


def json_string(value: str) -> str:
    return json.dumps(value)


def utf8(value: str) -> bytes:
    return value.encode("utf-8", "replace")
