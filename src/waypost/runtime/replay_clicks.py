"""Recorded clicks through another catalog's targeting: which of them would have gone elsewhere.

Input: clicks as they were recorded, the catalog of their time, the new one. Output: where each was sent and would be.
Pure but for the views that it reads. A click whose own catalog does not lead it where it was sent, from what its frame
kept, depends on what is not kept (a whole address, a user's arm of a split test): it is counted as unsure, not judged.
"""

from collections.abc import Callable
from typing import NamedTuple

from waypost.catalog.view import CatalogView
from waypost.errors import WaypostError
from waypost.macros.template import Template
from waypost.model.facts import Facts
from waypost.model.frames import Click
from waypost.stages.redirect import LinkPlan, TargetPlan, choose_target, plan_link, refused
from waypost.stages.targeting import Visit

_PLANS_MAX = 50_000
CAP_REACHED = "cap_reached"  # rotation's code
NOWHERE = "refused"
BLANK = "the blank page"


class Moved(NamedTuple):
    """Where a click was sent, and where it would be; `is_sure` false if the frame does not hold enough to tell."""

    link: str
    was: str
    now: str
    is_sure: bool


class ClickReplay:
    """Holds the plans of links under both catalogs."""

    def __init__(self, view_of: Callable[[int], CatalogView], new: CatalogView) -> None:
        self._view_of = view_of
        self._new = new
        self._plans: dict[tuple[int, str], LinkPlan] = {}
        self._templates: dict[int, dict[int, Template]] = {}

    def place(self, click: Click) -> Moved | None:
        """None if its link cannot be told any more."""
        view = self._view_of(click.catalog)
        route = view.route(click.route)
        if route is None:
            return None
        visit = Visit(click.ms, "", Facts.of(click.visitor), click.query, "returning" in click.marks)
        was = self._choose(view, route.link, visit, click)
        now = self._choose(self._new, route.link, visit, click)
        is_sure = was is not None and was.route == click.route
        return Moved(route.link, _name(view, was), _name(self._new, now), is_sure)

    def _choose(self, view: CatalogView, link: str, visit: Visit, click: Click) -> TargetPlan | None:
        plan = self._plan(view, link)
        exhausted = {offer for offer, code in click.skipped if code == CAP_REACHED}
        if plan.code:
            return None
        try:
            return choose_target(plan, visit, click.seq, user_agent=click.user_agent, exhausted=exhausted).target
        except WaypostError:
            return None

    def _plan(self, view: CatalogView, name: str) -> LinkPlan:
        key = (view.version, name)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= _PLANS_MAX:
                self._plans.clear()
            link = view.link(name)
            templates = self._templates.setdefault(view.version, {})
            plan = refused("unknown_link") if link is None else plan_link(view, link, templates)
            self._plans[key] = plan
        return plan


def _name(view: CatalogView, target: TargetPlan | None) -> str:
    if target is None:
        return NOWHERE
    offer = view.offer(target.offer) if target.offer else None
    if offer is not None:
        return f"offer {offer.name} {offer.url}"
    return "the default address" if target.url.template is not None else BLANK
