"""The vocabulary as typed structs: what journals, ledger and lanes carry between stages.

Owns: the structs and their tags. Each is written as a MessagePack array whose first item is its tag.
Rules that keep an older and a newer release able to read each other: a tag is never reused; a field is only
ever added at the end and with a default; a field's meaning never changes. Never holds behaviour.

Times are Unix milliseconds, names end in `_ms`. Numbers of advertisers, partners, offers and routes are those
that `catalog apply` assigned. `catalog` is a catalog version.
"""

from enum import IntEnum, StrEnum

import msgspec

from waypost.model.money import Money


class Status(StrEnum):
    """A conversion's status (`hold` approves itself later)."""

    __hash__ = str.__hash__  # as equality is; an enum's own is a call of Python code, and by the name

    PENDING = "pending"
    APPROVED = "approved"
    DECLINED = "declined"
    HOLD = "hold"


class Verdict(StrEnum):
    """The one terminal outcome of an accepted call (law 5)."""

    __hash__ = str.__hash__  # as above

    NEW = "new"
    UPDATED = "updated"
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    SET_ASIDE = "set_aside"


class Auth(IntEnum):
    """What the door could say of a call's authenticity."""

    TOKEN = 1  # the advertiser's token was there to see and is right
    DEFERRED = 2  # not to be seen without parsing: the pipeline judges
    GLOBAL = 3  # the installation's token: the click says whose call it is
    OFFER = 4  # an offer's token: good for that offer's clicks only
    SIGNATURE = 5  # signed over a canonical string under the advertiser's key
    BROWSER = 6  # no secret: a page's script or pixel reported it, from a permitted origin


class SendResult(StrEnum):
    """How one attempt ended for one postback; the last four come without an attempt of their own."""

    DELIVERED = "delivered"
    RETRY = "retry"
    GIVEN_UP = "given_up"  # a dead letter
    UNKNOWN = "unknown"  # the courier died between intent and outcome
    HELD = "held"  # waits for a human
    SUPERSEDED = "superseded"  # a correction took its place before it was ever sent
    DROPPED = "dropped"  # by an operator, who says why
    REDRIVEN = "redriven"  # a dead letter or a held one stands in its lane again


class AttemptReason(StrEnum):
    """Why an attempt is made."""

    FIRST = "first"
    RETRY = "retry"
    UNKNOWN_AFTER_CRASH = "unknown-after-crash"
    RESEND = "resend"
    CORRECTION = "correction"


class Frame(msgspec.Struct, array_like=True, gc=False):
    """Base of everything that is written; subclasses carry an integer tag."""


class Click(Frame, tag=1):
    """A touch, as a door took it. (ms, door, seq) is its key; `query` is the raw query string.

    `visitor` holds what the door found out and a decision may use: country, region, city, isp, device, os, os_version,
    browser, browser_version, language, bot. `skipped` says of offers that could not take it (number, reason).
    `user` is a keyed hash that tells visitors apart and names nobody. `marks`: `duplicate`, `prefetch`, `returning`.
    """

    ms: int
    door: int
    seq: int
    route: int
    flags: int
    partition: int
    catalog: int
    query: bytes
    ip: str = ""  # as the catalog's privacy settings let it be kept: truncated, hashed, whole or none
    user_agent: bytes = b""
    referrer: bytes = b""
    mode: str = ""  # how it came, where that is not a redirect: `json`, `server`, `pixel`, `script`
    visitor: dict[str, str] = {}
    skipped: tuple[tuple[int, str], ...] = ()
    user: bytes = b""
    marks: tuple[str, ...] = ()


class Impression(Frame, tag=2):
    """A view, as a door took it; same fields as a click."""

    ms: int
    door: int
    seq: int
    route: int
    flags: int
    partition: int
    catalog: int
    query: bytes
    ip: str = ""  # as the catalog's privacy settings let it be kept: truncated, hashed, whole or none
    user_agent: bytes = b""
    referrer: bytes = b""
    mode: str = ""  # how it came, where that is not a redirect: `json`, `server`, `pixel`, `script`
    visitor: dict[str, str] = {}
    skipped: tuple[tuple[int, str], ...] = ()
    user: bytes = b""
    marks: tuple[str, ...] = ()


class PostbackIn(Frame, tag=3):
    """A server-to-server call, as a door took it; nothing in it is parsed yet.

    `receipt` is the number that the caller was given; `advertiser` is 0 where the door could not know it. `offer` is
    that of the offer's token, if such a one was sent. `keyed` receipts were made from the caller's idempotency key:
    a second frame with the same receipt is a repeat of the first. `origin` says which way it came where that is not
    `/postback`: `lines`, `grpc`, `browser`.
    """

    receipt: int
    at_ms: int
    door: int
    partition: int
    advertiser: int
    auth: Auth
    catalog: int
    method: str
    query: bytes
    body: bytes = b""
    content_type: str = ""
    ip: str = ""
    test: bool = False
    offer: int = 0
    keyed: bool = False
    origin: str = ""


