"""A data folder that real processes left: whatever row or file is taken out of it, the audit fails and names it.

`tests/unit/test_explain_audit_deletion.py` does this to every row of a world made in one process; this one takes the
folder of a real run, with waiting postbacks, several segments and the catalog's own store, and a bounded sample.
"""

import contextlib
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest

from support.catalog_text import changed
from support.installation import until
from support.journal_files import pieces
from support.sink import Answer, Sink
from support.waypost_process import WaypostProcess
from waypost import assembly
from waypost.engines.local.keyring import load_or_create_key_ring
from waypost.explain.audit import audit
from waypost.explain.report import AuditReport
from waypost.layout import Layout
from waypost.model.frames import Click
from waypost.model.ids import ClickIdCodec, conversion_text
from waypost.model.wire import decode_frame
from waypost.settings import load_settings

pytestmark = pytest.mark.system

SEED = 11
RANDOM_ROWS = 40
RANDOM_PARQUET_ROWS = 12
CONVERSIONS = 12
BOUNDED_LOGS = ("refusals",)  # kept for support, within a bound: nothing is promised of them


class Row(NamedTuple):
    """One row of a SQLite file."""

    file: str
    table: str
    values: dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of the postbacks are delivered, half wait for another try; the catalog was changed once."""
    root = tmp_path_factory.mktemp("deletion")
    with Sink() as sink:
        sink.behave = lambda request: Answer(503 if "cid=late" in request.target else 200)
        text = changed("127.0.0.1:9001", f"127.0.0.1:{sink.port}")
        with WaypostProcess(root, text) as house:
            clicks = [house.click("demo", sub1=("late", "soon")[nth % 2]) for nth in range(CONVERSIONS)]
            house.catalog.write_text(text.replace("1.20 USD", "1.50 USD"))
            until(lambda: house.status()["catalog"] == 2, "version 2 is in force")
            for nth, click_id in enumerate(clicks):
                house.postback(click_id=click_id, goal="install", txn_id=f"d-{nth}", token="s3cret")
            until(lambda: len(sink.received) >= CONVERSIONS, "all were tried")
            assert house.stop() == 0
    for file in house.data.rglob("*.db"):
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    still = root / "still"
    shutil.copytree(house.data, still, ignore=shutil.ignore_patterns("*-wal", "*-shm"))
    return still


def _audited(folder: Path) -> AuditReport:
    with contextlib.closing(assembly.open_explain_sources(folder, load_settings(folder / "settings.toml"))) as sources:
        return audit(sources)


def _said(report: AuditReport) -> str:
    return "\n".join(f"{problem.store}: {problem.item} {problem.what}" for problem in report.problems)


def _rows(folder: Path) -> list[Row]:
    rows = []
    for file in sorted(folder.rglob("*.db")):
        name = str(file.relative_to(folder))
        if name.startswith(BOUNDED_LOGS):
            continue
        with contextlib.closing(sqlite3.connect(file)) as connection:
            for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                cursor = connection.execute(f"SELECT * FROM {table}")
                names = [column[0] for column in cursor.description]
                rows += [Row(name, table, dict(zip(names, row, strict=True))) for row in cursor]
    return rows


def _sampled(rows: list[Row]) -> list[Row]:
    """One of every table of every file, and some more."""
    dice = random.Random(SEED)
    dice.shuffle(rows)
    first = {(row.file, row.table): row for row in rows}
    chosen = list(first.values())
    return chosen + [row for row in rows if row not in chosen][:RANDOM_ROWS]


@contextlib.contextmanager
def _kept(file: Path, tmp_path: Path) -> Iterator[None]:
    """Puts the file back as it was."""
    kept = tmp_path / "kept"
    shutil.copyfile(file, kept)
    try:
        yield
    finally:
        for side in file.parent.glob(f"{file.name}-*"):
            side.unlink()
        shutil.copyfile(kept, file)


def _delete(file: Path, row: Row) -> None:
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        where = " AND ".join(f'"{name}" IS ?' for name in row.values)
        deleted = connection.execute(f"DELETE FROM {row.table} WHERE {where}", list(row.values.values()))
        assert deleted.rowcount == 1
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _names(folder: Path, row: Row) -> list[str]:
    """Words of which one must stand in the report: the item's own name."""
    values = row.values
    if row.table == "clicks":
        frame = decode_frame(values["data"])
        assert isinstance(frame, Click)
        codec = ClickIdCodec(load_or_create_key_ring(Layout(folder)))
        return [codec.encode(frame.ms, frame.door, frame.seq, frame.route, frame.flags)]
    if row.table == "conversions":
        return [conversion_text(values["receipt"])]
    if row.table.endswith("blocks"):
        return [f"positions {values['first']} to {values['first'] + values['count'] - 1} are missing"]
    if row.table == "flights":
        return [f"the block of flights from place {values['first']} on is missing"]
    if row.file.startswith("catalog/"):
        return [str(values.get("name", row.table)), f"version {values.get('version', Path(row.file).stem)}"]
    if row.table.endswith("_count"):
        return [f"written to {row.table.removesuffix('_count')}"]
    named = [values[name] for name in ("id", "source", "key") if name in values]
    return [str(value) for value in named] or [row.table.removesuffix("s"), "state", "own row"]


