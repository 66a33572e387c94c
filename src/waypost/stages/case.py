"""A case: one call together with all that was looked up to judge it.

Input: a PostbackIn frame, its decoded values, the click, one catalog view at click time and one of the batch.
Output: `Case`, filled step by step: `open_case`, then `resolve`. Pure. Never judges: checks read a case.
"""

from hashlib import blake2b
from typing import NamedTuple

import msgspec

from waypost.catalog.model import Advertiser, Goal, Link, Offer, Partner, Route
from waypost.catalog.view import CatalogView
from waypost.model.frames import Auth, Click, Conversion, PostbackIn
from waypost.model.ids import FLAG_TEST, FLAG_UNRECORDED, ClickId, ClickKey
from waypost.model.money import Money
from waypost.stages.intake import Aliases, Call, decode_pairs, decode_parameters
from waypost.stages.terms import NOTHING, Amount, owed, parse_reported, parse_sum, revenue_of

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
    call: Call = Call({}, {}, {})
    click_text: str = ""
    click_id: ClickId | None = None
    click_key: ClickKey | None = None
    click: Click | None = None
    touched: dict[str, str] | None = None
    final_code: str = ""  # set when waiting for the click has ended without it
    parked_ms: int = 0
    terms_catalog: int = 0
    route: Route | None = None
    link: Link | None = None
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


class Intake:
    """Opens cases under one catalog version; remembers each advertiser's aliases."""

    def __init__(self, view: CatalogView) -> None:
        self.view = view
        self._aliases: dict[int, tuple[Advertiser | None, Aliases]] = {0: (None, Aliases(None))}

    def open_case(self, frame: PostbackIn, where: Where) -> Case:
        """Decodes a call. Where the door saw no token, the one among the parameters names the advertiser."""
        case = Case(frame, where, frame.test)
        try:
            parameters = decode_parameters(frame)
        except ValueError as error:
            case.problem = str(error)
            parameters = decode_pairs(frame.query)
        no = frame.advertiser
        if frame.auth is Auth.DEFERRED:
            found = self.view.advertiser_of_token(parameters.get("token", ""))
            no = found.no if found is not None else 0
        case.advertiser, aliases = self._of(no)
        case.call = aliases.call(parameters)
        case.click_text = case.call.values.get("click_id", "")
        return case

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


def resolve(case: Case, terms: CatalogView | None, batch: CatalogView) -> None:
    """Fills in what the click leads to: route, offer and goal by the terms at click time, partner by the batch's."""
    values = case.call.values
    if case.click_id is not None:
        case.test = case.test or bool(case.click_id.flags & FLAG_TEST)
        view = terms if terms is not None else batch
        case.terms_catalog = view.version
        case.route = view.route(case.click_id.route)
        if case.route is not None:
            case.link = view.link(case.route.link)
            case.offer = view.offer(case.route.offer)
            case.batch_offer = batch.offer(case.route.offer)
            case.partner = batch.partner(case.route.partner)
    if case.offer is None:
        return
    case.goal = _goal(case.offer, values.get("goal", ""))
    if case.goal is None:
        return
    default_currency = case.advertiser.currency if case.advertiser is not None else "USD"
    currency = values.get("currency", "")
    case.status = _status(case)
    case.order = parse_sum(values.get("sum", ""), currency, default_currency)
    case.reported = parse_reported(values.get("payout", ""), currency, default_currency)
    case.payout = owed(case.goal.payout, case.order.money, case.reported.money)
    case.revenue = revenue_of(case.goal, case.payout, case.order.money, case.reported.money)
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
