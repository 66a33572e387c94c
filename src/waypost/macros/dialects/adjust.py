"""Adjust's placeholders of callback URLs.

Owns: the table. Reads and writes nothing.

Source: help.adjust.com, "Callbacks" and "Best practices for callbacks"; partners.adjust.com/placeholders.
"""

from waypost.macros.dialects.dialect import DRAWN, Dialect, rows

ROWS = rows(f"""
click_id -> external_id
reference_tag, referrer -> click.referrer
tracker_name, link_name, campaign_name -> link ; Adjust's link is Waypost's link: its name is sent
tracker, link_token -> link ; Adjust's link is Waypost's link: its name is sent
network_name -> partner
adgroup_name -> click.adgroup
creative_name -> creative_id
label -> click.label
activity_kind, event_name, event -> goal
event_token -> goal ; the goal's name is sent, not Adjust's token
revenue_float, revenue -> sum
revenue_usd, reporting_revenue -> ; amounts are sent in the currency they came in
currency -> sum_currency
cost_amount -> cost
transaction_id, random_transaction_id -> txn_id
created_at, event_time, installed_at, conversion_time -> conversion_time
click_time, engagement_time, impression_time -> click_time
app_name, app_id -> offer ; the offer's name is sent
country -> country
city -> city
language -> language
isp -> isp
os_name -> os
os_version -> os_version
device_type -> device ; Waypost's words for devices are mobile, tablet, desktop, tv, bot and other
device_manufacturer -> brand
idfa -> click.idfa
idfa_md5, idfa||md5 -> click.idfa|md5
idfa_sha1 -> click.idfa|sha1
idfv -> click.idfv
gps_adid -> click.gps_adid
gps_adid_md5 -> click.gps_adid|md5
gps_adid_lower_sha1, gps_adid_sha1 -> click.gps_adid|sha1
android_id -> click.android_id
android_id_md5 -> click.android_id|md5
oaid -> click.oaid
adid -> click.adid
ip_address -> click.ip
user_agent -> click.user_agent
device_name, sdk_version, app_version, app_version_short, tracking_enabled, att_status, match_type -> no_fact
is_organic, is_reattributed, rejection_reason, timezone, environment, store, mcc, mnc -> no_fact
nonce, random, random_user_id -> postback_id|uuid ; {DRAWN}
publisher_parameters, partner_parameters -> ; write each parameter of the click by its name
""")

ADJUST = Dialect(
    name="adjust",
    title="Adjust",
    forms=("{x}",),
    rows=ROWS,
    source="https://help.adjust.com/en/article/callbacks",
)
