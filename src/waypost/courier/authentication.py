"""What a request carries to prove who sends it: Authorization, signatures, a client's certificate. Made per attempt.

Owns: a rule's compiled authentication. Takes a rendered request and secrets; answers headers. Never sends, and never
keeps a secret: what may not be shown is named beside the headers, for whoever keeps the attempt.

Standard Webhooks: https://www.standardwebhooks.com, specification 1.0. The id is the postback's, the same in every
attempt; the time is that of the attempt; each secret gives one signature, so that a receiver may rotate its own.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from binascii import Error as BinasciiError
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from waypost.catalog.model import Authentication, Hmac
from waypost.courier.secrets import Secrets
from waypost.errors import WaypostError
from waypost.macros.template import Context, Position, Template, compile_template

_WEBHOOK_PREFIX = "whsec_"
_TEMPLATE_MAX = 1 << 20


class Request(NamedTuple):
    """What is signed. `id` names the postback, or the first of a batch."""

    id: str
    method: str
    url: str
    body: bytes


class Proof(NamedTuple):
    """Headers to add, and what must be shown nowhere."""

    headers: list[tuple[str, str]]
    hidden: tuple[str, ...]


class Signer:
    """One rule's authentication, compiled once."""

    def __init__(self, auth: Authentication, place: str) -> None:
        self.auth = auth
        self._text: Template | None = None
        if auth.hmac is not None:
            self._text = compile_template(
                auth.hmac.text, position=Position.RAW, place=place, names=None,
                template_bytes_max=_TEMPLATE_MAX, output_bytes_max=_TEMPLATE_MAX,
            )  # fmt: skip

    def prove(self, request: Request, values: Mapping[str, str], secrets: Secrets, now_ms: int, token: str) -> Proof:
        """The headers of one attempt; `token` is OAuth's, or empty.

        Raises WaypostError `auth_secret`, or what rendering the signed text raises.
        """
        auth = self.auth
        headers: list[tuple[str, str]] = []
        hidden: list[str] = []
        if token or auth.bearer:
            text = token or _one_line(secrets(auth.bearer))
            headers.append(("Authorization", f"Bearer {text}"))
            hidden.append(text)
        elif auth.basic is not None:
            password = secrets(auth.basic.password)
            pair = b64encode(f"{auth.basic.user}:{password}".encode()).decode()
            headers.append(("Authorization", f"Basic {pair}"))
            hidden += [password, pair]
        if auth.hmac is not None and self._text is not None:
            secret = secrets(auth.hmac.secret)
            hidden.append(secret)
            headers += _signed(auth.hmac, secret, self._text, request, values, now_ms, Context(secrets))
        if auth.webhooks:
            keys = [secrets(reference) for reference in auth.webhooks]
            hidden += keys
            headers += webhook_headers(keys, request.id, now_ms // 1000, request.body)
        return Proof(headers, tuple(hidden))


def _signed(
    rule: Hmac,
    secret: str,
    text: Template,
    request: Request,
    values: Mapping[str, str],
    now_ms: int,
    context: Context,
) -> list[tuple[str, str]]:
    parts = urlsplit(request.url)
    canonical = text.render(
        {
            **values,
            "method": request.method,
            "url": request.url,
            "path": parts.path or "/",
            "query": parts.query,
            "body": request.body.decode("utf-8", "surrogateescape"),
            "timestamp": str(now_ms // 1000),
            "timestamp_ms": str(now_ms),
        },
        context,
    )
    digest = hmac.new(secret.encode(), canonical.encode("utf-8", "surrogateescape"), getattr(hashlib, rule.algorithm))
    signature = digest.hexdigest() if rule.encoding == "hex" else b64encode(digest.digest()).decode()
    headers = [(rule.header, rule.prefix + signature)]
    if rule.timestamp_header:
        headers.append((rule.timestamp_header, str(now_ms // 1000)))
    return headers


def webhook_headers(secrets: list[str], id: str, timestamp: int, body: bytes) -> list[tuple[str, str]]:
    """The three headers of Standard Webhooks; several signatures stand in one header, with spaces between them.

    Raises WaypostError `auth_secret` for a secret that is not base64 after its `whsec_`.
    """
    signed = f"{id}.{timestamp}.".encode() + body
    signatures = []
    for secret in secrets:
        digest = hmac.new(_webhook_key(secret), signed, hashlib.sha256).digest()
        signatures.append(f"v1,{b64encode(digest).decode()}")
    return [("webhook-id", id), ("webhook-timestamp", str(timestamp)), ("webhook-signature", " ".join(signatures))]


def _webhook_key(secret: str) -> bytes:
    text = secret.removeprefix(_WEBHOOK_PREFIX)
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (BinasciiError, ValueError) as error:
        hint = "as the receiver shows it: whsec_ and base64"
        raise WaypostError("auth_secret", "a Standard Webhooks secret is not base64", hint=hint) from error


def _one_line(secret: str) -> str:
    if "\r" in secret or "\n" in secret:
        raise WaypostError("auth_secret", "a token holds a line break", hint="put the token alone into its file")
    return secret
