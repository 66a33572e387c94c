"""AppMetrica's postback macros.

Owns: the table. Reads and writes nothing.

Source: appmetrica.yandex.com, "Postback parameters": the system's macros, and each parameter of the tracking URL by its
name.
"""

from waypost.macros.dialects.dialect import Dialect, rows

ROWS = rows("""
click_id -> click_id
transaction_id -> conversion_id
event_name, conversion_type -> goal
publisher_name, publisher_id -> partner ; AppMetrica's publisher is Waypost's partner: its name is sent
tracker, tracking_id, tracker_name -> link ; AppMetrica's tracker is Waypost's link: its name is sent
app_name, application_id, app_id, app_package_name -> offer ; the offer's name is sent
revenue_price, revenue, event_revenue -> sum
revenue_currency, currency -> sum_currency
revenue_order_id, order_id -> txn_id
click_timestamp, click_unix_timestamp -> click_time
click_datetime -> click_time|date('%Y-%m-%d %H:%M:%S')
install_timestamp, install_unix_timestamp, event_timestamp, conversion_timestamp -> conversion_time
install_datetime, event_datetime, conversion_datetime -> conversion_time|date('%Y-%m-%d %H:%M:%S')
country, country_iso_code -> country
city -> city
os_name -> os
os_version -> os_version
device_type -> device ; Waypost's words for devices are mobile, tablet, desktop, tv, bot and other
device_manufacturer -> brand
device_locale -> language ; the first language, two letters
ios_ifa -> click.idfa
ios_ifa_md5 -> click.idfa|md5
ios_ifa_sha1 -> click.idfa|sha1
ios_ifv -> click.idfv
google_aid -> click.gaid
google_aid_md5 -> click.gaid|md5
google_aid_sha1 -> click.gaid|sha1
android_id -> click.android_id
oaid, huawei_oaid -> click.oaid
device_ip, click_ip, ip -> click.ip
click_user_agent, user_agent -> click.user_agent
profile_id, appmetrica_device_id -> click.user_id
match_type, attributed_touch_type, is_reattribution, is_reengagement, device_model, operator_name -> no_fact
mcc, mnc, connection_type, app_version_name, app_build_number, event_json, adwords_link_id -> no_fact
""")

APPMETRICA = Dialect(
    name="appmetrica",
    title="AppMetrica",
    forms=("{x}",),
    rows=ROWS,
    source="https://appmetrica.yandex.com/docs/en/mobile-tracking/postback-specification",
    free=True,
)
