"""Templates: compiled once, rendered often.

Owns: compile_template and Template, and the bounds on both. Reads and writes nothing; no text of a user is ever
run as code. Never decides what a macro's value is: the caller brings a mapping of names to texts, in which a missing
name counts as an empty text.
"""

from collections.abc import Mapping
from typing import NamedTuple, NoReturn

from waypost.errors import WaypostError
from waypost.macros.dropping import DROPPED, drop_parameters
from waypost.macros.encoding import Position
from waypost.macros.expression import Condition, Expression, check_condition, names_of
from waypost.macros.filters import NOTHING, Context, Step, build_filter
from waypost.macros.generated import Render, build_function
from waypost.macros.in_place import Address, Origins, build_in_place
from waypost.macros.names import ANYWHERE, CURRENCY_OF, NameSet
from waypost.macros.pieces import Choice, Missing, Piece, Value, every_value, render_pieces
from waypost.macros.scanner import Argument, Call, Source
from waypost.macros.syntax import Block, Literal, Macro, MacroError, Node, parse
from waypost.macros.walk import Walk

__all__ = ["NOTHING", "Context", "Missing", "Position", "Template", "compile_applied", "compile_template"]

TEMPLATE_BYTES_MAX = 8192
TEMPLATE_DEPTH_MAX = 16
OUTPUT_BYTES_MAX = 65536
APPLIED_BYTES_MAX = 1 << 20  # for what a catalog holds: it was measured by the settings when it was applied
APPLIED_DEPTH_MAX = 1 << 10


class Template:
    """A compiled template. `names` are its macros, each once, in the order of their first use, and those that its
    conditions and filters ask for; `secrets` the references of its secrets.

    `render(values, context=NOTHING)` answers the text with each macro's value, filtered and encoded for where it
    stands. It raises WaypostError: `macro_value` where a filter or position cannot take a value, `macro_no_value`
    where a policy refuses a missing one, `macro_no_rate` where an amount cannot be converted, `macro_too_large` where
    a value on its way or the whole output is over `output_bytes_max`, and what `context.secrets` raises.
    """

    __slots__ = (
        "_built",
        "_can_drop",
        "_output_bytes_max",
        "names",
        "pieces",
        "place",
        "position",
        "render",
        "secrets",
        "text",
    )

    render: Render

    def __init__(
        self, text: str, position: Position, place: str, names: tuple[str, ...], pieces: tuple[Piece, ...],
        output_bytes_max: int,
    ) -> None:  # fmt: skip
        self.text = text
        self.position = position
        self.place = place
        self.names = names
        self.secrets = tuple(
            dict.fromkeys(source.secret for value in every_value(pieces) for source in value.sources if source.secret)
        )
        self.pieces = pieces
        self._can_drop = any(value.missing is Missing.DROP for value in every_value(pieces))
        self._output_bytes_max = output_bytes_max
        self._built: Render | None = None
        self.render = self._first

    def render_redacted(self, values: Mapping[str, str], context: Context = NOTHING) -> str:
        """As `render`, with `***` for each value that a secret has a part in: what may be logged and kept."""
        return self._rendered(values, context, redact=True)

    def render_carefully(self, values: Mapping[str, str], context: Context = NOTHING) -> str:
        """As `render`, piece by piece: it says what `render` means."""
        return self._rendered(values, context, redact=False)

    def in_place(self, origins: Origins, careful: Address) -> Address:
        """For a URL: the function of a click that answers and raises what `careful` does, and mostly without it."""
        if len(self.text) > TEMPLATE_BYTES_MAX:
            return careful
        return build_in_place(self.pieces, self.names, origins, careful, output_bytes_max=self._output_bytes_max)

    def _first(self, values: Mapping[str, str], context: Context = NOTHING) -> str:
        # The function is made when it is first needed: a catalog is checked without rendering.
        if self._built is None:
            self._built = self.render_carefully
            if len(self.text) <= TEMPLATE_BYTES_MAX:  # the function of a longer one would take long to make
                self._built = build_function(
                    self.pieces, self.render_carefully, output_bytes_max=self._output_bytes_max
                )
            self.render = self._built
        return self._built(values, context)

    def _rendered(self, values: Mapping[str, str], context: Context, *, redact: bool) -> str:
        out: list[str] = []
        render_pieces(self.pieces, values, context, out, redact=redact)
        rendered = "".join(out)
        if self._can_drop and DROPPED in out:
            rendered = drop_parameters(rendered, self.position)
        limit = self._output_bytes_max
        if len(rendered) * 4 > limit and len(rendered.encode("utf-8", "surrogatepass")) > limit:
            raise WaypostError("macro_too_large", f"the rendered text is over {limit} bytes", place=self.place)
        return rendered

    def __repr__(self) -> str:
        return f"Template({self.text!r}, {self.position.value})"


def compile_applied(text: str, *, position: Position, place: str = "", missing: Missing = Missing.EMPTY) -> Template:
    """Compile a template of a catalog that is in force, which was checked when it was applied."""
    return compile_template(
        text,
        position=position,
        place=place,
        missing=missing,
        template_bytes_max=APPLIED_BYTES_MAX,
        template_depth_max=APPLIED_DEPTH_MAX,
    )


