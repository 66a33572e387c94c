"""Every key a catalog may have, in one table: what it takes, what it defaults to, what it means.

Owns: the table. Validation, hints and `docs/catalog.md` follow it. Reads and writes nothing.
Reserved keys stand here too (`available` false): they are known, and refused until a release has them.

Paths: `NAME` is any name, `[]` one of a list, `HEADER` any header name.
"""

from typing import NamedTuple


class Key(NamedTuple):
    """One key. `default` is empty where absence has no value of its own."""

    path: str
    takes: str
    meaning: str
    default: str = ""
    required: bool = False
    available: bool = True

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def parent(self) -> str:
        return self.path.rpartition(".")[0]


def _required(path: str, takes: str, meaning: str) -> Key:
    return Key(path, takes, meaning, required=True)


def _reserved(path: str, meaning: str) -> Key:
    return Key(path, "reserved", meaning, available=False)


_INBOUND = "name, or list of names"
_STATUS = "value, or list of values"

KEYS: tuple[Key, ...] = (
    _required("waypost", "`1`", "the version of this format"),
    Key("advertisers", "mapping by name", "who pays for goals, and calls us when one is reached"),
    Key("offers", "mapping by name", "what is promoted: where clicks lead, what is owed"),
    Key("partners", "mapping by name", "who sends clicks, and is told of conversions"),
    Key("links", "mapping by name", "a partner's way to an offer: `/c/NAME`"),
    _reserved("apps", "mobile apps and their events"),
    _reserved("networks", "networks that are asked for their claims"),
    _reserved("rules", "operator's rules on inbound calls"),
    _reserved("rates", "exchange rates"),
    _reserved("privacy", "policies on what leaves, and for how long it is kept"),
    _reserved("domains", "domains that doors answer on"),
    _reserved("users", "who may use the console"),
    # --- advertisers
    _required("advertisers.NAME.token", "text, `env:NAME` or `file:PATH`", "the secret that their calls must carry"),
    Key("advertisers.NAME.parameters", "mapping", "other names under which their calls carry our parameters"),
    Key("advertisers.NAME.parameters.click_id", _INBOUND, "the click's id"),
    Key("advertisers.NAME.parameters.goal", _INBOUND, "the goal that was reached"),
    Key("advertisers.NAME.parameters.status", _INBOUND, "the conversion's status"),
    Key("advertisers.NAME.parameters.sum", _INBOUND, "the order's value"),
    Key("advertisers.NAME.parameters.payout", _INBOUND, "what they say they owe us"),
    Key("advertisers.NAME.parameters.currency", _INBOUND, "the currency of sum and payout"),
    Key("advertisers.NAME.parameters.txn_id", _INBOUND, "their transaction id"),
    Key("advertisers.NAME.parameters.token", _INBOUND, "the token"),
    Key(
        "advertisers.NAME.parameters.pending_status",
        _INBOUND,
        "values of status, split by commas, that this call means as pending (`lead_status=2,5`)",
    ),
    Key("advertisers.NAME.parameters.approved_status", _INBOUND, "the same for approved (`sale_status=1`)"),
    Key("advertisers.NAME.parameters.declined_status", _INBOUND, "the same for declined (`rejected_status=3`)"),
    Key("advertisers.NAME.statuses", "mapping", "what their values of status mean; letter case does not count"),
    Key("advertisers.NAME.statuses.pending", _STATUS, "their values that mean pending"),
    Key("advertisers.NAME.statuses.approved", _STATUS, "their values that mean approved"),
    Key("advertisers.NAME.statuses.declined", _STATUS, "their values that mean declined"),
    _reserved("advertisers.NAME.statuses.hold", "their values that mean hold"),
    Key("advertisers.NAME.currency", "ISO 4217 code", "the currency of amounts in calls that name none", "USD"),
    Key("advertisers.NAME.active", "`true` or `false`", "`false` stops their offers", "true"),
    # --- offers
    _required("offers.NAME.advertiser", "name", "whose offer it is"),
    _required("offers.NAME.url", "URL template", "where a click is sent"),
    _required("offers.NAME.goals", "mapping by name", "what the advertiser pays for"),
    _required("offers.NAME.goals.NAME.payout", "terms", "what a conversion earns the partner"),
    Key("offers.NAME.goals.NAME.revenue", "terms", "what the advertiser owes us", "as reported, else as the payout"),
    Key("offers.NAME.goals.NAME.status", "`approved` or `pending`", "the status of calls that name none", "approved"),
    Key("offers.NAME.goals.NAME.active", "`true` or `false`", "`false` refuses its conversions", "true"),
    Key("offers.NAME.goals.NAME.default", "`true` or `false`", "`true` takes calls that name no goal", "false"),
    Key("offers.NAME.caps", "list", "bounds on conversions, exact"),
    _required("offers.NAME.caps[].count", "`conversions`", "what is counted"),
    _required("offers.NAME.caps[].limit", "whole number from 1", "how many are admitted"),
    _required("offers.NAME.caps[].per", "`hour`, `day`, `week`, `month` or `total`", "the period"),
    Key("offers.NAME.caps[].timezone", "IANA name", "where the period begins", "UTC"),
    Key("offers.NAME.click_window", "duration", "the age at which a click no longer counts", "the settings' 30 days"),
    Key("offers.NAME.active", "`true` or `false`", "`false` stops clicks and conversions", "true"),
    Key("offers.NAME.access", "`open`", "which partners may promote it", "open"),
    _reserved("offers.NAME.targeting", "countries, devices and times that clicks must come from"),
    _reserved("offers.NAME.fallback", "where clicks go that the offer cannot take"),
    # --- partners
    Key("partners.NAME.postbacks", "list", "rules: when they are called, and how"),
    Key("partners.NAME.postbacks[].on", "mapping", "which transitions fire it; each key one value or a list", "any"),
    Key("partners.NAME.postbacks[].on.goal", "name, or list", "goals", "any"),
    Key("partners.NAME.postbacks[].on.status", "status, or list", "`pending`, `approved`, `declined`", "any"),
    Key("partners.NAME.postbacks[].on.verdict", "`refused`", "fires for refused calls, which nothing else does"),
    Key("partners.NAME.postbacks[].on.offer", "name, or list", "offers", "any"),
    Key("partners.NAME.postbacks[].get", "URL template", "calls this address by GET; or `post`"),
    Key("partners.NAME.postbacks[].post", "mapping", "calls by POST; or `get`"),
    _required("partners.NAME.postbacks[].post.url", "URL template", "the address"),
    Key("partners.NAME.postbacks[].post.headers", "mapping", "headers to send"),
    Key("partners.NAME.postbacks[].post.headers.HEADER", "template", "one header"),
    Key("partners.NAME.postbacks[].post.body", "template", "the body", "empty"),
    Key("partners.NAME.delivery", "mapping", "how their lane sends"),
    Key("partners.NAME.delivery.concurrency", "whole number", "requests in flight at once", "the settings' 64"),
    Key("partners.NAME.delivery.timeout", "duration", "for a whole answer", "the settings' 15 s"),
    Key("partners.NAME.delivery.connect_timeout", "duration", "for a connection", "the settings' 5 s"),
    Key("partners.NAME.delivery.retry", "list of durations", "the pause before each repeat", "the settings' schedule"),
    Key("partners.NAME.delivery.jitter", "percentage", "each pause varies by up to this", "the settings' 20%"),
    Key("partners.NAME.active", "`true` or `false`", "`false` refuses their conversions and clicks", "true"),
    _reserved("partners.NAME.preset", "a ready-made integration"),
    _reserved("partners.NAME.with", "values for the preset"),
    # --- links
    _required("links.NAME.partner", "name", "whose link it is"),
    _required("links.NAME.offer", "name", "where it leads"),
    Key("links.NAME.active", "`true` or `false`", "`false` stops its clicks", "true"),
    _reserved("links.NAME.targets", "several offers, by weight or rule"),
    _reserved("links.NAME.payouts", "payouts that differ for this link"),
)


def _shapes() -> dict[str, dict[str, Key]]:
    shapes: dict[str, dict[str, Key]] = {}
    for key in KEYS:
        shapes.setdefault(key.parent, {})[key.name] = key
    return shapes


SHAPES = _shapes()  # by the path of a mapping: its keys by name
SECTIONS = ("advertisers", "offers", "partners", "links")
