"""The operator's journal: what operators do, told to all who must know.

Owns: who may write it when, and up to where it is kept. Commands write it, one at a time; each opens it, appends, drops
what every reader has finished with, and closes it.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from waypost.engines.segments.journal import SegmentJournal
from waypost.errors import WaypostError
from waypost.model.frames import Frame
from waypost.model.wire import encode_frame
from waypost.ports.clock import Clock
from waypost.ports.feed import Positions
from waypost.settings import JournalSettings

OPERATOR_SOURCE = "operator"
_WAIT_MS = 10_000
_PAUSE_MS = 20


class OperatorJournal:
    """`readers` are all who read it, those included that never have so far: nothing is dropped before they did."""

    def __init__(
        self, folder: Path, settings: JournalSettings, clock: Clock, positions: Positions, readers: Collection[str]
    ) -> None:
        self._folder, self._settings, self._clock = folder, settings, clock
        self._positions, self._readers = positions, readers

    def append(self, changes: Callable[[int], Sequence[Frame]]) -> int:
        """Appends what is made for the time of the append, as one block; answers its place.

        Waits a while for another process that writes. Raises WaypostError: `journal_in_use`, `journal_unavailable`.
        """
        journal = self._open()
        try:
            now_ms = max(self._clock.now_ms(), journal.last_ms)
            frames = [encode_frame(change) for change in changes(now_ms)]
            place = journal.append(frames, at_ms=now_ms, watermark_ms=now_ms)
            published = self._positions.of(OPERATOR_SOURCE)
            if published.keys() >= set(self._readers):
                journal.trim(min(published.values()))
            return place
        finally:
            journal.close()

    def _open(self) -> SegmentJournal:
        deadline_ms = self._clock.monotonic_ms() + _WAIT_MS
        while True:
            try:
                return SegmentJournal(self._folder, OPERATOR_SOURCE, self._settings, self._clock)
            except WaypostError as error:
                if error.code != "journal_in_use" or self._clock.monotonic_ms() >= deadline_ms:
                    raise
            self._clock.sleep_ms(_PAUSE_MS)
