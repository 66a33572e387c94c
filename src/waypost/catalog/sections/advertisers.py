"""The section `advertisers`: how they prove who they are, the names their parameters come under, what their statuses
mean.

Owns: the checks of this section. Reads a tree; notes problems. Never resolves a secret, and never shows one.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Collection

from waypost.catalog.aliases import merged_parameters, merged_statuses
from waypost.catalog.compiled import is_reference
from waypost.catalog.keys import SHAPES
from waypost.catalog.model import Advertiser, Signature
from waypost.catalog.reading import Field, Fields, Reader
from waypost.catalog.sections.access import (
    INBOUND_NAME,
    Tokens,
    read_aliases,
    read_inbound_names,
    read_networks,
    read_secrets,
    read_wrong_token,
)
from waypost.catalog.sections.visits import read_browser
from waypost.model.money import is_currency
from waypost.model.partition import partition_of

INBOUND_MAX = 64
WINDOW_MIN_MS, WINDOW_MAX_MS = 1_000, 86_400_000
ANSWERS = ("json", "ok", "gif", "empty")

_PARAMETERS = "advertisers.NAME.parameters"
_STATUSES = "advertisers.NAME.statuses"
_SIGNATURE = "advertisers.NAME.signature"
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}\Z")  # RFC 9110: token
_STANDARD_WEBHOOKS = "standard-webhooks"


def read_advertisers(reader: Reader, field: Field, tokens: Tokens, reached: Collection[str]) -> tuple[Advertiser, ...]:
    """All advertisers. `reached`: names of those whose calls may come with another level's token."""
    found: list[Advertiser] = []
    for name, entry, at in reader.named(field):
        fields = reader.fields(entry, "advertisers.NAME", at)
        if fields is not None:
            found.append(_advertiser(reader, name, fields, tokens, name in reached))
    return tuple(found)


def _advertiser(reader: Reader, name: str, fields: Fields, tokens: Tokens, is_reached: bool) -> Advertiser:
    file, line = fields.at
    if not is_reached and not any(key in fields for key in ("token", "signature", "allow_addresses")):
        reader.problems.add(
            "catalog_missing_key", "`token` is missing (the secret that their calls must carry)", fields.at,
            field=f"{fields.path}.token", hint="add `token:`, which takes text, `env:NAME` or `file:PATH`",
        )  # fmt: skip
    secrets = tokens.take(reader, fields.get("token"), f"advertiser `{name}`")
    aliases = read_aliases(reader, fields.get("aliases"))
    return Advertiser(
        no=0,
        name=name,
        partition=partition_of(name),
        token=secrets[0] if secrets else "",
        parameters=merged_parameters(_parameters(reader, fields.get("parameters")), aliases),
        statuses=merged_statuses(_statuses(reader, fields.get("statuses")), aliases),
        active=reader.flag(fields.get("active"), True),
        place=f"{file}:{line}",
        currency=_currency(reader, fields.get("currency")),
        tokens_before=secrets[1:],
        aliases=aliases,
        answer=reader.choice(fields.get("answer"), ANSWERS) or "json",
        allow_addresses=read_networks(reader, fields.get("allow_addresses")),
        wrong_token=read_wrong_token(reader, fields.get("wrong_token")),
        signature=_signature(reader, fields.get("signature")),
        browser=read_browser(reader, fields.get("browser")),
    )


def _signature(reader: Reader, field: Field | None) -> Signature | None:
    fields = reader.fields(field, _SIGNATURE) if field is not None else None
    if fields is None:
        return None
    scheme = reader.choice(fields.get("scheme"), ("canonical", _STANDARD_WEBHOOKS)) or "canonical"
    where = reader.choice(fields.get("in"), ("header", "query")) or "header"
    window = reader.duration_ms(fields.get("window"), least_ms=WINDOW_MIN_MS, most_ms=WINDOW_MAX_MS)
    given = read_secrets(reader, fields.get("secret"))
    secrets = tuple(text for text, _ in given)
    if scheme == _STANDARD_WEBHOOKS:
        for text, entry in given:
            if not is_reference(text) and not _is_webhook_secret(text):
                message = "is no secret of Standard Webhooks"
                hint = "`whsec_` and base64, as the sender shows it"
                reader.problems.add("catalog_bad_value", message, entry.node.at, field=entry.path, hint=hint)
        for key in ("in", "name", "timestamp", "algorithm", "encoding"):
            taken = fields.get(key)
            if taken is not None:
                message = "is fixed by Standard Webhooks"
                reader.problems.add("catalog_bad_value", message, taken.node.at, field=taken.path, hint="remove it")
        return Signature(secrets, scheme, window_ms=window or 300_000)
    named = {"header": ("X-Signature", "X-Timestamp"), "query": ("signature", "timestamp")}[where]
    return Signature(
        secrets=secrets,
        scheme=scheme,
        where=where,
        name=_carrier(reader, fields.get("name"), where) or named[0],
        timestamp=_carrier(reader, fields.get("timestamp"), where) or named[1],
        window_ms=window or 300_000,
        algorithm=reader.choice(fields.get("algorithm"), ("sha256", "sha384", "sha512")) or "sha256",
        encoding=reader.choice(fields.get("encoding"), ("hex", "base64")) or "hex",
    )


def _is_webhook_secret(text: str) -> bool:
    try:
        return bool(b64decode(text.removeprefix("whsec_"), validate=True))
    except binascii.Error:
        return False


def _carrier(reader: Reader, field: Field | None, where: str) -> str:
    """The name of a header or a parameter."""
    text = reader.text(field, length_max=INBOUND_MAX)
    if field is None or text is None:
        return ""
    if not (_HEADER if where == "header" else INBOUND_NAME).match(text):
        reader.wrong("catalog_bad_value", field, f"`{text[:80]}` cannot be a {where}'s name", hint="such as `X-Sign`")
        return ""
    return text


def _currency(reader: Reader, field: Field | None) -> str:
    text = reader.text(field, length_max=16)
    if field is None or text is None:
        return "USD"
    if not is_currency(text):
        upper = text.upper()
        hint = f"write `{upper}`" if is_currency(upper) else "a code of three letters, such as USD"
        reader.wrong("catalog_bad_value", field, f"`{text}` is no ISO 4217 currency", hint=hint)
    return text


def _parameters(reader: Reader, field: Field | None) -> dict[str, tuple[str, ...]]:
    fields = reader.fields(field, _PARAMETERS) if field is not None else None
    if fields is None:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    taken: dict[str, str] = {}
    for canonical in SHAPES[_PARAMETERS]:
        names: list[str] = []
        for text, alias in read_inbound_names(reader, fields.get(canonical)):
            if text in taken:
                message = f"`{text}` already stands for `{taken[text]}`"
                reader.wrong("catalog_duplicate", alias, message, hint="one name has one meaning")
            else:
                taken[text] = canonical
                names.append(text)
        if names:
            found[canonical] = tuple(names)
    return found


def _statuses(reader: Reader, field: Field | None) -> dict[str, str]:
    fields = reader.fields(field, _STATUSES) if field is not None else None
    if fields is None:
        return {}
    found: dict[str, str] = {}
    for status in ("pending", "approved", "declined"):
        for value in reader.one_or_many(fields.get(status)):
            text = reader.text(value, length_max=INBOUND_MAX)
            if text is None:
                continue
            inbound = text.strip().lower()
            if found.setdefault(inbound, status) != status:
                message = f"`{text}` already means {found[inbound]}"
                reader.wrong("catalog_duplicate", value, message, hint="one value has one meaning")
    return found
