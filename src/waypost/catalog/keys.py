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
_SECRET = "text, `env:NAME` or `file:PATH`"
_STATUSES = "status or range, or list"
_SECRETS = "text, `env:NAME` or `file:PATH`, or a list"
_NETWORKS = "address or CIDR range, or list of them"
_ALIASES = "`keitaro`, `affise`, `tune`, `voluum`, `binom`, `redtrack`, or a list"

_VALUES = "value, or list of values"
_WAY = "`blank`, or mapping as `fallback`"


def _targeting(path: str) -> tuple[Key, ...]:
    """The keys that say which clicks an offer or a target takes."""
    return (
        Key(f"{path}.targeting", "mapping", "which clicks it takes: all keys must fit ([clicks.md](clicks.md))", "all"),
        Key(f"{path}.targeting.FACET", _VALUES, "`country`, `os`, `sub1`, …: any of the values"),
        Key(f"{path}.targeting.not", "mapping", "the same keys; none of the values"),
        Key(f"{path}.targeting.schedule", "mapping, or list", "hours in which it takes clicks", "always"),
        Key(f"{path}.targeting.schedule.days", "`mon` … `sun`, range, or list", "on which the hours begin", "all"),
        Key(f"{path}.targeting.schedule.hours", "`09:00-18:00`, or list", "by the local clock", "all day"),
        Key(f"{path}.targeting.schedule.timezone", "IANA name", "where that clock hangs", "UTC"),
        Key(f"{path}.if", "condition", "clicks for which it holds ([clicks.md](clicks.md))", "all"),
        Key(f"{path}.starts", "date or time", "no click before", "at once"),
        Key(f"{path}.ends", "date or time", "no click after; a date counts whole", "never"),
    )


