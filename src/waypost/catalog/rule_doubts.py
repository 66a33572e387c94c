"""Doubts about postback rules: those that nothing can fire, those that say the same twice, macros that are empty.

Owns: these doubts. Reads a compiled catalog; writes nothing. A rule is doubted only where no conversion of today's
links can fire it; what clicks of links that are gone still bring is not counted as a reason to have it.
"""

from collections.abc import Iterator, Mapping

from waypost.catalog.compiled import Compiled, LinkDraft, OfferDraft
from waypost.catalog.condition_bounds import bounds_of
from waypost.catalog.doubt import Doubt
from waypost.catalog.model import Partner, PostbackRule
from waypost.catalog.place_doubts import active_offers
from waypost.macros.names import is_personal

_NONE_BEFORE = ("none",)
_OF_CONVERSION = ("conversion_id", "payout", "currency", "status", "status_before", "revenue")


def rule_doubts(compiled: Compiled) -> Iterator[Doubt]:
    """All of them, partner by partner."""
    world = _World(compiled)
    for partner in compiled.partners:
        told: dict[object, PostbackRule] = {}
        for rule in partner.rules:
            subject = f"partners.{partner.name}, rule {rule.name or rule.no}"
            if partner.active and (reason := world.why_never(partner, rule)):
                yield Doubt("rule_never_fires", rule.place, subject, reason)
            first = told.setdefault(_said(rule), rule)
            if first is not rule:
                yield Doubt("rule_twice", rule.place, subject, f"fires and sends as the one at {first.place} does")
            for name, why in _always_empty(rule):
                yield Doubt("macro_always_empty", rule.place, subject, f"{{{name}}} is always empty: {why}")


def _said(rule: PostbackRule) -> object:
    """When a rule fires and what it sends; its name and place do not count."""
    fields = ((name, getattr(rule, name)) for name in rule.__struct_fields__ if name not in ("no", "name", "place"))
    return tuple((name, tuple(value.items()) if isinstance(value, dict) else value) for name, value in fields)


def _always_empty(rule: PostbackRule) -> Iterator[tuple[str, str]]:
    for name in rule.macros:
        if is_personal(name):
            yield name, "what identifies a person or a device leaves for nobody"
        elif name == "code" and "refused" not in rule.verdicts:
            yield name, "only refused calls have a code, and the rule has no `verdict: refused`"
        elif name == "status_before" and (rule.befores == _NONE_BEFORE or rule.verdicts == ("new",)):
            yield name, "a new conversion had no status before"
        elif name in _OF_CONVERSION and rule.verdicts == ("refused",):
            yield name, "a refused call makes no conversion"


class _World:
    """What conversions there can be."""

    def __init__(self, compiled: Compiled) -> None:
        self._offers = active_offers(compiled)
        partners = {partner.name for partner in compiled.partners if partner.active}
        self._links = {link.name: link for link in compiled.links if link.active and link.partner in partners}
        self._links_of: dict[str, list[LinkDraft]] = {}
        self._reached: dict[str, dict[str, None]] = {}  # by partner; of all under an empty name
        for link in self._links.values():
            self._links_of.setdefault(link.partner, []).append(link)
            for name in link.reached:
                if name in self._offers:
                    self._reached.setdefault(link.partner, {})[name] = None
                    self._reached.setdefault("", {})[name] = None

    def why_never(self, partner: Partner, rule: PostbackRule) -> str:
        """Why nothing fires the rule, in words; empty where something can."""
        if rule.share <= 0:
            return "`percent: 0` lets no conversion through"
        bounds = bounds_of(rule.condition) if rule.condition else None
        if bounds is not None and bounds.contradiction:
            return f"its condition never holds: {bounds.contradiction}"
        wanted = _wanted(rule)
        for name, values in bounds.values.items() if bounds is not None else ():
            if name in wanted and not set(wanted[name]) & values:
                return f"`on` wants {name} {' or '.join(wanted[name])}, `if` wants {' or '.join(sorted(values))}"
            if name in ("goal", "offer", "link", "advertiser", "partner") and name not in wanted:
                wanted[name] = tuple(values)
        if "refused" in rule.verdicts:
            return ""  # anything may be refused
        return self._unmet(partner, rule, wanted)

    def _unmet(self, partner: Partner, rule: PostbackRule, wanted: Mapping[str, tuple[str, ...]]) -> str:
        """What its `on` asks for that no link brings."""
        links = f"{partner.name}'s links" if rule.scope == "own" else "the active links"
        if rule.scope == "own" and partner.name not in self._links_of:
            return f"it looks at {partner.name}'s own conversions, and no active link is theirs (`for: all`?)"
        reached = self._offers_reached(partner, rule, wanted)
        if reached is None:
            return f"link {' or '.join(wanted['link'])} is none of {links}"
        offers = [self._offers[name] for name in wanted.get("offer", reached) if name in reached]
        if not offers:
            named = f"offer {' or '.join(wanted['offer'])}" if "offer" in wanted else "an offer that takes clicks"
            return f"none of {links} leads to {named}"
        if "advertiser" in wanted:
            offers = [offer for offer in offers if offer.advertiser in wanted["advertiser"]]
            if not offers:
                return f"none of {links} leads to an offer of {' or '.join(wanted['advertiser'])}"
        if "goal" in wanted and not any(_has_goal(offer, wanted["goal"]) for offer in offers):
            return f"no offer that {links} lead to has an active goal {' or '.join(wanted['goal'])}"
        return ""

    def _offers_reached(
        self, partner: Partner, rule: PostbackRule, wanted: Mapping[str, tuple[str, ...]]
    ) -> Mapping[str, None] | None:
        """The offers that conversions of interest can be of; None if no link of those that are named counts."""
        if "link" not in wanted and "partner" not in wanted:
            return self._reached.get(partner.name if rule.scope == "own" else "", {})
        own = partner.name if rule.scope == "own" else ""
        names = wanted.get("link", tuple(self._links))
        partners = wanted.get("partner")
        counted = [
            link
            for name in names
            if (link := self._links.get(name)) is not None
            and (not own or link.partner == own)
            and (partners is None or link.partner in partners)
        ]
        if not counted and "link" in wanted:
            return None
        return dict.fromkeys(name for link in counted for name in link.reached if name in self._offers)


def _wanted(rule: PostbackRule) -> dict[str, tuple[str, ...]]:
    """What its `on` asks for, by the names that a condition has for it."""
    found = {
        "goal": rule.goals,
        "status": rule.statuses,
        "offer": rule.offers,
        "link": rule.links,
        "advertiser": rule.advertisers,
        "partner": rule.partners,
        "country": rule.countries,
        "verdict": rule.verdicts,
    }
    return {name: values for name, values in found.items() if values}


def _has_goal(offer: OfferDraft, names: tuple[str, ...]) -> bool:
    return any(goal.active and goal.name in names for goal in offer.goals)
