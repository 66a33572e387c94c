"""Branch's postback macros: FreeMarker expressions, conditions and functions.

Owns: the table, and the part of FreeMarker that published postbacks use: `${(name)!}`, `${(name)!"default"}`,
`<#if …>…<#elseif …>…<#else>…</#if>`, and the functions `<@sha1>${…}</@sha1>`. Reads and writes nothing.

Source: help.branch.io, "Postback Macros & Functions"; freemarker.apache.org for the conditions. Times are Unix
milliseconds.

Checked on 2026-11-21: against the whole of "Postback Macros and Functions". A `?` marks what was found in none of
them.
"""

import re

from waypost.macros.dialects.brackets import Token
from waypost.macros.dialects.dates import JAVA, from_letters
from waypost.macros.dialects.dialect import Dialect, Found, Reading, no_counterpart, read_row, rows
from waypost.macros.dialects.translation import Severity
from waypost.macros.filters import FILTERS
from waypost.macros.syntax import quote_argument

ROWS = rows("""
name -> goal
customer_event_alias -> event
id -> conversion_id
event_timestamp, timestamp? -> conversion_time|unix_ms
last_attributed_touch_timestamp -> click_time|unix_ms
last_attributed_touch_data.~external_touch, last_attributed_touch_data.~external_touch_id? -> external_id
last_attributed_touch_data.~click_id -> external_id
last_attributed_touch_data.+touch_id -> click_id
last_attributed_touch_data.~id -> click_id ; Branch's is the id of a short link's touch: Waypost's of the click is sent
last_attributed_touch_data.~campaign_id -> ad_campaign_id
last_attributed_touch_data.~creative_id, last_attributed_touch_data.~ad_id -> creative_id
last_attributed_touch_data.~keyword -> keyword
last_attributed_touch_data.~secondary_publisher_id, last_attributed_touch_data.~secondary_publisher -> source
last_attributed_touch_data.~advertising_partner_name -> partner
last_attributed_touch_data.~advertising_partner_id -> partner ; the partner's name is sent
last_attributed_touch_data.gclid -> click.gclid
last_attributed_touch_data.~campaign -> click.campaign
last_attributed_touch_data.~campaign_type -> click.campaign_type
last_attributed_touch_data.~customer_campaign -> click.customer_campaign
last_attributed_touch_data.~channel -> click.channel
last_attributed_touch_data.~feature -> click.feature
last_attributed_touch_data.~stage -> click.stage
last_attributed_touch_data.~tags -> click.tags
last_attributed_touch_data.~customer_secondary_publisher -> click.customer_secondary_publisher
last_attributed_touch_data.~creative_name -> click.creative_name
last_attributed_touch_data.~ad_set_name -> click.ad_set_name
last_attributed_touch_data.~ad_set_id -> click.ad_set_id
last_attributed_touch_data.~customer_ad_set_name -> click.customer_ad_set_name
last_attributed_touch_data.~ad_name -> click.ad_name
last_attributed_touch_data.~customer_ad_name -> click.customer_ad_name
last_attributed_touch_data.~keyword_id -> click.keyword_id
last_attributed_touch_data.~customer_keyword -> click.customer_keyword
last_attributed_touch_data.~placement -> click.placement
last_attributed_touch_data.~placement_id -> click.placement_id
last_attributed_touch_data.~customer_placement -> click.customer_placement
last_attributed_touch_data.~sub_site_name -> click.sub_site_name
last_attributed_touch_data.~customer_sub_site_name -> click.customer_sub_site_name
last_attributed_touch_data.~agency -> click.agency
last_attributed_touch_data.~agency_id -> click.agency_id
last_attributed_touch_data.~technology_partner -> click.technology_partner
custom_data.sub#1-5 -> sub#
event_data.transaction_id, custom_data.transaction_id -> txn_id
event_data.revenue -> sum
event_data.currency -> sum_currency
event_data.revenue_in_usd, event_data.exchange_rate -> ; amounts are sent in the currency they came in
organization_name -> advertiser
organization_id -> advertiser ; the advertiser's name is sent
app_data.app_name?, user_data.app_name? -> offer ; the offer's name is sent
user_data.os -> os
user_data.os_version, user_data.os_version_android -> os_version
user_data.brand -> brand
user_data.browser -> browser
user_data.device_type -> device ; Waypost's words for devices are mobile, tablet, desktop, tv, bot and other
user_data.geo_country_code, user_data.country -> country
user_data.geo_country_en -> ; Waypost sends countries as codes
user_data.geo_region_code -> region
user_data.geo_region_en -> region ; Waypost sends regions as codes
user_data.geo_city_en -> city
user_data.language -> language
user_data.idfa -> click.idfa
user_data.idfv -> click.idfv
user_data.aaid -> click.gaid
user_data.kindle_aid -> click.kindle_aid
user_data.windows_aid -> click.windows_aid
user_data.android_id -> click.android_id
user_data.ip, last_attributed_touch_data.user_data_ip -> click.ip
user_data.user_agent, last_attributed_touch_data.user_data_user_agent -> click.user_agent
user_data.developer_identity -> click.user_id
user_data.model, user_data.sdk_version, user_data.app_version, user_data.limit_ad_tracking -> no_fact
user_data.environment, user_data.platform, user_data.carrier_name, user_data.http_referrer -> no_fact
user_data.referral_source, user_data.internet_connection_type, user_data.is_jailbroken -> no_fact
user_data.geo_continent_code, user_data.geo_dma_code, user_data.geo_postal_code -> no_fact
last_attributed_touch_type, first_event_for_user -> no_fact
event_data.coupon, event_data.tax, event_data.shipping, event_data.affiliation -> no_fact
event_data.search_query, event_data.description, event_data.ad_type -> no_fact
custom_data.content_id, custom_data.content_type, custom_data.date1, custom_data.date2 -> no_fact
custom_data.level, custom_data.quantity, custom_data.rating -> no_fact
content_items[0].$sku, content_items[0].$price, content_items[0].$quantity -> no_fact
content_items[0].$product_name, content_items[0].$currency -> no_fact
days_from_last_attributed_touch_to_event, hours_from_last_attributed_touch_to_event -> no_fact
minutes_from_last_attributed_touch_to_event, seconds_from_last_attributed_touch_to_event -> no_fact
attributed -> click_id
existing_user -> returning
origin, webhook_id, webhook_partner_key, referrer_click_timestamp -> ; it is a thing inside Branch
store_install_begin_timestamp, di_match_click_token -> ; it is a thing inside Branch
last_cta_view_timestamp, deep_linked -> ; it is a thing inside Branch
""")

