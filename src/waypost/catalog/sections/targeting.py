"""The keys that say which clicks an offer or a link's target takes: `targeting`, `if`, `starts`, `ends`.

Owns: the checks of these keys, and what can be said of rules that let nothing through. Reads a tree; notes problems.
Never asks what time it is: a date in the past is a campaign that has ended.
"""

import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

from waypost.catalog.countries import COUNTRIES, MISTAKEN
from waypost.catalog.model import Facet, Schedule, Targeting
from waypost.catalog.reading import Field, Fields, Reader
from waypost.catalog.sections.zones import read_timezone
from waypost.errors import WaypostError
from waypost.macros.expression import compile_expression
from waypost.macros.names import CLICK_PREFIX, IN_OFFER_URL, VISITOR, did_you_mean

DEVICES = ("mobile", "tablet", "desktop", "tv", "bot", "other")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FACETS_MAX = 64
_DAY_MINUTES = 24 * 60
_HOURS = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)\s*-\s*([01]?\d|2[0-4]):([0-5]\d)\Z")
_VERSION = re.compile(r"(>=|<=|>|<|==?)?\s*\d{1,9}(\.\d{1,9}){0,5}(\s*-\s*\d{1,9}(\.\d{1,9}){0,5})?\Z")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2})?)?\Z")
_VERSIONS = ("os_version", "browser_version")
_FACETS = (*VISITOR, "ip", "visitor", "source", "keyword", "sub1", "sub2", "schedule", "not")
_PARAMETERS = frozenset(("external_id", "source", "keyword", "ad_campaign_id", "creative_id", "cost"))


class _ClickNames:
    """The names that an `if:` may use: what an offer's URL may, what a door knows beside, and no click's id."""

    title = "a condition on clicks"

    def __contains__(self, name: object) -> bool:
        return name in ("ip", "returning") or (name != "click_id" and isinstance(name, str) and name in IN_OFFER_URL)

    def hint(self, name: str) -> str:
        close = did_you_mean(name, frozenset((*VISITOR, *_PARAMETERS, "ip", "returning", "link", "offer", "partner")))
        return f"did you mean {close}?" if close else f"a click's own parameter is {CLICK_PREFIX}{name}"


CLICK_NAMES = _ClickNames()


def read_targeting(reader: Reader, fields: Fields, shape: str) -> Targeting | None:
    """What `targeting`, `if`, `starts` and `ends` of a mapping come to; None where it has none of them."""
    field = fields.get("targeting")
    facets: list[Facet] = []
    schedules: tuple[Schedule, ...] = ()
    if field is not None:
        facets, schedules = _facets(reader, field, f"{shape}.targeting")
    condition = _condition(reader, fields.get("if"))
    starts_ms = _moment_ms(reader, fields.get("starts"), ends=False)
    ends = fields.get("ends")
    ends_ms = _moment_ms(reader, ends, ends=True)
    if ends is not None and starts_ms and ends_ms and ends_ms <= starts_ms:
        reader.wrong("catalog_bad_value", ends, "is not after `starts`", hint="no click is ever between them")
    if not (facets or schedules or condition or starts_ms or ends_ms):
        return None
    return Targeting(tuple(facets), schedules, condition, starts_ms, ends_ms)


def _facets(reader: Reader, field: Field, shape: str) -> tuple[list[Facet], tuple[Schedule, ...]]:
    facets: list[Facet] = []
    schedules: tuple[Schedule, ...] = ()
    wanted: dict[str, frozenset[str]] = {}
    for name, entry in reader.entries(field, FACETS_MAX):
        if name == "schedule":
            schedules = read_schedules(reader, entry, f"{shape}.schedule")
        elif name == "not":
            for inner, excluded in reader.entries(entry, FACETS_MAX):
                facet = _facet(reader, inner, excluded, excludes=True)
                if facet is not None:
                    facets.append(facet)
                    _note_contradiction(reader, excluded, facet, wanted)
        else:
            facet = _facet(reader, name, entry, excludes=False)
            if facet is not None:
                facets.append(facet)
                if not facet.excluded:
                    wanted[facet.name] = frozenset(value.lower() for value in facet.values)
    return facets, schedules


def _note_contradiction(reader: Reader, field: Field, facet: Facet, wanted: dict[str, frozenset[str]]) -> None:
    values = wanted.get(facet.name)
    if values and values <= {value.lower() for value in facet.values}:
        message = f"leaves nothing of what `{facet.name}` lists: no click is ever taken"
        reader.wrong("catalog_bad_value", field, message, hint="remove it from one of the two")


def _facet(reader: Reader, name: str, field: Field, *, excludes: bool) -> Facet | None:
    if name in ("bot", "visitor"):
        return _two_sided(reader, name, field, excludes=excludes)
    if not (name in VISITOR or name == "ip" or name in _PARAMETERS or _is_sub(name) or name.startswith(CLICK_PREFIX)):
        hint = "a click's own parameter is " + CLICK_PREFIX + name if name else ""
        message = f"`{name[:64]}` is nothing that a click can be targeted by"
        reader.problems.add(
            "catalog_unknown_key", message, field.node.at, field=field.path, value=name, hint=hint, meant=_FACETS
        )
        return None
    kind = "network" if name == "ip" else "version" if name in _VERSIONS else "text"
    values = [_value(reader, name, one) for one in reader.one_or_many(field)]
    found = tuple(dict.fromkeys(value for value in values if value is not None))
    if not values:
        reader.wrong("catalog_bad_value", field, "lists nothing: no click is ever taken", hint="remove the key")
    return Facet(name, kind, found, excludes) if found else None