KEYS: tuple[Key, ...] = (
    _required("waypost", "`1`", "the version of this format"),
    Key("advertisers", "mapping by name", "who pays for goals, and calls us when one is reached"),
    Key("intake", "mapping", "what holds for the calls of all advertisers"),
    Key("offers", "mapping by name", "what is promoted: where clicks lead, what is owed"),
    Key("groups", "mapping by name", "offers that take clicks which other offers cannot"),
    Key("partners", "mapping by name", "who sends clicks, and is told of conversions"),
    Key("links", "mapping by name", "a partner's way to an offer: `/c/NAME`"),
    _reserved("apps", "mobile apps and their events"),
    _reserved("networks", "networks that are asked for their claims"),
    _reserved("rules", "operator's rules on inbound calls"),
    Key("rates", "mapping", "exchange rates, for `convert` in templates ([macros.md](macros.md))"),
    Key("privacy", "mapping", "what is stored of visitors ([visits.md](visits.md))"),
    Key("domains", "mapping by host", "hosts that doors answer for; `*` is all others"),
    _reserved("users", "who may use the console"),
    # --- advertisers
    Key(
        "advertisers.NAME.token",
        _SECRETS,
        "the secret that their calls must carry; of several each is right",
        "**required** unless calls are signed or come with another level's token",
    ),
    Key(
        "advertisers.NAME.aliases",
        _ALIASES,
        "another tracker's parameter names and status words ([aliases.md](aliases.md))",
    ),
    Key("advertisers.NAME.answer", "`json`, `ok`, `gif` or `empty`", "what an accepted call is answered", "json"),
    Key("advertisers.NAME.allow_addresses", _NETWORKS, "where their calls may come from", "any"),
    Key("advertisers.NAME.wrong_token", "`403` or `200`", "the status of refused calls of theirs", "as in `intake`"),
    Key("advertisers.NAME.signature", "mapping", "each of their calls must be signed ([intake.md](intake.md))"),
    _required("advertisers.NAME.signature.secret", _SECRETS, "the key; of several each is right"),
    Key("advertisers.NAME.signature.scheme", "`canonical` or `standard-webhooks`", "what is signed", "canonical"),
    Key("advertisers.NAME.signature.in", "`header` or `query`", "where signature and timestamp stand", "header"),
    Key("advertisers.NAME.signature.name", "name", "the signature's name", "`X-Signature`, in a query `signature`"),
    Key("advertisers.NAME.signature.timestamp", "name", "the timestamp's", "`X-Timestamp`, in a query `timestamp`"),
    Key("advertisers.NAME.signature.window", "duration", "how far the timestamp may be off our clock", "5m"),
    Key("advertisers.NAME.signature.algorithm", "`sha256`, `sha384` or `sha512`", "the HMAC's hash", "sha256"),
    Key("advertisers.NAME.signature.encoding", "`hex` or `base64`", "how the signature is written", "hex"),
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
    Key(
        "advertisers.NAME.parameters.ignored_status",
        _INBOUND,
        "values of status that this call asks to be left alone (`ignore_status=ping`)",
    ),
    Key("advertisers.NAME.statuses", "mapping", "what their values of status mean; letter case does not count"),
    Key("advertisers.NAME.statuses.pending", _STATUS, "their values that mean pending"),
    Key("advertisers.NAME.statuses.approved", _STATUS, "their values that mean approved"),
    Key("advertisers.NAME.statuses.declined", _STATUS, "their values that mean declined"),
    _reserved("advertisers.NAME.statuses.hold", "their values that mean hold"),
    Key("advertisers.NAME.currency", "ISO 4217 code", "the currency of amounts in calls that name none", "USD"),
    Key(
        "advertisers.NAME.preset",
        "name",
        "a ready-made integration, below the keys that stand here ([presets.md](presets.md))",
    ),
    Key("advertisers.NAME.with", "mapping", "values for the preset's parameters"),
    Key("advertisers.NAME.active", "`true` or `false`", "`false` stops their offers", "true"),
    # --- intake
    Key("intake.token", _SECRETS, "admits calls for whichever advertiser the click is of"),
    Key("intake.allow_addresses", _NETWORKS, "where any call may come from", "any"),
    Key("intake.wrong_token", "`403` or `200`", "the status of calls that do not authenticate", "403"),
    Key("intake.click_id", _INBOUND, "further names of the click's id where the advertiser is not known"),
    Key("advertisers.NAME.browser", "mapping", "takes clicks and conversions that their pages report by script"),
    _required("advertisers.NAME.browser.origins", "origin, or list", "pages that may, such as `https://shop.example`"),
    Key("advertisers.NAME.browser.goals", "name, or list", "goals that a page may report", "any"),
    Key(
        "advertisers.NAME.browser.status",
        "`pending` or `approved`",
        "what a page's report is worth until their server confirms it",
        "pending",
    ),
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
    Key("offers.NAME.token", _SECRETS, "admits calls for this offer's clicks only"),
    Key("offers.NAME.allow_addresses", _NETWORKS, "where calls for it may come from", "any"),
    Key("offers.NAME.active", "`true` or `false`", "`false` stops clicks and conversions", "true"),
    Key("offers.NAME.access", "`open`, `request` or `private`", "which partners may promote it", "open"),
    Key("offers.NAME.partners", "name, or list", "who may, where access is not open"),
    *_targeting("offers.NAME"),
    Key("offers.NAME.fallback", _WAY, "where clicks go that it cannot take"),
    # --- groups and fallbacks
    _required("groups.NAME.offers", "list of names, or weights by name", "its offers"),
    Key("fallback", _WAY, "where clicks go that nothing takes, if link, offer and partner say nothing", "a blank page"),
    Key("fallback.offer", "name", "another offer"),
    Key("fallback.group", "name", "then one of a group"),
    Key("fallback.url", "URL template", "then this address, which is no offer"),
    Key("offers.NAME.mode", "`302` or `307`", "the status of redirects", "302"),
    Key("offers.NAME.deep_link", "mapping", "where clicks on phones lead instead of `url`"),
    Key("offers.NAME.deep_link.ios", "URL template", "a universal link, or an app's own `scheme://…`"),
    Key("offers.NAME.deep_link.android", "URL template", "an app link, `intent://…`, or an app's own `scheme://…`"),
    Key("offers.NAME.deep_link.ios_store", "URL template", "for phones without the app", "the offer's `url`"),
    Key("offers.NAME.deep_link.android_store", "URL template", "for phones without the app", "the offer's `url`"),
    # --- partners
    Key("partners.NAME.token", "text, `env:NAME` or `file:PATH`", "the secret of their server-to-server clicks"),
    Key("partners.NAME.postbacks", "list", "rules: when they are called, and how ([rules.md](rules.md))"),
    Key("partners.NAME.postbacks[].name", "text", "what reports call the rule, and what `first_only` knows it by"),
    Key("partners.NAME.postbacks[].on", "mapping", "which transitions fire it; each key one value or a list", "any"),
    Key("partners.NAME.postbacks[].on.goal", "name, or list", "goals", "any"),
    Key("partners.NAME.postbacks[].on.status", "status, or list", "`pending`, `approved`, `declined`", "any"),
    Key("partners.NAME.postbacks[].on.from", "status, or list", "the status before; `none` for a new one", "any"),
    Key(
        "partners.NAME.postbacks[].on.verdict",
        "verdict, or list",
        "`new`, `updated`; `refused` fires for refused calls, which nothing else does",
        "`new` and `updated`",
    ),
    Key("partners.NAME.postbacks[].on.offer", "name, or list", "offers", "any"),
    Key("partners.NAME.postbacks[].on.link", "name, or list", "links that the click came by", "any"),
    Key("partners.NAME.postbacks[].on.advertiser", "name, or list", "advertisers", "any"),
    Key("partners.NAME.postbacks[].on.partner", "name, or list", "whose conversions, with `for: all`", "any"),
    Key("partners.NAME.postbacks[].on.country", "country, or list", "the visitor's, such as `DE`", "any"),
    Key("partners.NAME.postbacks[].if", "expression", "a condition over amounts, sub-ids, the visitor, …", "none"),
    Key(
        "partners.NAME.postbacks[].for",
        "`own`, `attributed` or `all`",
        "whose conversions: this partner's, those credited to anybody, all",
        "own",
    ),
    Key("partners.NAME.postbacks[].first_only", "`true` or `false`", "fires once for each click", "false"),
    Key("partners.NAME.postbacks[].percent", "percentage", "of the conversions, chosen by their ids", "100"),
    Key("partners.NAME.postbacks[].delay", "duration", "waits so long before the first attempt", "none"),
    Key("partners.NAME.postbacks[].events", "mapping", "what `{event}` is for each goal", "the goal"),
    Key("partners.NAME.postbacks[].events.GOAL", "text", "the event's name; `'*'` is all other goals"),
    Key("partners.NAME.postbacks[].missing", "`empty`, `drop` or `refuse`", "a macro without a value", "empty"),
    Key("partners.NAME.postbacks[].get", "URL template", "calls this address by GET; or `post`, or `request`"),
    Key("partners.NAME.postbacks[].post", "mapping", "calls by POST"),
    _required("partners.NAME.postbacks[].post.url", "URL template", "the address"),
    Key("partners.NAME.postbacks[].post.headers", "mapping", "headers to send"),
    Key("partners.NAME.postbacks[].post.headers.HEADER", "template", "one header"),
    Key("partners.NAME.postbacks[].post.body", "template", "the body as text", "empty"),
    Key("partners.NAME.postbacks[].post.form", "mapping", "the body as a form: names and templates"),
    Key("partners.NAME.postbacks[].post.json", "structure", "the body as JSON: texts in it are templates"),
    Key("partners.NAME.postbacks[].post.xml", "template", "the body as XML"),
    Key("partners.NAME.postbacks[].request", "mapping", "calls by any method"),
    _required("partners.NAME.postbacks[].request.url", "URL template", "the address"),
    Key("partners.NAME.postbacks[].request.method", "`GET`, `POST`, `PUT`, `PATCH` or `DELETE`", "the method", "POST"),
    Key("partners.NAME.postbacks[].request.headers", "mapping", "headers to send"),
    Key("partners.NAME.postbacks[].request.headers.HEADER", "template", "one header"),
    Key("partners.NAME.postbacks[].request.body", "template", "the body as text", "empty"),
    Key("partners.NAME.postbacks[].request.form", "mapping", "the body as a form: names and templates"),
    Key("partners.NAME.postbacks[].request.json", "structure", "the body as JSON: texts in it are templates"),
    Key("partners.NAME.postbacks[].request.xml", "template", "the body as XML"),
    Key("partners.NAME.postbacks[].auth", "mapping", "how the request proves who sends it"),
    Key("partners.NAME.postbacks[].auth.basic", "mapping", "user name and password"),
    _required("partners.NAME.postbacks[].auth.basic.user", "text", "the user's name"),
    _required("partners.NAME.postbacks[].auth.basic.password", _SECRET, "the password"),
    Key("partners.NAME.postbacks[].auth.bearer", _SECRET, "a token, sent as `Authorization: Bearer`"),
    Key("partners.NAME.postbacks[].auth.oauth", "mapping", "OAuth 2 client credentials; the token is kept"),
    _required("partners.NAME.postbacks[].auth.oauth.token_url", "URL", "where tokens are asked for"),
    _required("partners.NAME.postbacks[].auth.oauth.client_id", "text", "our id there"),
    _required("partners.NAME.postbacks[].auth.oauth.client_secret", _SECRET, "our secret there"),
    Key("partners.NAME.postbacks[].auth.oauth.scope", "text", "the scope to ask for"),
    Key("partners.NAME.postbacks[].auth.oauth.audience", "text", "the audience to ask for"),
    Key("partners.NAME.postbacks[].auth.oauth.credentials", "`header` or `body`", "where id and secret go", "header"),
    Key("partners.NAME.postbacks[].auth.hmac", "mapping", "a signature in a header, made for each attempt"),
    _required("partners.NAME.postbacks[].auth.hmac.header", "name", "the header"),
    _required("partners.NAME.postbacks[].auth.hmac.secret", _SECRET, "the key"),
    Key("partners.NAME.postbacks[].auth.hmac.text", "template", "what is signed", "`{body}`"),
    Key("partners.NAME.postbacks[].auth.hmac.algorithm", "`sha256`, `sha1`, `sha512` or `md5`", "the hash", "sha256"),
    Key("partners.NAME.postbacks[].auth.hmac.encoding", "`hex` or `base64`", "how it is written", "hex"),
    Key("partners.NAME.postbacks[].auth.hmac.prefix", "text", "what stands before it, such as `sha256=`", "none"),
    Key("partners.NAME.postbacks[].auth.hmac.timestamp_header", "name", "a header with `{timestamp}`", "none"),
    Key("partners.NAME.postbacks[].auth.standard_webhooks", _SECRETS, "signs as Standard Webhooks has it, by each key"),
    Key("partners.NAME.postbacks[].auth.certificate", "path", "the client's certificate, a PEM file"),
    Key("partners.NAME.postbacks[].auth.key", "path", "its key, a PEM file", "in the certificate's file"),
    Key("partners.NAME.postbacks[].success", "mapping", "what counts as a delivery", "a 2xx"),
    Key("partners.NAME.postbacks[].success.status", _STATUSES, "statuses", "200-299"),
    Key("partners.NAME.postbacks[].success.body_contains", "text, or list", "any of these in the answer"),
    Key("partners.NAME.postbacks[].success.body_matches", "glob, or list", "any of these over the whole answer"),
    Key("partners.NAME.postbacks[].success.json", "mapping", "what a value in a JSON answer must be"),
    _required("partners.NAME.postbacks[].success.json.path", "path", "where it stands: `result.code`"),
    _required("partners.NAME.postbacks[].success.json.equals", "value, or list", "what it must be, one of these"),
    Key("partners.NAME.postbacks[].give_up", "mapping", "answers after which nothing is tried again"),
    _required("partners.NAME.postbacks[].give_up.status", _STATUSES, "statuses, beside 410"),
    Key("partners.NAME.postbacks[].batch", "mapping", "sends many postbacks in one request"),
    _required("partners.NAME.postbacks[].batch.count", "whole number up to 1000", "as many at most"),
    Key("partners.NAME.postbacks[].batch.age", "duration", "none waits longer to be sent", "5s"),
    _required("partners.NAME.postbacks[].batch.item", "structure or template", "one postback"),
    Key("partners.NAME.postbacks[].batch.join", "text", "what stands between items", "`,` in JSON, else a line break"),
    Key("partners.NAME.postbacks[].batch.results", "mapping", "where the answer tells of each item", "one for all"),
    Key("partners.NAME.postbacks[].batch.results.path", "path", "the list in the JSON answer; `.` is all of it", "`.`"),
    Key("partners.NAME.postbacks[].batch.results.id", "path", "the field that names the item", "by their order"),
    Key("partners.NAME.postbacks[].batch.results.matches", "template", "what it is compared with", "`{postback_id}`"),
    Key("partners.NAME.postbacks[].batch.results.ok", "path", "the field that says if it was taken", "if named"),
    Key("partners.NAME.postbacks[].batch.results.equals", "value, or list", "what says that it was", "anything true"),
    Key("partners.NAME.postbacks[].batch.results.give_up", "value, or list", "what says that it never will be", "none"),
    Key("partners.NAME.postbacks[].lane", "name", "a lane of its own, or with others that name it", "the partner's"),
    Key("partners.NAME.delivery", "mapping", "how their lanes send ([lanes.md](lanes.md))"),
    Key("partners.NAME.delivery.concurrency", "whole number", "requests in flight at most", "the settings' 64"),
    Key("partners.NAME.delivery.adaptive", "yes or no", "fewer in flight while they are slow or fail", "yes"),
    Key("partners.NAME.delivery.rate", "`100/s`, mapping, or list", "requests in a time; all hold at once", "any"),
    _required("partners.NAME.delivery.rate.limit", "whole number", "how many"),
    Key("partners.NAME.delivery.rate.per", "`second`, `minute`, `hour` or `day`", "in which time", "second"),
    Key("partners.NAME.delivery.rate.burst", "whole number", "how many of them at once", "a second's, at least 1"),
    Key("partners.NAME.delivery.timeout", "duration", "for a whole answer", "the settings' 15 s"),
    Key("partners.NAME.delivery.connect_timeout", "duration", "for a connection", "the settings' 5 s"),
    Key("partners.NAME.delivery.first_byte_timeout", "duration", "from request to answer", "the whole answer's"),
    Key("partners.NAME.delivery.retry", "list of durations", "the pause before each repeat", "the settings' schedule"),
    Key("partners.NAME.delivery.jitter", "percentage", "each pause varies by up to this", "the settings' 20%"),
    Key("partners.NAME.delivery.retry_age", "duration", "given up when the first attempt is so old", "never for that"),
    Key("partners.NAME.delivery.retry_on", _STATUSES, "answers that are tried again; others are final", "all"),
    Key("partners.NAME.delivery.retry_after", "duration", "the longest pause they may ask for", "the settings' 6 h"),
    Key("partners.NAME.delivery.breaker", "`off`, or mapping", "when to stop trying", "the settings'"),
    Key("partners.NAME.delivery.breaker.failures", "percentage", "share of failed requests", "the settings' 50%"),
    Key("partners.NAME.delivery.breaker.calls", "whole number", "of at least so many", "the settings' 20"),
    Key("partners.NAME.delivery.breaker.window", "duration", "within this time", "the settings' 10 s"),
    Key("partners.NAME.delivery.breaker.pause", "duration", "before one request is tried", "the settings' 5 s"),
    Key("partners.NAME.delivery.breaker.pause_max", "duration", "the pause doubles up to this", "the settings' 5 m"),
    Key("partners.NAME.delivery.quiet_hours", "mapping, or list", "hours in which nothing is sent", "none"),
    Key("partners.NAME.delivery.quiet_hours.days", "`mon` … `sun`, range, or list", "on which they begin", "all"),
    Key("partners.NAME.delivery.quiet_hours.hours", "`22:00-08:00`, or list", "by the local clock", "all day"),
    Key("partners.NAME.delivery.quiet_hours.timezone", "IANA name", "whose clock", "UTC"),
    Key("partners.NAME.delivery.ordering", "`none`, `click` or `user`", "one at a time and in order for each", "none"),
    Key("partners.NAME.delivery.on_unknown", "`resend`, `hold` or `drop`", "what a crash left unknown", "resend"),
    Key("partners.NAME.delivery.headers", "`all`, `standard` or `none`", "Waypost's own headers", "all"),
    Key("partners.NAME.delivery.corrections", "yes or no", "told when what they were told has changed", "no"),
    Key("partners.NAME.delivery.http2", "yes or no", "speaks HTTP/2 where they offer it", "no"),
    Key("partners.NAME.delivery.proxy", _SECRET, "an HTTP proxy's URL to go through", "none"),
    Key("partners.NAME.delivery.source_address", "IP address", "ours that requests leave from", "the system's"),
    Key("partners.NAME.delivery.tls_min", "`1.2` or `1.3`", "the oldest TLS that is spoken", "1.2"),
    Key("partners.NAME.delivery.ports", "port, or list", "that may be dialled beside the settings'", "none"),
    Key("partners.NAME.aliases", _ALIASES, "another tracker's names in their click URLs ([aliases.md](aliases.md))"),
    Key("partners.NAME.click_names", "mapping", "our click parameter → its names in their click URLs"),
    Key("partners.NAME.click_names.PARAMETER", _INBOUND, "such as `sub1: [affsub, s1]`"),
    Key("partners.NAME.fallback", _WAY, "where clicks of their links go that no offer takes"),
    Key("partners.NAME.active", "`true` or `false`", "`false` refuses their conversions and clicks", "true"),
    Key(
        "partners.NAME.preset",
        "name",
        "a ready-made integration, below the keys that stand here ([presets.md](presets.md))",
    ),
    Key("partners.NAME.with", "mapping", "values for the preset's parameters"),
    # --- links
    _required("links.NAME.partner", "name", "whose link it is"),
    Key("links.NAME.offer", "name", "where it leads", "**required** unless there are `targets`"),
    Key("links.NAME.targets", "list", "several offers, by weight or rule"),
    _required("links.NAME.targets[].offer", "name", "the offer"),
    Key("links.NAME.targets[].weight", "whole number", "its share among the targets that can take a click", "1"),
    *_targeting("links.NAME.targets[]"),
    Key("links.NAME.rotation", "`weight` or `order`", "by weight, or the first that can take the click", "weight"),
    Key("links.NAME.split", "mapping", "a split test: a user keeps to one target"),
    Key("links.NAME.split.by", "`user`, or a click parameter", "what a user is known by", "user"),
    Key("links.NAME.fallback", _WAY, "where clicks go that no target can take"),
    Key("links.NAME.active", "`true` or `false`", "`false` stops its clicks", "true"),
    Key("links.NAME.mode", "`302` or `307`", "the status of redirects", "the offer's"),
    Key("links.NAME.referrer", "`keep` or `hide`", "whether the target learns which page the click was on", "keep"),
    _reserved("links.NAME.payouts", "payouts that differ for this link"),
    # --- rates
    Key("rates.base", "ISO 4217 code", "the currency that the others are measured by"),
    Key("rates.CURRENCY", "number", "how many units of this currency are worth one of the base's (`USD: 1.0842`)"),
    # --- privacy and domains
    Key("privacy.ip", "`truncated`, `hashed`, `whole` or `none`", "a visitor's address", "truncated"),
    Key("privacy.user_agent", "`whole`, `family` or `none`", "a visitor's browser", "whole"),
    Key("privacy.referrer", "`whole`, `origin` or `none`", "the page that a visitor came from", "whole"),
    Key("domains.HOST.link", "name", "the link that `/` leads to", "404"),
    Key("domains.HOST.active", "`true` or `false`", "`false` answers nothing for this host (421)", "true"),
    Key("domains.HOST.ios", "mapping, or list", "apps that this host's links open"),
    _required("domains.HOST.ios.team_id", "text", "the team, as Apple names it"),
    _required("domains.HOST.ios.bundle_id", "text", "the app"),
    Key("domains.HOST.ios.paths", "path, or list", "paths that it opens; `not /c/web-*` leaves some out", "/c/*"),
    Key("domains.HOST.android", "mapping, or list", "apps that this host's links open"),
    _required("domains.HOST.android.package", "text", "the app"),
    _required("domains.HOST.android.sha256_fingerprints", "text, or list", "its signing certificates"),
)


def _shapes() -> dict[str, dict[str, Key]]:
    shapes: dict[str, dict[str, Key]] = {}
    for key in KEYS:
        shapes.setdefault(key.parent, {})[key.name] = key
    return shapes


SHAPES = _shapes()  # by the path of a mapping: its keys by name
SECTIONS = ("advertisers", "offers", "groups", "partners", "links")
