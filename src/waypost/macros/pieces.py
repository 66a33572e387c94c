"""What a template consists of once it is compiled: texts, values and choices; and what each of them renders.

Owns: the meaning of a render, piece by piece. Reads and writes nothing. Never takes a short cut: see generated.py,
which may, and must come to the same.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, NoReturn

from waypost.errors import WaypostError
from waypost.macros.dropping import DROPPED
from waypost.macros.encoding import Encoder
from waypost.macros.expression import Expression
from waypost.macros.filters import Context, Step, value_of
from waypost.macros.scanner import Source, ValueRefusedError

REDACTED = "***"


class Missing(StrEnum):
    """What is rendered where a macro has no value: nothing, nor the parameter it stands in, or no text at all."""

    EMPTY = "empty"
    DROP = "drop"
    REFUSE = "refuse"


class Value:
    """A macro with its filters, its policy and its place."""

    __slots__ = ("encoder", "is_secret", "length_max", "missing", "place", "source", "steps")

    def __init__(
        self, source: Source, steps: tuple[Step, ...], encoder: Encoder, missing: Missing, length_max: int, place: str
    ) -> None:
        self.source = source
        self.steps = steps
        self.encoder = encoder
        self.missing = missing
        self.length_max = length_max
        self.place = place
        self.is_secret = any(each.secret for each in self.sources)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where the value, and what its filters take, come from."""
        return (self.source, *(source for step in self.steps for source in step.sources))

    @property
    def is_plain(self) -> bool:
        """Whether the macro's value is written as it came, but for its encoding."""
        return not self.steps and not self.source.secret

    def text(self, values: Mapping[str, str], context: Context) -> str:
        """The value, filtered and encoded. Raises WaypostError `macro_value` and the like; never shows a secret."""
        try:
            value = self._filtered(values, context)
            if value in self.encoder.refused:
                raise ValueRefusedError(f"{value!r} in a path would lead to another path")
            if value or self.missing is Missing.EMPTY:
                return self.encoder.encode(value)
        except ValueRefusedError as error:
            why = "a filter or its place cannot take this value" if self.is_secret else str(error)
            raise WaypostError(error.code, f"{{{self.source.name}}}: {why}", place=self.place) from None
        if self.missing is Missing.DROP:
            return DROPPED
        raise WaypostError("macro_no_value", f"{{{self.source.name}}} has no value", place=self.place)

    def _filtered(self, values: Mapping[str, str], context: Context) -> str:
        value = value_of(self.source, values, context)
        if len(value) > self.length_max:
            self._too_large()
        for step in self.steps:
            if value or step.takes_empty:
                apply = step.apply if step.resolve is None else step.resolve(values, context)
                value = apply(value)
                if len(value) > self.length_max:
                    self._too_large()
        return value

    def _too_large(self) -> NoReturn:
        detail = f"{{{self.source.name}}} is over {self.length_max} bytes"
        raise WaypostError("macro_too_large", detail, place=self.place)


class Choice(NamedTuple):
    """Pieces under conditions: those of the first that holds are rendered; None always holds."""

    branches: tuple[tuple[Expression | None, tuple["Piece", ...]], ...]


Piece = str | Value | Choice


def render_pieces(
    pieces: Sequence[Piece], values: Mapping[str, str], context: Context, out: list[str], *, redact: bool = False
) -> None:
    """Appends what the pieces render; with `redact`, a value that a secret has a part in is rendered as `***`."""
    for piece in pieces:
        if isinstance(piece, str):
            out.append(piece)
        elif isinstance(piece, Value):
            out.append(REDACTED if redact and piece.is_secret else piece.text(values, context))
        else:
            for condition, inner in piece.branches:
                if condition is None or condition.holds(values):
                    render_pieces(inner, values, context, out, redact=redact)
                    break


def every_value(pieces: Sequence[Piece]) -> list[Value]:
    """The values, those of choices included, in the order of the text."""
    found = []
    for piece in pieces:
        if isinstance(piece, Value):
            found.append(piece)
        elif isinstance(piece, Choice):
            for _, inner in piece.branches:
                found += every_value(inner)
    return found
