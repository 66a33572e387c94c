"""Keitaro's S2S postback placeholders → Waypost's macros.

Owns: the table of Keitaro's placeholders, its statuses and dates. Reads and writes nothing.

Source: docs.keitaro.io, "S2S postback placeholders" (`{name}`, `{name:argument}`, `{_name}` for an unencoded value,
and each parameter of the traffic source's click URL by its name), and "Postback" for the statuses. `{payout}` is
the spelling that published templates use for `{revenue}`.

Checked on 2026-11-21: against "S2S postback placeholders" (as far as keyword), "S2S postback", "Placeholders",
"Updating parameters" and the legacy list of version 7. A `?` marks what was found in none of them.
"""

import re
from collections.abc import Iterable

from waypost.macros.dialects.brackets import Token
from waypost.macros.dialects.dates import PHP, from_letters, to_letters
from waypost.macros.dialects.dialect import DRAWN, Dialect, Found, Reading, read_row, rows
from waypost.macros.dialects.postbacks import translate_postback
from waypost.macros.dialects.statuses import read_map, write_map
from waypost.macros.dialects.translation import Severity, Translation
from waypost.macros.syntax import quote_argument

_CAMPAIGN = "Keitaro's campaign is Waypost's link: its name is sent"
_SOURCE = "Keitaro's traffic source is Waypost's partner: its name is sent"
_OWN = "it is a number inside Keitaro"

PLACEHOLDERS = rows(f"""
subid -> click_id
external_id -> external_id
tid -> txn_id
payout -> payout
revenue, conversion_revenue -> revenue
currency -> currency
status -> status
date -> click_time
cost -> cost
source -> source
keyword -> keyword
ad_campaign_id -> ad_campaign_id
creative_id -> creative_id
sub_id_#1-30 -> sub#
extra_param_#1-10 -> click.extra_param_#
offer_name? -> offer
offer_id -> offer ; the offer's name is sent, not Keitaro's number
campaign_name, keitaro_campaign_name?, campaign_id?, keitaro_campaign_id?, campaign_alias? -> link ; {_CAMPAIGN}
traffic_source_name, ts_id? -> partner ; {_SOURCE}
country, country_code? -> country
country_name -> ; Waypost sends countries as codes: {{country}}
region, region_name -> region
city -> city
isp -> isp
device_type -> device ; Waypost's words for devices are mobile, tablet, desktop, tv, bot and other
device_brand -> brand
device_model -> model
os -> os
os_version -> os_version
browser -> browser
browser_version -> browser_version
language -> language
is_bot -> bot
ip -> ip
user_agent?, ua?, useragent -> user_agent
referrer, referer? -> referrer
connection_type -> connection
operator, operator_name, carrier -> carrier
current_domain, is_using_proxy, search_engine?, se -> no_fact
profit -> ; Waypost computes no profit in a template
random -> postback_id|random(1, 1000000) ; {DRAWN}
sample -> ; it names nothing to choose from
from_file -> ; templates read no files
keyword_cp1251 -> ; what is sent is UTF-8: {{keyword}}
destination -> ; the target's address is not kept with a conversion
original_status -> ; the advertiser's own word for the status is not kept with a postback
previous_status? -> status_before|map(pending=lead, approved=sale, declined=rejected, hold=lead)
landing_id, landing_name?, parent_campaign_id, stream_id, visitor_code?, token -> ; {_OWN}
""")

# Keitaro's status → ours. A hold has no word of its own in Keitaro: it is a lead that is not confirmed yet.
STATUSES: dict[str, tuple[str, ...]] = {"lead": ("pending", "hold"), "sale": ("approved",), "rejected": ("declined",)}
_GOALS = frozenset({"registration", "reg", "deposit", "dep", "install", "rebill", "ftd"})

_PAIRS = re.compile(r"[\s,]+")
_ZONE = re.compile(r"(.*),\s*([A-Za-z_+\-/0-9]{3,})\s*", re.DOTALL)
_PARTS = re.compile(r"(_?)([^:\s]+)\s*(?::(.*))?", re.DOTALL)


def translate(text: str, *, click_parameters: Iterable[str] = ()) -> Translation:
    """A postback template in Keitaro's dialect as one of ours; see translate_postback."""
    return translate_postback(KEITARO, text, click_parameters=click_parameters)


def _read(token: Token) -> Reading | None:
    """`{status: …}`, `{date: …}`, `{_name}` and names with arguments; None for an ordinary name."""
    parts = _PARTS.fullmatch(token.name)
    if not parts:
        return None
    raw, name, argument = parts[1], parts[2], parts[3]
    if raw and "_" + name not in PLACEHOLDERS and (name in PLACEHOLDERS or (argument is None and name.isidentifier())):
        return _raw(token, name, argument)
    if name == "status":
        return _status(argument)
    if name == "date":
        return _date(argument)
    if argument is None or name not in PLACEHOLDERS:
        return None
    if name in ("random", "sample"):
        return _drawn(name, [text.strip() for text in argument.split(",")])
    if name == "keyword" and argument.strip().lower() in ("utf-8", "utf8"):
        return Reading("{keyword}")
    if argument.strip() == "" or not PLACEHOLDERS[name].ours:
        return read_row(token.text, name, PLACEHOLDERS[name])
    return _refused("macro_bad_argument", f"{{{name}}} takes no argument here: {argument[:40]!r}")


