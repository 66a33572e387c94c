"""What differs between two catalogs, in words.

Owns: the comparison of compiled catalogs, thing by thing and field by field. Reads two of them; writes nothing.
Never shows a secret: that a token or a header changed is said, not from what to what. Places do not count.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from difflib import SequenceMatcher
from typing import TypeAlias

import msgspec

from waypost.catalog.amounts import terms_text
from waypost.catalog.compiled import Compiled, GroupDraft, LinkDraft, OfferDraft, TargetDraft
from waypost.catalog.keys import SECTIONS
from waypost.catalog.model import Cap, Facet, Goal, Partner, PostbackRule, Terms
from waypost.catalog.reading import duration_text
from waypost.catalog.secret_doubts import without_secrets

_WORKED_OUT = ("fallbacks", "groups", "default_url", "may_be_unplaced")  # of other things, which are compared
_LEFT_OUT = frozenset(("place", "no", "name", "key", "partition", "macros", *_WORKED_OUT))
_OF_PROOF = frozenset(("password", "bearer", "client_secret", "secret", "webhooks"))
NEW = " (new)"
_DATES = ("starts_ms", "ends_ms")
_ELEMENT = "\x00"  # ends the path of a goal, cap or rule itself; stands in no name

_Rules: TypeAlias = tuple[PostbackRule, ...]


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
    changed. `about` says what it is that came or went."""

    kind: str
    name: str
    what: str
    fields: tuple[FieldChange, ...] = ()
    about: str = ""

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
                changes.append(Change(kind, name, "added", about=_about(new[name])))
            elif name not in new:
                changes.append(Change(kind, name, "removed", about=_about(old[name])))
            elif old[name] != new[name]:
                labels = _rule_labels(getattr(old[name], "rules", ()), getattr(new[name], "rules", ()))
                was, now = (dict(_flat(one[name], "", of)) for one, of in zip((old, new), labels, strict=True))
                fields = _compare(was, now)
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
                name = field.removesuffix(_ELEMENT)
                changes.append(FieldChange(name, without_secrets(old), without_secrets(new)))
        elif _is_secret(field) or without_secrets(old) == without_secrets(new):
            changes.append(FieldChange(field, "", "", secret=True))
        else:
            changes.append(FieldChange(field, without_secrets(old), without_secrets(new)))
    return changes


def _is_secret(field: str) -> bool:
    if ".auth." in field and field.rpartition(".")[2] in _OF_PROOF:
        return True
    return field in ("token", "tokens", "tokens_before", "signature.secrets") or ".headers." in field


def _rule_labels(before: _Rules, after: _Rules) -> tuple[dict[int, str], dict[int, str]]:
    """What the rules of both sides are called by their numbers: the same where they are the same rule, so that one
    which is put between others does not make all behind it differ."""
    names = {rule.name for rule in before if rule.name} & {rule.name for rule in after if rule.name}
    labels = tuple({rule.no: rule.name for rule in rules if rule.name in names} for rules in (before, after))
    old, new = (tuple(rule for rule in rules if rule.name not in names) for rules in (before, after))
    for was, now in _pairs(old, new, lambda rule: tuple(_flat(rule, ""))):
        twins = _pairs(was, now, lambda rule: (rule.method, rule.url, rule.body)) if was and now else [(was, now)]
        for olds, news in twins:
            for one in olds:
                labels[0][one.no] = one.name or str(one.no)
            for nth, one in enumerate(news):
                labels[1][one.no] = labels[0][olds[nth].no] if nth < len(olds) else one.name or f"{one.no}{NEW}"
    return labels[0], labels[1]


def _pairs(before: _Rules, after: _Rules, key: Callable[[PostbackRule], Hashable]) -> list[tuple[_Rules, _Rules]]:
    """Both lists, cut where they agree: pieces that say the same, and between them what stands for one another."""
    matcher = SequenceMatcher(a=[key(rule) for rule in before], b=[key(rule) for rule in after], autojunk=False)
    return [(before[start:end], after[first:last]) for _, start, end, first, last in matcher.get_opcodes()]


def _about(item: msgspec.Struct) -> str:
    """What a thing is that came or went, in a few words."""
    if isinstance(item, OfferDraft):
        return f"of {item.advertiser}, " + ", ".join(f"{goal.name} {terms_text(goal.payout)}" for goal in item.goals)
    if isinstance(item, LinkDraft):
        offers = ", ".join(item.offers[:5]) + (" …" if len(item.offers) > 5 else "")
        return f"{item.partner}'s way to {offers}"
    if isinstance(item, Partner):
        return "1 rule" if len(item.rules) == 1 else f"{len(item.rules)} rules"
    return ", ".join(one.offer for one in item.members) if isinstance(item, GroupDraft) else ""


_NO_LABELS: Mapping[int, str] = {}


def _flat(item: msgspec.Struct, prefix: str, labels: Mapping[int, str] = _NO_LABELS) -> Iterator[tuple[str, str]]:
    """The fields of a thing as (path, text); what is not set is left out. `labels` are its rules', by number."""
    for name in item.__struct_fields__:
        if name not in _LEFT_OUT:
            yield from _flat_value(prefix + name, getattr(item, name), labels)


def _flat_value(path: str, value: object, labels: Mapping[int, str] = _NO_LABELS) -> Iterator[tuple[str, str]]:
    if isinstance(value, Terms):
        yield path, terms_text(value)
    elif isinstance(value, msgspec.Struct):
        yield from _flat(value, f"{path}.")
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield from _flat_value(f"{path}.{key}", value[key])
    elif isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
        for nth, element in enumerate(value, 1):
            label = _label(element, nth, labels)
            yield f"{path}.{label}{_ELEMENT}", _summary(element)
            yield from _flat(element, f"{path}.{label}.")
    elif value is not None and value not in ((), "") and not (value == 0 and path.endswith(_DATES)):
        yield path, _text(path, value)


def _label(element: object, nth: int, labels: Mapping[int, str]) -> str:
    if isinstance(element, Goal):
        return element.name
    if isinstance(element, Cap):
        return element.key
    if isinstance(element, TargetDraft):
        return element.offer
    if isinstance(element, Facet):
        return f"not {element.name}" if element.excluded else element.name
    return labels.get(element.no, str(element.no)) if isinstance(element, PostbackRule) else str(nth)


def _summary(element: object) -> str:
    if isinstance(element, Goal):
        return terms_text(element.payout)
    if isinstance(element, Cap):
        return str(element.limit)
    if isinstance(element, TargetDraft):
        return f"weight {element.weight}"
    if isinstance(element, Facet):
        return ", ".join(element.values)
    return f"{element.method} {element.url}" if isinstance(element, PostbackRule) else "yes"


def _text(path: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and path.endswith(_DATES):
        return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if isinstance(value, int) and path.endswith("_ms"):
        return duration_text(value) if value else "none" if path.endswith("delay_ms") else "the default"
    if isinstance(value, tuple):
        return ", ".join(_text(path, element) for element in value)
    if isinstance(value, float) and path.endswith(".share"):
        return f"{value * 100:g}%"
    if isinstance(value, float | Decimal):
        return f"{value:g}" if isinstance(value, float) else f"{value:f}"
    return str(value)
