"""Rendering: a postback and an attempt become a request.

Owns: the headers that Waypost adds, the memory of compiled templates, the checks on headers and bodies. Reads catalog
versions. Never gives a template a value that the pipeline did not commit: beside the postback's own values it adds
what an attempt has only (`Where.ATTEMPT` in `macros/names.py`), so a value that privacy held back renders as empty.

A URL is not looked at again: a template of one compiles only with a whole http or https front in which no macro stands,
and behind that everything is written in the letters of a URL. Where the front leads, `places.py` reads.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from waypost.catalog.model import Batch, PostbackRule, Success
from waypost.catalog.templates import body_position
from waypost.catalog.view import CatalogView
from waypost.courier.authentication import Proof, Request, Signer
from waypost.courier.own_headers import IdHeaders, OwnHeaders, id_headers
from waypost.courier.secrets import Secrets
from waypost.errors import WaypostError
from waypost.macros.names import MACROS, Where
from waypost.macros.template import Context, Missing, Position, Template, compile_applied
from waypost.model.frames import AttemptReason, PostbackOut
from waypost.ports.catalog_source import CatalogSource
from waypost.stages.answers import reads_body

_TEMPLATES_MAX = 20_000
_VIEWS_MAX = 8
_ATTEMPT_NAMES = frozenset(row.name for row in MACROS.values() if Where.ATTEMPT in row.where)
_BATCH_BYTES_MAX = 8 << 20

_secret = re.compile(r"(?<=://)[^/?#@]*@").sub


class CompiledBatch(NamedTuple):
    """How a batch is written. `item_id` renders to what the answer may call an item."""

    batch: Batch
    head: Template
    item: Template
    tail: Template
    item_id: Template


class CompiledRule(NamedTuple):
    """A rule's compiled templates. What most rules lack is None: a plain one costs nothing for it."""

    method: str
    url: Template
    headers: tuple[tuple[str, Template], ...]
    body: Template | None
    per_attempt: bool  # whether a macro of the attempt is used
    signer: Signer | None
    success: Success | None
    batch: CompiledBatch | None
    reads_body: bool
    secrets: tuple[str, ...]  # that its templates refer to
    is_plain: bool
    context: Context  # secrets, and the rates of the rule's catalog
    id_headers: IdHeaders


class Rendered(msgspec.Struct, frozen=True, gc=False):
    """What is sent, but for timeouts and token. `id` is the postback's or the batch's; `shown` is the URL without
    secrets; `ids` are what an answer may call the items of a batch."""

    method: str
    url: str
    headers: list[tuple[str, str]]
    body: bytes
    rule: CompiledRule
    shown: str
    id: str
    ids: tuple[str, ...] = ()


