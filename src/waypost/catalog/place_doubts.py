"""Doubts about where clicks go: offers without the click's id, links that lead nowhere, caps that hinder each other,
groups that nothing uses.

Owns: these doubts. Reads a compiled catalog; writes nothing.
"""

from collections.abc import Iterator

from waypost.catalog.compiled import Compiled, LinkDraft, OfferDraft
from waypost.catalog.condition_bounds import bounds_of
from waypost.catalog.doubt import Doubt
from waypost.catalog.model import Cap, Targeting
from waypost.errors import WaypostError
from waypost.macros.syntax import Macro, every_node, parse

_LENGTH = {"hour": 0, "day": 1, "week": 2, "month": 3, "total": 4}  # which period is within which


def place_doubts(compiled: Compiled, now_ms: int) -> Iterator[Doubt]:
    """All of them, kind by kind; an offer that has ended by `now_ms` takes no clicks."""
    for offer in compiled.offers:
        if offer.active and "click_id" not in macros_of(offer.url):
            yield Doubt("no_click_id", offer.place, f"offers.{offer.name}.url", "has no `{click_id}`")
        yield from _caps(offer)
    active = {name: offer for name, offer in active_offers(compiled).items() if not _is_shut(offer.targeting, now_ms)}
    for link in compiled.links:
        if link.active and (reason := _leads_nowhere(link, active, now_ms)):
            yield Doubt("link_nowhere", link.place, f"links.{link.name}", reason)
    near = [*(offer.fallback for offer in compiled.offers), *(link.fallback for link in compiled.links)]
    used = {fallback.group for fallback in (*near, *compiled.far_fallbacks) if fallback is not None}
    for group in compiled.groups:
        if group.name not in used:
            yield Doubt("group_unused", group.place, f"groups.{group.name}", "nothing falls back on it")


def macros_of(template: str) -> set[str]:
    """The names of a template's macros, those in its pieces included."""
    try:
        return {node.name for node in every_node(parse(template)) if isinstance(node, Macro)}
    except WaypostError:
        return set()  # a mistake, and reported as one


def active_offers(compiled: Compiled) -> dict[str, OfferDraft]:
    """The offers that take clicks, by name."""
    advertisers = {advertiser.name for advertiser in compiled.advertisers if advertiser.active}
    return {offer.name: offer for offer in compiled.offers if offer.active and offer.advertiser in advertisers}


def _is_shut(targeting: Targeting | None, now_ms: int) -> bool:
    """Whether it lets no click through any more, or never did."""
    if targeting is None:
        return False
    has_ended = 0 < targeting.ends_ms <= now_ms
    return has_ended or bool(targeting.condition and bounds_of(targeting.condition).contradiction)


def _leads_nowhere(link: LinkDraft, active: dict[str, OfferDraft], now_ms: int) -> str:
    targets = (*link.targets, *link.fallbacks, *(one for members in link.groups for one in members))
    shut = [one for one in targets if one.offer not in active or not one.weight or _is_shut(one.targeting, now_ms)]
    if not targets or len(shut) < len(targets):
        return ""
    stopped = dict.fromkeys(target.offer for target in shut)
    names = ", ".join(list(stopped)[:3]) + (f" and {len(stopped) - 3} more" if len(stopped) > 3 else "")
    where = f"clicks go to {link.default_url}" if link.default_url else "its clicks are refused"
    if link.may_be_unplaced and not link.default_url:
        where = "its clicks get a blank page"
    return f"{names} {'take' if len(stopped) > 1 else 'takes'} no clicks: {where}"


def _caps(offer: OfferDraft) -> Iterator[Doubt]:
    for cap in offer.caps:
        lower = [other for other in offer.caps if _holds(other, cap)]
        if lower:
            least = min(lower, key=lambda other: other.limit)
            detail = f"{cap.limit} a {cap.per} cannot be reached: {_words(least)} ({least.place})"
            yield Doubt("cap_unreachable", cap.place, f"offers.{offer.name}.caps", detail)


def _holds(other: Cap, cap: Cap) -> bool:
    """Whether the other one is used up before this one can be, whenever its period began."""
    return other.count == cap.count and _LENGTH[other.per] > _LENGTH[cap.per] and other.limit < cap.limit


def _words(cap: Cap) -> str:
    return f"{cap.limit} in {'total' if cap.per == 'total' else f'a {cap.per}'} is the most"
