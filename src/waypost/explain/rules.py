"""The postback rules of a decision: what each came to, those included that the decision does not name.

Owns: how rules become lines of a story. Reads an archive row and catalog names; writes nothing.

Of a partner with many rules a decision keeps those that its facts selected. What stopped the others follows from the
same facts and the catalog version, so it is worked out here, when somebody asks.
"""

from waypost.explain.names import Names, wants
from waypost.explain.story import RuleLine
from waypost.model.frames import Verdict
from waypost.stages.archive_rows import Row
from waypost.stages.rule_index import NO_STATUS, Facts, stopped_by_facts


def rule_lines(row: Row, names: Names, country: str) -> list[RuleLine]:
    """A line for each rule of a decision's row; `country` is that of its click's visitor."""
    version = row["catalog"]
    owners = row.get("rule_partners") or [row["partner"]] * len(row["rules"])
    lines = [
        _line(names, version, owner, outcome["rule"], outcome["postback"], outcome["stopped_by"], row["partner"])
        for owner, outcome in zip(owners, row["rules"], strict=True)
    ]
    if row["verdict"] == Verdict.SET_ASIDE.value:
        return lines
    partner = names.partner(version, row["partner"])
    known = {outcome["rule"] for owner, outcome in zip(owners, row["rules"], strict=True) if owner == row["partner"]}
    left = [rule for rule in (partner.rules if partner else ()) if rule.scope == "own" and rule.no not in known]
    if left:
        facts = _facts(row, names, country)
        for rule in left:
            stopped = stopped_by_facts(rule, facts)
            lines.append(RuleLine(rule.no, wants(rule), "", stopped, name=rule.name))
    return lines


def _line(names: Names, version: int, owner: int, no: int, postback: str, stopped_by: str, credited: int) -> RuleLine:
    rule = names.rule(version, owner, no)
    text, name = (wants(rule), rule.name) if rule is not None else ("", "")
    other = names.partner_name(version, owner) if owner != credited else ""
    return RuleLine(no, text, postback, stopped_by, partner=other, name=name)


def _facts(row: Row, names: Names, country: str) -> Facts:
    version = row["catalog"]
    terms = row["terms_catalog"] or version
    route = names.route(terms, row["route"])
    return Facts(
        row["goal"],
        row["status"],
        row["status_before"] or NO_STATUS,
        row["verdict"],
        names.offer_name(terms, row["offer"]),
        route.link if route is not None else "",
        names.advertiser_name(version, row["advertiser"]),
        names.partner_name(version, row["partner"]),
        country,
    )
