"""The sections `privacy` and `domains`: what is kept of visitors, and the hosts that doors answer for.

Owns: the checks of these sections. Reads a tree and the links' names; notes problems. Never looks a host up.

Sources for apps: Apple, "Supporting associated domains" (team and bundle identifiers, components); Google, "Verify
Android App Links" (package name, SHA-256 fingerprints).
"""

import re
from collections.abc import Collection

from waypost.catalog.outside import (
    ADDRESS_KEPT,
    REFERRER_KEPT,
    USER_AGENT_KEPT,
    AndroidApp,
    Domain,
    IosApp,
    Privacy,
)
from waypost.catalog.reading import Field, Fields, Reader

DOMAINS_MAX = 10_000
PATH_MAX = 256
ANY_HOST = "*"

_HOST = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_TEAM = re.compile(r"[A-Z0-9]{10}\Z")
_BUNDLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,154}\Z")
_PACKAGE = re.compile(r"[A-Za-z]\w*(?:\.[A-Za-z]\w*)+\Z", re.ASCII)
_FINGERPRINT = re.compile(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}\Z")


def read_privacy(reader: Reader, field: Field) -> Privacy:
    """What is kept of visitors; its defaults where the section is not there."""
    fields = reader.fields(field, "privacy")
    if fields is None:
        return Privacy()
    usual = Privacy()
    return Privacy(
        ip=reader.choice(fields.get("ip"), ADDRESS_KEPT) or usual.ip,
        user_agent=reader.choice(fields.get("user_agent"), USER_AGENT_KEPT) or usual.user_agent,
        referrer=reader.choice(fields.get("referrer"), REFERRER_KEPT) or usual.referrer,
    )


def read_domains(reader: Reader, field: Field, links: Collection[str]) -> tuple[Domain, ...]:
    """All hosts."""
    found: dict[str, Domain] = {}
    for name, entry in reader.entries(field, DOMAINS_MAX):
        host = name.lower()
        fields = reader.fields(entry, "domains.HOST")
        if fields is None:
            continue
        if host != ANY_HOST and not _HOST.match(host):
            hint = "a host such as `go.example.com` without scheme, port or path; other scripts in their xn-- form"
            reader.wrong("catalog_bad_value", entry, f"`{name[:80]}` is no host's name", hint=hint)
        elif host in found:
            hint = "letter case does not count"
            reader.wrong("catalog_duplicate", entry, f"`{name}` is given twice", hint=hint)
        else:
            found[host] = _domain(reader, host, fields, links)
    return tuple(found.values())


def _domain(reader: Reader, host: str, fields: Fields, links: Collection[str]) -> Domain:
    file, line = fields.at
    ios = (_ios(reader, one) for one in reader.one_or_many(fields.get("ios")))
    android = (_android(reader, one) for one in reader.one_or_many(fields.get("android")))
    return Domain(
        name=host,
        link=reader.reference(fields.get("link"), links, "link") or "",
        active=reader.flag(fields.get("active"), True),
        ios=tuple(app for app in ios if app is not None),
        android=tuple(app for app in android if app is not None),
        place=f"{file}:{line}",
    )


def _ios(reader: Reader, field: Field) -> IosApp | None:
    fields = reader.fields(field, "domains.HOST.ios")
    if fields is None:
        return None
    team = _like(reader, fields.get("team_id"), _TEAM, "ten capital letters and digits, from Apple's membership page")
    bundle = _like(reader, fields.get("bundle_id"), _BUNDLE, "such as `com.example.shop`")
    paths = [path for one in reader.one_or_many(fields.get("paths")) if (path := _path(reader, one))]
    return IosApp(f"{team}.{bundle}", tuple(paths) or ("/c/*",))


def _path(reader: Reader, field: Field) -> str:
    text = reader.text(field, length_max=PATH_MAX)
    if text is None:
        return ""
    if not text.removeprefix("not ").startswith(("/", "*")) or not text.isascii() or not text.isprintable():
        hint = "such as `/c/*`, or `not /c/web-*` to leave some out"
        reader.wrong("catalog_bad_value", field, f"`{text[:80]}` is no path", hint=hint)
    return text


def _android(reader: Reader, field: Field) -> AndroidApp | None:
    fields = reader.fields(field, "domains.HOST.android")
    if fields is None:
        return None
    package = _like(reader, fields.get("package"), _PACKAGE, "such as `com.example.shop`")
    hint = "32 pairs of capital hexadecimal digits with `:` between, as `keytool -list -v` prints them"
    given = reader.one_or_many(fields.get("sha256_fingerprints"))
    return AndroidApp(package, tuple(_like(reader, one, _FINGERPRINT, hint) for one in given))


def _like(reader: Reader, field: Field | None, form: "re.Pattern[str]", hint: str) -> str:
    text = reader.text(field, length_max=PATH_MAX)
    if field is None or text is None:
        return ""
    if not form.match(text):
        reader.wrong("catalog_bad_value", field, f"`{text[:80]}` has not the form of this", hint=hint)
    return text
