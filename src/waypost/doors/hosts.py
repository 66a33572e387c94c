"""What a door answers for a host beside links and calls: the files that phones look for, `/`, `robots.txt`.

Owns: one catalog version's plan for each host that it names. Reads the catalog's domains; writes nothing. Never decides
where a click leads: `/` may only name a link of the catalog.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from waypost.catalog.outside import Domain
from waypost.stages.well_known import APPLE, APPLE_OLD, GOOGLE, apple_file, google_file

ROBOTS = b"/robots.txt"
_ROBOTS_TEXT = b"User-agent: *\nDisallow: /\n"  # nothing here is for search engines
ANY_HOST = b"*"


class HostPlan(NamedTuple):
    """`files` by path: body and media type. `link` is what `/` leads to; empty: nothing."""

    is_active: bool = True
    link: bytes = b""
    files: Mapping[bytes, tuple[bytes, str]] = MappingProxyType({})


_PLAIN = HostPlan(files={ROBOTS: (_ROBOTS_TEXT, "text/plain")})


class Hosts:
    """The hosts of a catalog version. `has_inactive` is asked of every request, so it is worked out once."""

    def __init__(self, domains: tuple[Domain, ...]) -> None:
        self._plans = {domain.name.encode(): _plan(domain) for domain in domains}
        self._others = self._plans.get(ANY_HOST, _PLAIN)
        self.has_inactive = any(not plan.is_active for plan in self._plans.values())

    def of(self, header: bytes) -> HostPlan:
        """The plan for a request's `Host`, with or without a port; of a request without one what holds for others."""
        host = header.lower()
        return self._plans.get(host) or self._plans.get(without_port(host)) or self._others

    def is_served(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a request with these headers is for a host that is served."""
        return self.of(headers.get(b"host", b"")).is_active


def without_port(host: bytes) -> bytes:
    """A `Host` header's name; an IPv6 address keeps its brackets."""
    name, colon, port = host.rpartition(b":")
    return name.rstrip(b".") if colon and (not port or port.isdigit()) else host.rstrip(b".")


def _plan(domain: Domain) -> HostPlan:
    files = dict(_PLAIN.files)
    if domain.ios:
        files[APPLE] = files[APPLE_OLD] = (apple_file(domain.ios), "application/json")
    if domain.android:
        files[GOOGLE] = (google_file(domain.android), "application/json")
    return HostPlan(domain.active, domain.link.encode(), files)
