"""The body of a request as the catalog writes it, as one template: a form, a JSON structure, XML or text.

Owns: how a structure becomes a template's text. Reads a tree; notes problems. Never fills a template in.

What stands in a structure is text with macros; all around it is written out here, encoded for where it stands, so that
a rule needs to know nothing of quotes and escapes. `{items}` as a whole value marks where a batch's items go.
"""

import json
import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

from waypost.catalog.reading import Field, Fields, Reader
from waypost.catalog.source import Items, Mapping, Node, Scalar
from waypost.catalog.templates import TemplateChecker

FORM_TYPE, JSON_TYPE, XML_TYPE = "application/x-www-form-urlencoded", "application/json", "application/xml"
BODY_CHARACTERS_MAX = 65_536
FORM_FIELDS_MAX = 200
ITEMS = "{items}"
MARK = "\x00"  # where the items go, in the text of a body; stands in no YAML text

# One macro, with what may stand in it in braces: quoted arguments, and other macros' values.
_QUOTED = r"'(?:[^'\\]|\\.)*+'"
_MACRO = re.compile(rf"\{{(?!\{{)(?:[^{{}}']|{_QUOTED}|\{{(?:[^{{}}']|{_QUOTED})*+\}})*+\}}", re.DOTALL)
_AS_NUMBER = re.compile(r"\|\s*number\s*\}\Z")  # of a whole macro: without quotes around it
_JSON_PLAIN = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")


class Body(NamedTuple):
    """A template's text, the media type it is written in (empty: whatever the headers say), and its macros."""

    text: str = ""
    content_type: str = ""
    macros: tuple[str, ...] = ()


def read_body(reader: Reader, fields: Fields, templates: TemplateChecker, content_type: str) -> Body:
    """The one of `body`, `form`, `json`, `xml` that is given; `content_type` is the header's, or empty."""
    given = [(key, field) for key in ("body", "form", "json", "xml") if (field := fields.get(key)) is not None]
    if not given:
        return Body()
    for key, field in given[1:]:
        reader.wrong("catalog_bad_value", field, f"has both `{given[0][0]}` and `{key}`", hint="a request has one body")
    key, field = given[0]
    macros: dict[str, None] = {}
    if key == "form":
        return Body(_form(reader, field, templates, macros), content_type or FORM_TYPE, tuple(macros))
    if key == "json":
        return Body(json_template(reader, field, templates, macros), content_type or JSON_TYPE, tuple(macros))
    written = content_type or (XML_TYPE if key == "xml" else "")
    text = reader.text(field) or ""
    checked = text.replace(ITEMS, "")
    if checked:
        macros.update(dict.fromkeys(templates.check_body(reader, field, checked, written)))
    return Body(text.replace(ITEMS, MARK), written, tuple(macros))


def json_template(reader: Reader, field: Field, templates: TemplateChecker, macros: dict[str, None]) -> str:
    """A JSON structure as a template; the names it uses are added to `macros`."""
    parts: list[str] = []
    _json(reader, field, templates, macros, parts)
    text = "".join(parts)
    if len(text) > BODY_CHARACTERS_MAX:
        reader.wrong("catalog_too_large", field, f"is over {BODY_CHARACTERS_MAX} characters", hint="shorten it")
        return ""
    return text


def _json(reader: Reader, field: Field, templates: TemplateChecker, macros: dict[str, None], parts: list[str]) -> None:
    node, path = field
    if isinstance(node, Mapping):
        parts.append("{{")
        for nth, (name, entry) in enumerate(node.entries.items()):
            parts.append(("," if nth else "") + _braced(json.dumps(name, ensure_ascii=False)) + ":")
            _json(reader, Field(entry, f"{path}.{name[:40]}"), templates, macros, parts)
        parts.append("}}")
    elif isinstance(node, Items):
        parts.append("[")
        for nth, entry in enumerate(node.nodes):
            parts.append("," if nth else "")
            _json(reader, Field(entry, f"{path}[{nth}]"), templates, macros, parts)
        parts.append("]")
    else:
        parts.append(_json_scalar(reader, Field(node, path), templates, macros))


def _json_scalar(reader: Reader, field: Field, templates: TemplateChecker, macros: dict[str, None]) -> str:
    node = field.node
    assert isinstance(node, Scalar)
    if node.empty:
        return "null"
    if node.plain and _JSON_PLAIN.fullmatch(node.text):
        return node.text
    if node.text == ITEMS:
        return f"[{MARK}]"
    number = _AS_NUMBER.search(node.text) if _MACRO.fullmatch(node.text) else None
    text = node.text[: number.start()] + "}" if number is not None else node.text
    macros.update(dict.fromkeys(templates.check_value(reader, field, text)))
    return text if number is not None else '"' + _encoded(text, _json_literal) + '"'


def _form(reader: Reader, field: Field, templates: TemplateChecker, macros: dict[str, None]) -> str:
    pairs = []
    for name, entry in reader.entries(field, FORM_FIELDS_MAX):
        text = "" if is_empty(entry.node) else reader.text(entry)
        if text is not None:
            if text:
                macros.update(dict.fromkeys(templates.check_value(reader, entry, text)))
            pairs.append(f"{_braced(quote(name, safe=''))}={_encoded(text, lambda literal: quote(literal, safe=''))}")
    return "&".join(pairs)


def is_empty(node: Node) -> bool:
    """Whether nothing, or an empty text, is written there."""
    return isinstance(node, Scalar) and (node.empty or not node.text)


def _encoded(text: str, encode: Callable[[str], str]) -> str:
    """A template with everything but its macros encoded."""
    out: list[str] = []
    literal: list[str] = []
    at = 0
    while at < len(text):
        macro = _MACRO.match(text, at) if text[at] == "{" else None
        if macro is not None:
            out += [_braced(encode("".join(literal))), macro[0]]
            literal = []
            at = macro.end()
        else:
            literal.append(text[at])
            at += 2 if text.startswith(("{{", "}}"), at) else 1
    out.append(_braced(encode("".join(literal))))
    return "".join(out)


def _braced(literal: str) -> str:
    return literal.replace("{", "{{").replace("}", "}}")


def _json_literal(literal: str) -> str:
    return json.dumps(literal, ensure_ascii=False)[1:-1]
