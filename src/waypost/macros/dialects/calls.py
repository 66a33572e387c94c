"""A URL that somebody else is to call: a tracker's postback URL, with the network's macros in it.

Owns: how such a URL is recognised, what can be wrong with it, and its parameters' names in Waypost. Reads and writes
nothing. Never touches the network's macros: the network fills them in.

Published URLs are mostly written for Keitaro: `http://{domain}/{postback_key}/postback?subid=##CLICK_ID##&…`. The
tracker fills in `{domain}` and `{postback_key}`; the rest is the network's language. For Waypost the key is the
advertiser's token, and the parameters have Waypost's names. Other trackers' URLs are told by their click's id: `cid=`
(Voluum, BeMob), `cnv_id=` (Binom, `/click.php`), `clickid=` (RedTrack).

Sources: docs.keitaro.io, "Postback" (parameters, `lead_status`, `sale_status`, `rejected_status`, `ignore_status`);
doc.voluum.com, "Parameters in Postback URLs"; docs.binom.org, "Postback URL"; help.redtrack.io, "Click id parameter".
"""

import re
from typing import NamedTuple

from waypost.macros.dialects import NAMED
from waypost.macros.dialects.brackets import ENCODED, RARE, Token, find_tokens, masked
from waypost.macros.dialects.generic import COMMON, plain_name
from waypost.macros.dialects.leftovers import find_bare, instructs
from waypost.macros.dialects.slips import one_slip
from waypost.macros.dialects.translation import Problem, Severity, Translation, error, warning
from waypost.macros.dialects.urls import AUTHORITY, html_signs, unpartnered, why_no_url
from waypost.macros.names import did_you_mean
from waypost.macros.template import TEMPLATE_BYTES_MAX

# Keitaro's parameter → ours.
PARAMETERS = {
    "subid": "click_id", "tid": "txn_id", "payout": "payout", "revenue": "payout", "currency": "currency",
    "status": "status", "lead_status": "pending_status", "sale_status": "approved_status",
    "rejected_status": "declined_status", "ignore_status": "ignored_status",
}  # fmt: skip
# Each tracker's, by what it calls the click's id; the first that a URL has says whose it is.
_TRACKERS = {
    "subid": PARAMETERS,
    "cnv_id": {"cnv_id": "click_id", "payout": "payout", "cnv_status": "status", "cnv_currency": "currency"},
    "cid": {
        "cid": "click_id", "payout": "payout", "txid": "txn_id", "et": "goal", "currency": "currency",
        "status": "status",
    },
    "clickid": {"clickid": "click_id", "sum": "payout", "type": "goal", "currency": "currency", "status": "status"},
}  # fmt: skip
_ALSO_RIGHT = frozenset(
    ["from", "return", "cost", "profit", "trash_status", "debug", "external_id", "date", "action", "cnv_status2"]
)
_NUMBERED = re.compile(r"sub_id_\d{1,2}|sub\d{1,2}|extra_param_\d{1,2}|param\d|event\d{1,2}")
_CLICK_PATHS = ("/click.php", "/click")  # Binom's
_OURS = {ours: theirs for theirs, ours in reversed(PARAMETERS.items())}
_NETWORKS = ("affise", "tune", "everflow", "admitad", "cake")
_DOMAIN_WORDS = frozenset({"domain", "trackerdomain", "trackingdomain", "tracker", "host", "keitarodomain"})
_KEY = "{postback_key}"
_STATUS_LISTS = ("lead_status", "sale_status", "rejected_status", "reject_status", "trash_status")
_APART = frozenset({"payout", "status", "currency", "txn_id"})  # nobody's macro for one of them is for another, too
_STATUS_WORDS = frozenset(
    ["approved", "approve", "pending", "declined", "rejected", "reject", "sale", "lead", "hold", "trash"]
)
_CURRENCY = re.compile(r"[A-Za-z]{3}(?:(?:,|%2C)[A-Za-z]{3})*")
_NUMBER = re.compile(r"[\d.,]*")
_WORDS_BETWEEN = re.compile(r",|%2C|\|")
_KNOWN_NAMES = frozenset(name for name, row in COMMON.items() if row.ours and len(name) > 4 and name.isalpha())
_PAIR = re.compile(r"[^&]+")


