"""What `waypost macro check|import|export` read: one template a line, or a JSON list.

Owns: the reader. Reads the file that it is given, or standard input; writes nothing. Never judges a template.

Lines are read one after the other, so a file may be larger than the memory. Blank lines and lines that begin with `# `
hold no template; every other line is one, and every item of a JSON list is one. A byte that is no UTF-8 stays in the
text as a lone surrogate, which the check finds.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from io import BufferedReader
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

from waypost.errors import WaypostError

_PEEK_BYTES = 4096
_LINE_BYTES_MAX = 1 << 20
_LIST_BYTES_MAX = 256 << 20
_JSON_ITEM = (b'"', b"{", b"]", b"null", b"true", b"false", b"-", *(str(digit).encode() for digit in range(10)))
_BOM = b"\xef\xbb\xbf"


class Entry(NamedTuple):
    """One template: its name or line, its text, and what else its item says.

    `fault` says why the item holds no text; `bare` that it is an entry of a collection without a template.
    """

    name: str
    template: str
    click_parameters: Mapping[str, str] = MappingProxyType({})
    offer_parameters: str = ""
    fault: str = ""
    bare: bool = False


def read_entries(file: str) -> Iterator[Entry]:
    """Every template of the file, in its order.

    Raises WaypostError `macro_syntax` for a list that is no JSON, OSError for a file that cannot be read.
    """
    with ExitStack() as stack:
        stream: Any = sys.stdin.buffer if file == "-" else stack.enter_context(Path(file).open("rb"))
        buffered = stream if isinstance(stream, BufferedReader) else BufferedReader(stream)
        head = buffered.peek(_PEEK_BYTES)[:_PEEK_BYTES].removeprefix(_BOM).lstrip()
        if head[:1] == b"[" and head[1:].lstrip().startswith(_JSON_ITEM):
            yield from _items(buffered, file)
        else:
            yield from _lines(buffered)


def _lines(stream: BinaryIO) -> Iterator[Entry]:
    number = 0
    while raw := stream.readline(_LINE_BYTES_MAX):
        number += 1
        if number == 1:
            raw = raw.removeprefix(_BOM)
        whole = raw.endswith(b"\n")
        while not whole:  # of a longer line the rest is passed over: its beginning is already too large
            more = stream.readline(_LINE_BYTES_MAX)
            whole = not more or more.endswith(b"\n")
        text = raw.decode("utf-8", "surrogateescape").rstrip("\r\n")
        if text.strip() and not (text.lstrip().startswith("# ") or text.strip() == "#"):
            yield Entry(f"line {number}", text)


def _items(stream: BinaryIO, file: str) -> Iterator[Entry]:
    raw = stream.read(_LIST_BYTES_MAX + 1)
    if len(raw) > _LIST_BYTES_MAX:
        detail = f"a JSON list may have {_LIST_BYTES_MAX >> 20} MiB"
        raise WaypostError("macro_too_large", detail, place=file, hint="write one template a line instead")
    try:
        items = json.loads(raw.removeprefix(_BOM).decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise WaypostError("macro_syntax", f"not a JSON list of templates: {error}", place=file) from error
    for number, item in enumerate(items, 1):
        yield _entry(f"item {number}", item)


def _entry(name: str, item: Any) -> Entry:
    if isinstance(item, str):
        return Entry(name, item)
    if not isinstance(item, dict):
        return Entry(name, json.dumps(item), fault="neither a text nor an object")
    own = item.get("name", name)
    template = item.get("postback") or item.get("template") or ""
    parameters = item.get("click_parameters") or {}
    offer = item.get("offer_parameters") or ""
    if not isinstance(own, str) or not isinstance(template, str) or not isinstance(offer, str):
        return Entry(name, json.dumps(item)[:200], fault="`name`, `postback` and `offer_parameters` are texts")
    if not isinstance(parameters, dict) or not all(isinstance(value, str) for value in parameters.values()):
        return Entry(own, template, fault="`click_parameters` is no object of texts")
    return Entry(own, template, parameters, offer, bare=not template and bool(parameters or offer))
