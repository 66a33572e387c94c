"""What is right in a catalog and yet unlikely to be meant, as this installation is set up.

Owns: which doubts there are about a catalog, in the order of their places, and those about facts and proofs. Those
about rules are in `rule_doubts.py`, about links, offers and caps in `place_doubts.py`, about secrets in
`secret_doubts.py`. They refuse nothing. Reads a compiled catalog and what the settings name; writes nothing.
"""

from collections.abc import Iterator

from waypost.catalog.compiled import Compiled, is_reference
from waypost.catalog.doubt import Doubt
from waypost.catalog.model import Authentication, Targeting
from waypost.catalog.place_doubts import macros_of, place_doubts
from waypost.catalog.rule_doubts import rule_doubts
from waypost.catalog.secret_doubts import secret_doubts
from waypost.macros.expression import compile_expression
from waypost.settings import VisitorSettings

_BY_FILE = {"city_file": ("country", "region", "city"), "isp_file": ("isp",)}


def doubts_about(compiled: Compiled, visitors: VisitorSettings, now_ms: int = 0) -> list[Doubt]:
    """All of them, as of `now_ms`; at 0 nothing has ended."""
    found = [*place_doubts(compiled, now_ms), *rule_doubts(compiled), *secret_doubts(compiled), *_proofs(compiled)]
    found.sort(key=lambda doubt: _order(doubt.place))
    return [*found, *_facts_unknown(compiled, visitors)]


def _order(place: str) -> tuple[str, int]:
    file, _, line = place.rpartition(":")
    return file, int(line) if line.isdigit() else 0


def _proofs(compiled: Compiled) -> Iterator[Doubt]:
    for partner in compiled.partners:
        for rule in partner.rules:
            for name in _spelled_out(rule.auth):
                subject = f"partners.{partner.name}, rule {rule.name or rule.no}"
                yield Doubt("secret_written_out", rule.place, subject, f"its {name} is written out")


def _facts_unknown(compiled: Compiled, visitors: VisitorSettings) -> Iterator[Doubt]:
    """A doubt for each geo file that rules ask for and the settings do not name."""
    for setting, facts in _BY_FILE.items():
        if getattr(visitors, setting):
            continue
        users = sorted({owner for owner, fact in _wanted(compiled) if fact in facts})
        if users:
            others = f" and {len(users) - 3} more" if len(users) > 3 else ""
            subject = f"{', '.join(users[:3])}{others}"
            detail = f"asks for {' or '.join(facts)}, which nobody knows: [visitors] {setting} names no file"
            yield Doubt("fact_unknown", "", subject, detail)


def _wanted(compiled: Compiled) -> Iterator[tuple[str, str]]:
    """Who asks for which fact."""
    for offer in compiled.offers:
        for fact in (*_facts(offer.targeting), *macros_of(offer.url)):
            yield f"offers.{offer.name}", fact
    for link in compiled.links:
        for target in link.targets:
            for fact in _facts(target.targeting):
                yield f"links.{link.name}", fact
    for partner in compiled.partners:
        for rule in partner.rules:
            for fact in (*(("country",) if rule.countries else ()), *rule.macros):
                yield f"partners.{partner.name}", fact
            for fact in compile_expression(rule.condition).names if rule.condition else ():
                yield f"partners.{partner.name}", fact


def _spelled_out(auth: Authentication) -> Iterator[str]:
    """The names of secrets that are no references."""
    secrets = [("bearer", auth.bearer)]
    if auth.basic is not None:
        secrets.append(("password", auth.basic.password))
    if auth.oauth is not None:
        secrets.append(("client_secret", auth.oauth.client_secret))
    if auth.hmac is not None:
        secrets.append(("hmac.secret", auth.hmac.secret))
    secrets += [("standard_webhooks secret", secret) for secret in auth.webhooks]
    yield from (name for name, secret in secrets if secret and not is_reference(secret))


def _facts(targeting: Targeting | None) -> Iterator[str]:
    if targeting is None:
        return
    for facet in targeting.facets:
        if not facet.excluded:
            yield facet.name
    if targeting.condition:
        yield from compile_expression(targeting.condition).names
