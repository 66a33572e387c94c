"""The section `partners`: who is told of conversions, and how their lane delivers. Their rules are read in `rules.py`.

Owns: the checks of this section. Reads a tree and the catalog's names; notes problems. Never sends.
"""

from waypost.catalog.model import Delivery, Partner, PostbackRule
from waypost.catalog.reading import Field, Reader
from waypost.catalog.sections.access import read_secrets
from waypost.catalog.sections.click_names import read_click_names
from waypost.catalog.sections.rules import Names, read_rule
from waypost.catalog.templates import TemplateChecker

RULES_MAX = 20_000
CONCURRENCY_MAX = 1_000
TIMEOUT_MIN_MS, TIMEOUT_MAX_MS = 100, 120_000
PAUSE_MIN_MS, PAUSE_MAX_MS = 100, 7 * 86_400_000
RETRIES_MAX = 50


def read_partners(reader: Reader, field: Field, names: Names, templates: TemplateChecker) -> tuple[Partner, ...]:
    """All partners."""
    found: list[Partner] = []
    for name, entry, at in reader.named(field):
        fields = reader.fields(entry, "partners.NAME", at)
        if fields is None:
            continue
        file, line = at
        found.append(
            Partner(
                no=0,
                name=name,
                rules=_rules(reader, fields.get("postbacks"), names, templates),
                delivery=_delivery(reader, fields.get("delivery")),
                active=reader.flag(fields.get("active"), True),
                place=f"{file}:{line}",
                click_names=read_click_names(reader, fields),
                token=next((text for text, _ in read_secrets(reader, fields.get("token"))), ""),
            )
        )
    return tuple(found)


def _rules(reader: Reader, field: Field | None, names: Names, templates: TemplateChecker) -> tuple[PostbackRule, ...]:
    rules: list[PostbackRule] = []
    named: dict[str, PostbackRule] = {}
    for nth, entry in enumerate(reader.items(field, RULES_MAX), 1):
        fields = reader.fields(entry, "partners.NAME.postbacks[]")
        if fields is None:
            continue
        rule = read_rule(reader, nth, fields, names, templates)
        rules.append(rule)
        if rule.name and named.setdefault(rule.name, rule) is not rule:
            detail = f"`{rule.name}` is the name of another rule, at {named[rule.name].place}"
            reader.problems.add("catalog_duplicate", detail, fields.at, field=f"{fields.path}.name", hint="rename one")
    return tuple(rules)


def _delivery(reader: Reader, field: Field | None) -> Delivery:
    fields = reader.fields(field, "partners.NAME.delivery") if field is not None else None
    if fields is None:
        return Delivery()
    retry = fields.get("retry")
    return Delivery(
        concurrency=reader.whole(fields.get("concurrency"), least=1, most=CONCURRENCY_MAX) or 0,
        connect_timeout_ms=_timeout(reader, fields.get("connect_timeout")),
        total_timeout_ms=_timeout(reader, fields.get("timeout")),
        retry_schedule_ms=_schedule(reader, retry) if retry is not None else None,
        retry_jitter=reader.share(fields.get("jitter")),
    )


def _timeout(reader: Reader, field: Field | None) -> int:
    return reader.duration_ms(field, least_ms=TIMEOUT_MIN_MS, most_ms=TIMEOUT_MAX_MS) or 0


def _schedule(reader: Reader, field: Field) -> tuple[int, ...]:
    pauses = reader.items(field)
    if len(pauses) > RETRIES_MAX:
        reader.wrong("catalog_too_large", field, f"has {len(pauses)} pauses, at most {RETRIES_MAX}", hint="shorten it")
        return ()
    read = [reader.duration_ms(pause, least_ms=PAUSE_MIN_MS, most_ms=PAUSE_MAX_MS) for pause in pauses]
    if not pauses:
        reader.wrong("catalog_missing_key", field, "names no pause", hint="remove the key for the settings' schedule")
    return tuple(ms for ms in read if ms is not None)
