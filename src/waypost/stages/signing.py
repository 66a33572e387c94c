"""Signatures of calls: what is signed, and whether a signature is right.

Owns: the canonical string (`docs/intake.md` has it with a worked example), Standard Webhooks' content, the window in
which a timestamp counts. Reads what a door has of a request; pure: the time is an argument. Never parses a body: its
hash is all that is taken. Never says why a signature is wrong beyond: missing, too old, wrong.
"""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest, digest
from typing import NamedTuple
from urllib.parse import unquote

from waypost.catalog.model import Signature

MARKS = {1: b"waypost-1", 2: b"waypost-2"}  # the canonical string's first line, by its version
WEBHOOK_SECRET = "whsec_"
SIGNATURES_MAX = 10  # of a Standard Webhooks header: senders put one for each of their keys
STANDARD_WEBHOOKS = "standard-webhooks"
MISSING, EXPIRED, WRONG = "missing_signature", "signature_expired", "wrong_signature"
_MS_FROM = 100_000_000_000  # larger numbers are milliseconds: as seconds they would be after the year 5000


NO_HEADERS: Mapping[bytes, bytes] = {}


class SignedRequest(NamedTuple):
    """What of a request is signed; all as it was sent. `headers` by their names in small letters."""

    method: bytes
    path: bytes
    query: bytes
    headers: Mapping[bytes, bytes]
    body: bytes


def canonical_string(
    method: bytes,
    path: bytes,
    query: bytes,
    timestamp: bytes,
    body: bytes,
    *,
    version: int = 1,
    headers: Mapping[bytes, bytes] = NO_HEADERS,
) -> bytes:
    """Lines, joined by single line feeds, none at the end; `query` without the signature itself.

    Version 2 has two more, for the headers that change what a call means: without them whoever sees a call on its way
    could give it another idempotency key, or have its body read as something else.
    """
    lines = [MARKS[version], timestamp, method, path, query]
    if version == 2:
        lines += [headers.get(name, b"").strip() for name in (b"content-type", b"idempotency-key")]
    return b"\n".join((*lines, sha256(body).hexdigest().encode()))


def sign(secret: str, text: bytes, *, algorithm: str = "sha256", encoding: str = "hex") -> str:
    """HMAC (RFC 2104) of a text, in hex or base64."""
    made = digest(secret.encode(), text, algorithm)
    return made.hex() if encoding == "hex" else b64encode(made).decode()


def verify(terms: Signature, request: SignedRequest, now_ms: int) -> str:
    """Empty if the request is signed under one of the keys and in time; otherwise the code that refuses it."""
    if terms.scheme == STANDARD_WEBHOOKS:
        return _verify_webhook(terms, request, now_ms)
    name, stamp = terms.name.encode(), terms.timestamp.encode()
    query = request.query
    if terms.where == "query":
        pairs = [pair.partition(b"=") for pair in query.split(b"&")]
        given = next((value for found, _, value in pairs if found == name), b"")
        timestamp = next((value for found, _, value in pairs if found == stamp), b"")
        query = b"&".join(b"".join(pair) for pair in pairs if pair[0] != name)
        sent = unquote(given.decode("latin-1"))
    else:
        sent = request.headers.get(name.lower(), b"").decode("latin-1").strip()
        timestamp = request.headers.get(stamp.lower(), b"").strip()
    if not sent or not timestamp:
        return MISSING
    if not is_in_time(timestamp, terms.window_ms, now_ms):
        return EXPIRED
    if terms.encoding == "hex":
        sent = sent.lower()
    texts = [
        canonical_string(
            request.method, request.path, query, timestamp, request.body, version=version, headers=request.headers
        )
        for version in MARKS
    ]
    rights = [
        sign(key, text, algorithm=terms.algorithm, encoding=terms.encoding) for key in terms.secrets for text in texts
    ]
    return "" if _is_any(sent, rights) else WRONG


def is_in_time(timestamp: bytes, window_ms: int, now_ms: int) -> bool:
    """Whether a Unix time, in seconds or milliseconds, is within the window around now."""
    if not timestamp.isdigit() or len(timestamp) > 15:
        return False
    number = int(timestamp)
    at_ms = number if number >= _MS_FROM else number * 1000
    return abs(now_ms - at_ms) <= window_ms


def webhook_signature(secret: str, identifier: bytes, timestamp: bytes, body: bytes) -> str:
    """The `v1` signature of Standard Webhooks: base64 of HMAC-SHA256 over `id.timestamp.body`.

    Raises ValueError for a secret that is not base64, or is the base64 of nothing: that key anybody has.
    """
    try:
        key = b64decode(secret.removeprefix(WEBHOOK_SECRET), validate=True)
    except binascii.Error as error:
        raise ValueError("the secret is not base64") from error
    if not key:
        raise ValueError("the secret is empty")
    return b64encode(digest(key, b".".join((identifier, timestamp, body)), "sha256")).decode()


def _verify_webhook(terms: Signature, request: SignedRequest, now_ms: int) -> str:
    identifier = request.headers.get(b"webhook-id", b"").strip()
    timestamp = request.headers.get(b"webhook-timestamp", b"").strip()
    sent = request.headers.get(b"webhook-signature", b"").decode("latin-1").split()
    given = [text.removeprefix("v1,") for text in sent[:SIGNATURES_MAX] if text.startswith("v1,")]
    if not identifier or not timestamp or not given:
        return MISSING
    if not is_in_time(timestamp, terms.window_ms, now_ms):
        return EXPIRED
    rights = []
    for key in terms.secrets:
        try:
            rights.append(webhook_signature(key, identifier, timestamp, request.body))
        except ValueError:
            continue  # a reference that turned out to hold something else; the catalog's check says so
    return "" if any(_is_any(text, rights) for text in given) else WRONG


def _is_any(sent: str, rights: list[str]) -> bool:
    given = sent.encode("utf-8", "replace")
    found = False
    for right in rights:  # all are compared: no early end
        found |= compare_digest(given, right.encode())
    return found
