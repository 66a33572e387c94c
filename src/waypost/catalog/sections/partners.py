"""The section `partners`: postback rules and delivery.

Owns: the checks of this section. Reads a tree and the names of offers and goals; notes problems. Never sends.
"""

import re
from collections.abc import Mapping, Set
from types import MappingProxyType
from typing import NamedTuple

from waypost.catalog.model import Delivery, Partner, PostbackRule
from waypost.catalog.reading import Field, Fields, Reader
from waypost.catalog.templates import TemplateChecker

HEADERS_MAX = 32
CONCURRENCY_MAX = 1_000
TIMEOUT_MIN_MS, TIMEOUT_MAX_MS = 100, 120_000
PAUSE_MIN_MS, PAUSE_MAX_MS = 100, 7 * 86_400_000
RETRIES_MAX = 50

STATUSES = ("pending", "approved", "declined")
VERDICTS = ("refused",)
VERDICTS_LATER = ("new", "updated", "duplicate")

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}\Z")  # RFC 9110: token
_OURS = frozenset(("host", "content-length", "transfer-encoding", "connection", "expect", "upgrade", "te", "trailer"))


class Goals(NamedTuple):
    """Names of the goals of each offer, and of all."""

    by_offer: Mapping[str, Set[str]]
    all: Set[str]


class _Call(NamedTuple):
    method: str = "GET"
    url: str = ""
    headers: Mapping[str, str] = MappingProxyType({})
    body: str = ""
    macros: tuple[str, ...] = ()


def read_partners(reader: Reader, field: Field, goals: Goals, templates: TemplateChecker) -> tuple[Partner, ...]:
    """All partners."""
    found: list[Partner] = []
    for name, entry, at in reader.named(field):
        fields = reader.fields(entry, "partners.NAME", at)
        if fields is None:
            continue
        rules = []
        for nth, rule in enumerate(reader.items(fields.get("postbacks")), 1):
            rule_fields = reader.fields(rule, "partners.NAME.postbacks[]")
            if rule_fields is not None:
                rules.append(_rule(reader, nth, rule_fields, goals, templates))
        file, line = at
        found.append(
            Partner(
                no=0,
                name=name,
                rules=tuple(rules),
                delivery=_delivery(reader, fields.get("delivery")),
                active=reader.flag(fields.get("active"), True),
                place=f"{file}:{line}",
            )
        )
    return tuple(found)


def _rule(reader: Reader, no: int, fields: Fields, goals: Goals, templates: TemplateChecker) -> PostbackRule:
    wanted: dict[str, tuple[str, ...]] = {}
    on = fields.get("on")
    conditions = reader.fields(on, "partners.NAME.postbacks[].on") if on is not None else None
    if conditions is not None:
        wanted = _conditions(reader, conditions, goals)
    call = _call(reader, fields, templates)
    file, line = fields.at
    return PostbackRule(
        no=no,
        goals=wanted.get("goal", ()),
        statuses=wanted.get("status", ()),
        verdicts=wanted.get("verdict", ()),
        offers=wanted.get("offer", ()),
        method=call.method,
        url=call.url,
        headers=dict(call.headers),
        body=call.body,
        macros=call.macros,
        place=f"{file}:{line}",
    )


def _conditions(reader: Reader, fields: Fields, goals: Goals) -> dict[str, tuple[str, ...]]:
    def all_of(key: str) -> list[Field]:
        return reader.one_or_many(fields.get(key))

    offers = [reader.reference(field, goals.by_offer, "offer") for field in all_of("offer")]
    known_offers = [offer for offer in offers if offer is not None]
    known_goals = goals.all
    if known_offers and len(known_offers) == len(offers):
        known_goals = set().union(*(goals.by_offer[offer] for offer in known_offers))
    found: dict[str, list[str | None]] = {
        "offer": [*known_offers],
        "goal": [reader.reference(field, known_goals, "goal") for field in all_of("goal")],
        "status": [reader.choice(field, STATUSES, later=("hold",)) for field in all_of("status")],
        "verdict": [reader.choice(field, VERDICTS, later=VERDICTS_LATER) for field in all_of("verdict")],
    }
    verdict, status = fields.get("verdict"), fields.get("status")
    if verdict is not None and status is not None:
        hint = "make two rules of it"
        reader.wrong("catalog_bad_value", status, "a refused call makes no conversion and has no status", hint=hint)
    return {key: tuple(dict.fromkeys(v for v in values if v is not None)) for key, values in found.items()}


