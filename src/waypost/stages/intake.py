"""Decode: the raw bytes of a postback-in become named values, by the advertiser's aliases.

Input: a PostbackIn frame and the advertiser it is judged for. Output: `Call`, text values by canonical name.
Pure. Never judges a value: a malformed sum stays text here, and a check says so.
"""

from collections.abc import Mapping
from urllib.parse import unquote_plus

import msgspec

from waypost.model.frames import PostbackIn

CANONICAL = (
    "click_id",
    "goal",
    "status",
    "sum",
    "payout",
    "currency",
    "txn_id",
    "token",
    "pending_status",
    "approved_status",
    "declined_status",
    "ignored_status",
)
_LISTS = frozenset(("pending_status", "approved_status", "declined_status", "ignored_status"))
PARAMETERS_MAX = 200


class Call(msgspec.Struct, frozen=True, gc=False):
    """A decoded call: `values` by canonical name; absent and empty are the same."""

    values: dict[str, str]
    status_map: dict[str, str]  # inbound value → status, as the URL itself says it


NO_CALL = Call({}, {})


def decode_pairs(data: bytes) -> dict[str, str]:
    """A query string or form body as a dict; of a repeated name the first value counts. At most PARAMETERS_MAX."""
    if not data:
        return {}
    text = data.decode("utf-8", "replace")
    is_plain = "%" not in text and "+" not in text
    found: dict[str, str] = {}
    for piece in text.split("&", PARAMETERS_MAX)[:PARAMETERS_MAX]:
        name, _, value = piece.partition("=")
        if not is_plain:
            name, value = unquote_plus(name), unquote_plus(value)
        if name and name not in found:
            found[name] = value
    return found


def decode_body(call: PostbackIn) -> dict[str, str]:
    """The parameters of a form or JSON body. Raises ValueError on a body that is neither.

    JSON: an object; its scalars become text as JSON writes them, deeper values are left out.
    """
    kind = call.content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or (not kind and call.body[:1] == b"{"):
        return _decode_json(call.body)
    if kind in ("application/x-www-form-urlencoded", ""):
        return decode_pairs(call.body)
    raise ValueError(f"a body of type {kind} is not understood")


def _decode_json(body: bytes) -> dict[str, str]:
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"the body is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError("the JSON body is not an object")
    found: dict[str, str] = {}
    for name, value in list(content.items())[:PARAMETERS_MAX]:
        if isinstance(value, str):
            found[name] = value
        elif isinstance(value, bool):
            found[name] = "true" if value else "false"
        elif isinstance(value, int | float):
            found[name] = str(value)
    return found


class Aliases:
    """Parameter names, turned round: inbound name → canonical name. Made once a catalog version and advertiser."""

    def __init__(self, parameters: Mapping[str, tuple[str, ...]]) -> None:
        self._canonical = {name: name for name in CANONICAL}
        for canonical, names in parameters.items():
            for name in names:
                self._canonical[name] = canonical

    def call(self, query: bytes, body: dict[str, str]) -> Call:
        """The canonical values: of several that mean the same the first counts, lists of statuses are joined."""
        values: dict[str, str] = {}
        canonical = self._canonical
        text = query.decode("utf-8", "replace")
        is_plain = "%" not in text and "+" not in text
        # As `decode_pairs`, in one go: most of what a call costs before it is judged is spent here.
        for piece in text.split("&", PARAMETERS_MAX)[:PARAMETERS_MAX]:
            name, _, value = piece.partition("=")
            if not is_plain:
                name, value = unquote_plus(name), unquote_plus(value)
            target = canonical.get(name)
            if target is not None and (value := value.strip()):
                if target not in values:
                    values[target] = value
                elif target in _LISTS:
                    values[target] = f"{values[target]},{value}"
        for name, value in body.items():
            target = canonical.get(name)
            if target is not None and value:
                _put(values, target, value)
        return Call(values, {} if _LISTS.isdisjoint(values) else _status_map(values))


def _put(values: dict[str, str], target: str, value: str) -> None:
    value = value.strip()
    if not value:
        return
    if target not in values:
        values[target] = value
    elif target in _LISTS:
        values[target] = f"{values[target]},{value}"


def _status_map(values: dict[str, str]) -> dict[str, str]:
    """`lead_status=2,5` and the like: what the URL says of its own status values. Earlier statuses win."""
    found: dict[str, str] = {}
    for status in ("approved", "pending", "declined", "ignored"):
        for value in values.get(f"{status}_status", "").split(","):
            if value.strip():
                found.setdefault(value.strip().lower(), status)
    return found
