"""One role's process, as the supervisor sees it: started, watched, started again, replaced, stopped.

Owns: the process, its successor while it is being replaced, the pause before it is started again, and its bounded log
file (DATA/logs/ROLE.log). Never decides when to drain or replace, or in which order: that is `supervisor.py`.

A successor is started beside the one that works, imports what it needs, says so on a pipe, and waits for the role's
lock; only then is the other asked to end. So between the two lie the last answers and the opening of the stores.
"""

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from waypost.settings import SupervisorSettings

SUPERVISOR_VARIABLE = "WAYPOST_PARENT_PID"  # the supervisor's pid, so that a role knows whom it follows
STANDBY_VARIABLE = "WAYPOST_STANDBY_FD"  # where a successor says that it is ready to take over
_LAST_WORDS_BYTES = 500


class Replacement(StrEnum):
    """How far a replacement is. `failed`: the successor did not come up; the process that worked goes on."""

    LOADING = "loading"
    HANDING_OVER = "handing over"
    DONE = "done"
    FAILED = "failed"


class RoleState(StrEnum):
    """`starting` until the role has published its first snapshot; `pausing` before it is started again."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSING = "pausing"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True)
class RoleSpec:
    """What to start. Roles with a lower `stage` are drained before those with a higher one."""

    name: str
    command: tuple[str, ...]
    stage: int
    fds: tuple[int, ...] = ()


@dataclass
class RoleProcess:
    """One role. Times are monotonic milliseconds, given by the caller."""

    spec: RoleSpec
    settings: SupervisorSettings
    log_file: Path
    state: RoleState = RoleState.STOPPED
    restarts: int = 0
    exit_code: int | None = None  # of the last process that ended
    replaced: int = 0  # how often it was replaced
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _successor: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _ready_fd: int = -1  # where the successor speaks, until it has
    _replacing_ms: float = 0  # since when; from the hand-over on, since that
    _replaced_pid: int = 0  # whom it is to take over from
    _is_handing_over: bool = False
    _started_ms: float = 0
    _pause_ms: float = 0
    _resume_ms: float = 0

    @property
    def pid(self) -> int:
        """The living process's pid, or 0."""
        return self._process.pid if self._process is not None else 0

    def start(self, now_ms: float) -> None:
        """Starts the process; a command that cannot be started counts as one that died at once."""
        self._started_ms = now_ms
        self._process = self._spawn({}, self.spec.fds)
        if self._process is None:
            self._ended(127, now_ms)
        else:
            self.state = RoleState.STARTING

    def _spawn(self, variables: dict[str, str], fds: tuple[int, ...]) -> "subprocess.Popen[bytes] | None":
        environment = os.environ | {SUPERVISOR_VARIABLE: str(os.getpid())} | variables
        try:
            with self.log_file.open("ab") as log:
                return subprocess.Popen(
                    self.spec.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=fds,
                    env=environment,
                    process_group=0,  # a terminal's Ctrl-C reaches the supervisor only, which drains in order
                )
        except OSError as error:
            with contextlib.suppress(OSError), self.log_file.open("ab") as log:
                log.write(f"cannot start: {error}\n".encode())
            return None

    def poll(self, now_ms: float) -> bool:
        """Whether the process was found dead just now, and nobody takes over from it."""
        if self._process is None or (code := self._process.poll()) is None:
            return False
        if self._successor is not None and self._successor.poll() is None and self.state is not RoleState.STOPPING:
            self.exit_code = code
            self._process, self._successor = self._successor, None
            self._started_ms = now_ms
            return False
        self._ended(code, now_ms)
        return True

    # --- replacement ---------------------------------------------------------------------------------

    @property
    def ready_fd(self) -> int:
        """What to wait on for news of the successor; -1 if there is nothing to wait for."""
        return self._ready_fd

    def begin_replacement(self, now_ms: float) -> None:
        """Starts a successor beside the process."""
        self._is_handing_over = False
        self._replacing_ms = now_ms
        self._replaced_pid = self.pid
        if self._process is None:
            return  # it is about to be started anew as it is
        self._ready_fd, said = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(said, True)
        self._successor = self._spawn({STANDBY_VARIABLE: str(said)}, (*self.spec.fds, said))
        os.close(said)

    def step_replacement(self, now_ms: float) -> Replacement:
        """Asks the process to end once the successor is ready; answers how far it is. Called after `poll`."""
        is_late = now_ms - self._replacing_ms > self.settings.drain_ms
        if self._is_handing_over:
            if self._successor is None:
                return self._end_replacement(Replacement.DONE)
            if self._successor.poll() is not None:
                return self._end_replacement(Replacement.FAILED)  # the old one ends, and is started again as if it died
            if is_late and self._process is not None:
                self._process.kill()
            return Replacement.HANDING_OVER
        if self._process is None or self.pid != self._replaced_pid:
            return self._end_replacement(Replacement.DONE)  # it died meanwhile, and its place is taken
        if is_late or self._successor is None or self._successor.poll() is not None:
            return self._end_replacement(Replacement.FAILED)
        try:
            is_ready = bool(os.read(self._ready_fd, 64))
        except BlockingIOError:
            return Replacement.LOADING
        if is_ready:
            self._is_handing_over = True
            self._replacing_ms = now_ms
            self._close_ready_fd()
            self._process.send_signal(signal.SIGTERM)
            return Replacement.HANDING_OVER
        return Replacement.LOADING  # the pipe's other end is closed: it is about to be found dead

    def _end_replacement(self, outcome: Replacement) -> Replacement:
        self._close_ready_fd()
        self._kill_successor()
        self.replaced += outcome is Replacement.DONE
        return outcome

    def _close_ready_fd(self) -> None:
        if self._ready_fd >= 0:
            os.close(self._ready_fd)
            self._ready_fd = -1

    def _kill_successor(self) -> None:
        if self._successor is not None:
            self._successor.kill()
            self._successor.wait()
            self._successor = None

    # --- the end -------------------------------------------------------------------------------------

    def due(self, now_ms: float) -> bool:
        """Whether its pause is over."""
        return self.state is RoleState.PAUSING and now_ms >= self._resume_ms

    def restart(self, now_ms: float) -> None:
        self.restarts += 1
        self.start(now_ms)

    def seen_alive(self, pid: int) -> None:
        """A snapshot of process `pid` was read: the role works."""
        if self.state is RoleState.STARTING and pid == self.pid:
            self.state = RoleState.RUNNING

    def terminate(self) -> None:
        """Asks the process to drain and end."""
        self._close_ready_fd()
        self._kill_successor()
        if self._process is None:
            self.state = RoleState.STOPPED
            return
        self.state = RoleState.STOPPING
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the process at once and waits for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self.exit_code = self._process.returncode
            self._process = None
        self.state = RoleState.STOPPED

    def last_words(self) -> str:
        """The end of the log's last line: why a process ended is mostly there."""
        try:
            with self.log_file.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LAST_WORDS_BYTES))
                lines = log.read().decode("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""

    def bound_log(self) -> None:
        """Keeps the log below its bound: one older part stays beside it, the file starts anew.

        The process goes on writing into the same file, which it has open for appending.
        """
        try:
            if self.log_file.stat().st_size <= self.settings.log_bytes_max:
                return
            self.log_file.with_suffix(".log.1").write_bytes(self.log_file.read_bytes()[-self.settings.log_bytes_max :])
            os.truncate(self.log_file, 0)
        except FileNotFoundError:
            return

    def _ended(self, code: int, now_ms: float) -> None:
        self._process = None
        self.exit_code = code
        if self.state is RoleState.STOPPING:
            self.state = RoleState.STOPPED
            return
        shortest, longest = self.settings.restart_pause_ms, self.settings.restart_pause_max_ms
        lived_well = now_ms - self._started_ms > 2 * longest
        self._pause_ms = shortest if lived_well or not self._pause_ms else min(self._pause_ms * 2, longest)
        self._resume_ms = now_ms + self._pause_ms
        self.state = RoleState.PAUSING