class Event(Frame, tag=4):
    """An app's report by SDK or server."""

    receipt: int
    at_ms: int
    door: int
    partition: int
    app: str
    body: bytes


class Claim(Frame, tag=5):
    """A self-attributing network's statement that it touched the user."""

    at_ms: int
    partition: int
    network: str
    subject: str
    touched_ms: int
    body: bytes


class NetworkAnswer(Frame, tag=6):
    """What a network answered to a query, claim or not."""

    at_ms: int
    partition: int
    network: str
    query_id: str
    status: int
    body: bytes


class OperatorChange(Frame, tag=7):
    """An operator's act that can change decisions: a catalog's activation, a pause, a manual decision."""

    at_ms: int
    kind: str  # e.g. `catalog_activated`
    subject: str
    value: str
    by: str = ""


class Conversion(Frame, tag=8):
    """A conversion as the ledger holds it. `receipt` is that of the call that created it and names it."""

    receipt: int
    identity: bytes
    partition: int
    status: Status
    click_ms: int
    click_door: int
    click_seq: int
    route: int
    advertiser: int
    offer: int
    goal: str
    partner: int
    txn_id: str
    sum: Money | None
    revenue: Money | None
    reported: Money | None
    payout: Money | None
    terms_catalog: int
    created_ms: int
    updated_ms: int
    postbacks: int = 0  # how many have been caused so far
    caps: tuple[tuple[str, int], ...] = ()  # (cap key, counted) of what this conversion uses
    test: bool = False
    unconfirmed: bool = False  # a page reported it, and the advertiser's server has not yet
    told: tuple[tuple[int, int, int], ...] = ()  # by rule key: its last postback's number, and a digest of what it said


class RuleOutcome(Frame, tag=16):
    """For one postback rule: the id of the postback it caused, or the condition that stopped it.

    `partner` is whose rule it is; 0: of the partner whose conversion it is.
    """

    rule: int
    postback: str = ""
    stopped_by: str = ""
    partner: int = 0


class Decision(Frame, tag=9):
    """The verdict on one accepted call, with every check's result.

    `source` and `position` say which frame was judged. `checks` has a letter a check in the registry's order:
    `p` pass, `f` fail, `s` skip; `details` explains fails and skips by check name.
    """

    source: str
    position: int
    receipt: int
    at_ms: int
    decided_ms: int
    verdict: Verdict
    code: str = ""
    checks: str = ""
    details: dict[str, str] = {}
    partition: int = 0
    advertiser: int = 0
    offer: int = 0
    goal: str = ""
    partner: int = 0
    route: int = 0
    click_id: str = ""
    click_ms: int = 0
    click_door: int = 0
    click_seq: int = 0
    txn_id: str = ""
    conversion: int = 0  # the receipt that names the conversion; 0 if there is none
    status_before: str = ""
    status: str = ""
    sum: Money | None = None
    revenue: Money | None = None
    reported: Money | None = None
    payout: Money | None = None
    catalog: int = 0  # of the batch
    terms_catalog: int = 0  # at click time
    rules: tuple[RuleOutcome, ...] = ()
    test: bool = False
    parked_ms: int = 0  # when it was first parked; 0 if it never was
    raw: bytes = b""  # a set-aside item's bytes


class PostbackOut(Frame, tag=10):
    """A call to a partner that a decision caused; values are already filtered by the privacy policy.

    The template is rule `rule` of partner `partner` in catalog version `catalog`.
    """

    id: str
    lane: int
    partner: int
    partition: int
    conversion: int
    catalog: int
    rule: int
    created_ms: int
    accepted_ms: int  # when the call that caused it was accepted
    values: dict[str, str]
    test: bool = False
    due_ms: int = 0  # not to be sent before; 0: at once
    batched: bool = False  # may share a request with others of the same rule
    key: str = ""  # one at a time with the others of its lane that have the same, in order; empty: no order
    corrects: str = ""  # the id of the postback that this one corrects
    job: str = ""  # the job of resends that put it here: `id` is that of a postback that is sent again …
    begun: int = 0  # … of which so many attempts were begun before (0: it was never sent, and is no repeat) …
    first_ms: int = 0  # … the first one at this time


