"""What can be wrong with a template as a URL, whatever its macros are.

Owns: the reasons, each with where it is and what to do, and the signs that a web page puts in the place of `&`. Reads
and writes nothing.
"""

import re
from typing import NamedTuple

AUTHORITY = re.compile(r"[A-Za-z]+://([^/?#]*)")
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_NEARLY = re.compile(r"(?:h[tx]{1,2}ps?|htt?ps?|ttps?)(?::/{0,3}|/{2,3}|;//)", re.IGNORECASE)
_HOST_FIRST = re.compile(r"(?:[A-Za-z0-9\-]+\.)+[A-Za-z]{2,}(?:[:/?]|$)")
_AGAIN = re.compile(r"[\s,;|](https?://)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]")
# A browser that copies `&currency=` out of a page may read `&curren` as a sign of HTML.
_ENTITIES = {
    "¤": "curren", "¶": "para", "×": "times", "®": "reg", "§": "sect", "©": "copy", "¬": "not", "¯": "macr",
    "¢": "cent", "°": "deg",
}  # fmt: skip
_OF_HTML = re.compile(rf"&amp;|[{''.join(_ENTITIES)}](?=\w{{0,30}}=)", re.IGNORECASE)
_PARTNERS = {"{": "}", "[": "]", "<": ">"}
_CLOSING = {closing: opening for opening, closing in _PARTNERS.items()}
_UNPARTNERED_MAX = 20


class Reason(NamedTuple):
    """Why the text is no URL; `start` counts from 0, -1 is the whole text."""

    detail: str
    start: int
    hint: str


def why_no_url(text: str) -> Reason | None:
    """Why a stripped text cannot be the URL of a call; None where nothing speaks against it."""
    if text[:1] in "\"'`<«“" and text[-1:] in "\"'`>»”" and len(text) > 1:
        return Reason("the URL stands in quotes", 0, "remove them")
    if not _SCHEME.match(text):
        return _no_scheme(text)
    again = _AGAIN.search(text, 8)
    if again:
        return Reason("there are two URLs", again.start(1), "one template a line")
    control = _CONTROL.search(text)
    if control:
        return Reason(f"{control[0]!r} cannot stand in a URL", control.start(), "remove it")
    if _SCHEME.match(text, _SCHEME.match(text).end()):  # type: ignore[union-attr]  # matched above
        return Reason("the scheme stands twice", 0, "write it once")
    if not AUTHORITY.match(text)[1]:  # type: ignore[index]  # it begins with a scheme
        return Reason("the URL has no host", 0, "write the host behind ://")
    return None


def html_signs(text: str) -> list[Reason]:
    """Where an `&` came out of a web page as something else: what stands behind it is lost."""
    found = []
    for match in list(_OF_HTML.finditer(text))[:_UNPARTNERED_MAX]:
        meant = "&" + _ENTITIES.get(match[0], "")
        detail = f"{match[0]} is what a web page makes of {meant}: no parameter begins here"
        found.append(Reason(detail, match.start(), f"write {meant}"))
    return found


def _no_scheme(text: str) -> Reason:
    if _NEARLY.match(text):
        return Reason("the scheme is misspelled", 0, "write https://")
    if text.startswith("//") or _HOST_FIRST.match(text):
        return Reason("the scheme is missing", 0, "write https:// before it")
    if text[:1] in "?&/":
        return Reason("only a piece of a URL", 0, "write the whole URL, or say --position query or --position path")
    other = _OTHER_SCHEME.match(text)
    if other and other[1].lower() not in ("http", "https"):
        return Reason(f"{other[1][:20]}: is no http or https URL", 0, "postbacks are sent by http and https only")
    return Reason("not an http or https URL", 0, "write the whole URL, with https://")


def unpartnered(rest: str) -> list[tuple[int, str]]:
    """(start, sign) of brackets without a partner, in a text whose tokens are masked; in one pass."""
    stacks: dict[str, list[int]] = {opening: [] for opening in _PARTNERS}
    found: list[tuple[int, str]] = []
    for at, sign in enumerate(rest):
        if sign in _PARTNERS:
            stacks[sign].append(at)
        elif sign in _CLOSING:
            if stacks[_CLOSING[sign]]:
                start = stacks[_CLOSING[sign]].pop()
                if sign == "}":
                    found += ((start, "{"), (at, "}"))
            else:
                found.append((at, sign))
    for opening, starts in stacks.items():
        found += ((start, opening) for start in starts)
    return sorted(found)[:_UNPARTNERED_MAX]
