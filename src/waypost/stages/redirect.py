"""Where a click goes: the plan of a link, and the address that one click is sent to.

Owns: which of a link's targets may take clicks, the choice among them, and the values an offer's URL may carry.
Reads a catalog view that is handed in; writes nothing. Never makes ids and never knows the time.

A plan is made once a catalog version and link; a click then costs one choice, one look at its query, one render.
"""

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote_plus

from waypost.catalog.model import Link, Target
from waypost.catalog.view import CatalogView
from waypost.errors import WaypostError
from waypost.macros.names import is_personal
from waypost.macros.template import Position, Template, compile_applied

_MIX = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: spreads consecutive numbers evenly (Knuth, TAOCP 3, 6.4)
_MASK = (1 << 64) - 1
CLICK_PREFIX = "click."
_KNOWN_AT_ONCE = frozenset({"click_id", "link", "offer", "partner"})


class TargetPlan(NamedTuple):
    """One offer a link leads to. `wanted`: query name → macros it fills; `blank`: every macro, constants filled in."""

    route: int
    partition: int
    weight: int
    template: Template
    wanted: dict[bytes, tuple[str, ...]]
    blank: dict[str, str]


class LinkPlan(NamedTuple):
    """What a click on a link meets: targets to choose from, or the error code that refuses it."""

    targets: tuple[TargetPlan, ...]
    weights: int
    code: str = ""
    detail: str = ""


def plan_link(view: CatalogView, link: Link, templates: dict[int, Template], *, offer: int = 0) -> LinkPlan:
    """The plan of a link, or of that one of its targets that leads to `offer`.

    `templates` keeps compiled URLs by offer number for as long as the caller keeps this version of the catalog.
    Targets that are not active are left out; refused `link_inactive` if none is left, or `bad_target` if the
    offers' URLs do not compile.
    """
    partner = view.partner(link.partner)
    if not link.active or partner is None or not partner.active:
        return LinkPlan((), 0, "link_inactive")
    plans = []
    broken = ""
    for target in link.targets:
        if offer and target.offer != offer:
            continue
        try:
            plan = _plan_target(view, link, target, partner.name, templates)
        except WaypostError as error:
            broken = str(error)
            continue
        if plan is not None:
            plans.append(plan)
    if plans:
        return LinkPlan(tuple(plans), sum(plan.weight for plan in plans))
    return LinkPlan((), 0, "bad_target", broken) if broken else LinkPlan((), 0, "link_inactive")


def _plan_target(
    view: CatalogView, link: Link, target: Target, partner: str, templates: dict[int, Template]
) -> TargetPlan | None:
    offer = view.offer(target.offer)
    advertiser = view.advertiser(offer.advertiser) if offer is not None else None
    if offer is None or advertiser is None or not offer.active or not advertiser.active or target.weight < 1:
        return None
    template = templates.get(offer.no)
    if template is None:
        template = templates[offer.no] = compile_applied(offer.url, position=Position.URL, place=offer.place)
    blank = dict.fromkeys(template.names, "")
    blank.update({"link": link.name, "offer": offer.name, "partner": partner})
    return TargetPlan(target.route, advertiser.partition, target.weight, template, _wanted(template.names), blank)


def _wanted(names: Iterable[str]) -> dict[bytes, tuple[str, ...]]:
    wanted: dict[bytes, tuple[str, ...]] = {}
    for name in names:
        if name not in _KNOWN_AT_ONCE and not is_personal(name):
            key = name.removeprefix(CLICK_PREFIX).encode()
            wanted[key] = (*wanted.get(key, ()), name)
    return wanted


def choose_target(plan: LinkPlan, ms: int, seq: int) -> TargetPlan:
    """One of the plan's targets by weight. The same click always gets the same one: its key is the only seed."""
    targets = plan.targets
    if len(targets) == 1:
        return targets[0]
    ticket = ((((ms << 14 | seq) * _MIX) & _MASK) >> 32) % plan.weights
    for target in targets:
        ticket -= target.weight
        if ticket < 0:
            return target
    return targets[-1]


def target_url(target: TargetPlan, click_id: str, query: bytes) -> str:
    """The address that this click is sent to; of a name that the query carries several times the first counts.

    A query whose values the template cannot take (a filter refuses them, they are too long) is left out: the visitor
    reaches the offer all the same, and the click's frame has the query. Raises WaypostError: `bad_target` if the
    result is no plain ASCII address, or what the template raises without the query.
    """
    values = target.blank.copy()
    values["click_id"] = click_id
    if target.wanted and query:
        _fill(values, target.wanted, query)
        try:
            url = target.template.render(values)
        except WaypostError:
            url = target.template.render(target.blank | {"click_id": click_id})
    else:
        url = target.template.render(values)
    if not url.isascii() or not url.isprintable() or " " in url:
        raise WaypostError("bad_target", "the offer's URL rendered to an address with characters none may have")
    return url


def _fill(values: dict[str, str], wanted: dict[bytes, tuple[str, ...]], query: bytes) -> None:
    for pair in reversed(query.split(b"&")):  # from the end, so that the first of a name stays
        name, _, value = pair.partition(b"=")
        macros = wanted.get(name)
        if macros is None:
            if b"%" not in name and b"+" not in name:
                continue
            macros = wanted.get(unquote_plus(name.decode("latin-1")).encode(), ())
        text = decode_value(value) if macros else ""
        for macro in macros:
            values[macro] = text


def decode_value(raw: bytes) -> str:
    """A query's value as text: `+` and percent escapes decoded, bytes that are not UTF-8 replaced."""
    if b"%" in raw or b"+" in raw:
        return unquote_plus(raw.decode("utf-8", "replace"), "utf-8", "replace")
    return raw.decode("utf-8", "replace")


def query_value(query: bytes, name: bytes) -> str | None:
    """The first value of a parameter whose name is written plainly; None if it is not there."""
    at = query.find(name + b"=")
    while at > 0 and query[at - 1] != 38:  # `&`: a name may also be the end of another
        at = query.find(name + b"=", at + 1)
    if at < 0:
        return None
    start = at + len(name) + 1
    end = query.find(b"&", start)
    return decode_value(query[start:] if end < 0 else query[start:end])
