"""Group commit: the frames of all requests that wait go into one append, and only then are they answered.

Owns: the order of answers, the batches that wait, and the one thread that uses the journal. The loop fills a batch
while the thread has the last one at the disk, so a batch is as large as the disk is slow, and nobody waits for company
but that of requests which have been read already. Never answers a call before its frame is durable (law 1), never lets
an answer overtake an earlier one of the same connection, and never lets anybody wait longer than `commit_wait_max_ms`:
then it answers without the disk.

Why a thread: docs/decisions/0002-group-commit.md. What a failing or hanging disk means: 0016-journal-under-stress.md.
Why gathering: 0037-a-turn-at-once.md. What a commit costs: 0047-what-a-small-commit-costs.md.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Protocol, TypeAlias

from waypost.doors.door_time import DoorTime
from waypost.errors import WaypostError
from waypost.ports.clock import Clock
from waypost.ports.feed import Journal
from waypost.settings import DoorSettings
from waypost.telemetry.log import logger
from waypost.telemetry.stats import Stats

_LOOKS_PER_WAIT = 8  # how often within the longest wait it is looked whether somebody has waited that long
STALLED = "journal_stalled"
GATHER_MS = 1.0  # how long a batch may grow by what has been read already before its commit begins

Fallback: TypeAlias = Callable[[str], bytes]
"""What to answer instead if the frame could not be made durable; takes the error's code."""


class Waiting(Protocol):
    """A connection with an answer that waits. Where it has a transport, and neither closes nor holds up its reading, an
    answer takes no more than to be counted off and written; else `release` sees to it."""

    transport: asyncio.Transport | None
    pending: int  # answers that wait
    is_closing: bool
    is_paused: bool

    def release(self, response: bytes) -> None:
        """Takes the answer that is due next; called exactly once for each that waits."""


class Batch:
    """Frames that will be committed together, and answers in the order in which they are due."""

    __slots__ = (
        "answers",
        "clicks",
        "frames",
        "is_given_up",
        "is_written",
        "size",
        "views",
        "waits_since_ms",
        "watermark_ms",
    )

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.size = 0  # bytes of the frames
        self.answers: list[tuple[Waiting, bytes, Fallback | None]] = []
        self.clicks = 0
        self.views = 0
        self.watermark_ms = 0
        self.waits_since_ms = 0.0  # of the first answer
        self.is_given_up = False  # its answers went out without the disk
        self.is_written = False  # to be written though it has no frames


