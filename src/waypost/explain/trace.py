"""`waypost trace`: the whole story of an id, in order, with every reason.

Owns: how rows become events with names in place of numbers. Reads what `search.py` found, catalog versions, and the
ledger, lanes and click store for how things stand now. Writes nothing, and never shows a secret.
"""

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import msgspec

from waypost.catalog.aliases import TOKEN_NAMES
from waypost.errors import ERRORS, WaypostError
from waypost.explain.lane_words import control_text
from waypost.explain.names import Names
from waypost.explain.redact import redact_body, redact_query
from waypost.explain.rules import rule_lines
from waypost.explain.search import Found, retried
from waypost.explain.sources import ExplainSources
from waypost.explain.story import (
    AnyEvent,
    AttemptEvent,
    CallEvent,
    CheckLine,
    ClickEvent,
    ConversionState,
    DecisionEvent,
    HandledEvent,
    PostbackEvent,
    SetAsideEvent,
    SkippedOffer,
    Story,
)
from waypost.model.frames import Auth, Conversion, SendResult
from waypost.model.ids import FLAG_TEST, ClickIdCodec, ClickKey, conversion_text, parse_numbered
from waypost.model.money import Money, amount_text
from waypost.ports.lanes import ItemState, LaneItem
from waypost.stages.archive_rows import Row
from waypost.stages.checks import CHECKS, OTHER_CODES
from waypost.stages.intake import decode_pairs
from waypost.stages.targeting import skip_meaning

_RESULTS = {"p": "pass", "f": "fail", "s": "skip"}
_STATES = {
    ItemState.QUEUED: "queued",
    ItemState.IN_FLIGHT: "in flight",
    ItemState.DEAD: "dead",
    ItemState.HELD: "held",
}
_ENDS = {SendResult.DELIVERED: "delivered", SendResult.DROPPED: "dropped", SendResult.SUPERSEDED: "superseded"}
_STANDS = {SendResult.GIVEN_UP: "dead", SendResult.HELD: "held"}  # queued after all others
_HANDLED = frozenset({SendResult.SUPERSEDED, SendResult.DROPPED, SendResult.REDRIVEN})
_CODE_MEANINGS = {
    "repeated_key": "the call's idempotency key was used before: the first call counts",
    "duplicate": "the conversion is there already, and the call changes nothing of it",
    **{check.code: f"not so: {check.meaning}" for check in CHECKS},
    **OTHER_CODES,
}
_ORDER = (
    "click",
    "call",
    "set_aside",
    "decision",
    "postback",
    "attempt",
    "handled",
)  # of events in the same millisecond


def trace(text: str, sources: ExplainSources, *, partner: str = "") -> Story:
    """The story of a click id, receipt, transaction, conversion or postback id.

    `partner` (a name or number) leaves only that partner's decisions, postbacks and attempts, and the clicks and calls
    that they come from. Raises WaypostError `not_found` with what was searched.
    """
    text = text.strip()
    search, found = retried(sources, text)
    names = Names(sources.catalogs)
    try:
        teller = _Teller(sources, names, found)
        events = teller.events()
        searched = _searched(sources)
        if partner and events:
            events = _of_partner(events, partner, names)
            if not events:
                raise WaypostError("not_found", f"nothing of it concerns partner {partner}", place=text)
        if not events:
            behind = sum(search.not_archived.values())
            raise WaypostError(
                "not_found",
                f"no {found.kind} of this id in {', '.join(searched)}",
                place=text,
                hint=f"check the id; {behind} frames beyond the archive were searched too",
            )
        return Story(
            id=text,
            kind=found.kind,
            events=events,
            conversions=teller.conversions(partner),
            searched=searched,
            not_archived=search.not_archived,
            partner=partner,
        )
    finally:
        names.close()


def _searched(sources: ExplainSources) -> list[str]:
    places = ["archive", *sources.feed_names()]
    if sources.ledger is not None:
        places.append("ledger")
    if sources.lanes:
        places.append("lanes")
    return places


def _of_partner(events: list[AnyEvent], partner: str, names: Names) -> list[AnyEvent]:
    """Decisions, postbacks and attempts of one partner, and the clicks and calls behind them."""
    wanted = partner
    view = names.view(0)
    if partner.isdigit() and view is not None and (known := view.partner(int(partner))) is not None:
        wanted = known.name
    kept: list[AnyEvent] = []
    for event in events:
        is_theirs = (
            isinstance(event, ClickEvent | DecisionEvent | PostbackEvent | AttemptEvent | HandledEvent)
            and event.partner == wanted
        )
        if is_theirs or (isinstance(event, DecisionEvent) and any(rule.partner == wanted for rule in event.rules)):
            kept.append(event)
    receipts = {event.receipt for event in kept if isinstance(event, DecisionEvent)}
    is_whole = any(isinstance(event, ClickEvent) for event in kept)  # their click: its undecided calls concern them too
    for event in events:
        if isinstance(event, CallEvent) and (event.receipt in receipts or (is_whole and event.state != "judged")):
            kept.append(event)
    return sorted(kept, key=_when)


