"""A case: one call together with all that was looked up to judge it.

Input: a PostbackIn frame, its decoded values, the click, one catalog view at click time and one of the batch.
Output: `Case`, filled step by step: `Intake.open_case`, then `Intake.resolve`. Pure. Never judges: checks read a case.
"""

from hashlib import blake2b
from typing import NamedTuple, TypeAlias

import msgspec

from waypost.catalog.model import Advertiser, Goal, Offer, Partner, Route
from waypost.catalog.view import CatalogView
from waypost.model.frames import Auth, Click, Conversion, PostbackIn
from waypost.model.ids import FLAG_TEST, FLAG_UNRECORDED, ClickId, ClickKey
from waypost.model.money import Money
from waypost.stages.intake import NO_CALL, Aliases, Call, decode_body, decode_pairs
from waypost.stages.terms import NOTHING, Amount, owed, parse_reported, parse_sum, revenue_of

_ROUTES_MAX = 100_000
_STATUSES = ("approved", "pending", "declined")


class Where(NamedTuple):
    """Which frame a call came in: journal and position."""

    source: str
    position: int


class Case(msgspec.Struct, gc=False):
    """See the module. Attributes are None or empty until the step that fills them."""

    frame: PostbackIn
    where: Where
    test: bool = False
    problem: str = ""  # why the call could not be decoded
    advertiser: Advertiser | None = None
    call: Call = NO_CALL
    click_text: str = ""
    click_id: ClickId | None = None
    click_key: ClickKey | None = None
    click: Click | None = None
    touched: dict[str, str] | None = None
    final_code: str = ""  # set when waiting for the click has ended without it
    parked_ms: int = 0
    terms_catalog: int = 0
    route: Route | None = None
    offer: Offer | None = None
    batch_offer: Offer | None = None
    partner: Partner | None = None
    goal: Goal | None = None
    status: str = ""
    order: Amount = NOTHING
    reported: Amount = NOTHING
    payout: Money | None = None
    revenue: Money | None = None
    identity: bytes = b""
    existing: Conversion | None = None
    cap_used_up: str | None = None  # None: uses no cap; empty: there is room

    @property
    def touch(self) -> dict[str, str]:
        """The click's parameters; decoded when first asked for."""
        if self.touched is None:
            self.touched = decode_pairs(self.click.query) if self.click is not None else {}
        return self.touched

    @property
    def partition(self) -> int:
        """The advertiser's; what the door stamped where no advertiser is known."""
        return self.advertiser.partition if self.advertiser is not None else self.frame.partition

    def name_click(self, click_id: ClickId) -> None:
        """Sets what the deciphered id says."""
        self.click_id = click_id
        self.click_key = ClickKey(click_id.ms, click_id.door, click_id.seq)


_LedTo: TypeAlias = tuple[Route | None, Offer | None, Offer | None, Partner | None]


