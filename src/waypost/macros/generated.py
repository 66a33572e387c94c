"""A template as one Python function, for values as they mostly are.

Owns: the function's text. Reads and writes nothing. Never decides what a template means: where a value is missing under
a policy, is refused or too long, or anything else is out of the ordinary, the function hands over to `careful`, the
render piece by piece.

No character that a user wrote gets into the function's text. It is made of the words below and of names that are
numbered (`k0`, `k1`, …); literals, macros' names and filters are bound to those names as values (decision 0020), as
the defaults of its last parameters. Templates of one form so have one text, and share what it is compiled to.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from types import CodeType, FunctionType
from typing import Protocol

from waypost.errors import WaypostError
from waypost.macros.dropping import DROPPED
from waypost.macros.encoding import RAW
from waypost.macros.expression import Expression
from waypost.macros.filters import NOTHING, Context
from waypost.macros.pieces import Choice, Missing, Piece, Value, every_value

_REMEMBERED_MAX, _REMEMBERED_LENGTH_MAX = 16, 32  # of a macro's values, and of one's characters
_FORMS_MAX, _FORM_LENGTH_MAX = 256, 8192

# The words that a function's text may use, beside those of the language.
WORDS: dict[str, object] = {
    "__builtins__": {}, "KeyError": KeyError, "dropped": DROPPED, "len": len,
    "refusals": (WaypostError, UnicodeEncodeError),  # a lone surrogate cannot be looked at as bytes
}  # fmt: skip


class Render(Protocol):
    """Values, and what else a render may need, become a text."""

    def __call__(self, values: Mapping[str, str], context: Context = NOTHING) -> str: ...


def build_function(pieces: Sequence[Piece], careful: Render, *, output_bytes_max: int) -> Render:
    """A function that answers and raises what `careful` does."""
    source, bound = write_function(pieces, careful, output_bytes_max=output_bytes_max)
    return compiled(source, WORDS, bound.values())


def compiled(source: str, words: dict[str, object], bound: Iterable[object]) -> Callable[..., str]:
    """The function of a text, with the values of its last parameters."""
    code = _code(source) if len(source) <= _FORM_LENGTH_MAX else _compile(source)
    return FunctionType(code, words, None, tuple(bound))


def _compile(source: str) -> CodeType:
    module = compile(source, "<template>", "exec")
    return next(each for each in module.co_consts if isinstance(each, CodeType))


_code = lru_cache(maxsize=_FORMS_MAX)(_compile)


def write_function(pieces: Sequence[Piece], careful: Render, *, output_bytes_max: int) -> tuple[str, dict[str, object]]:
    """The function's text and what its names are bound to."""
    writer = Writer("careful(values, context)", {"context": NOTHING, "careful": careful})
    values = every_value(pieces)
    writer.write_values([value.source.name for value in values if is_short(value)])
    # Where anything may be no ASCII, a character is counted as the four bytes that it takes at most.
    is_ascii = all(value.encoder is not RAW for value in values) and all(map(str.isascii, every_literal(pieces)))
    unusual = [f"len(out) > {writer.bind(output_bytes_max if is_ascii else output_bytes_max // 4)}"]
    if any(value.missing is Missing.DROP and not is_short(value) for value in values):
        unusual.append("dropped in out")
    writer.write_text(pieces, unusual)
    return writer.function("render", "values"), writer.bound


def is_short(value: Value) -> bool:
    """Whether the macro's value can be written as it came, if it has none but harmless signs."""
    return value.is_plain and (bool(value.encoder.signs) or value.encoder is RAW)


def every_literal(pieces: Sequence[Piece]) -> list[str]:
    """The texts of the template's author, those of choices included."""
    found = []
    for piece in pieces:
        if isinstance(piece, str):
            found.append(piece)
        elif isinstance(piece, Choice):
            for _, inner in piece.branches:
                found += every_literal(inner)
    return found


