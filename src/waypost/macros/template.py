"""Templates: compiled once, rendered often.

Owns: compile_template and Template, and the bounds on both. Reads and writes nothing; no text of a user is ever
run as code. Never decides what a macro's value is: the caller brings a mapping of names to texts, in which a missing
name counts as an empty text.
"""

from collections.abc import Mapping

from waypost.errors import WaypostError
from waypost.macros.encoding import Encode, Position, Walk
from waypost.macros.filters import Apply, build_filter
from waypost.macros.names import ANYWHERE, NameSet
from waypost.macros.syntax import Literal, Macro, MacroError, ValueRefusedError, parse

__all__ = ["Position", "Template", "compile_applied", "compile_template"]

TEMPLATE_BYTES_MAX = 8192
TEMPLATE_DEPTH_MAX = 16
OUTPUT_BYTES_MAX = 65536
APPLIED_BYTES_MAX = 1 << 20  # for what a catalog holds: it was measured by the settings when it was applied
APPLIED_DEPTH_MAX = 1 << 10

# One macro: its name, its filters (with whether each takes an empty value), its encoder, the literal behind it.
_Piece = tuple[str, tuple[tuple[Apply, bool], ...], Encode, str]


class Template:
    """A compiled template. `names` are its macros, each once, in the order of their first use."""

    __slots__ = ("_head", "_output_bytes_max", "_pieces", "names", "place", "position", "text")

    def __init__(
        self, text: str, position: Position, place: str, head: str, pieces: tuple[_Piece, ...], output_bytes_max: int
    ) -> None:
        self.text = text
        self.position = position
        self.place = place
        self.names = tuple(dict.fromkeys(piece[0] for piece in pieces))
        self._head = head
        self._pieces = pieces
        self._output_bytes_max = output_bytes_max

    def render(self, values: Mapping[str, str]) -> str:
        """The text with each macro's value, filtered and encoded for where it stands.

        Raises WaypostError `macro_value` where a filter or position cannot take a value, `macro_too_large` where a
        value on its way or the whole output is over `output_bytes_max`.
        """
        get = values.get
        limit = self._output_bytes_max
        out = [self._head]
        append = out.append
        try:
            for name, filters, encode, literal in self._pieces:
                value = get(name, "")
                if len(value) > limit:
                    self._too_large(name)
                for apply, takes_empty in filters:
                    if value or takes_empty:
                        value = apply(value)
                        if len(value) > limit:
                            self._too_large(name)
                append(encode(value))
                append(literal)
        except ValueRefusedError as error:
            raise WaypostError("macro_value", f"{{{name}}}: {error}", place=self.place) from error
        rendered = "".join(out)
        if len(rendered) * 4 > limit and len(rendered.encode("utf-8", "surrogatepass")) > limit:
            self._too_large("")
        return rendered

    def _too_large(self, name: str) -> None:
        what = f"{{{name}}}" if name else "the rendered text"
        raise WaypostError("macro_too_large", f"{what} is over {self._output_bytes_max} bytes", place=self.place)

    def __repr__(self) -> str:
        return f"Template({self.text!r}, {self.position.value})"


def compile_applied(text: str, *, position: Position, place: str = "") -> Template:
    """Compile a template of a catalog that is in force, which was checked when it was applied."""
    return compile_template(
        text,
        position=position,
        place=place,
        template_bytes_max=APPLIED_BYTES_MAX,
        template_depth_max=APPLIED_DEPTH_MAX,
    )


def compile_template(
    text: str,
    *,
    position: Position,
    place: str = "",
    names: NameSet | None = ANYWHERE,
    template_bytes_max: int = TEMPLATE_BYTES_MAX,
    template_depth_max: int = TEMPLATE_DEPTH_MAX,
    output_bytes_max: int = OUTPUT_BYTES_MAX,
) -> Template:
    """Compile a template for a position; `names` are the macros that may stand in it (None: any).

    Depth counts a macro and each filter it passes through. Raises MacroError (a WaypostError with `column`):
    `macro_syntax`, `macro_unknown`, `macro_unknown_filter`, `macro_bad_argument`, `macro_in_host`, `macro_not_url`,
    `macro_too_large`.
    """
    if len(text) > template_bytes_max or len(text.encode("utf-8", "surrogatepass")) > template_bytes_max:
        raise MacroError("macro_too_large", f"the template is over {template_bytes_max} bytes", place=place)
    walk = Walk(position, place=place)
    head: list[str] = []
    pieces: list[_Piece] = []
    for node in parse(text, place=place):
        if isinstance(node, Literal):
            literal = walk.literal(node.text, node.column)
            if pieces:
                pieces[-1] = (*pieces[-1][:3], literal)
            else:
                head.append(literal)
        else:
            _check(node, names, template_depth_max, place)
            encode = walk.encoder(node.name, node.column)
            filters = tuple(build_filter(call, place=place) for call in node.calls)
            pieces.append((node.name, filters, encode, ""))
    walk.end()
    return Template(text, position, place, "".join(head), tuple(pieces), output_bytes_max)


def _check(macro: Macro, names: NameSet | None, depth_max: int, place: str) -> None:
    if names is not None and macro.name not in names:
        detail = f"{{{macro.name[:64]}}} is no macro of {names.title}"
        raise MacroError("macro_unknown", detail, column=macro.column, place=place, hint=names.hint(macro.name))
    if 1 + len(macro.calls) > depth_max:
        detail = f"{{{macro.name[:64]}}} passes through more than {depth_max - 1} filters"
        raise MacroError("macro_too_large", detail, column=macro.column, place=place)
