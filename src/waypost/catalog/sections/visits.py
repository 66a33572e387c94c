"""Keys of several sections that say how a visit is answered: modes, deep links, pages that report by script.

Owns: the checks of these keys. Reads a tree; notes problems. Never follows a link.
"""

import re
from urllib.parse import urlsplit

from waypost.catalog.model import Browser, DeepLink
from waypost.catalog.reading import Field, Fields, Reader
from waypost.catalog.templates import TemplateChecker

ORIGINS_MAX = 100

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{1,63})://", re.IGNORECASE)
_NO_APP = frozenset(("javascript", "data", "file", "vbscript", "blob", "about", "view-source"))
_ORIGIN = re.compile(r"https?://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::[0-9]{1,5})?\Z")


def read_mode(reader: Reader, field: Field | None) -> int:
    """The status of redirects; 0 where nothing is said."""
    return int(reader.choice(field, ("302", "307")) or 0)


def read_browser(reader: Reader, field: Field | None) -> Browser | None:
    """Which pages may report clicks and conversions. Goals belong to offers, which refer to the advertiser: a goal
    that none of them has never comes to anything, so it is not looked for here."""
    fields = reader.fields(field, "advertisers.NAME.browser") if field is not None else None
    if fields is None:
        return None
    origins = [_origin(reader, one) for one in reader.one_or_many(fields.get("origins"))[:ORIGINS_MAX]]
    goals = [reader.text(one, length_max=64) for one in reader.one_or_many(fields.get("goals"))]
    return Browser(
        origins=tuple(dict.fromkeys(origin for origin in origins if origin)),
        goals=tuple(goal for goal in goals if goal),
        status=reader.choice(fields.get("status"), ("pending", "approved")) or "pending",
    )


def _origin(reader: Reader, field: Field) -> str:
    """As browsers write it: scheme, host and port, in small letters, without the scheme's own port."""
    text = reader.text(field, length_max=300)
    if text is None:
        return ""
    origin = text.lower()
    if not _ORIGIN.match(origin):
        hint = "scheme and host, without a path, such as `https://shop.example`"
        reader.wrong("catalog_bad_value", field, f"`{text[:80]}` is no origin", hint=hint)
        return ""
    parts = urlsplit(origin)
    usual = ":443" if parts.scheme == "https" else ":80"
    return origin.removesuffix(usual)


def read_deep_link(reader: Reader, field: Field | None, templates: TemplateChecker) -> DeepLink | None:
    """Where phones are led."""
    fields = reader.fields(field, "offers.NAME.deep_link") if field is not None else None
    if fields is None:
        return None
    return DeepLink(
        ios=_app_url(reader, fields, "ios", templates),
        android=_app_url(reader, fields, "android", templates),
        ios_store=_web_url(reader, fields, "ios_store", templates),
        android_store=_web_url(reader, fields, "android_store", templates),
    )


def _app_url(reader: Reader, fields: Fields, key: str, templates: TemplateChecker) -> str:
    field = fields.get(key)
    text = reader.text(field)
    if field is None or text is None:
        return ""
    found = _SCHEME.match(text)
    if found is None or found[1].lower() in _NO_APP or (key == "ios" and found[1].lower() == "intent"):
        hint = "`https://…` (a universal link or app link) or an app's own `scheme://…`"
        reader.wrong("catalog_bad_value", field, f"`{text[:80]}` leads to no app", hint=hint)
        return ""
    templates.check_offer_url(reader, field, as_web_url(text))
    return text


def _web_url(reader: Reader, fields: Fields, key: str, templates: TemplateChecker) -> str:
    field = fields.get(key)
    text = reader.text(field)
    if field is None or text is None:
        return ""
    templates.check_offer_url(reader, field, text)
    return text


def as_web_url(template: str) -> str:
    """The template with `https` for its scheme: values are encoded in an app's URL by the rules of any other."""
    return "https" + template[template.index("://") :]
