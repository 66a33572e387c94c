"""One transfer of libcurl: an easy handle for life, and what the request that it carries now has seen.

Owns: how a request is set on a handle, the callbacks that keep watch over it, and the way from libcurl's codes to
ours. Reads the guard. Never resends (the second request of a transfer is aborted before it leaves), follows no
redirect, uses no proxy of the environment, keeps no cookies, lets libcurl resolve no name, dials nothing that the
guard forbids and decodes no compressed answer.
"""

import contextlib
import errno
import socket
import time
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import pycurl

from waypost import __version__
from waypost.courier.guard import AddressGuard, Judgement
from waypost.courier.names import Place
from waypost.courier.secrets import forms_of, without
from waypost.courier.waiting import Waiter
from waypost.errors import WaypostError
from waypost.ports.sender import Egress, SendReport, SendRequest
from waypost.settings import CourierSettings
from waypost.telemetry.stats import Stats

_RESPONSE_CODE, _NAMELOOKUP, _CONNECT = pycurl.RESPONSE_CODE, pycurl.NAMELOOKUP_TIME_T, pycurl.CONNECT_TIME_T
_APPCONNECT, _STARTTRANSFER = pycurl.APPCONNECT_TIME_T, pycurl.STARTTRANSFER_TIME_T
_TOTAL = pycurl.TOTAL_TIME_T
_OK, _ABORT = int(pycurl.PREREQFUNC_OK), int(pycurl.PREREQFUNC_ABORT)

_TOO_LARGE, _PROXY, _HTTP2_STREAM = 100, 97, 92  # CURLE_ of the same names, which pycurl lacks
_UNTRUSTED_EXPIRED = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED

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
    pycurl.E_GOT_NOTHING: "response_missing",
    pycurl.E_PARTIAL_FILE: "response_cut",
    pycurl.E_WRITE_ERROR: "response_too_large",  # our own write callback says so
    pycurl.E_FILESIZE_EXCEEDED: "response_too_large",
    _TOO_LARGE: "response_headers",
    pycurl.E_OPERATION_TIMEDOUT: "send_timeout",
    pycurl.E_HTTP2: "http2_failed",
    _HTTP2_STREAM: "http2_failed",
    _PROXY: "proxy_failed",
    pycurl.E_SSL_CONNECT_ERROR: "tls_failed",
    pycurl.E_PEER_FAILED_VERIFICATION: "tls_untrusted",
    pycurl.E_SSL_CERTPROBLEM: "tls_failed",
    pycurl.E_SSL_CIPHER: "tls_failed",
    pycurl.E_SSL_CACERT_BADFILE: "tls_failed",
    pycurl.E_SSL_CRL_BADFILE: "tls_failed",
    pycurl.E_SSL_ISSUER_ERROR: "tls_untrusted",
    pycurl.E_SSL_INVALIDCERTSTATUS: "tls_untrusted",
    pycurl.E_SSL_PINNEDPUBKEYNOTMATCH: "tls_untrusted",
    pycurl.E_SSL_ENGINE_INITFAILED: "tls_failed",
    pycurl.E_USE_SSL_FAILED: "tls_failed",
    pycurl.E_ABORTED_BY_CALLBACK: "resend_refused",
}
_BY_PROXY = frozenset({"connect_failed", "send_failed", "response_missing", "response_malformed", "dns_failed"})


class Kind(NamedTuple):
    """What a handle can show only for life: requests of different kinds never share one."""

    certificate: str = ""
    key: str = ""
    egress: Egress = Egress()


PLAIN = Kind()


class Proxy(NamedTuple):
    """A proxy's URL, read. `url` has neither user nor password."""

    url: str
    user: str
    password: str
    hidden: tuple[str, ...]  # what must not be shown


def proxy_of(text: str) -> Proxy:
    """Reads a proxy's URL. Raises WaypostError `proxy_failed`; its text shows nothing of it."""
    try:
        url = urlsplit(text)
        port = url.port or (443 if url.scheme == "https" else 80)
    except ValueError:
        url, port = urlsplit(""), 0
    if url.scheme not in ("http", "https") or not url.hostname or url.path.strip("/") or url.query or url.fragment:
        raise WaypostError("proxy_failed", "the proxy's URL is no http or https URL of a host")
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    user, password = unquote(url.username or ""), unquote(url.password or "")
    return Proxy(f"{url.scheme}://{host}:{port}", user, password, forms_of([user, password, url.password or ""]))


class Watch(NamedTuple):
    """What all slots of a sender share."""

    settings: CourierSettings
    guard: AddressGuard
    waiter: Waiter
    stats: Stats | None


