"""OAuth tokens by client credentials (RFC 6749, 4.4): got once, kept until shortly before they expire.

Owns: the tokens and what is asked for. Makes requests and reads their reports; the courier sends them as it sends
everything else, through the same guard. Never asks twice at once for the same token.

A token is asked for by the first postback that needs it, which waits; again in the background when little of its time
is left, while the old one is used on. A token that a partner refuses with 401 is dropped, and got anew once at once;
if the new one is refused as well, the lane's retries go on at their own pace.
"""

from base64 import b64encode
from typing import NamedTuple
from urllib.parse import quote_plus, urlencode

import msgspec

from waypost.catalog.model import OAuth
from waypost.courier.secrets import Secrets, forms_of, without
from waypost.errors import WaypostError
from waypost.ports.sender import SendReport, SendRequest
from waypost.stages.answers import MISSING, document_of, value_at

LIFETIME_DEFAULT_MS = 3_600_000  # where the answer does not say (RFC 6749, 5.1: "recommended")
_LIFETIME_MAX_MS = 30 * 86_400_000
_LEFT_MS = 60_000  # a token is got anew when so much of its time is left, or a tenth of it
_PAUSE_MS = 1_000  # after a failure; what needs the token meanwhile fails for the same reason
_TOKEN_CHARACTERS_MAX = 16_384
_ANSWER_BYTES_MAX = 65_536
_ERROR_SHOWN_MAX = 200

Key = tuple[int, OAuth]  # whose token, and by what


class Token(NamedTuple):
    """One token. `is_second`: it replaced one that was refused."""

    text: str
    refresh_ms: int
    expires_ms: int
    is_second: bool


class Tokens:
    """All tokens of a courier."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._held: dict[Key, Token] = {}
        self._failed: dict[Key, tuple[int, str]] = {}  # until when, and why
        self._asked: dict[int, Key] = {}  # by the token of the request, which is negative
        self._asking: set[Key] = set()
        self._refused: set[Key] = set()  # whose last token was refused
        self._next = -1

    def get(self, key: Key, now_ms: int) -> Token | None:
        """A token that can be used now. None: it is being asked for, or is to be. Raises WaypostError `auth_failed`."""
        token = self._held.get(key)
        if token is not None and now_ms < token.expires_ms:
            return token
        failed = self._failed.get(key)
        if failed is not None and now_ms < failed[0] and key not in self._asking:
            raise WaypostError("auth_failed", failed[1])
        return None

    def to_ask(self, key: Key, now_ms: int, connect_timeout_ms: int, total_timeout_ms: int) -> SendRequest | None:
        """The request for a token, where one is due and none is under way. Raises WaypostError `auth_secret`."""
        if key in self._asking:
            return None
        token = self._held.get(key)
        if token is not None and now_ms < token.refresh_ms:
            return None
        failed = self._failed.get(key)
        if failed is not None and now_ms < failed[0]:
            return None
        oauth = key[1]
        secret = self._secrets(oauth.client_secret)
        form = {"grant_type": "client_credentials"}
        if oauth.scope:
            form["scope"] = oauth.scope
        if oauth.audience:
            form["audience"] = oauth.audience
        headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")]
        if oauth.in_body:
            form |= {"client_id": oauth.client_id, "client_secret": secret}
        else:  # both are form-encoded first (RFC 6749, 2.3.1)
            pair = f"{quote_plus(oauth.client_id)}:{quote_plus(secret)}"
            headers.append(("Authorization", f"Basic {b64encode(pair.encode()).decode()}"))
        number, self._next = self._next, self._next - 1
        self._asking.add(key)
        self._asked[number] = key
        return SendRequest(
            number, "POST", oauth.token_url, headers, urlencode(form).encode(), connect_timeout_ms, total_timeout_ms,
            body_bytes=_ANSWER_BYTES_MAX,
        )  # fmt: skip

    def landed(self, report: SendReport, now_ms: int) -> Key:
        """Takes the answer to such a request; answers whose token it was about."""
        key = self._asked.pop(report.token)
        self._asking.discard(key)
        token, why = self._read(key, report, now_ms)
        if token is None:
            self._failed[key] = (now_ms + _PAUSE_MS, why)
            return key
        self._held[key] = token
        self._failed.pop(key, None)
        self._refused.discard(key)
        return key

    def _read(self, key: Key, report: SendReport, now_ms: int) -> tuple[Token | None, str]:
        if report.code:
            return None, f"the token's address could not be asked: {report.code} ({report.detail[:_ERROR_SHOWN_MAX]})"
        document = document_of(report.body)
        text = value_at(document, "access_token")
        if not 200 <= report.status < 300 or not isinstance(text, str) or not _is_token(text):
            said = report.body[:_ERROR_SHOWN_MAX].decode("utf-8", "replace")
            forms = forms_of([self._secrets(key[1].client_secret)])
            return None, f"the token's address answered {report.status}: {without(said, forms)}"
        kind = value_at(document, "token_type")
        if kind is not MISSING and str(kind).lower() != "bearer":
            return None, f"the token's address gave a token of type {str(kind)[:40]}, not bearer"
        life_ms = _lifetime_ms(value_at(document, "expires_in"))
        left_ms = min(_LEFT_MS, life_ms // 10)
        token = Token(text, now_ms + life_ms - left_ms, now_ms + life_ms, key in self._refused)
        return token, ""

    def refused(self, key: Key, text: str) -> bool:
        """The partner answered 401 to this token. Answers whether it is worth trying again at once."""
        token = self._held.get(key)
        if token is None or token.text != text:
            return True  # another one was got meanwhile, or is being got
        del self._held[key]
        self._refused.add(key)
        return not token.is_second


def _is_token(text: str) -> bool:
    return 0 < len(text) <= _TOKEN_CHARACTERS_MAX and text.isascii() and text.isprintable() and " " not in text


def _lifetime_ms(seconds: object) -> int:
    """`expires_in`; some servers write the number as text."""
    try:
        stated = msgspec.convert(seconds, float, strict=False) if seconds is not MISSING else 0.0
    except msgspec.ValidationError:
        stated = 0.0
    if not stated > 0:
        return LIFETIME_DEFAULT_MS
    return min(int(min(stated, 1e12) * 1000), _LIFETIME_MAX_MS)
