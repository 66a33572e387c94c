"""Texts drawn from a grammar that is written in EBNF, as the one in docs/macros.md.

Owns: reading the EBNF and drawing from it. The special sequences (`? … ?`) are drawn by what the caller gives for them.
"""

import random
import re
from collections.abc import Callable

_TOKEN = re.compile(r"""(?x) \(\*.*?\*\) | \?\s*(?P<special>.*?)\s*\?(?=\s*[;|}\]]|\s+") | "(?P<text>[^"]*)"
                        | (?P<word>[a-z]+) | (?P<sign>[=;|()\[\]{}])""")  # fmt: skip
_Draw = Callable[["Drawing"], str]


class Drawing:
    """One text on its way; `depth` counts the rules within one another, so that it comes to an end."""

    def __init__(self, seed: int, specials: dict[str, Callable[[random.Random], str]]) -> None:
        self.random = random.Random(seed)
        self.specials = specials
        self.depth = 0


class Grammar:
    """The rules of an EBNF text."""

    def __init__(self, text: str, *, spaced: frozenset[str]) -> None:
        """`spaced` names the rules between whose parts white space is written."""
        self._tokens = [found.groupdict() for found in _TOKEN.finditer(text) if any(found.groupdict().values())]
        self._spaced = spaced
        self._at = 0
        self.rules: dict[str, _Draw] = {}
        while self._at < len(self._tokens):
            name = self._next()["word"]
            assert self._next()["sign"] == "=", name
            self.rules[name] = self._choice(" " if name in spaced else "")
            assert self._next()["sign"] == ";", name

    def draw(self, rule: str, drawing: Drawing) -> str:
        drawing.depth += 1
        text = self.rules[rule](drawing)
        drawing.depth -= 1
        return text

    def _next(self) -> dict[str, str]:
        self._at += 1
        return self._tokens[self._at - 1]

    def _is_next(self, signs: str) -> bool:
        sign = self._tokens[self._at]["sign"]
        return sign is not None and sign in signs

    def _choice(self, space: str) -> _Draw:
        choices = [self._sequence(space)]
        while self._is_next("|"):
            self._at += 1
            choices.append(self._sequence(space))
        return lambda drawing: drawing.random.choice(choices)(drawing)

    def _sequence(self, space: str) -> _Draw:
        parts = []
        while not self._is_next("|;)]}"):
            parts.append(self._part(space))
        return lambda drawing: space.join(text for part in parts if (text := part(drawing)))

    def _part(self, space: str) -> _Draw:
        token = self._next()
        if token["sign"]:
            inner = self._choice(space)
            closing = self._next()["sign"]
            assert token["sign"] + closing in ("()", "[]", "{}")
            if closing == ")":
                return inner
            most = 1 if closing == "]" else 3

            def repeated(drawing: Drawing) -> str:
                count = drawing.random.randint(0, most if drawing.depth < 9 else 0)
                return space.join(text for _ in range(count) if (text := inner(drawing)))

            return repeated
        if token["text"] is not None:
            text = token["text"]
            return lambda drawing: text
        if token["special"]:
            special = token["special"]
            return lambda drawing: drawing.specials[special](drawing.random)
        word = token["word"]
        return lambda drawing: self.draw(word, drawing)
