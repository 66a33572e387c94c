"""Singular's postback macros.

Owns: the table, and the forms with a network's name. Reads and writes nothing.

Source: support.singular.net, "Postback Macros and Passthrough Parameters for Ad Networks": `{cl?Network}` is what that
network's click brought in parameter `cl`, `{NETWORK=Network}` is 1 if the network is the attributed one, `{{name}}` is
a fixed value that the network was given when it was set up. In `{IFA1}` the 1 is for SHA-1, in `{IFA5}` the 5 for MD5.

Checked on 2026-11-21: against "Postback Macros and Passthrough Parameters" (current and older, without their last
tables) and postbacks that ad networks publish. A `?` marks what was found in none of them.
"""

import re

from waypost.macros.dialects.brackets import Token
from waypost.macros.dialects.dialect import Dialect, Found, Reading, rows
from waypost.macros.dialects.leftovers import as_literal
from waypost.macros.dialects.translation import Severity

ROWS = rows("""
CLID -> click_id
sub#1-5 -> sub#
CID -> ad_campaign_id
NETWORK -> partner
CREATIVE -> creative_id
SITE -> source
GID -> click.gid
AMOUNT -> sum
CURRENCY -> sum_currency
EVTNAME -> goal
EVTATTRS -> ; an event's attributes are not kept with a postback
UTC -> conversion_time
UTCM -> conversion_time|unix_ms
TIME -> conversion_time|date('%Y-%m-%d %H:%M:%S') ; how Singular writes it is not published
CLICK_UTC, TOUCHPOINT_UTC? -> click_time
CLICK_TIME -> click_time|date('%Y-%m-%d %H:%M:%S') ; how Singular writes it is not published
INSTALL_UTC -> conversion_time ; the conversion's time is sent
INSTALL_TIME -> conversion_time|date('%Y-%m-%d %H:%M:%S') ; the conversion's time is sent
APP_NAME, LONGNAME -> offer ; the offer's name is sent
PUBLIC_ID -> click.public_id
ATTRIBUTION_COUNTRY, COUNTRY? -> country
CITY? -> city
OS_VERSION -> os_version
PLATFORM, OS? -> os
LANGUAGE?, LOCALE? -> language
BRAND?, DEVICE_BRAND? -> brand
IDFA, IFA? -> click.idfa
IFA1 -> click.idfa|sha1
IFA5 -> click.idfa|md5
IDFV, IFV? -> click.idfv
AIFA -> click.gaid
AIF1?, AIFA1? -> click.gaid|sha1
AIF5?, AIFA5? -> click.gaid|md5
ANDI? -> click.android_id
AND1?, ANDI1? -> click.android_id|sha1
AND5?, ANDI5? -> click.android_id|md5
EVENT_IP, ATTRIBUTION_IP, TOUCHPOINT_IP, IP? -> click.ip
USER_AGENT?, UA? -> click.user_agent
USER_ID?, CUSTOM_USER_ID? -> click.user_id
IS_RE_ENG, IS_VIEWTHROUGH, IS_REVENUE_EVENT? -> no_fact
DEVICE_MODEL, APP_VERSION, INSTALLER_SOURCE, MODEL?, CARRIER?, SDK_VERSION? -> no_fact
""")
_OF_NETWORK = {
    "cl": "external_id", "pcrid": "creative_id", "pcrn": "click.creative_name", "pcid": "ad_campaign_id",
    "pshid": "click.pshid", "psid": "source", "psn": "click.site_name",
}  # fmt: skip
_FLAG = re.compile(r"\{if partner == '((?:[^'\\]|\\.)*)'\}1\{else\}0\{end\}")
_ESCAPED = re.compile(r"\\(.)")


def _read(token: Token) -> Reading | None:
    if token.form == "{{x}}":
        detail = f"{token.text[:64]} is a fixed value that Singular was given: write it out here"
        return Reading(as_literal(token.text), (Found(Severity.WARNING, "macro_placeholder", detail),))
    name, sign, network = token.name.partition("?")
    if sign:
        ours = _OF_NETWORK.get(name, f"click.{name}" if name.isidentifier() else "")
        detail = f"{token.text[:64]}: it is sent whatever the network; the rule's partner is {network.strip()[:40]}"
        found = Found(Severity.WARNING, "macro_adapted", detail)
        return Reading(f"{{{ours}}}", (found,)) if ours else None
    name, sign, network = token.name.partition("=")
    if name == "NETWORK" and sign:
        partner = network.strip().replace("\\", "\\\\").replace("'", "\\'")
        return Reading(f"{{if partner == '{partner}'}}1{{else}}0{{end}}")
    return None


def _write(ours: str) -> str | None:
    """`{NETWORK=…}` again."""
    flag = _FLAG.fullmatch(ours)
    return "{NETWORK=" + _ESCAPED.sub(r"\1", flag[1]) + "}" if flag else None


SINGULAR = Dialect(
    name="singular",
    title="Singular",
    forms=("{x}", "{{x}}"),
    rows=ROWS,
    source="https://support.singular.net/hc/en-us/articles/115004063323",
    read=_read,
    write=_write,
    checked=(
        'Against "Postback Macros and Passthrough Parameters" (current and older, without their last tables) '
        "and postbacks that ad networks publish."
    ),
)
