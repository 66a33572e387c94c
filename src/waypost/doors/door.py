"""The HTTP door: a process' loop, its sockets, and everything that happens on time rather than on request.

Owns: the life of a door: start, catalog reload, heartbeats, trimming, time-outs, counters, drain. Reads the catalog
source and readers' positions; writes its journal (through the group commit), its log of refusals and its counters.
Never waits for a disk, a catalog or another process on the loop.
"""

import asyncio
import gc
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from waypost.doors.acceptor import Acceptor
from waypost.doors.answers import Answers
from waypost.doors.batches import Batches
from waypost.doors.bulk import Bulk
from waypost.doors.clicks import Clicks
from waypost.doors.commit import GroupCommit
from waypost.doors.door_time import DoorTime
from waypost.doors.impressions import Impressions
from waypost.doors.inbox import Inbox
from waypost.doors.known_heads import KnownHeads
from waypost.doors.limits import Limits
from waypost.doors.pages import Pages
from waypost.doors.postbacks import Postbacks
from waypost.doors.protocol import Connection
from waypost.doors.proxies import Proxies
from waypost.doors.recent import RecentVisitors
from waypost.doors.refusals import RefusalLog, Refused
from waypost.doors.routes import Routes
from waypost.doors.shelf import Shelf
from waypost.doors.targets import target_in
from waypost.doors.touches import Touches
from waypost.doors.trimming import Trimmer
from waypost.errors import ERRORS, WaypostError
from waypost.model.ids import ClickIdCodec, KeyRing
from waypost.ports.board import BoardReader
from waypost.ports.catalog_source import CatalogSource
from waypost.ports.clock import Clock
from waypost.ports.feed import Journal, Positions
from waypost.ports.visitor_keys import VisitorKeys
from waypost.ports.visitors import Visitors
from waypost.settings import Settings
from waypost.stages.call_auth import Caller
from waypost.telemetry.log import logger
from waypost.telemetry.stats import Stats

if TYPE_CHECKING:
    from waypost.doors.stream import StreamService
    from waypost.doors.tls import TlsFolder

BACKLOG = 4096
KEYS_EVERY_MS = 60_000  # how often a door looks whether a new day has its key
SWITCH_INTERVAL_S = 0.0005  # how long the loop may keep the interpreter from the journal's thread
GC_THRESHOLD = 50_000
_TICKS_PER_TIMEOUT = 4
_TICK_MS_MAX = 1000
_DRAIN_GRACE_MS = 300  # in which a silent keep-alive connection may still bring a request, and be told to close
_DRAIN_STEP_MS = 5


