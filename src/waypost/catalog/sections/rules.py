"""A partner's postback rules: when one fires. What it sends is read in `requests.py`, how it is answered in
`answers.py`, who it says it is in `authentication.py`.

Owns: the checks of a rule's conditions. Reads a tree and the catalog's names; notes problems. Never sends.
"""

import re
from collections.abc import Mapping, Set
from typing import NamedTuple

from waypost.catalog.model import PostbackRule
from waypost.catalog.reading import Field, Fields, Reader
from waypost.catalog.sections.answers import read_batch, read_success
from waypost.catalog.sections.authentication import read_authentication
from waypost.catalog.sections.requests import read_request
from waypost.catalog.templates import TemplateChecker

STATUSES = ("pending", "approved", "declined")
BEFORE = ("none", *STATUSES)
VERDICTS = ("new", "updated", "refused")
VERDICTS_LATER = ("duplicate",)
SCOPES = ("own", "attributed", "all")
MISSING = ("empty", "drop", "refuse")
DELAY_MIN_MS, DELAY_MAX_MS = 1_000, 90 * 86_400_000
EVENTS_MAX = 1_000
EVENT_CHARACTERS_MAX = 256
NAME = re.compile(r"[^\x00-\x1f]{1,64}\Z")
_COUNTRY = re.compile(r"[A-Z]{2}\Z")


class Names(NamedTuple):
    """What rules may refer to: the goals of each offer and of all, and the names of other sections."""

    goals_by_offer: Mapping[str, Set[str]]
    goals: Set[str]
    links: Mapping[str, None]
    advertisers: Mapping[str, None]
    partners: Mapping[str, None]


def read_rule(reader: Reader, no: int, fields: Fields, names: Names, templates: TemplateChecker) -> PostbackRule:
    """One rule; `no` is its place among the partner's."""
    wanted: dict[str, tuple[str, ...]] = {}
    on = fields.get("on")
    conditions = reader.fields(on, "partners.NAME.postbacks[].on") if on is not None else None
    if conditions is not None:
        wanted = _conditions(reader, conditions, names)
    condition = fields.get("if")
    text = reader.text(condition)
    batch = fields.get("batch")
    request = read_request(reader, fields, templates, is_batched=batch is not None)
    auth, auth_macros = read_authentication(reader, fields.get("auth"), templates, request)
    batch_of, batch_macros = read_batch(reader, batch, templates, request)
    file, line = fields.at
    macros = dict.fromkeys((*request.macros, *auth_macros, *batch_macros))
    return PostbackRule(
        no=no,
        goals=wanted.get("goal", ()),
        statuses=wanted.get("status", ()),
        verdicts=wanted.get("verdict", ()),
        offers=wanted.get("offer", ()),
        method=request.method,
        url=request.url,
        headers=dict(request.headers),
        body=request.body,
        macros=tuple(macros),
        place=f"{file}:{line}",
        name=_name(reader, fields.get("name")),
        befores=wanted.get("from", ()),
        links=wanted.get("link", ()),
        advertisers=wanted.get("advertiser", ()),
        partners=wanted.get("partner", ()),
        countries=wanted.get("country", ()),
        condition=templates.check_condition(reader, condition, text) if condition is not None and text else "",
        scope=_scope(reader, fields, wanted),
        delay_ms=reader.duration_ms(fields.get("delay"), least_ms=DELAY_MIN_MS, most_ms=DELAY_MAX_MS) or 0,
        first_only=reader.flag(fields.get("first_only"), False),
        share=_share(reader, fields.get("percent")),
        events=_events(reader, fields.get("events"), names, wanted.get("goal", ())),
        missing=reader.choice(fields.get("missing"), MISSING) or "empty",
        auth=auth,
        success=read_success(reader, fields.get("success"), fields.get("give_up")),
        batch=batch_of,
        lane=_name(reader, fields.get("lane")),
    )


def _name(reader: Reader, field: Field | None) -> str:
    name = reader.text(field)
    if field is None or name is None:
        return ""
    if not NAME.match(name):
        reader.wrong("catalog_bad_value", field, "is no name", hint="up to 64 characters, no line breaks")
        return ""
    return name


