"""TUNE's (HasOffers') macros of partners' postback URLs.

Owns: the table. Reads and writes nothing.

Source: support.tune.com, "Postback URL macros" and "Passing Information via Offer URL";
developers.tune.com, "OfferUrl".

Checked on 2026-11-21: against the list that the publishers' pages of HasOffers offer for pixels and postbacks, and
"Passing Values to a Partner Conversion URL" without its tables. A `?` marks what was found in none of them.
"""

from waypost.macros.dialects.dialect import DRAWN, Dialect, rows

_PARTNER = "the partner's name is sent, not TUNE's number"
_ADVERTISER = "the advertiser's name is sent, not TUNE's number"
_ADV_SUB = "the advertiser's own sub-ids are not kept with a postback"

ROWS = rows(f"""
aff_sub -> sub1
aff_sub#2-5 -> sub#
aff_click_id -> external_id
transaction_id -> click_id
payout -> payout
payout_cents? -> ; Waypost sends amounts in units of the currency
currency -> currency
sale_amount -> sum
revenue? -> revenue
source -> source
goal_id, goal_name?, event_name?, goal_ref? -> goal
conversion_id? -> conversion_id
status? -> status
offer_name -> offer
offer_id, offer_ref -> offer ; the offer's name is sent, not TUNE's number
affiliate_name, affiliate_id, affiliate_ref, aff_id? -> partner ; {_PARTNER}
advertiser_id, advertiser_ref, advertiser_name?, company? -> advertiser ; {_ADVERTISER}
adv_sub, adv_sub1?, adv_sub2?, adv_sub3?, adv_sub4?, adv_sub5? -> ; {_ADV_SUB}
datetime -> conversion_time|date('%Y-%m-%d %H:%M:%S')
date -> conversion_time|date(%Y-%m-%d)
time -> conversion_time|date(%H:%M:%S)
timestamp? -> conversion_time
unid? -> click.unid
file_name, offer_file_id, offer_url_id, creative_id? -> creative_id ; the partner's own creative is sent
country_code? -> country
region_code?, region? -> region
city? -> city
device_os? -> os
device_os_version? -> os_version
device_brand? -> brand
browser_name? -> browser
browser_version? -> browser_version
ip, session_ip, conversion_ip? -> click.ip
user_id? -> click.user_id
google_aid? -> click.gaid
google_aid_md5? -> click.gaid|md5
google_aid_sha1? -> click.gaid|sha1
ios_ifa? -> click.idfa
ios_ifa_md5? -> click.idfa|md5
ios_ifa_sha1? -> click.idfa|sha1
ios_ifv? -> click.idfv
android_id? -> click.android_id
android_id_md5? -> click.android_id|md5
android_id_sha1? -> click.android_id|sha1
mac_address? -> click.mac_address
device_id -> click.device_id
device_model?, user_agent?, mobile_carrier?, referer?, params? -> no_fact
ran, random? -> postback_id|random(1, 1000000) ; {DRAWN}
""")

TUNE = Dialect(
    name="tune",
    title="TUNE (HasOffers)",
    forms=("{x}",),
    rows=ROWS,
    source="https://support.tune.com/hc/en-us/articles/1500008248741-Passing-Values-to-a-Partner-Conversion-URL",
    checked=(
        "Against the list that the publishers' pages of HasOffers offer for pixels and postbacks, and "
        '"Passing Values to a Partner Conversion URL" without its tables.'
    ),
)
