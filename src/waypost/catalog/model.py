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

    @property
    def currency(self) -> str:
        """That of its fixed amounts; empty if it has none."""
        for terms in (self.payout, self.revenue):
            if terms is not None and terms.amount is not None:
                return terms.amount.currency
        return ""


class Cap(Item, frozen=True):
    """A bound. `key` names it in the ledger; `count` is `conversions` (others are not available yet)."""

    key: str
    count: str
    limit: int
    per: str  # hour, day, week, month, total
    timezone: str = "UTC"
    place: str = ""


class Signature(Item, frozen=True):
    """How an advertiser signs its calls (`stages/signing.py`). `secrets` are the text or references, like tokens.

    `scheme`: `canonical` (over our canonical string) or `standard-webhooks`. `where`: `header` or `query`; there the
    signature is called `name`, and the time of signing `timestamp`, which may be `window_ms` off ours.
    """

    secrets: tuple[str, ...]
    scheme: str = "canonical"
    where: str = "header"
    name: str = "X-Signature"
    timestamp: str = "X-Timestamp"
    window_ms: int = 300_000
    algorithm: str = "sha256"
    encoding: str = "hex"


class IntakeRules(Item, frozen=True):
    """What holds for the calls of all advertisers. `tokens` admit a call for whichever advertiser its click is of.

    `allow_addresses`: networks that calls may come from; empty means any. `wrong_token` is the HTTP status that a call
    is answered with that does not authenticate: 403, or 200 as if it had been accepted.
    """

    tokens: tuple[str, ...] = ()
    allow_addresses: tuple[str, ...] = ()
    wrong_token: int = 403
    click_id: tuple[str, ...] = ()  # further names that a click's id may come under, where the caller is not known
    place: str = ""
    by_address: tuple[str, ...] = ()  # networks of all advertisers that nothing but their address speaks for
    headers: tuple[str, ...] = ()  # that signatures and their timestamps stand in


class Browser(Item, frozen=True):
    """Pages of an advertiser that may report clicks and conversions: their origins, the goals (none: any), and the
    status of what they report until the advertiser's server confirms it."""

    origins: tuple[str, ...]
    goals: tuple[str, ...] = ()
    status: str = "pending"


class DeepLink(Item, frozen=True):
    """Where a click on a phone leads instead of the offer's `url`: templates, empty where there is none."""

    ios: str = ""
    android: str = ""
    ios_store: str = ""
    android_store: str = ""