class Slot:
    """An easy handle. Callbacks are set once, options only where they differ from the last request's."""

    __slots__ = (
        "_begun",
        "_body",
        "_bytes",
        "_bytes_max",
        "_connect_timeout_ms",
        "_guard",
        "_hidden",
        "_keep",
        "_kept_max",
        "_method",
        "_opened",
        "_ports",
        "_probe",
        "_proxied",
        "_reached",
        "_refused",
        "_settings",
        "_source",
        "_stats",
        "_total_timeout_ms",
        "_unbound",
        "_waited_us",
        "_waiter",
        "address",
        "behind",
        "easy",
        "first_byte_ms",
        "may_resolve",
        "request_ms",
        "token",
        "watched_ms",
    )

    def __init__(self, watch: Watch, kind: Kind, proxy: Proxy | None) -> None:
        self._settings = settings = watch.settings
        self._guard, self._waiter, self._stats = watch.guard, watch.waiter, watch.stats
        self._keep = self._kept_max = settings.body_kept_bytes_max
        self._bytes_max = settings.response_bytes_max
        self._method = "GET"
        self._connect_timeout_ms = self._total_timeout_ms = -1
        self._probe = False
        self._source = kind.egress.source_address
        self._proxied = proxy is not None
        self._hidden = proxy.hidden if proxy is not None else ()
        self._ports: tuple[int, ...] = ()
        self._waited_us = 0
        self.first_byte_ms = 0  # how long the first byte may take; 0: as long as the whole answer
        self.watched_ms = 0.0  # when the sender looks whether it came; 0: it does not look
        self.behind: Place | None = None  # what lies behind the proxy
        self.may_resolve = False  # libcurl calls a literal address resolved, too
        self.token = 0
        self._clear()
        self.easy = new_easy(settings)
        self._show(kind, proxy)
        self.easy.setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)
        self.easy.setopt(pycurl.PREREQFUNCTION, self._before_request)
        self.easy.setopt(pycurl.WRITEFUNCTION, self._take_body)
        self.easy.setopt(pycurl.RESOLVER_START_FUNCTION, self._before_resolving)

    def _show(self, kind: Kind, proxy: Proxy | None) -> None:
        """Sets what this handle is for. Raises pycurl.error for what libcurl cannot take."""
        easy, egress = self.easy, kind.egress
        if kind.certificate:
            easy.setopt(pycurl.SSLCERT, kind.certificate)
            easy.setopt(pycurl.SSLKEY, kind.key or kind.certificate)
        if egress.tls13:
            easy.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_3)
        if egress.http2:
            easy.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
            easy.setopt(pycurl.PIPEWAIT, 1)  # rather one connection more used than one more made
        if proxy is not None:
            easy.setopt(pycurl.NOPROXY, "")
            easy.setopt(pycurl.PROXY, proxy.url)
            # Always a tunnel: a proxy that reads requests may repeat them, and answers in the partner's name.
            easy.setopt(pycurl.HTTPPROXYTUNNEL, 1)
            easy.setopt(pycurl.PROXY_SSLVERSION, pycurl.SSLVERSION_TLSv1_2)
            if self._settings.authorities_file:
                easy.setopt(pycurl.PROXY_CAINFO, self._settings.authorities_file)
            if proxy.user or proxy.password:
                easy.setopt(pycurl.PROXYAUTH, pycurl.HTTPAUTH_BASIC)
                easy.setopt(pycurl.PROXYUSERNAME, proxy.user)
                easy.setopt(pycurl.PROXYPASSWORD, proxy.password)

    def _clear(self) -> None:
        self._begun = 0  # requests that this transfer was about to send: 1, or it is stopped
        self._opened = False  # whether it made a connection of its own
        self._reached = False  # a probe whose connection stood
        self._refused: Judgement | None = None
        self._unbound = ""  # why no socket could be given our source address
        self.address = ""
        self._body = b""
        self._bytes = 0
        self.request_ms = 0.0

    def prepare(self, request: SendRequest, url: str, waited_ms: float = 0.0) -> None:
        """Sets the request, which has waited so long already. Raises pycurl.error, ValueError or TypeError for what
        libcurl cannot take."""
        self._clear()
        easy = self.easy
        self.token = request.token
        easy.setopt(pycurl.URL, url)
        if request.method != self._method or request.method != "GET":
            self._prepare_method(request)
        easy.setopt(pycurl.HTTPHEADER, _header_lines(request.headers))
        connect_ms, total_ms = request.connect_timeout_ms, request.total_timeout_ms
        self._waited_us = 0
        if waited_ms:
            self._waited_us = int(waited_ms * 1000)
            connect_ms, total_ms = connect_ms - int(waited_ms), total_ms - int(waited_ms)
        if connect_ms != self._connect_timeout_ms:
            self._connect_timeout_ms = connect_ms
            easy.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, connect_ms))  # 0 would mean libcurl's default
        if total_ms != self._total_timeout_ms:
            self._total_timeout_ms = total_ms
            easy.setopt(pycurl.TIMEOUT_MS, max(1, total_ms))  # 0 would mean none
        self._keep = request.body_bytes or self._kept_max
        self._ports = request.ports
        self.first_byte_ms = request.first_byte_timeout_ms
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

    def _before_resolving(self, *_: Any) -> int:
        """libcurl has no address for a name: it was not given one, and may not look for one itself."""
        return 0 if self.may_resolve else 1

    def _judge(self, host: str, port: int) -> Judgement:
        judgement = self._guard.judge(host, port, self._ports)
        if self._proxied and judgement == "port_forbidden":  # the catalog names the proxy, with its port
            return Judgement("")
        return judgement

    def _open_socket(self, purpose: int, address: Any) -> Any:
        """A socket for an address that may be dialled. Once one is refused, so are all others of this transfer."""
        host, port = (address.addr[0], address.addr[1]) if isinstance(address.addr, tuple) else (str(address.addr), 0)
        if self._refused is not None:
            return pycurl.SOCKET_BAD
        judgement = self._judge(host, port)
        if judgement:
            self._refused = judgement
            self.address = host
            return pycurl.SOCKET_BAD
        opened = _Lent(address.family, address.socktype, address.protocol)
        if self._source:
            try:
                _bind(opened, self._source)
            except OSError as error:
                self._unbound = f"cannot send from {self._source} to {host}: {error.strerror or error}"
                return pycurl.SOCKET_BAD
        self._opened = True
        self.address = host
        if self._stats is not None:
            self._stats.values["courier_connections"] += 1
        self._waiter.watch(opened)
        return opened

    def _before_request(self, address: str, local: str, port: int, local_port: int) -> int:
        """Called when a connection stands, new or reused, and the request is about to be sent on it."""
        self._begun += 1
        self.address = address
        if self._begun > 1:
            return _ABORT
        if self._refused is None:
            judgement = self._judge(address, port)
            if not judgement and not self._probe:
                if self.first_byte_ms:
                    self.request_ms = time.monotonic() * 1000
                return _OK
            self._reached = not judgement
            self._refused = judgement or None
        self._begun = 0  # nothing has left
        return _ABORT

    def _take_body(self, data: bytes) -> int | None:
        """Takes a piece of the answer's body; 0 stops the transfer."""
        self._bytes += len(data)
        if len(self._body) < self._keep:
            self._body += data[: self._keep - len(self._body)]
        return None if self._bytes <= self._bytes_max else 0

    # --- the end -------------------------------------------------------------------------------------

    def first_byte_due_ms(self, now_ms: float) -> float:
        """When its first byte must have come; 0 if it has, or none is waited for. Not while libcurl is at work."""
        if not self.first_byte_ms or self.easy.getinfo(_STARTTRANSFER):
            return 0.0
        if not self.request_ms or not self.easy.getinfo(pycurl.POSTTRANSFER_TIME_T):
            return now_ms + self.first_byte_ms  # the request is not sent whole yet
        sent_us: int = self.easy.getinfo(pycurl.POSTTRANSFER_TIME_T) - self.easy.getinfo(pycurl.PRETRANSFER_TIME_T)
        return self.request_ms + max(0, sent_us) / 1000 + self.first_byte_ms

    def report(self, number: int, text: str, code: str = "") -> SendReport:
        """How the transfer ended; `number` is libcurl's code, 0 for a whole answer, or `code` is ours."""
        get = self.easy.getinfo
        status = get(_RESPONSE_CODE)
        begun = self._begun > 0
        self.first_byte_ms = 0  # nobody waits for it any more
        if self._reached:
            code = text = ""
        elif number:
            code, text = self._code_of(number, text)
        elif not code and status < 200:
            code, text = "response_malformed", "no HTTP status"
        retry_after = "" if not code and 200 <= status < 300 else str(get(pycurl.RETRY_AFTER) or "")
        waited_us = self._waited_us
        is_reused = begun and not self._opened
        dns_us = connect_us = tls_us = waited_us  # on a connection that stood already nothing else took time
        if not is_reused:
            dns_us += get(_NAMELOOKUP)
            connect_us += get(_CONNECT)
            tls_us += get(_APPCONNECT)
        return SendReport(
            self.token,
            code,
            text,
            status,
            self.address,
            dns_us,
            connect_us,
            tls_us,
            get(_STARTTRANSFER) + waited_us,
            get(_TOTAL) + waited_us,
            is_reused,
            begun,
            self._body,
            retry_after,
        )

    def _code_of(self, number: int, text: str) -> tuple[str, str]:
        if self._refused is not None:
            return str(self._refused), self._refused.why
        if self._unbound and not self._opened:
            return "source_address_failed", self._unbound
        if number == pycurl.E_ABORTED_BY_CALLBACK:
            if not self._begun:
                return "dns_failed", "the name's addresses were forgotten before they were dialled"
            return "resend_refused", "the connection broke after the request was sent; libcurl would have sent it again"
        code = _CODES.get(number, "send_failed")
        if not self._begun:
            code = self._code_before_request(number, code, text)
        elif number == pycurl.E_RECV_ERROR and not self.easy.getinfo(pycurl.OS_ERRNO):
            code = _code_of_reading(text)
        elif number == pycurl.E_WRITE_ERROR and self._bytes <= self._bytes_max:
            code = "response_headers"  # what our callback did not refuse is headers
        return code, without(text, self._hidden)

    def _code_before_request(self, number: int, code: str, text: str) -> str:
        """What stood in the way of a connection."""
        if number == pycurl.E_OPERATION_TIMEDOUT:  # with a connection, it is TLS (or the proxy) that is waited for
            code = "connect_failed" if self._proxied or not self.easy.getinfo(_CONNECT) else "tls_failed"
        elif code == "tls_untrusted":
            code = self._code_of_certificate(text)
        elif code == "tls_failed" and ("protocol version" in text or "unsupported protocol" in text):
            code = "tls_version"
        if self._proxied and (code in _BY_PROXY or self.easy.getinfo(pycurl.HTTP_CONNECTCODE)):
            return code if code.startswith("tls_") else "proxy_failed"
        return code

    def _code_of_certificate(self, text: str) -> str:
        if self.easy.getinfo(pycurl.SSL_VERIFYRESULT) in _UNTRUSTED_EXPIRED or "expired" in text:
            return "tls_expired"
        return "tls_wrong_name" if "name" in text and "match" in text else "tls_untrusted"


