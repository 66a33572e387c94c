"""Whether the courier's own line is down, and the way back.

Owns: the courier's state of being offline, its probes, the ramp after it. Reads and writes no store. Never judges one
partner: a lane that fails alone has its breaker. Offline, nothing is attempted; failures to connect of requests that
were in flight are excused; probes (a connection without a request) go to several lanes, and when two of them stood, or
one for some time, requests are made again, at first few of them.
"""

from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

from waypost.courier.lane import Lane
from waypost.ports.sender import SendReport, SendRequest
from waypost.settings import CourierSettings
from waypost.stages.outage import Outage
from waypost.telemetry.log import logger
from waypost.telemetry.stats import Stats

TOKENS_BELOW = -(1 << 40)  # tokens of probes; those of OAuth's tokens are above
_PROBES = 3  # at once
_GOOD_PROBES = 2
_ALONE_MS = 10_000  # or one stood for so long, while no other did
_OTHERS_MAX = 50  # lanes beside those that sent of late, which are probed too
_RAMP_START = 16  # requests in flight, all lanes, when it is online again …
_RAMP_STEP_MS = 500  # … and twice as many after each such time
_GRACE_MS = 5_000  # after a return, in which partners may answer
_DOUBT_MS = 60_000  # so long after a return to which partners answered, those that do not are at fault themselves
# A portal that stands in for everybody shows certificates of its own.
_BELOW_HTTP = frozenset(
    {"dns_failed", "connect_failed", "tls_failed", "tls_wrong_name", "tls_untrusted", "proxy_failed"}
)

_log = logger("courier")


def is_cut(report: SendReport) -> bool:
    """Whether a request found no way to the partner."""
    return report.code in _BELOW_HTTP or (report.code == "send_timeout" and not report.sent)


class Offline:
    """Used by the courier's thread. `probe_of` makes a probe of a token, a lane and a URL."""

    def __init__(
        self, settings: CourierSettings, stats: Stats, probe_of: Callable[[int, int, str], SendRequest]
    ) -> None:
        self._share = settings.offline_share
        self._probe_ms = settings.offline_probe_ms
        self._outage = Outage(settings.offline_lanes)
        self._stats, self._probe_of = stats, probe_of
        self.since_ms = 0  # 0: it is online
        self._back_ms = 0  # when it came back last
        self._has_heard = False  # and whether partners have answered since
        self._lanes: list[tuple[int, str]] = []  # that are probed, by turns, and where
        self._good: dict[int, int] = {}  # whose probes stood, and since when
        self._probes: dict[int, int] = {}  # token: lane, in flight
        self._token = TOKENS_BELOW
        self._probe_due_ms = 0
        self._turn = 0

    def heard(self, lane: int, now_ms: int) -> None:
        """A partner answered."""
        if not self.since_ms:
            self._has_heard = True
            self._outage.heard(lane, now_ms)

    def failed(self, lane: int, now_ms: int, lanes: Mapping[int, Lane]) -> bool:
        """A request found no way to its partner; answers whether that shows the line to be down. `lanes`: all."""
        if self.since_ms:
            return False
        self._outage.failed(lane, now_ms)
        if not self._is_on(now_ms):
            return False
        for number, other in lanes.items():
            if other.good and number != lane:  # answers that no tick has counted yet
                self._outage.heard(number, now_ms)
        if not self._is_on(now_ms):
            return False
        lately = self._outage.lanes()
        others = sorted(lanes.keys() - set(lately))
        urls = {number: _origin(lanes[number].url) for number in lately + others if number in lanes}
        self._lanes = [(number, url) for number, url in urls.items() if url][: len(lately) + _OTHERS_MAX]
        if not self._lanes:
            return False
        self.since_ms = now_ms
        self._good, self._probes, self._probe_due_ms = {}, {}, now_ms
        _log.error("offline", lanes=len(lately), hint="no partner can be reached: see to this machine's network")
        self._stats.add("errors")
        self._show()
        return True

    def _is_on(self, now_ms: int) -> bool:
        if self._back_ms and now_ms - self._back_ms < (_DOUBT_MS if self._has_heard else _GRACE_MS):
            return False
        return self._outage.is_on(now_ms, self._share)

    def probes(self, now_ms: int) -> Iterator[SendRequest]:
        """What is to be tried now."""
        if not self.since_ms or now_ms < self._probe_due_ms:
            return
        self._probe_due_ms = now_ms + self._probe_ms
        self._show()
        busy = set(self._probes.values())
        for _ in range(min(_PROBES - len(busy), len(self._lanes))):
            lane, url = self._lanes[self._turn % len(self._lanes)]
            self._turn += 1
            if lane not in busy:
                self._token -= 1
                self._probes[self._token] = lane
                yield self._probe_of(self._token, lane, url)

    def probed(self, report: SendReport, now_ms: int) -> bool:
        """Takes a probe's end; answers whether the courier is online again."""
        lane = self._probes.pop(report.token, None)
        if lane is None or not self.since_ms:
            return False
        if report.code:
            self._good.pop(lane, None)
            return False
        since_ms = self._good.setdefault(lane, now_ms)
        if len(self._good) < _GOOD_PROBES and now_ms - since_ms < _ALONE_MS:
            return False
        _log.warning("online_again", offline_ms=now_ms - self.since_ms)
        self.since_ms, self._back_ms, self._has_heard = 0, now_ms, False
        self._outage.clear()
        self._show()
        return True

    def in_flight_max(self, most: int, now_ms: int) -> int:
        """How many requests may be in flight, all lanes together."""
        if self.since_ms:
            return 0
        if not self._back_ms:
            return most
        steps = max(0, now_ms - self._back_ms) // _RAMP_STEP_MS
        return min(most, _RAMP_START << min(steps, 32))

    def _show(self) -> None:
        self._stats.set("courier_offline", int(self.since_ms > 0))
        if self.since_ms:
            probed = {"since_ms": self.since_ms, "lanes": len(self._lanes), "reached": len(self._good)}
            self._stats.details["offline"] = probed
        else:
            self._stats.details.pop("offline", None)


def _origin(url: str) -> str:
    """Scheme, host and port of a URL; empty where there is none."""
    try:
        parts = urlsplit(url)
        if not parts.hostname:
            return ""
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}/"
    except ValueError:
        return ""