class Advertiser(Item, frozen=True):
    """`token` is the secret itself or a reference (`env:NAME`, `file:PATH`), resolved by the role that loads it.

    It may be empty where calls are signed, or come with the installation's or an offer's token. `tokens_before` are
    further ones that are right too, while a token is replaced.
    `parameters`: canonical name → the names it may come under. `statuses`: inbound value → status.
    Both have the alias sets in them. `currency` is that of amounts in calls that name none.
    `answer`: what an accepted call is answered: `json`, `ok`, `gif`, `empty`. `wrong_token` 0: as for all.
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
    tokens_before: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    answer: str = "json"
    allow_addresses: tuple[str, ...] = ()
    wrong_token: int = 0
    signature: Signature | None = None
    browser: Browser | None = None

    @property
    def is_known_by_address(self) -> bool:
        """Whether nothing but the address speaks for their calls: they have networks, and neither token nor key."""
        return bool(self.allow_addresses) and not self.tokens and self.signature is None

    @property
    def tokens(self) -> tuple[str, ...]:
        """All that are right."""
        return (self.token, *self.tokens_before) if self.token else self.tokens_before


class Schedule(Item, frozen=True):
    """Hours of local time in which clicks are taken: `days` (0 is Monday) and `hours`, minutes of the day [from, to).

    Where `to` is not above `from`, the hours run past midnight and belong to the day on which they begin.
    """

    timezone: str
    days: tuple[int, ...]
    hours: tuple[tuple[int, int], ...]


class Facet(Item, frozen=True):
    """One thing that a click must have, or must not: any of `values`, in the form that its kind has.

    Kinds: `text` (letter case does not count, `*` for any characters), `version` (`>= 12`, `12`, `12 - 14`),
    `network` (CIDR ranges), `exact`.
    """

    name: str
    kind: str
    values: tuple[str, ...]
    excluded: bool = False


class Targeting(Item, frozen=True):
    """Which clicks may be taken: those that meet every facet, one of the schedules, the condition and the dates."""

    facets: tuple[Facet, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    condition: str = ""
    starts_ms: int = 0
    ends_ms: int = 0  # not included; 0: never


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
    targeting: Targeting | None = None
    tokens: tuple[str, ...] = ()  # that admit calls for this offer's clicks, and for no other
    allow_addresses: tuple[str, ...] = ()
    deep_link: DeepLink | None = None
    mode: int = 0  # the status of redirects: 302 or 307; 0 is 302


class Basic(Item, frozen=True):
    """User name and password; the password is a secret or a reference to one."""

    user: str
    password: str


class OAuth(Item, frozen=True):
    """Client credentials (RFC 6749, 4.4). `in_body`: id and secret go into the form instead of the header."""

    token_url: str
    client_id: str
    client_secret: str
    scope: str = ""
    audience: str = ""
    in_body: bool = False


class Hmac(Item, frozen=True):
    """A signature over `text`, a template that is rendered for each attempt, sent in a header."""

    header: str
    secret: str
    algorithm: str = "sha256"
    text: str = "{body}"
    encoding: str = "hex"  # or base64
    prefix: str = ""
    timestamp_header: str = ""


class Authentication(Item, frozen=True):
    """How a request proves who sends it. At most one of basic, bearer and oauth; the others may be added to it.

    Secrets are references (`env:NAME`, `file:PATH`) or the secrets themselves; the courier resolves them.
    """

    basic: Basic | None = None
    bearer: str = ""
    oauth: OAuth | None = None
    hmac: Hmac | None = None
    webhooks: tuple[str, ...] = ()  # Standard Webhooks: a signature by each of these secrets
    certificate: str = ""  # PEM files of the client's certificate and its key
    key: str = ""

    @property
    def kind(self) -> str:
        """What is there, in words: `bearer + certificate`."""
        parts = {
            "basic": self.basic, "bearer": self.bearer, "oauth": self.oauth, "hmac": self.hmac,
            "webhooks": self.webhooks, "certificate": self.certificate,
        }  # fmt: skip
        return " + ".join(name for name, part in parts.items() if part)


class Success(Item, frozen=True):
    """What counts as a delivery. Ranges of statuses are inclusive; an empty condition asks for nothing."""

    statuses: tuple[tuple[int, int], ...] = ((200, 299),)
    body_contains: tuple[str, ...] = ()  # any of these
    body_matches: tuple[str, ...] = ()  # any of these globs, over the whole body
    json_path: str = ""
    json_equals: tuple[str, ...] = ()
    give_up: tuple[tuple[int, int], ...] = ((410, 410),)  # statuses after which nothing is tried again


class Batch(Item, frozen=True):
    """One request for many postbacks: `head`, the items joined by `separator`, `tail`.

    An answer's outcome for each item stands in the list at `results_path` (None: the answer is for all of them),
    in the order of the items, or by `id_field` against what `id_text` renders to.
    """

    count: int
    age_ms: int
    item: str
    head: str = "["
    tail: str = "]"
    separator: str = ","
    results_path: str | None = None
    id_field: str = ""
    id_text: str = "{postback_id}"
    ok_field: str = ""
    ok_equals: tuple[str, ...] = ()
    give_up: tuple[str, ...] = ()  # values of `ok_field` after which that item is not tried again


class PostbackRule(Item, frozen=True):
    """When it fires and what is sent. An empty condition means any.

    `no` counts from 1 within the partner, in the catalog's order. `macros` are the names its templates use.
    `scope`: `own` (conversions credited to this partner), `attributed` (credited to anybody), `all`.
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
    name: str = ""
    befores: tuple[str, ...] = ()  # statuses before, `none` for a new conversion
    links: tuple[str, ...] = ()
    advertisers: tuple[str, ...] = ()
    partners: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    condition: str = ""  # an expression
    scope: str = "own"
    delay_ms: int = 0
    first_only: bool = False  # once for each click
    share: float = 1.0  # of the conversions
    events: dict[str, str] = {}  # goal → `{event}`; `*` stands for all others
    missing: str = "empty"  # what a macro without a value means: `empty`, `drop` or `refuse`
    auth: Authentication = Authentication()
    success: Success = Success()
    batch: Batch | None = None
    lane: str = ""  # the name of its own lane among the partner's; empty: the lane that all others share


