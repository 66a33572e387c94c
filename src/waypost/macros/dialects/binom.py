"""Binom's tokens, as they stand in traffic sources' postback URLs.

Owns: the table. Reads and writes nothing.

Source: docs.binom.org, "Traffic source postback" (versions 1 and 2) and "Adding a traffic source" for `{t1_md5}`.

Checked on 2026-11-21: against docs.binom.org: "Traffic source postback" of versions 1 and 2 (as far as their names
begin with c and d), "Adding a traffic source" and "Update conversions". A `?` marks what was found in none of them.
"""

from waypost.macros.dialects.dialect import Dialect, rows

_CAMPAIGN = "Binom's campaign is Waypost's link: its name is sent"
_SOURCE = "Binom's traffic source is Waypost's partner: its name is sent"
_NETWORK = "Binom's affiliate network is Waypost's advertiser: its name is sent"
_DEVICE = "Waypost's words for devices are mobile, tablet, desktop, tv, bot and other"

ROWS = rows(f"""
externalid, external_id -> external_id
clickid -> click_id
payout -> payout
cnv_status, status? -> status
cnv_currency, currency? -> currency
cnv_id? -> conversion_id
clickcost, cost? -> cost
t#1-30 -> sub#
t#1-30_md5 -> sub#|md5
offer_name? -> offer
offer?, offer_id? -> offer ; the offer's name is sent, not Binom's number
campaign_name, campaign, campaign_id, campaign_key -> link ; {_CAMPAIGN}
trafficsource_name, trafficsource -> partner ; {_SOURCE}
trafficsource_id?, traffic_source_name?, traffic_source_id? -> partner ; {_SOURCE}
affiliate_network_name, affiliate_network_id -> advertiser ; {_NETWORK}
time -> click_time
date -> click_time|date(%Y-%m-%d)
country_code -> country
country -> country ; Waypost sends countries as codes
city -> city
region? -> region
isp -> isp
device_type? -> device ; {_DEVICE}
device_brand -> brand
os_name -> os
os_version -> os_version
browser_name -> browser
browser_version -> browser_version
language -> language
ip, user_agent, referer, resolution, device_name, device_model, continent, continent_code -> no_fact
useragent?, referrer?, connection_type?, carrier? -> no_fact
cnv_status2 -> ; a conversion has one status in Waypost
domain, lander, path_name, rule_name, user_id, htime -> ; it is a thing inside Binom
lander_id?, lander_name?, hash? -> ; it is a thing inside Binom
event#1-30? -> ; Waypost counts no events of a click in a template
""")

BINOM = Dialect(
    name="binom",
    title="Binom",
    forms=("{x}",),
    rows=ROWS,
    source="https://docs.binom.org/conv-to-source-v2.php",
    checked=(
        'Against docs.binom.org: "Traffic source postback" of versions 1 and 2 (as far as their names begin '
        'with c and d), "Adding a traffic source" and "Update conversions".'
    ),
)
