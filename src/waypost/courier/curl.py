"""The sender on libcurl's multi interface, in a thread of its own.

Owns: one thread, its multi handle and a pool of easy handles. Takes requests and gives reports through queues; reads
and writes the network only. Never resends (the second request of a transfer is aborted before it leaves), follows no
redirect, uses no proxy, keeps no cookies, dials nothing that the guard forbids and decodes no compressed answer.

How the thread waits. Each socket is put once, edge-triggered, into an epoll set when libcurl opens it; the kernel
takes it out when libcurl closes it. Which socket woke the thread does not matter: `perform` looks at all of them.
This costs no callback into Python for a transfer, unlike `socket_action` (measured: 64,000 sends/s against 40,000),
and has no limit of 1,024 descriptors, unlike `select`. Where there is no epoll, `select` is used.
"""

import contextlib
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import pycurl

from waypost import __version__
from waypost.courier.guard import AddressGuard, Judgement
from waypost.courier.names import NameJudge, authority_of
from waypost.ports.sender import SendReport, SendRequest
from waypost.settings import CourierSettings

_WAIT_MAX_MS = 100  # with transfers in flight: bounds the harm of an edge that never came
_WAIT_IDLE_MS = 5_000
_EVENTS_MAX = 1024
_EPOLLET = 1 << 31

_RESPONSE_CODE, _NAMELOOKUP, _CONNECT = pycurl.RESPONSE_CODE, pycurl.NAMELOOKUP_TIME_T, pycurl.CONNECT_TIME_T
_APPCONNECT, _STARTTRANSFER = pycurl.APPCONNECT_TIME_T, pycurl.STARTTRANSFER_TIME_T
_TOTAL = pycurl.TOTAL_TIME_T

_TOO_LARGE = 100  # CURLE_TOO_LARGE, which pycurl does not name

# libcurl's codes (https://curl.se/libcurl/c/libcurl-errors.html) as ours; `send_failed` for all others.
_CODES: dict[int, str] = {
    pycurl.E_UNSUPPORTED_PROTOCOL: "response_malformed",  # the scheme was checked: this is an HTTP/0.9 answer
    pycurl.E_URL_MALFORMAT: "render_bad_url",
    pycurl.E_COULDNT_RESOLVE_HOST: "dns_failed",
    pycurl.E_COULDNT_RESOLVE_PROXY: "dns_failed",
    pycurl.E_COULDNT_CONNECT: "connect_failed",
    pycurl.E_INTERFACE_FAILED: "connect_failed",
    pycurl.E_FTP_WEIRD_SERVER_REPLY: "response_malformed",
    pycurl.E_BAD_CONTENT_ENCODING: "response_malformed",
    pycurl.E_WRITE_ERROR: "response_too_large",  # our own write callback says so
    pycurl.E_FILESIZE_EXCEEDED: "response_too_large",
    _TOO_LARGE: "response_too_large",
    pycurl.E_OPERATION_TIMEDOUT: "send_timeout",
    pycurl.E_SSL_CONNECT_ERROR: "tls_failed",
    pycurl.E_PEER_FAILED_VERIFICATION: "tls_failed",
    pycurl.E_SSL_CERTPROBLEM: "tls_failed",
    pycurl.E_SSL_CIPHER: "tls_failed",
    pycurl.E_SSL_CACERT_BADFILE: "tls_failed",
    pycurl.E_SSL_CRL_BADFILE: "tls_failed",
    pycurl.E_SSL_ISSUER_ERROR: "tls_failed",
    pycurl.E_SSL_INVALIDCERTSTATUS: "tls_failed",
    pycurl.E_SSL_PINNEDPUBKEYNOTMATCH: "tls_failed",
    pycurl.E_SSL_ENGINE_INITFAILED: "tls_failed",
    pycurl.E_USE_SSL_FAILED: "tls_failed",
    pycurl.E_ABORTED_BY_CALLBACK: "resend_refused",
}