class Rate(Item, frozen=True):
    """At most `limit` requests in any `per_ms`, up to `burst` of them at once."""

    limit: int
    per_ms: int
    burst: int


class Breaker(Item, frozen=True):
    """When a lane stops trying: a `share` of failures among at least `calls` in `window_ms`; then it tries one request
    after `pause_ms`, twice as long after each that fails, up to `pause_max_ms`. A share of 0: never."""

    share: float
    calls: int
    window_ms: int
    pause_ms: int
    pause_max_ms: int


class Delivery(Item, frozen=True):
    """How a partner's lanes send; 0, None or an empty text means the setting's default."""

    concurrency: int = 0
    connect_timeout_ms: int = 0
    total_timeout_ms: int = 0
    retry_schedule_ms: tuple[int, ...] | None = None
    retry_jitter: float | None = None
    adaptive: bool = True  # whether the concurrency follows how the partner does, up to the limit
    rates: tuple[Rate, ...] = ()  # all hold at once
    first_byte_timeout_ms: int = 0  # 0: only the total one
    retry_age_ms: int = 0  # given up when so much time has passed since the first attempt; 0: by the schedule alone
    retry_statuses: tuple[tuple[int, int], ...] = ()  # tried again, others are given up; empty: every failure is
    retry_after_ms: int = 0  # the longest pause that a partner may ask for
    breaker: Breaker | None = None
    quiet_hours: tuple[Schedule, ...] = ()  # nothing is sent within them
    ordering: str = ""  # `click` or `user`: one at a time and in order for each; empty: none
    on_unknown: str = "resend"  # after a crash: `resend`, `hold` or `drop`
    corrections: bool = False  # whether they are told that what they were told has changed
    http2: bool = False  # where they offer it
    proxy: str = ""  # a URL, or a reference to one
    source_address: str = ""  # where requests leave from
    tls13: bool = False  # nothing older
    ports: tuple[int, ...] = ()  # that may be dialled beside the settings'
    headers: str = "all"  # of Waypost's own: `all`, `standard` (ids under names that others know) or `none`


class Partner(Item, frozen=True):
    """`active: false` refuses their conversions; their rules make postbacks."""

    no: int
    name: str
    rules: tuple[PostbackRule, ...]
    delivery: Delivery = Delivery()
    active: bool = True
    place: str = ""
    click_names: dict[str, str] = {}  # a parameter's name in their click URLs → ours, alias sets merged in
    token: str = ""  # of server-to-server clicks: the secret itself or a reference


class Route(Item, frozen=True):
    """One (link, target offer). `offer` is 0 on the route of a link's clicks that no offer could take."""

    no: int
    link: str
    partner: int
    offer: int


class Target(Item, frozen=True):
    """One offer that a link may lead to. `targeting` is the link's own for it, beside the offer's."""

    route: int
    offer: int
    weight: int = 1
    targeting: Targeting | None = None


class Link(Item, frozen=True):
    """A partner's way to offers.

    `rotation`: `weight` (drawn by weight for each click), `order` (the first that can take it), or what a split test's
    arms hang on: `user`, or the name of a click parameter.
    A click that no target can take goes to the first of `fallbacks` that can, then to one of the first group that has
    one, then to `default`, a URL template; to a blank page where that is empty. `unplaced` is the route of such clicks;
    0 where there can be none.
    """

    name: str
    partner: int
    targets: tuple[Target, ...]
    active: bool = True
    place: str = ""
    rotation: str = "weight"
    fallbacks: tuple[Target, ...] = ()
    groups: tuple[tuple[Target, ...], ...] = ()
    default: str = ""
    unplaced: int = 0
    mode: int = 0  # as an offer's; 0: the offer's
    hides_referrer: bool = False
