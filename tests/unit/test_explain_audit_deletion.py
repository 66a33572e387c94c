"""Deleting any one row from any store makes the audit fail and name the item.

Generic: every table of every SQLite file that the engines made, row by row, and every Parquet file and row. What a
table holds is not written down here but for the words by which an item must be named.
"""

import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest

from support.explain_world import World, some_of_everything
from support.journal_files import pieces
from support.traffic import RING
from waypost.explain.audit import audit
from waypost.explain.report import AuditReport
from waypost.layout import Layout
from waypost.model.frames import Click, PostbackIn
from waypost.model.ids import ClickIdCodec, conversion_text, receipt_text
from waypost.model.wire import decode_frame

pytestmark = pytest.mark.slow


class Row(NamedTuple):
    """One row of a SQLite file."""

    file: str
    table: str
    values: dict[str, Any]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Closed, and copied to where nobody has a file open: nothing moves, and every file is whole."""
    folder = tmp_path_factory.mktemp("audit")
    world = World(folder / "data")
    some_of_everything(world)
    world.close()
    for file in (folder / "data").rglob("*.db"):
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copytree(folder / "data", folder / "still", ignore=shutil.ignore_patterns("*-wal", "*-shm"))
    world.layout = Layout(folder / "still")
    yield world


def _rows(root: Path) -> list[Row]:
    rows = []
    for file in sorted(root.rglob("*.db")):
        with contextlib.closing(sqlite3.connect(file)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (table,) in tables:
                cursor = connection.execute(f"SELECT * FROM {table}")
                names = [column[0] for column in cursor.description]
                rows += [Row(str(file.relative_to(root)), table, dict(zip(names, row, strict=True))) for row in cursor]
    return rows


def _delete(file: Path, row: Row) -> None:
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        where = " AND ".join(f'"{name}" IS ?' for name in row.values)
        assert connection.execute(f"DELETE FROM {row.table} WHERE {where}", list(row.values.values())).rowcount == 1
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _audited(world: World) -> AuditReport:
    sources = world.sources()
    with contextlib.closing(sources):
        return audit(sources)


def _said(report: AuditReport) -> str:
    return "\n".join(f"{problem.store}: {problem.item} {problem.what}" for problem in report.problems)


def _name_of_click(row: Row) -> str:
    frame = decode_frame(row.values["data"])
    assert isinstance(frame, Click)
    return ClickIdCodec(RING).encode(frame.ms, frame.door, frame.seq, frame.route, frame.flags)


def _name_of_parked(row: Row) -> str:
    frame = decode_frame(row.values["call"])
    assert isinstance(frame, PostbackIn)
    return receipt_text(frame.receipt)


def _name_of_block(row: Row) -> str:
    return f"positions {row.values['first']} to {row.values['first'] + row.values['count'] - 1} are missing"


# By which words a lost row must be named; a row of state or counts names its table.
NAMES: dict[tuple[str, str], Callable[[Row], str]] = {
    ("clicks", "clicks"): _name_of_click,
    ("clicks", "positions"): lambda row: str(row.values["source"]),
    ("clicks", "state"): lambda row: "state",
    ("ledger", "conversions"): lambda row: conversion_text(row.values["receipt"]),
    ("ledger", "caps"): lambda row: str(row.values["key"]),
    ("ledger", "parked"): _name_of_parked,
    ("ledger", "positions"): lambda row: str(row.values["source"]),
    ("ledger", "state"): lambda row: "state",
    ("ledger", "fired_count"): lambda row: "fired",
    ("ledger", "keyed_count"): lambda row: "keyed",
    ("ledger", "jobs"): lambda row: "jobs",
    ("ledger", "jobs_count"): lambda row: "jobs",
    ("ledger", "log_blocks"): _name_of_block,
    ("ledger", "outbox_blocks"): _name_of_block,
    ("ledger", "log_head"): lambda row: "log_head",
    ("ledger", "outbox_head"): lambda row: "outbox_head",
    ("lanes", "items"): lambda row: str(row.values["id"]),
    ("lanes", "flights"): lambda row: f"the block of flights from place {row.values['first']} on is missing",
    ("lanes", "lanes"): lambda row: f"lane {row.values['lane']}",
    ("lanes", "positions"): lambda row: "positions",
    ("lanes", "shard"): lambda row: "the shard's own row is missing",
}


def test_nothing_is_missing_before(world: World) -> None:
    assert _said(_audited(world)) == ""


def test_every_row_of_every_table(world: World, tmp_path: Path) -> None:
    rows = _rows(world.layout.root)
    kinds = {(row.file.split("/", 1)[0], row.table) for row in rows}
    assert kinds == NAMES.keys()  # a new table must say how its rows are named
    unnoticed = []
    for row in rows:
        file = world.layout.root / row.file
        kept = tmp_path / "kept.db"
        shutil.copyfile(file, kept)
        try:
            _delete(file, row)
            report = _audited(world)
        finally:
            for side in file.parent.glob(f"{file.name}-*"):
                side.unlink()
            shutil.copyfile(kept, file)
        name = NAMES[row.file.split("/", 1)[0], row.table](row)
        if report.ok or name not in _said(report):
            unnoticed.append((row.file, row.table, name, _said(report)))
    assert unnoticed == []


def test_every_piece_of_every_journal(world: World) -> None:
    unnoticed = []
    taken = pieces(world.layout.root)
    assert {piece.kind for piece in taken} == {"mark", "label", "record"}
    for piece in taken:
        kept = piece.file.read_bytes()
        piece.blank()
        report = _audited(world)
        piece.file.write_bytes(kept)
        if report.ok or piece.named not in _said(report):
            unnoticed.append((piece, _said(report)))
    assert unnoticed == []
    assert _audited(world).ok


def _parquet_rows(file: Path) -> list[int]:
    with contextlib.closing(duckdb.connect()) as connection:
        return [row[0] for row in connection.execute("SELECT position FROM read_parquet(?)", [str(file)]).fetchall()]


def _rewrite_without(file: Path, position: int) -> None:
    with contextlib.closing(duckdb.connect()) as connection:
        rows = f"SELECT * FROM read_parquet('{file}') WHERE position <> {position}"
        connection.execute(f"COPY ({rows}) TO '{file}.less' (FORMAT parquet)")
    Path(f"{file}.less").replace(file)


def test_every_row_and_file_of_the_archive(world: World, tmp_path: Path) -> None:
    unnoticed = []
    files = sorted(world.layout.archive.rglob("*.parquet"))
    assert {file.stem for file in files} >= {"clicks", "calls", "decisions", "batches", "postbacks", "attempts"}
    for file in files:
        feed = file.parent.parent.name
        kept = tmp_path / "kept.parquet"
        shutil.copyfile(file, kept)
        positions = _parquet_rows(file)
        for position in [None, *positions]:
            if position is None:
                file.unlink()
            else:
                _rewrite_without(file, position)
            try:
                said = _said(_audited(world))
            finally:
                shutil.copyfile(kept, file)
            lost = positions if position is None else [position]
            if not all(f"{feed} position {one} has no row" in said for one in lost):
                unnoticed.append((str(file), position, said))
    assert unnoticed == []


def test_every_segment_of_the_archive(world: World, tmp_path: Path) -> None:
    segments = [entry for entry in sorted(world.layout.archive.glob("*/*")) if entry.name[0] != "."]
    assert len(segments) > 4
    for segment in segments:
        elsewhere = tmp_path / "elsewhere"
        segment.rename(elsewhere)
        try:
            said = _said(_audited(world))
        finally:
            elsewhere.rename(segment)
        start, end = (int(part) for part in segment.name.split("-"))
        assert f"{segment.parent.name} positions {start} to {end - 1}" in said


def test_every_store_as_a_whole(world: World, tmp_path: Path) -> None:
    """A file that is gone: each SQLite file but those whose absence is that of a store."""
    root = world.layout.root
    for file in sorted(root.rglob("*.db")):
        if file in (world.layout.lane_shard(0), root / "clicks" / "positions.db", world.layout.ledger):
            continue  # a reader cannot be opened without it, which says so
        kept = tmp_path / "kept.db"
        shutil.move(file, kept)
        try:
            said = _said(_audited(world))
        finally:
            shutil.move(kept, file)
        assert said, file