def _when(event: AnyEvent) -> tuple[int, int, str, int]:
    return event.at_ms, _ORDER.index(str(event.__struct_config__.tag)), event.feed, event.position


class _Teller:
    """Makes events of rows."""

    def __init__(self, sources: ExplainSources, names: Names, found: Found) -> None:
        self._sources = sources
        self._names = names
        self._found = found
        self._codec = ClickIdCodec(sources.ring)
        self._decided = {(row["source"], row["source_position"]) for row in found.of("decisions")}

    def events(self) -> list[AnyEvent]:
        """All of them in order of time."""
        makers: dict[str, Callable[[Row], list[AnyEvent]]] = {
            "clicks": self._click,
            "calls": self._call,
            "decisions": self._decision,
            "postbacks": self._postback,
            "attempts": self._attempts,
            "set_aside": self._set_aside,
        }
        events = [event for table, make in makers.items() for row in self._found.of(table) for event in make(row)]
        return sorted(events, key=_when)

    def conversions(self, partner: str) -> list[ConversionState]:
        """How the story's conversions stand in the ledger now."""
        ledger = self._sources.ledger
        if ledger is None:
            return []
        numbers = {
            number
            for row in self._found.of("decisions")
            if (number := parse_numbered(row["conversion"], "c")) is not None
        }
        held = [conversion for number in sorted(numbers) if (conversion := ledger.conversion(number)) is not None]
        states = [self._conversion(conversion) for conversion in held]
        return [state for state in states if not partner or state.partner == partner or partner.isdigit()]

    def _conversion(self, held: Conversion) -> ConversionState:
        names = self._names
        return ConversionState(
            id=conversion_text(held.receipt),
            status=str(held.status),
            offer=names.offer_name(held.terms_catalog, held.offer),
            goal=held.goal,
            partner=names.partner_name(0, held.partner),
            txn_id=held.txn_id,
            sum=_money(held.sum),
            revenue=_money(held.revenue),
            reported=_money(held.reported),
            payout=_money(held.payout),
            postbacks=held.postbacks,
            created_ms=held.created_ms,
            updated_ms=held.updated_ms,
            test=held.test,
        )

    def _click(self, row: Row) -> list[AnyEvent]:
        key = ClickKey(row["ms"], row["door"], row["seq"])
        text = self._found.click_texts.get(key) or self._codec.encode(*key, row["route"], row["flags"])
        version = row["catalog"]
        route = self._names.route(version, row["route"])
        clicks = self._sources.clicks
        visitor = msgspec.json.decode(row["visitor"] or "{}", type=dict[str, str])
        return [
            ClickEvent(
                at_ms=row["ms"],
                feed=row["feed"],
                position=row["position"],
                click_id=text,
                kind=row["kind"],
                link=route.link if route is not None else "",
                offer=self._names.offer_name(version, route.offer) if route is not None else "",
                partner=self._names.partner_name(version, route.partner) if route is not None else "",
                route=row["route"],
                parameters=decode_pairs(row["query"]),
                target=self._names.target(version, route, text, row["query"], visitor) if route is not None else "",
                catalog=version,
                door=row["door"],
                is_stored=clicks is not None and bool(clicks.get_many([key])),
                test=bool(row["flags"] & FLAG_TEST),
                ip=row["ip"],
                user_agent=_printable(row["user_agent"]),
                referrer=_printable(row["referrer"]),
                mode=row["mode"] or "",
                visitor=visitor,
                skipped=[
                    SkippedOffer(self._names.offer_name(version, one["offer"]), one["code"], skip_meaning(one["code"]))
                    for one in row["skipped"] or ()
                ],
                marks=list(row["marks"] or ()),
            )
        ]

    def _call(self, row: Row) -> list[AnyEvent]:
        place = (row["feed"], row["position"])
        state, due_ms = ("judged", 0) if place in self._decided else self._found.undecided.get(place, ("unread", 0))
        advertiser = self._names.advertiser(row["catalog"], row["advertiser"])
        secrets = {*TOKEN_NAMES, *(advertiser.parameters.get("token", ()) if advertiser is not None else ())}
        return [
            CallEvent(
                at_ms=row["at_ms"],
                feed=row["feed"],
                position=row["position"],
                receipt=row["receipt"],
                method=row["method"],
                query=redact_query(row["query"], secrets),
                body=redact_body(row["body"], row["content_type"], secrets),
                content_type=row["content_type"],
                door=row["door"],
                auth=Auth(row["auth"]).name.lower(),
                advertiser=self._names.advertiser_name(row["catalog"], row["advertiser"]),
                catalog=row["catalog"],
                test=row["test"],
                state=state,
                due_ms=due_ms,
                ip=row["ip"],
            )
        ]

    def _decision(self, row: Row) -> list[AnyEvent]:
        version = row["catalog"]
        terms = row["terms_catalog"] or version
        details: dict[str, str] = msgspec.json.decode(row["details"], type=dict[str, str])
        return [
            DecisionEvent(
                at_ms=row["decided_ms"],
                feed=row["feed"],
                position=row["position"],
                receipt=row["receipt"],
                source=row["source"],
                source_position=row["source_position"],
                verdict=row["verdict"],
                code=row["code"],
                meaning="; it ".join(filter(None, (_meaning(row["code"]), details.get("idempotency_key", "")))),
                checks=_checks(row["checks"], details),
                advertiser=self._names.advertiser_name(version, row["advertiser"]),
                offer=self._names.offer_name(terms, row["offer"]),
                goal=row["goal"],
                partner=self._names.partner_name(version, row["partner"]),
                click_id=row["click_id"],
                txn_id=row["txn_id"],
                conversion=row["conversion"],
                status_before=row["status_before"],
                status=row["status"],
                sum=_amount(row, "sum"),
                revenue=_amount(row, "revenue"),
                reported=_amount(row, "reported"),
                payout=_amount(row, "payout"),
                catalog=version,
                terms_catalog=row["terms_catalog"],
                rules=rule_lines(row, self._names, self._country_of(row)),
                parked_ms=row["parked_ms"],
                test=row["test"],
                error=details.get("error", ""),
                raw=_printable(row["raw"]),
            )
        ]

    def _country_of(self, decision: Row) -> str:
        """Of the visitor whose click the decision is about."""
        key = (decision["click_ms"], decision["click_door"], decision["click_seq"])
        for row in self._found.of("clicks"):
            if (row["ms"], row["door"], row["seq"]) == key:
                return msgspec.json.decode(row["visitor"] or "{}", type=dict[str, str]).get("country", "")
        return ""

    def _postback(self, row: Row) -> list[AnyEvent]:
        attempts = [
            outcome
            for attempt in sorted(self._found.of("attempts"), key=itemgetter("position"))
            for outcome in attempt["outcomes"]
            if outcome["id"] == row["id"] and outcome["seq"] == row["position"]
        ]
        item = self._lane_item(row)
        state = self._postback_state(row, item, attempts)
        rule = self._names.rule(row["catalog"], row["partner"], row["rule"])
        return [
            PostbackEvent(
                at_ms=row["created_ms"],
                feed=row["feed"],
                position=row["position"],
                id=row["id"],
                partner=self._names.partner_name(row["catalog"], row["partner"]),
                lane=row["lane"],
                rule=row["rule"],
                catalog=row["catalog"],
                conversion=row["conversion"],
                values=msgspec.json.decode(row["macro_values"], type=dict[str, str]),
                state=state,
                attempts=max([item.attempt if item is not None else 0, *(one["attempt"] for one in attempts)]),
                due_ms=item.due_ms if item is not None else row["due_ms"] or 0,
                test=row["test"],
                rule_name=rule.name if rule is not None else "",
                delay_ms=rule.delay_ms if rule is not None else 0,
                auth=rule.auth.kind if rule is not None else "",
                batch=rule.batch.count if rule is not None and rule.batch is not None else 0,
                lane_state=self._lane_state(row["lane"]) if state in ("queued", "not taken") else "",
                corrects=row["corrects"] or "",
                job=row["job"] or "",
                order_key=row["order_key"] or "",
            )
        ]

    def _lane_item(self, row: Row) -> LaneItem | None:
        """The item of this place in the outbox; one that was sent anew since has another."""
        shard = self._sources.lane_shard(row["lane"])
        item = shard.item(row["id"]) if shard is not None else None
        return item if item is not None and item.seq == row["position"] else None

    def _lane_state(self, lane: int) -> str:
        shard = self._sources.lane_shard(lane)
        return control_text(shard.controls().get(lane)) if shard is not None else ""

    def _postback_state(self, row: Row, item: LaneItem | None, outcomes: list[dict[str, Any]]) -> str:
        for outcome in outcomes:
            if outcome["result"] in _ENDS:
                return _ENDS[outcome["result"]]
        if item is not None:
            return _STATES[item.state]
        shard = self._sources.lane_shard(row["lane"])
        if shard is None or row["position"] >= shard.outbox_position():
            return "not taken"
        newest = shard.item(row["id"])
        if newest is None or newest.seq < row["position"]:
            return "missing"
        return _STANDS.get(outcomes[-1]["result"], "queued") if outcomes else "queued"

    def _attempts(self, row: Row) -> list[AnyEvent]:
        ids = {postback["id"] for postback in self._found.of("postbacks")}
        wanted = [outcome for outcome in row["outcomes"] if not ids or outcome["id"] in ids]
        return [self._handled(row, one) if _is_handled(row, one) else self._attempt(row, one) for one in wanted]

    def _handled(self, row: Row, outcome: dict[str, Any]) -> AnyEvent:
        return HandledEvent(
            at_ms=row["at_ms"],
            feed=row["feed"],
            position=row["position"],
            postback=outcome["id"],
            partner=self._names.partner_name(0, row["partner"]),
            attempts=outcome["attempt"],
            result=outcome["result"],
            why=row["detail"],
            by=row["by"] or "",
            code=outcome["code"],
            meaning=_meaning(outcome["code"]),
            test=row["test"],
        )

    def _attempt(self, row: Row, outcome: dict[str, Any]) -> AnyEvent:
        # A resend's attempts count on from those that were begun before it, as the partner sees them.
        begun = (one["begun"] or 0 for one in self._found.of("postbacks") if one["position"] == outcome["seq"])
        attempt = outcome["attempt"] + next(begun, 0)
        return AttemptEvent(
            at_ms=row["at_ms"],
            feed=row["feed"],
            position=row["position"],
            postback=outcome["id"],
            partner=self._names.partner_name(0, row["partner"]),
            attempt=attempt,
            is_repeat=attempt > 1,
            reason=row["reason"],
            method=row["method"],
            url=row["url"],
            status=row["status"],
            address=row["address"],
            is_connection_reused=row["reused"],
            dns_ms=row["dns_us"] / 1000,
            connect_ms=row["connect_us"] / 1000,
            tls_ms=row["tls_us"] / 1000,
            first_byte_ms=row["first_byte_us"] / 1000,
            total_ms=row["total_us"] / 1000,
            code=outcome["code"] or row["code"],
            meaning=_meaning(outcome["code"] or row["code"]),
            detail=row["detail"],
            result=outcome["result"],
            next_due_ms=outcome["next_due_ms"],
            body=_printable(row["body"]),
            test=row["test"],
            carried=len(row["outcomes"]),
        )

    def _set_aside(self, row: Row) -> list[AnyEvent]:
        return [
            SetAsideEvent(
                at_ms=row["at_ms"],
                feed=row["feed"],
                position=row["position"],
                source=row["source"],
                source_position=row["source_position"],
                code=row["code"],
                detail=row["detail"],
                raw=_printable(row["raw"]),
            )
        ]