class Renderer:
    """Renders; holds at most 20,000 rules compiled, the least recently used go first."""

    def __init__(self, catalogs: CatalogSource, secrets: Secrets | None = None) -> None:
        self._catalogs = catalogs
        self._secrets = secrets
        self._contexts: dict[int, Context] = {}
        self._rule = lru_cache(_TEMPLATES_MAX)(self._compile)  # by catalog version, partner and rule
        self._views: dict[int, CatalogView] = {}
        self._own_headers = OwnHeaders()

    def render(
        self,
        out: PostbackOut,
        *,
        attempt: int,
        reason: AttemptReason,
        first_ms: int,
        at_ms: int = 0,
        own: str = "all",
    ) -> Rendered:
        """The request of attempt number `attempt`, begun at `at_ms`; `first_ms` is when the first one was begun; `own`
        is which of Waypost's own headers the partner gets.

        Raises WaypostError `template_missing`, `render_failed` or `render_bad_header`.
        """
        rule = self._rule(out.catalog, out.partner, out.rule)
        values = out.values
        if rule.per_attempt:
            values = _with_id(out, _of_attempt(attempt, reason, first_ms, at_ms))
        headers = self._own_headers.of(
            out.id, out, rule.id_headers, own, attempt=attempt, reason=reason, first_ms=first_ms
        )
        try:
            url = rule.url.render(values, rule.context)
            if rule.headers:
                self._add_headers(headers, rule, values, out.id)
            body = rule.body.render(values, rule.context).encode() if rule.body is not None else b""
            shown = rule.url.render_redacted(values, rule.context) if rule.url.secrets else url
        except WaypostError as error:
            raise _render_error(error) from error
        return Rendered(rule.method, url, headers, body, rule, shown, out.id)

    def render_batch(
        self,
        outs: Sequence[PostbackOut],
        *,
        attempt: int,
        reason: AttemptReason,
        first_ms: int,
        at_ms: int = 0,
        own: str = "all",
    ) -> Rendered:
        """One request for postbacks of the same rule, of which this is attempt number `attempt`. Raises as above."""
        first = outs[0]
        rule = self._rule(first.catalog, first.partner, first.rule)
        batch = rule.batch
        if batch is None:
            raise WaypostError("template_missing", "the rule has no batch", place=first.id)
        context = rule.context
        common = _of_attempt(attempt, reason, first_ms, at_ms)
        id = batch_id([out.id for out in outs])
        headers = self._own_headers.of(
            id, first, rule.id_headers, own, attempt=attempt, reason=reason, first_ms=first_ms, count=len(outs)
        )
        items: list[str] = []
        ids: list[str] = []
        try:
            url = rule.url.render(common, context)
            shown = rule.url.render_redacted(common, context)
            self._add_headers(headers, rule, common, first.id)
            for out in outs:
                values = _with_id(out, common)
                items.append(batch.item.render(values, context))
                ids.append(batch.item_id.render(values, context))
            head, tail = batch.head.render(common, context), batch.tail.render(common, context)
        except WaypostError as error:
            raise _render_error(error) from error
        body = (head + batch.batch.separator.join(items) + tail).encode()
        if len(body) > _BATCH_BYTES_MAX:
            raise WaypostError("render_failed", f"the batch has {len(body)} bytes", place=first.id)
        return Rendered(rule.method, url, headers, body, rule, shown, id, tuple(ids))

    def own_of(self, out: PostbackOut) -> str:
        """Which of Waypost's own headers the partner gets by the postback's own catalog version."""
        partner = self._view(out.catalog).partner(out.partner)
        return partner.delivery.headers if partner is not None else "all"

    def batch_of(self, out: PostbackOut) -> tuple[int, int]:
        """How many postbacks of this one's rule share a request at most, and how long one waits for the others."""
        try:
            batch = self._rule(out.catalog, out.partner, out.rule).batch
        except WaypostError:
            batch = None  # what is wrong shows when it is rendered
        return (batch.batch.count, batch.batch.age_ms) if batch is not None else (1, 0)

    def prove(self, rendered: Rendered, out: PostbackOut, secrets: Secrets, now_ms: int, token: str) -> Proof:
        """What proves who sends it; `token` is OAuth's, or empty. Raises `auth_secret` or `render_failed`."""
        assert rendered.rule.signer is not None
        request = Request(rendered.id, rendered.method, rendered.url, rendered.body)
        try:
            return rendered.rule.signer.prove(request, out.values, secrets, now_ms, token)
        except WaypostError as error:
            raise _render_error(error) from error

    def _add_headers(
        self, headers: list[tuple[str, str]], rule: CompiledRule, values: Mapping[str, str], place: str
    ) -> None:
        for name, template in rule.headers:
            value = template.render(values, rule.context)
            if "\r" in value or "\n" in value or "\0" in value:
                raise WaypostError("render_bad_header", f"header {name}", place=place)
            headers.append((name, value))

    def _compile(self, version: int, partner_number: int, number: int) -> CompiledRule:
        partner = self._view(version).partner(partner_number)
        for rule in partner.rules if partner is not None else ():
            if rule.no == number:
                return _compiled(rule, self._context_of(version))
        raise WaypostError("template_missing", f"catalog {version} has no rule {number} of partner {partner_number}")

    def _context_of(self, version: int) -> Context:
        """What templates of a catalog version may ask for: secrets, and that version's exchange rates."""
        context = self._contexts.get(version)
        if context is None:
            if len(self._contexts) >= _VIEWS_MAX:
                self._contexts.pop(next(iter(self._contexts)))
            rates = self._view(version).rates()
            context = Context(rates=rates) if self._secrets is None else Context(self._secrets, rates)
            self._contexts[version] = context
        return context

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


