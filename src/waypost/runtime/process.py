"""What every role's process does besides its work: follows its supervisor, ends in bounded time, publishes counters.

Owns: the process's signals SIGTERM and SIGINT (for roles that have no event loop of their own), the parent-death
signal, and the thread that publishes snapshots. Reads the environment variable that the supervisor sets.
Never does a role's work.
"""

import ctypes
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from waypost.ports.clock import Clock
from waypost.runtime.roles import STANDBY_VARIABLE, SUPERVISOR_VARIABLE
from waypost.telemetry.log import logger
from waypost.telemetry.stats import Stats

_PR_SET_PDEATHSIG = 1  # Linux prctl(2)
EXIT_DRAIN_EXCEEDED = 75
_STILL_MAX = 5  # intervals
_COLLECT_AFTER = 50_000  # objects made and not freed


def follow_supervisor() -> bool:
    """Asks the kernel to send SIGTERM when the supervisor dies; answers False if it is dead already.

    Without a supervisor (a role started by hand) there is nobody to follow: True.
    """
    supervisor = os.environ.get(SUPERVISOR_VARIABLE, "")
    if not supervisor.isdigit():
        return True
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    return os.getppid() == int(supervisor)


def stand_by(load: Callable[[], None]) -> bool:
    """For the successor of a process that still works: loads what it will need, and tells the supervisor that it is
    ready to take over. False, and nothing done, for a process that takes over from nobody."""
    descriptor = os.environ.pop(STANDBY_VARIABLE, "")
    if not descriptor.isdigit():
        return False
    load()
    os.write(int(descriptor), b"ready\n")
    os.close(int(descriptor))
    return True


def collect_rarely() -> None:
    """Tunes the garbage collector for a loop that makes many objects and few cycles; called when a role is built.

    Measured on the pipeline: 10% of its time with Python's defaults, because what is built at the start and what a
    batch holds is walked again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 50)


class StopFlag:
    """Set by SIGTERM or SIGINT; call it to ask. From the first signal on the process has `drain_ms` to end."""

    def __init__(self, drain_ms: int) -> None:
        self._stop = threading.Event()
        self._drain_ms = drain_ms
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def __call__(self) -> bool:
        return self._stop.is_set()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._stop.is_set():
            self._stop.set()
            bound_drain(self._drain_ms)


def bound_drain(drain_ms: int) -> None:
    """Ends this process `drain_ms` from now, whatever it does then; all stores are safe against that."""

    def end() -> None:
        os._exit(EXIT_DRAIN_EXCEEDED)

    timer = threading.Timer(drain_ms / 1000, end)
    timer.daemon = True
    timer.start()


class Publisher:
    """Publishes a role's snapshot every `interval_ms` in a thread of its own; a context manager.

    Not while the role's loop stands still: then its last snapshot grows old, and the console shows it as silent.
    """

    def __init__(self, stats: Stats, clock: Clock, interval_ms: int) -> None:
        self._stats = stats
        self._clock = clock
        self._interval_s = interval_ms / 1000
        self._beats = self._still = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def __enter__(self) -> "Publisher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._publish()

    def _run(self) -> None:
        self._publish()
        while not self._end.wait(self._interval_s):
            if self.is_moving():
                self._publish()

    def is_moving(self) -> bool:
        """Whether the loop has turned lately; True for a role that counts no turns. Asked once an interval."""
        beats = self._stats.beats
        self._still = 0 if beats != self._beats else self._still + 1
        self._beats = beats
        return beats == 0 or self._still < _STILL_MAX

    def _publish(self) -> None:
        try:
            self._stats.publish(self._clock.now_ms())
        except (OSError, RuntimeError) as error:  # disk full, or `details` changed meanwhile: the next one will do
            logger("process").warning("snapshot not published", error=str(error))