def _call(reader: Reader, fields: Fields, templates: TemplateChecker) -> _Call:
    get, post = fields.get("get"), fields.get("post")
    if get is not None and post is not None:
        reader.wrong("catalog_bad_value", post, "has both `get` and `post`", hint="make two rules of it")
        return _Call()
    if get is not None:
        url = reader.text(get)
        return _Call() if url is None else _Call(url=url, macros=templates.check_url(reader, get, url))
    if post is None:
        message = "has neither `get` nor `post`"
        reader.problems.add("catalog_missing_key", message, fields.at, field=fields.path, hint="add `get: https://…`")
        return _Call()
    post_fields = reader.fields(post, "partners.NAME.postbacks[].post")
    return _Call() if post_fields is None else _post(reader, post_fields, templates)


def _post(reader: Reader, fields: Fields, templates: TemplateChecker) -> _Call:
    macros: dict[str, None] = {}
    url = fields.get("url")
    url_text = reader.text(url)
    if url is not None and url_text is not None:
        macros.update(dict.fromkeys(templates.check_url(reader, url, url_text)))
    headers: dict[str, str] = {}
    for name, field in _headers(reader, fields.get("headers")):
        text = reader.text(field)
        if text is not None:
            headers[name] = text
            macros.update(dict.fromkeys(templates.check_header(reader, field, text)))
    body = fields.get("body")
    body_text = reader.text(body)
    if body is not None and body_text is not None:
        content_type = next((v for name, v in headers.items() if name.lower() == "content-type"), "")
        macros.update(dict.fromkeys(templates.check_body(reader, body, body_text, content_type)))
    return _Call("POST", url_text or "", headers, body_text or "", tuple(macros))


def _headers(reader: Reader, field: Field | None) -> list[tuple[str, Field]]:
    found: list[tuple[str, Field]] = []
    if field is None:
        return found
    seen: set[str] = set()
    for name, entry in reader.entries(field, HEADERS_MAX):
        lowered = name.lower()
        if not _HEADER.match(name):
            reader.wrong("catalog_bad_value", entry, f"`{name[:80]}` cannot be a header's name", hint="see RFC 9110")
        elif lowered in _OURS or lowered.startswith("waypost-"):
            reader.wrong("catalog_bad_value", entry, f"`{name}` is set by Waypost itself", hint="remove it")
        elif lowered in seen:
            reader.wrong("catalog_duplicate", entry, f"`{name}` is given twice", hint="letter case does not count")
        else:
            seen.add(lowered)
            found.append((name, entry))
    return found


def _delivery(reader: Reader, field: Field | None) -> Delivery:
    fields = reader.fields(field, "partners.NAME.delivery") if field is not None else None
    if fields is None:
        return Delivery()
    retry = fields.get("retry")
    return Delivery(
        concurrency=reader.whole(fields.get("concurrency"), least=1, most=CONCURRENCY_MAX) or 0,
        connect_timeout_ms=_timeout(reader, fields.get("connect_timeout")),
        total_timeout_ms=_timeout(reader, fields.get("timeout")),
        retry_schedule_ms=_schedule(reader, retry) if retry is not None else None,
        retry_jitter=reader.share(fields.get("jitter")),
    )


def _timeout(reader: Reader, field: Field | None) -> int:
    return reader.duration_ms(field, least_ms=TIMEOUT_MIN_MS, most_ms=TIMEOUT_MAX_MS) or 0


def _schedule(reader: Reader, field: Field) -> tuple[int, ...]:
    pauses = reader.items(field)
    if len(pauses) > RETRIES_MAX:
        reader.wrong("catalog_too_large", field, f"has {len(pauses)} pauses, at most {RETRIES_MAX}", hint="shorten it")
        return ()
    read = [reader.duration_ms(pause, least_ms=PAUSE_MIN_MS, most_ms=PAUSE_MAX_MS) for pause in pauses]
    if not pauses:
        reader.wrong("catalog_missing_key", field, "names no pause", hint="remove the key for the settings' schedule")
    return tuple(ms for ms in read if ms is not None)
