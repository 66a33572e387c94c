"""AppsFlyer's postback macros for ad networks: names in parentheses.

Owns: the table. Reads and writes nothing.

Source: support.appsflyer.com, "Postback macros for ad networks" and "Postback macros for analytics partners". A
parameter of the attribution link is a macro by its name, too (`(clickid)`).
"""

from waypost.macros.dialects.dialect import Dialect, rows

ROWS = rows("""
clickid, click_id, click-id -> external_id
campaign, campaign-name, c -> ad_campaign_id
campaign_id, af_c_id -> click.campaign_id
af_siteid, af-siteid, siteid, site-id -> source
af_ad_id -> creative_id
af_sub#1-5 -> sub#
af_keywords -> keyword
media-source, pid -> partner
event-name, event_name, mapped-iae, mappedIae -> goal
event-revenue, event_revenue, monetary -> sum
event-revenue-currency, event_revenue_currency, currency -> sum_currency
event-revenue-USD, event_revenue_USD -> ; amounts are sent in the currency they came in
event-id, event_id -> txn_id
install-unix-ts, install-ts, event-unix-ts, event_time, event-time, timestamp -> conversion_time
click-unix-ts, click-ts, click_ts -> click_time
app-id, app_id, app-name, app_name -> offer ; the offer's name is sent
transaction-id, conversion-id -> conversion_id
country-code, country_code -> country
city -> city
language -> language
os-version, os_version -> os_version
platform, os -> os
device-brand, brand -> brand
idfa -> click.idfa
sha1-idfa, idfa-sha1 -> click.idfa|sha1
md5-idfa, idfa-md5 -> click.idfa|md5
idfv -> click.idfv
advertiserId, advertising_id, advertising-id -> click.gaid
sha1-advertiserId, sha1-advertising_id -> click.gaid|sha1
md5-advertiserId, md5-advertising_id -> click.gaid|md5
android-id, android_id -> click.android_id
sha1-android-id -> click.android_id|sha1
md5-android-id -> click.android_id|md5
oaid -> click.oaid
imei -> click.imei
ip -> click.ip
user-agent, user_agent -> click.user_agent
appsflyer-device-id, appsflyer_id -> click.user_id
device-model, model, carrier, operator, wifi, sdk-version, app-version, app-version-name -> no_fact
match-type, is-retargeting, attributed, is_lat, att, blocked-reason, event-value, event_value -> no_fact
""")

APPSFLYER = Dialect(
    name="appsflyer",
    title="AppsFlyer",
    forms=("(x)",),
    rows=ROWS,
    source="https://support.appsflyer.com/hc/en-us/articles/207273946-Postback-macros-for-ad-networks",
)
