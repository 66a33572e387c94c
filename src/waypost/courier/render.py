"""Rendering: a postback and an attempt become a request.

Owns: the headers that Waypost adds, the memory of compiled templates, the checks on what was rendered. Reads catalog
versions. Never gives a template a value that the pipeline did not commit: beside the postback's own values it adds
`postback_id`, `attempt` and `is_repeat` only, so a value that privacy held back renders as empty.
"""

import re
from collections import OrderedDict
from datetime import UTC, datetime
from typing import NamedTuple

from waypost.catalog.model import PostbackRule
from waypost.catalog.templates import body_position
from waypost.catalog.view import CatalogView
from waypost.errors import WaypostError
from waypost.macros.template import Position, Template, compile_applied
from waypost.model.frames import AttemptReason, PostbackOut
from waypost.ports.catalog_source import CatalogSource

_TEMPLATES_MAX = 20_000
_VIEWS_MAX = 8
_ATTEMPT_NAMES = frozenset({"postback_id", "attempt", "is_repeat"})

_url = re.compile(r"https?://(?:[!-.0->A-~]*@)?(?:\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._~%-]+)(?::[0-9]{1,5})?(?:[/?#][!-~]*)?").fullmatch  # fmt: skip  # noqa: E501
_secret = re.compile(r"(?<=://)[^/?#@]*@").sub


class Rendered(NamedTuple):
    """What is sent, but for timeouts and token."""

    method: str
    url: str
    headers: list[tuple[str, str]]
    body: bytes


class _Rule(NamedTuple):
    """A rule's compiled templates."""

    method: str
    url: Template
    headers: tuple[tuple[str, Template], ...]
    body: Template | None
    per_attempt: bool  # whether a macro of the attempt is used


class Renderer:
    """Renders; holds at most 20,000 rules compiled, the least recently used go first."""

    def __init__(self, catalogs: CatalogSource) -> None:
        self._catalogs = catalogs
        self._rules: OrderedDict[tuple[int, int, int], _Rule] = OrderedDict()
        self._views: dict[int, CatalogView] = {}
        self._time: tuple[int, str] = (-1, "")

    def render(self, out: PostbackOut, *, attempt: int, reason: AttemptReason, first_ms: int) -> Rendered:
        """The request of attempt number `attempt`; `first_ms` is when the first one was begun.

        Raises WaypostError `template_missing`, `render_failed`, `render_bad_url` or `render_bad_header`.
        """
        rule = self._rule(out)
        values = out.values
        if rule.per_attempt:
            values = {
                **values,
                "postback_id": out.id,
                "attempt": str(attempt),
                "is_repeat": "1" if attempt > 1 else "0",
            }
        headers = self._own_headers(out, attempt, reason, first_ms)
        try:
            url = rule.url.render(values)
            for name, template in rule.headers:
                value = template.render(values)
                if "\r" in value or "\n" in value or "\0" in value:
                    raise WaypostError("render_bad_header", f"header {name}", place=out.id)
                headers.append((name, value))
            body = rule.body.render(values).encode() if rule.body is not None else b""
        except WaypostError as error:
            if error.code == "render_bad_header":
                raise
            raise WaypostError("render_failed", f"{error.detail} ({error.code})", place=error.place) from error
        if not _url(url):
            raise WaypostError("render_bad_url", f"{url[:200]!r} is no http or https URL", place=out.id)
        return Rendered(rule.method, url, headers, body)

    def _own_headers(
        self, out: PostbackOut, attempt: int, reason: AttemptReason, first_ms: int
    ) -> list[tuple[str, str]]:
        if self._time[0] != first_ms:
            self._time = (first_ms, time_text(first_ms))
        headers = [
            ("Waypost-Id", out.id),
            ("Waypost-Attempt", str(attempt)),
            ("Waypost-First-Attempt", self._time[1]),
        ]
        if attempt > 1:
            headers.append(("Waypost-Repeat", "1"))
            headers.append(("Waypost-Repeat-Reason", reason.value))
        if out.test:
            headers.append(("Waypost-Test", "1"))
        return headers

    def _rule(self, out: PostbackOut) -> _Rule:
        key = (out.catalog, out.partner, out.rule)
        rule = self._rules.get(key)
        if rule is None:
            rule = self._rules[key] = _compiled(self._find(out))
            if len(self._rules) > _TEMPLATES_MAX:
                self._rules.popitem(last=False)
        else:
            self._rules.move_to_end(key)
        return rule

    def _find(self, out: PostbackOut) -> PostbackRule:
        partner = self._view(out.catalog).partner(out.partner)
        for rule in partner.rules if partner is not None else ():
            if rule.no == out.rule:
                return rule
        raise WaypostError(
            "template_missing", f"catalog {out.catalog} has no rule {out.rule} of partner {out.partner}", place=out.id
        )

    def _view(self, version: int) -> CatalogView:
        view = self._views.get(version)
        if view is None:
            try:
                view = self._catalogs.open(version)
            except WaypostError as error:
                raise WaypostError("template_missing", f"catalog {version}: {error.detail}") from error
            if len(self._views) >= _VIEWS_MAX:
                self._views.pop(next(iter(self._views)))
            self._views[version] = view
        return view


def _compiled(rule: PostbackRule) -> _Rule:
    content_type = next((value for name, value in rule.headers.items() if name.lower() == "content-type"), "")
    try:
        url = compile_applied(rule.url, position=Position.URL, place=rule.place)
        headers = tuple(
            (name, compile_applied(value, position=Position.HEADER, place=rule.place))
            for name, value in rule.headers.items()
        )
        body = None
        if rule.body:
            body = compile_applied(rule.body, position=body_position(content_type), place=rule.place)
    except WaypostError as error:
        raise WaypostError("render_failed", f"{error.detail} ({error.code})", place=error.place) from error
    used = {*url.names, *(body.names if body else ()), *(name for _, header in headers for name in header.names)}
    return _Rule(rule.method, url, headers, body, bool(used & _ATTEMPT_NAMES))


def time_text(ms: int) -> str:
    """A Unix time in milliseconds as RFC 3339 in UTC, e.g. `2026-01-31T23:59:59.250Z`."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def redacted(url: str) -> str:
    """The URL as it may be kept and shown: without a user's name and password."""
    return _secret("***@", url, 1) if "@" in url else url
