"""Where all stores stand at an audit, read so that items in motion are never taken for lost.

Owns: the order of reading. What is downstream is read first, so what it speaks of must be found upstream, which is
read later: published positions, lanes, the ledger (one snapshot), the click store, then the archive's positions, the
ledger's feeds, and the journals last. Reads every store, writes nothing, judges nothing but a feed that cannot be read.

Of feeds, only what lies beyond the archive is held in memory, reduced to keys.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from waypost.errors import WaypostError
from waypost.explain.report import Problems
from waypost.explain.sources import LOG, OUTBOX, ExplainSources, tail
from waypost.model.frames import Attempt, BatchRecord, Click, Decision, Impression, PostbackIn, PostbackOut, SendResult
from waypost.model.ids import ClickKey, conversion_text, receipt_text
from waypost.model.wire import Unreadable
from waypost.ports.feed import Head
from waypost.ports.lanes import ItemState, Lanes
from waypost.stages.rules import is_stopped_by_share

Place = tuple[str, int]  # feed and position
ENDED = (SendResult.DELIVERED, SendResult.DROPPED, SendResult.SUPERSEDED)  # gone from its lane
WITHOUT_ATTEMPT = (SendResult.DROPPED, SendResult.SUPERSEDED, SendResult.REDRIVEN)


class LaneHolding(NamedTuple):
    """An item that stands in a lane."""

    id: str
    state: ItemState


@dataclass
class ShardStanding:
    """One shard of lanes: how far it has taken the outbox and applied journals, and what it holds by outbox place."""

    lanes: Lanes
    outbox_position: int
    items: dict[int, LaneHolding]
    outcome_positions: dict[str, int]


class TailClick(NamedTuple):
    """A recorded click that is not archived yet."""

    position: int
    key: ClickKey
    route: int
    flags: int


class TailDecision(NamedTuple):
    """A decision that is not archived yet, reduced to what is compared."""

    position: int
    judged: Place
    receipt: str
    verdict: str
    conversion: str
    status: str
    postbacks: tuple[str, ...]
    held_back: int = 0


@dataclass
class Tails:
    """What feeds hold beyond the archive, reduced to keys."""

    clicks: dict[str, list[TailClick]] = field(default_factory=dict)
    impressions: int = 0
    accepted: dict[Place, str] = field(default_factory=dict)  # → receipt
    attempts: int = 0
    ended: dict[int, SendResult] = field(default_factory=dict)  # by place in the outbox: gone from its lane, and how
    outcomes: dict[tuple[int, str], Place] = field(default_factory=dict)
    batches: list[tuple[int, BatchRecord]] = field(default_factory=list)
    decisions: list[TailDecision] = field(default_factory=list)
    postbacks: dict[int, tuple[str, int]] = field(default_factory=dict)  # → id and lane
    resent: dict[int, str] = field(default_factory=dict)  # those that a job of resends put there → the job


@dataclass
class Standing:
    """See the module. `cut` and `outbox_cut` are where the ledger's feeds ended at its snapshot."""

    published: dict[str, dict[str, int]]
    shards: list[ShardStanding]
    ledger_positions: dict[str, int]
    next_batch: int
    parked: dict[Place, str]
    click_positions: dict[str, int]
    dropped_before: int
    archived: dict[str, int]
    heads: dict[str, Head] = field(default_factory=dict)
    tails: Tails = field(default_factory=Tails)
    cut: int = 0
    outbox_cut: int = 0


@contextmanager
def reading(sources: ExplainSources, problems: Problems) -> Iterator[Standing]:
    """All but the journals, which `read_journals` adds. Within it the ledger's snapshot is held."""
    names = {*sources.feeds.sources(), LOG, OUTBOX, *sources.archive.positions()}
    published = {name: sources.positions.of(name) for name in names}
    shards = [_shard(lanes) for lanes in sources.lanes]
    ledger = sources.ledger
    if ledger is None:
        yield Standing(published, shards, {}, 1, {}, {}, 0, sources.archive.positions())
        return
    with ledger.snapshot():
        standing = Standing(
            published=published,
            shards=shards,
            ledger_positions=ledger.positions(),
            next_batch=ledger.next_batch(),
            parked={(one.source, one.position): receipt_text(one.call.receipt) for one in ledger.parked()},
            click_positions=sources.clicks.positions() if sources.clicks is not None else {},
            dropped_before=sources.clicks.dropped_before() if sources.clicks is not None else 0,
            archived=sources.archive.positions(),
        )
        _read_ledger_feeds(sources, standing, problems)
        yield standing


