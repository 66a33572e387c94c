"""How lanes are dealt to shards, and dealing them anew to another number of shards.

Owns: `lanes/deal.json`, which says what deal is in force, and the making of a new deal's files. A deal's files stand in
a folder of their own (the first one's in `lanes/` itself). A new deal is built whole beside the one in force; the
rename of `deal.json` puts it in force, and is the only moment that counts: killed before it, the old deal stands as it
was; killed after it, the new one does, and what is left of the old one is cleared at the next start.

Never decides who may deal: the caller holds every old shard open for writing, with nothing in flight and all at one
place of the outbox, so that nobody writes to them, and whoever wakes up with an old one in hand is fenced.
"""

import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from waypost.engines.local.durable import sync_path
from waypost.engines.sqlite.connection import connect, store_error
from waypost.engines.sqlite.lanes_flights import lost_flights
from waypost.engines.sqlite.lanes_tables import FORM, make_tables, sum_of_lanes
from waypost.errors import WaypostError
from waypost.ports.lanes import Chore

_FILE = "deal.json"
_DEALT_BY_LANE = ("items", "lanes", "controls", "buckets")  # tables with a column `lane`
TABLES = frozenset({*_DEALT_BY_LANE, "chores", "flights", "positions", "shard"})  # all that a shard has


class Deal(NamedTuple):
    """Which deal, counted from 0, and how many shards it has."""

    number: int
    shards: int


def deal_folder(lanes: Path, number: int) -> Path:
    """Where the shards of a deal stand."""
    return lanes / f"deal-{number}" if number else lanes


def current_deal(lanes: Path) -> Deal | None:
    """The deal in force; None where no shard has ever been made. Raises WaypostError `store_corrupt`."""
    file = lanes / _FILE
    try:
        found = msgspec.json.decode(file.read_bytes(), type=dict[str, int])
        return Deal(found["number"], found["shards"])
    except FileNotFoundError:
        return _deal_of_files(lanes)
    except (OSError, KeyError, msgspec.DecodeError) as error:
        raise WaypostError("store_corrupt", f"it does not say how lanes are dealt: {error}", place=str(file)) from error


def _deal_of_files(lanes: Path) -> Deal | None:
    """What shard files say that were made before deals were written down."""
    files = sorted(lanes.glob("shard-*.db"))
    if not files and any(lanes.glob("deal-*/shard-*.db")):
        raise WaypostError("store_corrupt", "lanes were dealt anew, and which deal counts is gone", place=_FILE)
    for file in files:
        connection = connect(file, read_only=True)
        try:
            (shards,) = connection.execute("SELECT shards FROM shard").fetchone() or (0,)
        except sqlite3.Error:
            continue  # its making was cut off
        finally:
            connection.close()
        if shards:
            return Deal(0, shards)
    return None


def put_in_force(lanes: Path, deal: Deal) -> None:
    """Writes down the deal; from the rename on it counts."""
    lanes.mkdir(parents=True, exist_ok=True)
    written = lanes / f"{_FILE}.new"
    written.write_bytes(msgspec.json.encode(deal._asdict()))
    sync_path(written)
    written.replace(lanes / _FILE)
    sync_path(lanes)


def clear_other_deals(lanes: Path, deal: Deal) -> None:
    """Removes what a deal before left, or one that never came into force."""
    for folder in lanes.glob("deal-*"):
        if folder.is_dir() and folder != deal_folder(lanes, deal.number):
            shutil.rmtree(folder)
    if deal.number:
        for file in (*lanes.glob("shard-*.db*"), *lanes.glob("shard-*.lock")):
            file.unlink(missing_ok=True)


def deal_anew(lanes: Path, old: Deal, shards: int) -> Deal:
    """Deals all lanes to so many shards, and puts that in force. See above for what the caller must have done.

    Raises WaypostError: `store_out_of_order` if the old shards do not stand at one place or have something in flight,
    `data_unwritable` where nothing has changed.
    """
    new = Deal(old.number + 1, shards)
    files = [deal_folder(lanes, old.number) / f"shard-{shard}.db" for shard in range(old.shards)]
    folder = deal_folder(lanes, new.number)
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        stands = _standing(files)
        items = sum(
            _Making(folder / f"shard-{shard}.db", files, stands, shard, shards).run() for shard in range(shards)
        )
        if items != stands.items:
            raise WaypostError("store_corrupt", f"{stands.items} items stood, {items} are dealt", place=str(folder))
        sync_path(folder)
        put_in_force(lanes, new)
    except (OSError, sqlite3.Error) as error:
        raise store_error(error, f"lanes {folder.name}") from error
    return new


