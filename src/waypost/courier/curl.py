"""The sender on libcurl's multi interface, in a thread of its own.

Owns: one thread, its multi handles and the pools of their easy handles (`slot.py`). Takes requests and gives reports
through queues; reads and writes the network only. What one request may do is watched over in `slot.py`; where it may
go is known in `names.py`; what the thread sleeps on is `waiting.py`.

Pools. Handles are kept by what they can show (certificate, proxy, source address, TLS, HTTP/2), and libcurl keeps
connections apart by the same, but for the source address: there is a multi handle for each, with connections of its
own, since libcurl lends a bound connection to who asks for none.

Rests. `perform` looks at every transfer, also at those of which nothing is heard yet, and each look is a system call.
Where answers take long, most looks are in vain, so one that found few transfers ended is followed by a rest in which
others end, of up to 5 ms (docs/decisions/0036-what-a-postback-costs.md).

Addresses. libcurl resolves nothing: the first transfer after a name was resolved hands its addresses to the multi
handle (CURLOPT_RESOLVE), where they stay until the name is resolved again.
"""

import contextlib
import heapq
import select
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import pycurl

from waypost.courier.guard import AddressGuard
from waypost.courier.names import KNOWN_MAX, Found, Name, Names, Place
from waypost.courier.slot import PLAIN, Kind, Proxy, Slot, Watch, proxy_of, unsent
from waypost.courier.waiting import WAIT_MAX_MS, EpollWaiter, SelectWaiter, Waiter
from waypost.errors import WaypostError
from waypost.ports.sender import Egress, SendReport, SendRequest
from waypost.settings import CourierSettings
from waypost.telemetry.stats import Stats

_WAIT_IDLE_MS = 5_000
_REST_EACH_MS, _REST_MAX_MS = 0.005, 5.0  # of each transfer at work, and in all
_REST_MIN_MS = 0.1  # a shorter one is not worth a system call
_WORTH_IT = 8  # a look at all transfers of which one in so many has ended
_POOLS_MAX = 500  # pools of other kinds; beyond it those of which no handle is in use go
_USUAL = Egress()


class _Group:
    """A multi handle: its transfers, its connections, and the addresses that it was given."""

    def __init__(self, settings: CourierSettings) -> None:
        self.multi: Any = pycurl.CurlMulti()
        self.multi.setopt(pycurl.M_MAXCONNECTS, settings.connections_kept_max)
        self.multi.setopt(pycurl.M_MAX_CONCURRENT_STREAMS, settings.http2_streams_max)
        self.running = 0
        self.given: dict[tuple[str, int], tuple[str, ...]] = {}
        self.giving: list[tuple[tuple[str, int], tuple[str, ...]]] = []  # with a transfer that was not begun yet

    def performed(self) -> None:
        """What was set on transfers has reached the multi handle."""
        self.given.update(self.giving)
        self.giving.clear()


class _Pool:
    """Handles of one kind, and those of them that are free."""

    def __init__(self, group: _Group, kind: Kind, proxy: Proxy | None) -> None:
        self.group, self.kind, self.proxy = group, kind, proxy
        self.free: list[Slot] = []
        self.size = 0


