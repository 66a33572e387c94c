"""The pipeline's side of the board: which caps are near their limit, and when doors are told.

Owns: the rooms in memory, and the rhythm of publishing. Reads the catalog in force and the ledger's counters, which the
pipeline mirrors; writes the board. Never decides on a call, and never holds up a batch: a board that cannot be written
is logged and tried again.
"""

from collections.abc import Iterable, Mapping

from waypost.catalog.view import CatalogView
from waypost.errors import WaypostError
from waypost.ports.board import FORM, NEVER_MS, Board, BoardWriter, CapRoom
from waypost.stages.caps import counter_key, offer_of_key, period_end_ms
from waypost.telemetry.log import logger
from waypost.telemetry.stats import Stats

EVERY_MS = 200  # doors are not told more often
NEAR = 10  # a cap is near its limit when no more than one in so many is left
ROOMS_MAX = 100_000  # of more, those with the least room are told
REFRESHES = 4  # a board that stays as it is is written so often in its lifetime
_log = logger("pipeline")


class BoardKeeper:
    """Used by the pipeline's thread."""

    def __init__(self, writer: BoardWriter, lifetime_ms: int, stats: Stats) -> None:
        self._writer = writer
        self._lifetime_ms = lifetime_ms
        self._stats = stats
        self._rooms: dict[str, CapRoom] = {}
        self._touched: set[str] | None = None  # counters that changed; None: all are to be looked at
        self._catalog = 0
        self._told: tuple[int, dict[str, CapRoom]] | None = None
        self._stepped_ms = -1.0 * EVERY_MS
        self._published_ms = 0.0

    def forget(self) -> None:
        """The counters in memory were read anew: what is known of them is not to be relied on."""
        self._touched = None

    def touch(self, keys: Iterable[str]) -> None:
        """These counters have changed."""
        if self._touched is not None:
            self._touched.update(keys)

    def step(self, view: CatalogView, counters: Mapping[str, int], now_ms: int, monotonic_ms: float) -> None:
        """Publishes if it is time and there is something to say, or the last board grows old."""
        if monotonic_ms - self._stepped_ms < EVERY_MS:
            return
        self._stepped_ms = monotonic_ms
        if view.version != self._catalog:
            self._catalog = view.version
            self._touched = None  # limits may be others
        self._look(view, counters, now_ms)
        is_old = monotonic_ms - self._published_ms >= self._lifetime_ms / REFRESHES
        if is_old or self._told != (view.version, self._rooms):
            self._publish(now_ms, monotonic_ms)

    def _look(self, view: CatalogView, counters: Mapping[str, int], now_ms: int) -> None:
        if self._touched is None:
            self._rooms.clear()
            keys: Iterable[str] = counters
        else:
            for key in [key for key, room in self._rooms.items() if room.until_ms <= now_ms]:
                del self._rooms[key]
            keys = self._touched
        for key in keys:
            room = room_of(view, key, counters.get(key, 0), now_ms)
            if room is None:
                self._rooms.pop(key, None)
            else:
                self._rooms[key] = room
        self._touched = set()

    def _publish(self, now_ms: int, monotonic_ms: float) -> None:
        rooms = sorted(self._rooms.values(), key=lambda room: (room.remaining, room.cap))[:ROOMS_MAX]
        board = Board(FORM, self._catalog, now_ms, now_ms + self._lifetime_ms, tuple(rooms))
        try:
            self._writer.publish(board)
        except WaypostError as error:
            self._stats.add("errors")
            _log.error("board_not_written", error=str(error))
            return
        self._told = (self._catalog, dict(self._rooms))
        self._published_ms = monotonic_ms
        self._stats.set("pipeline_board_caps", len(rooms))


def room_of(view: CatalogView, key: str, counted: int, now_ms: int) -> CapRoom | None:
    """What is left of a counter's cap; None if it is far from its limit, or no cap's, or not of a period that runs."""
    no = offer_of_key(key)
    offer = view.offer(no) if no else None
    if offer is None:
        return None
    of = key.partition("@")[0]
    for cap in offer.caps:
        if cap.key != of:
            continue
        remaining = max(0, cap.limit - counted)
        if remaining * NEAR > cap.limit or counter_key(cap, now_ms) != key:
            return None
        return CapRoom(no, key, cap.limit, remaining, period_end_ms(cap, now_ms) or NEVER_MS)
    return None