def _of_attempt(attempt: int, reason: AttemptReason, first_ms: int, at_ms: int) -> dict[str, str]:
    """What an attempt adds to the values of each postback that it carries."""
    return {
        "attempt": str(attempt),
        "is_repeat": "1" if attempt > 1 else "0",
        "reason": reason.value,
        "first_attempt_time": str(first_ms // 1000),
        "attempt_time": str((at_ms or first_ms) // 1000),
    }


def _with_id(out: PostbackOut, attempt: dict[str, str]) -> dict[str, str]:
    """All values of one postback in an attempt."""
    return {**out.values, **attempt, "postback_id": out.id, "corrects": out.corrects}


def _render_error(error: WaypostError) -> WaypostError:
    if error.code in ("render_bad_header", "auth_secret"):
        return error
    return WaypostError("render_failed", f"{error.detail} ({error.code})", place=error.place)


def batch_id(ids: Sequence[str]) -> str:
    """Names a batch by its items: the same ones again have the same name, others another."""
    return "b" + blake2b(" ".join(ids).encode(), digest_size=12).hexdigest()


def _compiled(rule: PostbackRule, context: Context) -> CompiledRule:
    content_type = next((value for name, value in rule.headers.items() if name.lower() == "content-type"), "")
    position = body_position(content_type)
    missing, place = Missing(rule.missing), rule.place
    try:
        url = compile_applied(rule.url, position=Position.URL, place=place, missing=missing)
        headers = tuple(
            (name, compile_applied(value, position=Position.HEADER, place=place, missing=missing))
            for name, value in rule.headers.items()
        )
        body = batch = None
        if rule.batch is not None:
            batch = _compiled_batch(rule.batch, position if rule.body else Position.JSON, place, missing)
        elif rule.body:
            body = compile_applied(rule.body, position=position, place=place, missing=missing)
        signer = Signer(rule.auth, place) if rule.auth.kind else None
    except WaypostError as error:
        raise WaypostError("render_failed", f"{error.detail} ({error.code})", place=error.place) from error
    templates = [url, *(header for _, header in headers), *((body,) if body is not None else ())]
    used = {name for template in templates for name in template.names}
    if batch is not None:
        templates += [batch.head, batch.item, batch.tail]
    secrets = tuple(dict.fromkeys(secret for template in templates for secret in template.secrets))
    success = rule.success if rule.success != Success() else None
    is_plain = signer is None and success is None and batch is None and not secrets
    return CompiledRule(
        rule.method,
        url,
        headers,
        body,
        bool(used & _ATTEMPT_NAMES),
        signer,
        success,
        batch,
        reads_body(rule.success, rule.batch),
        secrets,
        is_plain,
        context,
        id_headers(rule.method, rule.headers, signs_webhooks=bool(rule.auth.webhooks)),
    )


def _compiled_batch(batch: Batch, position: Position, place: str, missing: Missing) -> CompiledBatch:
    return CompiledBatch(
        batch,
        compile_applied(batch.head, position=position, place=place),
        compile_applied(batch.item, position=position, place=place, missing=missing),
        compile_applied(batch.tail, position=position, place=place),
        compile_applied(batch.id_text, position=Position.RAW, place=place),
    )


def redacted(url: str) -> str:
    """The URL as it may be kept and shown: without a user's name and password."""
    return _secret("***@", url, 1) if "@" in url else url