class CurlSender:
    """See `ports.sender.Sender`. `submit`, `reports`, `wake` and `close` are called by one thread, `wake` by any."""

    def __init__(
        self, settings: CourierSettings, guard: AddressGuard, stats: Stats | None = None, *, use_epoll: bool = True
    ) -> None:
        self._settings = settings
        self._guard = guard
        self._inbox: deque[SendRequest] = deque()
        self._ended: deque[list[SendReport]] = deque()
        self._ended_event = threading.Event()
        self._failure: BaseException | None = None
        self._closing = False
        self._in_flight = 0
        self._groups = {"": _Group(settings)}  # by source address
        self._multis = [self._groups[""].multi]
        has_epoll = use_epoll and hasattr(select, "epoll")
        self._waiter: Waiter = EpollWaiter() if has_epoll else SelectWaiter(self._multis)
        self._watch = Watch(settings, guard, self._waiter, stats)
        self._names = Names(guard, settings, self._waiter.wake, stats)
        self._plain = _Pool(self._groups[""], PLAIN, None)
        self._pools: dict[Kind, _Pool] = {}  # of all other kinds
        self._slots: dict[Any, tuple[Slot, _Pool]] = {}  # by easy handle, all that there are
        self._first_bytes: list[tuple[float, int, Slot, _Pool]] = []  # a heap: when to look whether they came
        self._impatient: list[tuple[float, int, Name, Any]] = []  # a heap: until when requests wait for a name
        self._looks = 0
        self._now_ms = 0.0
        self._thread = threading.Thread(target=self._run, name="waypost-sender", daemon=True)
        self._thread.start()

    # --- the caller's side ---------------------------------------------------------------------------

    def submit(self, requests: Sequence[SendRequest]) -> None:
        """See `ports.sender.Sender.submit`."""
        self._in_flight += len(requests)
        self._inbox.extend(requests)
        self._waiter.wake()

    def reports(self, wait_ms: float) -> list[SendReport]:
        """See `ports.sender.Sender.reports`. Raises what ended the thread, should that ever happen."""
        ended = self._ended
        event = self._ended_event
        if not ended and wait_ms > 0:
            event.wait(wait_ms / 1000)
        event.clear()
        if self._failure is not None:
            raise RuntimeError("the sender's thread ended") from self._failure
        found: list[SendReport] = []
        while ended:
            found += ended.popleft()
        self._in_flight -= len(found)
        return found

    def wake(self) -> None:
        """See `ports.sender.Sender.wake`."""
        self._ended_event.set()

    @property
    def in_flight(self) -> int:
        """Requests submitted whose report was not taken yet."""
        return self._in_flight

    def close(self) -> None:
        """See `ports.sender.Sender.close`."""
        if self._closing:
            return
        self._closing = True
        self._waiter.wake()
        self._thread.join()
        self._names.close()
        self._waiter.close()

    # --- the thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as error:
            self._failure = error
            self._ended_event.set()
        finally:
            self._shut()

    def _loop(self) -> None:
        inbox, names, waiter = self._inbox, self._names, self._waiter
        rest_ms = 0.0
        while not self._closing:
            left_ms = self._now_ms + rest_ms - monotonic_ms()
            if left_ms > _REST_MIN_MS:
                time.sleep(left_ms / 1000)
            self._now_ms = monotonic_ms()
            self._start_new()
            running = ended = 0
            for group in tuple(self._groups.values()):
                if group.running:
                    running += group.running
                    group.multi.perform()
                    if group.giving:
                        group.performed()
                    ended += self._collect(group)
            rest_ms = min(_REST_MAX_MS, running * _REST_EACH_MS) if ended * _WORTH_IT < running else 0.0
            running -= ended
            if self._first_bytes:
                self._look_for_first_bytes()
            if inbox or names.has_answers:
                continue
            waiter.sleeping = True  # from here on `submit` wakes us; look once more for what came before
            if not inbox and not names.has_answers and not self._closing:
                waiter.wait(self._wait_ms(running))
            waiter.sleeping = False

    def _wait_ms(self, running: int) -> int:
        """How long nothing is to be done, if nothing happens."""
        bound_ms = WAIT_MAX_MS if running else _WAIT_IDLE_MS
        for group in self._groups.values():
            if group.running and 0 <= (due_ms := group.multi.timeout()) < bound_ms:
                bound_ms = due_ms
        next_ms = self._names.due_ms()
        for heap in (self._first_bytes, self._impatient):
            if heap:
                next_ms = min(next_ms, heap[0][0])
        if next_ms < float("inf"):
            bound_ms = min(bound_ms, max(0, int(next_ms - monotonic_ms()) + 1))
        return bound_ms

    def _start_new(self) -> None:
        """Starts what was submitted, and what waited for a name that is known now."""
        inbox, now_ms = self._inbox, self._now_ms
        for name in self._names.settle(now_ms):
            waiting, name.waiting = name.waiting, []
            for request, since_ms in waiting:
                self._begin(request, since_ms)
        if self._impatient:
            self._end_waits()
        while inbox:
            self._begin(inbox.popleft(), now_ms)

    def _begin(self, request: SendRequest, since_ms: float) -> None:
        """Starts one transfer, has it wait for a name, or reports why it cannot be made."""
        try:
            place = self._names.place(request.url)
            found = self._names.look(place, self._now_ms)
            if found is None:
                self._wait_for(place.name, request, since_ms)
            elif found.judgement:
                why = found.judgement
                self._refuse(request, str(why), why.why, since_ms, why.address)
            elif request.egress is None and not request.certificate:
                self._start(request, place, found, self._plain, since_ms)
            else:
                self._begin_by(request, place, found, since_ms)
        except WaypostError as error:
            self._refuse(request, error.code, error.detail, since_ms)

    def _begin_by(self, request: SendRequest, place: Place, found: Found, since_ms: float) -> None:
        """As `_begin`, for what leaves in a way of its own. Raises WaypostError."""
        egress = request.egress or _USUAL
        if egress.http2 and not request.url.startswith("https:"):
            egress = egress._replace(http2=False)
        kind = Kind(request.certificate, request.key, egress)
        pool = self._pools.get(kind) or self._new_pool(kind)
        if pool.proxy is None:
            self._start(request, place, found, pool, since_ms)
            return
        for address in found.addresses:  # it dials for us: the port is judged now
            judgement = self._guard.judge(address, place.port, request.ports)
            if judgement:
                self._refuse(request, str(judgement), judgement.why, since_ms, address)
                return
        gate = self._names.place(pool.proxy.url)
        way = self._names.look(gate, self._now_ms)
        if way is None:
            self._wait_for(gate.name, request, since_ms)
        elif way.judgement:
            raise WaypostError(_code_of_gate(str(way.judgement)), f"the proxy: {way.judgement.why}")
        else:
            self._start(request, gate, way, pool, since_ms, (place, _told(found.addresses, place.turn)))

    def _start(
        self,
        request: SendRequest,
        place: Place,
        found: Found,
        pool: _Pool,
        since_ms: float,
        behind: tuple[Place, str] | None = None,
    ) -> None:
        """Starts one transfer to where `found` says; `behind` is what lies behind a proxy, and its address."""
        group = pool.group
        target = place if behind is None else behind[0]
        slot = pool.free.pop() if pool.free else self._new_slot(pool)
        try:
            slot.prepare(request, target.url(request.url), self._now_ms - since_ms)
            slot.may_resolve = place.name is None
            if place.name is not None and group.given.get(place.key) != found.addresses:
                _give(group, slot, place, found)
            if behind is not None:
                address = f"[{behind[1]}]" if ":" in behind[1] else behind[1]
                slot.behind = target
                slot.easy.setopt(pycurl.CONNECT_TO, [f"::{address}:{target.port}"])
            group.multi.add_handle(slot.easy)
        except (pycurl.error, ValueError, TypeError) as error:
            slot.first_byte_ms = 0
            pool.free.append(slot)
            self._refuse(request, "render_bad_url", str(error), since_ms)
            return
        except WaypostError:
            slot.first_byte_ms = 0
            pool.free.append(slot)
            raise
        group.running += 1
        if slot.first_byte_ms:
            self._look_at(slot, pool, self._now_ms + slot.first_byte_ms)

    def _wait_for(self, name: Name | None, request: SendRequest, since_ms: float) -> None:
        assert name is not None
        waiting = (request, since_ms)
        name.waiting.append(waiting)
        bound_ms = min(request.connect_timeout_ms, request.total_timeout_ms)
        if bound_ms < self._settings.dns_timeout_ms:  # else the name is given up first
            self._looks += 1
            heapq.heappush(self._impatient, (since_ms + bound_ms, self._looks, name, waiting))

    def _end_waits(self) -> None:
        """Reports the requests that may not wait any longer for their name."""
        while self._impatient and self._impatient[0][0] <= self._now_ms:
            _, _, name, waiting = heapq.heappop(self._impatient)
            if any(one is waiting for one in name.waiting):
                name.waiting = [one for one in name.waiting if one is not waiting]
                self._refuse(waiting[0], "dns_failed", f"{name.host}: not resolved in time to connect", waiting[1])

    def _new_slot(self, pool: _Pool) -> Slot:
        try:
            slot = Slot(self._watch, pool.kind, pool.proxy)
        except pycurl.error as error:
            raise WaypostError("tls_failed", str(error)) from error
        pool.size += 1
        self._slots[slot.easy] = (slot, pool)
        return slot

    def _new_pool(self, kind: Kind) -> _Pool:
        proxy = proxy_of(kind.egress.proxy) if kind.egress.proxy else None
        if len(self._pools) >= _POOLS_MAX:
            self._drop_idle_pools()
        source = kind.egress.source_address
        group = self._groups.get(source)
        if group is None:
            group = self._groups[source] = _Group(self._settings)
            self._multis.append(group.multi)
        pool = self._pools[kind] = _Pool(group, kind, proxy)
        return pool

    def _drop_idle_pools(self) -> None:
        for kind, pool in tuple(self._pools.items()):
            if len(pool.free) < pool.size:
                continue
            del self._pools[kind]
            for slot in pool.free:
                del self._slots[slot.easy]
                slot.easy.close()

    def _collect(self, group: _Group) -> int:
        """Reports the transfers that ended; answers how many."""
        multi, slots = group.multi, self._slots
        reports: list[SendReport] = []
        while True:
            queued, whole, failed = multi.info_read()
            for easy in whole:
                slot, pool = slots[easy]
                reports.append(slot.report(0, ""))
                multi.remove_handle(easy)
                pool.free.append(slot)
            for easy, number, text in failed:
                slot, pool = slots[easy]
                report = slot.report(number, text)
                if report.code == "proxy_failed" and slot.behind is not None:
                    slot.behind.turn += 1
                reports.append(report)
                multi.remove_handle(easy)
                pool.free.append(slot)
            if not queued:
                break
        if reports:
            group.running -= len(reports)
            self._report(reports)
        return len(reports)

    def _refuse(self, request: SendRequest, code: str, why: str, since_ms: float, address: str = "") -> None:
        waited_us = int((self._now_ms - since_ms) * 1000)
        self._report([unsent(request.token, code, why, address, waited_us)])

    def _report(self, reports: list[SendReport]) -> None:
        self._ended.append(reports)
        if not self._ended_event.is_set():
            self._ended_event.set()

    # --- the first byte ------------------------------------------------------------------------------

    def _look_at(self, slot: Slot, pool: _Pool, due_ms: float) -> None:
        """One look is kept for a slot, whatever it carries; another only where the first would come too late."""
        if slot.watched_ms and slot.watched_ms <= due_ms:
            return
        slot.watched_ms = due_ms
        self._looks += 1
        heapq.heappush(self._first_bytes, (due_ms, self._looks, slot, pool))

    def _look_for_first_bytes(self) -> None:
        """Ends the transfers whose answer has not begun in time."""
        heap = self._first_bytes
        now_ms = monotonic_ms()
        while heap and heap[0][0] <= now_ms:
            due_ms, _, slot, pool = heapq.heappop(heap)
            if slot.watched_ms != due_ms:
                continue  # there is another look
            slot.watched_ms = 0.0
            next_ms = slot.first_byte_due_ms(now_ms)
            if next_ms > now_ms:
                self._look_at(slot, pool, next_ms)
            elif next_ms:
                why = f"the answer did not begin within {slot.first_byte_ms} ms of the request"
                report = slot.report(0, why, "first_byte_timeout")
                pool.group.multi.remove_handle(slot.easy)
                pool.group.running -= 1
                pool.free.append(slot)
                self._report([report])

    def _shut(self) -> None:
        """Abandons what is in flight. The multi handles go first: they close connections, whose callbacks belong to
        easy handles."""
        for easy, (_, pool) in self._slots.items():
            with contextlib.suppress(pycurl.error):  # not in the multi handle
                pool.group.multi.remove_handle(easy)
        for group in self._groups.values():
            group.multi.close()
        for easy in self._slots:
            easy.close()


def _give(group: _Group, slot: Slot, place: Place, found: Found) -> None:
    """Has the transfer hand a name's addresses to the multi handle."""
    gone = []
    if len(group.given) >= KNOWN_MAX:
        gone = [f"-{host}:{port}" for host, port in group.given]
        group.given.clear()
    addresses = ",".join(f"[{one}]" if ":" in one else one for one in found.addresses)
    slot.easy.setopt(pycurl.RESOLVE, [*gone, f"{place.host}:{place.port}:{addresses}"])
    group.giving.append((place.key, found.addresses))


def _told(addresses: Sequence[str], turn: int) -> str:
    """The one that a proxy is told: IPv4 first, as proxies without IPv6 are many; another after each failure."""
    return sorted(addresses, key=lambda one: ":" in one)[turn % len(addresses)]


def _code_of_gate(code: str) -> str:
    return code if code == "address_forbidden" else "proxy_failed"


def monotonic_ms() -> float:
    """The clock of everything that is waited for here."""
    return time.monotonic() * 1000
