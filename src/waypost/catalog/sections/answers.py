"""How a partner's answer is read, and which postbacks share a request: `success`, `give_up` and `batch` of a rule.

Owns: their checks. Reads a tree; notes problems. Never reads an answer itself.
"""

import re

from waypost.catalog.model import Batch, Success
from waypost.catalog.reading import Field, Fields, Reader
from waypost.catalog.sections.bodies import ITEMS, MARK, json_template
from waypost.catalog.sections.requests import Request
from waypost.catalog.source import Scalar
from waypost.catalog.templates import TemplateChecker, body_position
from waypost.macros.template import Position

_RULE = "partners.NAME.postbacks[]"
_RANGE = re.compile(r"([1-5]\d\d)(?:\s?-\s?([1-5]\d\d))?\Z")
_PATH = re.compile(r"[^.\s]{1,64}(\.[^.\s]{1,64}){0,15}\Z")
GONE = (410, 410)
BATCH_COUNT_MAX = 1_000
AGE_MIN_MS, AGE_MAX_MS = 10, 3_600_000
AGE_DEFAULT_MS = 5_000
VALUES_CHARACTERS_MAX = 1_000
SEPARATOR_CHARACTERS_MAX = 8


def read_success(reader: Reader, field: Field | None, give_up: Field | None) -> Success:
    """What counts as a delivery, and which statuses are final."""
    fields = reader.fields(field, f"{_RULE}.success") if field is not None else None
    final = (*_final(reader, give_up), GONE)
    if fields is None:
        return Success(give_up=final)
    statuses = read_statuses(reader, fields.get("status"))
    json_fields = None
    if (json_field := fields.get("json")) is not None:
        json_fields = reader.fields(json_field, f"{_RULE}.success.json")
    path = _path(reader, json_fields.get("path")) or "" if json_fields is not None else ""
    equals = _values(reader, json_fields.get("equals")) if json_fields is not None else ()
    return Success(
        statuses=statuses or Success().statuses,
        body_contains=_values(reader, fields.get("body_contains")),
        body_matches=_values(reader, fields.get("body_matches")),
        json_path=path,
        json_equals=equals,
        give_up=final,
    )


def _final(reader: Reader, field: Field | None) -> tuple[tuple[int, int], ...]:
    fields = reader.fields(field, f"{_RULE}.give_up") if field is not None else None
    return read_statuses(reader, fields.get("status")) if fields is not None else ()


def read_statuses(reader: Reader, field: Field | None) -> tuple[tuple[int, int], ...]:
    """Statuses and ranges of them: `409`, `200-299`."""
    found: list[tuple[int, int]] = []
    for one in reader.one_or_many(field):
        text = reader.text(one)
        if text is None:
            continue
        match = _RANGE.match(text)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            hint = "such as `409` or `200-299`"
            reader.wrong("catalog_bad_value", one, f"`{text[:40]}` is no HTTP status or range of them", hint=hint)
        else:
            found.append((first, last))
    return tuple(found)


def _values(reader: Reader, field: Field | None) -> tuple[str, ...]:
    read = [reader.text(one, length_max=VALUES_CHARACTERS_MAX) for one in reader.one_or_many(field)]
    return tuple(text for text in read if text is not None)


def _path(reader: Reader, field: Field | None) -> str | None:
    """A path into JSON: names and numbers of elements, with points between them. `.` is the whole answer."""
    text = reader.text(field)
    if field is None or text is None:
        return None
    if text == ".":
        return ""
    if not _PATH.match(text):
        reader.wrong(
            "catalog_bad_value", field, f"`{text[:80]}` is no path", hint="such as `result.code` or `items.0.id`"
        )
        return None
    return text


def read_batch(
    reader: Reader, field: Field | None, templates: TemplateChecker, request: Request
) -> tuple[Batch | None, tuple[str, ...]]:
    """The batch, and the macros that its items use."""
    fields = reader.fields(field, f"{_RULE}.batch") if field is not None else None
    if fields is None:
        return None, ()
    macros: dict[str, None] = {}
    position = body_position(request.content_type) if request.body else Position.JSON
    item = _item(reader, fields.get("item"), templates, macros, request)
    head, _, tail = request.body.partition(MARK) if request.body else ("[", "", "]")
    separator = "," if position is Position.JSON else "\n"
    join = fields.get("join")
    if join is not None and isinstance(join.node, Scalar):
        separator = join.node.text
        if len(separator) > SEPARATOR_CHARACTERS_MAX:
            reader.wrong("catalog_too_large", join, f"at most {SEPARATOR_CHARACTERS_MAX} signs stand between items")
    results = fields.get("results")
    inner = reader.fields(results, f"{_RULE}.batch.results") if results is not None else None
    batch = Batch(
        count=reader.whole(fields.get("count"), least=1, most=BATCH_COUNT_MAX) or 1,
        age_ms=reader.duration_ms(fields.get("age"), least_ms=AGE_MIN_MS, most_ms=AGE_MAX_MS) or AGE_DEFAULT_MS,
        item=item,
        head=head,
        tail=tail,
        separator=separator,
    )
    if inner is None:
        return batch, tuple(macros)
    return _with_results(reader, batch, inner, templates, macros), tuple(macros)


def _item(
    reader: Reader, field: Field | None, templates: TemplateChecker, macros: dict[str, None], request: Request
) -> str:
    """The template of one item: a JSON structure, or text in the body's own form."""
    if field is None:
        return ""
    if not isinstance(field.node, Scalar):
        text = json_template(reader, field, templates, macros)
        if MARK in text:
            reader.wrong("catalog_bad_value", field, f"`{ITEMS}` stands in the request's body", hint="not in an item")
        return text.replace(MARK, "")
    written = reader.text(field) or ""
    if written:
        content_type = request.content_type if request.body else "application/json"
        macros.update(dict.fromkeys(templates.check_body(reader, field, written, content_type)))
    return written


def _with_results(
    reader: Reader, batch: Batch, fields: Fields, templates: TemplateChecker, macros: dict[str, None]
) -> Batch:
    """Adds how the answer tells of each item."""
    matches = fields.get("matches")
    text = reader.text(matches)
    if matches is not None and text is not None:
        macros.update(dict.fromkeys(templates.check_value(reader, matches, text)))
        if "id" not in fields:
            reader.wrong("catalog_missing_key", matches, "`matches` is compared with the field `id`", hint="add `id:`")
    equals = fields.get("equals")
    if equals is not None and "ok" not in fields:
        reader.wrong("catalog_missing_key", equals, "`equals` is compared with the field `ok`", hint="add `ok:`")
    return Batch(
        batch.count, batch.age_ms, batch.item, batch.head, batch.tail, batch.separator,
        results_path=_path(reader, fields.get("path")) or "",
        id_field=_path(reader, fields.get("id")) or "",
        id_text=text or Batch(1, 1, "").id_text,
        ok_field=_path(reader, fields.get("ok")) or "",
        ok_equals=_values(reader, equals),
        give_up=_values(reader, fields.get("give_up")),
    )  # fmt: skip
