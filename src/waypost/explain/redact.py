"""Secrets in what callers sent, made unreadable before anybody is shown it.

Owns: which parameters are secrets (`token`, and the names an advertiser gave it) and how they are blotted out in a
query, a form and a JSON body. Pure.
"""

import re
from collections.abc import Collection
from urllib.parse import unquote_plus

BLOT = "***"


def redact_query(raw: bytes, secrets: Collection[str]) -> str:
    """A query string or form body with the values of secret parameters replaced; bytes that are no text escaped."""
    pieces = []
    for piece in raw.decode("utf-8", "backslashreplace").split("&"):
        name, equals, _ = piece.partition("=")
        pieces.append(f"{name}={BLOT}" if equals and unquote_plus(name) in secrets else piece)
    return "&".join(pieces)


def redact_body(raw: bytes, content_type: str, secrets: Collection[str]) -> str:
    """A body with the values of secret parameters replaced, in a form or in JSON."""
    if not raw:
        return ""
    if "json" not in content_type and raw[:1] not in (b"{", b"["):
        return redact_query(raw, secrets)
    text = raw.decode("utf-8", "backslashreplace")
    names = "|".join(re.escape(name) for name in secrets)
    return re.sub(rf'("(?:{names})"\s*:\s*)("(?:[^"\\]|\\.)*"|[^\s,}}\]]+)', rf'\1"{BLOT}"', text)