def _code_of_reading(text: str) -> str:
    """libcurl could read the connection, but not what was on it."""
    lowered = text.lower()
    if "chunk" in lowered or "hexadecimal" in lowered:
        return "response_chunks"
    if "response headers" in lowered:
        return "response_headers"
    return "send_failed" if "recv failure" in lowered or "ssl_read" in lowered else "response_malformed"


def unsent(token: int, code: str, why: str, address: str = "", waited_us: int = 0) -> SendReport:
    """The report of a request that was not begun."""
    return SendReport(token, code, why, 0, address, waited_us, 0, 0, 0, waited_us, False, False, b"", "")


class _Lent(socket.socket):
    """A socket whose descriptor pycurl duplicates; ours is closed as soon as pycurl lets it go."""

    def __del__(self) -> None:
        self.close()


def _bind(opened: socket.socket, source: str) -> None:
    """Gives a socket its source address; the port is chosen when it is connected, by where it leads to."""
    if (":" in source) != (opened.family == socket.AF_INET6):
        raise OSError(errno.EAFNOSUPPORT, "one is an IPv4 address, the other IPv6")
    late_port = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)  # Linux's number, which Python 3.11 does not name
    with contextlib.suppress(OSError):  # not Linux: the port is chosen now
        opened.setsockopt(socket.SOL_IP, late_port, 1)
    opened.bind((source, 0))


