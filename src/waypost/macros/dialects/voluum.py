"""Voluum's URL tokens, as they stand in traffic sources' postback URLs.

Owns: the table. Reads and writes nothing.

Source: doc.voluum.com, "Traffic Source Postback URL" (`{externalid}`, `{payout}`, …) and "Token functions"
(`{token:raw}` is unencoded; `{token:hash}` is a number of Voluum's own making).

Checked on 2026-11-21: the names in lower case that a click has, against two public lists of Voluum's tokens;
`{externalid}`, `{payout}`, `{clickid}` and the token functions, against doc.voluum.com. The page's own list of tokens
was not at hand. A `?` marks what was found in none of them.
"""

from waypost.macros.dialects.brackets import Token
from waypost.macros.dialects.dialect import Dialect, Found, Reading, read_row, rows
from waypost.macros.dialects.translation import Severity

_CAMPAIGN = "Voluum's campaign is Waypost's link: its name is sent"
_SOURCE = "Voluum's traffic source is Waypost's partner: its name is sent"
_ADVERTISER = "Voluum's affiliate network is Waypost's advertiser: its name is sent"

ROWS = rows(f"""
externalid -> external_id
clickid, click.id, cid? -> click_id
payout -> payout
conversion.payout?, conversion.revenue?, revenue? -> revenue
currency, conversion.currency? -> currency
transaction.id, txid?, transactionid? -> txn_id
conversion.type?, conversiontype?, et? -> goal
cost?, cpc? -> cost
var#1-10 -> sub#
offer.name -> offer
offer.id -> offer ; the offer's name is sent, not Voluum's id
campaign.name, campaign.id -> link ; {_CAMPAIGN}
trafficsource.name, trafficsource.id -> partner ; {_SOURCE}
affiliatenetwork.name?, affiliatenetwork.id? -> advertiser ; {_ADVERTISER}
conversion.time?, conversiontime? -> conversion_time
visit.time?, click.time? -> click_time
country, countrycode? -> country
countryname -> no_fact
region -> region
city -> city
isp -> isp
device -> device ; Waypost's words for devices are mobile, tablet, desktop, tv, bot and other
brand -> brand
os -> os
osversion -> os_version
browser -> browser
browserversion -> browser_version
language -> language
model, ip, useragent, connection.type, connectiontype?, carrier, referrer?, referrerdomain -> no_fact
trackingdomain, lander.id, lander.name, workspace.id, workspace.name -> ; it is a thing inside Voluum
path.id?, rule.id?, flow.id? -> ; it is a thing inside Voluum
""")


def _read(token: Token) -> Reading | None:
    name, colon, function = token.name.partition(":")
    if name == "var" and function and "/" not in function:
        return Reading(f"{{click.{function}}}")
    row = ROWS.get(name)
    if not colon or row is None:
        return None
    if function == "raw":
        reading = read_row(token.text, name, row)
        detail = f"{token.text[:64]} is unencoded in Voluum; Waypost always encodes for the place where a value stands"
        return Reading(reading.text, (*reading.found, Found(Severity.WARNING, "macro_adapted", detail)))
    detail = f"{token.text[:64]}: Waypost has no function {function[:20]!r} like Voluum's"
    hint = "write a filter, e.g. sha256" if function == "hash" else ""
    return Reading(None, (Found(Severity.ERROR, "macro_bad_argument", detail, hint),))


def _write(ours: str) -> str | None:
    return f"{{var:{ours[6:]}}}" if ours.startswith("click.") and "|" not in ours else None


VOLUUM = Dialect(
    name="voluum",
    title="Voluum",
    forms=("{x}",),
    rows=ROWS,
    source="https://doc.voluum.com/en/traffic_source_postback_url.html",
    read=_read,
    write=_write,
    checked=(
        "The names in lower case that a click has, against two public lists of Voluum's tokens; "
        "`{externalid}`, `{payout}`, `{clickid}` and the token functions, against doc.voluum.com. The page's "
        "own list of tokens was not at hand."
    ),
)
