"""Frames become rows of the archive: one frame, one row, in one table.

Input: a feed's name, the position of its first frame, decoded frames. Output: rows by table, as dicts of plain values
whose keys are the table's columns (the archive's engine holds their types, and refuses rows with other keys).
Pure. Never drops a frame: what has no table of its own goes to `others`, what cannot be decoded to `set_aside`.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from waypost.model.frames import (
    Attempt,
    BatchRecord,
    Before,
    Click,
    Decision,
    Frame,
    Impression,
    OperatorChange,
    PostbackIn,
    PostbackOut,
    SetAside,
)
from waypost.model.ids import conversion_text, receipt_text
from waypost.model.money import Money, parse_amount
from waypost.model.wire import Decoded, Unreadable, encode_frame
from waypost.stages.redirect import query_value

Row: TypeAlias = dict[str, Any]

_to_json = msgspec.json.Encoder().encode


def rows_of(feed: str, first: int, frames: Iterable[Decoded]) -> dict[str, list[Row]]:
    """Rows by table of frames that stand at `first` and the positions behind it."""
    tables: dict[str, list[Row]] = {}
    for position, frame in enumerate(frames, first):
        if isinstance(frame, Unreadable):
            table, row = "set_aside", _unreadable(feed, position, frame)
        else:
            table, make = _TABLES.get(type(frame), ("others", _other))
            row = make(position, frame)
        tables.setdefault(table, []).append(row)
    return tables


def _touch(position: int, frame: Click | Impression) -> Row:
    return {
        "position": position,
        "kind": "click" if type(frame) is Click else "impression",
        "ms": frame.ms,
        "door": frame.door,
        "seq": frame.seq,
        "route": frame.route,
        "flags": frame.flags,
        "partition": frame.partition,
        "catalog": frame.catalog,
        "query": frame.query,
        "ip": frame.ip,
        "user_agent": frame.user_agent,
        "referrer": frame.referrer,
        "mode": frame.mode,
        "visitor": _to_json(frame.visitor).decode() if frame.visitor else "{}",
        "skipped": [{"offer": offer, "code": code} for offer, code in frame.skipped],
        "visitor_key": frame.user,
        "marks": list(frame.marks),
        "cost": _cost(frame.query),
    }


def _call(position: int, frame: PostbackIn) -> Row:
    return {
        "position": position,
        "receipt": receipt_text(frame.receipt),
        "at_ms": frame.at_ms,
        "door": frame.door,
        "partition": frame.partition,
        "advertiser": frame.advertiser,
        "auth": int(frame.auth),
        "catalog": frame.catalog,
        "method": frame.method,
        "query": frame.query,
        "body": frame.body,
        "content_type": frame.content_type,
        "ip": frame.ip,
        "test": frame.test,
    }


def _decision(position: int, frame: Decision) -> Row:
    return {
        "position": position,
        "source": frame.source,
        "source_position": frame.position,
        "receipt": receipt_text(frame.receipt),
        "at_ms": frame.at_ms,
        "decided_ms": frame.decided_ms,
        "verdict": str(frame.verdict),
        "code": frame.code,
        "checks": frame.checks,
        "details": _to_json(frame.details).decode() if frame.details else "{}",
        "partition": frame.partition,
        "advertiser": frame.advertiser,
        "offer": frame.offer,
        "goal": frame.goal,
        "partner": frame.partner,
        "route": frame.route,
        "click_id": frame.click_id,
        "click_ms": frame.click_ms,
        "click_door": frame.click_door,
        "click_seq": frame.click_seq,
        "txn_id": frame.txn_id,
        "conversion": conversion_text(frame.conversion) if frame.conversion else "",
        "status_before": frame.status_before,
        "status": frame.status,
        "sum": _amount(frame.sum),
        "sum_currency": _currency(frame.sum),
        "revenue": _amount(frame.revenue),
        "revenue_currency": _currency(frame.revenue),
        "reported": _amount(frame.reported),
        "reported_currency": _currency(frame.reported),
        "payout": _amount(frame.payout),
        "payout_currency": _currency(frame.payout),
        "catalog": frame.catalog,
        "terms_catalog": frame.terms_catalog,
        "rules": [
            {"rule": outcome.rule, "postback": outcome.postback, "stopped_by": outcome.stopped_by}
            for outcome in frame.rules
        ],
        "rule_partners": [outcome.partner or frame.partner for outcome in frame.rules],
        "test": frame.test,
        "parked_ms": frame.parked_ms,
        "raw": frame.raw,
    }


def _batch(position: int, frame: BatchRecord) -> Row:
    return {
        "position": position,
        "batch": frame.batch,
        "now_ms": frame.now_ms,
        "catalog": frame.catalog,
        "decisions": frame.decisions,
        "postbacks": frame.postbacks,
        "parked": frame.parked,
        "released": frame.released,
        "rates": frame.rates,
        "geo": frame.geo,
        "ranges": [
            {
                "source": taken.source,
                "start_position": taken.start,
                "end_position": taken.end,
                "watermark_ms": taken.watermark_ms,
                "clicks": taken.clicks,
                "calls": taken.calls,
                "others": taken.others,
            }
            for taken in frame.ranges
        ],
    }


def _postback(position: int, frame: PostbackOut) -> Row:
    return {
        "position": position,
        "id": frame.id,
        "lane": frame.lane,
        "partner": frame.partner,
        "partition": frame.partition,
        "conversion": conversion_text(frame.conversion) if frame.conversion else "",
        "catalog": frame.catalog,
        "rule": frame.rule,
        "created_ms": frame.created_ms,
        "accepted_ms": frame.accepted_ms,
        "macro_values": _to_json(frame.values).decode(),
        "test": frame.test,
        "due_ms": frame.due_ms,
        "batched": frame.batched,
        "order_key": frame.key,
        "corrects": frame.corrects,
        "job": frame.job,
        "begun": frame.begun,
        "first_ms": frame.first_ms,
    }


def _attempt(position: int, frame: Attempt) -> Row:
    return {
        "position": position,
        "lane": frame.lane,
        "partner": frame.partner,
        "at_ms": frame.at_ms,
        "reason": str(frame.reason),
        "method": frame.method,
        "url": frame.url,
        "status": frame.status,
        "address": frame.address,
        "code": frame.code,
        "detail": frame.detail,
        "dns_us": frame.dns_us,
        "connect_us": frame.connect_us,
        "tls_us": frame.tls_us,
        "first_byte_us": frame.first_byte_us,
        "total_us": frame.total_us,
        "reused": frame.reused,
        "body": frame.body,
        "test": frame.test,
        "outcomes": [
            {
                "id": outcome.id,
                "seq": outcome.seq,
                "attempt": outcome.attempt,
                "result": str(outcome.result),
                "code": outcome.code,
                "next_due_ms": outcome.next_due_ms,
            }
            for outcome in frame.outcomes
        ],
        "counted": [outcome.counted for outcome in frame.outcomes],
        "by": frame.by,
    }


def _change(position: int, frame: OperatorChange) -> Row:
    return {
        "position": position,
        "at_ms": frame.at_ms,
        "kind": frame.kind,
        "subject": frame.subject,
        "value": frame.value,
        "by": frame.by,
    }


def _set_aside(position: int, frame: SetAside) -> Row:
    return {
        "position": position,
        "source": frame.source,
        "source_position": frame.position,
        "at_ms": frame.at_ms,
        "code": frame.code,
        "detail": frame.detail,
        "raw": frame.raw,
    }


def _unreadable(feed: str, position: int, frame: Unreadable) -> Row:
    """A frame that this release cannot decode stands where it was found."""
    return {
        "position": position,
        "source": feed,
        "source_position": position,
        "at_ms": 0,
        "code": "unreadable_frame",
        "detail": frame.why,
        "raw": frame.raw,
    }


def _other(position: int, frame: Frame) -> Row:
    return {
        "position": position,
        "kind": type(frame).__name__,
        "at_ms": getattr(frame, "at_ms", 0),
        "raw": encode_frame(frame),
    }


def _before(position: int, frame: Before) -> Row:
    """Only its place: it serves replay, and the decisions before it tell the rest."""
    return {"position": position, "kind": "Before", "at_ms": 0, "raw": b""}


def _cost(query: bytes) -> str:
    """What the click says it cost; empty unless it is a plain amount that is not negative."""
    text = query_value(query, b"cost") if b"cost=" in query else None
    amount = parse_amount(text) if text else None
    return f"{amount:f}" if amount is not None and amount >= 0 else ""


def _amount(money: Money | None) -> str:
    return f"{money.amount:f}" if money is not None else ""


def _currency(money: Money | None) -> str:
    return money.currency if money is not None else ""


_TABLES: dict[type, tuple[str, Callable[[int, Any], Row]]] = {
    Click: ("clicks", _touch),
    Impression: ("clicks", _touch),
    PostbackIn: ("calls", _call),
    Decision: ("decisions", _decision),
    BatchRecord: ("batches", _batch),
    PostbackOut: ("postbacks", _postback),
    Attempt: ("attempts", _attempt),
    OperatorChange: ("changes", _change),
    SetAside: ("set_aside", _set_aside),
    Before: ("others", _before),
}
