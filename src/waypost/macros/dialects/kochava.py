"""Kochava's macros of custom postbacks.

Owns: the table. Reads and writes nothing.

Source: support.kochava.com, "Create a Custom Postback": the event's name, value and time, the device's ids, the network
and the click that the install is attributed to. Older postbacks write `~(name)~`.

Checked on 2026-11-21: "Create a Custom Postback" lists the values, its copy that was at hand not the names: none
could be confirmed. A `?` marks what was found in none of them.
"""

from waypost.macros.dialects.dialect import Dialect, rows

ROWS = rows("""
click_id? -> external_id
network?, network_name?, attribution_network? -> partner
network_id? -> partner ; the partner's name is sent
campaign_id?, campaign? -> ad_campaign_id
campaign_name? -> click.campaign_name
site_id?, site? -> source
creative_id?, creative? -> creative_id
event_name?, name? -> goal
event_value?, event_sum?, price? -> sum
currency?, event_currency? -> sum_currency
event_time?, event_date?, install_date?, installed_date?, timestamp? -> conversion_time
click_time?, click_date? -> click_time
tracker?, tracker_id?, tracker_name? -> link ; Kochava's tracker is Waypost's link: its name is sent
app_name?, app_guid?, app_id? -> offer ; the offer's name is sent
transaction_id? -> txn_id
country?, country_code? -> country
region? -> region
city? -> city
os?, platform? -> os
os_version? -> os_version
idfa? -> click.idfa
idfa_md5? -> click.idfa|md5
idfa_sha1? -> click.idfa|sha1
idfv? -> click.idfv
adid? -> click.adid
adid_md5? -> click.adid|md5
adid_sha1? -> click.adid|sha1
android_id? -> click.android_id
android_id_md5? -> click.android_id|md5
android_id_sha1? -> click.android_id|sha1
device_id? -> click.device_id
kochava_device_id?, kochava_id? -> click.user_id
ip_address?, ip?, origination_ip? -> click.ip
user_agent?, device_ua? -> click.user_agent
matched_by?, matched_on?, device_version?, device_limit_tracking?, properties? -> no_fact
""")

KOCHAVA = Dialect(
    name="kochava",
    title="Kochava",
    forms=("{x}", "~(x)~"),
    rows=ROWS,
    source="https://support.kochava.com/campaign-management/create-a-custom-postback",
    checked=(
        '"Create a Custom Postback" lists the values, its copy that was at hand not the names: none could be confirmed.'
    ),
)
