"""What stands in lanes and how they do: what `waypost lanes` prints.

Owns: how a lane is named and found, and what is counted of it. Reads the shards, the catalog in force and what couriers
published last; writes nothing. Works as well while no courier does: then it is only what stands in the shards.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from waypost.catalog.lane_names import lane_name, lanes_of
from waypost.catalog.model import Partner
from waypost.catalog.view import CatalogView
from waypost.errors import WaypostError
from waypost.explain.times import time_text
from waypost.model.frames import PostbackOut
from waypost.model.lanes import PARTNERS_MAX, lane_number, partner_of_lane
from waypost.model.wire import decode_frame
from waypost.ports.clock import Clock
from waypost.ports.lanes import Chore, ItemState, LaneControl, LaneDepth, LaneItem, LaneQueue, Lanes, LaneState, Rank

_HELD_BY = {"rate": "throttled", "quiet hours": "quiet", "retry after": "asked to wait"}
AGE_MAX_MS = 5000  # a courier that published nothing for so long does not work
ENDED = (ItemState.DEAD, ItemState.HELD)
WAITING = (ItemState.QUEUED,)
_AT_ONCE = 2000
_EVERY_SEQ = 1 << 62


@dataclass
class LaneSources:
    """`view` is None before a catalog was applied; `shards` lacks those that no courier has made yet; `snapshots` are
    those of couriers that live."""

    shards: Sequence[Lanes]
    view: CatalogView | None
    outbox_end: int
    snapshots: Sequence[Mapping[str, Any]]
    clock: Clock


class ChoreRow(msgspec.Struct):
    """Bulk work that is not done."""

    kind: str
    done: int
    by: str
    why: str


class LaneRow(msgspec.Struct, kw_only=True):
    """One lane. Rates and latencies are what its courier published last; None where none works, or nothing is known."""

    lane: str
    number: int
    state: str
    why: str = ""
    by: str = ""
    since_ms: int = 0
    live: int = 0  # first attempts that wait
    retrying: int = 0  # what waits for its time: retries, and what has a delay
    resend: int = 0
    oldest_ms: int = 0  # how long ago the oldest of all these was caused
    in_flight: int = 0
    limit: int | None = None
    rate_per_s: float | None = None
    success: float | None = None
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    dead: int = 0
    held: int = 0
    next_due_ms: int = 0
    work: list[ChoreRow] = []


class LaneReport(msgspec.Struct):
    """`is_live`: every shard's courier works; else the states of breakers and the like are not known."""

    at_ms: int
    is_live: bool
    lanes: list[LaneRow]


class EgressRow(msgspec.Struct):
    """`is_own`: the catalog gives the partner an address of its own."""

    lane: str
    addresses: list[str]
    is_own: bool


class StandingRow(msgspec.Struct):
    """A dead letter, or what is held until a human decides."""

    id: str
    lane: str
    state: str
    code: str
    attempts: int
    created_ms: int
    first_ms: int
    seq: int
    conversion: int


def name_of(sources: LaneSources, lane: int) -> str:
    """A lane's name, as operators know it."""
    view = sources.view
    return lane_name(lane, view.partner(partner_of_lane(lane)) if view is not None else None)


def lanes_named(sources: LaneSources, name: str) -> list[int]:
    """The lanes of a partner, or the one lane that `partner/lane` names. Raises WaypostError `unknown_lane`."""
    whose, _, own = name.partition("/")
    view = sources.view
    partner = view.partner_named(whose) if view is not None else None
    number = partner.no if partner is not None else int(whose) if whose.isdecimal() and len(whose) < 10 else 0
    known = {lane for lane in _known(sources) if partner_of_lane(lane) == number} if number else set()
    if own:
        lane = lane_number(number, own)
        wanted = [lane] if lane in known or (partner is not None and lane in lanes_of(partner)) else []
    else:
        ours = lanes_of(partner) if partner is not None else []
        wanted = [*ours, *sorted(known - set(ours))]
    if not wanted:
        raise WaypostError("unknown_lane", f"neither the catalog nor a courier knows of {name}", place=name)
    return wanted


