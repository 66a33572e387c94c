"""Where a click goes: the plan of a link, the choice among its offers, and the address that one click is sent to.

Owns: which of a link's targets may take a click, in which order they are asked, what follows when none can, and the
values an offer's URL may carry. Reads a catalog view that is handed in; writes nothing. Never makes ids, never knows
the time: the click's own is in its visit.

A plan is made once a catalog version and link; a click then costs one choice, one look at its query, one render.
The same visit, key and list of used-up offers always end at the same target.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from hashlib import blake2b
from math import log
from typing import NamedTuple
from urllib.parse import unquote_plus

from waypost.catalog.model import Link, Target, Targeting
from waypost.catalog.view import CatalogView
from waypost.errors import WaypostError
from waypost.macros.names import VISITOR, is_personal
from waypost.macros.template import Position, Template, compile_applied
from waypost.stages.targeting import Gate, Visit

_MIX = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: spreads consecutive numbers evenly (Knuth, TAOCP 3, 6.4)
_MASK = (1 << 64) - 1
CLICK_PREFIX = "click."
LINK_PREFIX = "link_"  # before the code of a refusal by the link's own targeting
_KNOWN_AT_ONCE = frozenset({"click_id", "link", "offer", "partner"})
BY_WEIGHT, IN_ORDER = "weight", "order"

NO_FACTS: Mapping[str, str] = {}
Skipped = tuple[tuple[int, str], ...]


class TargetPlan(NamedTuple):
    """One place that a link leads to. `wanted`: query name → macros it fills; `blank`: all macros, constants filled in.

    `template` is None for the blank page; `offer` is 0 there and for a default address. `gates` are asked in turn, each
    with the prefix of its codes.
    """

    route: int
    partition: int
    weight: int
    template: Template | None
    wanted: dict[bytes, tuple[str, ...]]
    blank: dict[str, str]
    offer: int = 0
    facts: tuple[str, ...] = ()  # macros that the visitor's facts fill
    gates: tuple[tuple[str, Gate], ...] = ()


class LinkPlan(NamedTuple):
    """What a click on a link meets: targets to choose from, or the error code that refuses it.

    `inactive` are offers that the link names and that take no clicks. `last` is where a click goes that no offer takes;
    None where every click has a target.
    """

    targets: tuple[TargetPlan, ...]
    weights: int
    code: str = ""
    detail: str = ""
    rotation: str = BY_WEIGHT
    fallbacks: tuple[TargetPlan, ...] = ()
    groups: tuple[tuple[TargetPlan, ...], ...] = ()
    last: TargetPlan | None = None
    inactive: Skipped = ()


class Choice(NamedTuple):
    """Where a click goes, and the offers that were asked before and could not take it, with the reason of each."""

    target: TargetPlan
    skipped: Skipped = ()


def plan_link(view: CatalogView, link: Link, templates: dict[int, Template], *, offer: int = 0) -> LinkPlan:
    """The plan of a link, or of that one of its targets that leads to `offer`.

    `templates` keeps compiled URLs by offer number for as long as the caller keeps this version of the catalog.
    Targets that are not active are left out; refused `link_inactive` if there is no place left to go to, or
    `bad_target` if the offers' URLs do not compile.
    """
    partner = view.partner(link.partner)
    if not link.active or partner is None or not partner.active:
        return LinkPlan((), 0, "link_inactive")
    planner = _Planner(view, link, partner.name, templates)
    targets = planner.all(target for target in link.targets if not offer or target.offer == offer)
    fallbacks = planner.all(link.fallbacks)
    groups = tuple(group for members in link.groups if (group := planner.all(members)))
    last = planner.last() if link.unplaced else None
    if targets or fallbacks or groups or (last is not None and link.default):
        return LinkPlan(
            targets, sum(plan.weight for plan in targets), "", "", link.rotation, fallbacks, groups, last,
            tuple(planner.inactive),
        )  # fmt: skip
    return LinkPlan((), 0, "bad_target", planner.broken) if planner.broken else LinkPlan((), 0, "link_inactive")


class _Planner:
    """Makes the targets of one link's plan; keeps what was left out, and why."""

    def __init__(self, view: CatalogView, link: Link, partner: str, templates: dict[int, Template]) -> None:
        self._view = view
        self._link = link
        self._partner = partner
        self._templates = templates
        self.broken = ""
        self.inactive: list[tuple[int, str]] = []

    def all(self, targets: Iterable[Target]) -> tuple[TargetPlan, ...]:
        """The plans of those that take clicks."""
        plans = []
        for target in targets:
            try:
                plan = self._target(target)
            except WaypostError as error:
                self.broken = str(error)
                self.inactive.append((target.offer, error.code))
                continue
            if plan is not None:
                plans.append(plan)
            else:
                self.inactive.append((target.offer, "inactive"))
        return tuple(plans)

    def last(self) -> TargetPlan | None:
        """The link's default address, or the blank page."""
        link = self._link
        partition = 0
        if link.targets and (offer := self._view.offer(link.targets[0].offer)) is not None:
            advertiser = self._view.advertiser(offer.advertiser)
            partition = advertiser.partition if advertiser is not None else 0
        if not link.default:
            return TargetPlan(link.unplaced, partition, 1, None, {}, {})
        try:
            template = compile_applied(link.default, position=Position.URL, place=link.place)
        except WaypostError as error:
            self.broken = str(error)
            return TargetPlan(link.unplaced, partition, 1, None, {}, {})
        return self._plan(link.unplaced, partition, 1, template, "", 0, ())

    def _target(self, target: Target) -> TargetPlan | None:
        view = self._view
        offer = view.offer(target.offer)
        advertiser = view.advertiser(offer.advertiser) if offer is not None else None
        if offer is None or advertiser is None or not offer.active or not advertiser.active or target.weight < 1:
            return None
        template = self._templates.get(offer.no)
        if template is None:
            template = self._templates[offer.no] = compile_applied(offer.url, position=Position.URL, place=offer.place)
        fixed = {"link": self._link.name, "offer": offer.name, "partner": self._partner}
        wanted: tuple[tuple[str, Targeting | None], ...] = ((LINK_PREFIX, target.targeting), ("", offer.targeting))
        gates = tuple((prefix, Gate(targeting, fixed)) for prefix, targeting in wanted if targeting is not None)
        return self._plan(
            target.route, advertiser.partition, target.weight, template, offer.name, offer.no, gates
        )  # fmt: skip

    def _plan(
        self,
        route: int,
        partition: int,
        weight: int,
        template: Template,
        name: str,
        no: int,
        gates: tuple[tuple[str, Gate], ...],
    ) -> TargetPlan:
        blank = dict.fromkeys(template.names, "")
        blank.update({"link": self._link.name, "offer": name, "partner": self._partner})
        facts = tuple(name for name in template.names if name in VISITOR)
        return TargetPlan(route, partition, weight, template, _wanted(template.names), blank, no, facts, gates)


