"""What is doubtful or wrong in one template, whoever's language it is written in.

Owns: the check behind `waypost macro check`: of what kind a text is, whose language it speaks, and what is said of it.
Reads and writes nothing. Never translates: see dialects.

Three kinds of text are told apart. A *postback* is a URL that we are to call. A *call* is a tracker's own URL that
somebody else is to call: its macros are theirs. A *piece* is what is appended to an offer's URL.
"""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from waypost.macros.dialects import DIALECTS
from waypost.macros.dialects.brackets import ENCODED, Token, find_tokens, masked
from waypost.macros.dialects.calls import is_call, network_of, translate_call
from waypost.macros.dialects.guess import OURS, Guess, guess
from waypost.macros.dialects.leftovers import find_bare, host_placeholder, is_placeholder
from waypost.macros.dialects.postbacks import translate_postback
from waypost.macros.dialects.slips import latin
from waypost.macros.dialects.translation import (
    Problem,
    Result,
    Translation,
    error,
    foremost,
    problem_of,
    result_of,
    warning,
)
from waypost.macros.dialects.urls import AUTHORITY, html_signs, unpartnered, why_no_url
from waypost.macros.encoding import Position
from waypost.macros.names import IN_OFFER_URL, IN_POSTBACK, NameSet
from waypost.macros.syntax import MacroError
from waypost.macros.template import TEMPLATE_BYTES_MAX, compile_template

_IDENTIFIER = re.compile(r"[A-Za-z_][\w.\-]*")
_LOST_BYTE = re.compile("[\ufffd\udc80-\udcff]")  # what a decoder leaves of a byte that is no UTF-8


class Kind(StrEnum):
    POSTBACK = "postback"
    CALL = "call"
    PIECE = "piece"


class Checked(NamedTuple):
    """What is said of one template; `translation.text` is the template in our language, where it has one."""

    kind: Kind
    dialect: str
    guess: Guess | None
    translation: Translation

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self.translation.problems

    @property
    def result(self) -> Result:
        return result_of(self.problems)

    @property
    def foremost(self) -> Problem | None:
        return foremost(self.problems)


def kind_of(text: str, position: Position = Position.URL) -> Kind:
    """What a text is, by how it begins and what stands in its host."""
    start = text.lstrip()
    if position is Position.URL and start[:1] in ("&", "?", "/") and not start.startswith("//"):
        return Kind.PIECE
    return Kind.CALL if position is Position.URL and is_call(text) else Kind.POSTBACK


def check(
    text: str,
    *,
    dialect: str = "",
    position: Position = Position.URL,
    click_parameters: Iterable[str] | Mapping[str, str] = (),
    prefer: str = "",
) -> Checked:
    """What is to be said of the text; the dialect is guessed where it is not told. Never raises for any text.

    `prefer` is the language that its neighbours speak.
    """
    lost = _LOST_BYTE.search(text)
    kind = kind_of(text, position)
    if lost:
        problem = error("macro_bytes", "a byte here is no UTF-8", column=lost.start() + 1)
        return Checked(kind, dialect, None, Translation(None, (problem,), draft=text))
    if not text.strip() or len(text) > TEMPLATE_BYTES_MAX:
        return Checked(kind, dialect or OURS, None, _ours(text, position, IN_POSTBACK))
    if kind is Kind.CALL:
        return Checked(kind, network_of(text), None, translate_call(text))
    names = IN_POSTBACK
    if kind is Kind.PIECE:
        names = IN_OFFER_URL
        position = Position.PATH if text.lstrip().startswith("/") else Position.QUERY
    guessed = None if dialect else guess(text, names=names, prefer=prefer)
    spoken = dialect or (guessed.dialect if guessed else OURS)
    if spoken == OURS:
        return Checked(kind, spoken, guessed, _ours(text, position, names))
    translation = translate_postback(
        DIALECTS[spoken], text, click_parameters=click_parameters, position=position, names=names
    )
    return Checked(kind, spoken, guessed, translation)


def check_template(text: str, *, position: Position, names: NameSet) -> tuple[Problem, ...]:
    """The problems of a template of our own language, errors first found first."""
    return _ours(text, position, names).problems


