"""Alias sets: the parameter names, status words and paths of other trackers, so that URLs made for them work here.

Owns: the table. Each row is a published fact, and says where it is published; `docs/aliases.md` is made from it.
Reads and writes nothing. Sets are merged into an advertiser or a partner when a catalog is compiled: a version that
was applied means the same for ever, whatever a later release adds here.
"""

from collections.abc import Mapping
from typing import NamedTuple


class AliasSet(NamedTuple):
    """One system's words. `parameters`: our parameter → the names it has there; `clicks`: a click's name there → ours.

    `paths` are those of its postback URLs; `click_path` is the form of its click URLs. `checked` says what of it the
    sources were seen to say.
    """

    title: str
    parameters: Mapping[str, tuple[str, ...]]
    statuses: Mapping[str, str]
    paths: tuple[str, ...]
    clicks: Mapping[str, str]
    click_path: str
    sources: tuple[str, ...]
    checked: str


def _numbered(theirs: str, count: int, *, first: int = 1) -> dict[str, str]:
    """`var1` … as our sub-ids from `first` on."""
    return {f"{theirs}{number}": f"sub{number + first - 1}" for number in range(1, count + 1)}


ALIAS_SETS: Mapping[str, AliasSet] = {
    "keitaro": AliasSet(
        title="Keitaro",
        parameters={
            "click_id": ("subid", "sub_id"),
            "txn_id": ("tid",),
            "payout": ("revenue",),
            "pending_status": ("lead_status",),
            "approved_status": ("sale_status",),
            "declined_status": ("rejected_status", "reject_status", "trash_status"),
            "ignored_status": ("ignore_status", "ignore"),
        },
        statuses={"lead": "pending", "sale": "approved", "rebill": "approved", "rejected": "declined"},
        paths=("/KEY/postback",),
        clicks={**_numbered("sub_id_", 30), "utm_source": "source", "utm_term": "keyword"},
        click_path="/LINK?sub_id_1=…",
        sources=(
            "https://docs.keitaro.io/en/conversions/postback.html",
            "https://docs.keitaro.io/en/campaigns-and-streams/campaign-parameters.html",
            "http://v7.help-legacy.keitaro.io/en/postbacks",
        ),
        checked=(
            "all but `sub_id`, `reject_status`, `trash_status`, `ignore` and a click's `utm_…`, which were not found "
            "on the pages at hand"
        ),
    ),
    "affise": AliasSet(
        title="Affise",
        parameters={
            "click_id": ("clickid", "clickId"),
            "txn_id": ("action_id",),
            "token": ("secure",),
        },
        statuses={"1": "approved", "2": "pending", "3": "declined", "5": "pending"},
        paths=("/postback",),
        clicks={},
        click_path="/click?pid=PARTNER&offer_id=OFFER&sub1=…",
        sources=(
            "https://help-center.affise.com/en/articles/6475468-affise-postback-url-parameters",
            "https://affise.zendesk.com/hc/en-us/articles/115002634845-Affise-Affise",
        ),
        checked="all but `clickId`",
    ),
    "tune": AliasSet(
        title="TUNE (HasOffers)",
        parameters={
            "click_id": ("transaction_id",),
            "sum": ("amount",),
            "goal": ("goal_id",),
            "txn_id": ("adv_sub",),
            "token": ("security_token",),
        },
        statuses={"rejected": "declined"},
        paths=("/aff_lsr", "/aff_goal"),
        clicks={
            "aff_sub": "sub1",
            **{f"aff_sub{number}": f"sub{number}" for number in range(2, 6)},
            **_numbered("aff_unique", 5, first=6),
            "aff_click_id": "external_id",
        },
        click_path="/aff_c?offer_id=OFFER&aff_id=PARTNER&aff_sub=…",
        sources=(
            "https://support.tune.com/hc/en-us/articles/4413247665431-Receiving-Conversions-via-Postback-URL",
            "https://support.tune.com/hc/en-us/articles/1500005236742-Customizing-a-Conversion-URL",
            "https://support.tune.com/hc/en-us/articles/1500005236722-Customizing-a-Partner-Tracking-Link",
            "https://support.tune.com/hc/en-us/articles/1500005236422-Generating-Tracking-Links",
            "https://docs.tealium.com/server-side-connectors/tune-postback-tracking-connector/",
        ),
        checked="all but `/aff_goal` and a click's `aff_unique…`",
    ),
    "voluum": AliasSet(
        title="Voluum",
        parameters={"click_id": ("cid",), "txn_id": ("txid",), "goal": ("et",)},
        statuses={},
        paths=("/postback",),
        clicks={**_numbered("var", 10), "externalid": "external_id"},
        click_path="/LINK?var1=…",
        sources=(
            "https://doc.voluum.com/article/parameters-in-postback-urls",
            "https://doc.voluum.com/en/tracking_conversions_postback.html",
            "https://doc.voluum.com/en/passing_information_from_traffic_source.html",
        ),
        checked="a call's names and path; not the form of a click's URL",
    ),
    "binom": AliasSet(
        title="Binom",
        parameters={"click_id": ("cnv_id",), "status": ("cnv_status",), "currency": ("cnv_currency",)},
        statuses={"approve": "approved", "reject": "declined", "hold": "pending"},
        paths=("/click.php?cnv_id=", "/click?cnv_id="),
        clicks={**_numbered("t", 30), "externalid": "external_id"},
        click_path="/click.php?key=LINK&t1=…",
        sources=(
            "https://docs.binom.org/postback-url.php",
            "https://docs.binom.org/update-click-v2.php",
            "https://docs.binom.org/update-costs.php",
            "https://docs.binom.org/payout-tracking-v2.php",
        ),
        checked="all but the form of a click's URL",
    ),
    "redtrack": AliasSet(
        title="RedTrack",
        parameters={"click_id": ("clickid",), "payout": ("sum",), "goal": ("type",)},
        statuses={},
        paths=("/postback",),
        clicks={"ref_id": "external_id"},
        click_path="/LINK?sub1=…",
        sources=(
            "https://help.redtrack.io/knowledgebase/kb/conversion-tracking/supported-dynamic-parameters",
            "https://docs.redtrack.io/knowledgebase/tracking-event-types/",
        ),
        checked="`clickid`, the path and sub-ids; `sum`, `type` and `ref_id` in URLs that others publish for RedTrack",
    ),
}

