"""A postback that we are to call, from another system's language into ours.

Owns: the walk over a template's tokens, and what is said of each. Reads and writes nothing. Never guesses: what has no
certain counterpart is refused with a reason, what is translated with a difference is said in a warning, and what was
left in by somebody (a placeholder, a macro of yet another system) is kept as text, spelled so that the URL stands.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from waypost.macros.dialects.brackets import ENCODED, Token, find_tokens, masked
from waypost.macros.dialects.dialect import Dialect, Found, Reading, leaves_empty, read_row
from waypost.macros.dialects.leftovers import (
    Leftover,
    as_literal,
    asks_for_macro,
    find_bare,
    host_placeholder,
    instructs,
    is_placeholder,
)
from waypost.macros.dialects.slips import latin
from waypost.macros.dialects.translation import Problem, Severity, Translation, error, problem_of, warning
from waypost.macros.dialects.urls import AUTHORITY, html_signs, unpartnered, why_no_url
from waypost.macros.encoding import Position
from waypost.macros.names import IN_POSTBACK, LEAVES_FOR_NOBODY, NameSet, did_you_mean, is_personal
from waypost.macros.syntax import MacroError
from waypost.macros.template import TEMPLATE_BYTES_MAX, compile_template

_SUGGESTIONS_MAX = 20  # a text with more problems gets no more of them
_SHORT = 6
_FIELD = re.compile(r"[A-Za-z0-9_.\-]+", re.ASCII)
_SPACE = re.compile(r" +")


def translate_postback(
    dialect: Dialect,
    text: str,
    *,
    click_parameters: Iterable[str] = (),
    position: Position = Position.URL,
    names: NameSet = IN_POSTBACK,
) -> Translation:
    """A template in the dialect as one of ours.

    `click_parameters` are the names of the traffic source's click parameters: where the dialect is free, they are
    macros, too, and no others are. Where it is a mapping to the source's own macros (`{"external_id": "[CLICK_ID]"}`),
    a macro of the source that was left in the postback is put right, with a warning. Never raises for any text; errors
    are in the answer.
    """
    given = text.strip()
    walk = _Walk(dialect, given, len(text) - len(text.lstrip()), click_parameters, position, names)
    return walk.run()


def click_parameter(dialect: Dialect, name: str) -> str:
    """How a click parameter of the dialect's system is called in Waypost's click URL."""
    row = dialect.rows.get(name)
    return row.name if row and row.click and not row.name.startswith("click.") else name


class _Walk:
    """One text on its way; `shift` is how far its first character is from the given text's."""

    def __init__(
        self, dialect: Dialect, text: str, shift: int, parameters: Iterable[str], position: Position, names: NameSet
    ) -> None:
        self.dialect = dialect
        self.text = text
        self.shift = shift
        self.position = position
        self.names = names
        self.parameters = frozenset(parameters)
        self.of_token: dict[str, list[str]] = {}
        if isinstance(parameters, Mapping):
            for parameter, token in parameters.items():
                self.of_token.setdefault(str(token).strip(), []).append(parameter)
        self.problems: list[Problem] = []
        authority = AUTHORITY.match(text)
        self.host_end = authority.end() if authority else 0
        self.macros = 0
        self.shifted = False  # whether ours has other columns than the given text

    def run(self) -> Translation:
        renamed = {parameter: click_parameter(self.dialect, parameter) for parameter in sorted(self.parameters)}
        if not self.text:
            return Translation(None, (error("macro_not_url", "there is no template"),), renamed)
        if len(self.text.encode("utf-8", "surrogatepass")) > TEMPLATE_BYTES_MAX:
            detail = f"the template is over {TEMPLATE_BYTES_MAX} bytes"
            return Translation(None, (error("macro_too_large", detail),), renamed, self.text)
        tokens = find_tokens(self.text)
        rest = masked(self.text, tokens)
        pieces: list[tuple[int, int, str, str]] = []  # start, end, ours, draft
        for token in tokens:
            ours = self._token(token)
            pieces.append((token.start, token.end, ours or "", ours or _escaped(token.text)))
        for bare in find_bare(rest):
            if bare.start >= self.host_end:
                pieces.append((bare.start, bare.end, self._leftover(bare), _escaped(bare.text)))
        ours, draft = self._joined(sorted(pieces))
        self._check_literals(rest)
        if not any(problem.severity is Severity.ERROR for problem in self.problems):
            self._check_result(ours)
        problems = tuple(sorted(self.problems, key=lambda problem: problem.column))
        refused = any(problem.severity is Severity.ERROR for problem in problems)
        return Translation(None if refused else ours, problems, renamed, draft)

    def _joined(self, pieces: list[tuple[int, int, str, str]]) -> tuple[str, str]:
        """The text with its pieces replaced: as it will be used, and as a draft."""
        ours: list[str] = []
        draft: list[str] = []
        at = 0
        for start, end, new, kept in pieces:
            ours += (self._literal(at, start), new)
            draft += (_escaped(self.text[at:start]), kept)
            at = end
        ours.append(self._literal(at, len(self.text)))
        draft.append(_escaped(self.text[at:]))
        return "".join(ours), "".join(draft)

    # --- literal text ---------------------------------------------------------------------------------

    def _literal(self, start: int, end: int) -> str:
        """The text between two pieces; blanks behind the host are spelled as URLs spell them."""
        piece = self.text[start:end]
        if self.position is not Position.URL or " " not in piece or not self.host_end:
            return piece
        cut = min(len(piece), max(0, self.host_end - start))
        space = _SPACE.search(piece, cut)
        if not space:
            return piece
        self._warning("macro_not_url", "a blank in a URL: it is sent as %20", start + space.start(), "remove it")
        return piece[:cut] + piece[cut:].replace(" ", "%20")

    def _check_literals(self, rest: str) -> None:
        for start, sign in unpartnered(rest):
            self._error("macro_syntax", f"a {sign} without its partner", start)
        if self.position is not Position.URL:
            return
        found = AUTHORITY.match(self.text)
        label = host_placeholder(found[1]) if found else ""
        if found and label and label not in (token.text for token in find_tokens(found[1])):
            detail = f"{label} is a placeholder in the host's name"
            self._error("macro_placeholder", detail, found.start(1) + found[1].find(label))
        for mangled in html_signs(rest):
            self._warning("macro_encoded", *mangled)
        why = why_no_url(self.text)
        if why:
            self.problems.append(error("macro_not_url", why.detail, column=why.start + 1 + self.shift, hint=why.hint))

    # --- tokens ---------------------------------------------------------------------------------------

    def _token(self, token: Token) -> str | None:
        """Our text for the token; None where there is none, and an error says why."""
        if self.position is Position.URL and token.start < self.host_end:
            self._in_host(token)
            return None
        if token.form not in self.dialect.forms:
            kept = self.problems[:]
            if token.form in ENCODED and (ours := self._encoded(token)):
                return ours
            self.problems = kept
            placeholder = is_placeholder(token.name)
            return self._leftover(Leftover(token.start, token.end, token.text, token.name, placeholder, token.form))
        if not token.name:
            self._error("macro_syntax", f"{token.text[:64]} has no name", token.start)
            return None
        return self._own(token)

    def _in_host(self, token: Token) -> None:
        if instructs(token.name) or is_placeholder(token.name):
            detail = f"{token.text[:64]} is a placeholder in the host's name"
            self._error("macro_placeholder", detail, token.start)
        else:
            self._error("macro_in_host", f"{token.text[:64]} stands in the URL's host", token.start)

    def _encoded(self, token: Token) -> str | None:
        """Somebody percent-encoded the signs of one of the dialect's macros."""
        inner = token._replace(form=ENCODED[token.form], text="{" + token.name + "}")
        if not self.dialect.knows(inner):
            return None
        detail = f"{token.text[:64]} is text, not a macro: its signs are percent-encoded; it is read as {inner.text}"
        self._warning("macro_encoded", detail, token.start, f"write {inner.text}")
        return self._own(inner)

    def _own(self, token: Token) -> str | None:
        name = token.name
        row = self.dialect.rows.get(name)
        plain = row is not None and bool(row.ours) and not row.note
        if name in self.parameters and not plain:
            return self._free(token)
        reading = self.dialect.read(token) if self.dialect.read else None
        if reading is None and row is not None:
            reading = read_row(token.text, name, row)
        if reading is not None:
            return self._known(token, reading)
        own = self._sources_own(token)
        if own is not None:
            return own
        if is_placeholder(name):
            return self._leftover(Leftover(token.start, token.end, token.text, name, True, token.form))
        return self._unknown(token)

    def _known(self, token: Token, reading: Reading) -> str | None:
        self._add(reading.found, token.start)
        if reading.text is None:
            return None
        self.macros += 1
        row = self.dialect.rows.get(token.name)
        if row and row.click and self.parameters and token.name not in self.parameters and self.dialect.free:
            detail = f"{token.text[:64]}: the source's click URL carries no {token.name}, so it stays empty"
            self._warning("macro_unfilled", detail, token.start)
        return reading.text

    def _free(self, token: Token) -> str | None:
        """A parameter of the click by its name."""
        if not _FIELD.fullmatch(token.name):
            detail = f"{token.text[:64]} cannot be written as a macro of Waypost"
            self._error("macro_bad_argument", detail, token.start)
            return None
        self.macros += 1
        ours = any(row.click and row.ours == token.name for row in self.dialect.rows.values())
        return f"{{{token.name}}}" if ours and token.name in self.names else f"{{click.{token.name}}}"

    def _unknown(self, token: Token) -> str | None:
        hint = self._did_you_mean(token.name)
        title = self.dialect.title
        may_be_parameter = self.dialect.free and not self.parameters and bool(_FIELD.fullmatch(token.name))
        if not may_be_parameter or (hint and self._is_slip(token.name, hint)):
            also = " nor a parameter of the click" if self.dialect.free else ""
            detail = f"{token.text[:64]} is {'neither' if also else 'not'} a macro of {title}{also}"
            fallback = f"a parameter of the click is {{click.{token.name[:64]}}} in Waypost"
            if is_personal(token.name):
                fallback = LEAVES_FOR_NOBODY
            self._error("macro_unknown", detail, token.start, hint or fallback)
            return None
        if is_personal(token.name):
            found = leaves_empty(token.text)
            self._warning(found.code, found.detail, token.start, found.hint)
            return self._free(token)
        detail = f"{token.text[:64]} is no macro of {title}: taken for a parameter of the click's URL"
        self._warning("macro_unfilled", detail, token.start, hint or f"the click's URL must carry {token.name}=")
        return self._free(token)

    def _is_slip(self, name: str, hint: str) -> bool:
        """Whether the name must be meant: a short one that begins otherwise may be another parameter (`pubid`)."""
        meant = hint.removeprefix("did you mean ").removeprefix(self.dialect.picture.partition("x")[0])
        return len(name) > _SHORT or latin(name)[:1].lower() == meant[:1].lower()

    def _sources_own(self, token: Token) -> str | None:
        """The parameter that the source fills with this very macro, where there is exactly one."""
        parameters = self.of_token.get(token.text, [])
        if len(parameters) != 1:
            return None
        ours = self._own(token._replace(text=f"{{{parameters[0]}}}", name=parameters[0], form=self.dialect.forms[0]))
        if ours is not None:
            detail = f"{token.text[:64]} is the source's own macro; it arrives as {parameters[0]}, which is sent"
            hint = f"in {self.dialect.title} it is written {{{parameters[0]}}}"
            self._warning("macro_foreign", detail, token.start, hint)
        return ours

    def _leftover(self, leftover: Leftover) -> str:
        token = Token(leftover.start, leftover.text, leftover.form, leftover.name)
        own = self._sources_own(token) if leftover.form else None
        if own is not None:
            return own
        piece, spelled = leftover.text[:64], as_literal(leftover.text)
        cuts = "; its # would begin a fragment, and is sent as %23" if leftover.cuts else ""
        if not leftover.placeholder:
            hint = self._did_you_mean(leftover.name) or f"write {self.dialect.title}'s macro for it, or its text"
            self._warning("macro_foreign", f"{piece} is a macro of another system{cuts}", leftover.start, hint)
        elif asks_for_macro(leftover.name):
            detail = f"{piece} stands for a macro{cuts}"
            hint = "write the macro, e.g. {external_id}, {payout} or {status}"
            self._warning("macro_placeholder", detail, leftover.start, hint)
        else:
            detail = f"{piece} looks like a placeholder that was left in{cuts}"
            self._warning("macro_placeholder", detail, leftover.start)
        return spelled

    # --- the result -----------------------------------------------------------------------------------

    def _check_result(self, ours: str) -> None:
        try:
            compile_template(ours, position=self.position, names=self.names)
        except MacroError as fault:
            column = fault.column + self.shift if ours == self.text else 0
            self.problems.append(problem_of(fault, column=column))
            return
        before, _, fragment = self.text.partition("#")
        if "{" in fragment and self.position is Position.URL and "#" in ours:
            detail = "what stands behind # is not sent to a server"
            self._warning("macro_not_url", detail, len(before), "write %23 if it belongs to a value")
        if not self.macros and self.position is Position.URL:
            self._warning("macro_missing", "no macro: every conversion would send the same URL", -1 - self.shift)

    def _did_you_mean(self, name: str) -> str:
        if len(self.problems) >= _SUGGESTIONS_MAX:
            return ""
        name = latin(name)
        if name in self.parameters:
            close = name
        elif self.parameters:
            known = self.dialect.sent | self.parameters
            close = name if name in known else did_you_mean(name, known)
        else:
            close = _closest(name, self.dialect.sent)
        return f"did you mean {self.dialect.write_name(close)}?" if close else ""

    def _add(self, found: tuple[Found, ...], start: int) -> None:
        for one in found:
            add = self._error if one.severity is Severity.ERROR else self._warning
            add(one.code, one.detail, start, one.hint)

    def _error(self, code: str, detail: str, start: int, hint: str = "") -> None:
        self.problems.append(error(code, detail, column=start + 1 + self.shift, hint=hint))

    def _warning(self, code: str, detail: str, start: int, hint: str = "") -> None:
        self.problems.append(warning(code, detail, column=start + 1 + self.shift, hint=hint))


@lru_cache(maxsize=4096)
def _closest(name: str, known: frozenset[str]) -> str:
    """A long list has the same slips again and again."""
    return name if name in known else did_you_mean(name, known)


def _escaped(text: str) -> str:
    """As a literal of our language."""
    return text.replace("{", "{{").replace("}", "}}")
