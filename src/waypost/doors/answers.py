"""What a door answers, as bytes: heads are built once a second, with that second's date, and joined to what varies.

Owns: every status line, header and JSON form that leaves a door. Reads and writes nothing else.
Forms: RFC 9112 (HTTP/1.1), RFC 9110 (`Date`, `Allow`, `Retry-After`). Errors: `{"status":0,"error":code,"message":…}`.
An accepted call is answered in the *kind* that its advertiser's system reads: `json`, `ok`, `gif` or `empty`; where the
body has no room for the receipt the header `Waypost-Receipt` has it.

A *mode* says what becomes of the connection: KEEP (HTTP/1.1, stays open), CLOSE, KEEP_1_0 (HTTP/1.0 that asked
for keep-alive and must be told that it got it).
"""

from email.utils import formatdate
from http import HTTPStatus
from typing import Any

import msgspec

from waypost.errors import ERRORS

KEEP, CLOSE, KEEP_1_0 = 0, 1, 2
_CONNECTION = ("", "Connection: close\r\n", "Connection: keep-alive\r\n")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
ANSWER_KINDS = ("json", "ok", "gif", "empty")
PIXEL = bytes.fromhex(  # a transparent GIF of one pixel
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)
_RECEIPT = "r%016x"  # filled in for each call: there is no other % in a head
_RECEIPT_CHARS = len(_RECEIPT % 0)
_ACCEPTED_JSON = f'{{"status":1,"receipt":"{_RECEIPT}"}}'
_ACCEPTED_JSON_BYTES = len(_ACCEPTED_JSON) - len(_RECEIPT) + _RECEIPT_CHARS
_RECEIPT_HEADER = f"Waypost-Receipt: {_RECEIPT}\r\n"
# Of every answer that is no file: what a cache between here and the caller answers in our place, we never hear of.
_UNCACHED = "Cache-Control: no-store\r\n"


def _visit(hides_referrer: bool) -> str:
    """Headers of all that a visitor's browser is answered: kept by nobody, listed by no search engine, and whether the
    target learns which page the click was on."""
    policy = "no-referrer" if hides_referrer else "no-referrer-when-downgrade"
    return f"{_UNCACHED}Referrer-Policy: {policy}\r\nX-Robots-Tag: noindex, nofollow\r\n"


VISIT_HEADERS = {hides: _visit(hides) for hides in (False, True)}


class Answers:
    """The prebuilt heads of this second, by mode; `refresh` makes the next second's.

    `accepted[kind][mode] % receipt` is the whole answer to a call that was accepted with that receipt's number.
    """

    def __init__(self, retry_after_s: int, unix_s: float) -> None:
        self._retry_after = f"Retry-After: {retry_after_s}\r\n"
        self._errors: dict[tuple[str, int, bool, str], bytes] = {}
        self.refresh(unix_s)

    def refresh(self, unix_s: float) -> None:
        """Takes a new date."""
        self._date = formatdate(unix_s, usegmt=True)
        self._errors.clear()
        modes = (KEEP, CLOSE, KEEP_1_0)
        self.accepted = {kind: tuple(self._accepted(kind, mode) for mode in modes) for kind in ANSWER_KINDS}
        self.moved = {
            (status, hides): tuple(self._head(status, mode, 0, f"{_visit(hides)}Location: ", end="") for mode in modes)
            for status in (302, 307)
            for hides in (False, True)
        }
        self.blank = tuple(self._head(200, mode, 0, _visit(False)) for mode in modes)

    def json(self, content: Any, mode: int, *, is_head: bool = False, status: int = 200) -> bytes:
        """A JSON answer; for HEAD the same head, and no body."""
        body = msgspec.json.encode(content)
        head = self._head(status, mode, len(body), _UNCACHED)
        return head if is_head else head + body

    def document(
        self,
        body: bytes,
        media: str,
        mode: int,
        *,
        status: int = 200,
        headers: str = _UNCACHED,
        is_head: bool = False,
    ) -> bytes:
        """Any other answer; `headers` are whole lines. 204 and 304 have no body and say no length (RFC 9110, 8.6)."""
        if status in (204, 304):
            line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nDate: {self._date}\r\n"
            return f"{line}{_CONNECTION[mode]}{headers}\r\n".encode("ascii")
        head = self._head(status, mode, len(body), headers, media=media)
        return head if is_head else head + body

    def error(self, code: str, mode: int, *, is_head: bool = False, detail: str = "", allow: str = "") -> bytes:
        """The answer for a code of `errors.py`, with that code's HTTP status."""
        key = (code, mode, is_head, detail)
        found = self._errors.get(key)
        if found is None:
            spec = ERRORS[code]
            message = f"{detail or spec.meaning}; {spec.remedy}"
            body = msgspec.json.encode({"status": 0, "error": code, "message": message})
            extra = self._retry_after if spec.http_status in (429, 503) else f"Allow: {allow}\r\n" if allow else ""
            found = self._head(spec.http_status, mode, len(body), _UNCACHED + extra)
            found = self._errors[key] = found if is_head else found + body
        return found

    def limited(self, code: str, mode: int, wait_s: int, *, is_head: bool = False) -> bytes:
        """429, to be tried again after so many seconds."""
        spec = ERRORS[code]
        body = msgspec.json.encode({"status": 0, "error": code, "message": f"{spec.meaning}; {spec.remedy}"})
        head = self._head(spec.http_status, mode, len(body), f"{_UNCACHED}Retry-After: {wait_s}\r\n")
        return head if is_head else head + body

    def _accepted(self, kind: str, mode: int) -> bytes:
        if kind == "json":
            return self._head(200, mode, _ACCEPTED_JSON_BYTES, _UNCACHED) + _ACCEPTED_JSON.encode()
        extra = _UNCACHED + _RECEIPT_HEADER
        if kind == "ok":
            return self._head(200, mode, 2, extra, media="text/plain") + b"OK"
        if kind == "gif":
            return self._head(200, mode, len(PIXEL), extra, media="image/gif") + PIXEL
        return (f"HTTP/1.1 204 No Content\r\nDate: {self._date}\r\n{_CONNECTION[mode]}{extra}\r\n").encode("ascii")

    def _head(
        self,
        status: int,
        mode: int,
        length: int,
        extra: str = "",
        *,
        end: str = "\r\n",
        media: str = "application/json",
    ) -> bytes:
        kind = f"Content-Type: {media}\r\n" if length else ""
        return (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nDate: {self._date}\r\n{kind}"
            f"Content-Length: {length}\r\n{_CONNECTION[mode]}{extra}{end}"
        ).encode("ascii")