def _conditions(reader: Reader, fields: Fields, names: Names) -> dict[str, tuple[str, ...]]:
    def all_of(key: str) -> list[Field]:
        return reader.one_or_many(fields.get(key))

    offers = [reader.reference(field, names.goals_by_offer, "offer") for field in all_of("offer")]
    known_offers = [offer for offer in offers if offer is not None]
    known_goals = names.goals
    if known_offers and len(known_offers) == len(offers):
        known_goals = set().union(*(names.goals_by_offer[offer] for offer in known_offers))
    found: dict[str, list[str | None]] = {
        "offer": [*known_offers],
        "goal": [reader.reference(field, known_goals, "goal") for field in all_of("goal")],
        "status": [reader.choice(field, STATUSES, later=("hold",)) for field in all_of("status")],
        "from": [reader.choice(field, BEFORE, later=("hold",)) for field in all_of("from")],
        "verdict": [reader.choice(field, VERDICTS, later=VERDICTS_LATER) for field in all_of("verdict")],
        "link": [reader.reference(field, names.links, "link") for field in all_of("link")],
        "advertiser": [reader.reference(field, names.advertisers, "advertiser") for field in all_of("advertiser")],
        "partner": [reader.reference(field, names.partners, "partner") for field in all_of("partner")],
        "country": [_country(reader, field) for field in all_of("country")],
    }
    wanted = {key: tuple(dict.fromkeys(v for v in values if v is not None)) for key, values in found.items()}
    _check_transition(reader, fields, wanted)
    return wanted


def _check_transition(reader: Reader, fields: Fields, wanted: Mapping[str, tuple[str, ...]]) -> None:
    """Notes what can never be: a refused call with a status, a conversion that is new and was something before."""
    verdicts, befores, statuses = wanted["verdict"], wanted["from"], wanted["status"]
    for key in ("status", "from"):
        field = fields.get(key)
        if "refused" in verdicts and field is not None:
            hint = "make two rules of it"
            reader.wrong("catalog_bad_value", field, "a refused call makes no conversion and has no status", hint=hint)
    before = fields.get("from")
    if before is None:
        return
    if verdicts == ("new",) and befores and "none" not in befores:
        reader.wrong("catalog_bad_value", before, "a new conversion had no status before", hint="`from: none`")
    if verdicts == ("updated",) and befores == ("none",):
        reader.wrong("catalog_bad_value", before, "what is updated had a status before", hint="`verdict: new`")
    if len(befores) == 1 and befores == statuses:
        reader.wrong("catalog_bad_value", before, "no rule fires where the status stays", hint="remove one of them")


def _country(reader: Reader, field: Field) -> str | None:
    text = reader.text(field)
    if text is None or _COUNTRY.match(text):
        return text
    hint = f"`{text.upper()}`" if _COUNTRY.match(text.upper()) else "two capital letters, such as `DE`"
    reader.wrong("catalog_bad_value", field, f"`{text[:40]}` is no ISO 3166 country code", hint=hint)
    return None


def _scope(reader: Reader, fields: Fields, wanted: Mapping[str, tuple[str, ...]]) -> str:
    scope = reader.choice(fields.get("for"), SCOPES) or "own"
    on = fields.get("on")
    if scope == "own" and wanted.get("partner") and on is not None:
        message = "the rule looks at this partner's own conversions only"
        reader.wrong("catalog_bad_value", on, message, hint="add `for: all`, or remove `partner`")
    return scope


def _share(reader: Reader, field: Field | None) -> float:
    """A percentage, with or without its sign."""
    text = reader.text(field)
    if field is None or text is None:
        return 1.0
    try:
        number = float(text.rstrip("% "))
    except ValueError:
        number = -1.0
    if not 0 <= number <= 100 or not re.fullmatch(r"\d{1,3}(\.\d{1,6})?\s?%?", text):
        reader.wrong("catalog_bad_value", field, f"`{text[:40]}` is no percentage up to 100", hint="such as `80`")
        return 1.0
    return number / 100


def _events(reader: Reader, field: Field | None, names: Names, goals: tuple[str, ...]) -> dict[str, str]:
    if field is None:
        return {}
    found: dict[str, str] = {}
    for goal, entry in reader.entries(field, EVENTS_MAX):
        event = reader.text(entry, length_max=EVENT_CHARACTERS_MAX)
        if goal != "*" and goal not in names.goals:
            hint = "goals stand below `offers:`; `*` is all others"
            reader.problems.add(
                "catalog_unknown_name", f"there is no goal `{goal[:64]}`", entry.node.at, field=entry.path, value=goal,
                hint=hint, meant=names.goals,
            )  # fmt: skip
        elif event is not None:
            found[goal] = event
    left_out = [goal for goal in goals if goal not in found]
    if found and left_out and "*" not in found:
        hint = f"add `{left_out[0]}:`, or `'*':` for all others"
        reader.wrong("catalog_missing_key", field, f"names no event for goal `{left_out[0]}`", hint=hint)
    return found
