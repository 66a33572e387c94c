"""A case: one call together with all that was looked up to judge it.

Input: a PostbackIn frame, its decoded values, the click, one catalog view at click time and one of the batch.
Output: `Case`, filled step by step: `Intake.open_case`, then `Intake.resolve`. Pure. Never judges: checks read a case.
"""

from collections.abc import Container
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

import msgspec

from waypost.catalog.aliases import CLICK_ID_NAMES, TOKEN_NAMES
from waypost.catalog.model import Advertiser, Goal, Offer, Partner, Route
from waypost.catalog.view import CatalogView
from waypost.model.frames import Auth, Click, Conversion, PostbackIn
from waypost.model.ids import FLAG_TEST, FLAG_UNRECORDED, ClickId, ClickKey
from waypost.model.money import Money
from waypost.stages.addresses import AllowList
from waypost.stages.call_auth import token_names
from waypost.stages.click_names import add_ours
from waypost.stages.intake import NO_CALL, Aliases, Call, decode_body, decode_pairs
from waypost.stages.terms import NOTHING, Amount, owed, parse_amounts, revenue_of

REPORTED = ("click_id", "goal", "sum", "currency", "txn_id")  # what a page may say of a conversion
_ROUTES_MAX = 100_000
_BROWSER = Auth.BROWSER  # a name of its own: to find an enum's member takes long, and each call is asked
_identity = blake2b(digest_size=16)
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
    body: dict[str, str] | None = None  # a form's or JSON's parameters, where they may have to be read again
    claim: str = ""  # what speaks for the call where no advertiser was named: `global` or `address`
    token_offer: int = 0  # the offer whose token was sent
    barred: str = ""  # the level whose list does not have the call's address
    fired: Container[int] = ()  # keys of rules that fire once a click and have done so for this one
    repeats: str = ""  # of which call it is a repeat, by its idempotency key

    @property
    def touch(self) -> dict[str, str]:
        """The click's parameters, with our names beside the partner's; decoded when first asked for."""
        if self.touched is None:
            self.touched = decode_pairs(self.click.query) if self.click is not None else {}
            if self.partner is not None and self.partner.click_names:
                add_ours(self.touched, self.partner.click_names)
        return self.touched

    @property
    def partition(self) -> int:
        """The advertiser's; what the door stamped where no advertiser is known."""
        return self.advertiser.partition if self.advertiser is not None else self.frame.partition

    @property
    def is_unconfirmed(self) -> bool:
        """Whether a page reported it, and the catalog does not take that as good as a server's call."""
        if self.frame.auth is not _BROWSER:
            return False
        browser = self.advertiser.browser if self.advertiser is not None else None
        return browser is None or browser.status != "approved"

    def name_click(self, click_id: ClickId) -> None:
        """Sets what the deciphered id says."""
        self.click_id = click_id
        self.click_key = click_id.key


_LedTo: TypeAlias = tuple[Route | None, Offer | None, Offer | None, Partner | None]


