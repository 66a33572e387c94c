"""The supervisor: keeps every role running, replaces them one by one when asked, applies catalog changes, and drains
all in order at the end.

Owns: the roles' processes, the signals SIGTERM, SIGINT, SIGHUP and SIGCHLD of this process, its own snapshot
(DATA/run/supervisor.json). Reads: the roles' snapshots, and DATA/run/replace, which names what a SIGHUP is to replace
(all roles if it is not there). Listening sockets are bound by its caller and handed to each process by number.
Never does a role's work, and never blocks longer than one process start takes.

Order of the end: doors, so that nothing new comes in; the pipeline, once it has read what they wrote; the courier;
the archivist, once all is archived; the console last, so that the drain can be watched. Each stage is given `drain_ms`.
"""

import os
import select
import signal
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from waypost.ports.clock import Clock
from waypost.runtime.catalog_watch import ApplyResult, CatalogWatch
from waypost.runtime.roles import Replacement, RoleProcess, RoleSpec, RoleState
from waypost.settings import SupervisorSettings
from waypost.telemetry.log import logger
from waypost.telemetry.stats import Stats, read_snapshots

_TICK_MS = 100.0
REPLACE_FILE = "replace"  # in DATA/run: names of roles, one a line


class Supervisor:
    """`run` returns when every role has ended after SIGTERM or SIGINT."""

    def __init__(
        self,
        roles: Sequence[RoleSpec],
        *,
        run_folder: Path,
        log_folder: Path,
        settings: SupervisorSettings,
        clock: Clock,
        stats: Stats,
        catalog: CatalogWatch | None = None,
        ready_text: str = "",
    ) -> None:
        self._roles = [RoleProcess(spec, settings, log_folder / f"{spec.name}.log") for spec in roles]
        self._run_folder = run_folder
        self._settings = settings
        self._clock = clock
        self._stats = stats
        self._catalog = catalog
        self._ready_text = ready_text
        self._log = logger("supervisor")
        self._stops = 0  # how often we were asked to end; the second time nothing is waited for
        self._is_asked_to_replace = False
        self._to_replace: deque[RoleProcess] = deque()
        self._replacing: RoleProcess | None = None
        self._had_terminal = os.isatty(0)
        self._next_status_ms = 0.0
        self._ready = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> int:
        """Starts all, keeps them running until asked to end, drains; answers the exit code."""
        self._take_signals()
        for old in self._run_folder.glob("*.json"):
            old.unlink(missing_ok=True)  # a role of an earlier run must not be shown as a living one
        now = self._clock.monotonic_ms()
        for role in self._roles:
            role.start(now)
        while not self._stops:
            self._tick()
        self._log.info("draining", roles=len(self._roles))
        if self._catalog is not None:
            self._catalog.stop()
        killed = self._drain()
        self._publish()
        self._log.info("stopped", killed=killed)
        return 0

    def _tick(self) -> None:
        """One round of the loop: waits for a signal or a tick's time, then looks after everything that is due."""
        self._wait(_TICK_MS)
        now = self._clock.monotonic_ms()
        self._keep_running(now)
        if not self._stops:
            self._replace(now)
        if self._catalog is not None and not self._stops:
            self._note_catalog(self._catalog.step(now))
        if now >= self._next_status_ms:
            self._next_status_ms = now + (self._settings.status_ms if self._ready else _TICK_MS)
            for role in self._roles:
                role.bound_log()
            self._publish()

    def _keep_running(self, now: float) -> None:
        """Notes roles that died and starts again those whose pause is over."""
        for role in self._roles:
            if role.poll(now) and role.state is RoleState.PAUSING:
                self._log.error(
                    "role died",
                    name=role.spec.name,
                    exit_code=role.exit_code,
                    last_words=role.last_words(),
                    log=str(role.log_file),
                )
            if role.due(now):
                role.restart(now)
                self._stats.add("role_restarts")
                self._log.warning("role started again", name=role.spec.name, restarts=role.restarts, pid=role.pid)

    def _replace(self, now: float) -> None:
        """Replaces roles, one at a time and in the order of the drain: doors first."""
        if self._is_asked_to_replace:
            self._is_asked_to_replace = False
            self._to_replace.extend(role for role in self._asked_for() if role not in self._to_replace)
            self._show_replacing()
            (self._run_folder / REPLACE_FILE).unlink(missing_ok=True)  # gone: it is taken, and shown
        if self._replacing is None:
            if not self._to_replace:
                return
            self._replacing = self._to_replace.popleft()
            self._replacing.begin_replacement(now)
            return
        role, name = self._replacing, self._replacing.spec.name
        outcome = role.step_replacement(now)
        if outcome is Replacement.FAILED:
            self._to_replace.clear()  # what keeps this one from coming up might keep the others
            self._stats.details["replacement_failed"] = name
            self._log.error("role not replaced: its successor did not come up", name=name, last_words=role.last_words())
        elif outcome is Replacement.DONE:
            self._stats.add("role_replacements")
            self._log.info("role replaced", name=name, pid=role.pid)
        else:
            return
        self._replacing = None
        self._show_replacing()

    def _asked_for(self) -> list[RoleProcess]:
        try:
            names = set((self._run_folder / REPLACE_FILE).read_text("utf-8").split())
        except OSError:
            names = set()
        self._stats.details.pop("replacement_failed", None)
        roles = sorted(self._roles, key=lambda role: role.spec.stage)
        return [role for role in roles if not names or role.spec.name in names or _kind(role) in names]

    def _show_replacing(self) -> None:
        waiting = [self._replacing, *self._to_replace]
        self._stats.details["replacing"] = [role.spec.name for role in waiting if role is not None]
        self._publish()

    def _drain(self) -> int:
        """Ends the stages in order; answers how many roles had to be killed."""
        killed = 0
        for stage in sorted({role.spec.stage for role in self._roles}):
            members = [role for role in self._roles if role.spec.stage == stage]
            for role in members:
                role.terminate()
            deadline = self._clock.monotonic_ms() + self._settings.drain_ms
            while any(role.pid for role in members) and self._clock.monotonic_ms() < deadline and self._stops < 2:
                self._tick()
            for role in members:
                if role.pid:
                    killed += 1
                    self._log.error("role killed: it did not end in time", name=role.spec.name)
                    role.kill()
        return killed

    def _note_catalog(self, result: ApplyResult | None) -> None:
        if result is None:
            return
        if result.applied:
            self._log.info("catalog applied", result=" ".join(result.lines))
            self._stats.details["catalog_errors"] = []
        else:
            self._stats.add("catalog_refused")
            self._stats.details["catalog_errors"] = result.lines[:100]
            self._log.error("catalog refused, the version in force goes on", errors=result.lines)

    def _publish(self) -> None:
        by_role = {snapshot["role"]: snapshot for snapshot in read_snapshots(self._run_folder)}
        for role in self._roles:
            role.seen_alive(by_role.get(role.spec.name, {}).get("pid", 0))
        self._stats.details["roles"] = {role.spec.name: _shown(role) for role in self._roles}
        try:
            self._stats.publish(self._clock.now_ms())
        except OSError as error:
            self._log.error("snapshot not published", error=str(error))
        if not self._ready and all(role.state is RoleState.RUNNING for role in self._roles):
            self._ready = True
            if self._ready_text:
                print(self._ready_text, flush=True)

    def _take_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_hangup)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # wakes `_wait`: a death is noticed at once
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._stops += 1

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        if self._had_terminal and not os.isatty(0):
            self._stops += 1  # the terminal was closed
        else:
            self._is_asked_to_replace = True

    def _wait(self, duration_ms: float) -> None:
        """Until a signal or a successor's word comes, at most so long."""
        awaited = [self._wake_read]
        if self._replacing is not None and self._replacing.ready_fd >= 0:
            awaited.append(self._replacing.ready_fd)
        select.select(awaited, [], [], duration_ms / 1000)
        try:
            while os.read(self._wake_read, 4096):
                pass
        except BlockingIOError:
            return


def _kind(role: RoleProcess) -> str:
    return role.spec.name.partition("-")[0]


def _shown(role: RoleProcess) -> dict[str, Any]:
    return {
        "pid": role.pid,
        "state": str(role.state),
        "restarts": role.restarts,
        "replaced": role.replaced,
        "exit_code": role.exit_code,
    }