class CurlSender:
    """See `ports.sender.Sender`. `submit`, `reports`, `wake` and `close` are called by one thread, `wake` by any."""

    def __init__(self, settings: CourierSettings, guard: AddressGuard, *, use_epoll: bool = True) -> None:
        self._settings = settings
        self._guard = guard
        self._inbox: deque[SendRequest] = deque()
        self._ended: deque[SendReport] = deque()
        self._ended_event = threading.Event()
        self._failure: BaseException | None = None
        self._closing = False
        self._in_flight = 0
        self._multi: Any = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, settings.connections_kept_max)
        self._waiter: _Waiter = _EpollWaiter() if use_epoll and hasattr(select, "epoll") else _SelectWaiter(self._multi)
        self._names = NameJudge(guard, self._name_judged)
        self._judged: deque[tuple[str, Judgement]] = deque()  # names that were asked for, answered
        self._unjudged: dict[str, list[SendRequest]] = {}  # requests that wait for their name
        self._slots: dict[Any, _Slot] = {}  # every easy handle that was ever made
        self._free: list[_Slot] = []
        self._certified: dict[tuple[str, str], list[_Slot]] = {}  # free too, by what they show: they can show no other
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
        found = [ended.popleft() for _ in range(len(ended))]
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
        multi, inbox, waiter = self._multi, self._inbox, self._waiter
        running = 0
        while not self._closing:
            running += self._start_new()
            if running:
                multi.perform()
                running -= self._collect()
            if inbox or self._judged:
                continue
            waiter.sleeping = True  # from here on `submit` wakes us; look once more for what came before
            if not inbox and not self._judged and not self._closing:
                due_ms = multi.timeout() if running else -1
                bound_ms = _WAIT_MAX_MS if running else _WAIT_IDLE_MS
                waiter.wait(bound_ms if due_ms < 0 else min(due_ms, bound_ms))
            waiter.sleeping = False

    def _start_new(self) -> int:
        """Starts what was submitted and whose name is judged; answers how many transfers run more than before."""
        inbox, names = self._inbox, self._names
        started = 0
        while self._judged:
            authority, judgement = self._judged.popleft()
            names.answered(authority, judgement)
            for request in self._unjudged.pop(authority, ()):
                started += self._start(request, judgement)
        while inbox:
            request = inbox.popleft()
            authority = authority_of(request.url)
            known = names.known(authority)
            if known is not None:
                started += self._start(request, known)
                continue
            waiting = self._unjudged.get(authority)
            if waiting is None:
                waiting = self._unjudged[authority] = []
                names.ask(authority)
            waiting.append(request)
        return started

    def _start(self, request: SendRequest, judgement: Judgement) -> int:
        """Starts one transfer, or reports why not; answers how many were started."""
        if judgement:
            self._report([_unsent(request.token, str(judgement), judgement.why, judgement.address)])
            return 0
        free = self._free
        if request.certificate:
            free = self._certified.setdefault((request.certificate, request.key), [])
        slot = free.pop() if free else self._new_slot(free, request)
        try:
            slot.prepare(request)
            self._multi.add_handle(slot.easy)
        except (pycurl.error, ValueError, TypeError) as error:
            self._report([_unsent(request.token, "render_bad_url", str(error))])
            free.append(slot)
            return 0
        return 1

    def _name_judged(self, authority: str, judgement: Judgement) -> None:
        """Called by a thread that resolves."""
        self._judged.append((authority, judgement))
        self._waiter.wake()

    def _new_slot(self, home: "list[_Slot]", request: SendRequest) -> "_Slot":
        slot = _Slot(self._settings, self._guard, self._waiter, home)
        if request.certificate:
            slot.easy.setopt(pycurl.SSLCERT, request.certificate)
            slot.easy.setopt(pycurl.SSLKEY, request.key or request.certificate)
        self._slots[slot.easy] = slot
        return slot

    def _collect(self) -> int:
        """Reports the transfers that ended; answers how many."""
        multi, slots = self._multi, self._slots
        reports: list[SendReport] = []
        while True:
            queued, whole, failed = multi.info_read()
            for easy in whole:
                slot = slots[easy]
                reports.append(slot.report(0, ""))
                multi.remove_handle(easy)
                slot.home.append(slot)
            for easy, number, text in failed:
                slot = slots[easy]
                reports.append(slot.report(number, text))
                multi.remove_handle(easy)
                slot.home.append(slot)
            if not queued:
                break
        if reports:
            self._report(reports)
        return len(reports)

    def _report(self, reports: list[SendReport]) -> None:
        self._ended.extend(reports)
        if not self._ended_event.is_set():
            self._ended_event.set()

    def _shut(self) -> None:
        """Abandons what is in flight. The multi handle goes first: it closes connections, whose callbacks belong to
        easy handles."""
        for easy in self._slots:
            with contextlib.suppress(pycurl.error):  # not in the multi handle
                self._multi.remove_handle(easy)
        self._multi.close()
        for easy in self._slots:
            easy.close()