class Pair(NamedTuple):
    """One parameter; both starts count from 0."""

    key: str
    key_start: int
    value: str
    value_start: int
    tokens: tuple[Token, ...]


def is_call(text: str) -> bool:
    """Whether the text is a tracker's own postback URL: its host or key is the tracker's to fill in."""
    found = AUTHORITY.match(text.strip())
    if not found:
        return False
    path = text.strip()[found.end() :].partition("?")[0]
    tokens = find_tokens(found[1])
    blank = len(tokens) == 1 and tokens[0].text == found[1].partition(":")[0]
    of_binom = path in _CLICK_PATHS and "cnv_id=" in text
    return (blank and ("postback" in path or of_binom)) or _KEY in path


def translate_call(text: str) -> Translation:
    """The URL as Waypost's own, for the network to call. Never raises for any text; errors are in the answer."""
    given = text.strip()
    return _Call(given, len(text) - len(text.lstrip())).run()


def export_call(text: str) -> str:
    """Keitaro's URL, of one that translate_call answered."""
    base, _, query = text.strip().partition("?")
    first, _, rest = query.partition("&")
    if first == f"token={_KEY}" and base.endswith("/postback"):
        base, query = f"{base.removesuffix('/postback')}/{_KEY}/postback", rest
    pairs = (pair.partition("=") for pair in query.split("&"))
    written = "&".join(f"{_OURS.get(key, key)}{equals}{value}" for key, equals, value in pairs)
    return f"{base}?{written}"


def network_of(text: str) -> str:
    """Whose macros the URL has: a network's name where it has them all, otherwise the picture of their signs."""
    tokens = [token for token in find_tokens(text.partition("?")[2]) if not instructs(token.name)]
    if not tokens:
        return ""
    form = _main_form(tokens)
    of_form = [token for token in tokens if token.form == form]
    known = {name: sum(NAMED[name].knows(token) for token in of_form) for name in _NETWORKS}
    best = max(_NETWORKS, key=lambda name: known[name])
    return best if known[best] == len(of_form) else form


def _main_form(tokens: list[Token]) -> str:
    forms = [token.form for token in tokens]
    return max(forms, key=forms.count)