def _wanted(names: Iterable[str]) -> dict[bytes, tuple[str, ...]]:
    wanted: dict[bytes, tuple[str, ...]] = {}
    for name in names:
        if name not in _KNOWN_AT_ONCE and name not in VISITOR and not is_personal(name):
            key = name.removeprefix(CLICK_PREFIX).encode()
            wanted[key] = (*wanted.get(key, ()), name)
    return wanted


# --- the choice ------------------------------------------------------------------------------------------


def choose_target(
    plan: LinkPlan, visit: Visit, seq: int, *, user_agent: bytes = b"", exhausted: Container[int] = ()
) -> Choice:
    """Where a click goes: a target, else a fallback offer, else one of a group, else the default or the blank page.

    `exhausted` are the offers whose caps have no room left. The click's key (time and `seq`) is the only seed of a
    draw; a split test's arm hangs on its user instead, and stays as long as the arm can take the click.
    Raises WaypostError `link_inactive` where there is nowhere to go.
    """
    targets = plan.targets
    if len(targets) == 1 and not (code := _refusal(targets[0], visit, exhausted)):
        return Choice(targets[0])
    skipped: list[tuple[int, str]] = []
    if len(targets) == 1:
        skipped.append((targets[0].offer, code))
    elif targets:
        found = _chosen(plan, visit, seq, user_agent, exhausted, skipped)
        if found is not None:
            return Choice(found, tuple(skipped))
    skipped += plan.inactive
    for target in plan.fallbacks:
        code = _refusal(target, visit, exhausted)
        if not code:
            return Choice(target, tuple(skipped))
        skipped.append((target.offer, code))
    for group in plan.groups:
        found = _drawn(group, sum(target.weight for target in group), visit, seq, exhausted, skipped)
        if found is not None:
            return Choice(found, tuple(skipped))
    if plan.last is None:
        raise WaypostError("link_inactive", "none of the link's offers can take the click")
    return Choice(plan.last, tuple(dict.fromkeys(skipped)))