class GroupCommit:
    """All methods but the thread's own are called on the loop."""

    def __init__(
        self,
        journal: Journal,
        time: DoorTime,
        clock: Clock,
        stats: Stats,
        settings: DoorSettings,
        take_in: Callable[[], bool] = lambda: False,
    ) -> None:
        """`take_in` takes in what has been read and nobody has looked at yet; whether there was any."""
        self._take_in = take_in
        self._journal = journal
        self._time = time
        self._clock = clock
        self._stats = stats
        self._frames_max = settings.commit_frames_max
        self._bytes_max = settings.commit_bytes_max
        self._pending_max = settings.pending_frames_max
        self._pending_bytes_max = settings.pending_bytes_max
        self._wait_max_ms = settings.commit_wait_max_ms
        self._loop: asyncio.AbstractEventLoop | None = None
        self._full: deque[Batch] = deque()  # closed, waiting for the thread
        self._open = Batch()
        self._running: Batch | None = None  # what the thread has; None for a heartbeat
        self._busy_since_ms = 0.0  # when the thread was given it; 0 while it has nothing
        self._is_stalled = False
        self._slowest_us = 0.0  # commit, and …
        self._largest = 0  # … batch since the gauges were last shown
        self._jobs: SimpleQueue[Batch | Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._watch: asyncio.TimerHandle | None = None
        self._log = logger("doors")
        self.is_busy = False  # a batch or a heartbeat is with the thread, or about to be; `take_in` is called then
        self.pending = 0
        self.pending_bytes = 0
        self.error = ""  # the last commit's error code; empty while all is well

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts the thread."""
        self._loop = loop
        self._thread.start()
        self._look_for_overdue()

    def stop(self, wait_s: float) -> bool:
        """Ends the thread after the jobs it has; call when nothing waits any more. False: they did not end in time."""
        if self._watch is not None:
            self._watch.cancel()
        self._jobs.put(None)
        self._thread.join(wait_s)
        if self._thread.is_alive():
            self._log.error("journal_thread_left", waited_s=wait_s)
            return False
        return True

    @property
    def is_full(self) -> bool:
        """Whether no further frame may wait: so many wait already, or the disk does not answer."""
        return self.pending >= self._pending_max or self.pending_bytes >= self._pending_bytes_max or self._is_stalled

    @property
    def room(self) -> int:
        """How many further frames may wait."""
        return 0 if self.is_full else self._pending_max - self.pending

    @property
    def is_idle(self) -> bool:
        """Whether no answer waits."""
        return not (self.is_busy or self._open.answers or self._full)

    def add(
        self,
        waiting: Waiting,
        frame: bytes,
        response: bytes,
        fallback: Fallback,
        is_click: bool,
        is_view: bool = False,
    ) -> None:
        """`response` is due when `frame` is durable, or `fallback`'s if it cannot be, or not in time."""
        batch = self._open
        if not batch.answers:
            batch.waits_since_ms = self._clock.monotonic_ms()
        size = len(frame)
        batch.frames.append(frame)
        batch.size += size
        batch.answers.append((waiting, response, fallback))
        self.pending += 1
        self.pending_bytes += size
        if is_click:
            batch.clicks += 1
        elif is_view:
            batch.views += 1
        if len(batch.frames) >= self._frames_max or batch.size >= self._bytes_max:
            self._close_batch()
        if not self.is_busy:
            self._begin_soon()

    def add_each(
        self, frames: Sequence[bytes], answers: Sequence[tuple[Waiting, bytes, Fallback]], clicks: int = 0
    ) -> None:
        """`add` for many, each with a frame and an answer of its own; so many of them are clicks."""
        batch = self._open
        if not batch.answers:
            batch.waits_since_ms = self._clock.monotonic_ms()
        batch.answers += answers
        batch.clicks += clicks
        self._add_frames(frames)

    def add_many(self, waiting: Waiting, frames: Sequence[bytes], response: bytes, fallback: Fallback) -> None:
        """`response` is due when all of these calls' `frames` are durable, in one commit; or `fallback`'s."""
        batch = self._open
        if not batch.answers:
            batch.waits_since_ms = self._clock.monotonic_ms()
        batch.answers.append((waiting, response, fallback))
        self._add_frames(frames)

    def _add_frames(self, frames: Sequence[bytes]) -> None:
        batch = self._open
        size = sum(map(len, frames))
        batch.frames += frames
        batch.size += size
        self.pending += len(frames)
        self.pending_bytes += size
        if len(batch.frames) >= self._frames_max or batch.size >= self._bytes_max:
            self._close_batch()
        if not self.is_busy:
            self._begin_soon()

    def add_behind(self, waiting: Waiting, response: bytes) -> None:
        """`response` needs no frame, but is due behind answers of its connection that wait."""
        batch = self._open
        if not batch.answers:
            batch.waits_since_ms = self._clock.monotonic_ms()
        batch.answers.append((waiting, response, None))
        if not self.is_busy:
            self._begin_soon()

    def add_alike(self, waiting: Waiting, response: bytes, fallback: Fallback) -> None:
        """`response` belongs to no frame, but is due after a disk write, as if it did; or `fallback`'s."""
        self.add_behind(waiting, response)
        batch = self._open
        batch.answers[-1] = (waiting, response, fallback)
        batch.is_written = True

    def heartbeat(self) -> None:
        """Journals the watermark; does nothing while frames are on their way, which carry it themselves."""
        if not self.is_idle:
            return
        self.is_busy = True
        watermark_ms = self._time.advance()
        self._give(None, lambda: self._beat(watermark_ms))

    def run_beside(self, job: Callable[[], None]) -> None:
        """Runs a job on the journal in the journal's thread, between commits."""
        self._jobs.put(job)

    def show_gauges(self) -> None:
        """Sets the gauges of what waits, and of the slowest commit and largest batch since the last time."""
        stats = self._stats
        stats.set("door_pending_frames", self.pending)
        stats.set("door_pending_bytes", self.pending_bytes)
        stats.set("door_commit_max_us", round(self._slowest_us))
        stats.set("door_batch_frames_max", self._largest)
        stats.set("door_stalled_ms", round(self._running_ms()) if self._is_stalled else 0)
        self._slowest_us = 0.0
        self._largest = 0

    # --- batches -------------------------------------------------------------------------------------

    def _begin_soon(self) -> None:
        # Not at once: all requests that this turn of the loop has read shall share the commit.
        assert self._loop is not None
        self.is_busy = True
        self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        assert self._loop is not None
        self._running = None
        self._busy_since_ms = 0.0
        # What has been read already shall share the commit too, and what the loop reads next: a commit costs as much
        # as several calls.
        took_in = self._take_in()
        if not self._full:
            batch = self._open
            if not batch.answers:
                self.is_busy = False
                return
            if took_in and self._clock.monotonic_ms() - batch.waits_since_ms < GATHER_MS:
                self._loop.call_soon(self._begin)
                return
            self._close_batch()
        batch = self._full.popleft()
        self._give(batch, batch)

    def _give(self, batch: Batch | None, job: Batch | Callable[[], None]) -> None:
        self._running = batch
        self._busy_since_ms = self._clock.monotonic_ms()
        self._jobs.put(job)

    def _close_batch(self) -> None:
        # The watermark is taken when the last frame is in: what comes later is stamped with this time or a later one.
        self._open.watermark_ms = self._time.ms
        self._full.append(self._open)
        self._open = Batch()

    def _finish(self, batch: Batch, code: str, took_us: float) -> None:
        self._begin()  # the next batch first: its commit goes on while these answers are written
        self._note(code)
        count = len(batch.frames)
        values = self._stats.values
        if count:
            if code:
                values["door_commits_failed"] += 1
            else:
                values["door_commits"] += 1
                values["door_commit_us"] += took_us
                values["door_commit_frames"] += count
                if count > self._largest:
                    self._largest = count
            if took_us > self._slowest_us:
                self._slowest_us = took_us
        if batch.is_given_up:
            return
        if not code:
            values["door_clicks"] += batch.clicks
            values["door_impressions"] += batch.views
            values["door_postbacks"] += count - batch.clicks - batch.views
        self._release(batch, code)

    def _finish_beat(self, code: str) -> None:
        self._begin()
        self._note(code)

    def _note(self, code: str) -> None:
        if self.error and not code:
            self._log.info("journal_works_again", after=self.error)
        self.error = code
        self._is_stalled = False

    def _release(self, batch: Batch, code: str) -> None:
        """Writes a batch's answers: what is due if it is durable, else the fallbacks."""
        self.pending -= len(batch.frames)
        self.pending_bytes -= batch.size
        self._stats.values["door_requests"] += len(batch.answers)
        for waiting, response, fallback in batch.answers:
            try:
                if code and fallback is not None:
                    response = fallback(code)
                transport = waiting.transport
                if transport is None or waiting.is_closing or waiting.is_paused:
                    waiting.release(response)
                else:  # nearly always: spares a call for each answer
                    waiting.pending -= 1
                    transport.write(response)
            except Exception:  # one that cannot be written keeps none of the others waiting
                self._stats.add("errors")
                self._log.exception("answer_failed")

    # --- a disk that hangs ---------------------------------------------------------------------------

    def _running_ms(self) -> float:
        """How long the thread has been at what it has."""
        return self._clock.monotonic_ms() - self._busy_since_ms if self._busy_since_ms else 0.0

    def _look_for_overdue(self) -> None:
        """Gives up, oldest first, every batch with an answer that has waited too long; on time, on the loop."""
        assert self._loop is not None
        self._watch = self._loop.call_later(self._wait_max_ms / 1000 / _LOOKS_PER_WAIT, self._look_for_overdue)
        if not self.is_busy:
            return
        self._is_stalled = self._running_ms() > self._wait_max_ms
        latest_ms = self._clock.monotonic_ms() - self._wait_max_ms
        running = self._running
        if running is not None and not running.is_given_up:
            if running.waits_since_ms > latest_ms:
                return
            self._give_up(running)  # what it holds may yet become durable: the thread has it
        while self._full and self._full[0].waits_since_ms <= latest_ms:
            self._give_up(self._full.popleft())  # these frames are dropped
        if self._open.answers and not self._full and self._open.waits_since_ms <= latest_ms:
            batch, self._open = self._open, Batch()
            self._give_up(batch)

    def _give_up(self, batch: Batch) -> None:
        if self.error != STALLED:
            self._log.error("journal_stalled", running_ms=round(self._running_ms()), pending=self.pending)
            self.error = STALLED
        batch.is_given_up = True
        self._stats.values["door_given_up"] += len(batch.frames)
        self._release(batch, STALLED)
        batch.answers = []

    # --- the thread ----------------------------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if isinstance(job, Batch):
                    self._append(job)
                else:
                    job()
            except Exception:
                self._log.exception("journal_job_failed")
            del job  # what a batch holds is the loop's to free, and not this thread's when the next one comes

    def _append(self, batch: Batch) -> None:
        clock = self._clock
        started_ms = clock.monotonic_ms()
        code = ""
        try:
            if batch.is_given_up:
                code = STALLED  # while it waited for this thread: nobody counts on it any more
            elif batch.frames:
                self._journal.append(batch.frames, at_ms=clock.now_ms(), watermark_ms=batch.watermark_ms)
            elif batch.is_written:
                self._journal.heartbeat(at_ms=clock.now_ms(), watermark_ms=batch.watermark_ms)
        except Exception as error:
            code = self._code_of(error)
        self._tell(self._finish, batch, code, (clock.monotonic_ms() - started_ms) * 1000)

    def _beat(self, watermark_ms: int) -> None:
        code = ""
        try:
            self._journal.heartbeat(at_ms=self._clock.now_ms(), watermark_ms=watermark_ms)
        except Exception as error:
            code = self._code_of(error)
        self._tell(self._finish_beat, code)

    def _tell(self, act: Callable[..., None], *arguments: Any) -> None:
        """Has the loop do something, unless it has ended: a disk that hung may answer when nobody waits any more."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(act, *arguments)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            self._log.warning("journal_answered_late")

    def _code_of(self, error: Exception) -> str:
        """What the loop is told of an error of the journal."""
        if not isinstance(error, WaypostError):
            self._log.error("journal_failed", exc_info=error)
            return "journal_unavailable"
        if error.code != self.error:  # once when it begins, not once a batch
            self._log.error("journal_failed", code=error.code, detail=error.detail)
        return error.code
