"""What is left of a rendered text when the parameters of missing values are dropped.

Owns: where a parameter or member begins and ends. Reads and writes nothing. A dropped value is rendered as DROPPED, a
sign that no encoder lets through and no literal may hold where something can be dropped, so it is only ever ours.
"""

import re

from waypost.macros.encoding import Position

DROPPED = "\0"

_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"?|[{}\[\],]|[^"{}\[\],]+', re.DOTALL)


def drop_parameters(text: str, position: Position) -> str:
    """The text without each parameter, or innermost JSON member, that holds DROPPED; linear in its length."""
    if position is Position.JSON:
        return _drop_members(text)
    if position is not Position.URL:
        return _drop_pairs(text)
    whole, mark, fragment = text.partition("#")
    base, _, query = whole.partition("?")
    query = _drop_pairs(query)
    return base + ("?" + query if query else "") + mark + fragment


def _drop_pairs(query: str) -> str:
    return "&".join(pair for pair in query.split("&") if DROPPED not in pair)


def _drop_members(text: str) -> str:
    out: list[str] = []
    member = 0  # where the member that is being read begins in `out`
    is_dropped = False
    around: list[tuple[int, bool]] = []  # the same of the members that this one is in
    for token in _JSON_TOKEN.findall(text):
        if token in "{[":
            out.append(token)
            around.append((member, is_dropped))
            member, is_dropped = len(out), False
        elif token in "}]" and around:
            if is_dropped:
                del out[member:]
                if out[-1] == ",":
                    out.pop()
            out.append(token)
            member, is_dropped = around.pop()
        elif token == "," and around:
            if is_dropped:
                del out[member:]
            else:
                out.append(token)
            member, is_dropped = len(out), False
        else:
            is_dropped = is_dropped or DROPPED in token
            out.append(token)
    return "".join(out).replace(DROPPED, "")
