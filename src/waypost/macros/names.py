"""Every macro there is: its name, what it means, where it may stand.

Owns: the table and the sets that templates are checked against. Reads and writes nothing.
Never computes a value: doors, the pipeline and the courier do.
"""

import difflib
import re
from enum import StrEnum
from typing import NamedTuple

SUB_COUNT = 30
CLICK_PREFIX = "click."


# What a door finds out of a visitor (`Click.visitor`); each is a macro, a key of `targeting:` and a name in `if:`.
VISITOR = {
    "country": "the visitor's country, ISO 3166 (`DE`); by the address, with a city file",
    "region": "the region, ISO 3166-2 (`DE-BE`)",
    "city": "the city, in English",
    "isp": "the provider whose network the address belongs to",
    "device": "mobile, tablet, desktop, tv, bot or other",
    "brand": "who makes the device, as far as the user agent says",
    "os": "the operating system (`Android`, `iOS`, `Windows`, `macOS`)",
    "os_version": "its version",
    "browser": "the browser (`Chrome Mobile`, `Mobile Safari`)",
    "browser_version": "its version",
    "language": "the first language that the browser asks for, two letters (`de`)",
    "bot": "1 for a program, otherwise empty",
}

# Names under which a click's URL may carry what identifies a person or a device: their values leave for nobody.
_PERSONAL = """
ip user_ip ua user_agent email email_hash phone msisdn idfa idfv gaid gps_adid adid oaid android_id device_id deviceid
imei mac mac_address user_id name first_name last_name address lat lon fbc fbp
userip ip_address ipv6 click_ip device_ip install_ip useragent uagent device_ua imsi udid ifa ifv aifa aaid
ios_idfa ios_ifa ios_idfv ios_ifv google_aid advertising_id advertisingid androidid android_device_id ios_device_id
fire_adid kindle_aid windows_aid win_adid win_hwid win_naid win_udid huawei_oaid
appsflyer_id appsflyer_device_id appmetrica_device_id kochava_device_id
"""
PERSONAL = frozenset(_PERSONAL.split())
LEAVES_FOR_NOBODY = "remove it: what identifies a person or a device leaves for nobody"
_HASHED = re.compile(r"_(?:md5|sha1|sha256|hash|hashed)(?:_hex)?\Z")


class Where(StrEnum):
    """Where a macro has a value."""

    POSTBACK = "postback"  # computed by the pipeline, committed with the postback
    OFFER_URL = "offer URL"  # computed by the door at the click
    ATTEMPT = "attempt"  # in postbacks, computed by the courier for each attempt


class MacroName(NamedTuple):
    """One macro."""

    name: str
    meaning: str
    where: frozenset[Where]


_BOTH = frozenset({Where.POSTBACK, Where.OFFER_URL})
_POSTBACK = frozenset({Where.POSTBACK})
_ATTEMPT = frozenset({Where.ATTEMPT})

