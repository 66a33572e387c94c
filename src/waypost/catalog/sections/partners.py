"""The section `partners`: who is told of conversions. Rules are read in `rules.py`, lanes in `delivery.py`.

Owns: the checks of this section. Reads a tree and the catalog's names; notes problems. Never sends.
"""

from waypost.catalog.model import Partner, PostbackRule
from waypost.catalog.reading import Field, Reader
from waypost.catalog.sections.access import read_secrets
from waypost.catalog.sections.click_names import read_click_names
from waypost.catalog.sections.delivery import read_delivery
from waypost.catalog.sections.rules import Names, read_rule
from waypost.catalog.templates import TemplateChecker

RULES_MAX = 20_000


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
                delivery=read_delivery(reader, fields.get("delivery")),
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