def partners(view: CatalogView) -> Iterator[Partner]:
    """All partners of a catalog version, by number."""
    left, number = view.counts().get("partners", 0), 0
    while left and number < PARTNERS_MAX:
        number += 1
        if (partner := view.partner(number)) is not None:
            left -= 1
            yield partner


def shard_of(sources: LaneSources, lane: int) -> Lanes | None:
    """The shard that a lane belongs to; None as long as no courier has made it."""
    return next((shard for shard in sources.shards if shard.owns(lane)), None)


def depths_of(sources: LaneSources) -> dict[int, LaneDepth]:
    """What each lane holds."""
    return {depth.lane: depth for shard in sources.shards for depth in shard.depths()}


def known_lanes(sources: LaneSources) -> list[int]:
    """Lanes that a shard says something of."""
    return sorted(_known(sources))


def not_taken(sources: LaneSources) -> int:
    """Postbacks in the outbox that some courier has not taken yet; those of shards that do not exist are unknown."""
    return max([0, *(sources.outbox_end - shard.outbox_position() for shard in sources.shards)])


def couriers_work(sources: LaneSources) -> bool:
    """Whether each shard's courier published something lately."""
    works = _at_work(sources)
    return bool(works) and len(works) >= len(sources.shards)


def count_meant(
    sources: LaneSources,
    lane: int,
    depth: LaneDepth | None,
    states: Sequence[int],
    codes: Sequence[str],
    ids: Sequence[str],
    from_ms: int,
    to_ms: int,
) -> int:
    """How many items bulk work is about; where no states are named, what waits and is in flight."""
    if depth is None:
        return 0
    if not (codes or ids or from_ms or to_ms):
        counts = (depth.queued, depth.in_flight, depth.dead, depth.held)
        return sum(counts[state] for state in states or (*WAITING, ItemState.IN_FLIGHT))
    found = standing(sources, lane, states, codes, ids)
    if not (from_ms or to_ms):
        return sum(1 for _ in found)
    return sum(from_ms <= made < (to_ms or _EVERY_SEQ) for made in map(created_ms, found))


def egress_rows(sources: LaneSources, name: str, ours: Sequence[str]) -> list[EgressRow]:
    """Where each lane's requests leave from; `ours` are the machine's own addresses."""
    view = sources.view
    if view is None:
        return []
    wanted = set(lanes_named(sources, name)) if name else None
    rows = []
    for partner in partners(view):
        address = partner.delivery.source_address
        for lane in lanes_of(partner):
            if wanted is None or lane in wanted:
                rows.append(EgressRow(lane_name(lane, partner), [address] if address else list(ours), bool(address)))
    return rows


def standing(
    sources: LaneSources, lane: int, states: Sequence[int], codes: Sequence[str] = (), ids: Sequence[str] = ()
) -> Iterator[LaneItem]:
    """Items of a lane in these states, with one of the codes and ids (none: any), in outbox order."""
    shard = shard_of(sources, lane)
    after = -1
    while shard is not None and (items := shard.standing(lane, states, after, _EVERY_SEQ, _AT_ONCE)):
        after = items[-1].seq
        for item in items:
            if (not codes or item.code in codes) and (not ids or item.id in ids):
                yield item


def standing_row(sources: LaneSources, item: LaneItem) -> StandingRow:
    """An item as it is shown."""
    post = _post(item.frame)
    state = "held" if item.state == ItemState.HELD else "dead"
    name = name_of(sources, item.lane)
    return StandingRow(
        item.id, name, state, item.code, item.attempt, post.created_ms, item.first_ms, item.seq, post.conversion
    )


def created_ms(item: LaneItem) -> int:
    """When the postback was caused."""
    return _post(item.frame).created_ms


def _post(frame: bytes) -> PostbackOut:
    post = decode_frame(frame)
    assert isinstance(post, PostbackOut)
    return post


def _known(sources: LaneSources) -> set[int]:
    """Lanes that a shard says something of."""
    return {
        lane
        for shard in sources.shards
        for lane in (
            *(depth.lane for depth in shard.depths()),
            *shard.controls(),
            *(one.lane for one in shard.chores()),
        )
    }


