"""The part of the assembly that knows how lanes are dealt to shards, and deals them anew.

Owns: which files are the shards in force, and the steps from one number of couriers to another. Opens stores, and
closes them; runs no role.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

from waypost.layout import Layout
from waypost.ports.clock import Clock
from waypost.settings import Settings
from waypost.telemetry.log import logger
from waypost.telemetry.stats import Stats, read_snapshots

if TYPE_CHECKING:
    from waypost.courier.settling import Settling
    from waypost.engines.sqlite.lanes import SqliteLanes
    from waypost.engines.sqlite.lanes_deal import Deal
    from waypost.explain.lanes import LaneSources


def deal_in_force(layout: Layout, settings: Settings) -> Deal:
    """How lanes are dealt to shards: as they were last; by the settings where there has been no courier yet."""
    from waypost.engines.sqlite.lanes_deal import Deal, current_deal

    return current_deal(layout.lanes) or Deal(0, settings.courier.shards)


def courier_readers(shards: int) -> list[str]:
    """As which couriers publish how far they have read."""
    return ["courier"] if shards == 1 else [f"courier-{shard}" for shard in range(shards)]


def open_lanes(layout: Layout, settings: Settings) -> list[SqliteLanes]:
    """Every shard of lanes that is there, read-only."""
    from waypost.engines.sqlite.lanes import SqliteLanes

    deal = deal_in_force(layout, settings)
    files = [layout.lane_shard(shard, deal.number) for shard in range(deal.shards)]
    return [
        SqliteLanes(file, shard=shard, shards=deal.shards, read_only=True)
        for shard, file in enumerate(files)
        if file.exists()
    ]


@contextmanager
def open_lane_sources(layout: Layout, settings: Settings, clock: Clock) -> Iterator[LaneSources]:
    """The lanes of a data folder, read-only, and what is needed to name and show them."""
    from waypost.engines.sqlite.catalog import SqliteCatalogStore
    from waypost.engines.sqlite.ledger import OUTBOX, SqliteFeedOfLedger
    from waypost.explain.lanes import LaneSources

    catalogs = SqliteCatalogStore(layout.catalog, cache_items_max=settings.door.catalog_cache_items_max)
    version = catalogs.current()
    with ExitStack() as stack:
        outbox_end = 0
        if layout.ledger.exists():
            outbox_end = stack.enter_context(closing(SqliteFeedOfLedger(layout.ledger, OUTBOX))).head().end
        yield LaneSources(
            shards=[stack.enter_context(closing(shard)) for shard in open_lanes(layout, settings)],
            view=stack.enter_context(closing(catalogs.open(version))) if version else None,
            outbox_end=outbox_end,
            snapshots=[one for one in read_snapshots(layout.run) if _is_courier_at_work(layout, str(one["role"]))],
            clock=clock,
        )


def _is_courier_at_work(layout: Layout, role: str) -> bool:
    from waypost.engines.local.keyring import lock_holder

    return role.startswith("courier") and bool(lock_holder(layout.run / f"{role}.lock"))


def deal_lanes(layout: Layout, settings: Settings, clock: Clock, stats: Stats) -> None:
    """Deals the lanes to as many shards as the settings say, if they are not dealt so; before any courier begins.

    Raises WaypostError: `data_in_use` or `journal_in_use` where a courier is still at work.
    """
    from waypost.engines.local.positions import FilePositions
    from waypost.engines.sqlite.lanes_deal import Deal, clear_other_deals, current_deal, deal_anew, put_in_force

    wanted = settings.courier.shards
    deal = current_deal(layout.lanes)
    if deal is None:
        deal = Deal(0, wanted)
        put_in_force(layout.lanes, deal)
    if deal.shards != wanted:
        with ExitStack() as stack:
            settlings = [
                stack.enter_context(closing(_settling(layout, settings, clock, stats, deal, shard)))
                for shard in range(deal.shards)
            ]
            until = max(settling.outbox_position for settling in settlings)
            for settling in settlings:
                settling.run(until)
            began_ms, before = clock.monotonic_ms(), deal.shards
            deal = deal_anew(layout.lanes, deal, wanted)
        took_ms = round(clock.monotonic_ms() - began_ms)
        logger("supervisor").info("lanes_dealt_anew", couriers=wanted, before=before, deal=deal.number, took_ms=took_ms)
    clear_other_deals(layout.lanes, deal)
    positions, readers = FilePositions(layout.positions), courier_readers(deal.shards)
    for reader in positions.readers():
        if reader.startswith("courier") and reader not in readers:
            positions.forget(reader)


def _settling(layout: Layout, settings: Settings, clock: Clock, stats: Stats, deal: Deal, shard: int) -> Settling:
    from waypost.courier.control import OPERATOR
    from waypost.courier.policies import Policies
    from waypost.courier.settling import Settling
    from waypost.engines.local.positions import FilePositions
    from waypost.engines.segments.feed import SegmentFeed
    from waypost.engines.segments.journal import SegmentJournal
    from waypost.engines.sqlite.catalog import SqliteCatalogStore
    from waypost.engines.sqlite.lanes import SqliteLanes
    from waypost.engines.sqlite.ledger import OUTBOX, SqliteFeedOfLedger

    policies = Policies(settings.courier)
    catalogs = SqliteCatalogStore(layout.catalog, cache_items_max=settings.door.catalog_cache_items_max)
    if version := catalogs.current():
        policies.follow(catalogs.open(version))
    source = f"courier-{shard}"
    return Settling(
        lanes=SqliteLanes(layout.lane_shard(shard, deal.number), shard=shard, shards=deal.shards),
        journal=SegmentJournal(layout.journals, source, settings.journal, clock),
        own_feed=SegmentFeed(layout.journals, source),
        outbox=SqliteFeedOfLedger(layout.ledger, OUTBOX),
        words=SegmentFeed(layout.journals, OPERATOR),
        policies=policies,
        settings=settings.courier,
        positions=FilePositions(layout.positions),
        clock=clock,
        stats=stats,
        name=courier_readers(deal.shards)[shard],
        keeps_unreadable=shard == 0,
    )