def _header_lines(headers: Sequence[tuple[str, str]]) -> Sequence[str | bytes]:
    """As libcurl takes them: `;` marks a header that is sent empty. Raises WaypostError `render_bad_header`."""
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in headers]
    text = "".join(lines)
    if "\n" in text or "\r" in text or "\0" in text:
        raise WaypostError("render_bad_header", "a header carries a line break")
    return lines if text.isascii() else [line.encode() for line in lines]


def new_easy(settings: CourierSettings) -> Any:
    """An easy handle with everything that never changes from request to request."""
    easy = pycurl.Curl()
    comment = f" ({settings.user_agent_comment})" if settings.user_agent_comment else ""
    for option, value in (
        (pycurl.NOSIGNAL, 1),
        (pycurl.PROXY, ""),  # none, whatever the environment says
        (pycurl.NOPROXY, "*"),
        (pycurl.FOLLOWLOCATION, 0),
        (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
        (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
        (pycurl.HTTP09_ALLOWED, 0),
        (pycurl.SSL_VERIFYPEER, 1),
        (pycurl.SSL_VERIFYHOST, 2),
        (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
        (pycurl.NETRC, 0),
        (pycurl.USERAGENT, f"Waypost/{__version__}{comment}"),
        (pycurl.MAXFILESIZE, settings.response_bytes_max),
        (pycurl.BUFFERSIZE, 16_384),
        (pycurl.DNS_CACHE_TIMEOUT, -1),  # what it is given holds until it is given anew
        (pycurl.MAXLIFETIME_CONN, max(1, settings.connection_lifetime_max_ms // 1000)),
        (pycurl.MAXAGE_CONN, max(1, settings.connection_idle_max_ms // 1000)),
    ):
        easy.setopt(option, value)
    if settings.authorities_file:
        easy.setopt(pycurl.CAINFO, settings.authorities_file)
    return easy