def report(sources: LaneSources, name: str = "") -> LaneReport:
    """Lanes that hold or did something, or are not open; with a name that partner's, or the one that it names."""
    now_ms = sources.clock.now_ms()
    published = _published(_at_work(sources))
    depths: dict[int, LaneDepth] = {}
    controls: dict[int, LaneControl] = {}
    chores: dict[int, list[Chore]] = defaultdict(list)
    queues: dict[int, list[LaneQueue]] = defaultdict(list)
    for shard in sources.shards:
        controls |= shard.controls()
        depths |= {depth.lane: depth for depth in shard.depths()}
        for chore in shard.chores():
            chores[chore.lane].append(chore)
        for queue in shard.queues():
            queues[queue.lane].append(queue)
    wanted = set(lanes_named(sources, name)) if name else depths.keys() | controls.keys() | chores.keys()
    names = {lane: name_of(sources, lane) for lane in wanted}
    rows = []
    for lane in wanted:
        row = _row(names[lane], lane, depths.get(lane), controls.get(lane), published.pop(names[lane], {}))
        _count_queues(row, queues[lane], now_ms)
        row.work = [ChoreRow(one.kind, one.done, one.by, one.why) for one in chores[lane]]
        rows.append(row)
    if not name:  # those that hold nothing, and did something lately
        rows += [_row(lane, 0, None, None, values) for lane, values in published.items()]
    return LaneReport(now_ms, couriers_work(sources), sorted(rows, key=lambda row: row.lane))


def _at_work(sources: LaneSources) -> list[Mapping[str, Any]]:
    """What couriers that work published."""
    now_ms = sources.clock.now_ms()
    return [one for one in sources.snapshots if now_ms - int(one.get("at_ms", 0)) <= AGE_MAX_MS]


def _published(couriers: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """What couriers that work say of their lanes, by name."""
    found: dict[str, Mapping[str, Any]] = {}
    for snapshot in couriers:
        details = snapshot.get("details", {})
        is_offline = bool(details.get("offline"))
        for name, values in details.get("lanes", {}).items():
            if isinstance(values, dict):
                found[str(name)] = {**values, "is_offline": is_offline}
    return found


def _row(
    name: str, lane: int, depth: LaneDepth | None, control: LaneControl | None, published: Mapping[str, Any]
) -> LaneRow:
    row = LaneRow(lane=name, number=lane, state=str(LaneState.OPEN))
    if depth is not None:
        row.live, row.in_flight, row.dead, row.held = depth.queued, depth.in_flight, depth.dead, depth.held
    if published:
        delivered, failures = published.get("delivered", 0), published.get("failures", 0)
        row.success = delivered / (delivered + failures) if delivered + failures else None
        row.limit, row.rate_per_s = published.get("limit"), published.get("per_s")
        row.latency_p50_ms, row.latency_p99_ms = published.get("latency_p50_ms"), published.get("latency_p99_ms")
        row.state, row.why = _state_of(published)
    if control is not None:
        row.state, row.why, row.by, row.since_ms = str(control.state), control.why, control.by, control.since_ms
    return row


def _state_of(published: Mapping[str, Any]) -> tuple[str, str]:
    """What holds a lane back by itself, and until when."""
    breaker, held_by = str(published.get("breaker", "closed")), str(published.get("held_by", ""))
    until_ms = int(published.get("held_until_ms", 0))
    until = f"until {time_text(until_ms)}" if until_ms else ""
    if published.get("is_offline"):
        return "offline", "the courier reaches no partner"
    if breaker != "closed":
        return f"breaker {breaker}", until
    if held_by and held_by != "paused":
        return _HELD_BY.get(held_by, held_by), until
    return str(LaneState.OPEN), ""


def _count_queues(row: LaneRow, queues: Sequence[LaneQueue], now_ms: int) -> None:
    row.live = sum(one.count for one in queues if one.rank == Rank.LIVE and not one.is_timed)
    row.retrying = sum(one.count for one in queues if one.rank == Rank.LIVE and one.is_timed)
    row.resend = sum(one.count for one in queues if one.rank != Rank.LIVE)
    row.next_due_ms = min((one.due_ms for one in queues if one.is_timed), default=0)
    oldest = min((_post(one.oldest).created_ms for one in queues), default=now_ms)
    row.oldest_ms = max(0, now_ms - oldest)
