"""Blocks of frames in two tables, `PREFIXblocks` and `PREFIXhead`: the form of the ledger's feeds.

Owns: the tables and how they are written, read, trimmed and checked. The head repeats where the blocks end, so that
the loss of any row, the last one included, is seen. Never opens or commits anything: the caller owns the connection
and its transactions.
"""

import sqlite3
from typing import NamedTuple

from waypost.errors import WaypostError
from waypost.model.wire import split_block
from waypost.ports.feed import Block, Head


class _HeadRow(NamedTuple):
    first: int
    end: int
    watermark_ms: int
    first_row: int
    rows: int


class BlockTable:
    """One feed's tables on a connection. A reader keeps its place, so a read costs what is new."""

    def __init__(self, connection: sqlite3.Connection, prefix: str, place: str) -> None:
        self._connection = connection
        self._place = place
        self._blocks = f"{prefix}blocks"
        self._head = f"{prefix}head"
        self._at_position = -1  # the reader's place: the next block starts here …
        self._at_row = 0  # … and stands behind this row
        self._insert = f"INSERT INTO {self._blocks} VALUES (?, ?, ?, ?, ?, ?)"
        self._select = (
            f"SELECT row, first, count, at_ms, watermark_ms, data FROM {self._blocks}"
            " WHERE row > ? ORDER BY row LIMIT ?"
        )

    def create(self, first: int) -> None:
        """Creates the tables unless they are there; positions start at `first`."""
        self._connection.execute(
            f"CREATE TABLE IF NOT EXISTS {self._blocks} (row INTEGER PRIMARY KEY, first INTEGER NOT NULL,"
            " count INTEGER NOT NULL, at_ms INTEGER NOT NULL, watermark_ms INTEGER NOT NULL, data BLOB NOT NULL)"
        )
        self._connection.execute(
            f"CREATE TABLE IF NOT EXISTS {self._head} (one INTEGER PRIMARY KEY CHECK (one = 1), first INTEGER NOT NULL,"
            " end INTEGER NOT NULL, watermark_ms INTEGER NOT NULL, first_row INTEGER NOT NULL, rows INTEGER NOT NULL)"
        )
        self._connection.execute(
            f"CREATE TRIGGER IF NOT EXISTS {self._head}_follows AFTER INSERT ON {self._blocks} BEGIN"
            f" UPDATE {self._head} SET end=new.first+new.count, watermark_ms=max(watermark_ms, new.watermark_ms),"
            " rows=new.row WHERE one=1; END"
        )
        held = self._connection.execute(f"SELECT count(*) FROM {self._blocks}").fetchone()[0]
        if not held:
            self._connection.execute(f"INSERT OR IGNORE INTO {self._head} VALUES (1, ?, ?, 0, 1, 0)", (first, first))

    def append(self, count: int, at_ms: int, watermark_ms: int, data: bytes) -> int:
        """Adds a block within the caller's transaction; answers its first position."""
        head = self.head_row()
        row = head.rows + 1
        self._connection.execute(self._insert, (row, head.end, count, at_ms, watermark_ms, data))
        return head.end

    def head_row(self) -> _HeadRow:
        found = self._connection.execute(
            f"SELECT first, end, watermark_ms, first_row, rows FROM {self._head} WHERE one=1"
        ).fetchone()
        if found is None:
            raise WaypostError("store_corrupt", f"the row of {self._head} is missing", place=self._place)
        return _HeadRow(*found)

    def head(self) -> Head:
        row = self.head_row()
        return Head(row.first, row.end, row.watermark_ms)

    def read(self, position: int, frames_max: int) -> list[Block]:
        """`Feed.read` on these tables."""
        if position != self._at_position:
            self._seek(position)
        blocks: list[Block] = []
        frames = 0
        while frames < frames_max:
            found = self._connection.execute(self._select, (self._at_row, 1 if not blocks else 64)).fetchall()
            if not found:
                break
            for row, first, count, at_ms, watermark_ms, data in found:
                if first != self._at_position or row != self._at_row + 1:
                    raise WaypostError(
                        "store_corrupt",
                        f"positions {self._at_position} to {first} are missing",
                        place=self._place,
                    )
                blocks.append(Block(first, count, at_ms, watermark_ms, data))
                self._at_row, self._at_position = row, first + count
                frames += count
                if frames >= frames_max:
                    break
        return blocks

    def _seek(self, position: int) -> None:
        """Finds the row behind which `position` stands: rows and positions grow together, so by halving."""
        head = self.head_row()
        if not head.first <= position <= head.end:
            raise WaypostError(
                "store_gap", f"position {position} is not in {head.first}..{head.end}", place=self._place
            )
        low, high = head.first_row, head.rows + 1  # the first row whose end lies beyond the position
        while low < high:
            middle = (low + high) // 2
            found = self._connection.execute(
                f"SELECT first, count FROM {self._blocks} WHERE row = ?", (middle,)
            ).fetchone()
            if found is None:
                raise WaypostError("store_corrupt", f"block row {middle} is missing", place=self._place)
            if found[0] + found[1] > position:
                high = middle
            else:
                low = middle + 1
        found = self._connection.execute(f"SELECT first FROM {self._blocks} WHERE row = ?", (low,)).fetchone()
        if found is not None and found[0] != position:
            raise WaypostError("store_gap", f"position {position} lies inside a block", place=self._place)
        self._at_position, self._at_row = position, low - 1

    def trim(self, below: int) -> None:
        """Deletes whole blocks below a position, within the caller's transaction. The last block is kept."""
        head = self.head_row()
        found = self._connection.execute(
            f"SELECT row, first FROM {self._blocks} WHERE row < ? AND first + count <= ? ORDER BY row DESC LIMIT 1",
            (head.rows, below),
        ).fetchone()
        if found is None:
            return
        kept = self._connection.execute(
            f"SELECT row, first FROM {self._blocks} WHERE row = ?", (found[0] + 1,)
        ).fetchone()
        self._connection.execute(f"DELETE FROM {self._blocks} WHERE row <= ?", (found[0],))
        self._connection.execute(f"UPDATE {self._head} SET first=?, first_row=? WHERE one=1", (kept[1], kept[0]))

    def problems(self) -> list[str]:
        """Gaps between blocks, a missing or wrong head, blocks that do not hold what they say."""
        try:
            head = self.head_row()
        except WaypostError as error:
            return [str(error)]
        found: list[str] = []
        position, row_expected = head.first, head.first_row
        for row, first, count, data in self._connection.execute(
            f"SELECT row, first, count, data FROM {self._blocks} ORDER BY row"
        ):
            if row > head.rows:
                break  # written since the head was read
            if first != position or row != row_expected:
                found.append(f"{self._place}: positions {position} to {first - 1} are missing")
            try:
                held = len(split_block(data))
            except WaypostError as error:
                found.append(f"{self._place}: block at position {first}: {error.detail}")
                held = count
            if held != count:
                found.append(f"{self._place}: block at position {first} holds {held} frames, not {count}")
            position, row_expected = first + count, row + 1
        if position != head.end:
            found.append(f"{self._place}: positions {position} to {head.end - 1} are missing")
        return found
