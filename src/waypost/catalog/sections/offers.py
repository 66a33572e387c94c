"""The section `offers`: where clicks lead, goals and their terms, caps.

Owns: the checks of this section. Reads a tree and the advertisers' names; notes problems. Never counts a cap.
"""

from collections.abc import Collection

from waypost.catalog.amounts import read_terms
from waypost.catalog.compiled import OfferDraft
from waypost.catalog.model import Cap, Goal
from waypost.catalog.reading import Field, Fields, Reader
from waypost.catalog.sections.access import Tokens, read_networks
from waypost.catalog.sections.placing import PlaceNames, read_fallback
from waypost.catalog.sections.targeting import read_targeting
from waypost.catalog.sections.visits import read_deep_link, read_mode
from waypost.catalog.sections.zones import read_timezone
from waypost.catalog.templates import TemplateChecker

CAP_LIMIT_MAX = 10**12
CLICK_WINDOW_MIN_MS = 1_000
CLICK_WINDOW_MAX_MS = 3_650 * 86_400_000

COUNTS = ("conversions",)
COUNTS_LATER = ("clicks", "payout", "revenue")
PERIODS = ("hour", "day", "week", "month", "total")


def read_offers(
    reader: Reader,
    field: Field,
    advertisers: Collection[str],
    places: PlaceNames,
    templates: TemplateChecker,
    tokens: Tokens,
) -> tuple[OfferDraft, ...]:
    """All offers."""
    found: list[OfferDraft] = []
    for name, entry, at in reader.named(field):
        fields = reader.fields(entry, "offers.NAME", at)
        if fields is not None:
            found.append(_offer(reader, name, fields, advertisers, places, templates, tokens))
    return tuple(found)


def _offer(
    reader: Reader,
    name: str,
    fields: Fields,
    advertisers: Collection[str],
    places: PlaceNames,
    templates: TemplateChecker,
    tokens: Tokens,
) -> OfferDraft:
    url = fields.get("url")
    text = reader.text(url)
    if url is not None and text is not None:
        templates.check_offer_url(reader, url, text)
    window = reader.duration_ms(fields.get("click_window"), least_ms=CLICK_WINDOW_MIN_MS, most_ms=CLICK_WINDOW_MAX_MS)
    file, line = fields.at
    return OfferDraft(
        name=name,
        advertiser=reader.reference(fields.get("advertiser"), advertisers, "advertiser") or "",
        url=text or "",
        goals=_goals(reader, fields.get("goals")),
        caps=_caps(reader, fields.get("caps")),
        click_window_ms=window or 0,
        active=reader.flag(fields.get("active"), True),
        place=f"{file}:{line}",
        access=reader.choice(fields.get("access"), ("open", "request", "private")) or "open",
        partners=_partners(reader, fields.get("partners"), places.partners),
        targeting=read_targeting(reader, fields, "offers.NAME"),
        fallback=read_fallback(reader, fields.get("fallback"), places, templates),
        deep_link=read_deep_link(reader, fields.get("deep_link"), templates),
        mode=read_mode(reader, fields.get("mode")),
        tokens=tokens.take(reader, fields.get("token"), f"offer `{name}`"),
        allow_addresses=read_networks(reader, fields.get("allow_addresses")),
    )


def _partners(reader: Reader, field: Field | None, names: Collection[str]) -> tuple[str, ...]:
    found = (reader.reference(one, names, "partner") for one in reader.one_or_many(field))
    return tuple(dict.fromkeys(name for name in found if name))


def _goals(reader: Reader, field: Field | None) -> tuple[Goal, ...]:
    if field is None:
        return ()
    noted = len(reader.problems)
    found: list[Goal] = []
    default = ""
    for name, entry, at in reader.named(field):
        fields = reader.fields(entry, "offers.NAME.goals.NAME", at)
        if fields is None:
            continue
        goal = _goal(reader, name, fields)
        if goal.default and default:
            message, where = f"goal `{default}` is the default already", fields.get("default") or entry
            reader.wrong("catalog_duplicate", where, message, hint="calls that name no goal go to one goal")
        default = default or (name if goal.default else "")
        found.append(goal)
    if not found and len(reader.problems) == noted:
        reader.wrong("catalog_missing_key", field, "has no goal", hint="such as `install: {payout: 1.20 USD}`")
    return tuple(found)


def _goal(reader: Reader, name: str, fields: Fields) -> Goal:
    revenue = fields.get("revenue")
    file, line = fields.at
    return Goal(
        name=name,
        payout=read_terms(reader, fields.get("payout")),
        revenue=read_terms(reader, revenue) if revenue is not None else None,
        status=reader.choice(fields.get("status"), ("approved", "pending"), later=("hold",)) or "approved",
        active=reader.flag(fields.get("active"), True),
        default=reader.flag(fields.get("default"), False),
        place=f"{file}:{line}",
    )


def _caps(reader: Reader, field: Field | None) -> tuple[Cap, ...]:
    found: dict[str, Cap] = {}
    for entry in reader.items(field):
        fields = reader.fields(entry, "offers.NAME.caps[]")
        if fields is None:
            continue
        cap = _cap(reader, fields)
        if cap.key in found:
            message = f"the same is counted at {found[cap.key].place}"
            reader.wrong("catalog_duplicate", entry, message, hint="keep the lower limit")
        found.setdefault(cap.key, cap)
    return tuple(found.values())


def _cap(reader: Reader, fields: Fields) -> Cap:
    count = reader.choice(fields.get("count"), COUNTS, later=COUNTS_LATER) or "conversions"
    hint = "to admit none, set the offer's `active: false`"
    limit = reader.whole(fields.get("limit"), least=1, most=CAP_LIMIT_MAX, hint=hint) or 1
    per = reader.choice(fields.get("per"), PERIODS) or f"?{id(fields)}"
    timezone = read_timezone(reader, fields.get("timezone"))
    if per == "total":
        timezone = "UTC"  # a total begins nowhere: a change of timezone must not start a new count
    file, line = fields.at
    return Cap(f"{count}:{per}:{timezone}", count, limit, per, timezone, f"{file}:{line}")