class _Slot:
    """An easy handle for life, and what the transfer that it carries now has seen. Callbacks are set once."""

    __slots__ = (
        "_begun",
        "_body",
        "_bytes",
        "_bytes_max",
        "_connect_timeout_ms",
        "_guard",
        "_keep",
        "_kept_max",
        "_method",
        "_opened",
        "_probe",
        "_reached",
        "_refused",
        "_total_timeout_ms",
        "_waiter",
        "address",
        "easy",
        "home",
        "token",
    )

    def __init__(self, settings: CourierSettings, guard: AddressGuard, waiter: "_Waiter", home: "list[_Slot]") -> None:
        self.home = home  # where it stands when it is free
        self._guard = guard
        self._waiter = waiter
        self._keep = self._kept_max = settings.body_kept_bytes_max
        self._bytes_max = settings.response_bytes_max
        self._method = "GET"
        self._connect_timeout_ms = self._total_timeout_ms = -1
        self._probe = False
        self.token = 0
        self._clear()
        self.easy = _new_easy(settings)
        self.easy.setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)
        self.easy.setopt(pycurl.PREREQFUNCTION, self._before_request)
        self.easy.setopt(pycurl.WRITEFUNCTION, self._take_body)

    def _clear(self) -> None:
        self._begun = 0  # requests that this transfer was about to send: 1, or it is stopped
        self._opened = False  # whether it made a connection of its own
        self._reached = False  # a probe whose connection stood
        self._refused: Judgement | None = None
        self.address = ""
        self._body = b""
        self._bytes = 0

    def prepare(self, request: SendRequest) -> None:
        """Sets the request. Raises pycurl.error, ValueError or TypeError for what libcurl cannot take."""
        self._clear()
        easy = self.easy
        self.token = request.token
        easy.setopt(pycurl.URL, request.url)
        if request.method != self._method or request.method != "GET":
            self._prepare_method(request)
        easy.setopt(pycurl.HTTPHEADER, _header_lines(request.headers))
        if request.connect_timeout_ms != self._connect_timeout_ms:
            self._connect_timeout_ms = request.connect_timeout_ms
            easy.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, request.connect_timeout_ms))  # 0 would mean libcurl's default
        if request.total_timeout_ms != self._total_timeout_ms:
            self._total_timeout_ms = request.total_timeout_ms
            easy.setopt(pycurl.TIMEOUT_MS, max(1, request.total_timeout_ms))  # 0 would mean none
        self._keep = request.body_bytes or self._kept_max
        if request.probe is not self._probe:
            self._probe = request.probe
            easy.setopt(pycurl.FRESH_CONNECT, int(request.probe))  # a kept connection would show nothing

    def _prepare_method(self, request: SendRequest) -> None:
        easy = self.easy
        self._method = request.method
        easy.unsetopt(pycurl.CUSTOMREQUEST)
        if request.method == "GET":
            easy.setopt(pycurl.HTTPGET, 1)
            return
        easy.setopt(pycurl.POST, 1)
        easy.setopt(pycurl.POSTFIELDS, request.body)
        if request.method != "POST":
            easy.setopt(pycurl.CUSTOMREQUEST, request.method)

    # --- callbacks -----------------------------------------------------------------------------------

    def _open_socket(self, purpose: int, address: Any) -> Any:
        """A socket for an address that may be dialled. Once one is refused, so are all others of this transfer."""
        host, port = (address.addr[0], address.addr[1]) if isinstance(address.addr, tuple) else (str(address.addr), 0)
        if self._refused is None:
            judgement = self._guard.judge(host, port)
            if not judgement:
                self._opened = True
                opened = _Lent(address.family, address.socktype, address.protocol)
                self._waiter.watch(opened)
                return opened
            self._refused = judgement
            self.address = host
        return pycurl.SOCKET_BAD

    def _before_request(self, address: str, local: str, port: int, local_port: int) -> int:
        """Called when a connection stands, new or reused, and the request is about to be sent on it."""
        self._begun += 1
        self.address = address
        if self._begun > 1:
            return int(pycurl.PREREQFUNC_ABORT)
        if self._refused is None:
            judgement = self._guard.judge(address, port)
            if not judgement and not self._probe:
                return int(pycurl.PREREQFUNC_OK)
            self._reached = not judgement
            self._refused = judgement or None
        self._begun = 0  # nothing has left
        return int(pycurl.PREREQFUNC_ABORT)

    def _take_body(self, data: bytes) -> int | None:
        """Takes a piece of the answer's body; 0 stops the transfer."""
        self._bytes += len(data)
        if len(self._body) < self._keep:
            self._body += data[: self._keep - len(self._body)]
        return None if self._bytes <= self._bytes_max else 0

    # --- the end -------------------------------------------------------------------------------------

    def report(self, number: int, text: str) -> SendReport:
        """How the transfer ended; `number` is libcurl's code, 0 for a whole answer."""
        get = self.easy.getinfo
        status = get(_RESPONSE_CODE)
        begun = self._begun > 0
        code = ""
        if self._reached:
            text = ""
        elif number:
            code, text = self._code_of(number, text)
        elif status < 200:
            code, text = "response_malformed", "no HTTP status"
        retry_after = "" if not code and 200 <= status < 300 else str(get(pycurl.RETRY_AFTER) or "")
        return SendReport(
            self.token,
            code,
            text,
            status,
            self.address,
            get(_NAMELOOKUP),
            get(_CONNECT),
            get(_APPCONNECT),
            get(_STARTTRANSFER),
            get(_TOTAL),
            begun and not self._opened,
            begun,
            self._body,
            retry_after,
        )

    def _code_of(self, number: int, text: str) -> tuple[str, str]:
        if self._refused is not None:
            return str(self._refused), self._refused.why
        if number == pycurl.E_ABORTED_BY_CALLBACK:
            return "resend_refused", "the connection broke after the request was sent; libcurl would have sent it again"
        if number == pycurl.E_OPERATION_TIMEDOUT and not self._begun and not self.easy.getinfo(pycurl.CONNECT_TIME_T):
            return "connect_failed", text
        return _CODES.get(number, "send_failed"), text


