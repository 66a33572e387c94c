"""The archivist: cuts what the feeds hold into the archive's segments.

Owns: the loop and nothing else; how frames become rows is `stages/archive_rows.py`, where it stands is the archive's.
Reads every journal, the ledger's log and the outbox; writes the archive, then publishes how far it is, so that feeds
may be trimmed. Never changes or skips a frame: a feed that cannot be read is left where it is, and the others go on.
"""

from collections.abc import Callable

from waypost.errors import WaypostError
from waypost.model.wire import decode_block
from waypost.ports.archive import Archive
from waypost.ports.clock import Clock
from waypost.ports.feed import Feed, Feeds, Positions
from waypost.settings import ArchiveSettings
from waypost.stages.archive_rows import Row, rows_of
from waypost.telemetry.log import logger
from waypost.telemetry.stats import Stats

READER = "archivist"
_SLICE_MS = 50  # how soon the loop sees that it shall stop
_COMPACT_EVERY = 10  # steps between looks for segments to merge
_CUT_MAX = 25_000  # frames that become rows at once, which bounds memory; merging makes larger segments of them


class Archivist:
    """One of these runs for a data folder. Used by one thread."""

    def __init__(
        self,
        *,
        feeds: Feeds,
        log: Feed,
        outbox: Feed,
        archive: Archive,
        positions: Positions,
        settings: ArchiveSettings,
        clock: Clock,
        stats: Stats,
    ) -> None:
        self._feeds = feeds
        self._open: dict[str, Feed] = {log.name: log, outbox.name: outbox}
        self._archive = archive
        self._positions = positions
        self._settings = settings
        self._clock = clock
        self._stats = stats
        self._log = logger("archivist")
        self._said: dict[str, str] = {}  # errors by feed, said once
        self._steps = 0
        self._cut = min(settings.rows_max, _CUT_MAX)

    def run(self, stop: Callable[[], bool]) -> None:
        """Steps every interval, at once while there is more than a cut takes; a last step when it shall stop."""
        while not stop():
            self._stats.beats += 1
            began_ms = self._clock.monotonic_ms()
            if self.step() >= self._cut:
                continue
            while not stop() and self._clock.monotonic_ms() - began_ms < self._settings.interval_ms:
                self._clock.sleep_ms(min(_SLICE_MS, self._settings.interval_ms))
        self.step()

    def step(self) -> int:
        """Archives what is new in each feed, up to a cut each; answers how many frames that was."""
        archived = lag = 0
        for source in self._feeds.sources():
            if source not in self._open:
                self._open[source] = self._feeds.open(source)
        held = self._archive.positions()
        for name, feed in self._open.items():
            try:
                end = self._archive_feed(feed, held.get(name, 0))
                archived += end - held.get(name, 0)
                lag += feed.head().end - end
                self._positions.publish(READER, name, end)
                self._said.pop(name, None)
            except WaypostError as error:
                self._report(name, error)
        if self._steps % _COMPACT_EVERY == 0:
            self._compact()
        self._steps += 1
        self._stats.set("archive_lag_frames", lag)
        return archived

    def _archive_feed(self, feed: Feed, position: int) -> int:
        tables: dict[str, list[Row]] = {}
        end = position
        while end - position < self._cut:
            blocks = feed.read(end, self._cut - (end - position))
            if not blocks:
                break
            for block in blocks:
                for table, rows in rows_of(feed.name, block.first, decode_block(block.data, block.count)).items():
                    tables.setdefault(table, []).extend(rows)
                end = block.end
        if end > position:
            self._archive.apply(feed.name, position, end, tables)
            self._stats.add("archive_rows", end - position)
            self._stats.add("archive_segments")
        return end

    def _compact(self) -> None:
        try:
            self._stats.add("archive_compacted", self._archive.compact())
            self._said.pop("compact", None)
        except WaypostError as error:
            self._report("compact", error)

    def _report(self, what: str, error: WaypostError) -> None:
        self._stats.add("errors")
        if self._said.get(what) != error.code:
            self._said[what] = error.code
            self._log.error("not archived", what=what, code=error.code, detail=str(error))
