"""From what is picked to requests: rendering, proof of who sends, and waiting for a token where one is needed.

Owns: which flights wait for a token. Reads catalogs through the renderer, and secrets; writes no store. Never submits:
it answers requests, and reports of what cannot be sent. What it is given has its intent on disk already.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from waypost.catalog.model import Delivery
from waypost.courier.landing import Flight, Special
from waypost.courier.policies import Policies, Policy, has_egress
from waypost.courier.render import Rendered, Renderer
from waypost.courier.schedule import Bundle, Lane, Waiting
from waypost.courier.secrets import Secrets, forms_of
from waypost.courier.tokens import Key, Tokens
from waypost.errors import WaypostError
from waypost.model.frames import AttemptReason, PostbackOut
from waypost.ports.clock import Clock
from waypost.ports.sender import Egress, SendReport, SendRequest
from waypost.settings import CourierSettings
from waypost.telemetry.stats import Stats

_FIRST = AttemptReason.FIRST  # a name of its own: to find an enum's member takes long
_Picked = tuple[Lane, Waiting | Bundle]
_Begun = tuple[list[SendRequest], list[SendReport]]  # what is to be sent, and what cannot be


class _Unproved(NamedTuple):
    """A flight, rendered, that waits for its token."""

    seq: int
    rendered: Rendered


class Dispatch:
    """Used by the courier's thread. `flights` is the courier's own: what is begun here stands in it."""

    def __init__(
        self,
        renderer: Renderer,
        secrets: Secrets,
        policies: Policies,
        flights: dict[int, Flight],
        settings: CourierSettings,
        clock: Clock,
        stats: Stats,
    ) -> None:
        self._renderer, self._policies, self._flights = renderer, policies, flights
        self._settings, self._clock, self._stats = settings, clock, stats
        self._secrets = secrets
        self.tokens = Tokens(secrets)
        self._unproved: dict[Key, list[_Unproved]] = {}

    def begin(self, picked: Sequence[_Picked], at_ms: int) -> _Begun:
        """Makes a flight of each; what cannot be rendered or proved has a report at once."""
        requests: list[SendRequest] = []
        failed: list[SendReport] = []
        flights, render, policy_of = self._flights, self._renderer.render, self._policies.of
        repeats = 0
        for lane, item in picked:
            attempt, post = item.attempt + 1, item.post
            shown, reason = attempt + post.begun, _FIRST  # `shown` counts what was begun before a resend, too
            if shown > 1 or post.corrects:
                reason = _reason(item, post)
                repeats += shown > 1
            first_ms = post.first_ms or item.first_ms or at_ms
            seq, policy = item.seq, policy_of(post.lane)
            own = policy.delivery.headers
            try:
                if type(item) is Bundle:
                    posts = [one.post for one in item.items]
                    rendered = self._renderer.render_batch(
                        posts, attempt=shown, reason=reason, first_ms=first_ms, at_ms=at_ms, own=own
                    )
                else:
                    rendered = render(post, attempt=shown, reason=reason, first_ms=first_ms, at_ms=at_ms, own=own)
            except WaypostError as error:
                flights[seq] = Flight(lane, item, attempt, reason, at_ms, "", "")
                failed.append(_not_sent(seq, error))
                continue
            method, url, rule = rendered.method, rendered.url, rendered.rule
            if rule.is_plain:
                flights[seq] = Flight(lane, item, attempt, reason, at_ms, method, url)
                connect_ms, total_ms = policy.connect_timeout_ms, policy.total_timeout_ms
                request = SendRequest(seq, method, url, rendered.headers, rendered.body, connect_ms, total_ms)
                if policy.has_route:
                    self._submit(request, policy, requests, failed)
                else:
                    requests.append(request)
                continue
            special = Special(rule, (), rendered.ids)
            flights[seq] = Flight(lane, item, attempt, reason, at_ms, method, rendered.shown, special)
            self._prove(seq, rendered, policy, requests, failed)
        self._stats.values["courier_repeats"] += repeats
        return requests, failed

    def probe(self, token: int, lane: int, url: str) -> SendRequest:
        """A connection to where a lane's requests go, and no request."""
        policy = self._policies.of(lane)
        connect_ms, total_ms = policy.connect_timeout_ms, policy.total_timeout_ms
        request = SendRequest(token, "GET", url, (), b"", connect_ms, total_ms, probe=True)
        with suppress(WaypostError):  # without its proxy it fails, and another lane is tried
            self.route(request, policy.delivery)
        return request

    def token_landed(self, report: SendReport) -> _Begun:
        """Takes a token's answer; what waited for it goes on, or fails with it."""
        key = self.tokens.landed(report, self._clock.now_ms())
        requests: list[SendRequest] = []
        failed: list[SendReport] = []
        for seq, rendered in self._unproved.pop(key, ()):
            self._prove(seq, rendered, self._policies.of(key[0]), requests, failed)
        return requests, failed

    def _prove(
        self, seq: int, rendered: Rendered, policy: Policy, requests: list[SendRequest], failed: list[SendReport]
    ) -> None:
        """Adds the request with its proof, or what stands in its way; where a token is missing, it waits."""
        flight = self._flights[seq]
        rule, post = rendered.rule, flight.item.post
        now_ms = self._clock.now_ms()
        headers, key, token = rendered.headers, None, ""
        certificate = certificate_key = ""
        try:
            hidden = [self._secrets(reference) for reference in rule.secrets]
            if policy.delivery.proxy:
                self._secrets(policy.delivery.proxy)  # before a token is asked for, which leaves by it too
            if rule.signer is not None:
                auth = rule.signer.auth
                certificate, certificate_key = auth.certificate, auth.key
                if auth.oauth is not None:
                    key = (post.partner, auth.oauth)
                    found = self.tokens.get(key, now_ms)
                    asked = self.tokens.to_ask(key, now_ms, policy.connect_timeout_ms, policy.total_timeout_ms)
                    if asked is not None:
                        self.route(asked, policy.delivery)
                        requests.append(asked)
                    if found is None:
                        self._unproved.setdefault(key, []).append(_Unproved(seq, rendered))
                        return
                    token = found.text
                proof = self._renderer.prove(rendered, post, self._secrets, now_ms, token)
                headers = [*headers, *proof.headers]
                hidden += proof.hidden
        except WaypostError as error:
            failed.append(_not_sent(seq, error))
            return
        assert flight.special is not None
        special = flight.special._replace(hidden=forms_of(hidden), key=key, token=token)
        self._flights[seq] = msgspec.structs.replace(flight, special=special)
        request = SendRequest(
            seq,
            rendered.method,
            rendered.url,
            headers,
            rendered.body,
            policy.connect_timeout_ms,
            policy.total_timeout_ms,
            certificate,
            certificate_key,
            self._settings.response_bytes_max if rule.reads_body else 0,
        )
        self._submit(request, policy, requests, failed)

    def _submit(
        self, request: SendRequest, policy: Policy, requests: list[SendRequest], failed: list[SendReport]
    ) -> None:
        """Adds the request with its route, or what stands in its way."""
        try:
            self.route(request, policy.delivery)
        except WaypostError as error:
            failed.append(_not_sent(request.token, error))
        else:
            requests.append(request)

    def route(self, request: SendRequest, delivery: Delivery) -> None:
        """Sets how the lane's requests leave, and what their first byte may take. Raises WaypostError `auth_secret`."""
        if delivery.first_byte_timeout_ms:
            request.first_byte_timeout_ms = delivery.first_byte_timeout_ms
        if delivery.ports:
            request.ports = delivery.ports
        if has_egress(delivery):
            egress = Egress(delivery.http2, delivery.proxy, delivery.source_address, delivery.tls13)
            request.egress = egress  # with a reference for a proxy it leads nowhere, should the secret not be read
            if delivery.proxy:
                request.egress = egress._replace(proxy=self._secrets(delivery.proxy))


def _reason(item: Waiting | Bundle, post: PostbackOut) -> AttemptReason:
    """Why an attempt is made that is a repeat, or the first of a correction."""
    if item.attempt:
        return AttemptReason.UNKNOWN_AFTER_CRASH if item.unknown else AttemptReason.RETRY
    return AttemptReason.RESEND if post.begun else AttemptReason.CORRECTION


def _not_sent(token: int, error: WaypostError) -> SendReport:
    """The report of an attempt that ended before anything was sent."""
    return SendReport(token, error.code, error.detail, 0, "", 0, 0, 0, 0, 0, False, False, b"", "")