_VALUE = re.compile(
    r"""\(\s*([^()"']+?)\s*\)\s*!\s*(?:"([^"]*)"|'([^']*)')?|([^()!?"']+?)\s*!?\s*(?:"([^"]*)"|'([^']*)')?"""
)
_FUNCTION = re.compile(r"@(\w+)([^<>]*)>\s*\$\{([^{}]*)\}\s*(?:</@(\w+))?")
_FORMAT = re.compile(r"""output_date_format\s*=\s*["']([^"']+)["']""")
_TERM = re.compile(r"""(!?)\(?([\w.~$+\[\]]+)\)?!?(\?\?)?(?:\s*(==|!=|=)\s*(?:"([^"]*)"|'([^']*)'|(true|false)))?""")
_JOIN = re.compile(r"\s*(&&|\|\||\\?&amp;&amp;|\band\b|\bor\b)\s*")
_FILTERS = {
    "md5": "md5", "sha1": "sha1", "sha256": "sha256", "base64": "base64", "lower": "lower", "upper": "upper",
    "json": "json", "jsonmap": "json", "urlencode": "", "countryCodeIso3166": "", "languageIso639": "",
    "truncate": "slice(0, 40)",
}  # fmt: skip


def _read(token: Token) -> Reading | None:
    if token.form == "<#x>":
        return _condition(token)
    if token.form == "<@x>":
        return _function(token)
    found = _VALUE.fullmatch(token.name)
    if not found:
        return None
    name = (found[1] or found[4] or "").strip()
    row = ROWS.get(name)
    if row is None:
        return None
    reading = read_row(token.text, name, row)
    default = next((text for text in (found[2], found[3], found[5], found[6]) if text), "")
    return _filtered(reading, f"default({quote_argument(default)})") if default else reading


def _filtered(reading: Reading, call: str) -> Reading:
    return reading if reading.text is None else reading._replace(text=f"{reading.text[:-1]}|{call}}}")


def _function(token: Token) -> Reading | None:
    found = _FUNCTION.fullmatch(token.name)
    if not found or (found[4] and found[4] != found[1]):
        return None
    reading = _read(Token(token.start, f"${{{found[3]}}}", "${x}", found[3].strip()))
    if reading is None or reading.text is None:
        return reading
    if found[1] == "dateformat":
        return _dateformat(reading, found[2])
    if found[1] == "iso8601UTCDate":
        return _iso(reading)
    name = _FILTERS.get(found[1])
    if name is None or (name and name.partition("(")[0] not in FILTERS):
        detail = f"{token.text[:64]}: Waypost has no function like Branch's {found[1]}"
        return Reading(None, (Found(Severity.ERROR, "macro_bad_argument", detail),))
    return _filtered(reading, name) if name else reading  # Waypost always encodes for the place


