"""Keitaro's S2S postback placeholders → Waypost's macros.

Owns: the table of Keitaro's placeholders and the translation. Reads and writes nothing. Never guesses: what has no
certain counterpart is refused with a reason, and what is translated with a difference is said in a warning.

Source: docs.keitaro.io, "S2S postback placeholders" (`{name}`, `{name:argument}`, `{_name}` for an unencoded value,
and each parameter of the traffic source's click URL by its name), and "Postback" for the statuses. `{payout}` is
the spelling that published templates use for `{revenue}`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from waypost.macros.dialects.leftovers import (
    Leftover,
    as_literal,
    asks_for_macro,
    find_leftovers,
    host_placeholder,
    is_placeholder,
)
from waypost.macros.dialects.translation import Problem, Translation, error, problem_of, warning
from waypost.macros.encoding import Position
from waypost.macros.names import IN_POSTBACK, SUB_COUNT, did_you_mean
from waypost.macros.syntax import MacroError, quote_argument
from waypost.macros.template import TEMPLATE_BYTES_MAX, compile_template


class Row(NamedTuple):
    """`ours` is our macro, empty where there is none; `note` says what differs, or why there is none.

    `click` marks what the click's URL must carry for it to have a value.
    """

    ours: str
    note: str = ""
    click: bool = False


_NOT_KEPT = "Waypost keeps no such fact of a click"
_OWN = "it is a number inside Keitaro"

_NO_FACTS = """
browser browser_version city connection_type country country_code country_name current_domain device_brand device_model
device_type ip is_bot is_using_proxy isp language operator carrier os os_version referrer referer region region_name
search_engine se user_agent ua useragent
"""
_NO_NUMBERS = "landing_id landing_name parent_campaign_id stream_id visitor_code token"

PLACEHOLDERS: dict[str, Row] = {
    "subid": Row("click_id"),
    "external_id": Row("external_id", click=True),
    "tid": Row("txn_id"),
    "payout": Row("payout"),
    "revenue": Row("revenue"),
    "currency": Row("currency"),
    "status": Row("status"),  # with Keitaro's words: see _status
    "date": Row("click_time"),  # with Keitaro's format: see _date
    "cost": Row("cost"),
    "source": Row("source", click=True),
    "keyword": Row("keyword", click=True),
    "ad_campaign_id": Row("ad_campaign_id", click=True),
    "creative_id": Row("creative_id", click=True),
    **{f"sub_id_{number}": Row(f"sub{number}", click=True) for number in range(1, SUB_COUNT + 1)},
    "offer_name": Row("offer"),
    "campaign_name": Row("link", "Keitaro's campaign is Waypost's link: its name is sent"),
    "keitaro_campaign_name": Row("link", "Keitaro's campaign is Waypost's link: its name is sent"),
    "campaign_id": Row("link", "Keitaro's campaign is Waypost's link: its name is sent"),
    "keitaro_campaign_id": Row("link", "Keitaro's campaign is Waypost's link: its name is sent"),
    "campaign_alias": Row("link", "Keitaro's campaign is Waypost's link: its name is sent"),
    "offer_id": Row("offer", "the offer's name is sent, not Keitaro's number"),
    "traffic_source_name": Row("partner", "Keitaro's traffic source is Waypost's partner: its name is sent"),
    "ts_id": Row("partner", "Keitaro's traffic source is Waypost's partner: its name is sent"),
    "profit": Row("", "Waypost computes no profit in a template"),
    "random": Row("", "nothing in Waypost is random: every send can be repeated; {postback_id} is unique"),
    "sample": Row("", "nothing in Waypost is random: every send can be repeated"),
    "from_file": Row("", "templates read no files"),
    "destination": Row("", "the target's address is not kept with a conversion"),
    "original_status": Row("", "the advertiser's own word for the status is not kept with a postback"),
    "previous_status": Row("", "a postback carries only the status that it reports"),
    **dict.fromkeys(
        _NO_FACTS.split(),
        Row("", _NOT_KEPT),
    ),
    **dict.fromkeys(_NO_NUMBERS.split(), Row("", _OWN)),
}

# Keitaro's status → ours. A hold has no word of its own in Keitaro: it is a lead that is not confirmed yet.
STATUSES: dict[str, tuple[str, ...]] = {"lead": ("pending", "hold"), "sale": ("approved",), "rejected": ("declined",)}
_GOALS = frozenset({"registration", "reg", "deposit", "dep", "install", "rebill", "ftd"})
_DATE = {"Y": "%Y", "y": "%y", "m": "%m", "d": "%d", "H": "%H", "i": "%M", "s": "%S", "U": "%s"}

_SUGGESTIONS_MAX = 20  # a text with more problems gets no more of them

_BRACED = re.compile(r"[$%]\{[^{}]*\}|\{\{[^{}]*\}\}|\{([^{}]*)\}")
_PARTS = re.compile(r"\s*(_?)([^:\s]+)\s*(?::(.*))?", re.DOTALL)
_PAIRS = re.compile(r"[\s,]+")
_ZONE = re.compile(r"(.*),\s*([A-Za-z_+\-/0-9]{3,})\s*", re.DOTALL)
_FIELD = re.compile(r"[A-Za-z0-9_.\-]+")
_AUTHORITY = re.compile(r"[A-Za-z]+://([^/?#]*)")


def translate(text: str, *, click_parameters: Iterable[str] = ()) -> Translation:
    """A postback template in Keitaro's dialect as one of ours.

    `click_parameters` are the names of the traffic source's click parameters: they are placeholders, too. Where it is
    a mapping to the source's own macros (`{"external_id": "[CLICK_ID]"}`), a macro of the source that was left in the
    postback is put right, with a warning. Never raises for any text; errors are in the answer.
    """
    given = text.strip()
    return _Translator(given, len(text) - len(text.lstrip()), click_parameters).run()


def click_parameter(name: str) -> str:
    """How a click parameter of Keitaro is called in Waypost's click URL."""
    row = PLACEHOLDERS.get(name)
    return row.ours if row and row.click else name


