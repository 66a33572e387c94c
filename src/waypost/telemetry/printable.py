"""Text from outside, made fit for a terminal: what steers one is written out (`\\x1b`) and does nothing.

Owns: which characters that are. Reads and writes nothing. Clicks and calls come from anyone and may hold anything; what
prints a part of them for people passes it through here. JSON needs none of this: it escapes by itself.
"""

import re

# Control characters (C0, DEL, C1), line and paragraph separators, and those that turn the direction of writing round.
_STEERS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """The text on one line, without anything that moves a cursor, changes a colour or hides what follows."""
    return _STEERS.sub(_written_out, text) if not text.isprintable() else text


def _written_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