class Intake:
    """Opens and resolves cases under one catalog version; remembers advertisers' aliases, and where routes lead."""

    def __init__(self, view: CatalogView) -> None:
        self.view = view
        rules = view.intake()
        anybody = Aliases({"click_id": (*CLICK_ID_NAMES, *rules.click_id)})
        self._aliases: dict[int, tuple[Advertiser | None, Aliases]] = {0: (None, anybody)}
        self._lists: dict[tuple[str, ...], AllowList] = {}
        self._networks = rules.allow_addresses
        self._is_any_known_by_address = bool(rules.by_address)
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
        if frame.auth is _BROWSER:
            return self._open_report(case)
        no = frame.advertiser
        case.token_offer = frame.offer
        if not no:
            no = self._caller_of(case, body)
        case.advertiser, aliases = self._of(no)
        if self._networks:
            self._hold(case, self._networks, "the installation")
        advertiser = case.advertiser
        if advertiser is not None and advertiser.allow_addresses:
            self._hold(case, advertiser.allow_addresses, f"advertiser {advertiser.name}")
        case.call = aliases.call(frame.query, body)
        case.click_text = case.call.values.get("click_id", "")
        return case

    def _open_report(self, case: Case) -> Case:
        """A page's report: the door knows the advertiser by the click. Only what a page may say is taken, by our own
        names, and networks that calls may come from are not asked: the address is a visitor's."""
        case.advertiser, _ = self._of(case.frame.advertiser)
        given = decode_pairs(case.frame.query)
        case.call = Call({name: value for name in REPORTED if (value := given.get(name, "").strip())}, {})
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
            if case.advertiser is None:
                self._claim(case, case.offer)
            if case.batch_offer is not None and case.batch_offer.allow_addresses:
                self._hold(case, case.batch_offer.allow_addresses, f"offer {case.offer.name}")
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

    def _caller_of(self, case: Case, body: dict[str, str]) -> int:
        """Whose call it is where the door could not tell: by a token among the parameters, under a name that its owner
        gives it. The installation's token, and an address that speaks for an advertiser, leave it to the click."""
        frame = case.frame
        case.body = body
        if frame.auth is Auth.GLOBAL:
            case.claim = "global"
            return 0
        for name, value in {**body, **decode_pairs(frame.query)}.items():
            owner = self.view.owner_of_token(value) if value else None
            if owner is None:
                continue
            if owner.level == "global":
                if name in TOKEN_NAMES:
                    case.claim = "global"
                    return 0
                continue
            offer = self.view.offer(owner.no) if owner.level == "offer" else None
            no = offer.advertiser if offer is not None else owner.no
            if name in token_names(self.view.advertiser(no)):
                case.token_offer = offer.no if offer is not None else 0
                return no
        case.claim = "address" if self._is_any_known_by_address else ""
        return 0

    def _claim(self, case: Case, offer: Offer) -> None:
        """Gives the call to the advertiser of its click, if what came with it speaks for that one, and reads it anew
        by that advertiser's names."""
        if not case.claim:
            return
        advertiser, aliases = self._of(offer.advertiser)
        if advertiser is None:
            return
        if case.claim == "address" and not (
            advertiser.is_known_by_address and self._list(advertiser.allow_addresses).permits(case.frame.ip)
        ):
            return
        case.advertiser = advertiser
        case.call = aliases.call(case.frame.query, case.body or {})
        if advertiser.allow_addresses:
            self._hold(case, advertiser.allow_addresses, f"advertiser {advertiser.name}")

    def _hold(self, case: Case, networks: tuple[str, ...], level: str) -> None:
        """Notes a list that the call's address is not on. Tests come from whoever has the operator's key."""
        if not case.barred and not case.frame.test and not self._list(networks).permits(case.frame.ip):
            case.barred = level

    def _list(self, networks: tuple[str, ...]) -> AllowList:
        known = self._lists.get(networks)
        if known is None:
            known = self._lists[networks] = AllowList(networks)
        return known

    def _of(self, no: int) -> tuple[Advertiser | None, Aliases]:
        known = self._aliases.get(no)
        if known is None:
            advertiser = self.view.advertiser(no)
            known = self._aliases[no] = (advertiser, Aliases(advertiser.parameters if advertiser is not None else {}))
        return known


def is_waiting_for_click(case: Case) -> bool:
    """Whether the click is authentic and recorded, yet not found, and waiting for it has not ended. A repeat does not
    wait: it has no effect, whatever its click says."""
    return (
        case.click is None
        and not case.repeats
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
        case.order = parse_amounts(values.get("sum", ""), currency, default_currency, goal)
        case.reported = parse_amounts(values.get("payout", ""), currency, default_currency, goal)
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
    digest = _identity.copy()  # cheaper than one with parameters, each time
    digest.update(text.encode())
    return digest.digest()
