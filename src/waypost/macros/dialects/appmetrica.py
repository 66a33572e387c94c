"""AppMetrica's postback macros.

Owns: the table. Reads and writes nothing.

Source: appmetrica.yandex.com, "Postback parameters": the system's macros, and each parameter of the tracking URL by its
name.

Checked on 2026-11-21: against the whole of "Postback parameters". A `?` marks what was found in none of them.
"""

from waypost.macros.dialects.dialect import Dialect, rows

ROWS = rows("""
click_id -> click_id
transaction_id -> conversion_id
conversion_event_name, event_name?, conversion_type? -> goal
publisher_name?, publisher_id? -> partner ; AppMetrica's publisher is Waypost's partner: its name is sent
tracker?, tracking_id?, tracker_name? -> link ; AppMetrica's tracker is Waypost's link: its name is sent
store_app_id, app_package_name -> offer ; the offer's name is sent
app_name?, application_id?, app_id? -> offer ; the offer's name is sent
price, ecom_revenue, revenue_price?, revenue?, event_revenue? -> sum
currency, revenue_currency? -> sum_currency
order_id, inapp_transaction_id, revenue_order_id? -> txn_id
click_timestamp, click_unix_timestamp? -> click_time
click_datetime -> click_time|date('%Y-%m-%dT%H:%M:%SZ')
conversion_timestamp, install_timestamp, install_unix_timestamp?, event_timestamp? -> conversion_time
conversion_datetime, install_datetime, event_datetime? -> conversion_time|date('%Y-%m-%dT%H:%M:%SZ')
country?, country_iso_code? -> country
city? -> city
os_name -> os
os_version -> os_version
device_type -> device ; Waypost's words for devices are mobile, tablet, desktop, tv, bot and other
device_manufacturer -> brand
device_locale -> language ; the first language, two letters
ios_ifa -> click.idfa
ios_ifa_md5? -> click.idfa|md5
ios_ifa_sha1? -> click.idfa|sha1
ios_ifv -> click.idfv
google_aid -> click.gaid
windows_aid -> click.windows_aid
google_aid_md5? -> click.gaid|md5
google_aid_sha1? -> click.gaid|sha1
android_id? -> click.android_id
oaid, huawei_oaid? -> click.oaid
click_ipv6, install_ipv6, device_ip?, click_ip?, ip? -> click.ip
click_user_agent, user_agent? -> click.user_agent
profile_id, appmetrica_device_id -> click.user_id
match_type, attributed_touch_type, device_model, operator_name, mcc, mnc, limit_ad_tracking -> no_fact
click_timezone, conversion_timezone, install_timezone, start_timezone, session_id -> no_fact
start_datetime, start_timestamp, app_version_name, appmetrica_sdk_version, adwords_link_id -> no_fact
adwords_rdid, conversion_event_json, product_id, inapp_validated, inapp_receipt -> no_fact
ecom_quantity, ecom_product_name, ecom_promocodes, ecom_type, is_reattribution?, is_reengagement? -> no_fact
connection_type?, app_build_number?, event_json? -> no_fact
ecom_category_path_#1-10 -> no_fact
""")

APPMETRICA = Dialect(
    name="appmetrica",
    title="AppMetrica",
    forms=("{x}",),
    rows=ROWS,
    source="https://appmetrica.yandex.com/docs/en/mobile-tracking/postback-specification",
    free=True,
    checked='Against the whole of "Postback parameters".',
)