class _Translator:
    """One text on its way; `shift` is how far its first character is from the given text's."""

    def __init__(self, text: str, shift: int, click_parameters: Iterable[str]) -> None:
        self.text = text
        self.shift = shift
        self.parameters = frozenset(click_parameters)
        self.of_token: dict[str, list[str]] = {}
        if isinstance(click_parameters, Mapping):
            for parameter, token in click_parameters.items():
                self.of_token.setdefault(str(token).strip(), []).append(parameter)
        self.problems: list[Problem] = []
        authority = _AUTHORITY.match(text)
        self.host_end = authority.end() if authority else 0
        self.macros = 0

    def run(self) -> Translation:
        names = {parameter: click_parameter(parameter) for parameter in sorted(self.parameters)}
        if not self.text:
            return Translation(None, (error("macro_not_url", "there is no template"),), names)
        if len(self.text) > TEMPLATE_BYTES_MAX:
            detail = f"the template is over {TEMPLATE_BYTES_MAX} bytes"
            return Translation(None, (error("macro_too_large", detail),), names)
        out = [
            self._literal(piece, start) if kind == "literal" else self._braced(piece, start)
            for kind, piece, start in self._pieces()
        ]
        self._check_host()
        ours = "".join(out)
        if not any(problem.severity == "error" for problem in self.problems):
            self._check_result(ours)
        problems = tuple(sorted(self.problems, key=lambda problem: problem.column))
        refused = any(problem.severity == "error" for problem in problems)
        return Translation(None if refused else ours, problems, names)

    def _pieces(self) -> Iterable[tuple[str, str, int]]:
        at = 0
        for found in _BRACED.finditer(self.text):
            if found.start() > at:
                yield "literal", self.text[at : found.start()], at
            yield "braced", found[0], found.start()
            at = found.end()
        if at < len(self.text):
            yield "literal", self.text[at:], at

    # --- literal text ---------------------------------------------------------------------------------

    def _literal(self, piece: str, start: int) -> str:
        for at, sign in enumerate(piece):
            if sign in "{}":
                self._error("macro_syntax", f"a {sign} without its partner", start + at)
        out = []
        at = 0
        for leftover in find_leftovers(self._with_neighbours(piece, start)):
            moved = leftover._replace(start=leftover.start - 1, end=leftover.end - 1)  # minus the neighbour before
            if start + moved.start < self.host_end:
                continue
            out.append(piece[at : moved.start])
            out.append(self._leftover(moved, start + moved.start))
            at = moved.end
        out.append(piece[at:])
        return "".join(out)

    def _with_neighbours(self, piece: str, start: int) -> str:
        """The piece between stand-ins: what touches a macro is no value of its own."""
        end = start + len(piece)
        return ("\0" if start else "/") + piece + ("\0" if end < len(self.text) else "")

    def _leftover(self, leftover: Leftover, start: int) -> str:
        own = self._own_token(leftover.text, start)
        if own is not None:
            return own
        if leftover.placeholder:
            return self._placeholder(leftover, start)
        name = leftover.name.lower()
        hint = self._did_you_mean(name) or "write Keitaro's macro for it, or its text"
        self._error("macro_foreign", f"{leftover.text} is a macro of another system", start, hint)
        return ""

    def _placeholder(self, leftover: Leftover, start: int) -> str:
        if leftover.cuts:
            detail = f"{leftover.text} is a placeholder, and its # begins a fragment: nothing behind it would be sent"
            self._error("macro_placeholder", detail, start)
        elif asks_for_macro(leftover.name):
            detail = f"{leftover.text} stands for a macro"
            hint = "write the macro, e.g. {external_id}, {payout} or {status}"
            self._error("macro_placeholder", detail, start, hint)
        else:
            self._warning("macro_placeholder", f"{leftover.text[:64]} looks like a placeholder that was left in", start)
        return as_literal(leftover.text)

    def _check_host(self) -> None:
        authority = _AUTHORITY.match(self.text)
        if not authority:
            return
        label = host_placeholder(authority[1])
        if label:
            detail = f"{label} is a placeholder in the host's name"
            self._error("macro_placeholder", detail, authority.start(1) + authority[1].find(label))

    # --- placeholders in braces -----------------------------------------------------------------------

    def _braced(self, piece: str, start: int) -> str:
        if piece[0] != "{" or piece.startswith("{{"):
            name = piece.strip("${%}").strip()
            return self._leftover(Leftover(0, len(piece), piece, name, is_placeholder(name)), start)
        parts = _PARTS.fullmatch(piece[1:-1])
        if not parts:
            self._error("macro_syntax", f"{piece[:64]} has no name", start)
            return ""
        raw, name, argument = parts[1], parts[2], parts[3]
        if raw and ("_" + name in self.parameters):
            raw, name = "", "_" + name
        ours = self._macro(name, argument, piece, start)
        if raw and ours is not None:
            detail = f"{piece[:64]} is unencoded in Keitaro; Waypost always encodes for the place where a value stands"
            self._warning("macro_adapted", detail, start)
        return ours if ours is not None else ""

    def _macro(self, name: str, argument: str | None, piece: str, start: int) -> str | None:
        row = PLACEHOLDERS.get(name)
        if row and row.ours and not row.note:
            return self._builtin(name, row, argument, start)
        if name in self.parameters:
            return self._free(name, argument, start)
        if row and row.ours:
            self._warning("macro_adapted", f"{piece[:64]}: {row.note}", start)
            return self._builtin(name, row, argument, start)
        if row:
            hint = f"pass it in the click's URL as a parameter of its own, then write {{{name}}}"
            detail = f"{piece[:64]} has no counterpart: {row.note}"
            self._error("macro_unknown", detail, start, hint if row.note == _NOT_KEPT else "remove it, or write a text")
            return None
        own = self._own_token(piece, start)
        if own is not None:
            return own
        if is_placeholder(name) or is_placeholder(piece[1:-1]):
            return self._placeholder(Leftover(0, len(piece), piece, name, True), start)
        hint = self._did_you_mean(name) or f"name {name[:64]} among the click's parameters if it is one"
        detail = f"{piece[:64]} is neither a placeholder of Keitaro nor a parameter of the click"
        self._error("macro_unknown", detail, start, hint)
        return None

    def _builtin(self, name: str, row: Row, argument: str | None, start: int) -> str | None:
        self.macros += 1
        if row.click and self.parameters and name not in self.parameters:
            detail = f"{{{name}}}: the source's click URL carries no {name}, so it stays empty"
            self._warning("macro_unfilled", detail, start)
        if name == "status":
            return self._status(argument, start)
        if name == "date":
            return self._date(argument, start)
        if name == "keyword" and argument and argument.strip().lower() in ("utf-8", "utf8"):
            argument = None
        if argument is not None:
            self._error("macro_bad_argument", f"{{{name}}} takes no argument here: {argument[:40]!r}", start)
            return None
        return f"{{{row.ours}}}"

    def _free(self, name: str, argument: str | None, start: int) -> str | None:
        self.macros += 1
        if argument is not None or not _FIELD.fullmatch(name):
            self._error("macro_bad_argument", f"{{{name[:64]}}} cannot be written as a macro of Waypost", start)
            return None
        return f"{{{name}}}" if name in IN_POSTBACK and _is_click_field(name) else f"{{click.{name}}}"

    def _own_token(self, piece: str, start: int) -> str | None:
        """The parameter that the source fills with this very macro, where there is exactly one."""
        parameters = self.of_token.get(piece, [])
        if len(parameters) != 1:
            return None
        ours = self._macro(parameters[0], None, f"{{{parameters[0]}}}", start)
        if ours is not None:
            detail = f"{piece[:64]} is the source's own macro; it arrives as {parameters[0]}, which is sent"
            self._warning("macro_foreign", detail, start, f"in Keitaro it is written {{{parameters[0]}}}")
        return ours

    # --- placeholders with arguments ------------------------------------------------------------------

    def _status(self, argument: str | None, start: int) -> str | None:
        words = {status: word for word, statuses in STATUSES.items() for status in statuses}
        seen: set[str] = set()
        for pair in _PAIRS.split((argument or "").strip()):
            word, equals, value = pair.partition("=")
            if not pair:
                continue
            if not equals or not word or word in seen:
                self._error("macro_syntax", f"{{status: …}} holds {pair[:40]!r}, which is not one name=text", start)
                return None
            seen.add(word)
            if word not in STATUSES:
                kind = (
                    "a goal in Waypost, not a status: use {goal|map(…)}" if word in _GOALS else "no status of Waypost"
                )
                self._warning("macro_adapted", f"{{status: {pair[:40]}}} is left out: {word[:40]} is {kind}", start)
            for status in STATUSES.get(word, ()):
                words[status] = value
        order = ("pending", "approved", "declined", "hold")
        pairs = ", ".join(f"{status}={quote_argument(words[status])}" for status in order)
        return f"{{status|map({pairs})}}"

    def _date(self, argument: str | None, start: int) -> str | None:
        form = argument.strip() if argument else "Y-m-d"
        zoned = _ZONE.fullmatch(form)
        if zoned:
            form = zoned[1].strip()
            if zoned[2].upper() not in ("UTC", "GMT", "ETC/UTC", "ETC/GMT"):
                self._error("macro_bad_argument", f"dates are in UTC only; {zoned[2][:40]} is not available yet", start)
                return None
        if form == "U":
            return "{click_time}"
        out = []
        for sign in form:
            if (sign.isalpha() and sign not in _DATE) or sign == "\\":
                self._error(
                    "macro_bad_argument", f"the date format {sign} is not available; {' '.join(_DATE)} are", start
                )
                return None
            out.append(_DATE.get(sign, "%%" if sign == "%" else sign))
        return f"{{click_time|date({quote_argument(''.join(out))})}}"

    # --- the result -----------------------------------------------------------------------------------

    def _check_result(self, ours: str) -> None:
        try:
            compile_template(ours, position=Position.URL, names=IN_POSTBACK)
        except MacroError as fault:
            column = fault.column + self.shift if ours == self.text else 0
            self.problems.append(problem_of(fault, column=column))
            return
        before, _, fragment = self.text.partition("#")
        if "{" in fragment:
            self._warning("macro_adapted", "what stands behind # is not sent to a server", len(before))
        if not self.macros:
            self._warning("macro_missing", "no macro: every conversion would send the same URL", -1 - self.shift)

    def _did_you_mean(self, name: str) -> str:
        if len(self.problems) >= _SUGGESTIONS_MAX:
            return ""
        known = frozenset(known for known, row in PLACEHOLDERS.items() if row.ours) | self.parameters
        close = name if name in known else did_you_mean(name, known)
        return f"did you mean {{{close}}}?" if close else ""

    def _error(self, code: str, detail: str, start: int, hint: str = "") -> None:
        self.problems.append(error(code, detail, column=start + 1 + self.shift, hint=hint))

    def _warning(self, code: str, detail: str, start: int, hint: str = "") -> None:
        self.problems.append(warning(code, detail, column=start + 1 + self.shift, hint=hint))


def _is_click_field(name: str) -> bool:
    """Whether one of our macros is filled from the click's parameter of that name (`sub1`)."""
    return any(row.click and row.ours == name for row in PLACEHOLDERS.values())