def _time(reading: Reading) -> str:
    """Our macro's name where it is a time."""
    name = (reading.text or "").strip("{}").partition("|")[0]
    return name if name in ("conversion_time", "click_time") else ""


def _iso(reading: Reading) -> Reading:
    if not _time(reading):
        return Reading(
            None, (Found(Severity.ERROR, "macro_bad_argument", "iso8601UTCDate is translated for times only"),)
        )
    return reading._replace(text=f"{{{_time(reading)}|date('%Y-%m-%dT%H:%M:%S.000Z')}}")


def _dateformat(reading: Reading, arguments: str) -> Reading:
    form, name = _FORMAT.search(arguments), _time(reading)
    if not form or not name:
        detail = "dateformat is translated for times only, with an output_date_format"
        return Reading(None, (Found(Severity.ERROR, "macro_bad_argument", detail),))
    if form[1] == "TIMESTAMP_SECONDS":
        return reading._replace(text=f"{{{name}}}")
    if form[1] == "TIMESTAMP_MILLIS":
        return reading
    return from_letters(name, form[1], JAVA)


def _condition(token: Token) -> Reading | None:
    word, _, text = token.name.partition(" ")
    if word in ("#else", "/#if"):
        return Reading("{else}" if word == "#else" else "{end}")
    keyword = {"#if": "if", "#elseif": "elif"}.get(word)
    if keyword is None:
        return None
    out = []
    for at, piece in enumerate(_JOIN.split(text.strip())):
        if at % 2:
            out.append("or" if piece in ("||", "or") else "and")
            continue
        term = _TERM.fullmatch(piece.strip())
        if not term:
            detail = f"{token.text[:64]}: this condition is not translated"
            return Reading(None, (Found(Severity.ERROR, "macro_bad_argument", detail),))
        row = ROWS.get(term[2])
        if row is None or not row.ours:
            why = no_counterpart(token.text, term[2], row) if row else None
            missing = Found(Severity.ERROR, "macro_unknown", f"{term[2][:64]} in {token.text[:64]} is not Branch's")
            return Reading(None, (why or missing,))
        out.append(_term(row.ours.partition("|")[0], term))
    return Reading(f"{{{keyword} {' '.join(out)}}}")


def _term(name: str, term: re.Match[str]) -> str:
    if term[4] is None:
        return f"not {name}" if term[1] else name
    if term[7]:
        return name if (term[7] == "true") == (term[4] != "!=") else f"not {name}"
    text = term[5] if term[5] is not None else term[6]
    quoted = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return f"{'not ' if term[1] else ''}{name} {'!=' if term[4] == '!=' else '=='} {quoted}"


_OUR_TERM = re.compile(r"(not )?([\w.]+)(?: (==|!=) '((?:[^'\\]|\\.)*)')?")
_KEYWORDS = {"if": "#if", "elif": "#elseif"}


def _write(ours: str) -> str | None:
    """Conditions again; a name by itself is the table's."""
    if ours in ("else", "end"):
        return "<#else>" if ours == "else" else "</#if>"
    keyword, _, text = ours.partition(" ")
    if keyword not in _KEYWORDS:
        return None
    out = []
    for at, piece in enumerate(re.split(r" (and|or) ", text)):
        if at % 2:
            out.append("&&" if piece == "and" else "||")
            continue
        term = _OUR_TERM.fullmatch(piece)
        theirs = next((name for name, row in ROWS.items() if term and row.name == term[2]), None)
        if term is None or theirs is None or (term[4] and '"' in term[4]):
            return None
        if term[2] == "click_id" and not term[3]:
            theirs = "attributed"
        compared = f'({theirs})! {term[3]} "{term[4]}"' if term[3] else theirs
        out.append(("!" if term[1] else "") + compared)
    return f"<{_KEYWORDS[keyword]} {' '.join(out)}>"


BRANCH = Dialect(
    name="branch",
    title="Branch",
    forms=("${x}", "<#x>", "<@x>"),
    rows=ROWS,
    source="https://help.branch.io/using-branch/docs/postback-macros-functions",
    read=_read,
    write=_write,
    spelled="${(x)!}",
    checked='Against the whole of "Postback Macros and Functions".',
)