class Writer:
    """Writes a function's text line by line. `careful` is the call it hands over to, `bound` what names stand for.

    What finds the values is written first: each into its `variable`, and all into `values` where some are computed.
    """

    def __init__(self, careful: str, bound: dict[str, object]) -> None:
        self.bound = bound
        self._careful = careful
        self._lines: list[str] = []
        self._variables: dict[str, str] = {}
        self._choices = 0

    def function(self, name: str, parameters: str) -> str:
        """The whole text, once all is written."""
        return "\n".join((f"def {name}({parameters}, {', '.join(self.bound)}):", *self._lines)) + "\n"

    def write(self, depth: int, line: str) -> None:
        self._lines.append("    " * depth + line)

    def hand_over(self, depth: int, condition: str) -> None:
        """To the careful way, under this condition."""
        self.write(depth, condition)
        self.write(depth + 1, f"return {self._careful}")

    def bind(self, value: object) -> str:
        name = f"k{len(self.bound)}"
        self.bound[name] = value
        return name

    def variable(self, name: str) -> str:
        """What holds the macro's value."""
        return self._variables.setdefault(name, f"a{len(self._variables)}")

    def write_values(self, names: list[str]) -> None:
        """One variable for each name. Most mappings have all of them; where one is missing, each is looked up."""
        if not names:
            return
        keys = {self.variable(name): self.bind(name) for name in dict.fromkeys(names)}
        self.write(1, "try:")
        for variable, key in keys.items():
            self.write(2, f"{variable} = values[{key}]")
        self.write(1, "except KeyError:")
        self.write(2, "get = values.get")
        for variable, key in keys.items():
            self.write(2, f"{variable} = get({key}, '')")

    def write_text(self, pieces: Sequence[Piece], unusual: Iterable[str]) -> None:
        """Writes the values into the text, encoded where one has a sign that may not stay. Hands over where a value is
        missing or refused, or the text is `unusual`."""
        self.write(1, "try:")
        self._write_checks([value for value in every_value(pieces) if is_short(value)])
        self.write(2, f"out = {self.text(pieces, 2)}")
        self.hand_over(1, "except refusals:")  # which error comes first is for the careful way
        self.hand_over(1, f"if {' or '.join(unusual)}:")
        self.write(1, "return out")

    def _write_checks(self, values: list[Value]) -> None:
        unusual = []
        for value in values:
            variable = self.variable(value.source.name)
            if value.encoder.refused:
                unusual.append(f"{variable} in {self.bind(value.encoder.refused)}")
            if value.missing is not Missing.EMPTY:
                unusual.append(f"not {variable}")
        if unusual:
            self.hand_over(2, f"if {' or '.join(dict.fromkeys(unusual))}:")
        # In one position, places that leave the same signs also write the others alike.
        encoders = {value.encoder.signs: value.encoder for value in values if value.encoder.signs}
        for signs, encoder in encoders.items():
            assert len(encoders) == 1, "a template stands in one position"
            variables = dict.fromkeys(self.variable(v.source.name) for v in values if v.encoder.signs == signs)
            joined = f"f'{''.join(f'{{{variable}}}' for variable in variables)}'"
            # The signs that stay become letters, all else does not: one question then answers for all of them.
            letters = self.bind(_letters(signs))
            self.write(2, f"if not {joined}.encode().translate({letters}).isalpha():")
            encode = self.bind(encoder.encode)
            for variable in variables:
                self.write(3, f"{variable} = {encode}({variable})")

    def text(self, pieces: Sequence[Piece], depth: int) -> str:
        """An f-string of the pieces; what must be done before it is written first."""
        parts = []
        for piece in pieces:
            if isinstance(piece, str):
                parts.append(self.bind(piece))
            elif isinstance(piece, Choice):
                parts.append(self._choice(piece, depth))
            elif is_short(piece):
                parts.append(self.variable(piece.source.name))
            else:
                parts.append(f"{self.bind(_remembering(piece))}(values, context)")
        return f"f'{''.join(f'{{{part}}}' for part in parts)}'"

    def _choice(self, choice: Choice, depth: int) -> str:
        self._choices += 1
        text, branches = f"t{self._choices}", choice.branches
        chosen = f"c{self._choices}"
        self.write(depth, f"{text} = ''")
        self.write(depth, f"{chosen} = {self.bind(_chooser([condition for condition, _ in branches]))}(values)")
        for nth, (_, inner) in enumerate(branches):
            self.write(depth, f"if {chosen} == {nth}:")
            written = self.text(inner, depth + 1)
            self.write(depth + 1, f"{text} = {written}")
        return text


@cache
def _letters(signs: bytes) -> bytes:
    return bytes(0x61 if byte in signs else 0 for byte in range(256))


def _remembering(value: Value) -> Callable[[Mapping[str, str], Context], str]:
    """As `value.text`, which it remembers for the first few values: what filters make something of are mostly words
    of a short list, such as statuses."""
    if value.source.secret or any(step.resolve is not None for step in value.steps):
        return value.text  # it is made of more than the macro's value
    name = value.source.name
    known: dict[str, str] = {}

    def text(values: Mapping[str, str], context: Context) -> str:
        given = values.get(name, "")
        found = known.get(given)
        if found is None:
            found = value.text(values, context)
            if len(known) < _REMEMBERED_MAX and len(given) <= _REMEMBERED_LENGTH_MAX:
                known[given] = found
        return found

    return text


def _chooser(conditions: list[Expression | None]) -> Callable[[Mapping[str, str]], int]:
    def choose(values: Mapping[str, str]) -> int:
        for nth, condition in enumerate(conditions):
            if condition is None or condition.holds(values):
                return nth
        return -1

    return choose
