"""What a partner's answer says: whether a postback was taken, and, for a batch, which of its items were. Pure.

Input: a rule's `success` or `batch`, the answer's status and body. Output: an error code, empty where it was taken.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from waypost.catalog.model import Batch, Success

MISSING = object()  # where a path leads nowhere
_FALSE = frozenset({"false", "0", "", "null", "no"})


def is_among(status: int, ranges: Sequence[tuple[int, int]]) -> bool:
    """Whether a status is in one of these ranges."""
    return any(first <= status <= last for first, last in ranges)


def refusal(success: Success, status: int, body: bytes) -> str:
    """Empty where the answer means a delivery, else the code that says why it does not."""
    if not is_among(status, success.statuses):
        return "status_final" if is_among(status, success.give_up) else "http_status"
    text = body.decode("utf-8", "replace")
    if success.body_contains and not any(wanted in text for wanted in success.body_contains):
        return "answer_refused"
    if success.body_matches and not any(fnmatchcase(text, wanted) for wanted in success.body_matches):
        return "answer_refused"
    if success.json_equals:
        document = document_of(body)
        if document is MISSING:
            return "answer_unreadable"
        if text_of(value_at(document, success.json_path)) not in success.json_equals:
            return "answer_refused"
    return ""


def reads_body(success: Success, batch: Batch | None) -> bool:
    """Whether the whole answer is needed to judge it."""
    asks = success.body_contains or success.body_matches or success.json_equals
    return bool(asks) or (batch is not None and batch.results_path is not None)


def item_answers(batch: Batch, body: bytes, ids: Sequence[str]) -> list[str]:
    """A code for each of the items, empty where it was taken; `ids` are what the answer may call them."""
    if batch.results_path is None:
        return [""] * len(ids)
    results = value_at(document_of(body), batch.results_path)
    if not isinstance(results, list):
        return ["answer_unreadable"] * len(ids)
    if batch.id_field:
        by_id = {text_of(value_at(result, batch.id_field)): result for result in results}
        found = [by_id.get(id, MISSING) for id in ids]
    else:
        found = [*results[: len(ids)], *[MISSING] * (len(ids) - len(results))]
    return [_item_answer(batch, result) for result in found]


def _item_answer(batch: Batch, result: object) -> str:
    if result is MISSING:
        return "item_missing"
    value = text_of(value_at(result, batch.ok_field)) if batch.ok_field else "true"
    if value in batch.ok_equals or (not batch.ok_equals and value.lower() not in _FALSE):
        return ""
    return "item_final" if value in batch.give_up else "item_refused"


def document_of(body: bytes) -> Any:
    """The JSON document in a body, or MISSING."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return MISSING


def value_at(document: Any, path: str) -> Any:
    """What stands at a path such as `result.0.code`, or MISSING; the empty path is the whole document."""
    for step in path.split(".") if path else ():
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return MISSING
    return document


def text_of(value: object) -> str:
    """A JSON value as the catalog writes it; empty for what is missing."""
    if value is MISSING:
        return ""
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()
