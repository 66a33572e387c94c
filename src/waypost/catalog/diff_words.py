"""Differences as a manager reads them: what changes in money, in who is told of what, in where clicks go.

Owns: the topics, which change belongs to which, and the words for fields. Reads changes that `diff.py` found; writes
nothing. Never shows more than they do.
"""

import re
from collections.abc import Iterable

from waypost.catalog.diff import NEW, Change, FieldChange

MONEY, TOLD, CLICKS, CALLS, OTHER = (
    "money",
    "who is told, and of what",
    "where clicks go",
    "whose calls are believed, and how they are read",
    "visitors and hosts",
)
TOPICS = (MONEY, TOLD, CLICKS, CALLS, OTHER)

_OF_KIND = {
    "rates": MONEY, "partner": TOLD, "offer": CLICKS, "group": CLICKS, "link": CLICKS, "advertiser": CALLS,
    "intake": CALLS,
}  # fmt: skip
_OF_FIELD = (  # kind, how the field begins, topic
    ("offer", ("goals.", "caps.", "click_window_ms"), MONEY),
    ("offer", ("tokens", "allow_addresses"), CALLS),
    ("partner", ("active", "click_names", "token"), CLICKS),
    ("advertiser", ("active",), CLICKS),
    ("advertiser", ("currency",), MONEY),
)
_WORDS = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"goals\.([^.]+)\Z", r"goal \1"),
        (r"goals\.([^.]+)\.(payout|revenue)", r"\2 of goal \1"),
        (r"goals\.([^.]+)\.(\w+)", r"goal \1, \2"),
        (r"caps\.conversions:total:[^.]*?(?:\.limit)?\Z", "cap in total"),
        (r"caps\.conversions:(\w+):([^.]*?)(?:\.limit)?\Z", r"cap per \1 (\2)"),
        (r"rules\.(.+)\.auth\.(.+)", r"rule \1, proof \2"),
        (r"rules\.(.+)\.(goals|statuses|verdicts|offers|links|advertisers|partners|countries)\Z", r"rule \1, on \2"),
        (r"rules\.(.+)\.befores\Z", r"rule \1, on status before"),
        (r"rules\.(.+)\.condition\Z", r"rule \1, if"),
        (r"rules\.(.+)\.scope\Z", r"rule \1, for whose conversions"),
        (r"rules\.(.+)\.share\Z", r"rule \1, share of conversions"),
        (r"rules\.(.+)\.(\w+)_ms\Z", r"rule \1, \2"),
        (r"rules\.(.+)\.(url|method|body|headers|events|missing|first_only|success|batch)(.*)", r"rule \1, \2\3"),
        (r"rules\.(.+)", r"rule \1"),
        (r"targets\.([^.]+)\.weight", r"weight of \1"),
        (r"(?:targets|members)\.([^.]+)", r"target \1"),
        (r"fallback\.(offer|group|url|blank)", r"fallback \1"),
        (r"(.*)targeting\.facets\.([^.]+)\Z", r"\1\2"),
        (r"(.*)targeting\.condition", r"\1if"),
        (r"(.*)targeting\.(starts|ends)_ms", r"\1\2"),
        (r"(\w+)_ms\Z", r"\1"),
        (r"rotation\Z", "how its targets are chosen"),
        (r"delivery\.(\w+?)(?:_ms)?\Z", r"delivery \1"),
    )
)


def topic_of(change: Change, field: FieldChange | None = None) -> str:
    """What a manager counts it among; `field` None for a thing that came or went."""
    if field is not None:
        for kind, begins, topic in _OF_FIELD:
            if change.kind == kind and field.field.startswith(begins):
                return topic
    return _OF_KIND.get(change.kind, OTHER)


def words_of(field: FieldChange) -> str:
    """One field's change in words."""
    name = field.field
    for pattern, words in _WORDS:
        if (found := pattern.match(name)) is not None:
            name = found.expand(words) + name[found.end() :]
            break
    name = name.replace("_", " ")
    if field.secret:
        return f"{name} changed"
    if not field.before:
        return f"{name}: {field.after}" + ("" if name.endswith(NEW) else NEW)
    return f"{name}: {field.before} → {field.after}" if field.after else f"{name}: {field.before} (removed)"


def by_topic(changes: Iterable[Change]) -> dict[str, list[str]]:
    """Lines in words, topic by topic in their order; topics without a change are left out."""
    found: dict[str, list[str]] = {topic: [] for topic in TOPICS}
    for change in changes:
        named = f"{change.kind} {change.name}".rstrip()
        if change.what != "changed":
            about = f": {change.about}" if change.about else ""
            found[topic_of(change)].append(f"{named} {change.what}{about}")
        for field in change.fields:
            found[topic_of(change, field)].append(f"{named}: {words_of(field)}")
    return {topic: lines for topic, lines in found.items() if lines}
