"""CAKE's tokens of affiliates' pixels and postback URLs: `#name#`.

Owns: the table. Reads and writes nothing.

Source: support.getcake.com, "Affiliate Pixels and Tracking" and "How Affiliates Can Use Tokens to Send Dynamic Values
in Pixels".

Checked on 2026-11-21: against the whole lists of "Affiliate Pixels and Tracking", "Tokens" and "Tokens in the Offer
Link".
"""

from waypost.macros.dialects.dialect import Dialect, rows

ROWS = rows("""
s#1-5 -> sub#
price -> payout
leadid -> conversion_id
tid -> txn_id
reqid -> click_id
affid -> partner ; the partner's name is sent, not CAKE's number
oid -> offer ; the offer's name is sent, not CAKE's number
campid -> link ; CAKE's campaign is Waypost's link: its name is sent
cid -> creative_id ; the partner's own creative is sent
utcunixtime -> conversion_time
sourcetime -> conversion_time|date('%Y-%m-%dT%H:%M:%S')
udid -> click.device_id
ip, sourceip, source_ip -> click.ip
vstid -> click.user_id
""")

CAKE = Dialect(
    name="cake",
    title="CAKE",
    forms=("#x#",),
    rows=ROWS,
    source="https://support.getcake.com/support/solutions/articles/5000546376-affiliate-pixels-and-tracking",
    checked='Against the whole lists of "Affiliate Pixels and Tracking", "Tokens" and "Tokens in the Offer Link".',
)
