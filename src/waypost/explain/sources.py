"""What explanations read: every store of a data folder, read-only, and how far each is archived.

Owns: the set of ports, and reading what the archive does not hold yet as the rows that it will become.
Writes nothing. Never names an engine: assembly opens them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from waypost.model.ids import KeyRing
from waypost.model.wire import Decoded, decode_block
from waypost.ports.archive import Archive
from waypost.ports.catalog_source import CatalogSource
from waypost.ports.click_store import ClickStore
from waypost.ports.feed import Feed, Feeds, Positions
from waypost.ports.lanes import Lanes
from waypost.ports.ledger import Ledger
from waypost.stages.archive_rows import Row, rows_of

LOG = "ledger-log"
OUTBOX = "outbox"
_FRAMES_AT_ONCE = 5_000


@dataclass
class ExplainSources:
    """The stores. `clicks` and `ledger` are None as long as no pipeline has made them, `lanes` lacks such shards."""

    feeds: Feeds
    clicks: ClickStore | None
    ledger: Ledger | None
    lanes: Sequence[Lanes]
    archive: Archive
    catalogs: CatalogSource
    ring: KeyRing
    positions: Positions
    _opened: dict[str, Feed] = field(default_factory=dict)

    def feed(self, name: str) -> Feed | None:
        """A journal, the ledger's log or the outbox; opened once. None if there is no such feed."""
        found = self._opened.get(name)
        if found is None:
            if name in (LOG, OUTBOX):
                if self.ledger is None:
                    return None
                found = self.ledger.log() if name == LOG else self.ledger.outbox()
            elif name in self.feeds.sources():
                found = self.feeds.open(name)
            else:
                return None
            self._opened[name] = found
        return found

    def feed_names(self) -> list[str]:
        """All feeds there are: journals, then the ledger's."""
        return [*self.feeds.sources(), *((LOG, OUTBOX) if self.ledger is not None else ())]

    def lane_shard(self, lane: int) -> Lanes | None:
        """The shard that a lane belongs to."""
        return next((shard for shard in self.lanes if shard.owns(lane)), None)

    def close(self) -> None:
        """Closes all of them."""
        for feed in self._opened.values():
            feed.close()
        for store in (self.clicks, self.ledger, self.archive, *self.lanes):
            if store is not None:
                store.close()


class TailFrame(NamedTuple):
    """A frame that is not archived yet, or was not when the reading began."""

    position: int
    frame: Decoded


def tail(feed: Feed, position: int) -> Iterator[TailFrame]:
    """A feed's frames from a block's start on, as far as there are any now."""
    end = feed.head().end
    while position < end:
        blocks = feed.read(position, _FRAMES_AT_ONCE)
        if not blocks:
            return
        for block in blocks:
            for nth, frame in enumerate(decode_block(block.data, block.count)):
                yield TailFrame(block.first + nth, frame)
        position = blocks[-1].end


def tail_rows(feed: Feed, position: int, tables: Mapping[str, object]) -> Iterator[tuple[str, Row]]:
    """The same as rows of the archive, `feed` included, those of the wanted tables only."""
    end = feed.head().end
    while position < end:
        blocks = feed.read(position, _FRAMES_AT_ONCE)
        if not blocks:
            return
        for block in blocks:
            for table, rows in rows_of(feed.name, block.first, decode_block(block.data, block.count)).items():
                if table in tables:
                    for row in rows:
                        row["feed"] = feed.name
                        yield table, row
        position = blocks[-1].end
