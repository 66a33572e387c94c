"""Repeats: calls that carry an idempotency key which was used before.

Owns: which call with a keyed receipt is the first, the one that counts. Reads the ledger's memory of such receipts;
hands what is to be remembered to the batch's changes. Never judges.

The first call is the first that the pipeline reads, whatever became of it: one that was refused, or waits for its
click, has used its key. It is remembered for `keyed_kept_ms` of the batches' own time, so that a replay says the same;
a receipt that names a conversion is never used again.
"""

from collections.abc import Iterable
from hashlib import blake2b
from operator import itemgetter
from typing import TypeAlias

from waypost.model.frames import PostbackIn
from waypost.model.ids import conversion_text, receipt_place
from waypost.ports.ledger import Keyed, Ledger, LedgerChanges, Parked
from waypost.stages.case import Case, Where

Noted: TypeAlias = tuple[int, str, int, int, bytes]
Waiting: TypeAlias = tuple[Where, PostbackIn, Parked | None, str]
SPARE_MS = 86_400_000  # what has expired is held so much longer, for recordings that begin earlier


def mark_repeats(cases: Iterable[Case], ledger: Ledger, changes: LedgerChanges, kept_ms: int) -> list[Noted]:
    """Says of each case, in their order, what it repeats, and notes first calls in `changes`.

    Answers what was known of the noted receipts before, for `Before.keyed`.
    """
    keyed = [case for case in cases if case.frame.keyed]
    if not keyed:
        return []
    now_ms = changes.record.now_ms
    known = ledger.keyed([case.frame.receipt for case in keyed])
    before: list[Noted] = []
    for case in keyed:
        receipt = case.frame.receipt
        first = known.get(receipt)
        if first is not None and (first.source, first.position) == case.where:
            continue  # it is the first itself, and has waited for its click
        if first is not None and first.at_ms + kept_ms > now_ms:
            same = "the same" if first.content == _content(case.frame) else "other words; the first call counts"
            case.repeats = f"was used by the call at {first.source} position {first.position}, with {same}"
        elif ledger.conversion(receipt) is not None:
            case.repeats = f"has made conversion {conversion_text(receipt)}"
        else:
            noted = Keyed(receipt, case.where.source, case.where.position, now_ms, _content(case.frame))
            before.append((receipt, *(_fields(first) if first is not None else ("", 0, 0, b""))))
            known[receipt] = noted
            changes.keyed.append(noted)
    return before


def in_order_of_acceptance(calls: Iterable[Waiting]) -> list[Waiting]:
    """Calls as they were accepted, whatever door took them, by the microseconds in their receipts (doors/door_time.py).
    Keyed receipts know of no time: those stand behind the call before them in their journal, and by the millisecond
    that their door stamped."""
    latest: dict[str, int] = {}
    placed: list[tuple[int, Waiting]] = []
    for item in calls:
        where, call = item[0], item[1]
        place = max(call.at_ms << 22, latest.get(where.source, 0)) if call.keyed else receipt_place(call.receipt)
        latest[where.source] = place
        placed.append((place, item))
    placed.sort(key=itemgetter(0))
    return [item for _, item in placed]


def _fields(one: Keyed) -> tuple[str, int, int, bytes]:
    return one.source, one.position, one.at_ms, one.content


def _content(call: PostbackIn) -> bytes:
    return blake2b(call.query + b"\0" + call.body, digest_size=8).digest()
