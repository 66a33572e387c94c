"""Group commit: the frames of all requests that wait go into one append, and only then are they answered.

Owns: the order of answers, the batches that wait, and the one thread that uses the journal. The loop fills a batch
while the thread has the last one at the disk. Never answers a call before its frame is durable (law 1), and never
lets an answer overtake an earlier one of the same connection.

Why a thread: docs/decisions/0002-group-commit.md.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol, TypeAlias

from waypost.doors.door_time import DoorTime
from waypost.errors import WaypostError
from waypost.ports.clock import Clock
from waypost.ports.feed import Journal
from waypost.telemetry.log import logger
from waypost.telemetry.stats import Stats

Fallback: TypeAlias = Callable[[str], bytes]
"""What to answer instead if the frame could not be made durable; takes the error's code."""


class Waiting(Protocol):
    """A connection with an answer that waits."""

    def release(self, response: bytes) -> None:
        """Takes the answer that is due next; called exactly once for each that waits."""


class Batch:
    """Frames that will be committed together, and answers in the order in which they are due."""

    __slots__ = ("answers", "clicks", "frames", "watermark_ms")

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.answers: list[tuple[Waiting, bytes, Fallback | None]] = []
        self.clicks = 0
        self.watermark_ms = 0


class GroupCommit:
    """All methods but the thread's own are called on the loop."""

    def __init__(
        self, journal: Journal, time: DoorTime, clock: Clock, stats: Stats, *, frames_max: int, pending_max: int
    ) -> None:
        self._journal = journal
        self._time = time
        self._clock = clock
        self._stats = stats
        self._frames_max = frames_max
        self._pending_max = pending_max
        self._loop: asyncio.AbstractEventLoop | None = None
        self._full: deque[Batch] = deque()  # closed, waiting for the thread
        self._open = Batch()
        self._is_busy = False  # a batch or a heartbeat is with the thread, or about to be
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._log = logger("doors")
        self.pending = 0
        self.error = ""  # the last commit's error code; empty while all is well

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts the thread."""
        self._loop = loop
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the jobs it has; call when nothing waits any more."""
        self._jobs.put(None)
        self._thread.join()

    @property
    def is_full(self) -> bool:
        """Whether so many frames wait that no further one may."""
        return self.pending >= self._pending_max

    @property
    def is_idle(self) -> bool:
        """Whether no answer waits."""
        return not (self._is_busy or self._open.answers or self._full)

    def add(self, waiting: Waiting, frame: bytes, response: bytes, fallback: Fallback, is_click: bool) -> None:
        """`response` is due when `frame` is durable, or `fallback`'s if it cannot be."""
        batch = self._open
        batch.frames.append(frame)
        batch.answers.append((waiting, response, fallback))
        self.pending += 1
        if is_click:
            batch.clicks += 1
        if len(batch.frames) >= self._frames_max:
            self._close_batch()
        if not self._is_busy:
            self._begin_soon()

    def add_behind(self, waiting: Waiting, response: bytes) -> None:
        """`response` needs no frame, but is due behind answers of its connection that wait."""
        self._open.answers.append((waiting, response, None))
        if not self._is_busy:
            self._begin_soon()

    def heartbeat(self) -> None:
        """Journals the watermark; does nothing while frames are on their way, which carry it themselves."""
        if not self.is_idle:
            return
        self._is_busy = True
        watermark_ms = self._time.advance()
        self._jobs.put(lambda: self._beat(watermark_ms))

    def run_beside(self, job: Callable[[], None]) -> None:
        """Runs a job on the journal in the journal's thread, between commits."""
        self._jobs.put(job)

    def _begin_soon(self) -> None:
        # Not at once: all requests that this turn of the loop has read shall share the commit.
        assert self._loop is not None
        self._is_busy = True
        self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        if not self._full:
            if not self._open.answers:
                self._is_busy = False
                return
            self._close_batch()
        batch = self._full.popleft()
        self._jobs.put(lambda: self._append(batch))

    def _close_batch(self) -> None:
        # The watermark is taken when the last frame is in: what comes later is stamped with this time or a later one.
        self._open.watermark_ms = self._time.ms
        self._full.append(self._open)
        self._open = Batch()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:
                self._log.exception("journal_job_failed")

    def _append(self, batch: Batch) -> None:
        assert self._loop is not None
        started_ms = self._clock.monotonic_ms()
        code = ""
        if batch.frames:
            code = self._attempt(
                lambda: self._journal.append(batch.frames, at_ms=self._clock.now_ms(), watermark_ms=batch.watermark_ms)
            )
        took_us = (self._clock.monotonic_ms() - started_ms) * 1000
        self._loop.call_soon_threadsafe(self._finish, batch, code, took_us)

    def _beat(self, watermark_ms: int) -> None:
        assert self._loop is not None
        code = self._attempt(lambda: self._journal.heartbeat(at_ms=self._clock.now_ms(), watermark_ms=watermark_ms))
        self._loop.call_soon_threadsafe(self._finish_beat, code)

    def _attempt(self, act: Callable[[], object]) -> str:
        try:
            act()
        except WaypostError as error:
            if error.code != self.error:  # once when it begins, not once a batch
                self._log.error("journal_failed", code=error.code, detail=error.detail)
            return error.code
        except Exception:
            self._log.exception("journal_failed")
            return "journal_unavailable"
        return ""

    def _finish(self, batch: Batch, code: str, took_us: float) -> None:
        self._begin()  # the next batch first: its commit goes on while these answers are written
        self.error = code
        count = len(batch.frames)
        self.pending -= count
        values = self._stats.values
        values["door_requests"] += len(batch.answers)
        if not code:
            for waiting, response, _ in batch.answers:
                waiting.release(response)
            if count:
                values["door_commits"] += 1
                values["door_commit_us"] += took_us
                values["door_clicks"] += batch.clicks
                values["door_postbacks"] += count - batch.clicks
            return
        for waiting, response, fallback in batch.answers:
            waiting.release(response if fallback is None else fallback(code))

    def _finish_beat(self, code: str) -> None:
        self.error = code
        self._begin()