CLICK_PARAMETERS = (
    *(f"sub{number}" for number in range(1, 31)),
    *("external_id", "source", "keyword", "cost", "ad_campaign_id", "creative_id"),
)
"""Our click parameters that may go by other names."""

CLICK_ID_NAMES = ("click_id", *(name for found in ALIAS_SETS.values() for name in found.parameters["click_id"]))
"""Every name under which a click's id comes in one of the sets: where the caller is not known yet."""

TOKEN_NAMES = ("token", *(name for found in ALIAS_SETS.values() for name in found.parameters.get("token", ())))


def merged_parameters(own: Mapping[str, tuple[str, ...]], sets: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Our parameter → its other names: the advertiser's own, then those of the sets in their order.

    A name keeps the first meaning that it is given.
    """
    found = dict(own)
    taken = {name for names in own.values() for name in names}
    for chosen in sets:
        for canonical, names in ALIAS_SETS[chosen].parameters.items():
            free = tuple(name for name in names if name not in taken)
            taken.update(free)
            if free:
                found[canonical] = (*found.get(canonical, ()), *free)
    return found


def merged_statuses(own: Mapping[str, str], sets: tuple[str, ...]) -> dict[str, str]:
    """Inbound value → status; the advertiser's own words win, then the first set that has a word."""
    found = dict(own)
    for chosen in sets:
        for word, status in ALIAS_SETS[chosen].statuses.items():
            found.setdefault(word, status)
    return found


def merged_clicks(own: Mapping[str, str], sets: tuple[str, ...]) -> dict[str, str]:
    """A click parameter's inbound name → ours; own names win."""
    found = dict(own)
    for chosen in sets:
        for name, canonical in ALIAS_SETS[chosen].clicks.items():
            found.setdefault(name, canonical)
    return found
