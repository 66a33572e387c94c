"""What a postback rule sends: method, URL, headers, body.

Owns: the checks of `get`, `post` and `request`. Reads a tree; notes problems. Never sends.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from waypost.catalog.reading import Field, Fields, Reader
from waypost.catalog.sections.bodies import ITEMS, MARK, read_body
from waypost.catalog.templates import TemplateChecker

HEADERS_MAX = 32
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}\Z")  # RFC 9110: token
_OURS = frozenset(("host", "content-length", "transfer-encoding", "connection", "expect", "upgrade", "te", "trailer"))
_SAME_FOR_ALL = frozenset({"attempt", "is_repeat"})  # macros that are the same for all postbacks of one request


class Request(NamedTuple):
    """What is sent. In a batch, `body` has a mark where the items go."""

    method: str = "GET"
    url: str = ""
    headers: Mapping[str, str] = MappingProxyType({})
    body: str = ""
    macros: tuple[str, ...] = ()
    content_type: str = ""
    field: Field | None = None


def read_request(reader: Reader, fields: Fields, templates: TemplateChecker, *, is_batched: bool) -> Request:
    """The one of `get`, `post`, `request` that the rule has."""
    given = [(key, field) for key in ("get", "post", "request") if (field := fields.get(key)) is not None]
    if not given:
        message = "has none of `get`, `post`, `request`"
        reader.problems.add("catalog_missing_key", message, fields.at, field=fields.path, hint="add `get: https://…`")
        return Request()
    for key, field in given[1:]:
        reader.wrong("catalog_bad_value", field, f"has both `{given[0][0]}` and `{key}`", hint="make two rules of it")
    key, field = given[0]
    if key == "get":
        url = reader.text(field)
        request = Request(url=url, macros=templates.check_url(reader, field, url), field=field) if url else Request()
    else:
        inner = reader.fields(field, f"partners.NAME.postbacks[].{key}")
        if inner is None:
            return Request()
        method = "POST" if key == "post" else reader.choice(inner.get("method"), METHODS) or "POST"
        request = _read(reader, inner, templates, method, field)
    if is_batched:
        _check_batched(reader, field, request)
    elif MARK in request.body:
        reader.wrong("catalog_template", field, f"`{ITEMS}` has a value in batches only", hint="add `batch:`")
    return request


def _read(reader: Reader, fields: Fields, templates: TemplateChecker, method: str, field: Field) -> Request:
    macros: dict[str, None] = {}
    url = fields.get("url")
    url_text = reader.text(url)
    if url is not None and url_text is not None:
        macros.update(dict.fromkeys(templates.check_url(reader, url, url_text)))
    headers: dict[str, str] = {}
    for name, entry in _headers(reader, fields.get("headers")):
        text = reader.text(entry)
        if text is not None:
            headers[name] = text
            macros.update(dict.fromkeys(templates.check_header(reader, entry, text)))
    named = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    body = read_body(reader, fields, templates, named)
    if body.text and method == "GET":
        reader.wrong("catalog_bad_value", field, "a GET has no body", hint="use `post`, or another `method`")
    if body.content_type and not named:
        headers["Content-Type"] = body.content_type
    macros.update(dict.fromkeys(body.macros))
    return Request(method, url_text or "", headers, body.text, tuple(macros), body.content_type, field)


def _check_batched(reader: Reader, field: Field, request: Request) -> None:
    """Around its items, a batch's request has nothing that differs from postback to postback."""
    if request.method == "GET":
        reader.wrong("catalog_bad_value", field, "a batch has a body, and a GET has none", hint="use `post`")
    if request.body and request.body.count(MARK) != 1:
        hint = f"such as `json: {{events: '{ITEMS}'}}`; without a body the items are sent as a JSON array"
        reader.wrong("catalog_bad_value", field, f"the body must hold `{ITEMS}` once, as a value", hint=hint)
    differing = [name for name in request.macros if name not in _SAME_FOR_ALL]
    if differing:
        message = f"`{{{differing[0]}}}` may differ from postback to postback of a batch"
        reader.wrong("catalog_template", field, message, hint="it can stand in the batch's `item`")


def is_header_name(name: str) -> bool:
    """Whether a header may be called so (RFC 9110), and is not one that Waypost or HTTP itself sets."""
    lowered = name.lower()
    return bool(_HEADER.match(name)) and lowered not in _OURS and not lowered.startswith("waypost-")


def _headers(reader: Reader, field: Field | None) -> list[tuple[str, Field]]:
    found: list[tuple[str, Field]] = []
    if field is None:
        return found
    seen: set[str] = set()
    for name, entry in reader.entries(field, HEADERS_MAX):
        lowered = name.lower()
        if not _HEADER.match(name):
            reader.wrong("catalog_bad_value", entry, f"`{name[:80]}` cannot be a header's name", hint="see RFC 9110")
        elif not is_header_name(name):
            reader.wrong("catalog_bad_value", entry, f"`{name}` is set by Waypost itself", hint="remove it")
        elif lowered in seen:
            reader.wrong("catalog_duplicate", entry, f"`{name}` is given twice", hint="letter case does not count")
        else:
            seen.add(lowered)
            found.append((name, entry))
    return found