def compile_template(
    text: str,
    *,
    position: Position,
    place: str = "",
    names: NameSet | None = ANYWHERE,
    missing: Missing = Missing.EMPTY,
    template_bytes_max: int = TEMPLATE_BYTES_MAX,
    template_depth_max: int = TEMPLATE_DEPTH_MAX,
    output_bytes_max: int = OUTPUT_BYTES_MAX,
) -> Template:
    """Compile a template for a position; `names` are the macros that may stand in it (None: any).

    `missing` is the policy for macros without one of their own. Depth counts a macro and each filter it passes
    through. Raises MacroError (a WaypostError with `column`): `macro_syntax`, `macro_unknown`, `macro_unknown_filter`,
    `macro_bad_argument`, `macro_in_host`, `macro_not_url`, `macro_too_large`.
    """
    if len(text) > template_bytes_max or len(text.encode("utf-8", "surrogatepass")) > template_bytes_max:
        raise MacroError("macro_too_large", f"the template is over {template_bytes_max} bytes", place=place)
    nodes = parse(text, place=place)
    limits = _Limits(names, missing, template_depth_max, output_bytes_max)
    compiler = _Compiler(Walk(position, place=place), place, limits)
    pieces = compiler.pieces(nodes)
    compiler.walk.end()
    return Template(text, position, place, tuple(dict.fromkeys(compiler.names)), pieces, output_bytes_max)


class _Limits(NamedTuple):
    names: NameSet | None
    missing: Missing
    depth_max: int
    output_bytes_max: int


class _Compiler:
    """Nodes → pieces, in the order of the text."""

    def __init__(self, walk: Walk, place: str, limits: _Limits) -> None:
        self.walk = walk
        self.place = place
        self.limits = limits
        self.names: list[str] = []

    def pieces(self, nodes: tuple[Node, ...]) -> tuple[Piece, ...]:
        out: list[Piece] = []
        for node in nodes:
            if isinstance(node, Literal):
                out.append(self.walk.literal(node.text, node.column))
            elif isinstance(node, Macro):
                out.append(self._value(node))
            else:
                out.append(self._choice(node))
        return tuple(out)

    def _choice(self, block: Block) -> Choice:
        walk, ends = self.walk, []
        walk.check_not_in_host("a condition", block.column)
        start = walk.standing
        branches = []
        for condition, nodes in block.branches:
            expression = None if condition is None else self._condition(condition)
            walk.go_back(start)
            branches.append((expression, self.pieces(nodes)))
            ends.append(walk.standing)
        if block.branches[-1][0] is not None:
            ends.append(start)  # without an {else}, nothing may be rendered
        walk.join(ends, block.column)
        return Choice(tuple(branches))

    def _condition(self, condition: Condition) -> Expression:
        check_condition(condition, names=self.limits.names, place=self.place)
        self.names += (name for name, _ in names_of(condition))
        return Expression("", condition, place=self.place)

    def _value(self, macro: Macro) -> Value:
        name, column = macro.name[:64], macro.column
        if macro.secret:
            self._check_unseen(column)
        else:
            self._use(macro.name, column)
        calls = tuple(_with_currency(call, macro.name) for call in macro.calls)
        if 1 + len(calls) > self.limits.depth_max:
            detail = f"{{{name}}} passes through more than {self.limits.depth_max - 1} filters"
            self._fail("macro_too_large", detail, column)
        steps = tuple(self._step(call) for call in calls)
        is_raw = bool(calls) and calls[-1].name == "raw"
        for call in calls[:-1]:
            if call.name == "raw":
                self._fail("macro_bad_argument", "raw is the last filter, or none", call.column)
        encoder = self.walk.raw_encoder(name, column) if is_raw else self.walk.encoder(name, column)
        missing = self._missing(macro)
        return Value(
            Source(macro.name, macro.secret), steps, encoder, missing, self.limits.output_bytes_max, self.place
        )

    def _step(self, call: Call) -> Step:
        for argument in call.arguments:
            if argument.source is not None and not argument.source.secret:
                self._use(argument.source.name, argument.column)
        step = build_filter(call, place=self.place)
        if step.needs_rates or any(source.secret for source in step.sources):
            self._check_unseen(call.column)
        return step

    def _check_unseen(self, column: int) -> None:
        """Secrets and rates are at hand where postbacks are sent, not where visitors are."""
        names = self.limits.names
        if names is not None and names.is_seen:
            detail = f"{names.title} has no secrets and no rates: the visitor would see what is made of them"
            self._fail("macro_bad_argument", detail, column)

    def _missing(self, macro: Macro) -> Missing:
        if macro.policy == "!":
            return Missing.REFUSE
        if macro.policy == "?":
            if not self.walk.can_drop:
                detail = f"{{{macro.name[:64]}?}} stands in no parameter that could be dropped"
                hint = f"write {{?{macro.name[:64]}}}…{{end}} around what depends on it"
                self._fail("macro_syntax", detail, macro.column, hint=hint)
            return Missing.DROP
        if any(call.name == "default" for call in macro.calls):
            return Missing.EMPTY  # the author has said what stands for a missing value
        if self.limits.missing is Missing.DROP and not self.walk.can_drop:
            return Missing.EMPTY
        return self.limits.missing

    def _use(self, name: str, column: int) -> None:
        names = self.limits.names
        if names is not None and name not in names:
            detail = f"{{{name[:64]}}} is no macro of {names.title}"
            self._fail("macro_unknown", detail, column, hint=names.hint(name))
        self.names.append(name)

    def _fail(self, code: str, detail: str, column: int, *, hint: str = "") -> NoReturn:
        raise MacroError(code, detail, column=column, place=self.place, hint=hint)


def _with_currency(call: Call, name: str) -> Call:
    """`{payout|convert(EUR)}` is `{payout|convert(EUR, {currency})}`."""
    if call.name != "convert" or len(call.arguments) != 1 or name not in CURRENCY_OF:
        return call
    return call._replace(arguments=(*call.arguments, Argument(None, "", call.column, Source(CURRENCY_OF[name]))))
