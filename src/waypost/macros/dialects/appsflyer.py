"""AppsFlyer's postback macros for ad networks: names in parentheses.

Owns: the table. Reads and writes nothing.

Source: support.appsflyer.com, "Postback macros for ad networks" and "Postback macros for analytics partners". A
parameter of the attribution link is a macro by its name, too (`(clickid)`).

Checked on 2026-11-21: against the beginnings of "Postback macros for ad networks" and "for analytics partners", and
postbacks that ad networks publish for AppsFlyer. A `?` marks what was found in none of them.
"""

from waypost.macros.dialects.dialect import Dialect, rows

ROWS = rows("""
clickid, click_id, click-id? -> external_id
campaign, c, campaign-name? -> ad_campaign_id
af_c_id, campaign_id? -> click.campaign_id
af_siteid, af-siteid?, siteid?, site-id? -> source
af_sub_siteid -> click.sub_siteid
af_ad_id -> creative_id
af_ad -> click.ad_name
af_adset_id -> click.adset_id
af_adset -> click.adset_name
af_sub#1-5 -> sub#
af_keywords? -> keyword
pid, media-source? -> partner
event-name, event_name -> goal
mapped-iae, mappedIae? -> event
event-revenue, event_revenue, orig-monetary -> sum
event-revenue-currency, event_revenue_currency, currency -> sum_currency
event-revenue-USD, event_revenue_USD -> ; amounts are sent in the currency they came in
monetary -> sum ; AppsFlyer's is in US dollars: the amount is sent in the currency it came in
event-id?, event_id? -> txn_id
install-unix-ts, install-ts, event_time, timestamp, event-unix-ts?, event-time? -> conversion_time
click-ts, click-unix-ts?, click_ts? -> click_time
app-id, app-name, app_id?, app_name? -> offer ; the offer's name is sent
transaction-id?, conversion-id? -> conversion_id
country-code, country_code -> country
city -> city
language -> language
os-version, os_version? -> os_version
platform?, os? -> os
device-brand, device_brand, brand? -> brand
idfa, ios-device-id -> click.idfa
sha1-idfa, idfa-sha1? -> click.idfa|sha1
md5-idfa?, idfa-md5? -> click.idfa|md5
vendorId, vendorid, idfv? -> click.idfv
advertiserId, advertising_id, advertising-id? -> click.gaid
sha1-advertiserId, sha1-advertising_id? -> click.gaid|sha1
md5-advertiserId?, md5-advertising_id? -> click.gaid|md5
android-id, android-device-id, android_id? -> click.android_id
sha1-android-id -> click.android_id|sha1
md5-android-id? -> click.android_id|md5
oaid? -> click.oaid
imei? -> click.imei
ip -> click.ip
user-agent, user_agent? -> click.user_agent
appsflyer-device-id, appsflyer_id? -> click.user_id
device-model, carrier, wifi, sdk-version, app-version-name, app-version-new, match-type -> no_fact
gp_referer_click_ts, gp_referer_install_ts, attributed-touch-type, is-primary -> no_fact
blocked-reason, blocked-reason-value, blocked-sub-reason, retargeting-conversion-type -> no_fact
event-value, event_value -> no_fact
encode -> ; Waypost always encodes for the place where a value stands
model?, operator?, app-version?, is-retargeting?, attributed?, is_lat?, att? -> no_fact
""")

APPSFLYER = Dialect(
    name="appsflyer",
    title="AppsFlyer",
    forms=("(x)",),
    rows=ROWS,
    free=True,
    source="https://support.appsflyer.com/hc/en-us/articles/207273946-Postback-macros-for-ad-networks",
    checked=(
        'Against the beginnings of "Postback macros for ad networks" and "for analytics partners", and '
        "postbacks that ad networks publish for AppsFlyer."
    ),
)
