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
from typing import Any

import uvloop

from waypost.doors.answers import Answers
from waypost.doors.clicks import Clicks
from waypost.doors.commit import GroupCommit
from waypost.doors.door_time import DoorTime
from waypost.doors.inbox import Inbox
from waypost.doors.known_heads import KnownHeads
from waypost.doors.postbacks import Postbacks
from waypost.doors.protocol import Connection
from waypost.doors.refusals import RefusalLog
from waypost.doors.routes import Routes
from waypost.doors.shelf import Shelf
from waypost.doors.trimming import Trimmer
from waypost.errors import ERRORS, WaypostError
from waypost.model.ids import ClickIdCodec, KeyRing
from waypost.ports.catalog_source import CatalogSource
from waypost.ports.clock import Clock
from waypost.ports.feed import Journal, Positions
from waypost.settings import Settings
from waypost.telemetry.log import logger
from waypost.telemetry.stats import Stats

BACKLOG = 4096
SWITCH_INTERVAL_S = 0.0005  # how long the loop may keep the interpreter from the journal's thread
GC_THRESHOLD = 50_000
_TICKS_PER_TIMEOUT = 4
_TICK_MS_MAX = 1000
_DRAIN_GRACE_MS = 300  # in which a silent keep-alive connection may still bring a request, and be told to close
_DRAIN_STEP_MS = 20


class Door:
    """One door process. `sockets` are bound and belong to the caller's parent; they are never unlinked here."""

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
    ) -> None:
        self.settings = settings.door
        self.connections: set[Connection] = set()
        self.is_draining = False
        self.tick_ms = clock.monotonic_ms()
        self.direct_answers = 0
        self.known_heads = KnownHeads(self.settings.url_bytes_max)
        self.inbox = Inbox()
        self._trim_interval_ms = settings.journal.trim_interval_ms
        self._drain_ms = settings.supervisor.drain_ms / 2  # the other half is for the last commit
        self._number = number
        self._sockets = list(sockets)
        self._journal = journal
        self._catalogs = catalogs
        self._trimmer = Trimmer(journal, positions, settings.journal, stats) if positions is not None else None
        self._clock = clock
        self._stats = stats
        self._log = logger("doors")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._was_stopped = False
        self._refused_version = 0
        self._last_commits = 0.0
        time = DoorTime(clock, number, journal.last_ms + 1)
        self.answers = Answers(self.settings.retry_after_s, clock.now_ms() / 1000)
        self.commit = GroupCommit(journal, time, clock, stats, self.settings)
        self._refusals = RefusalLog(refusals_file, self.settings.refusals_max, clock, self._is_secret)
        self._routes = Routes(
            clicks=Clicks(time=time, codec=ClickIdCodec(ring), commit=self.commit, answers=self.answers, stats=stats),
            postbacks=Postbacks(time=time, commit=self.commit, answers=self.answers, stats=stats),
            answers=self.answers,
            operator_key=operator_key,
            refusals=self._refusals,
            stats=stats,
            health=self._health,
        )
        self.handle = self._routes.handle

    # --- life ----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT (or `stop`), then drains. The journal stays open: it is the caller's."""
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
        self.inbox.start(loop)
        self._refusals.start()
        await self._look_for_catalog()
        timers = [
            asyncio.ensure_future(self._every(period_ms, act))
            for period_ms, act in (
                (self.settings.heartbeat_ms, self._heartbeat),
                (self._tick_ms(), self._tick),
                (self._trim_interval_ms, self._trim),
            )
        ]
        timers.append(asyncio.ensure_future(self._poll_catalog()))
        servers = [await loop.create_server(self._connect, sock=sock, backlog=BACKLOG) for sock in self._sockets]
        self._log.info("door_open", door=self._number, addresses=[str(sock.getsockname()) for sock in self._sockets])
        await self._stopping.wait()
        await self._drain(servers)
        for timer in timers:
            timer.cancel()
        await asyncio.gather(*timers, return_exceptions=True)
        self._loop = None
        self.commit.stop(self._drain_ms / 2000)
        self._refusals.close()
        if self._routes.shelf is not None:
            self._routes.shelf.close()
        self._show_gauges()
        self._log.info("door_closed", door=self._number)

    def _connect(self) -> Connection:
        return Connection(self)

    async def _drain(self, servers: Sequence[asyncio.Server]) -> None:
        """Takes no new connection, answers what is in hand, and ends each connection at a request's end."""
        for server in servers:
            server.close()
        self.is_draining = True
        self.known_heads.close()
        begun_ms = self._clock.monotonic_ms()
        while self.connections or not self.commit.is_idle:
            self.inbox.empty()
            waited_ms = self._clock.monotonic_ms() - begun_ms
            if waited_ms > self._drain_ms:
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
        self.commit.show_gauges()
        stats.set("journal_end", self._journal.end)
        stats.set("journal_bytes", self._journal.bytes_on_disk)
        stats.set("catalog_version", self._routes.shelf.version if self._routes.shelf else 0)

    def _trim(self) -> None:
        if self._trimmer is not None:
            self.commit.run_beside(self._trimmer.run)

    async def _poll_catalog(self) -> None:
        while True:
            await asyncio.sleep(self.settings.catalog_poll_ms / 1000)
            await self._look_for_catalog()

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
            if shelf is not None:
                shelf.close()  # requests in flight hold plans, not the view
            self._log.info("catalog_taken", version=version)
        except Exception:
            self._survive("catalog_poll_failed")

    # --- what connections and desks ask --------------------------------------------------------------

    def note_unreadable(self, connection: Connection, code: str, data: bytes) -> None:
        """See `protocol.Owner`."""
        if ERRORS[code].http_status == 503:
            self._stats.add("door_unavailable")
            return
        self._stats.add("door_refused")
        url = connection.url
        if not url and data:
            words = data.split(b"\n", 1)[0].strip().split(b" ")
            url = words[1] if len(words) > 1 else words[0]
        self._refusals.note(connection.address, code, connection.method, url)

    def note_crash(self, connection: Connection, error: BaseException) -> None:
        """See `protocol.Owner`."""
        self._stats.add("errors")
        self._log.error("door_error", path=connection.url.partition(b"?")[0][:200].decode("latin-1"), exc_info=error)

    def _survive(self, event: str) -> None:
        self._stats.add("errors")
        self._log.exception(event)

    def _is_secret(self, text: str) -> bool:
        shelf = self._routes.shelf
        return shelf is not None and text.encode("utf-8", "replace") in shelf.callers

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
