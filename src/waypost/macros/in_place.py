"""A URL template as one Python function of a click: it takes the values from where they are, and puts them in place.

Owns: how such a function finds values. Reads and writes nothing. Never decides what an address means: where a name of
the query is encoded, a value is refused, or anything else is out of the ordinary, the function hands over to `careful`.

Of its text holds what generated.py says: no character that a user wrote gets into it.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote_plus

from waypost.errors import WaypostError
from waypost.macros.filters import NOTHING
from waypost.macros.generated import WORDS, Writer, compiled, every_literal, is_short
from waypost.macros.pieces import Choice, Piece, Value, every_value
from waypost.model.facts import GEO_FACTS, AnyFacts

CLICK_ID = "click_id"

Address: TypeAlias = Callable[[str, bytes, AnyFacts], str]
"""A click's id, its query and its visitor's facts become an address."""

# What an address may consist of, printable ASCII without the space, as letters: one question then answers for all.
_ADDRESS_CHARS = bytes(0x61 if 33 <= byte < 127 else 0 for byte in range(256))


def is_address(text: str) -> bool:
    """Whether a text has signs that an address may have, and no other."""
    return text.encode("utf-8", "surrogatepass").translate(_ADDRESS_CHARS).isalpha()


_WORDS = WORDS | {
    "context": NOTHING, "decoded": unquote_plus, "is_address": is_address,
    "unusual": (UnicodeDecodeError, AttributeError),  # facts in another form, such as those of a click that was stored
    "has_encoded_name": re.compile(r"&[^=&]*[%+]").search,
}  # fmt: skip


class Origins(NamedTuple):
    """Where the values of a template's macros are: macro → name in the query, macro → text, the visitor's facts.

    No name of a macro, nor what is made of it, has a sign that parts a query (scanner.py).
    """

    parameters: Mapping[str, str]
    fixed: Mapping[str, str]
    facts: Collection[str]


def build_in_place(
    pieces: Sequence[Piece], names: Sequence[str], origins: Origins, careful: Address, *, output_bytes_max: int
) -> Address:
    """A function that answers and raises what `careful` does; `careful` itself where there is no shorter way."""
    try:
        settled = _settled(pieces, origins.fixed)
    except WaypostError:
        return careful
    if not all(is_address(literal) for literal in every_literal(settled) if literal):
        return careful
    source, bound = write_in_place(settled, names, origins, careful, output_bytes_max=output_bytes_max)
    return compiled(source, _WORDS, bound.values())


def write_in_place(
    pieces: Sequence[Piece], names: Sequence[str], origins: Origins, careful: Address, *, output_bytes_max: int
) -> tuple[str, dict[str, object]]:
    """The function's text and what its names are bound to."""
    writer = Writer("careful(click_id, query, facts)", {"careful": careful})
    values = every_value(pieces)
    unusual = [f"len(out) > {writer.bind(output_bytes_max)}"]
    if all(is_short(value) for value in values) and not any(isinstance(piece, Choice) for piece in pieces):
        names = list(dict.fromkeys(value.source.name for value in values))
    else:
        unusual.append("not is_address(out)")
    _write_finding(writer, names, origins)
    if len(unusual) > 1:
        pairs = ", ".join(f"{writer.bind(name)}: {writer.variable(name)}" for name in names)
        writer.write(1, f"values = {{{pairs}}}")
    writer.write_text(pieces, unusual)
    return writer.function("address", "click_id, query, facts"), writer.bound


def _settled(pieces: Sequence[Piece], fixed: Mapping[str, str]) -> list[Piece]:
    """The pieces, with values that are always the same written out. Raises WaypostError where one is always refused."""
    found: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, Choice):
            piece = Choice(tuple((condition, tuple(_settled(inner, fixed))) for condition, inner in piece.branches))
        elif isinstance(piece, Value) and piece.is_plain and piece.source.name in fixed:
            piece = piece.text(fixed, NOTHING)
        if isinstance(piece, str) and found and isinstance(found[-1], str):
            found[-1] += piece
        else:
            found.append(piece)
    return found


def _write_finding(writer: Writer, names: Sequence[str], origins: Origins) -> None:
    """One variable for each name. Of a query the first pair of a name counts, and one without `=` has no value."""
    parameters = {name: origins.parameters[name] for name in names if name in origins.parameters}
    facts = [name for name in names if name in origins.facts]
    if parameters or facts:
        writer.write(1, "try:")
        if parameters:
            writer.write(2, "text = f'&{query.decode()}'")
        for name in facts:
            part = "place" if name in GEO_FACTS else "browser"
            writer.write(2, f"{writer.variable(name)} = facts.{part}.values[{writer.bind(name)}] or ''")
        writer.hand_over(1, "except unusual:")
    if parameters:
        is_bare = " or ".join(f"{writer.bind(f'&{name}&')} in text" for name in dict.fromkeys(parameters.values()))
        writer.hand_over(1, f"if {is_bare}:")
    for name in names:
        if name == CLICK_ID:
            writer.write(1, f"{writer.variable(name)} = click_id")
        elif name in parameters:
            before = writer.bind(f"&{parameters[name]}=")
            writer.write(1, f"{writer.variable(name)} = text.partition({before})[2].partition('&')[0]")
        elif name not in facts:
            writer.write(1, f"{writer.variable(name)} = {writer.bind(origins.fixed[name])}")
    if parameters:
        writer.write(1, "if '%' in text or '+' in text:")
        writer.hand_over(2, "if has_encoded_name(text):")
        for name in parameters:
            writer.write(2, f"{writer.variable(name)} = decoded({writer.variable(name)})")
