"""Bracket forms whose system nobody named: names that mean the same nearly everywhere.

Owns: the table of such names, and one dialect for each form. Reads and writes nothing.

Source: the collections of published postback URLs in `tests/golden/corpus`. In a template that a partner hands out,
`[CLICK_ID]` is the partner's own id of the click, which Waypost calls `{external_id}`; the note says so each time.
Names are compared without case and signs: `[CLICK_ID]`, `%clickid%` and `{{clickId}}` are one.
"""

import re

from waypost.macros.dialects.brackets import ENCODED, PICTURES, RARE, Token
from waypost.macros.dialects.dialect import DRAWN, Dialect, Reading, read_row, rows

_CLICK = "taken for the partner's own id of the click; Waypost's is {click_id}"
_SUM = "taken for what is paid to the partner"

COMMON = rows(f"""
externalid -> external_id
clickid, cid, clid, subid, trackid, trackingid, clickuuid, affclickid, visitid -> external_id ; {_CLICK}
transactionid, txid, txnid, tid, orderid, actionid, conversionid -> txn_id
payout, payment, commission, reward -> payout
payoutamount, commissionamount, cpaamount, rsamount, amount, sum, revenue -> payout ; {_SUM}
price, cost, profit, money, earnings, income, cash -> payout ; {_SUM}
currency, payoutcurrency, offercurrency, currencycode -> currency
status, conversionstatus, convstatus -> status
goal, event, eventname, goalname, goalid, eventtype, type -> goal
sub#1-30 -> sub#
subid#1-30 -> sub#
affsub -> sub1
affsub#1-10 -> sub#
s#1-10 -> sub#
source, sourceid, site, siteid, publisherid, pubid, zoneid -> source
campaignid, campaign -> ad_campaign_id
creativeid, creative, adid, bannerid -> creative_id
keyword -> keyword
offer, offername -> offer
offerid -> offer ; the offer's name is sent, not a number
country, countrycode, geo -> country
city -> city
os -> os
browser -> browser
device, devicetype -> device
ip, userip -> click.ip
useragent, ua -> click.user_agent
idfa -> click.idfa
gaid, aaid, advertisingid -> click.gaid
timestamp, time, conversiontime -> conversion_time
clicktime -> click_time
random, rand -> postback_id|random(1, 1000000) ; {DRAWN}
""")
_SIGNS = re.compile(r"[\W_]+")


def plain_name(name: str) -> str:
    """The name without case and signs."""
    return _SIGNS.sub("", name).lower()


def _read(token: Token) -> Reading | None:
    row = COMMON.get(plain_name(token.name))
    return read_row(token.text, plain_name(token.name), row) if row else None


def _dialect(picture: str) -> Dialect:
    return Dialect(
        name=picture,
        title=f"any system that writes {picture}",
        forms=(picture,),
        rows=COMMON,
        source="tests/golden/corpus",
        read=_read,
    )


_OWN = frozenset({"<#x>", "<@x>", *ENCODED, *RARE})
GENERIC = {picture: _dialect(picture) for picture in PICTURES if picture not in _OWN}
