"""Affise's macros of affiliates' postback URLs.

Owns: the table. Reads and writes nothing.

Source: help-center.affise.com, "Affiliate postback URL macros": `{status}` is 1 approved, 2 pending, 3 declined, 5 on
hold; dates are UTC.

Checked on 2026-11-21: against the whole of "Affiliate postback URL macros" and the older list of "Affise <-> Affise".
A `?` marks what was found in none of them.
"""

from waypost.macros.dialects.dialect import DRAWN, Dialect, rows

_CLICK = "Affise fills it in in offers' URLs; its affiliates' postbacks have the click's id in {sub1} to {sub8}"
_FREE = "Affise keeps it as a free field; Waypost has it as a parameter of the click, if the click brought it"

ROWS = rows(f"""
sub#1-30 -> sub#
clickid, click_id? -> click_id ; {_CLICK}
sum -> payout
currency -> currency
goal, goal_id?, goal_title? -> goal
transactionid -> txn_id
status -> status|map(pending=2, approved=1, declined=3, hold=5)
offer_name, offer_title? -> offer
offerid, offer_id? -> offer ; the offer's name is sent, not Affise's number
pid?, affiliate_name? -> partner ; the partner's name is sent, not Affise's number
advertiser_id? -> advertiser ; the advertiser's name is sent, not Affise's number
timestamp -> conversion_time
date -> conversion_time|date('%Y-%m-%d %H:%M:%S')
date_only -> conversion_time|date(%Y-%m-%d)
time -> conversion_time|date(%H:%M:%S)
click_date -> click_time|date('%Y-%m-%d %H:%M:%S')
order_sum -> sum
order_currency -> sum_currency
conversion_id? -> conversion_id
ref_id, os_id, ext1, ext2, ext3, unid, comment, promo_code, fbclid, imp_id? -> click.free ; {_FREE}
custom_field#1-7 -> click.custom_field# ; {_FREE}
custom_field_#1-7 -> click.custom_field_# ; {_FREE}
ip -> click.ip
uagent, device_ua? -> click.user_agent
user_id -> click.user_id
device_id -> click.device_id
ios_idfa -> click.idfa
android_id -> click.android_id
geo -> country
city -> city
device_type -> device ; Waypost's words for devices are mobile, tablet, desktop, tv, bot and other
os -> os
referrer, device_model? -> no_fact
rand, random? -> postback_id|uuid ; {DRAWN}
""")
# A free field keeps its own name.
ROWS |= {name: row._replace(ours=f"click.{name}") for name, row in ROWS.items() if row.ours == "click.free"}

AFFISE = Dialect(
    name="affise",
    title="Affise",
    forms=("{x}",),
    rows=ROWS,
    source="https://help-center.affise.com/en/articles/6483741-affiliate-postback-url-macros",
    checked='Against the whole of "Affiliate postback URL macros" and the older list of "Affise <-> Affise".',
)
