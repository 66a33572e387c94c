"""What a door keeps of the catalog version in force: plans of links, and tokens that were seen.

Owns: one version's memo, made empty when a version comes and dropped with it. Reads the catalog view; writes nothing.
Never grows beyond its bound, and never keeps a view open that is no longer in force.
"""

from waypost.catalog.view import CatalogView
from waypost.macros.template import Template
from waypost.stages.call_auth import Caller, identify, known, plain_token
from waypost.stages.redirect import LinkPlan, plan_link

_NO_LINK = LinkPlan((), 0, "unknown_link")
_NO_PAIR = LinkPlan((), 0, "unknown_pair")


class Shelf:
    """One catalog version, as a door needs it; `items_max` bounds each memo (a full one is emptied)."""

    def __init__(self, view: CatalogView, items_max: int) -> None:
        self._view = view
        self._items_max = items_max
        self.version = view.version
        self.links: dict[bytes, LinkPlan] = {}
        self.callers: dict[bytes, Caller] = {}  # by the token's bytes as they stood in the query
        self._templates: dict[int, Template] = {}

    def plan(self, name: bytes, decoded: str) -> LinkPlan:
        """The plan of a link by its name; kept under the bytes by which it was asked for."""
        link = self._view.link(decoded)
        if link is None:
            return _NO_LINK  # not kept: a scan of made-up names must not push real ones out
        return self._keep(name, plan_link(self._view, link, self._templates))

    def plan_pair(self, key: bytes, offer: str, partner: str) -> LinkPlan:
        """The plan of the link that joins an offer and a partner."""
        link = self._view.pair(offer, partner)
        target = self._view.offer_named(offer)
        if link is None or target is None:
            return _NO_PAIR
        return self._keep(key, plan_link(self._view, link, self._templates, offer=target.no))

    def caller(self, path_token: bytes, query: bytes, header_token: bytes, body: bytes, content_type: str) -> Caller:
        """Whose call this is, by the slow and thorough way; a token that was right is kept for the quick one."""
        find = self._view.advertiser_of_token
        caller = identify(
            find,
            path_token=path_token,
            query=query,
            header_token=header_token,
            body=body,
            content_type=content_type,
        )
        if not caller.code and not path_token and not header_token and (token := plain_token(query)):
            advertiser = find(token.decode("utf-8", "replace"))
            if advertiser is not None and advertiser.no == caller.advertiser:
                if len(self.callers) >= self._items_max:
                    self.callers.clear()
                self.callers[token] = known(advertiser)
        return caller

    def close(self) -> None:
        """Lets go of the view."""
        self._view.close()

    def _keep(self, key: bytes, plan: LinkPlan) -> LinkPlan:
        if len(self.links) >= self._items_max:
            self.links.clear()
            self._templates.clear()
        self.links[key] = plan
        return plan