def _is_handled(row: Row, outcome: dict[str, Any]) -> bool:
    """Whether it came of no attempt. One of which it is not known whether it arrived is an attempt all the same."""
    is_request = bool(row["method"] or row["code"])
    return outcome["result"] in _HANDLED or (outcome["result"] == SendResult.HELD and not is_request)


def _checks(letters: str, details: dict[str, str]) -> list[CheckLine]:
    """Each check of the registry for which the decision holds a letter; an older decision has fewer."""
    lines = []
    for letter, check in zip(letters, CHECKS, strict=False):
        detail = details.get(check.name, "")
        if letter == "s" and not detail and check.needs:
            detail = f"{check.needs}: not known or not there"
        lines.append(CheckLine(check.name, _RESULTS.get(letter, letter), check.severity, detail, check.meaning))
    for nth, letter in enumerate(letters[len(CHECKS) :], len(CHECKS) + 1):
        lines.append(CheckLine(f"check {nth}", _RESULTS.get(letter, letter), "", "", "of a newer release"))
    return lines


def _meaning(code: str) -> str:
    if not code:
        return ""
    if code in _CODE_MEANINGS:
        return _CODE_MEANINGS[code]
    return ERRORS[code].meaning if code in ERRORS else ""


def _money(money: Money | None) -> str:
    return str(money) if money is not None else ""


def _amount(row: Row, name: str) -> str:
    """A decision's amount as people read it: `1.20 USD`."""
    if not row[name]:
        return ""
    money = msgspec.convert((row[name], row[f"{name}_currency"]), Money, strict=False)
    return f"{amount_text(money)} {money.currency}"


def _printable(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