def _ours(text: str, position: Position, names: NameSet) -> Translation:
    """The compiler's error, if there is one, then a warning for each placeholder or foreign macro in its text."""
    given = text.strip() if position is Position.URL else text
    shift = len(text) - len(text.lstrip()) if position is Position.URL else 0
    if not given and position is Position.URL:
        return Translation(None, (error("macro_not_url", "there is no template"),))
    problems: list[Problem] = []
    if len(given) <= TEMPLATE_BYTES_MAX:
        if position is Position.URL and (why := why_no_url(given)):
            problems.append(error("macro_not_url", why.detail, column=why.start + 1, hint=why.hint))
        problems += _leftovers(given, position)
    if not any(problem.code in ("macro_not_url", "macro_unknown") for problem in problems):
        try:
            template = compile_template(given, position=position, names=names)
        except MacroError as fault:
            problems.append(problem_of(fault))
        else:
            if not template.names and position is Position.URL:
                problems.append(warning("macro_missing", "no macro: every conversion would send the same URL"))
    moved = tuple(problem._replace(column=problem.column + shift if problem.column else 0) for problem in problems)
    ordered = tuple(sorted(moved, key=lambda problem: problem.column))
    refused = result_of(ordered) is Result.ERROR
    return Translation(None if refused else given, ordered, draft=given)


def _leftovers(text: str, position: Position) -> list[Problem]:
    tokens = find_tokens(text)
    in_url = position in (Position.URL, Position.PATH, Position.QUERY, Position.QUERY_KEY, Position.FRAGMENT)
    problems = [_foreign(token) for token in tokens if token.form != "{x}" and (in_url or _looks_like_one(token))]
    problems += [_lookalike(token) for token in tokens if token.form == "{x}" and _is_lookalike(token.name)]
    rest = masked(text, tokens)
    authority = AUTHORITY.match(text) if position is Position.URL else None
    label = host_placeholder(authority[1]) if authority else ""
    if authority and label and label not in (token.text for token in tokens):
        detail = f"{label} is a placeholder in the host's name"
        problems.append(error("macro_placeholder", detail, column=authority.start(1) + authority[1].find(label) + 1))
    if in_url:
        problems += [
            warning("macro_encoded", sign.detail, column=sign.start + 1, hint=sign.hint) for sign in html_signs(rest)
        ]
    for bare in find_bare(rest):
        if authority and bare.start < authority.end():
            continue
        detail = f"{bare.text[:64]} looks like a placeholder that was left in"
        problems.append(warning("macro_placeholder", detail, column=bare.start + 1))
    if in_url:
        problems += [
            error("macro_syntax", f"a {sign} without its partner", column=start + 1)
            for start, sign in unpartnered(rest)
            if sign not in "{}"  # the compiler says it better
        ]
    return problems


def _is_lookalike(name: str) -> bool:
    return not name.isascii() and bool(_IDENTIFIER.fullmatch(latin(name))) and latin(name).isascii()


def _lookalike(token: Token) -> Problem:
    detail = f"{token.text[:64]} has letters that only look Latin"
    return error("macro_unknown", detail, column=token.start + 1, hint=f"did you mean {{{latin(token.name)}}}?")


def _looks_like_one(token: Token) -> bool:
    return bool(_IDENTIFIER.fullmatch(token.name))


def _foreign(token: Token) -> Problem:
    column = token.start + 1
    if token.form in ENCODED:
        detail = f"{token.text[:64]} is text, not a macro: its signs are percent-encoded"
        return warning("macro_encoded", detail, column=column, hint=f"write it as {ENCODED[token.form]}")
    if is_placeholder(token.name):
        detail = f"{token.text[:64]} looks like a placeholder that was left in"
        return warning("macro_placeholder", detail, column=column)
    if token.form == "{{x}}":
        detail = f"{token.text[:64]} is rendered as it stands, braces included"
        hint = "write single braces if it is meant to be a macro"
        return warning("macro_foreign", detail, column=column, hint=hint)
    detail = f"{token.text[:64]} is a macro of another system"
    return warning("macro_foreign", detail, column=column)
