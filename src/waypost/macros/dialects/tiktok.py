"""TikTok's macros of click and impression URLs: `__NAME__`.

Owns: the table. Reads and writes nothing.

Source: ads.tiktok.com, "Third Party Tracking". TikTok fills them in when it calls a click URL; in a postback that we
send they stand for what that click brought.

Checked on 2026-11-21: against the links of "Third Party Tracking", and the parameters of Ocean Engine's links in
public integrations. A `?` marks what was found in none of them.
"""

from waypost.macros.dialects.dialect import Dialect, rows

ROWS = rows("""
CALLBACK_PARAM, CLICKID?, CLICK_ID?, CALLBACK? -> external_id
CAMPAIGN_ID -> ad_campaign_id
CAMPAIGN_NAME -> click.campaign_name
AID -> click.adgroup_id
AID_NAME -> click.adgroup_name
CID -> creative_id
CID_NAME -> click.creative_name
CTYPE -> click.creative_type
PLACEMENT, CSITE -> source
DOMAIN?, UNION_SITE? -> click.site
ADVERTISER_ID -> click.advertiser_id
CALLBACK_URL -> ; it is an address that TikTok gives: it cannot stand in another one
TS -> click_time
COUNTRY? -> country
OS -> os
SL -> language
MODEL -> no_fact
IDFA -> click.idfa
GAID -> click.gaid
ANDROIDID, ANDROIDID1 -> click.android_id
OAID -> click.oaid
IMEI -> click.imei
MAC -> click.mac
IP -> click.ip
UA, UA1 -> click.user_agent
""")

TIKTOK = Dialect(
    name="tiktok",
    title="TikTok",
    forms=("__X__",),
    rows=ROWS,
    source="https://ads.tiktok.com/help/article?aid=6669666107177041925",
    checked=(
        'Against the links of "Third Party Tracking", and the parameters of Ocean Engine\'s links in public '
        "integrations."
    ),
)