class _Standing(NamedTuple):
    """What the old shards say together."""

    outbox_end: int
    fence: int
    items: int
    positions: dict[str, int]  # of couriers' own journals: the furthest; of others: what all have
    chores: tuple[Chore, ...]
    lost: str  # flights that the shards miss: the first new shard goes on saying so


def _standing(files: Sequence[Path]) -> _Standing:
    ends, fences, items = set(), [], 0
    own: dict[str, int] = {}
    others: list[dict[str, int]] = []
    chores: dict[int, Chore] = {}
    lost: list[str] = []
    for file in files:
        connection = connect(file, read_only=True)
        try:
            end, fence = connection.execute("SELECT outbox_end, fence FROM shard").fetchone()
            ends.add(end)
            fences.append(fence)
            count, in_flight = connection.execute("SELECT count(*), ifnull(sum(state = 1), 0) FROM items").fetchone()
            (blocks,) = connection.execute("SELECT count(*) FROM flights").fetchone()
            if in_flight or blocks:
                raise WaypostError("store_out_of_order", "something is in flight", place=str(file))
            items += count
            lost += [text] if (text := lost_flights(connection)) else []
            positions = dict(connection.execute("SELECT source, end FROM positions"))
            for text in connection.execute("SELECT chore FROM chores"):
                chore = msgspec.json.decode(text[0], type=Chore)
                chores[chore.number] = chore
        finally:
            connection.close()
        for source in [source for source in positions if is_couriers(source)]:
            own[source] = max(positions.pop(source), own.get(source, 0))
        others.append(positions)
    if len(ends) != 1:
        raise WaypostError("store_out_of_order", f"shards stand at {sorted(ends)} of the outbox", place="lanes")
    shared = {source: min(one.get(source, 0) for one in others) for source in set().union(*others)}
    shared = {source: end for source, end in shared.items() if end}
    return _Standing(ends.pop(), max(fences), items, {**own, **shared}, tuple(chores.values()), " ".join(lost))


def is_couriers(source: str) -> bool:
    """Whether a journal is a courier's own."""
    return source.startswith("courier-")


class _Making:
    """One new shard. While it is made no crash matters, for nobody reads it: no log, one fsync at the end."""

    def __init__(self, file: Path, old: Sequence[Path], stands: _Standing, shard: int, shards: int) -> None:
        self._file, self._old, self._stands, self._shard, self._shards = file, old, stands, shard, shards

    def run(self) -> int:
        """Answers how many items it has."""
        connection = sqlite3.connect(f"file:{self._file}", uri=True, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=OFF")
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute("BEGIN")
            make_tables(connection)
            indexes = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql NOT NULL")
            made = dict(indexes.fetchall())
            for name in made:
                connection.execute(f"DROP INDEX {name}")
            connection.execute("COMMIT")
            for file in self._old:
                self._copy(connection, file)
            connection.execute("BEGIN")
            for sql in made.values():
                connection.execute(sql)
            self._write_own_rows(connection)
            connection.execute("COMMIT")
            (items,) = connection.execute("SELECT count(*) FROM items").fetchone()
        finally:
            connection.close()
        sync_path(self._file)
        return int(items)

    def _copy(self, connection: sqlite3.Connection, file: Path) -> None:
        connection.execute("ATTACH ? AS old", (f"file:{file}?mode=ro",))
        connection.execute("BEGIN")
        for table in _DEALT_BY_LANE:
            columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA main.table_info({table})"))
            connection.execute(
                f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM old.{table} WHERE lane % ? = ?",
                (self._shards, self._shard),
            )
        connection.execute("COMMIT")
        connection.execute("DETACH old")

    def _write_own_rows(self, connection: sqlite3.Connection) -> None:
        stands, shard = self._stands, self._shard
        positions = [(source, end) for source, end in stands.positions.items() if self._keeps(source)]
        connection.executemany("INSERT INTO positions VALUES (?, ?)", positions)
        chores: list[tuple[Any, ...]] = [
            (chore.number, msgspec.json.encode(chore).decode())
            for chore in stands.chores
            if chore.lane % self._shards == shard
        ]
        connection.executemany("INSERT INTO chores VALUES (?, ?)", chores)
        lanes, lane_sum = sum_of_lanes(connection)
        connection.execute(
            "INSERT INTO shard (one, form, shard, shards, fence, outbox_end, sources, lanes, lane_sum, aloft)"
            " VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (FORM, shard, self._shards, stands.fence, stands.outbox_end, len(positions), lanes, lane_sum,
             "" if shard else stands.lost),
        )  # fmt: skip

    def _keeps(self, source: str) -> bool:
        """Whose journal it is keeps how far it was applied; what has no courier any more is the first one's."""
        if not is_couriers(source):
            return True
        number = int(source.rpartition("-")[2])
        return number == self._shard or (number >= self._shards and self._shard == 0)
