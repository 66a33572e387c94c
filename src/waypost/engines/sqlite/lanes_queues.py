"""What waits in the lanes of a shard, counted queue by queue.

Owns: the question. Reads the shard's items by an index, all that are queued: for a command, never for a courier.
"""

import sqlite3

from waypost.ports.lanes import LaneQueue

_QUEUES = (
    "SELECT lane, rank, timed, n, due_ms, (SELECT frame FROM items WHERE seq = first) FROM"
    " (SELECT lane, rank, due_ms > 0 AS timed, count(*) AS n, min(due_ms) AS due_ms, min(seq) AS first"
    " FROM items WHERE state = 0 GROUP BY lane, rank, due_ms > 0) ORDER BY lane, rank, timed"
)


def queues_of(connection: sqlite3.Connection) -> list[LaneQueue]:
    """See `ports.lanes.Lanes.queues`."""
    return [
        LaneQueue(lane, rank, bool(timed), count, due_ms, frame)
        for lane, rank, timed, count, due_ms, frame in connection.execute(_QUEUES)
    ]