class Intake:
    """Opens and resolves cases under one catalog version; remembers advertisers' aliases, and where routes lead."""

    def __init__(self, view: CatalogView) -> None:
        self.view = view
        self._aliases: dict[int, tuple[Advertiser | None, Aliases]] = {0: (None, Aliases(None))}
        self._routes: dict[tuple[int, int], _LedTo] = {}  # by catalog version at click time and route

    def open_case(self, frame: PostbackIn, where: Where) -> Case:
        """Decodes a call. Where the door saw no token, the one among the parameters names the advertiser."""
        case = Case(frame, where, frame.test)
        body: dict[str, str] = {}
        if frame.body:
            try:
                body = decode_body(frame)
            except ValueError as error:
                case.problem = str(error)
        no = frame.advertiser
        if frame.auth is Auth.DEFERRED:
            no = self._advertiser_among({**body, **decode_pairs(frame.query)})
        case.advertiser, aliases = self._of(no)
        case.call = aliases.call(frame.query, body)
        case.click_text = case.call.values.get("click_id", "")
        return case

    def resolve(self, case: Case, terms: CatalogView | None) -> None:
        """Fills in what the click leads to: route, offer and goal by the terms at click time, the rest by the batch's.

        `terms` is None where the click is not recorded: then the batch's terms hold.
        """
        if case.click_id is None:
            return
        case.test = case.test or bool(case.click_id.flags & FLAG_TEST)
        view = terms if terms is not None else self.view
        case.terms_catalog = view.version
        found = self._led_to(view, case.click_id.route)
        case.route, case.offer, case.batch_offer, case.partner = found
        if case.offer is not None:
            _apply_terms(case, case.offer)

    def _led_to(self, view: CatalogView, route_no: int) -> "_LedTo":
        key = (view.version, route_no)
        known = self._routes.get(key)
        if known is None:
            route = view.route(route_no)
            known = (None, None, None, None)
            if route is not None:
                batch = self.view
                known = (route, view.offer(route.offer), batch.offer(route.offer), batch.partner(route.partner))
            if len(self._routes) >= _ROUTES_MAX:
                self._routes.clear()
            self._routes[key] = known
        return known

    def _advertiser_among(self, parameters: dict[str, str]) -> int:
        """Whose token is among the values; the token's name may be an alias that only its owner's catalog knows."""
        for value in [parameters.get("token", ""), *parameters.values()]:
            found = self.view.advertiser_of_token(value) if value else None
            if found is not None:
                return found.no
        return 0

    def _of(self, no: int) -> tuple[Advertiser | None, Aliases]:
        known = self._aliases.get(no)
        if known is None:
            advertiser = self.view.advertiser(no)
            known = self._aliases[no] = (advertiser, Aliases(advertiser))
        return known


def is_waiting_for_click(case: Case) -> bool:
    """Whether the click is authentic and recorded, yet not found, and waiting for it has not ended."""
    return (
        case.click is None
        and case.click_id is not None
        and not case.click_id.flags & FLAG_UNRECORDED
        and not case.final_code
    )


def _apply_terms(case: Case, offer: Offer) -> None:
    """Goal, status, money and identity, by the offer's terms."""
    values = case.call.values
    goal = case.goal = _goal(offer, values.get("goal", ""))
    if goal is None:
        return
    case.status = _status(case)
    if "sum" in values or "payout" in values:
        default_currency = case.advertiser.currency if case.advertiser is not None else "USD"
        currency = values.get("currency", "")
        case.order = parse_sum(values.get("sum", ""), currency, default_currency)
        case.reported = parse_reported(values.get("payout", ""), currency, default_currency)
    case.payout = owed(goal.payout, case.order.money, case.reported.money)
    case.revenue = revenue_of(goal, case.payout, case.order.money, case.reported.money)
    case.identity = identity_of(case)


def _goal(offer: Offer, name: str) -> Goal | None:
    """The goal of that name; without a name the default one, or the only one."""
    if not name:
        for goal in offer.goals:
            if goal.default:
                return goal
        return offer.goals[0] if len(offer.goals) == 1 else None
    for goal in offer.goals:
        if goal.name == name:
            return goal
    return None


def _status(case: Case) -> str:
    """Our status for the call's: by the URL's own lists, the advertiser's map, then our words; empty if none fits."""
    text = case.call.values.get("status", "").lower()
    if not text:
        return case.goal.status if case.goal is not None else ""
    found = case.call.status_map.get(text)
    if found is None and case.advertiser is not None:
        found = case.advertiser.statuses.get(text)
    return found or (text if text in _STATUSES else "")


def identity_of(case: Case) -> bytes:
    """What makes two calls the same conversion: (advertiser, offer, goal, txn_id), or (click, goal) without a txn_id.

    A test has identities of its own.
    """
    assert case.goal is not None and case.offer is not None and case.click_id is not None
    txn_id = case.call.values.get("txn_id", "")
    mark = "test" if case.test else ""
    if txn_id:
        text = f"{mark}txn\0{case.offer.advertiser}\0{case.offer.no}\0{case.goal.name}\0{txn_id}"
    else:
        key = case.click_id
        text = f"{mark}click\0{key.ms}\0{key.door}\0{key.seq}\0{case.goal.name}"
    return blake2b(text.encode(), digest_size=16).digest()
