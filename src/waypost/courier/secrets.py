"""Secrets that requests are signed with: resolved when they are needed, and taken out of whatever is kept.

Owns: a short memory of resolved secrets. Reads, through a function that it is given, environment and files; writes
nothing. Never logs a secret, and never gives one to anything but a request.
"""

from base64 import b64encode
from collections.abc import Callable, Sequence
from urllib.parse import quote

from waypost.errors import WaypostError

_AGAIN_MS = 30_000  # a file or variable that changed holds from then on
_KNOWN_MAX = 10_000
_SHORTEST = 4  # what is shorter would blacken half of every answer
_SHOWN = "***"

Resolve = Callable[[str], str]


class Secrets:
    """Resolves references (`env:NAME`, `file:PATH`); what is no reference is the secret itself."""

    def __init__(self, resolve: Resolve, now_ms: Callable[[], float]) -> None:
        self._resolve = resolve
        self._now_ms = now_ms
        self._known: dict[str, tuple[float, str]] = {}

    def __call__(self, reference: str) -> str:
        """The secret. Raises WaypostError `auth_secret`; its text names the variable or file, never what is in it."""
        now = self._now_ms()
        known = self._known.get(reference)
        if known is not None and now - known[0] < _AGAIN_MS:
            return known[1]
        try:
            value = self._resolve(reference)
        except WaypostError as error:
            raise WaypostError("auth_secret", error.detail, hint=error.hint) from error
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[reference] = (now, value)
        return value


def forms_of(secrets: Sequence[str]) -> tuple[str, ...]:
    """The secrets as they may be found in a URL or an echoing answer, longest first."""
    forms = set()
    for secret in secrets:
        forms |= {secret, quote(secret, safe=""), b64encode(secret.encode()).decode()}
    return tuple(sorted((form for form in forms if len(form) >= _SHORTEST), key=len, reverse=True))


def without(text: str, forms: Sequence[str]) -> str:
    """The text with secrets blackened."""
    for form in forms:
        if form in text:
            text = text.replace(form, _SHOWN)
    return text


def without_in_body(body: bytes, forms: Sequence[str]) -> bytes:
    """As `without`, for the first bytes of an answer: also what its end cut a secret short of."""
    for form in forms:
        secret = form.encode()
        body = body.replace(secret, _SHOWN.encode())
        for length in range(min(len(secret) - 1, len(body)), _SHORTEST - 1, -1):
            if body.endswith(secret[:length]):
                body = body[:-length] + _SHOWN.encode()
                break
    return body
