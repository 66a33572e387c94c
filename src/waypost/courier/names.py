"""What is known of the hosts that requests go to: resolved once, judged whole, kept for as long as the answer holds.

Owns: the memory of places and names, and what is being asked for. Used by the sender's thread; the resolver's thread
only adds answers. Reads the guard. Never dials, and lets nobody else resolve: the addresses that are judged here are
the ones that libcurl is given.

A name of which any answer is forbidden is not dialled at all: a name with one public and one private address could
reach the private one, or be steered by who answers last.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from waypost.courier.guard import AddressGuard, Judgement
from waypost.courier.places import Spot, spot_of
from waypost.courier.resolver import Answer, Resolver
from waypost.settings import CourierSettings
from waypost.telemetry.stats import Stats

KNOWN_MAX = 20_000
LATE_MS = 1_000  # an answer is used so much longer while a new one is on its way, so that a busy lane does not stop
_ANSWERS_USED_MAX = 16  # of a name's addresses, all of them judged
_FORGET_MS = 500  # the resolver's own memory is emptied no more often than this
_PORT = 443  # any: a port is judged when it is dialled
_FINE = Judgement("")


class Found(NamedTuple):
    """What is known of a name. `judgement` is an error code, or empty where the addresses may be dialled."""

    judgement: Judgement
    addresses: tuple[str, ...]
    until_ms: float


class Name:
    """A host name, and who waits for it."""

    __slots__ = ("asked_ms", "found", "host", "waiting")

    def __init__(self, host: str) -> None:
        self.host = host
        self.found: Found | None = None
        self.asked_ms = 0.0  # 0: not being asked
        self.waiting: list[Any] = []


class Place:
    """Where URLs with one front lead to. `name` is None for an address; `found` is then what the guard says of it."""

    __slots__ = ("found", "host", "key", "length", "name", "port", "rewritten", "turn")

    def __init__(self, spot: Spot, name: Name | None, found: Found | None, rewritten: str) -> None:
        self.host, self.port, self.length = spot.host, spot.port, spot.length
        self.key = (spot.host, spot.port)
        self.name, self.found = name, found
        self.turn = 0  # which of its addresses a proxy is told
        self.rewritten = rewritten  # what stands for the front of the URL; empty: it can stay as it is

    def url(self, url: str) -> str:
        """The URL as libcurl is given it."""
        return self.rewritten + url[self.length :] if self.rewritten else url


class Names:
    """All that is known. `wake` ends the sender's wait when an answer came."""

    def __init__(
        self, guard: AddressGuard, settings: CourierSettings, wake: Callable[[], None], stats: Stats | None = None
    ) -> None:
        self._guard, self._settings, self._wake, self._stats = guard, settings, wake, stats
        self._resolver = Resolver(settings.dns_servers, settings.dns_timeout_ms)
        self._places: dict[str, Place] = {}
        self._names: dict[str, Name] = {}
        self._answers: deque[tuple[Name, Answer]] = deque()
        self._asked: deque[tuple[float, Name]] = deque()  # until when an answer is waited for, in order
        self._is_stale = False  # the resolver remembers what it should not
        self._forgot_ms = 0.0

    @property
    def has_answers(self) -> bool:
        """Whether `settle` has something to take."""
        return bool(self._answers)

    def place(self, url: str) -> Place:
        """Where a URL leads. Raises WaypostError `render_bad_url`."""
        end = url.find("/", 8)
        front = url if end < 0 else url[:end]
        place = self._places.get(front)
        if place is None:
            if len(self._places) >= KNOWN_MAX:
                self._places.clear()
            place = self._places[front] = self._placed(url)
        return place

    def _placed(self, url: str) -> Place:
        spot = spot_of(url)
        rewritten = spot.front if url[: spot.length] != spot.front else ""
        if spot.is_literal:
            judgement = self._guard.judge(spot.host, _PORT)
            is_forbidden = judgement == "address_forbidden"
            judgement = Judgement(str(judgement), judgement.why, spot.host) if is_forbidden else _FINE
            return Place(spot, None, Found(judgement, (spot.host,), float("inf")), rewritten)
        host = spot.host + "." if spot.is_absolute else spot.host
        name = self._names.get(host)
        if name is None:
            if len(self._names) >= KNOWN_MAX:
                self._names = {name.host: name for name in self._names.values() if name.asked_ms or name.waiting}
                self._places.clear()
            name = self._names[host] = Name(host)
        return Place(spot, name, None, rewritten)

    def look(self, place: Place, now_ms: float) -> Found | None:
        """What is known of a place; None: it is being asked for, and who wants it waits in `place.name.waiting`."""
        name = place.name
        found = place.found if name is None else name.found
        if found is not None and now_ms < found.until_ms:
            return found
        assert name is not None
        if not name.asked_ms:
            self._ask(name, now_ms)
        if found is not None and not found.judgement and now_ms < found.until_ms + LATE_MS:
            return found
        return None

    def _ask(self, name: Name, now_ms: float) -> None:
        name.asked_ms = now_ms
        self._asked.append((now_ms + self._settings.dns_timeout_ms, name))
        if self._stats is not None:
            self._stats.values["courier_names_asked"] += 1
        self._resolver.ask(name.host, lambda answer: self._answered(name, answer))

    def _answered(self, name: Name, answer: Answer) -> None:
        """Called by any thread."""
        self._answers.append((name, answer))
        self._wake()

    def settle(self, now_ms: float) -> list[Name]:
        """Takes what was answered, and gives up what was waited for too long; answers the names it is about."""
        settled: list[Name] = []
        while self._answers:
            name, answer = self._answers.popleft()
            name.asked_ms = 0.0
            name.found = self._found(name, answer, now_ms)
            settled.append(name)
        while self._asked and self._asked[0][0] <= now_ms:
            deadline_ms, name = self._asked.popleft()
            if not name.asked_ms or name.asked_ms + self._settings.dns_timeout_ms > deadline_ms:
                continue  # answered
            why = f"{name.host}: no name server answered within {self._settings.dns_timeout_ms} ms"
            name.found = self._failed(why, now_ms)
            name.asked_ms = 0.0  # should the answer come after all, it is taken
            settled.append(name)
        if self._is_stale and now_ms - self._forgot_ms >= _FORGET_MS:
            self._is_stale, self._forgot_ms = False, now_ms
            self._resolver.forget()
        return settled

    def due_ms(self) -> float:
        """When `settle` has something to give up."""
        return self._asked[0][0] if self._asked else float("inf")

    def _found(self, name: Name, answer: Answer, now_ms: float) -> Found:
        settings = self._settings
        if not answer.addresses:
            return self._failed(f"{name.host}: {answer.why}", now_ms)
        self._is_stale |= answer.ttl_ms > settings.dns_ttl_max_ms
        until_ms = now_ms + min(max(answer.ttl_ms, settings.dns_ttl_min_ms), settings.dns_ttl_max_ms)
        for address in answer.addresses:
            judgement = self._guard.judge(address, _PORT)
            if judgement == "address_forbidden":
                why = f"{name.host} resolves to {address}: {judgement.why}"
                return Found(Judgement(str(judgement), why, address), (), until_ms)
        return Found(_FINE, answer.addresses[:_ANSWERS_USED_MAX], until_ms)

    def _failed(self, why: str, now_ms: float) -> Found:
        self._is_stale = True
        if self._stats is not None:
            self._stats.values["courier_names_failed"] += 1
        return Found(Judgement("dns_failed", why), (), now_ms + self._settings.dns_failure_ms)

    def close(self) -> None:
        """Abandons what is being asked."""
        self._resolver.close()