class Outcome(Frame, tag=14):
    """What an attempt meant for one postback."""

    id: str
    seq: int  # place in the outbox
    attempt: int
    result: SendResult
    code: str = ""
    next_due_ms: int = 0
    counted: bool = True  # False: the retry policy does not count it, for no partner was to blame
    successor: int = 0  # of what was superseded: the place of what took its place


class Attempt(Frame, tag=11):
    """One try: one request, carrying one or more postbacks, and an outcome for each.

    Durations are microseconds from the start, as libcurl measures them; `url` has secrets redacted.
    """

    lane: int
    partner: int
    at_ms: int
    reason: AttemptReason
    method: str
    url: str
    outcomes: tuple[Outcome, ...]
    status: int = 0
    address: str = ""
    code: str = ""
    detail: str = ""
    dns_us: int = 0
    connect_us: int = 0
    tls_us: int = 0
    first_byte_us: int = 0
    total_us: int = 0
    reused: bool = False
    body: bytes = b""  # the answer's first bytes, within a bound
    test: bool = False
    by: str = ""  # who wanted it, where no request was made: an operator; `detail` says why


class Receipt(Frame, tag=12):
    """What an accepted call is answered with."""

    receipt: int
    at_ms: int
    status: int = 1


class SourceRange(Frame, tag=17):
    """What a batch took from one journal: positions from `start` up to, not including, `end`."""

    source: str
    start: int
    end: int
    watermark_ms: int
    clicks: int = 0
    calls: int = 0
    others: int = 0
    resends: int = 0  # of the others, those that the batch obeyed


class BatchRecord(Frame, tag=13):
    """What a ledger commit was computed from; with the journals it makes the decisions again."""

    batch: int
    now_ms: int
    catalog: int
    ranges: tuple[SourceRange, ...]
    decisions: int
    postbacks: int
    parked: int = 0  # calls parked by this batch
    released: int = 0  # parked calls that this batch decided
    rates: int = 0
    geo: int = 0


class Resend(Frame, tag=19):
    """A step of a job of resends, as a command writes it to the operator's journal and the pipeline obeys it.

    `kind`: `begin`, `again` (`postback` as it was, with `begun` and `first_ms` of now), `missing` (tells of
    `conversion` what rules of today would, but for those whose keys are in `told`; only rules of `partner`, unless that
    is 0), `end`, `cancel`. `place` grows from step to step of a job: what does not lie beyond the last one was taken
    already.
    """

    at_ms: int
    job: str
    kind: str
    place: int = 0
    by: str = ""
    text: str = ""  # of `begin`, what was asked for, JSON; of `cancel`, why
    every_us: int = 0  # of `begin`: the time from one postback to the next; 0: none
    postback: PostbackOut | None = None
    conversion: int = 0
    partner: int = 0
    told: tuple[int, ...] = ()
    accepted_ms: int = 0  # when the call that made the conversion was accepted
    click: Click | None = None
    click_id: str = ""


class ResendJob(Frame, tag=20):
    """A job of resends as far as the pipeline has come with it. `refused` counts by the reason's name."""

    id: str
    at_ms: int = 0
    by: str = ""
    text: str = ""
    every_us: int = 0
    taken: int = -1  # the place of the last step
    next_us: int = 0  # not before this time is the next postback due
    added: int = 0
    refused: dict[str, int] = {}
    state: str = ""  # `adding`, `added` or `cancelled`; empty: not there
    why: str = ""


class SetAside(Frame, tag=15):
    """A frame that no stage could process, kept with its bytes and its error."""

    source: str
    position: int
    at_ms: int
    code: str
    detail: str
    raw: bytes


class Before(Frame, tag=18):
    """What a batch was about to change, as it stood: from it and today's ledger follows the state at any past batch.

    `conversions` before their first update in the batch; `released` the parked calls that it decided; `fired` the
    (click's ms, door, seq, rule key) that it added; `keyed` what was known of keyed receipts that it noted: (receipt,
    source, position, at_ms, content), with an empty source where nothing was; `jobs` with an empty state likewise.
    """

    conversions: tuple[Conversion, ...] = ()
    released: tuple[PostbackIn, ...] = ()
    fired: tuple[tuple[int, int, int, int], ...] = ()
    keyed: tuple[tuple[int, str, int, int, bytes], ...] = ()
    jobs: tuple[ResendJob, ...] = ()


AnyFrame = (
    Click
    | Impression
    | PostbackIn
    | Event
    | Claim
    | NetworkAnswer
    | OperatorChange
    | Conversion
    | Decision
    | PostbackOut
    | Attempt
    | Receipt
    | BatchRecord
    | Outcome
    | SetAside
    | Before
    | Resend
    | ResendJob
)
