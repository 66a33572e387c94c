"""What a compiled catalog holds: one struct a thing, as stages and doors read it.

Owns: the structs of the compiled form. Written once at apply, never changed. Reads and writes nothing.
Numbers (`no`) are assigned at apply, append-only; 0 is never a number. Names are the catalog's keys.
`place` is the `file:line` where the thing is written, for messages and the trace.
"""

from decimal import Decimal

import msgspec

from waypost.model.money import Money


class Item(msgspec.Struct, array_like=True, frozen=True):
    """Base of compiled items; fields are only added at the end, with defaults."""


class Terms(Item, frozen=True):
    """What is owed for a goal: a fixed amount, or a share of the sum or of the reported payout.

    `kind`: `fixed` (amount), `share_of_sum` (share; 0.3 is 30%), `share_of_reported` (share).
    """

    kind: str
    amount: Money | None = None
    share: Decimal | None = None


class Goal(Item, frozen=True):
    """What the advertiser pays for. `status` is given to calls that carry none."""

    name: str
    payout: Terms
    revenue: Terms | None = None  # None: as reported, else as the payout
    status: str = "approved"
    active: bool = True
    default: bool = False  # taken when a call names no goal
    place: str = ""


class Cap(Item, frozen=True):
    """A bound. `key` names it in the ledger; `count` is `conversions` (others are not available yet)."""

    key: str
    count: str
    limit: int
    per: str  # hour, day, week, month, total
    timezone: str = "UTC"
    place: str = ""


class Advertiser(Item, frozen=True):
    """`token` is the secret itself or a reference (`env:NAME`, `file:PATH`), resolved by the role that loads it.

    `parameters`: canonical name → the names it may come under. `statuses`: inbound value → status.
    `currency` is that of amounts in calls that name none.
    """

    no: int
    name: str
    partition: int
    token: str
    parameters: dict[str, tuple[str, ...]] = {}
    statuses: dict[str, str] = {}
    active: bool = True
    place: str = ""
    currency: str = "USD"


class Offer(Item, frozen=True):
    """`url` is a template; `click_window_ms` 0 means the setting's default."""

    no: int
    name: str
    advertiser: int
    url: str
    goals: tuple[Goal, ...]
    caps: tuple[Cap, ...] = ()
    click_window_ms: int = 0
    active: bool = True
    place: str = ""


class PostbackRule(Item, frozen=True):
    """When it fires and what is sent. An empty condition means any.

    `no` counts from 1 within the partner, in the catalog's order. `macros` are the names its templates use.
    """

    no: int
    goals: tuple[str, ...]
    statuses: tuple[str, ...]
    verdicts: tuple[str, ...]
    offers: tuple[str, ...]
    method: str
    url: str
    headers: dict[str, str]
    body: str
    macros: tuple[str, ...]
    place: str = ""


class Delivery(Item, frozen=True):
    """How a partner's lane sends; 0 or an empty schedule means the setting's default."""

    concurrency: int = 0
    connect_timeout_ms: int = 0
    total_timeout_ms: int = 0
    retry_schedule_ms: tuple[int, ...] | None = None
    retry_jitter: float | None = None


class Partner(Item, frozen=True):
    """`active: false` refuses their conversions; their rules make postbacks."""

    no: int
    name: str
    rules: tuple[PostbackRule, ...]
    delivery: Delivery = Delivery()
    active: bool = True
    place: str = ""


class Route(Item, frozen=True):
    """One (link, target offer)."""

    no: int
    link: str
    partner: int
    offer: int


class Target(Item, frozen=True):
    """One offer that a link may lead to."""

    route: int
    offer: int
    weight: int = 1


class Link(Item, frozen=True):
    """A partner's way to offers."""

    name: str
    partner: int
    targets: tuple[Target, ...]
    active: bool = True
    place: str = ""
