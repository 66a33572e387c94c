"""What waits in the lanes of a shard, counted lane by lane and queue by queue.

Owns: the questions. Reads a shard; writes nothing.
"""

import sqlite3
from collections import Counter

from waypost.engines.sqlite.lanes_flights import flights_of
from waypost.ports.lanes import LaneDepth, LaneQueue

# Two steps down the index: a comparison of both columns at once would walk over all that stands in the queue before.
_NEXT_QUEUE_OF_LANE = (
    "SELECT lane, rank, due_ms FROM items WHERE state = 0 AND lane = ? AND rank > ? ORDER BY rank, due_ms LIMIT 1"
)
_NEXT_LANE = "SELECT lane, rank, due_ms FROM items WHERE state = 0 AND lane > ? ORDER BY lane, rank, due_ms LIMIT 1"
_QUEUES = (
    "SELECT lane, rank, timed, n, due_ms, (SELECT frame FROM items WHERE seq = first) FROM"
    " (SELECT lane, rank, due_ms > 0 AS timed, count(*) AS n, min(due_ms) AS due_ms, min(seq) AS first"
    " FROM items WHERE state = 0 GROUP BY lane, rank, due_ms > 0) ORDER BY lane, rank, timed"
)


def queues_with_work(connection: sqlite3.Connection) -> list[tuple[int, int, int]]:
    """See `ports.lanes.Lanes.lanes_with_work`: two steps down the index a queue, never a look at every item."""
    found: list[tuple[int, int, int]] = []
    place = (-1, -1)
    execute = connection.execute
    while row := (execute(_NEXT_QUEUE_OF_LANE, place).fetchone() or execute(_NEXT_LANE, place[:1]).fetchone()):
        found.append(row)
        place = row[:2]
    return found


def depths_of(connection: sqlite3.Connection) -> list[LaneDepth]:
    """See `ports.lanes.Lanes.depths`; from the lanes' own rows and the blocks of flights. Within a snapshot."""
    due: dict[int, int] = {}
    for lane, _, due_ms in queues_with_work(connection):
        due[lane] = min(due_ms, due.get(lane, due_ms))
    flights = Counter(flight.lane for flight in flights_of(connection))
    found = [
        LaneDepth(lane, queued, in_flight + flights.pop(lane, 0), dead, held, due.get(lane, 0))
        for lane, queued, in_flight, dead, held in connection.execute(
            "SELECT lane, queued, in_flight, dead, held FROM lanes"
        )
    ]
    found += [LaneDepth(lane, 0, count, 0, 0, 0) for lane, count in flights.items()]
    found.sort(key=lambda depth: depth.lane)
    return [depth for depth in found if depth.queued or depth.in_flight or depth.dead or depth.held]


def queues_of(connection: sqlite3.Connection) -> list[LaneQueue]:
    """See `ports.lanes.Lanes.queues`. Looks at all that is queued: for a command, never for a courier."""
    return [
        LaneQueue(lane, rank, bool(timed), count, due_ms, frame)
        for lane, rank, timed, count, due_ms, frame in connection.execute(_QUEUES)
    ]