def _raw(token: Token, name: str, argument: str | None) -> Reading | None:
    inner = token._replace(name=name if argument is None else f"{name}:{argument}")
    reading = _read(inner)
    if reading is None and name in PLACEHOLDERS:
        reading = Reading(f"{{{PLACEHOLDERS[name].ours}}}") if PLACEHOLDERS[name].ours else None
    elif reading is None:
        reading = Reading(f"{{click.{name}}}")  # a parameter of the click
    if reading is None or reading.text is None:
        return reading
    detail = f"{token.text[:64]} is unencoded in Keitaro; Waypost always encodes for the place where a value stands"
    return Reading(reading.text, (*reading.found, Found(Severity.WARNING, "macro_adapted", detail)))


def _status(argument: str | None) -> Reading:
    words = {status: word for word, statuses in STATUSES.items() for status in statuses}
    found: list[Found] = []
    seen: set[str] = set()
    for pair in _PAIRS.split((argument or "").strip()):
        word, equals, value = pair.partition("=")
        if not pair:
            continue
        if not equals or not word or word in seen:
            return _refused("macro_syntax", f"{{status: …}} holds {pair[:40]!r}, which is not one name=text")
        seen.add(word)
        if word not in STATUSES:
            kind = "a goal in Waypost, not a status: use {goal|map(…)}" if word in _GOALS else "no status of Waypost"
            detail = f"{{status: {pair[:40]}}} is left out: {word[:40]} is {kind}"
            found.append(Found(Severity.WARNING, "macro_adapted", detail))
        for status in STATUSES.get(word, ()):
            words[status] = value
    return Reading(write_map("status", words), tuple(found))


def _date(argument: str | None) -> Reading:
    form = argument.strip() if argument else "Y-m-d"
    zoned = _ZONE.fullmatch(form)
    zone = ""
    if zoned:
        form, zone = zoned[1].strip(), zoned[2]
    return from_letters("click_time", form, PHP, zone=zone)


def _drawn(name: str, texts: list[str]) -> Reading:
    """`{random:1,9}`, `{sample:a,b}`: drawn from the postback's id, so that every attempt has the same."""
    found = (Found(Severity.WARNING, "macro_adapted", f"{{{name}: …}}: {DRAWN}"),)
    if name == "sample" and all(texts):
        pairs = ", ".join(f"{nth}={quote_argument(text)}" for nth, text in enumerate(texts, 1))
        return Reading(f"{{postback_id|random(1, {len(texts)})|map({pairs})}}", found)
    if name == "random" and len(texts) == 2 and all(re.fullmatch(r"-?\d{1,9}", text, re.ASCII) for text in texts):
        return Reading(f"{{postback_id|random({texts[0]}, {texts[1]})}}", found)
    return _refused("macro_bad_argument", f"{{{name}: …}} cannot draw from {', '.join(texts)[:40]!r}")


def _refused(code: str, detail: str) -> Reading:
    return Reading(None, (Found(Severity.ERROR, code, detail),))


def _write(ours: str) -> str | None:
    """`{status:…}` and `{date:…}` again."""
    words = read_map("status", ours)
    if words is not None:
        return _write_status(words)
    letters = to_letters("click_time", ours, PHP)
    if letters is None:
        return None
    form, zone = letters
    if form == "Y-m-d" and not zone:
        return "{date}"
    return f"{{date:{form},{zone}}}" if zone else f"{{date:{form}}}"


def _write_status(words: dict[str, str]) -> str | None:
    if set(words) != {"pending", "approved", "declined", "hold"} or words["pending"] != words["hold"]:
        return None
    pairs = {word: words[statuses[0]] for word, statuses in STATUSES.items()}
    if any(re.search(r"[\s,=:{}]", value) for value in pairs.values()):
        return None
    changed = " ".join(f"{word}={value}" for word, value in pairs.items() if value != word)
    return f"{{status:{changed}}}" if changed else "{status}"


KEITARO = Dialect(
    name="keitaro",
    title="Keitaro",
    forms=("{x}",),
    rows=PLACEHOLDERS,
    source="https://docs.keitaro.io/en/campaigns-and-streams/s2s-postback-placeholders.html",
    free=True,
    read=_read,
    write=_write,
    checked=(
        'Against "S2S postback placeholders" (as far as keyword), "S2S postback", "Placeholders", "Updating '
        'parameters" and the legacy list of version 7.'
    ),
)
