"""Where a click goes: the plan of a link, and the choice among its offers.

Owns: which offers of a link may take clicks at all, and what follows when no target can (who takes a click is
rotation's, what its address is target_urls.py's). Reads a catalog view that is handed in; writes nothing. Never makes
ids, and never knows the time: the click's own is in its visit.

A plan is made once a catalog version and link; a click then costs one choice, one look at its query, one render.
The same visit, key and list of used-up offers always end at the same target.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from waypost.catalog.model import DeepLink, Link, Partner, Target, Targeting
from waypost.catalog.view import CatalogView
from waypost.errors import WaypostError
from waypost.macros.template import Position, Template, compile_applied
from waypost.model.facts import AnyFacts
from waypost.stages.deep_links import AppPlan, Apps
from waypost.stages.rotation import BY_WEIGHT, IN_ORDER, Choice, Kept, Rotation, Skipped
from waypost.stages.target_urls import NO_URL, TargetUrl, decode_value
from waypost.stages.targeting import LINK_PREFIX, Gate, Visit

NO_FACTS: Mapping[str, str] = {}


class TargetPlan(Struct, frozen=True):
    """One place that a link leads to; `offer` is 0 for the blank page and for a default address.

    `gates` are asked in turn, each with the prefix of its codes.
    """

    route: int
    partition: int
    weight: int
    url: TargetUrl = NO_URL
    offer: int = 0
    gates: tuple[tuple[str, Gate], ...] = ()
    status: int = 302
    hides_referrer: bool = False
    advertiser: int = 0
    apps: Apps | None = None
    is_fallback: bool = False  # not one of the link's targets


NO_TARGETS: Rotation[TargetPlan] = Rotation(())


class LinkPlan(Struct, frozen=True):
    """What a click on a link meets: targets to choose from, or the error code that refuses it.

    `behind` are asked in turn when no target takes the click: fallback offers, then groups. `last` is where a click
    goes that no offer takes; None where every click has a target. `inactive` are offers that the link names and that
    take no clicks.
    """

    targets: Rotation[TargetPlan] = NO_TARGETS
    code: str = ""
    detail: str = ""
    behind: tuple[Rotation[TargetPlan], ...] = ()
    last: TargetPlan | None = None
    inactive: Skipped = ()
    partner: int = 0
    click_names: Mapping[str, str] = NO_FACTS


def plan_link(
    view: CatalogView, link: Link, templates: dict[int, Template], *, offer: int = 0, kept: Kept | None = None
) -> LinkPlan:
    """The plan of a link, or of that one of its targets that leads to `offer`.

    `templates` keeps compiled URLs by offer number for as long as the caller keeps this version of the catalog, and
    `kept` what rotations find out.
    Targets that are not active are left out; refused `link_inactive` if there is no place left to go to, or
    `bad_target` if the offers' URLs do not compile.
    """
    partner = view.partner(link.partner)
    if not link.active or partner is None or not partner.active:
        return refused("link_inactive")
    planner = _Planner(view, link, partner, templates)
    targets = planner.all(target for target in link.targets if not offer or target.offer == offer)
    levels = ((link.fallbacks, IN_ORDER), *((group, BY_WEIGHT) for group in link.groups))
    behind = [
        Rotation((replace(plan, is_fallback=True) for plan in planner.all(level)), by, kept) for level, by in levels
    ]
    asked = tuple(rotation for rotation in behind if rotation.candidates)
    last = planner.last() if link.unplaced else None
    if targets or asked or (last is not None and link.default):
        return LinkPlan(
            Rotation(targets, link.rotation, kept), "", "", asked, last, tuple(planner.inactive), link.partner,
            partner.click_names,
        )  # fmt: skip
    return refused("bad_target", planner.broken) if planner.broken else refused("link_inactive")


def refused(code: str, detail: str = "") -> LinkPlan:
    """The plan of what leads nowhere."""
    return LinkPlan(NO_TARGETS, code, detail)


class _Planner:
    """Makes the targets of one link's plan; keeps what was left out, and why."""

    def __init__(self, view: CatalogView, link: Link, partner: Partner, templates: dict[int, Template]) -> None:
        self._view = view
        self._link = link
        self._partner = partner.name
        self._click_names = partner.click_names
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
            return TargetPlan(link.unplaced, partition, 1)
        try:
            template = compile_applied(link.default, position=Position.URL, place=link.place)
        except WaypostError as error:
            self.broken = str(error)
            return TargetPlan(link.unplaced, partition, 1)
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
        plan = self._plan(
            target.route, advertiser.partition, target.weight, template, offer.name, offer.no, gates
        )  # fmt: skip
        return replace(
            plan,
            status=self._link.mode or offer.mode or plan.status,
            advertiser=advertiser.no,
            apps=self._apps(offer.deep_link, offer.name, offer.place) if offer.deep_link is not None else None,
        )

    def _apps(self, deep_link: DeepLink, offer: str, place: str) -> Apps:
        """The plans of an offer's deep links: each is rendered as any other address, and gets its own scheme then."""

        def plan(text: str) -> AppPlan | None:
            if not text:
                return None
            scheme, _, rest = text.partition("://")
            template = compile_applied(f"https://{rest}", position=Position.URL, place=place)
            return AppPlan(scheme.lower(), partial(target_url, self._plan(0, 0, 1, template, offer, 0, ())))

        return Apps(
            plan(deep_link.ios), plan(deep_link.android), plan(deep_link.ios_store), plan(deep_link.android_store)
        )

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
        link, fixed = self._link, {"link": self._link.name, "offer": name, "partner": self._partner}
        url = TargetUrl(template, fixed, self._click_names)
        return TargetPlan(route, partition, weight, url, no, gates, link.mode or 302, link.hides_referrer)


# --- the choice ------------------------------------------------------------------------------------------


def choose_target(
    plan: LinkPlan, visit: Visit, seq: int, *, user_agent: bytes = b"", exhausted: Collection[int] = ()
) -> Choice[TargetPlan]:
    """Where a click goes: a target, else a fallback offer, else one of a group, else the default or the blank page.

    `exhausted` are the offers whose caps have no room left. The click's key (time and `seq`) is the only seed of a
    draw; a split test's arm hangs on its user instead, and stays as long as the arm can take the click.
    Raises WaypostError `link_inactive` where there is nowhere to go.
    """
    found, skipped = plan.targets.choose(visit, seq, user_agent, exhausted)
    if found is not None:
        return Choice(found, skipped)
    skipped += plan.inactive
    for rotation in plan.behind:
        found, more = rotation.choose(visit, seq, user_agent, exhausted)
        skipped += more
        if found is not None:
            return Choice(found, skipped)
    if plan.last is None:
        raise WaypostError("link_inactive", "none of the link's offers can take the click")
    return Choice(plan.last, skipped)


def target_of(plan: LinkPlan, route: int) -> TargetPlan | None:
    """The place of a plan that has this route."""
    places = [target for rotation in (plan.targets, *plan.behind) for target in rotation.candidates]
    if plan.last is not None:
        places.append(plan.last)
    return next((place for place in places if place.route == route), None)


# --- the address -----------------------------------------------------------------------------------------


def target_url(target: TargetPlan, click_id: str, query: bytes, facts: AnyFacts = NO_FACTS) -> str:
    """The address that this click is sent to, empty for the blank page; `facts` are the visitor's. Raises WaypostError:
    see `TargetUrl.careful`."""
    return target.url.of(click_id, query, facts)


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
