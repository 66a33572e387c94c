"""One role's process, as the supervisor sees it: started, watched, started again, stopped.

Owns: the process, the pause before it is started again, and its bounded log file (DATA/logs/ROLE.log).
Never decides when to drain or in which order: that is `supervisor.py`.
"""

import os
import signal
import subprocess
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from waypost.settings import SupervisorSettings

SUPERVISOR_VARIABLE = "WAYPOST_PARENT_PID"  # the supervisor's pid, so that a role knows whom it follows
_LAST_WORDS_BYTES = 500


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
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
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
        environment = os.environ | {SUPERVISOR_VARIABLE: str(os.getpid())}
        with self.log_file.open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    self.spec.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=self.spec.fds,
                    env=environment,
                    process_group=0,  # a terminal's Ctrl-C reaches the supervisor only, which drains in order
                )
            except OSError as error:
                log.write(f"cannot start: {error}\n".encode())
                self._ended(127, now_ms)
                return
        self.state = RoleState.STARTING

    def poll(self, now_ms: float) -> bool:
        """Whether the process was found dead just now."""
        if self._process is None or (code := self._process.poll()) is None:
            return False
        self._ended(code, now_ms)
        return True

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