class Door:
    """One door process. `sockets` are bound and belong to the caller's parent; they are never unlinked here.

    `tls_sockets` are those on which TLS is spoken, with the certificates of `tls_folder`.
    """

    stream: "StreamService | None" = None
    _catalog_trouble = ""  # why the catalog in force could not be looked for

    def __init__(
        self,
        *,
        number: int,
        sockets: Sequence[socket.socket],
        journal: Journal,
        catalogs: CatalogSource,
        ring: KeyRing,
        operator_key: str,
        refusals_file: Path,
        settings: Settings,
        clock: Clock,
        stats: Stats,
        positions: Positions | None = None,
        tls_sockets: Sequence[socket.socket] = (),
        tls_folder: Path | None = None,
        visitors: Visitors | None = None,
        visitor_keys: VisitorKeys,
        board: BoardReader | None = None,
        grpc_address: str = "",
    ) -> None:
        self.settings = settings.door
        self.connections: set[Connection] = set()
        self.is_draining = False
        self.tick_ms = clock.monotonic_ms()
        self.direct_answers = 0
        self.known_heads = KnownHeads(self.settings.url_bytes_max, self.settings.headers_bytes_max)
        self.wanted_headers: frozenset[bytes] = frozenset()
        self.inbox = Inbox(self.known_heads.find)
        self.proxies = Proxies(self.settings.proxies, self.settings.proxy_header)
        self.limits = Limits(self.settings)
        self.tls = _certificates(tls_folder, clock, stats)
        self._tls_sockets = list(tls_sockets)
        self._acceptors: list[Acceptor] = []
        self._trim_interval_ms = settings.journal.trim_interval_ms
        self._drain_ms = settings.supervisor.drain_ms / 2  # the other half is for the last commit
        self._number = number
        self._sockets = list(sockets)
        self._journal = journal
        self._catalogs = catalogs
        self._operator_key = operator_key
        self._grpc_address = grpc_address
        self._trimmer = Trimmer(journal, positions, settings.journal, stats) if positions is not None else None
        self._visitors = visitors
        self._visitor_keys = visitor_keys
        self._board = board
        self._visitors_check_ms = settings.visitors.files_check_ms
        self._clock = clock
        self._stats = stats
        self._log = logger("doors")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._was_stopped = False
        self._refused_version = 0
        self._keys_due_ms = 0
        self._last_commits = 0.0
        time = DoorTime(clock, number, journal.last_ms + 1)
        self.answers = Answers(self.settings.retry_after_s, clock.now_ms() / 1000)
        self.commit = GroupCommit(journal, time, clock, stats, self.settings, take_in=self.inbox.empty)
        self._refusals = RefusalLog(refusals_file, self.settings.refusals_max, clock, self._is_secret)
        self._touches = Touches(
            time=time,
            codec=ClickIdCodec(ring),
            keys=visitor_keys,
            recent=RecentVisitors(self.settings.visitors_remembered_max, self.settings.duplicate_window_ms),
            stats=stats,
            visitors=visitors,
        )
        self._routes = self._desks(time, ClickIdCodec(ring), operator_key)
        self.handle = self._routes.handle

    def _desks(self, time: DoorTime, codec: ClickIdCodec, operator_key: str) -> Routes:
        """The routes, with a desk for each kind of request."""
        touches, commit, answers, stats = self._touches, self.commit, self.answers, self._stats
        postbacks = Postbacks(
            time=time, codec=codec, commit=commit, answers=answers, stats=stats,
            may_defer=lambda address: not self.limits.deferred.take(address, self._clock.monotonic_ms()),
        )  # fmt: skip
        self._postbacks = postbacks
        self._bulk = Bulk(postbacks, self._refusals, stats)
        return Routes(
            touches=touches,
            clicks=Clicks(touches=touches, commit=commit, answers=answers, stats=stats),
            impressions=Impressions(touches=touches, commit=commit, answers=answers, stats=stats),
            pages=Pages(touches=touches, time=time, codec=codec, commit=commit, answers=answers, stats=stats),
            postbacks=postbacks,
            answers=answers,
            limits=self.limits,
            now_ms=self._clock.monotonic_ms,
            operator_key=operator_key,
            refusals=self._refusals,
            stats=stats,
            health=self._health,
            batches=Batches(bulk=self._bulk, commit=commit, answers=answers, stats=stats, settings=self.settings),
        )

    # --- life ----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT (or `stop`), then drains, and closes the journal for a successor to open."""
        in_main = threading.current_thread() is threading.main_thread()
        switch_interval_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        if in_main:
            gc.collect()
            gc.freeze()
            gc.set_threshold(GC_THRESHOLD, 20, 50)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve(handle_signals=in_main))
        finally:
            sys.setswitchinterval(switch_interval_s)

    def stop(self) -> None:
        """Begins the drain; from any thread."""
        self._was_stopped = True
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def _serve(self, *, handle_signals: bool) -> None:
        loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._loop = loop
        if self._was_stopped:
            return
        if handle_signals:
            for name in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(name, self._stopping.set)
        self.commit.start(loop)
        self.inbox.start(loop, self._routes.take_at_once, holds=lambda: self.commit.is_busy)
        self._refusals.start()
        await self._look_for_catalog()
        await self._look_around()
        timers = [
            asyncio.ensure_future(self._every(period_ms, act))
            for period_ms, act in (
                (self.settings.heartbeat_ms, self._heartbeat),
                (self._tick_ms(), self._tick),
                (self._trim_interval_ms, self._trim),
            )
        ]
        timers.append(asyncio.ensure_future(self._poll_catalog()))
        timers.append(asyncio.ensure_future(self._refresh_visitors()))
        timers.append(asyncio.ensure_future(self._refresh_certificates()))
        servers = [await self._listen(loop, sock, is_tls=False) for sock in self._sockets]
        servers += [await self._listen(loop, sock, is_tls=True) for sock in self._tls_sockets]
        if self._grpc_address:
            await self._open_stream()
        addresses = [str(sock.getsockname()) for sock in (*self._sockets, *self._tls_sockets)]
        self._log.info("door_open", door=self._number, addresses=addresses)
        await self._stopping.wait()
        ends = [self._drain(servers)]
        if self.stream is not None:
            ends.append(self.stream.stop(self._drain_ms / 1000))
        await asyncio.gather(*ends)
        for timer in timers:
            timer.cancel()
        await asyncio.gather(*timers, return_exceptions=True)
        self._loop = None
        if self.commit.stop(self._drain_ms / 2000):
            self._journal.close()
        self._refusals.close()
        if self._routes.shelf is not None:
            self._routes.shelf.close()
        self._show_gauges()
        self._log.info("door_closed", door=self._number)

    async def _open_stream(self) -> None:
        """Opens the gRPC service, which nobody pays for who has no use for it."""
        from waypost.doors.stream import StreamService

        self.stream = StreamService(
            bulk=self._bulk,
            identify=self._postbacks.identify,
            commit=self.commit,
            limits=self.limits,
            now_ms=self._clock.monotonic_ms,
            refuse=self._note_refused_stream,
            shelf=lambda: self._routes.shelf,
            operator_key=self._operator_key,
            stats=self._stats,
            settings=self.settings,
        )
        await self.stream.start(self._grpc_address, self.tls)

    def _connect(self, address: str = "") -> Connection:
        return Connection(self, address)

    async def _listen(
        self, loop: asyncio.AbstractEventLoop, listener: socket.socket, *, is_tls: bool
    ) -> asyncio.Server | Acceptor:
        """Accepts on a socket: at once what needs nothing before its first request, by an acceptor the rest."""
        has_preface = ("tls" if is_tls else "http") in self.settings.proxy_protocol
        if not is_tls and not has_preface:
            return await loop.create_server(self._connect, sock=listener, backlog=BACKLOG)
        assert self.tls is not None or not is_tls
        acceptor = Acceptor(
            listener,
            self._connect,
            context=self.tls.context if is_tls and self.tls is not None else None,
            proxies=self.proxies if has_preface else None,
            timeout_s=self.settings.request_timeout_ms / 1000,
            under_way_max=self.settings.connections_max,
            of_address_max=self.settings.address_handshakes_max,
            trusts=self.proxies.trusts,
            note_failed=self._note_not_ready,
        )
        self._acceptors.append(acceptor)
        return acceptor

    async def _drain(self, servers: Sequence[asyncio.Server | Acceptor]) -> None:
        """Answers what is in hand, and ends each connection at a request's end; then takes no new one.

        New ones are taken until those that were there have been told to close, or have been silent for the grace:
        what waits for a successor is then only what comes while the last answers go out.
        """
        self.is_draining = True
        self.known_heads.close()
        begun_ms = self._clock.monotonic_ms()
        before = set(self.connections)
        while before & self.connections and self._clock.monotonic_ms() - begun_ms <= _DRAIN_GRACE_MS:
            await asyncio.sleep(_DRAIN_STEP_MS / 1000)
        for server in servers:
            server.close()
        for connection in before & self.connections:
            connection.close_politely()
        closed_ms = self._clock.monotonic_ms()
        while self.connections or not self.commit.is_idle or any(acceptor.under_way for acceptor in self._acceptors):
            self.inbox.empty()
            waited_ms = self._clock.monotonic_ms() - closed_ms
            if self._clock.monotonic_ms() - begun_ms > self._drain_ms:
                for acceptor in self._acceptors:
                    acceptor.abort()
                for connection in list(self.connections):
                    connection.abort()
                self._log.warning("drain_cut_off", connections=len(self.connections), pending=self.commit.pending)
                return
            if waited_ms > _DRAIN_GRACE_MS:
                for connection in list(self.connections):
                    connection.close_politely()
            await asyncio.sleep(_DRAIN_STEP_MS / 1000)

    async def _every(self, period_ms: float, act: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(period_ms / 1000)
            try:
                act()
            except Exception:
                self._survive("timer_failed")

    # --- on time -------------------------------------------------------------------------------------

    def _heartbeat(self) -> None:
        commits = self._stats.values["door_commits"]
        if commits == self._last_commits:
            self.commit.heartbeat()
        self._last_commits = commits

    def _tick_ms(self) -> float:
        shortest = min(self.settings.idle_timeout_ms, self.settings.request_timeout_ms) / _TICKS_PER_TIMEOUT
        return max(5.0, min(shortest, _TICK_MS_MAX))

    def _tick(self) -> None:
        """A new date for the answers, and an end to connections that are silent or slow."""
        self.inbox.empty()
        self.tick_ms = self._clock.monotonic_ms()
        self._stats.beats += 1
        self.answers.refresh(self._clock.now_ms() / 1000)
        self._show_gauges()
        idle_ms = self.settings.idle_timeout_ms
        request_ms = self.settings.request_timeout_ms
        for connection in list(self.connections):
            overdue = connection.overdue(self.tick_ms - connection.began_ms, idle_ms=idle_ms, request_ms=request_ms)
            if not overdue:
                continue
            self._stats.add("door_timeouts")
            if overdue == "idle":
                connection.close_politely()
            elif overdue == "stuck":
                connection.abort()
            else:
                self.note_unreadable(connection, overdue, b"")
                connection.refuse(overdue)

    def _show_gauges(self) -> None:
        stats = self._stats
        stats.add("door_requests", self.direct_answers)
        self.direct_answers = 0
        stats.set("door_connections", len(self.connections))
        stats.set("door_limited_addresses", self.limits.addresses)
        self.commit.show_gauges()
        stats.set("journal_end", self._journal.end)
        stats.set("journal_bytes", self._journal.bytes_on_disk)
        stats.set("catalog_version", self._routes.shelf.version if self._routes.shelf else 0)

    def _trim(self) -> None:
        if self._trimmer is not None:
            self.commit.run_beside(self._trimmer.run)

    async def _refresh_visitors(self) -> None:
        """Has geo files that were replaced opened beside the loop."""
        while self._visitors is not None:
            await asyncio.sleep(self._visitors_check_ms / 1000)
            try:
                await asyncio.to_thread(self._visitors.refresh)
            except Exception:
                self._survive("visitors_refresh_failed")

    async def _poll_catalog(self) -> None:
        while True:
            await asyncio.sleep(self.settings.catalog_poll_ms / 1000)
            await self._look_for_catalog()
            await self._look_around()

    async def _refresh_certificates(self) -> None:
        while self.tls is not None:
            await asyncio.sleep(self.settings.tls_check_ms / 1000)
            try:
                await asyncio.to_thread(self.tls.refresh)
            except Exception:
                self._survive("certificates_refresh_failed")

    async def _look_around(self) -> None:
        """Takes a newer board, and the key of a new day; both are read beside the loop."""
        try:
            board = await asyncio.to_thread(self._board.look) if self._board is not None else None
            if board is not None:
                self._touches.take_board(board)
            now_ms = self._clock.now_ms()
            if now_ms >= self._keys_due_ms:
                await asyncio.to_thread(self._visitor_keys.refresh, now_ms)
                self._keys_due_ms = now_ms + KEYS_EVERY_MS
        except Exception:
            self._survive("board_poll_failed")

    async def _look_for_catalog(self) -> None:
        """Takes a newer version, opened beside the loop. The one in force goes on if the new one does not open."""
        try:
            version = self._catalogs.current()
            shelf = self._routes.shelf
            if version in (0, self._refused_version) or (shelf is not None and shelf.version == version):
                return
            try:
                view = await asyncio.to_thread(self._catalogs.open, version)
            except WaypostError as error:
                self._refused_version = version
                self._stats.add("catalog_refused")
                self._log.error("catalog_refused", version=version, error=str(error))
                return
            self._routes.shelf = Shelf(view, self.settings.catalog_cache_items_max)
            if (wanted := self._routes.shelf.wanted_headers()) != self.wanted_headers:
                self.wanted_headers = wanted
                self.known_heads.forget(wanted)
            if shelf is not None:
                shelf.close()  # requests in flight hold plans, not the view
            self._catalog_trouble = ""
            self._log.info("catalog_taken", version=version)
        except Exception as error:
            if str(error) != self._catalog_trouble:  # said once, though it is looked at several times a second
                self._catalog_trouble = str(error)
                self._survive("catalog_poll_failed")

    # --- what connections and desks ask --------------------------------------------------------------

    def note_unreadable(self, connection: Connection, code: str, data: bytes) -> None:
        """See `protocol.Owner`."""
        status = ERRORS[code].http_status
        if status == 503:
            self._stats.add("door_unavailable")
            return
        self._stats.add("door_limited" if status == 429 else "door_refused")
        self._routes.note(connection, code, connection.url or target_in(data))

    def is_known_sender(self, connection: Connection) -> bool:
        """See `protocol.Owner`."""
        return self._routes.is_known_sender(connection)

    def _note_refused_stream(self, address: str, caller: Caller, url: bytes) -> None:
        self._stats.add("door_refused")
        shelf = self._routes.shelf
        advertiser = shelf.name_of(caller.advertiser) if shelf is not None else ""
        self._refusals.note(Refused(address, caller.code, b"POST", url, caller.detail, advertiser=advertiser))

    def _note_not_ready(self, address: str, why: str) -> None:
        self._stats.add("door_not_ready")
        if not address:
            self._log.error("cannot_accept", error=why)  # no descriptors or memory left: not a client's doing

    def note_crash(self, connection: Connection, error: BaseException) -> None:
        """See `protocol.Owner`."""
        self._stats.add("errors")
        self._log.error("door_error", path=connection.url.partition(b"?")[0][:200].decode("latin-1"), exc_info=error)

    def _survive(self, event: str) -> None:
        self._stats.add("errors")
        self._log.exception(event)

    def _is_secret(self, text: str) -> bool:
        shelf = self._routes.shelf
        return shelf is not None and shelf.is_secret(text)

    def _health(self) -> dict[str, Any]:
        version = self._routes.shelf.version if self._routes.shelf else 0
        journal = self.commit.error or "ok"
        return {
            "status": "ok" if version and journal == "ok" else "degraded",
            "door": self._number,
            "catalog": version,
            "journal": journal,
            "pending": self.commit.pending,
            "draining": self.is_draining,
        }


def _certificates(folder: Path | None, clock: Clock, stats: Stats) -> "TlsFolder | None":
    """Those of the folder; what reads them takes a tenth of a door's start, and is left alone where there are none."""
    if folder is None:
        return None
    from waypost.doors.tls import TlsFolder

    return TlsFolder(folder, clock.now_ms, stats)
