"""The archive's tables: the one list of their columns and types.

Owns: names and DuckDB types of all columns. Reads and writes nothing.

Every frame of a feed gives exactly one row in exactly one table, so (feed, position) is a key over all tables
together, and a lost row shows as a missing position. `feed` stands first in each table and is added by the engine.
Rules of growth: a column is only ever added, older segments answer NULL for it; a type never changes.

Ids are texts as users see them (`r…`, `c…`, `p….N`); a click's key is (ms, door, seq). Amounts are exact decimal texts
beside their currency. BLOB columns hold bytes as they came. `details` and `macro_values` are JSON objects.
"""

_CLICKS = {
    "position": "BIGINT",
    "kind": "VARCHAR",  # click or impression
    "ms": "BIGINT",
    "door": "BIGINT",
    "seq": "BIGINT",
    "route": "BIGINT",
    "flags": "BIGINT",
    "partition": "BIGINT",
    "catalog": "BIGINT",
    "query": "BLOB",
    "ip": "VARCHAR",
    "user_agent": "BLOB",
    "referrer": "BLOB",
    "mode": "VARCHAR",  # how it came, where that is not a redirect
    "visitor": "VARCHAR",  # what the door found out, a JSON object
    "skipped": "STRUCT(offer BIGINT, code VARCHAR)[]",  # offers that could not take it
    "visitor_key": "BLOB",
    "marks": "VARCHAR[]",
    "cost": "VARCHAR",  # what it cost us, as its URL says; a plain amount, or empty
}

_CALLS = {
    "position": "BIGINT",
    "receipt": "VARCHAR",
    "at_ms": "BIGINT",
    "door": "BIGINT",
    "partition": "BIGINT",
    "advertiser": "BIGINT",
    "auth": "BIGINT",
    "catalog": "BIGINT",
    "method": "VARCHAR",
    "query": "BLOB",
    "body": "BLOB",
    "content_type": "VARCHAR",
    "ip": "VARCHAR",
    "test": "BOOLEAN",
}

_DECISIONS = {
    "position": "BIGINT",
    "source": "VARCHAR",
    "source_position": "BIGINT",
    "receipt": "VARCHAR",
    "at_ms": "BIGINT",
    "decided_ms": "BIGINT",
    "verdict": "VARCHAR",
    "code": "VARCHAR",
    "checks": "VARCHAR",  # a letter a check, in the registry's order
    "details": "VARCHAR",
    "partition": "BIGINT",
    "advertiser": "BIGINT",
    "offer": "BIGINT",
    "goal": "VARCHAR",
    "partner": "BIGINT",
    "route": "BIGINT",
    "click_id": "VARCHAR",
    "click_ms": "BIGINT",
    "click_door": "BIGINT",
    "click_seq": "BIGINT",
    "txn_id": "VARCHAR",
    "conversion": "VARCHAR",  # empty if there is none
    "status_before": "VARCHAR",
    "status": "VARCHAR",
    "sum": "VARCHAR",
    "sum_currency": "VARCHAR",
    "revenue": "VARCHAR",
    "revenue_currency": "VARCHAR",
    "reported": "VARCHAR",
    "reported_currency": "VARCHAR",
    "payout": "VARCHAR",
    "payout_currency": "VARCHAR",
    "catalog": "BIGINT",
    "terms_catalog": "BIGINT",
    "rules": "STRUCT(rule BIGINT, postback VARCHAR, stopped_by VARCHAR)[]",
    "test": "BOOLEAN",
    "parked_ms": "BIGINT",
    "raw": "BLOB",
    "rule_partners": "BIGINT[]",  # whose each of `rules` is, in their order
}

_BATCHES = {
    "position": "BIGINT",
    "batch": "BIGINT",
    "now_ms": "BIGINT",
    "catalog": "BIGINT",
    "decisions": "BIGINT",
    "postbacks": "BIGINT",
    "parked": "BIGINT",
    "released": "BIGINT",
    "rates": "BIGINT",
    "geo": "BIGINT",
    "ranges": (
        "STRUCT(source VARCHAR, start_position BIGINT, end_position BIGINT, watermark_ms BIGINT,"
        " clicks BIGINT, calls BIGINT, others BIGINT)[]"
    ),
}

_POSTBACKS = {
    "position": "BIGINT",
    "id": "VARCHAR",
    "lane": "BIGINT",
    "partner": "BIGINT",
    "partition": "BIGINT",
    "conversion": "VARCHAR",
    "catalog": "BIGINT",
    "rule": "BIGINT",
    "created_ms": "BIGINT",
    "accepted_ms": "BIGINT",
    "macro_values": "VARCHAR",
    "test": "BOOLEAN",
    "due_ms": "BIGINT",  # not to be sent before; 0: at once
    "batched": "BOOLEAN",
    "order_key": "VARCHAR",  # one at a time with the others of its lane that have the same
    "corrects": "VARCHAR",  # the postback that it corrects
    "job": "VARCHAR",  # the resend that it is part of
    "begun": "BIGINT",  # attempts before that
    "first_ms": "BIGINT",  # when the first of these was begun
}

_ATTEMPTS = {
    "position": "BIGINT",
    "lane": "BIGINT",
    "partner": "BIGINT",
    "at_ms": "BIGINT",
    "reason": "VARCHAR",
    "method": "VARCHAR",
    "url": "VARCHAR",
    "status": "BIGINT",
    "address": "VARCHAR",
    "code": "VARCHAR",
    "detail": "VARCHAR",
    "dns_us": "BIGINT",
    "connect_us": "BIGINT",
    "tls_us": "BIGINT",
    "first_byte_us": "BIGINT",
    "total_us": "BIGINT",
    "reused": "BOOLEAN",
    "body": "BLOB",
    "test": "BOOLEAN",
    "outcomes": ("STRUCT(id VARCHAR, seq BIGINT, attempt BIGINT, result VARCHAR, code VARCHAR, next_due_ms BIGINT)[]"),
    "counted": "BOOLEAN[]",  # whether the retry policy counts each of `outcomes`, in their order
    "by": "VARCHAR",  # who wanted it, where no request was made
}

_CHANGES = {
    "position": "BIGINT",
    "at_ms": "BIGINT",
    "kind": "VARCHAR",
    "subject": "VARCHAR",
    "value": "VARCHAR",
    "by": "VARCHAR",
}

_SET_ASIDE = {
    "position": "BIGINT",
    "source": "VARCHAR",  # the journal that holds the item …
    "source_position": "BIGINT",  # … and where
    "at_ms": "BIGINT",
    "code": "VARCHAR",
    "detail": "VARCHAR",
    "raw": "BLOB",
}

_OTHERS = {
    "position": "BIGINT",
    "kind": "VARCHAR",  # the frame's struct, for kinds that have no table of their own yet
    "at_ms": "BIGINT",
    "raw": "BLOB",  # the frame, encoded
}

TABLES: dict[str, dict[str, str]] = {
    "clicks": _CLICKS,
    "calls": _CALLS,
    "decisions": _DECISIONS,
    "batches": _BATCHES,
    "postbacks": _POSTBACKS,
    "attempts": _ATTEMPTS,
    "changes": _CHANGES,
    "set_aside": _SET_ASIDE,
    "others": _OTHERS,
}
