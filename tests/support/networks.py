"""Calls of published affiliate networks: their postback URLs filled in as each network would.

What is right to make of each call is worked out from the URL alone, apart from the code under test.
"""

import json
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote

NETWORKS = json.loads((Path(__file__).parents[1] / "golden" / "corpus" / "affiliate-networks.json").read_text("utf-8"))
# The dialects' macros, the longest delimiters first.
MACRO = re.compile(
    r"\[\[\[.+?\]\]\]|\{\{.+?\}\}|##.+?##|\$\{.+?\}|#\{.+?\}|\{[^{}]+(?:\([^)]*\))?\}|\[[^\[\]]+\]|#[\w.]+#|%[a-z]\w*%"
)
WORDS = {"sale": "approved", "lead": "pending", "rejected": "declined", "rebill": "approved"}  # Keitaro's
OURS = {"approved", "pending", "declined"}


class Sent(NamedTuple):
    """One call of a network: the query it sends, and what is right to make of it."""

    name: str
    query: str
    code: str
    status: str


def path_of(network: dict[str, str]) -> str:
    """The path of a network's URL, as it is published, with the key filled in."""
    return network["postback"].partition("?")[0].replace("http://{domain}", "").replace("{postback_key}", "key")


def fill(value: str, filling: str) -> str:
    """The network's macros in a value replaced; a placeholder that the user has not filled in stays."""
    nth = iter(range(99))  # of several amounts in one value (`CPA,RevShare`) one applies, the others are 0

    def macro(found: re.Match[str]) -> str:
        if "replace" in found[0].lower():
            return found[0]
        return filling if next(nth) == 0 or filling != "7.50" else "0"

    return MACRO.sub(macro, value)


def status_values(lists: dict[str, str]) -> list[tuple[str, str]]:
    """(value, our status) for each value that the URL itself explains; the first list that names one wins."""
    found: dict[str, str] = {}
    for parameters, status in (
        (("sale_status",), "approved"),
        (("lead_status",), "pending"),
        (("rejected_status", "reject_status", "trash_status"), "declined"),
    ):
        for parameter in parameters:
            for value in lists.get(parameter, "").split(","):
                if value:
                    found.setdefault(value.lower(), status)
    return list(found.items())


def expected(fields: dict[str, str], explained: dict[str, str], click_id: str) -> tuple[str, str]:
    """(code, status) that a person would find right for the filled-in fields."""
    judged = [fields.get(name, "") for name in ("subid", "status", "payout", "currency", "tid")]
    if any(MACRO.fullmatch(value) or value.lower() == "replace" for value in judged):
        return "unresolved_macro", ""
    if fields.get("subid", "") != click_id:
        return "click_id_forged" if fields.get("subid") else "click_id_missing", ""
    status = fields.get("status", "").lower()
    meant = explained.get(status) or WORDS.get(status) or (status if status in OURS else "")
    if status and not meant:
        return "status_unknown", ""
    codes = fields.get("currency", "usd").upper().split(",")
    if fields.get("payout") and any(len(code) != 3 for code in codes):
        return "payout_malformed", meant or "approved"
    return "", meant or "approved"


def calls_of(network: dict[str, str], click_id: str) -> list[Sent]:
    """A call for each status that the URL explains, and one with our own word where it explains none."""
    pairs = [piece.partition("=")[::2] for piece in network["postback"].split("?", 1)[1].split("&")]
    lists = {name: unquote(value) for name, value in pairs}
    explained = dict(status_values(lists))
    sent: list[Sent] = []
    for value in explained or {"approved": ""}:
        query: list[str] = []
        for name, text in pairs:
            whole = unquote(text)
            if name == "status" and (MACRO.search(whole) or "," in whole):
                filled = value if "," in whole else fill(whole, value)
            elif name == "status" and whole == "":
                filled = ""
            else:
                filling = {
                    "subid": click_id,
                    "payout": "7.50",
                    "currency": "USD",
                    "tid": f"{network['name']} {value}",
                    "goal": "lead",
                }
                filled = fill(whole, filling.get(name, "x"))
            query.append(f"{name}={quote(filled, safe=',')}")
        fields: dict[str, str] = {}
        for name, text in parse_qsl("&".join(query), keep_blank_values=True):
            fields.setdefault(name, text)
        sent.append(Sent(network["name"], "&".join(query), *expected(fields, explained, click_id)))
    return sent
