"""Adjust's placeholders of callback URLs.

Owns: the table. Reads and writes nothing.

Source: help.adjust.com, "Callbacks" and "Best practices for callbacks"; partners.adjust.com/placeholders.

Checked on 2026-11-21: against help.adjust.com's recommended placeholders, the list of partners' placeholders, and the
callback of Snowplow's guide that names all of an install. A `?` marks what was found in none of them.
"""

from waypost.macros.dialects.dialect import DRAWN, Dialect, rows

ROWS = rows(f"""
click_id -> external_id
reference_tag?, referrer -> click.referrer
tracker_name, link_name, campaign_name -> link ; Adjust's link is Waypost's link: its name is sent
tracker, link_token -> link ; Adjust's link is Waypost's link: its name is sent
network_name -> partner
adgroup_name -> click.adgroup
creative_name -> creative_id
label -> click.label
gclid -> click.gclid
activity_kind, event_name, event -> goal
event_token -> goal ; the goal's name is sent, not Adjust's token
revenue_float, revenue -> sum
revenue_usd, revenue_usd_cents -> ; amounts are sent in the currency they came in
reporting_revenue, reporting_currency -> ; amounts are sent in the currency they came in
currency -> sum_currency
cost_amount? -> cost
transaction_id?, random_transaction_id? -> txn_id
created_at, installed_at, reattributed_at, event_time?, conversion_time? -> conversion_time
click_time, engagement_time, impression_time? -> click_time
app_name, app_id, app_name_dashboard -> offer ; the offer's name is sent
country -> country
city -> city
language -> language
isp -> isp
os_name -> os
os_version -> os_version
device_type -> device ; Waypost's words for devices are mobile, tablet, desktop, tv, bot and other
device_manufacturer? -> brand
idfa -> click.idfa
idfa||android_id, idfa||gps_adid -> click.idfa ; Adjust sends the first of the two that there is
idfa_md5, idfa_md5_hex, idfa||md5? -> click.idfa|md5
idfa_sha1? -> click.idfa|sha1
idfv -> click.idfv
gps_adid -> click.gps_adid
gps_adid_md5 -> click.gps_adid|md5
gps_adid_lower_sha1?, gps_adid_sha1? -> click.gps_adid|sha1
android_id -> click.android_id
android_id_md5 -> click.android_id|md5
oaid? -> click.oaid
fire_adid -> click.fire_adid
win_udid -> click.win_udid
win_hwid -> click.win_hwid
win_naid -> click.win_naid
win_adid -> click.win_adid
mac_sha1 -> click.mac|sha1
mac_md5 -> click.mac|md5
adid -> click.adid
ip_address -> click.ip
user_agent -> click.user_agent
device_name, sdk_version, api_level, app_version, tracking_enabled, match_type, impression_based -> no_fact
is_organic, rejection_reason, timezone, environment, store, connection_type, reftag, click_referer -> no_fact
click_attribution_window, impression_attribution_window, reattribution_attribution_window -> no_fact
inactive_user_definition -> no_fact
fb_campaign_group_name, fb_campaign_group_id, fb_campaign_name, fb_campaign_id, fb_adgroup_name -> no_fact
fb_adgroup_id, tweet_id, twitter_line_item_id, google_ads, google_ads_campaign_id -> no_fact
iad_ad_id, iad_keyword, iad_keyword_id, iad_org_id, iad_conversion_type, iad_country_or_region -> no_fact
app_version_short?, att_status?, is_reattributed?, mcc?, mnc? -> no_fact
nonce?, random?, random_user_id? -> postback_id|uuid ; {DRAWN}
publisher_parameters?, partner_parameters? -> ; write each parameter of the click by its name
""")

ADJUST = Dialect(
    name="adjust",
    title="Adjust",
    forms=("{x}",),
    rows=ROWS,
    source="https://help.adjust.com/en/article/callbacks",
    checked=(
        "Against help.adjust.com's recommended placeholders, the list of partners' placeholders, and the "
        "callback of Snowplow's guide that names all of an install."
    ),
)
