"""What differs between two catalogs, in words.

Owns: the comparison of compiled catalogs, thing by thing and field by field. Reads two of them; writes nothing.
Never shows a secret: that a token or a header changed is said, not from what to what. Places do not count.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal

import msgspec

from waypost.catalog.amounts import terms_text
from waypost.catalog.compiled import Compiled, TargetDraft
from waypost.catalog.keys import SECTIONS
from waypost.catalog.model import Cap, Goal, PostbackRule, Terms
from waypost.catalog.reading import duration_text

_WORKED_OUT = ("fallbacks", "groups", "default_url", "may_be_unplaced")  # of other things, which are compared
_LEFT_OUT = frozenset(("place", "no", "name", "key", "partition", "macros", *_WORKED_OUT))
_OF_PROOF = frozenset(("password", "bearer", "client_secret", "secret", "webhooks"))
_ELEMENT = "\x00"  # ends the path of a goal, cap or rule itself; stands in no name


class FieldChange(msgspec.Struct, frozen=True):
    """One field. `before` or `after` is empty where it was not there; both are for a secret."""

    field: str
    before: str
    after: str
    secret: bool = False

    def __str__(self) -> str:
        if self.secret:
            return f"{self.field} changed"
        if not self.before:
            return f"{self.field} added: {self.after}"
        return f"{self.field}: {self.before} → {self.after}" if self.after else f"{self.field} removed: {self.before}"


class Change(msgspec.Struct, frozen=True):
    """One thing: `kind` is advertiser, offer, partner, link or intake (which has no name), `what` is added, removed or
    changed."""

    kind: str
    name: str
    what: str
    fields: tuple[FieldChange, ...] = ()

    def __str__(self) -> str:
        head = f"{self.kind} {self.name} {self.what}" if self.name else f"{self.kind} {self.what}"
        return "\n".join([head, *(f"  {field}" for field in self.fields)])


def diff_catalogs(before: Compiled, after: Compiled) -> list[Change]:
    """All changes, by kind, then by name. Empty if nothing but places differs."""
    changes: list[Change] = []
    privacy = _compare(dict(_flat(before.privacy, "")), dict(_flat(after.privacy, "")))
    if privacy:
        changes.append(Change("privacy", "", "changed", tuple(privacy)))
    rates = _compare(*({name: str(rate) for name, rate in one.rates.items()} for one in (before, after)))
    if rates:
        changes.append(Change("rates", "", "changed", tuple(rates)))
    for section in (*SECTIONS, "domains"):
        kind = section.removesuffix("s")
        old = {item.name: item for item in getattr(before, section)}
        new = {item.name: item for item in getattr(after, section)}
        for name in sorted(old.keys() | new.keys()):
            if name not in old:
                changes.append(Change(kind, name, "added"))
            elif name not in new:
                changes.append(Change(kind, name, "removed"))
            elif old[name] != new[name]:
                fields = _compare(dict(_flat(old[name], "")), dict(_flat(new[name], "")))
                if fields:
                    changes.append(Change(kind, name, "changed", tuple(fields)))
    fields = _compare(dict(_flat(before.intake, "")), dict(_flat(after.intake, "")))
    if fields:
        changes.append(Change("intake", "", "changed", tuple(fields)))
    return changes


def _compare(before: dict[str, str], after: dict[str, str]) -> list[FieldChange]:
    changes: list[FieldChange] = []
    whole = ""  # the element that came or went as a whole: its fields need no lines of their own
    for field in [*before, *(field for field in after if field not in before)]:
        old, new = before.get(field, ""), after.get(field, "")
        if old == new or (whole and field.startswith(whole)):
            continue
        if field.endswith(_ELEMENT):
            if not old or not new:
                whole = field.removesuffix(_ELEMENT) + "."
                changes.append(FieldChange(field.removesuffix(_ELEMENT), old, new))
        elif _is_secret(field):
            changes.append(FieldChange(field, "", "", secret=True))
        else:
            changes.append(FieldChange(field, old, new))
    return changes


def _is_secret(field: str) -> bool:
    if ".auth." in field and field.rpartition(".")[2] in _OF_PROOF:
        return True
    return field in ("token", "tokens", "tokens_before", "signature.secrets") or ".headers." in field


def _flat(item: msgspec.Struct, prefix: str) -> Iterator[tuple[str, str]]:
    """The fields of a thing as (path, text); what is not set is left out."""
    for name in item.__struct_fields__:
        if name not in _LEFT_OUT:
            yield from _flat_value(prefix + name, getattr(item, name))


def _flat_value(path: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Terms):
        yield path, terms_text(value)
    elif isinstance(value, msgspec.Struct):
        yield from _flat(value, f"{path}.")
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield from _flat_value(f"{path}.{key}", value[key])
    elif isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
        for nth, element in enumerate(value, 1):
            label = _label(element, nth)
            yield f"{path}.{label}{_ELEMENT}", _summary(element)
            yield from _flat(element, f"{path}.{label}.")
    elif value is not None and value != () and value != "":
        yield path, _text(path, value)


def _label(element: object, nth: int) -> str:
    if isinstance(element, Goal):
        return element.name
    if isinstance(element, Cap):
        return element.key
    if isinstance(element, TargetDraft):
        return element.offer
    return str(element.no if isinstance(element, PostbackRule) else nth)


def _summary(element: object) -> str:
    if isinstance(element, Goal):
        return terms_text(element.payout)
    if isinstance(element, Cap):
        return str(element.limit)
    if isinstance(element, TargetDraft):
        return f"weight {element.weight}"
    return f"{element.method} {element.url}" if isinstance(element, PostbackRule) else "yes"


def _text(path: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and path.endswith("_ms"):
        return duration_text(value) if value else "the default"
    if isinstance(value, tuple):
        return ", ".join(_text(path, element) for element in value)
    if isinstance(value, float | Decimal):
        return f"{value:g}" if isinstance(value, float) else f"{value:f}"
    return str(value)
