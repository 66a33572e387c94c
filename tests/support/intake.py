"""A catalog with every way of authentication, and calls judged by the stages alone."""

from decimal import Decimal

from support.catalogs import MemoryView, usd
from support.traffic import RING, START_MS, click
from waypost.catalog.aliases import merged_parameters, merged_statuses
from waypost.catalog.model import (
    Advertiser,
    Goal,
    IntakeRules,
    Link,
    Offer,
    Partner,
    Target,
    Terms,
)
from waypost.model.frames import Auth, Decision, PostbackIn
from waypost.model.ids import ClickIdCodec, receipt_number
from waypost.model.partition import NO_PARTITION, partition_of
from waypost.stages.case import Case, Intake, Where
from waypost.stages.checks import CheckLimits
from waypost.stages.judgement import judge
from waypost.stages.rules import RuleBook

GOALS = (
    Goal("install", Terms("fixed", usd("1.20")), default=True),
    Goal("sale", Terms("share_of_reported", None, Decimal("0.50"))),
    Goal("deposit", Terms("share_of_sum", None, Decimal("0.10"))),
)


def advertiser(no: int, name: str, token: str = "", *, sets: tuple[str, ...] = (), **more: object) -> Advertiser:
    """An advertiser with alias sets, as the compiler makes it."""
    return Advertiser(
        no,
        name,
        partition_of(name),
        token,
        parameters=merged_parameters({}, sets),
        statuses=merged_statuses({}, sets),
        aliases=sets,
        **more,  # type: ignore[arg-type]
    )


def intake_view(*advertisers: Advertiser, rules: IntakeRules | None = None, offer_token: str = "") -> MemoryView:
    """An offer and a link for each advertiser, with its number."""
    offers = [
        Offer(
            a.no, f"offer-{a.name}", a.no, "http://127.0.0.1:9000/", GOALS, tokens=(offer_token,) if offer_token else ()
        )
        if a is advertisers[0]
        else Offer(a.no, f"offer-{a.name}", a.no, "http://127.0.0.1:9000/", GOALS)
        for a in advertisers
    ]
    links = [Link(f"link-{a.name}", 1, (Target(a.no, a.no),)) for a in advertisers]
    view = MemoryView(1, list(advertisers), offers, [Partner(1, "own", ())], links)
    view.rules = rules or IntakeRules()
    return view


CODEC = ClickIdCodec(RING)


def click_of(route: int, seq: int = 0) -> str:
    """The id of a click that is recorded, of the link with this route."""
    return CODEC.encode(START_MS, 0, seq, route, 0)


def arrived(
    query: str,
    *,
    advertiser_no: int = 0,
    auth: Auth = Auth.TOKEN,
    body: bytes = b"",
    content_type: str = "",
    ip: str = "203.0.113.7",
    offer: int = 0,
    test: bool = False,
) -> PostbackIn:
    """A call as a door would have journaled it."""
    return PostbackIn(
        receipt_number(START_MS + 9, 0, 0),
        START_MS + 9,
        0,
        NO_PARTITION,
        advertiser_no,
        auth,
        1,
        "POST" if body else "GET",
        query.encode(),
        body,
        content_type,
        ip,
        test,
        offer,
    )


def opened(view: MemoryView, frame: PostbackIn) -> Case:
    """The case of a call, its click found and all looked up."""
    intake = Intake(view)
    case = intake.open_case(frame, Where("door-0", 0))
    found = CODEC.decode(case.click_text)
    if found is not None:
        case.name_click(found)
        case.click = click(found.ms, found.seq, route=found.route)
    intake.resolve(case, view)
    return case


def decided(view: MemoryView, frame: PostbackIn) -> Decision:
    """The decision on a call that no conversion precedes."""
    limits = CheckLimits(START_MS + 10, 86_400_000, Decimal(10**9))
    return judge(opened(view, frame), {}, limits, 1, RuleBook(view)).decision
