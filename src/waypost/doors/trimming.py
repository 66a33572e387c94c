"""A journal is trimmed below its readers; one that lags is named long before the bound on disk is reached.

Owns: which position is safe to trim below, and the alarm. Reads readers' published positions; has whole segments
unlinked through the journal. Runs in the journal's thread, between commits. Never waits for a reader.
"""

from waypost.ports.feed import Journal, Positions
from waypost.settings import JournalSettings
from waypost.telemetry.log import logger
from waypost.telemetry.stats import Stats

REPLAY = "replay"  # keeps what was read for a while; near the bound on disk it is not asked
READERS = frozenset({"pipeline", "archivist"})  # nothing is trimmed before each of them has said how far it is


class Trimmer:
    """Of one journal; `run` now and then."""

    def __init__(self, journal: Journal, positions: Positions, settings: JournalSettings, stats: Stats) -> None:
        self._journal = journal
        self._positions = positions
        self._alarm_bytes = settings.lag_alarm_share * settings.disk_bytes_max
        self._disk_bytes_max = settings.disk_bytes_max
        self._stats = stats
        self._is_alarmed = False
        self._log = logger("doors")

    def run(self) -> None:
        """Trims, and judges how far readers are behind."""
        positions = dict.fromkeys(READERS, 0) | self._positions.of(self._journal.source)
        kept = positions.pop(REPLAY, None)
        reader = min(positions, key=lambda name: positions[name])
        below = positions[reader]
        if kept is not None and self._journal.bytes_on_disk <= self._alarm_bytes:
            below = min(below, kept)
        self._journal.trim(below)
        self._judge(reader, self._journal.end - positions[reader])

    def _judge(self, reader: str, lag_frames: int) -> None:
        held = self._journal.bytes_on_disk
        is_alarmed = held > self._alarm_bytes and lag_frames > 0
        self._stats.set("journal_lag_frames", lag_frames)
        self._stats.set("journal_lag_alarm", is_alarmed)
        if is_alarmed == self._is_alarmed:
            return
        self._is_alarmed = is_alarmed
        event, level = ("reader_lags", self._log.error) if is_alarmed else ("reader_caught_up", self._log.info)
        level(
            event,
            reader=reader,
            frames=lag_frames,
            bytes=held,
            disk_bytes_max=self._disk_bytes_max,
            journal=self._journal.source,
        )
