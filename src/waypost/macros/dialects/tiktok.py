"""TikTok's macros of click and impression URLs: `__NAME__`.

Owns: the table. Reads and writes nothing.

Source: ads.tiktok.com, "Third Party Tracking". TikTok fills them in when it calls a click URL; in a postback that we
send they stand for what that click brought.
"""

from waypost.macros.dialects.dialect import Dialect, rows

ROWS = rows("""
CALLBACK_PARAM, CLICKID, CLICK_ID, CALLBACK -> external_id
CAMPAIGN_ID -> ad_campaign_id
CAMPAIGN_NAME -> click.campaign_name
AID -> click.adgroup_id
AID_NAME -> click.adgroup_name
CID -> creative_id
CID_NAME -> click.creative_name
CTYPE -> click.creative_type
PLACEMENT -> source
DOMAIN, UNION_SITE -> click.site
TS -> click_time
COUNTRY -> country
OS -> os
SL -> language
MODEL -> no_fact
IDFA -> click.idfa
GAID -> click.gaid
ANDROIDID, ANDROIDID1 -> click.android_id
OAID -> click.oaid
IP -> click.ip
UA, UA1 -> click.user_agent
""")

TIKTOK = Dialect(
    name="tiktok",
    title="TikTok",
    forms=("__X__",),
    rows=ROWS,
    source="https://ads.tiktok.com/help/article?aid=6669666107177041925",
)
