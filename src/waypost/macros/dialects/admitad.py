"""Admitad's parameters of publishers' postback URLs: `[[[name]]]`.

Owns: the table. Reads and writes nothing.

Source: developers.admitad.com, "Create Postback URL by action", and support.mitgo.com, "Postback URL".

Checked on 2026-11-21: against the whole of "Create Postback URL by action", and a published configuration of a
postback. A `?` marks what was found in none of them.
"""

from waypost.macros.dialects.dialect import Dialect, rows

ROWS = rows("""
subid, subid1 -> sub1
subid2 -> sub2
subid#3-4? -> sub#
payment_sum -> payout
currency -> currency
payment_status, status? -> status
order_id -> txn_id
order_sum -> sum
type, action?, action_id? -> goal
offer_name -> offer
offer_id -> offer ; the offer's name is sent, not Admitad's number
website_name, website_id -> partner ; the partner's name is sent, not Admitad's number
click_time -> click_time
time -> conversion_time
conversion_time -> ; the seconds from click to conversion are not kept with a postback
admitad_id, uid? -> conversion_id
keyword? -> keyword
country_code? -> country
action_ip, click_ip? -> click.ip
user_agent, click_user_agent? -> click.user_agent
reward_ready, referer?, click_country_code?, promocode?, tariff_id? -> no_fact
""")

ADMITAD = Dialect(
    name="admitad",
    title="Admitad",
    forms=("[[[x]]]",),
    rows=ROWS,
    source="https://developers.admitad.com/en/doc/api_en/methods/opt_codes/opt-codes-create-action/",
    checked='Against the whole of "Create Postback URL by action", and a published configuration of a postback.',
)