def _unsent(token: int, code: str, why: str, address: str = "") -> SendReport:
    """The report of a request that was not begun."""
    return SendReport(token, code, why, 0, address, 0, 0, 0, 0, 0, False, False, b"", "")


class _Lent(socket.socket):
    """A socket whose descriptor pycurl duplicates; ours is closed as soon as pycurl lets it go."""

    def __del__(self) -> None:
        self.close()


def _header_lines(headers: Sequence[tuple[str, str]]) -> Sequence[str | bytes]:
    """As libcurl takes them: `;` marks a header that is sent empty."""
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in headers]
    return lines if "".join(lines).isascii() else [line.encode() for line in lines]


def _new_easy(settings: CourierSettings) -> Any:
    """An easy handle with everything that never changes from request to request."""
    easy = pycurl.Curl()
    for option, value in (
        (pycurl.NOSIGNAL, 1),
        (pycurl.PROXY, ""),  # none, whatever the environment says
        (pycurl.NOPROXY, "*"),
        (pycurl.FOLLOWLOCATION, 0),
        (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
        (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),  # HTTP/2 has resends of its own (RFC 9113, 8.7)
        (pycurl.HTTP09_ALLOWED, 0),
        (pycurl.SSL_VERIFYPEER, 1),
        (pycurl.SSL_VERIFYHOST, 2),
        (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
        (pycurl.NETRC, 0),
        (pycurl.USERAGENT, f"Waypost/{__version__}"),
        (pycurl.MAXFILESIZE, settings.response_bytes_max),
        (pycurl.BUFFERSIZE, 16_384),
    ):
        easy.setopt(option, value)
    return easy


class _Waiter(Protocol):
    """What the thread sleeps on."""

    sleeping: bool

    def watch(self, opened: socket.socket) -> None:
        """Notes a socket that libcurl will use."""

    def wait(self, wait_ms: int) -> None: ...

    def wake(self) -> None:
        """Ends a wait, from any thread."""

    def close(self) -> None: ...


class _EpollWaiter:
    def __init__(self) -> None:
        self.sleeping = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._epoll = select.epoll()
        self._epoll.register(self._reader, select.EPOLLIN)

    def watch(self, opened: socket.socket) -> None:
        """pycurl duplicates the descriptor and lets ours go; the registration belongs to the socket behind both, and
        ends when libcurl closes its own."""
        self._epoll.register(opened.fileno(), select.EPOLLIN | select.EPOLLOUT | _EPOLLET)

    def wait(self, wait_ms: int) -> None:
        for descriptor, _ in self._epoll.poll(wait_ms / 1000, _EVENTS_MAX):
            if descriptor == self._reader:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._reader, 4096)

    def wake(self) -> None:
        if self.sleeping:
            self.sleeping = False
            with contextlib.suppress(BlockingIOError):  # full of wake-ups already
                os.write(self._writer, b"w")

    def close(self) -> None:
        self._epoll.close()
        os.close(self._reader)
        os.close(self._writer)


class _SelectWaiter:
    """For systems without epoll: short waits in libcurl's own select."""

    _STEP_MS = 10

    def __init__(self, multi: Any) -> None:
        self.sleeping = False
        self._multi = multi
        self._woken = threading.Event()

    def watch(self, opened: socket.socket) -> None: ...

    def wait(self, wait_ms: int) -> None:
        if wait_ms > _WAIT_MAX_MS:  # nothing in flight
            self._woken.wait(wait_ms / 1000)
        elif self._multi.select(min(wait_ms, self._STEP_MS) / 1000) < 0:
            self._woken.wait(min(wait_ms, self._STEP_MS) / 1000)
        self._woken.clear()

    def wake(self) -> None:
        self._woken.set()

    def close(self) -> None: ...