_ROWS = (
    MacroName("click_id", "Waypost's id of the click", _BOTH),
    MacroName("external_id", "the partner's own id of the click, as the click brought it", _BOTH),
    *(MacroName(f"sub{number}", f"the click's sub-id {number}", _BOTH) for number in range(1, SUB_COUNT + 1)),
    MacroName("source", "the site or placement that the click came from", _BOTH),
    MacroName("keyword", "the click's keyword", _BOTH),
    MacroName("ad_campaign_id", "the partner's campaign", _BOTH),
    MacroName("creative_id", "the partner's creative", _BOTH),
    MacroName("cost", "what the click cost", _BOTH),
    MacroName("link", "the link's name", _BOTH),
    MacroName("offer", "the offer's name", _BOTH),
    MacroName("partner", "the partner's name", _BOTH),
    *(MacroName(name, meaning, _BOTH) for name, meaning in VISITOR.items()),
    MacroName("advertiser", "the advertiser's name", _POSTBACK),
    MacroName("goal", "the goal's name", _POSTBACK),
    MacroName("status", "pending, approved, declined or hold", _POSTBACK),
    MacroName("payout", "what we owe the partner, with the currency's decimals", _POSTBACK),
    MacroName("currency", "the payout's currency", _POSTBACK),
    MacroName("revenue", "what the advertiser owes us", _POSTBACK),
    MacroName("sum", "the order's value", _POSTBACK),
    MacroName("sum_currency", "the sum's currency", _POSTBACK),
    MacroName("txn_id", "the advertiser's transaction id", _POSTBACK),
    MacroName("conversion_id", "Waypost's id of the conversion", _POSTBACK),
    MacroName("click_time", "when the click came, Unix seconds", _POSTBACK),
    MacroName("conversion_time", "when the conversion came, Unix seconds", _POSTBACK),
    MacroName("test", "1 for a test, otherwise 0", _POSTBACK),
    MacroName("event", "the goal as the rule's `events` call it; the goal itself where the rule has none", _POSTBACK),
    MacroName("status_before", "the status that the conversion had before; empty for a new one", _POSTBACK),
    MacroName("verdict", "new, updated or refused", _POSTBACK),
    MacroName("code", "why a call was refused; empty for all others", _POSTBACK),
    MacroName("returning", "1 where the visitor had clicked before, otherwise empty", _POSTBACK),
    MacroName("postback_id", "the postback's id, the same at every attempt", _ATTEMPT),
    MacroName("attempt", "the attempt's number, from 1", _ATTEMPT),
    MacroName("is_repeat", "1 at every attempt after the first, otherwise 0", _ATTEMPT),
    MacroName("reason", "why the attempt is made: first, retry, unknown-after-crash, resend or correction", _ATTEMPT),
    MacroName("corrects", "the id of the postback that this one corrects; empty for all others", _ATTEMPT),
    MacroName("first_attempt_time", "when the first attempt was begun, Unix seconds", _ATTEMPT),
    MacroName("attempt_time", "when this attempt was begun, Unix seconds", _ATTEMPT),
)

CURRENCY_OF = {"payout": "currency", "sum": "sum_currency"}  # an amount's macro → that of its currency

MACROS: dict[str, MacroName] = {row.name: row for row in _ROWS}
OF_ATTEMPT = frozenset(row.name for row in _ROWS if row.where == _ATTEMPT)
CLICK_FIELD = MacroName("click.NAME", "any other parameter of the click's URL, by its name", _BOTH)


def is_personal(name: str) -> bool:
    """Whether a macro identifies a person or a device; a free click parameter (`click.NAME`) is judged by its NAME.

    A hash (`idfa_md5`) identifies as what it is made of does.
    """
    name = name.removeprefix(CLICK_PREFIX).lower().replace("-", "_")
    return name in PERSONAL or _HASHED.sub("", name) in PERSONAL


class NameSet:
    """The macros that may stand in one kind of template. `is_seen`: by the visitor, so that no secret may."""

    def __init__(self, title: str, where: frozenset[Where]) -> None:
        self.title = title
        self.is_seen = where == {Where.OFFER_URL}
        self._names = frozenset(row.name for row in _ROWS if row.where & where)

    def __contains__(self, name: object) -> bool:
        return name in self._names or (
            isinstance(name, str) and name.startswith(CLICK_PREFIX) and len(name) > len(CLICK_PREFIX)
        )

    def hint(self, name: str) -> str:
        """What may have been meant, or where the name would have a value."""
        if name in MACROS:
            return f"it has a value in: {', '.join(sorted(MACROS[name].where))}"
        if is_personal(name):
            return LEAVES_FOR_NOBODY
        close = did_you_mean(name, self._names)
        return f"did you mean {{{close}}}?" if close else f"a click's own parameter is {{{CLICK_PREFIX}{name}}}"


def did_you_mean(name: str, names: frozenset[str]) -> str:
    """The closest of the names, or an empty text; case and the signs between words do not count."""
    matcher = difflib.SequenceMatcher(b=_plain(name)[:64], autojunk=False)
    best, best_ratio = "", 0.79
    for known in sorted(names):
        matcher.set_seq1(_plain(known))
        if matcher.quick_ratio() > best_ratio and matcher.ratio() > best_ratio:
            best, best_ratio = known, matcher.ratio()
    return best


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


IN_POSTBACK = NameSet("a postback", frozenset({Where.POSTBACK, Where.ATTEMPT}))
IN_RULE = NameSet("a postback rule's condition", frozenset({Where.POSTBACK}))
IN_OFFER_URL = NameSet("an offer's URL", frozenset({Where.OFFER_URL}))
ANYWHERE = NameSet("any template", frozenset(Where))
