"""Everflow's macros of partners' postback URLs.

Owns: the table. Reads and writes nothing.

Source: helpdesk.everflow.io, "A Guide to Parameters and Macros".

Checked on 2026-11-21: against developers.everflow.io, the beginnings of helpdesk.everflow.io's guide and a third
party's list of macros. The guide's table was not at hand. A `?` marks what was found in none of them.
"""

from waypost.macros.dialects.dialect import DRAWN, Dialect, rows

_PARTNER = "the partner's name is sent, not Everflow's number"
_ADVERTISER = "the advertiser's name is sent, not Everflow's number"

ROWS = rows(f"""
sub#1-5 -> sub#
sub#6-10? -> sub#
transaction_id -> click_id
conversion_id? -> conversion_id
payout_amount, payout? -> payout
payout_currency?, currency? -> currency
sale_amount, amount? -> sum
sale_currency? -> sum_currency
revenue, revenue_amount? -> revenue
source_id -> source
order_id -> txn_id
event_name -> goal
event_id -> goal ; the goal's name is sent, not Everflow's number
conversion_status? -> status
offer_name? -> offer
offer_id? -> offer ; the offer's name is sent, not Everflow's number
affiliate_name?, affiliate_id?, network_affiliate_id? -> partner ; {_PARTNER}
advertiser_name?, advertiser_id? -> advertiser ; {_ADVERTISER}
creative_id? -> creative_id
conversion_unix_timestamp?, conversion_timestamp?, timestamp? -> conversion_time
click_unix_timestamp?, click_timestamp? -> click_time
adv#1-10? -> ; the advertiser's own fields are not kept with a postback
coupon_code? -> ; coupons are not kept with a postback
adv_event_id -> ; it is a number inside Everflow
unique_click, impression_tracking_id -> no_fact
country_code?, country? -> country
region?, region_code? -> region
city? -> city
isp? -> isp
device_type? -> device ; Waypost's words for devices are mobile, tablet, desktop, tv, bot and other
device_brand?, brand? -> brand
device_os?, os? -> os
os_version? -> os_version
browser? -> browser
language? -> language
ip?, user_ip?, session_user_ip?, conversion_user_ip? -> click.ip
user_agent? -> click.user_agent
user_id? -> click.user_id
idfa? -> click.idfa
idfa_md5? -> click.idfa|md5
idfa_sha1? -> click.idfa|sha1
google_aid?, google_ad_id? -> click.gaid
google_aid_md5? -> click.gaid|md5
google_aid_sha1? -> click.gaid|sha1
android_id? -> click.android_id
android_id_md5? -> click.android_id|md5
android_id_sha1? -> click.android_id|sha1
device_model?, carrier?, referer?, http_referer?, dma? -> no_fact
random? -> postback_id|random(1, 1000000) ; {DRAWN}
""")

EVERFLOW = Dialect(
    name="everflow",
    title="Everflow",
    forms=("{x}",),
    rows=ROWS,
    source="https://helpdesk.everflow.io/customer/your-guide-to-parameters-macros",
    checked=(
        "Against developers.everflow.io, the beginnings of helpdesk.everflow.io's guide and a third party's "
        "list of macros. The guide's table was not at hand."
    ),
)
