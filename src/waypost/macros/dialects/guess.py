"""Whose language a template is written in: a guess, with how sure it is and why.

Owns: the weights. Reads and writes nothing. Never translates.

Each dialect is asked which of the template's macros it knows. A macro that it knows speaks for it, one that it does not
know speaks against it (less so where any name may be a parameter of the click), one in signs that it does not have
speaks against it most. Our own language comes first among equals, then the order of DIALECTS.
"""

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from functools import cache, lru_cache
from typing import NamedTuple

from waypost.macros.dialects import DIALECTS, NAMED
from waypost.macros.dialects.brackets import Token, find_tokens
from waypost.macros.dialects.generic import plain_name
from waypost.macros.dialects.leftovers import instructs, is_placeholder
from waypost.macros.dialects.slips import latin, one_slip
from waypost.macros.encoding import Position
from waypost.macros.names import IN_POSTBACK, MACROS, NameSet
from waypost.macros.syntax import KEYWORDS, MacroError
from waypost.macros.template import compile_template

OURS = "waypost"
_KNOWN, _NEARLY, _UNKNOWN, _UNKNOWN_FREE, _FOREIGN, _GENERIC = 1.0, 0.5, -1.0, -0.3, -0.7, -0.2
_NEIGHBOURS = 1.5
_NEARLY_LENGTH = 5  # shorter names are nearly everything
_TOKENS_MAX = 40  # what the first macros do not say, the rest will not


class Confidence(StrEnum):
    """`sure`: only this dialect knows all macros; `likely`: it fits best; `unsure`: others fit as well."""

    SURE = "sure"
    LIKELY = "likely"
    UNSURE = "unsure"


class Guess(NamedTuple):
    """`dialect` is a key of DIALECTS, or OURS; `also` fit as well."""

    dialect: str
    confidence: Confidence
    why: str
    also: tuple[str, ...] = ()


class _Fit(NamedTuple):
    dialect: str
    score: float
    known: tuple[str, ...]
    all: bool


def guess(text: str, *, names: NameSet = IN_POSTBACK, prefer: str = "") -> Guess:
    """Whose language the text speaks; ours where it has no macros at all.

    `prefer` is the language of the text's neighbours: it takes more than one strange name to leave it.
    """
    tokens = find_tokens(text)[:_TOKENS_MAX]
    blanks = [token for token in tokens if _blank(token)]
    tokens = [token for token in tokens if not _blank(token)]
    if not tokens and not blanks:
        return Guess(prefer or OURS, Confidence.UNSURE, "there are no macros in it", tuple(DIALECTS))
    forms = {token.form for token in tokens}
    fits = [_ours(text, tokens, names), *(_fit(name, tokens, forms) for name in DIALECTS if name != "{x}")]
    if any(token.form == "{x}" for token in blanks):  # a name in single braces that our language does not have
        fits[0] = fits[0]._replace(score=fits[0].score + _UNKNOWN, all=False)
    fits = [fit._replace(score=fit.score + _NEIGHBOURS) if fit.dialect == prefer else fit for fit in fits]
    best = max(fits, key=lambda fit: fit.score)
    if best.dialect == prefer:
        why = (
            f"it has {_list(best.known)}, and the list's others are {prefer}" if best.known else "the list's others are"
        )
        return Guess(prefer, Confidence.LIKELY if best.known else Confidence.UNSURE, why)
    if not best.known:
        why = f"nobody is known to have {_list(token.text for token in tokens or blanks)}"
        return Guess(best.dialect, Confidence.UNSURE, why, ())
    equals = tuple(fit.dialect for fit in fits if fit.score == best.score and fit is not best)
    if equals:
        why = f"{_list(best.known)} could be {', '.join(equals[:4])} as well"
        return Guess(best.dialect, Confidence.UNSURE, why, equals)
    if best.all and sum(fit.all for fit in fits) == 1:
        return Guess(best.dialect, Confidence.SURE, f"only {best.dialect} has all of {_list(best.known)}")
    return Guess(best.dialect, Confidence.LIKELY, f"{best.dialect} has {_list(best.known)}")


def common_language(guesses: Iterable[Guess]) -> str:
    """The named system that most of the surer guesses say; an empty text where there is none."""
    counted = Counter(
        one.dialect for one in guesses if one.confidence is not Confidence.UNSURE and one.dialect in NAMED
    )
    return counted.most_common(1)[0][0] if counted else ""


def _blank(token: Token) -> bool:
    return instructs(token.name) or (token.form not in ("{x}",) and is_placeholder(token.name))


def _ours(text: str, tokens: list[Token], names: NameSet) -> _Fit:
    whole = _compiles(text, names)
    score, known = 0.0, []
    for token in tokens:
        if token.form != "{x}":  # in `${x}` our language would see a macro
            score += _UNKNOWN if "{" in token.text and token.form != "{{x}}" else _FOREIGN
        elif whole or _is_ours(token.name, names):
            score += _KNOWN
            known.append(token.text)
        else:
            score += _NEARLY if _near(OURS, token.name) else _UNKNOWN
    return _Fit(OURS, score, tuple(known), len(known) == len(tokens))


def _compiles(text: str, names: NameSet) -> bool:
    try:
        compile_template(text, position=Position.RAW, names=names)
    except MacroError:
        return False
    return True


def _is_ours(inside: str, names: NameSet) -> bool:
    """Whether a piece of a template that does not compile as a whole is one of ours."""
    head = inside.lstrip("?").partition("|")[0].strip(" !?")
    return head in names or head.partition(" ")[0] in KEYWORDS


def _fit(name: str, tokens: list[Token], forms: set[str]) -> _Fit:
    dialect = DIALECTS[name]
    if forms.isdisjoint(dialect.forms):
        return _Fit(name, _FOREIGN * len(tokens), (), False)
    score, known = _GENERIC if name not in NAMED else 0.0, []
    for token in tokens:
        if token.form not in dialect.forms:
            score += _FOREIGN
        elif dialect.knows(token):
            score += _KNOWN
            known.append(token.text)
        elif name in NAMED and _near(name, token.name):
            score += _NEARLY
        else:
            score += _UNKNOWN_FREE if dialect.free else _UNKNOWN
    return _Fit(name, score, tuple(known), len(known) == len(tokens))


@lru_cache(maxsize=4096)
def _near(dialect: str, name: str) -> bool:
    """Whether a name is a slip for one of the dialect's; asked for again and again in a long list.

    A name that differs in case and signs only (`clickid`) is rather somebody else's.
    """
    if len(name) < _NEARLY_LENGTH:
        return False
    meant = plain_name(latin(name))
    by_length = _plain_names(dialect)
    lengths = (len(meant) - 1, len(meant), len(meant) + 1)
    if meant in by_length.get(len(meant), ()):
        return False
    return any(one_slip(meant, theirs) for length in lengths for theirs in by_length.get(length, ()))


@cache
def _plain_names(dialect: str) -> dict[int, frozenset[str]]:
    """A language's names without case and signs, by their length."""
    names = {plain_name(name) for name in (MACROS if dialect == OURS else DIALECTS[dialect].rows)}
    return {length: frozenset(name for name in names if len(name) == length) for length in set(map(len, names))}


def _list(texts: object) -> str:
    shown = list(dict.fromkeys(texts))  # type: ignore[call-overload]
    return ", ".join(text[:40] for text in shown[:4]) + (" …" if len(shown) > 4 else "")