class _Call:
    """One URL; `shift` is how far its first character is from the given text's."""

    def __init__(self, text: str, shift: int) -> None:
        self.text = text
        self.shift = shift
        self.problems: list[Problem] = []
        self.parameters = PARAMETERS

    def run(self) -> Translation:
        text = self.text
        if len(text.encode("utf-8", "surrogatepass")) > TEMPLATE_BYTES_MAX:
            return Translation(None, (error("macro_too_large", f"the URL is over {TEMPLATE_BYTES_MAX} bytes"),))
        tokens = find_tokens(text)
        rest = masked(text, tokens)
        for start, sign in unpartnered(rest):
            self._error("macro_syntax", f"a {sign} without its partner", start)
        why = why_no_url(text)
        if why:
            self.problems.append(error("macro_not_url", why.detail, column=why.start + 1 + self.shift, hint=why.hint))
        base_end = rest.find("?") if "?" in rest else len(text)
        self._check_base(text[:base_end], [token for token in tokens if token.start < base_end])
        for mangled in html_signs(rest):
            self._warning("macro_encoded", *mangled)
        if " " in rest:
            self._warning("macro_not_url", "a blank in a URL", rest.find(" "), "write %20, or remove it")
        pairs = self._pairs(rest, base_end, tokens)
        keys = {pair.key for pair in pairs}
        if _KEY not in text[:base_end]:  # otherwise it is Keitaro's
            self.parameters = next((names for key, names in _TRACKERS.items() if key in keys), PARAMETERS)
        self._check_pairs(pairs)
        self._check_forms([token for token in tokens if token.start > base_end and not instructs(token.name)])
        self._check_bare(rest, base_end)
        ours = self._written(text[:base_end], pairs)
        problems = tuple(sorted(self.problems, key=lambda problem: problem.column))
        refused = any(problem.severity is Severity.ERROR for problem in problems)
        return Translation(None if refused else ours, problems, draft=ours)

    def _pairs(self, rest: str, base_end: int, tokens: list[Token]) -> list[Pair]:
        pairs = []
        for found in _PAIR.finditer(rest, base_end + 1):
            key, equals, value = self.text[found.start() : found.end()].partition("=")
            start = found.start() + len(key) + len(equals)
            inside = tuple(token for token in tokens if start <= token.start < found.end())
            pairs.append(Pair(key, found.start(), value, start, inside))
        return pairs

    def _written(self, base: str, pairs: list[Pair]) -> str:
        query = "&".join(
            self.parameters.get(pair.key, pair.key)
            + ("=" if pair.value_start > pair.key_start + len(pair.key) else "")
            + pair.value
            for pair in pairs
        )
        ended = next((path for path in _CLICK_PATHS if base.endswith(path)), "")
        if ended and "cnv_id" in self.parameters:
            base = base.removesuffix(ended) + "/postback"
        if f"/{_KEY}/postback" in base:
            base = base.replace(f"/{_KEY}/postback", "/postback", 1)
            query = f"token={_KEY}&{query}" if query else f"token={_KEY}"
        return f"{base}?{query}"

    # --- checks ---------------------------------------------------------------------------------------

    def _check_base(self, base: str, tokens: list[Token]) -> None:
        """Only what the tracker fills in may stand before the query."""
        found = AUTHORITY.match(base)
        host_end = found.end() if found else 0
        for token in tokens:
            if token.start < host_end:
                if plain_name(token.name) not in _DOMAIN_WORDS:
                    self._error("macro_in_host", f"{token.text[:64]} in the host is not {{domain}}", token.start)
            elif token.text != _KEY and not instructs(token.name):
                close = did_you_mean(token.name, frozenset({"postback_key"}))
                hint = f"did you mean {_KEY}?" if close else f"the tracker fills in {{domain}} and {_KEY} only"
                self._error("macro_unknown", f"{token.text[:64]} in the path is not the tracker's", token.start, hint)

    def _check_pairs(self, pairs: list[Pair]) -> None:
        seen: set[str] = set()
        click = [pair for pair in pairs if self.parameters.get(pair.key) == "click_id" or pair.key == "click_id"]
        if not click:
            self._error("macro_missing", "there is no subid=: no click would be found", -1 - self.shift)
        known = frozenset(self.parameters) | _ALSO_RIGHT
        absent = known - {pair.key for pair in pairs}
        for pair in pairs:
            if pair.key in seen and pair.key:
                detail = f"{pair.key[:40]}= stands twice: one of them is lost"
                self._warning("macro_parameter", detail, pair.key_start)
            seen.add(pair.key)
            if pair.key not in known and not _NUMBERED.fullmatch(pair.key):
                close = _typo(pair.key, absent)
                if close:
                    detail = f"{pair.key[:40]}= is no parameter of a postback URL"
                    self._warning("macro_parameter", detail, pair.key_start, f"did you mean {close}=?")
            self._check_value(pair)

    def _check_value(self, pair: Pair) -> None:
        for token in pair.tokens:
            if instructs(token.name):
                detail = f"{token.text[:64]} looks like a placeholder that was left in"
                self._warning("macro_placeholder", detail, token.start)
            elif not token.name:
                self._error("macro_syntax", f"{token.text[:64]} has no name", token.start)
            elif not token.name.isascii():
                detail = f"{token.text[:64]} has letters that only look Latin"
                self._error("macro_unknown", detail, token.start, "write it with Latin letters")
            elif close := _typo(plain_name(token.name), _KNOWN_NAMES):
                detail = f"{token.text[:64]} looks misspelled"
                self._warning("macro_unknown", detail, token.start, f"did the network mean {close}?")
        if pair.key in _STATUS_LISTS:
            return
        if len(pair.tokens) == 1:
            self._check_meaning(pair, pair.tokens[0])
        elif not pair.tokens:
            self._check_fixed(pair)

    def _check_meaning(self, pair: Pair, token: Token) -> None:
        """One parameter filled with another one's macro, or with a word in signs."""
        row = COMMON.get(plain_name(token.name))
        wanted = self.parameters.get(pair.key, "")
        if row and wanted in _APART and row.name in _APART and row.name != wanted:
            detail = f"{pair.key}= is filled with {token.text[:64]}"
            self._warning("macro_parameter", detail, token.start, f"is it the network's macro for {wanted}?")
        elif wanted == "status" and token.name.lower() in _STATUS_WORDS:
            detail = f"{token.text[:64]} looks like a status in signs, not like a macro for it"
            self._warning("macro_placeholder", detail, token.start, "write the network's macro, or the word alone")

    def _check_fixed(self, pair: Pair) -> None:
        """A value without macros, where one is expected."""
        key, value = pair.key, pair.value
        wanted = self.parameters.get(key, key)
        doubt = ""
        if wanted == "click_id":
            doubt = f"{key}={value[:40]} is the same for every click"
        elif not value and key in self.parameters:
            doubt = f"{key}= is empty"
        elif wanted == "payout" and not _NUMBER.fullmatch(value):
            doubt = f"{key}={value[:40]} is no amount"
        elif wanted == "txn_id":
            doubt = f"{key}={value[:40]} is the same for every conversion: all but the first would be duplicates"
        elif wanted == "currency" and not _CURRENCY.fullmatch(value):
            doubt = f"{key}={value[:40]} is no currency's code"
        elif wanted == "status" and len(_WORDS_BETWEEN.split(value)) > 1:
            doubt = f"{key}={value[:40]} names several: a call has one"
        if doubt and not self._is_bare(pair):
            self._warning("macro_placeholder", doubt, pair.value_start, "write the network's macro for it")

    def _is_bare(self, pair: Pair) -> bool:
        return bool(find_bare(f"={pair.value}"))

    def _check_forms(self, tokens: list[Token]) -> None:
        usual = [token for token in tokens if token.form not in ENCODED]
        main = _main_form(usual) if usual else ""
        for token in tokens:
            if token.form in ENCODED:
                detail = f"{token.text[:64]} is text, not a macro: its signs are percent-encoded"
                self._warning("macro_encoded", detail, token.start, f"write it as {ENCODED[token.form]}")
            elif token.form != main:
                detail = f"{token.text[:64]} is written {token.form}, the other macros {main}"
                self._warning("macro_foreign", detail, token.start, "a network has one way to write its macros")
            elif token.form in RARE:
                detail = f"{token.text[:64]} is in signs that no known network has"
                self._warning("macro_foreign", detail, token.start)

    def _check_bare(self, rest: str, base_end: int) -> None:
        for bare in find_bare(rest[base_end:]):
            start = base_end + bare.start
            if "from=" in rest and rest.rfind("from=", base_end, start) == start - 5:
                continue  # the network's own name, whatever it is
            detail = f"{bare.text[:64]} looks like a placeholder or a macro without signs"
            self._warning("macro_placeholder", detail, start)

    def _error(self, code: str, detail: str, start: int, hint: str = "") -> None:
        self.problems.append(error(code, detail, column=start + 1 + self.shift, hint=hint))

    def _warning(self, code: str, detail: str, start: int, hint: str = "") -> None:
        self.problems.append(warning(code, detail, column=start + 1 + self.shift, hint=hint))


def _typo(name: str, known: frozenset[str]) -> str:
    """The known name from which this one differs by one slip of the hand, or an empty text."""
    if name in known or len(name) < 5 or any(sign.isdigit() for sign in name):
        return ""
    return next((other for other in sorted(known) if len(other) > 4 and one_slip(name, other)), "")
