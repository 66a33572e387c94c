"""The section `advertisers`: tokens, the names their parameters come under, what their statuses mean.

Owns: the checks of this section. Reads a tree; notes problems. Never resolves a secret, and never shows one.
"""

import re

from waypost.catalog.keys import SHAPES
from waypost.catalog.model import Advertiser
from waypost.catalog.reading import Field, Fields, Reader
from waypost.model.money import is_currency
from waypost.model.partition import partition_of

TOKEN_MAX = 512
INBOUND_MAX = 64

_ENV = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_INBOUND_NAME = re.compile(r"[^\s&=?#;]{1,64}\Z")
_PARAMETERS = "advertisers.NAME.parameters"
_STATUSES = "advertisers.NAME.statuses"


def read_advertisers(reader: Reader, field: Field) -> tuple[Advertiser, ...]:
    """All advertisers; two that share a token are noted."""
    found: list[Advertiser] = []
    tokens: dict[str, str] = {}
    for name, entry, at in reader.named(field):
        fields = reader.fields(entry, "advertisers.NAME", at)
        if fields is None:
            continue
        advertiser = _advertiser(reader, name, fields)
        token = advertiser.token
        if token and token in tokens:
            token_field = fields.get("token") or entry
            reader.problems.add(
                "catalog_duplicate", f"has the same token as advertiser `{tokens[token]}`", token_field.node.at,
                field=token_field.path, hint="a call is told apart by its token: give each its own",
            )  # fmt: skip
        tokens.setdefault(token, name)
        found.append(advertiser)
    return tuple(found)


def _advertiser(reader: Reader, name: str, fields: Fields) -> Advertiser:
    file, line = fields.at
    return Advertiser(
        no=0,
        name=name,
        partition=partition_of(name),
        token=_token(reader, fields.get("token")),
        parameters=_parameters(reader, fields.get("parameters")),
        statuses=_statuses(reader, fields.get("statuses")),
        active=reader.flag(fields.get("active"), True),
        place=f"{file}:{line}",
        currency=_currency(reader, fields.get("currency")),
    )


def _currency(reader: Reader, field: Field | None) -> str:
    text = reader.text(field, length_max=16)
    if field is None or text is None:
        return "USD"
    if not is_currency(text):
        upper = text.upper()
        hint = f"write `{upper}`" if is_currency(upper) else "a code of three letters, such as USD"
        reader.wrong("catalog_bad_value", field, f"`{text}` is no ISO 4217 currency", hint=hint)
    return text


def _token(reader: Reader, field: Field | None) -> str:
    text = reader.text(field, length_max=TOKEN_MAX, secret=True)
    if field is None or text is None:
        return ""
    problem = ""
    if text.startswith("env:") and not _ENV.match(text):
        problem, hint = "`env:` takes the name of an environment variable", "such as `env:ACME_TOKEN`"
    elif text == "file:":
        problem, hint = "`file:` takes a path", "such as `file:/run/secrets/acme`"
    elif not text.isprintable() or text != text.strip():
        problem, hint = "has spaces around it or characters that cannot be sent", "use letters and digits"
    if problem:
        reader.problems.add("catalog_bad_value", problem, field.node.at, field=field.path, hint=hint)
        return ""
    return text


def _parameters(reader: Reader, field: Field | None) -> dict[str, tuple[str, ...]]:
    fields = reader.fields(field, _PARAMETERS) if field is not None else None
    if fields is None:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    taken: dict[str, str] = {}
    for canonical in SHAPES[_PARAMETERS]:
        names: list[str] = []
        for alias in reader.one_or_many(fields.get(canonical)):
            text = reader.text(alias)
            if text is None:
                continue
            if not _INBOUND_NAME.match(text):
                hint = f"no spaces, none of `& = ? # ;`, at most {INBOUND_MAX} characters"
                reader.wrong("catalog_bad_value", alias, f"`{text[:80]}` cannot be a parameter's name", hint=hint)
            elif text in taken:
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
