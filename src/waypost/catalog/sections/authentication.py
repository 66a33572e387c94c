"""How a postback's request proves who sends it: the key `auth` of a rule.

Owns: its checks. Reads a tree; notes problems. Never resolves a secret, and never shows one.
"""

from waypost.catalog.compiled import is_reference
from waypost.catalog.model import Authentication, Basic, Hmac, OAuth
from waypost.catalog.reading import Field, Fields, Reader
from waypost.catalog.sections.requests import Request, is_header_name
from waypost.catalog.templates import TemplateChecker
from waypost.macros.names import NameSet, Where

ALGORITHMS = ("sha256", "sha1", "sha512", "md5")
ENCODINGS = ("hex", "base64")
CREDENTIALS = ("header", "body")
SECRETS_MAX = 5
SECRET_CHARACTERS_MAX = 4_096
OF_REQUEST = ("method", "url", "path", "query", "body", "timestamp", "timestamp_ms")

_AUTH = "partners.NAME.postbacks[].auth"


class _SignedNames(NameSet):
    """What a signature's text may name: the macros of a postback, and the request itself."""

    def __contains__(self, name: object) -> bool:
        return name in OF_REQUEST or super().__contains__(name)

    def hint(self, name: str) -> str:
        """See `NameSet.hint`."""
        return f"of the request: {', '.join(OF_REQUEST)}; {super().hint(name)}"


_SIGNED_NAMES = _SignedNames("a signature's text", frozenset({Where.POSTBACK, Where.ATTEMPT}))


def read_authentication(
    reader: Reader, field: Field | None, templates: TemplateChecker, request: Request
) -> tuple[Authentication, tuple[str, ...]]:
    """What the rule's `auth` says, and the macros that its signature uses."""
    fields = reader.fields(field, _AUTH) if field is not None else None
    if field is None or fields is None:
        return Authentication(), ()
    _check_one_authorization(reader, field, fields, request)
    hmac, macros = _hmac(reader, fields.get("hmac"), templates)
    certificate, key = fields.get("certificate"), fields.get("key")
    if key is not None and certificate is None:
        reader.wrong("catalog_missing_key", key, "a key without its `certificate`", hint="add `certificate: PATH`")
    secrets = [_secret(reader, one) for one in reader.one_or_many(fields.get("standard_webhooks"))]
    if len(secrets) > SECRETS_MAX:
        reader.wrong(
            "catalog_too_large", field, f"{len(secrets)} secrets, at most {SECRETS_MAX} sign", hint="remove some"
        )
    auth = Authentication(
        basic=_basic(reader, fields.get("basic")),
        bearer=_secret(reader, fields.get("bearer")) or "",
        oauth=_oauth(reader, fields.get("oauth"), templates),
        hmac=hmac,
        webhooks=tuple(secret for secret in secrets if secret),
        certificate=reader.text(certificate) or "",
        key=reader.text(key) or "",
    )
    return auth, macros


def _check_one_authorization(reader: Reader, field: Field, fields: Fields, request: Request) -> None:
    """The header Authorization can be set once."""
    given = [name for name in ("basic", "bearer", "oauth") if name in fields]
    if "authorization" in (name.lower() for name in request.headers):
        given.append("the header Authorization")
    if len(given) > 1:
        message = f"both {given[0]} and {given[1]} would set the header Authorization"
        reader.wrong("catalog_bad_value", field, message, hint="keep one")


def _secret(reader: Reader, field: Field | None) -> str | None:
    """A secret or a reference to one. What is written is shown in no message."""
    text = reader.text(field, length_max=SECRET_CHARACTERS_MAX, secret=True)
    if field is None or text is None:
        return None
    if not is_reference(text) and not text.isprintable():
        reader.problems.add(
            "catalog_bad_value", "holds signs that cannot be printed", field.node.at, field=field.path,
            hint="write `env:NAME` or `file:PATH`",
        )  # fmt: skip
        return None
    return text


def _basic(reader: Reader, field: Field | None) -> Basic | None:
    fields = reader.fields(field, f"{_AUTH}.basic") if field is not None else None
    if fields is None:
        return None
    user = fields.get("user")
    name = reader.text(user) or ""
    if user is not None and ":" in name:
        reader.wrong("catalog_bad_value", user, "a user's name cannot hold a colon", hint="see RFC 7617")
    return Basic(name, _secret(reader, fields.get("password")) or "")


def _oauth(reader: Reader, field: Field | None, templates: TemplateChecker) -> OAuth | None:
    fields = reader.fields(field, f"{_AUTH}.oauth") if field is not None else None
    if fields is None:
        return None
    url = fields.get("token_url")
    token_url = reader.text(url) or ""
    if url is not None and token_url and templates.check_url(reader, url, token_url):
        reader.wrong("catalog_template", url, "a token is asked for once for many postbacks", hint="write the URL out")
    return OAuth(
        token_url,
        reader.text(fields.get("client_id")) or "",
        _secret(reader, fields.get("client_secret")) or "",
        reader.text(fields.get("scope")) or "",
        reader.text(fields.get("audience")) or "",
        reader.choice(fields.get("credentials"), CREDENTIALS) == "body",
    )


def _hmac(reader: Reader, field: Field | None, templates: TemplateChecker) -> tuple[Hmac | None, tuple[str, ...]]:
    fields = reader.fields(field, f"{_AUTH}.hmac") if field is not None else None
    if fields is None:
        return None, ()
    header, text = fields.get("header"), fields.get("text")
    name = reader.text(header) or ""
    if header is not None and name and not is_header_name(name):
        reader.wrong("catalog_bad_value", header, f"`{name[:80]}` cannot be a header of a rule", hint="see RFC 9110")
    stamp = fields.get("timestamp_header")
    stamp_name = reader.text(stamp) or ""
    if stamp is not None and stamp_name and not is_header_name(stamp_name):
        reader.wrong(
            "catalog_bad_value", stamp, f"`{stamp_name[:80]}` cannot be a header of a rule", hint="see RFC 9110"
        )
    signed = reader.text(text) or "{body}"
    names = templates.check_signed(reader, text, signed, _SIGNED_NAMES) if text is not None else ()
    hmac = Hmac(
        name,
        _secret(reader, fields.get("secret")) or "",
        reader.choice(fields.get("algorithm"), ALGORITHMS) or "sha256",
        signed,
        reader.choice(fields.get("encoding"), ENCODINGS) or "hex",
        reader.text(fields.get("prefix")) or "",
        stamp_name,
    )
    return hmac, tuple(name for name in names if name not in OF_REQUEST)