def test_the_folder_is_sound_as_it_is(folder: Path) -> None:
    report = _audited(folder)
    assert _said(report) == ""
    counts = report.counts
    assert (counts.queued, counts.delivered, counts.postbacks) == (CONVERSIONS // 2, CONVERSIONS // 2, CONVERSIONS)


def test_rows_of_every_table(folder: Path, tmp_path: Path) -> None:
    unnoticed = []
    for row in _sampled(_rows(folder)):
        file = folder / row.file
        with _kept(file, tmp_path):
            _delete(file, row)
            try:
                report = _audited(folder)
                said, is_ok = _said(report), report.ok
            except Exception as error:  # an audit never ends in an exception for what a store lacks
                said, is_ok = f"raised {error!r}", True
        if is_ok or not any(name in said for name in _names(folder, row)):
            unnoticed.append(f"{row.file} {row.table} {_names(folder, row)}: {said}")
    assert not unnoticed, "\n".join(unnoticed)
    assert _audited(folder).ok


def test_pieces_of_every_journal(folder: Path, tmp_path: Path) -> None:
    unnoticed = []
    taken = pieces(folder)
    assert {piece.kind for piece in taken} == {"mark", "label", "record"}
    chosen = [piece for piece in taken if piece.kind != "record"]
    records = [piece for piece in taken if piece.kind == "record"]
    for piece in chosen + random.Random(SEED).sample(records, min(RANDOM_ROWS, len(records))):
        with _kept(piece.file, tmp_path):
            piece.blank()
            said = _said(_audited(folder))
        if piece.named not in said:
            unnoticed.append(f"{piece}: {said}")
    assert not unnoticed, "\n".join(unnoticed)
    assert _audited(folder).ok


def test_rows_and_files_of_the_archive(folder: Path, tmp_path: Path) -> None:
    dice = random.Random(SEED)
    unnoticed = []
    files = sorted((folder / "archive").rglob("*.parquet"))
    assert {file.stem for file in files} >= {"clicks", "calls", "decisions", "batches", "postbacks", "attempts"}
    held = {file: _positions(file) for file in files}
    chosen: list[tuple[Path, list[int]]] = list(held.items())
    single = [(file, [position]) for file, positions in held.items() for position in positions]
    for file, lost in chosen + dice.sample(single, min(RANDOM_PARQUET_ROWS, len(single))):
        with _kept(file, tmp_path):
            if lost == held[file]:
                file.unlink()
            else:
                _rewrite_without(file, lost[0])
            said = _said(_audited(folder))
        feed = file.parent.parent.name
        if not all(f"{feed} position {position} has no row" in said for position in lost):
            unnoticed.append(f"{file} {lost}: {said}")
    assert not unnoticed, "\n".join(unnoticed)


def test_every_file_as_a_whole(folder: Path, tmp_path: Path) -> None:
    """A store's file that is gone is named, whatever store it belonged to."""
    unnoticed = []
    for file in sorted(file for file in folder.rglob("*") if file.suffix in (".db", ".seg") or file.name == "mark"):
        if str(file.relative_to(folder)).startswith(BOUNDED_LOGS):
            continue
        elsewhere = tmp_path / "elsewhere"
        file.rename(elsewhere)
        try:
            report = _audited(folder)
            if report.ok:
                unnoticed.append(str(file))
        except Exception as error:
            unnoticed.append(f"{file}: raised {error!r}")
        finally:
            elsewhere.rename(file)
    assert not unnoticed, "\n".join(unnoticed)


def _positions(file: Path) -> list[int]:
    with contextlib.closing(duckdb.connect()) as connection:
        return [row[0] for row in connection.execute("SELECT position FROM read_parquet(?)", [str(file)]).fetchall()]


def _rewrite_without(file: Path, position: int) -> None:
    with contextlib.closing(duckdb.connect()) as connection:
        rows = f"SELECT * FROM read_parquet('{file}') WHERE position <> {position}"
        connection.execute(f"COPY ({rows}) TO '{file}.less' (FORMAT parquet)")
    Path(f"{file}.less").replace(file)