def _is_sub(name: str) -> bool:
    return name.startswith("sub") and name in IN_OFFER_URL


def _two_sided(reader: Reader, name: str, field: Field, *, excludes: bool) -> Facet | None:
    """`bot: true|false` and `visitor: new|returning`: one of two, held as whether a mark must be there or not."""
    if name == "bot":
        noted = len(reader.problems)
        is_marked = reader.flag(field, True)
        return Facet("bot", "exact", ("1",), is_marked is excludes) if len(reader.problems) == noted else None
    word = reader.choice(field, ("new", "returning"))
    return Facet("returning", "exact", ("1",), (word == "returning") is excludes) if word else None


def _value(reader: Reader, name: str, field: Field) -> str | None:
    text = reader.text(field, length_max=256)
    if text is None:
        return None
    if name == "country":
        return _country(reader, field, text)
    if name == "device":
        return reader.choice(field, DEVICES)
    if name == "language":
        if re.fullmatch(r"[A-Za-z]{2}", text):
            return text.lower()
        reader.wrong("catalog_bad_value", field, f"`{text[:40]}` is no language", hint="two letters, such as `de`")
        return None
    if name in _VERSIONS:
        if _VERSION.match(text):
            return text
        hint = "such as `12`, `'>= 12.1'` or `12 - 14`"
        reader.wrong("catalog_bad_value", field, f"`{text[:40]}` is no version or range of versions", hint=hint)
        return None
    if name == "ip":
        try:
            return str(ip_network(text))
        except ValueError as error:
            hint = "such as `10.0.0.0/8`, `192.0.2.7` or `2001:db8::/32`"
            reader.wrong("catalog_bad_value", field, str(error), hint=hint)
            return None
    return text


def _country(reader: Reader, field: Field, text: str) -> str | None:
    code = text.upper()
    if code in COUNTRIES:
        return code
    right = MISTAKEN.get(code)
    hint = f"did you mean `{right}`?" if right else "ISO 3166 codes of two letters, such as `DE`"
    reader.wrong("catalog_bad_value", field, f"there is no country `{text[:40]}`", hint=hint)
    return None


# --- schedules and dates ---------------------------------------------------------------------------------


def read_schedules(reader: Reader, field: Field, shape: str) -> tuple[Schedule, ...]:
    """Hours on days, by a local clock."""
    found = []
    for entry in reader.one_or_many(field):
        fields = reader.fields(entry, shape)
        if fields is None:
            continue
        days = [day for one in reader.one_or_many(fields.get("days")) for day in _days(reader, one)]
        hours = [span for one in reader.one_or_many(fields.get("hours")) if (span := _hours(reader, one))]
        if fields.get("days") is None:
            days = list(range(7))
        if fields.get("hours") is None:
            hours = [(0, _DAY_MINUTES)]
        zone = read_timezone(reader, fields.get("timezone"))
        if days and hours:
            found.append(Schedule(zone, tuple(sorted(set(days))), tuple(sorted(set(hours)))))
    return tuple(found)


def _days(reader: Reader, field: Field) -> list[int]:
    """`fri`, or `mon-fri`; a range may run past Sunday."""
    text = (reader.text(field, length_max=32) or "").lower()
    first, dash, last = (part.strip()[:3] for part in text.partition("-"))
    if first in DAYS and (not dash or last in DAYS):
        begin = DAYS.index(first)
        count = (DAYS.index(last) - begin) % 7 + 1 if dash else 1
        return [(begin + nth) % 7 for nth in range(count)]
    if text:
        hint = "`mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`, or a range such as `mon-fri`"
        reader.wrong("catalog_bad_value", field, f"`{text}` names no days", hint=hint)
    return []


def _hours(reader: Reader, field: Field) -> tuple[int, int] | None:
    text = reader.text(field, length_max=32)
    if text is None:
        return None
    found = _HOURS.match(text)
    begin, end = (int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])) if found else (-1, -1)
    if found is None or begin >= _DAY_MINUTES or end > _DAY_MINUTES:
        hint = "such as `09:00-18:00`; `22:00-02:00` runs past midnight, `00:00-24:00` is the whole day"
        reader.wrong("catalog_bad_value", field, f"`{text}` names no hours", hint=hint)
        return None
    if begin == end:
        reader.wrong("catalog_bad_value", field, f"`{text}` has no length: nothing is within it", hint="correct it")
        return None
    return begin, end


def _moment_ms(reader: Reader, field: Field | None, *, ends: bool) -> int:
    """A date or time, UTC where it says nothing else. A date that something `ends` on belongs to it whole."""
    text = reader.text(field, length_max=40)
    if field is None or text is None:
        return 0
    try:
        if not _MOMENT.match(text):
            raise ValueError
        moment = datetime.fromisoformat(text)
    except ValueError:
        hint = "such as `2026-12-31`, `2026-12-31 18:00` (UTC) or `2026-12-31T18:00+01:00`"
        reader.wrong("catalog_bad_value", field, f"`{text}` is no date", hint=hint)
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if ends and len(text) == len("2026-12-31"):
        moment += timedelta(days=1)
    return int(moment.timestamp() * 1000)


def _condition(reader: Reader, field: Field | None) -> str:
    text = reader.text(field)
    if field is None or text is None:
        return ""
    try:
        compile_expression(text, names=CLICK_NAMES)
    except WaypostError as error:
        reader.wrong("catalog_template", field, f"{error.detail} ({error.code})", hint=error.hint)
    return text
