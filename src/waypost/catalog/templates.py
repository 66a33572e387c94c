"""The one place where a catalog meets the macro language: templates are compiled to see that they can be.

Owns: which position a template is compiled for, and which macros it may use there. Reads and writes nothing.
Never keeps the compiled form: a catalog stores text, and the role that renders compiles it again, once a version.
"""

from waypost.catalog.reading import Field, Reader
from waypost.errors import WaypostError
from waypost.macros.expression import compile_expression
from waypost.macros.names import IN_OFFER_URL, IN_POSTBACK, IN_RULE, NameSet
from waypost.macros.template import Position, compile_template

_SEEN_MAX = 50_000

_Checked = tuple[tuple[str, ...], str, str]  # names, problem, hint


class TemplateChecker:
    """Compiles each different text once; many partners share a template."""

    def __init__(self, *, bytes_max: int, depth_max: int) -> None:
        self._bytes_max = bytes_max
        self._depth_max = depth_max
        self._seen: dict[tuple[str, Position, str], _Checked] = {}

    def check_offer_url(self, reader: Reader, field: Field, text: str) -> tuple[str, ...]:
        """The names that an offer's URL uses; what is wrong with it is noted."""
        return self._check(reader, field, text, Position.URL, IN_OFFER_URL)

    def check_condition(self, reader: Reader, field: Field, text: str) -> str:
        """A postback rule's condition, or empty where it is none; what is wrong with it is noted."""
        try:
            compile_expression(text, names=IN_RULE)
        except WaypostError as error:
            reader.wrong("catalog_template", field, f"{error.detail} ({error.code})", hint=error.hint)
            return ""
        return text

    def check_url(self, reader: Reader, field: Field, text: str) -> tuple[str, ...]:
        """The names that a postback's URL uses."""
        return self._check(reader, field, text, Position.URL, IN_POSTBACK)

    def check_header(self, reader: Reader, field: Field, text: str) -> tuple[str, ...]:
        """The names that a header's value uses."""
        return self._check(reader, field, text, Position.HEADER, IN_POSTBACK)

    def check_body(self, reader: Reader, field: Field, text: str, content_type: str) -> tuple[str, ...]:
        """The names that a body uses; its media type says how values are written in it."""
        return self._check(reader, field, text, body_position(content_type), IN_POSTBACK)

    def check_value(self, reader: Reader, field: Field, text: str) -> tuple[str, ...]:
        """The names that a text uses which is written into a form or a JSON structure."""
        return self._check(reader, field, text, Position.FORM, IN_POSTBACK)

    def check_signed(self, reader: Reader, field: Field, text: str, names: NameSet) -> tuple[str, ...]:
        """The names that a text uses which is signed, of a set of its own."""
        return self._check(reader, field, text, Position.RAW, names)

    def _check(self, reader: Reader, field: Field, text: str, position: Position, names: NameSet) -> tuple[str, ...]:
        key = (text, position, names.title)
        checked = self._seen.get(key)
        if checked is None:
            checked = self._compile(text, position, names)
            if len(self._seen) < _SEEN_MAX:
                self._seen[key] = checked
        used, problem, hint = checked
        if problem:
            reader.wrong("catalog_template", field, problem, hint=hint)
        return used

    def _compile(self, text: str, position: Position, names: NameSet) -> _Checked:
        try:
            template = compile_template(
                text,
                position=position,
                names=names,
                template_bytes_max=self._bytes_max,
                template_depth_max=self._depth_max,
            )
        except WaypostError as error:
            return (), f"{error.detail} ({error.code})", error.hint
        return template.names, "", ""


def body_position(content_type: str) -> Position:
    """How values are written in a body of this media type: as JSON, XML, a form, or as they are."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        return Position.JSON
    if kind in ("application/xml", "text/xml") or kind.endswith("+xml"):
        return Position.XML
    return Position.FORM if kind == "application/x-www-form-urlencoded" else Position.RAW
