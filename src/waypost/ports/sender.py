"""The sender: makes HTTP requests, many at once, and reports each one's end exactly once.

Engines of it: `courier/curl.py` (libcurl's multi interface in a thread of its own) and a fake for tests.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec


class Egress(NamedTuple):
    """How requests of a lane leave, where that is not the usual way."""

    http2: bool = False  # where the partner offers it (ALPN); https only
    proxy: str = ""  # an http or https URL, with user and password where it wants them
    source_address: str = ""  # of this machine
    tls13: bool = False  # nothing older


class SendRequest(msgspec.Struct, gc=False):
    """One request. `token` is the caller's own, given back with the result."""

    token: int
    method: str
    url: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    connect_timeout_ms: int
    total_timeout_ms: int
    certificate: str = ""  # PEM files that the client shows; empty: none
    key: str = ""
    body_bytes: int = 0  # of the answer to be given back; 0: as many as are kept with an attempt
    first_byte_timeout_ms: int = 0  # from the request sent to the first byte of the answer; 0: only the total one
    ports: tuple[int, ...] = ()  # that may be dialled beside the settings'
    egress: Egress | None = None
    probe: bool = False  # only looks whether a new connection can be made, TLS included; sends no request


class SendReport(msgspec.Struct, gc=False):
    """How a request ended. `code` is empty when an HTTP answer came whole, else an error code of `errors.py`.

    Times are microseconds from the start. `sent` says whether any byte of the request may have left. Of a probe, `code`
    is empty when the connection stood; nothing was sent then, and `status` is 0.
    """

    token: int
    code: str
    detail: str
    status: int
    address: str
    dns_us: int
    connect_us: int
    tls_us: int
    first_byte_us: int
    total_us: int
    reused: bool
    sent: bool
    body: bytes
    retry_after: str


class Sender(Protocol):
    def submit(self, requests: Sequence[SendRequest]) -> None:
        """Starts them; returns at once. Never sends a request twice, follows no redirect, uses no proxy of the
        environment, and dials no address that the guard forbids."""

    def reports(self, wait_ms: float) -> list[SendReport]:
        """Reports of requests that ended, waiting up to `wait_ms` for the first."""

    def wake(self) -> None:
        """Ends a `reports` call that waits, from any thread."""

    @property
    def in_flight(self) -> int: ...

    def close(self) -> None:
        """Stops; requests in flight are abandoned and not reported."""


class Rehearsed(NamedTuple):
    """A request as it would be sent at a postback's first attempt, without its proof; `problem` if it cannot be."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: str
    problem: str = ""
