"""The shape of a story: what `waypost trace --format json` prints, and what the text is made from.

Owns: the structs. Reads and writes nothing. Fields are only added. Times are Unix milliseconds (`…_ms`), durations of
attempts milliseconds from the attempt's start; amounts are texts with their currency; an event's kind is `event`.
"""

from typing import TypeAlias

import msgspec


class Event(msgspec.Struct, kw_only=True, tag_field="event"):
    """Base: when it happened, and which frame says so (`feed` and `position`)."""

    at_ms: int
    feed: str = ""
    position: int = -1


class SkippedOffer(msgspec.Struct):
    """An offer that could not take a click, and why."""

    offer: str
    code: str
    meaning: str


class ClickEvent(Event, kw_only=True, tag="click"):
    """A touch. `target` is where it was sent, as the catalog in force renders it; `is_stored`: in the click store.

    `visitor` is what the door found out; `skipped` are the offers that could not take it.
    """

    click_id: str
    kind: str
    link: str
    offer: str
    partner: str
    route: int
    parameters: dict[str, str]
    target: str
    catalog: int
    door: int
    is_stored: bool
    test: bool
    ip: str = ""
    user_agent: str = ""
    referrer: str = ""
    mode: str = ""
    visitor: dict[str, str] = {}
    skipped: list[SkippedOffer] = []
    marks: list[str] = []


class CallEvent(Event, kw_only=True, tag="call"):
    """An accepted call, secrets redacted. `state`: judged, parked, unread; `due_ms`: when a parked one is judged."""

    receipt: str
    method: str
    query: str
    body: str
    content_type: str
    door: int
    auth: str
    advertiser: str
    catalog: int
    test: bool
    state: str
    due_ms: int = 0
    ip: str = ""


class CheckLine(msgspec.Struct):
    """One check: `result` is pass, fail or skip."""

    name: str
    result: str
    severity: str
    detail: str
    meaning: str


class RuleLine(msgspec.Struct):
    """One postback rule: the postback it caused, or the condition that stopped it. `wants` are its conditions.

    `partner` is whose rule it is, where that is not the partner whose conversion it is.
    """

    rule: int
    wants: str
    postback: str
    stopped_by: str
    partner: str = ""
    name: str = ""


class DecisionEvent(Event, kw_only=True, tag="decision"):
    """The verdict on a call. `catalog` is the batch's version, `terms_catalog` that of the click's time."""

    receipt: str
    source: str
    source_position: int
    verdict: str
    code: str
    meaning: str
    checks: list[CheckLine]
    advertiser: str
    offer: str
    goal: str
    partner: str
    click_id: str
    txn_id: str
    conversion: str
    status_before: str
    status: str
    sum: str
    revenue: str
    reported: str
    payout: str
    catalog: int
    terms_catalog: int
    rules: list[RuleLine]
    parked_ms: int
    test: bool
    error: str = ""  # of a call that was set aside
    raw: str = ""  # its bytes, as Python writes them


class PostbackEvent(Event, kw_only=True, tag="postback"):
    """A postback that a decision caused; `position` is its place in the outbox.

    `state`: `not taken` (no courier has seen it), `queued`, `in flight`, `dead`, `held`, `delivered`, `dropped`,
    `superseded`, `missing`. `lane_state` says of one that waits what keeps its lane from sending, if anything does.
    """

    id: str
    partner: str
    lane: int
    rule: int
    catalog: int
    conversion: str
    values: dict[str, str]
    state: str
    attempts: int
    due_ms: int
    test: bool
    rule_name: str = ""
    delay_ms: int = 0
    auth: str = ""  # how its request proves who sends it
    batch: int = 0  # how many may share a request; 0: none
    lane_state: str = ""
    corrects: str = ""  # the postback that it corrects
    job: str = ""  # the resend that it is part of
    order_key: str = ""  # one at a time with others of its lane that have the same


class AttemptEvent(Event, kw_only=True, tag="attempt"):
    """One try, for one postback. `is_repeat`: marked as such to the partner."""

    postback: str
    partner: str
    attempt: int
    is_repeat: bool
    reason: str
    method: str
    url: str
    status: int
    address: str
    is_connection_reused: bool
    dns_ms: float
    connect_ms: float
    tls_ms: float
    first_byte_ms: float
    total_ms: float
    code: str
    meaning: str
    detail: str
    result: str
    next_due_ms: int
    body: str
    test: bool
    carried: int = 1  # how many postbacks the request carried


class HandledEvent(Event, kw_only=True, tag="handled"):
    """What became of a postback without an attempt. `result`: held, superseded, dropped, redriven.

    `by` is the operator who wanted it, and `why` what they said; `code` why it had not been delivered.
    """

    postback: str
    partner: str
    attempts: int
    result: str
    why: str
    by: str
    code: str
    meaning: str
    test: bool


class SetAsideEvent(Event, kw_only=True, tag="set_aside"):
    """A frame that no stage could process: where it stands, why, and its bytes."""

    source: str
    source_position: int
    code: str
    detail: str
    raw: str


class ConversionState(msgspec.Struct, kw_only=True):
    """A conversion as the ledger holds it now."""

    id: str
    status: str
    offer: str
    goal: str
    partner: str
    txn_id: str
    sum: str
    revenue: str
    reported: str
    payout: str
    postbacks: int
    created_ms: int
    updated_ms: int
    test: bool


AnyEvent: TypeAlias = (
    ClickEvent | CallEvent | DecisionEvent | PostbackEvent | AttemptEvent | HandledEvent | SetAsideEvent
)


class Story(msgspec.Struct, kw_only=True):
    """All that is known of an id, in order of time. `not_archived` is how many frames each feed is ahead of the
    archive; they were searched too."""

    id: str
    kind: str  # click, receipt, conversion, postback, transaction
    events: list[AnyEvent]
    conversions: list[ConversionState]
    searched: list[str]
    not_archived: dict[str, int]
    partner: str = ""  # the filter, if one was given
