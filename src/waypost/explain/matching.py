"""Does each item here have its counterpart there? Over what is archived and what is not yet.

Owns: how such a comparison is made with bounded memory: archived against archived in SQL, a window of positions at a
time, and only what finds no counterpart comes back to be looked for among the tails. Writes nothing.
"""

from collections.abc import Collection, Hashable, Iterator, Mapping
from typing import Any, NamedTuple

from waypost.ports.archive import Archive

_WINDOW = 500_000  # positions
_CHUNK = 5_000  # keys of a tail asked for at once

Key = tuple[Hashable, ...]


class Items(NamedTuple):
    """Keys on one side. `sql` answers the key's columns (and `label` on the left side) and may use `position` of its
    table in `{window}`; `tail` maps keys that are not archived to labels."""

    sql: str
    tail: Mapping[Any, str]


def below(limits: Mapping[str, int]) -> str:
    """SQL: whether a row lies below its feed's limit; feeds without one are left out."""
    if not limits:
        return "false"
    cases = " ".join(f"WHEN '{feed}' THEN {limit}" for feed, limit in sorted(limits.items()))
    return f"position < CASE feed {cases} ELSE 0 END"


def unmatched(
    archive: Archive, left: Items, right: Items, columns: Mapping[str, str], end: int
) -> Iterator[tuple[Any, str]]:
    """Keys of the left side (and their labels) that the right side lacks. `columns` are the key's, with their types;
    `end` is beyond every position of the left side's archived rows."""
    names = ", ".join(columns)
    right_sql = right.sql.format(window="true")
    for start in range(0, end, _WINDOW):
        window = f"position >= {start} AND position < {start + _WINDOW}"
        sql = f"SELECT {names}, label FROM ({left.sql.format(window=window)}) ANTI JOIN ({right_sql}) USING ({names})"
        for row in archive.query(sql):
            *key, label = row.values()
            found = tuple(key) if len(key) > 1 else key[0]
            if found not in right.tail:
                yield found, label
    yield from _unmatched_tail(archive, left.tail, right, columns)


def _unmatched_tail(
    archive: Archive, tail: Mapping[Any, str], right: Items, columns: Mapping[str, str]
) -> Iterator[tuple[Any, str]]:
    rest = [key for key in tail if key not in right.tail]
    for at in range(0, len(rest), _CHUNK):
        chunk = rest[at : at + _CHUNK]
        held = archived(archive, chunk, right, columns)
        yield from ((key, tail[key]) for key in chunk if key not in held)


def archived(archive: Archive, keys: Collection[Any], side: Items, columns: Mapping[str, str]) -> set[Any]:
    """Those of the keys that a side's archived rows have."""
    names = ", ".join(columns)
    as_lists = list(zip(*keys, strict=True)) if len(columns) > 1 else [keys]
    asked = ", ".join(f"unnest(?::{kind}[]) AS {name}" for name, kind in columns.items())
    sql = f"SELECT {names} FROM (SELECT {asked}) SEMI JOIN ({side.sql.format(window='true')}) USING ({names})"
    rows = archive.query(sql, [list(values) for values in as_lists])
    return {tuple(row.values()) if len(columns) > 1 else next(iter(row.values())) for row in rows}
