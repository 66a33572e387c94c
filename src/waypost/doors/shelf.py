"""What a door keeps of the catalog version in force: plans of links, and tokens that were seen.

Owns: one version's memo, made empty when a version comes and dropped with it. Reads the catalog view; writes nothing.
Never grows beyond its bound, and never keeps a view open that is no longer in force.
"""

from urllib.parse import unquote

from waypost.catalog.aliases import CLICK_ID_NAMES
from waypost.catalog.model import Advertiser
from waypost.catalog.view import CatalogView
from waypost.doors.hosts import Hosts
from waypost.macros.template import Template
from waypost.model.partition import NO_PARTITION
from waypost.stages.call_auth import Arrival, Caller, Callers, header_token, plain_token
from waypost.stages.redirect import LinkPlan, plan_link, refused
from waypost.stages.rotation import Kept

_NO_LINK = refused("unknown_link")
_NO_PAIR = refused("unknown_pair")


class Shelf:
    """One catalog version, as a door needs it; `items_max` bounds each memo (a full one is emptied)."""

    def __init__(self, view: CatalogView, items_max: int) -> None:
        self._view = view
        self._items_max = items_max
        self.version = view.version
        self.privacy = view.privacy()
        self.hosts = Hosts(view.domains())
        self.links: dict[bytes, LinkPlan] = {}
        self.callers: dict[bytes, Caller] = {}  # by the token's bytes as they stood in the query
        self.path_callers: dict[bytes, Caller] = {}  # … in the path
        self._callers = Callers(view, items_max)
        self._partitions: dict[int, int] = {}
        self.at_gate = self._callers.at_gate
        view.owner_of_token("")  # has the tokens loaded: `is_secret` is asked from another thread
        self._templates: dict[int, Template] = {}
        self._kept: Kept = {}  # of all links' rotations together

    def plan(self, name: bytes, decoded: str) -> LinkPlan:
        """The plan of a link by its name; kept under the bytes by which it was asked for."""
        link = self._view.link(decoded)
        if link is None:
            return _NO_LINK  # not kept: a scan of made-up names must not push real ones out
        return self._keep(name, plan_link(self._view, link, self._templates, kept=self._kept))

    def plan_pair(self, key: bytes, offer: str, partner: str) -> LinkPlan:
        """The plan of the link that joins an offer and a partner."""
        link = self._view.pair(offer, partner)
        target = self._view.offer_named(offer)
        if link is None or target is None:
            return _NO_PAIR
        return self._keep(key, plan_link(self._view, link, self._templates, offer=target.no, kept=self._kept))

    def caller(self, arrival: Arrival) -> Caller:
        """Whose call this is, by the slow and thorough way; a token that was right is kept for the quick one.

        What else the caller must meet (`gate`) is not judged yet.
        """
        caller = self._callers.identify(arrival)
        if caller.code:
            return caller
        if arrival.path_token:
            self._remember(self.path_callers, arrival.path_token, caller)
        elif not header_token(arrival.headers) and (token := plain_token(arrival.query)):
            owner = self._view.owner_of_token(token.decode("utf-8", "replace"))
            if owner is not None and self._callers.of(owner) is caller:
                self._remember(self.callers, token, caller)
        return caller

    def advertiser(self, no: int) -> Advertiser | None:
        """An advertiser by its number."""
        return self._view.advertiser(no)

    def advertiser_of_route(self, route_no: int) -> Advertiser | None:
        """Whose offer a route leads to."""
        route = self._view.route(route_no)
        offer = self._view.offer(route.offer) if route is not None else None
        return self._view.advertiser(offer.advertiser) if offer is not None else None

    def partner_token(self, partner: int) -> str:
        """The secret of a partner's server-to-server clicks; empty where it sends none."""
        return self._view.partner_token(partner)

    def has_link(self, name: bytes) -> bool:
        """Whether there is a link of that name, percent-encoded or not."""
        return name in self.links or self._view.link(unquote(name.decode("utf-8", "replace"))) is not None

    def partition_of(self, route_no: int) -> int:
        """The partition of a route's advertiser; NO_PARTITION if this version does not have it."""
        known = self._partitions.get(route_no)
        if known is None:
            route = self._view.route(route_no)
            offer = self._view.offer(route.offer) if route is not None else None
            advertiser = self._view.advertiser(offer.advertiser) if offer is not None else None
            if advertiser is None:
                return NO_PARTITION
            if len(self._partitions) >= self._items_max:
                self._partitions.clear()
            known = self._partitions[route_no] = advertiser.partition
        return known

    def click_id_names(self) -> tuple[str, ...]:
        """Where a click's id may stand in a call whose advertiser is not known."""
        return (*CLICK_ID_NAMES, *self._view.intake().click_id)

    def wanted_headers(self) -> frozenset[bytes]:
        """Further headers that this version's signatures stand in."""
        return frozenset(name.encode() for name in self._view.intake().headers)

    def name_of(self, advertiser: int) -> str:
        """An advertiser's name; empty if there is none of that number."""
        found = self._view.advertiser(advertiser) if advertiser else None
        return found.name if found is not None else ""

    def is_secret(self, text: str) -> bool:
        """Whether a text is somebody's token. From any thread."""
        return self._view.owner_of_token(text) is not None

    def close(self) -> None:
        """Lets go of the view."""
        self._view.close()

    def _remember(self, memo: dict[bytes, Caller], token: bytes, caller: Caller) -> None:
        if len(memo) >= self._items_max:
            memo.clear()
        memo[token] = caller

    def _keep(self, key: bytes, plan: LinkPlan) -> LinkPlan:
        if len(self.links) >= self._items_max:
            self.links.clear()
            self._templates.clear()
        self.links[key] = plan
        return plan