def _shard(lanes: Lanes) -> ShardStanding:
    """The positions before the items: an item that leaves in between has its outcome in a journal by then."""
    outbox_position, outcome_positions = lanes.outbox_position(), lanes.outcome_positions()
    items = {item.seq: LaneHolding(item.id, item.state) for item in lanes.items()}
    return ShardStanding(lanes, outbox_position, items, outcome_positions)


def _read_ledger_feeds(sources: ExplainSources, standing: Standing, problems: Problems) -> None:
    tails = standing.tails
    for name in (LOG, OUTBOX):
        feed = sources.feed(name)
        if feed is None:
            continue
        with _told(problems, name):
            standing.heads[name] = feed.head()
            for position, frame in tail(feed, _tail_start(sources, standing, name)):
                if isinstance(frame, BatchRecord):
                    tails.batches.append((position, frame))
                elif isinstance(frame, Decision):
                    tails.decisions.append(_tail_decision(position, frame))
                elif isinstance(frame, PostbackOut):
                    tails.postbacks[position] = (frame.id, frame.lane)
                    if frame.job:
                        tails.resent[position] = frame.job


def _tail_decision(position: int, frame: Decision) -> TailDecision:
    return TailDecision(
        position,
        (frame.source, frame.position),
        receipt_text(frame.receipt),
        str(frame.verdict),
        conversion_text(frame.conversion) if frame.conversion else "",
        frame.status,
        tuple(outcome.postback for outcome in frame.rules if outcome.postback),
        sum(map(is_stopped_by_share, frame.rules)),
    )


def _tail_start(sources: ExplainSources, standing: Standing, name: str) -> int:
    """Where a feed is read from: the archive's end, as far as the feed holds it.

    Raises `store_gap` if the feed was trimmed after the archive's positions were read: then all is to be read again.
    """
    held, head = standing.archived.get(name, 0), standing.heads[name]
    if held < head.first <= sources.archive.positions().get(name, 0):
        raise WaypostError("store_gap", "trimmed while it was read", place=name)
    return min(max(held, head.first), head.end)


def read_journals(sources: ExplainSources, standing: Standing, problems: Problems) -> None:
    """Adds the journals' heads and tails. A journal that cannot be read is a problem, and the others go on."""
    for source in sources.feeds.sources():
        feed = sources.feed(source)
        if feed is None:
            continue
        with _told(problems, f"journal {source}"):
            standing.heads[source] = feed.head()
            _read_journal(source, tail(feed, _tail_start(sources, standing, source)), standing.tails)


def _read_journal(source: str, frames: Iterator[tuple[int, object]], tails: Tails) -> None:
    clicks = tails.clicks.setdefault(source, [])
    for position, frame in frames:
        if isinstance(frame, Click):
            key = ClickKey(frame.ms, frame.door, frame.seq)
            clicks.append(TailClick(position, key, frame.route, frame.flags))
        elif isinstance(frame, PostbackIn):
            tails.accepted[source, position] = receipt_text(frame.receipt)
        elif isinstance(frame, Attempt):
            is_attempt = frame.method or frame.code
            tails.attempts += bool(is_attempt) and any(one.result not in WITHOUT_ATTEMPT for one in frame.outcomes)
            for outcome in frame.outcomes:
                tails.outcomes[outcome.seq, outcome.id] = (source, position)
                if outcome.result in ENDED:
                    tails.ended[outcome.seq] = outcome.result
        elif isinstance(frame, Unreadable):
            tails.accepted[source, position] = "unreadable"
        elif isinstance(frame, Impression):
            tails.impressions += 1


@contextmanager
def _told(problems: Problems, store: str) -> Iterator[None]:
    """Errors of one feed become problems; but what was trimmed while it was read is read again by the caller."""
    try:
        yield
    except WaypostError as error:
        if error.code == "store_gap":
            raise
        problems.add_error(store, error)