def _refusal(target: TargetPlan, visit: Visit, exhausted: Container[int]) -> str:
    for prefix, gate in target.gates:
        code = gate.refusal(visit)
        if code:
            return prefix + code
    return "cap_reached" if target.offer in exhausted else ""


def _chosen(
    plan: LinkPlan,
    visit: Visit,
    seq: int,
    user_agent: bytes,
    exhausted: Container[int],
    skipped: list[tuple[int, str]],
) -> TargetPlan | None:
    if plan.rotation == BY_WEIGHT:
        return _drawn(plan.targets, plan.weights, visit, seq, exhausted, skipped)
    order: Sequence[TargetPlan] = plan.targets
    if plan.rotation != IN_ORDER:
        order = _ranked(plan.targets, _user_key(plan.rotation, visit, user_agent))
    for target in order:
        code = _refusal(target, visit, exhausted)
        if not code:
            return target
        skipped.append((target.offer, code))
    return None


def _drawn(
    targets: tuple[TargetPlan, ...],
    weights: int,
    visit: Visit,
    seq: int,
    exhausted: Container[int],
    skipped: list[tuple[int, str]],
) -> TargetPlan | None:
    """One of the targets by weight; a target that cannot take the click is put aside, and the others drawn again.

    So those that can keep the proportions of their weights.
    """
    seed = ((visit.ms << 14 | seq) * _MIX) & _MASK
    left = targets
    while left:
        ticket = (seed >> 32) % weights
        at = 0
        while (ticket := ticket - left[at].weight) >= 0:
            at += 1
        target = left[at]
        code = _refusal(target, visit, exhausted)
        if not code:
            return target
        skipped.append((target.offer, code))
        left = left[:at] + left[at + 1 :]
        weights -= target.weight
        seed = mixed(seed + 1)
    return None


def _user_key(rotation: str, visit: Visit, user_agent: bytes) -> int:
    """What a split test knows its user by: a parameter of the click if it has it, else address and user agent."""
    text = visit.value(rotation) if rotation != "user" else ""
    key = text.encode() if text else visit.address.encode() + b"\0" + user_agent
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "big")


def _ranked(targets: tuple[TargetPlan, ...], key: int) -> list[TargetPlan]:
    """The targets in the order in which this user meets them: weighted rendezvous hashing.

    Each target's rank hangs on the user and that target's route alone. So one that comes, goes or cannot take a click
    moves its own users only, and a weight that grows takes users from the others and moves none between them.
    """
    return sorted(
        targets, key=lambda target: -log((mixed(key ^ target.route * _MIX & _MASK) + 0.5) / 2**64) / target.weight
    )


def mixed(number: int) -> int:
    """64 bits, each of which hangs on each of the number's (the finaliser of splitmix64)."""
    number &= _MASK
    number = ((number ^ number >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ number >> 27) * 0x94D049BB133111EB) & _MASK
    return number ^ number >> 31


def target_of(plan: LinkPlan, route: int) -> TargetPlan | None:
    """The place of a plan that has this route."""
    places = [*plan.targets, *plan.fallbacks, *(target for group in plan.groups for target in group)]
    if plan.last is not None:
        places.append(plan.last)
    return next((place for place in places if place.route == route), None)


# --- the address -----------------------------------------------------------------------------------------


def target_url(target: TargetPlan, click_id: str, query: bytes, facts: Mapping[str, str] = NO_FACTS) -> str:
    """The address that this click is sent to, empty for the blank page.

    Of a name that the query carries several times the first counts; `facts` are the visitor's.

    A query whose values the template cannot take (a filter refuses them, they are too long) is left out: the visitor
    reaches the offer all the same, and the click's frame has the query. Raises WaypostError: `bad_target` if the
    result is no plain ASCII address, or what the template raises without the query.
    """
    template = target.template
    if template is None:
        return ""
    values = target.blank.copy()
    values["click_id"] = click_id
    for name in target.facts:
        values[name] = facts.get(name, "")
    if target.wanted and query:
        _fill(values, target.wanted, query)
        try:
            url = template.render(values)
        except WaypostError:
            url = template.render(target.blank | {"click_id": click_id})
    else:
        url = template.render(values)
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
