"""What every archive engine must do. A later engine is plugged in as another parameter of `make_archive`."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from waypost.engines.parquet.archive import ParquetArchive
from waypost.errors import WaypostError
from waypost.model.frames import Auth, Click, OperatorChange, PostbackIn
from waypost.model.wire import Decoded
from waypost.ports.archive import Archive, ArchiveRange
from waypost.settings import ArchiveSettings
from waypost.stages.archive_rows import rows_of

SETTINGS = ArchiveSettings(interval_ms=1000, rows_max=200, compact_at=4, memory_mb_max=128, niceness=5)
MakeArchive = Callable[[], Archive]


def _parquet(folder: Path) -> Archive:
    return ParquetArchive(folder / "archive", SETTINGS)


@pytest.fixture(params=[_parquet], ids=["parquet"])
def make_archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeArchive]:
    """Opens the same archive anew with each call."""
    with contextlib.ExitStack() as stack:

        def make() -> Archive:
            archive: Archive = request.param(tmp_path)
            stack.callback(archive.close)
            return archive

        yield make


def frames(start: int, count: int) -> list[Decoded]:
    """Clicks and calls by turns, with bytes that are no text."""
    found: list[Decoded] = []
    for at in range(start, start + count):
        if at % 2:
            found.append(PostbackIn(at, at, 0, 1, 2, Auth.TOKEN, 1, "GET", b"a=\xff\x00&n=%d" % at))
        else:
            found.append(Click(1_700_000_000_000 + at, 0, at, 7, 0, 1, 1, b"sub1=\xfe%d" % at))
    return found


def put(archive: Archive, feed: str, start: int, count: int) -> None:
    archive.apply(feed, start, start + count, rows_of(feed, start, frames(start, count)))


def held(archive: Archive, feed: str) -> list[int]:
    """Positions of all rows of a feed, sorted."""
    rows: list[dict[str, Any]] = []
    for table in ("clicks", "calls", "changes"):
        rows += archive.query(f"SELECT position FROM {table} WHERE feed = ?", [feed])
    return sorted(row["position"] for row in rows)


def test_tables_are_empty_before_the_first_row(make_archive: MakeArchive) -> None:
    archive = make_archive()
    for table in ("clicks", "calls", "decisions", "batches", "postbacks", "attempts", "changes", "set_aside", "others"):
        assert archive.query(f"SELECT * FROM {table}") == []
    assert (archive.positions(), archive.ranges(), archive.problems(), archive.compact()) == ({}, [], [], 0)


def test_rows_come_back_as_they_went_in(make_archive: MakeArchive) -> None:
    archive = make_archive()
    archive.apply(
        "operator",
        0,
        1,
        rows_of("operator", 0, [OperatorChange(5, "pause", "par'tner\0\u20ac", "ja \U0001f600", "me")]),
    )
    assert archive.query("SELECT * FROM changes") == [
        {
            "feed": "operator",
            "position": 0,
            "at_ms": 5,
            "kind": "pause",
            "subject": "par'tner\0\u20ac",
            "value": "ja \U0001f600",
            "by": "me",
        }
    ]
    put(archive, "door-0", 0, 4)
    assert archive.query("SELECT query FROM calls WHERE position = ?", [3]) == [{"query": b"a=\xff\x00&n=3"}]
    assert archive.query("SELECT query, seq FROM clicks ORDER BY position DESC LIMIT 1") == [
        {"query": b"sub1=\xfe2", "seq": 2}
    ]


def test_a_range_is_visible_at_once_and_to_others(make_archive: MakeArchive) -> None:
    writer, reader = make_archive(), make_archive()
    put(writer, "door-0", 0, 10)
    assert held(reader, "door-0") == list(range(10))
    put(writer, "door-0", 10, 5)
    assert held(reader, "door-0") == list(range(15))
    assert reader.positions() == {"door-0": 15}
    assert reader.ranges() == [ArchiveRange("door-0", 0, 15)]


def test_apply_is_idempotent_and_refuses_gaps(make_archive: MakeArchive) -> None:
    archive = make_archive()
    put(archive, "door-0", 0, 10)
    put(archive, "door-0", 0, 10)
    put(archive, "door-0", 3, 4)
    for start in (5, 11):
        with pytest.raises(WaypostError) as caught:
            put(archive, "door-0", start, 10)
        assert caught.value.code == "store_out_of_order"
    assert held(archive, "door-0") == list(range(10))


def test_rows_that_are_not_those_of_the_range_are_refused(make_archive: MakeArchive) -> None:
    archive = make_archive()
    rows = rows_of("door-0", 0, frames(0, 4))
    with pytest.raises(ValueError, match="must give 5 rows"):
        archive.apply("door-0", 0, 5, rows)
    del rows["clicks"][0]["ip"]
    with pytest.raises(ValueError, match="columns of clicks"):
        archive.apply("door-0", 0, 4, rows)
    assert archive.positions() == {}


def test_one_writer(make_archive: MakeArchive) -> None:
    first, second = make_archive(), make_archive()
    put(first, "door-0", 0, 1)
    with pytest.raises(WaypostError) as caught:
        put(second, "door-0", 1, 1)
    assert caught.value.code == "data_in_use"
    first.close()
    put(second, "door-0", 1, 1)
    assert held(second, "door-0") == [0, 1]


@pytest.mark.slow
def test_compaction_keeps_every_row_and_bounds_the_segments(make_archive: MakeArchive, tmp_path: Path) -> None:
    archive, reader = make_archive(), make_archive()
    merged = 0
    for at in range(100):
        put(archive, "door-0", at * 2, 2)
        put(archive, "door-1", at, 1)
        merged += archive.compact()
        if at % 50 == 0:
            assert held(reader, "door-0") == list(range(at * 2 + 2))
    assert merged > 100
    assert held(reader, "door-0") == list(range(200))
    assert held(reader, "door-1") == list(range(100))
    assert reader.ranges() == [ArchiveRange("door-0", 0, 200), ArchiveRange("door-1", 0, 100)]
    assert reader.problems() == []
    segments = [entry for entry in (tmp_path / "archive" / "door-0").iterdir() if entry.name[0] != "."]
    assert len(segments) < 25


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 5, 6])
def test_a_stop_between_any_two_writes_neither_loses_nor_doubles(
    make_archive: MakeArchive, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Fails the nth file-system step of an apply and of a merge; what a restart finds is whole either way."""
    archive = make_archive()
    for at in range(3):
        put(archive, "door-0", at * 4, 4)
    archive.compact()
    left = steps

    def break_after(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError("stopped here")
            return real(*args, **named)

        return call

    with monkeypatch.context() as patch:
        for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "mkdir"), (Path, "write_bytes")):
            patch.setattr(owner, name, break_after(getattr(owner, name)))
        with contextlib.suppress(WaypostError):
            put(archive, "door-0", 12, 4)
            left = steps
            archive.compact()
    archive.close()
    again = make_archive()
    assert held(again, "door-0") in (list(range(12)), list(range(16)))
    put(again, "door-0", again.positions()["door-0"], 16 - again.positions()["door-0"] or 4)
    again.compact()
    assert held(again, "door-0") == list(range(again.positions()["door-0"]))
    assert again.problems() == []


_CHILD = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import test_archive_contract as t
archive = t._parquet(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    put = archive.positions().get("door-0", 0)
    t.put(archive, "door-0", put, 6)
    archive.compact()
    print(put + 6, flush=True)
"""


@pytest.mark.parametrize("said_before_kill", [1, 2, 4, 7])
def test_kill_9_neither_loses_nor_doubles(tmp_path: Path, said_before_kill: int) -> None:
    folder = str(Path(__file__).parent)
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(tmp_path), folder], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = 0
    for _ in range(said_before_kill + 1):
        line = child.stdout.readline().strip()
        said = int(line) if line.isdigit() else 0
    child.send_signal(signal.SIGKILL)
    said = max([said, *(int(line) for line in child.stdout.read().split() if line.isdigit())])
    child.wait()
    child.stdout.close()
    archive = _parquet(tmp_path)
    position = archive.positions()["door-0"]
    assert position >= said
    assert held(archive, "door-0") == list(range(position))
    put(archive, "door-0", position, 6)
    archive.compact()
    assert held(archive, "door-0") == list(range(position + 6))
    assert archive.problems() == []
    archive.close()


def test_a_lost_row_file_or_segment_is_named(tmp_path: Path) -> None:
    """Of the Parquet engine: what its own look at itself must see."""
    archive = _parquet(tmp_path)
    for at in range(3):
        put(archive, "door-0", at * 10, 10)
    segments = sorted(entry for entry in (tmp_path / "archive" / "door-0").iterdir() if entry.name[0] != ".")
    file = segments[1] / "calls.parquet"
    whole = file.read_bytes()
    archive.query(f"COPY (SELECT * FROM read_parquet('{file}') WHERE position <> 13) TO '{file}.less' (FORMAT parquet)")
    Path(f"{file}.less").replace(file)
    assert archive.problems() == ["archive: door-0 position 13 has no row"]
    file.unlink()
    assert archive.problems() == [f"archive: door-0 position {lost} has no row" for lost in (11, 13, 15, 17, 19)]
    file.write_bytes(whole[:40])
    assert any("cannot be read" in problem for problem in archive.problems())
    with pytest.raises(WaypostError) as caught:
        archive.query("SELECT * FROM calls")
    assert caught.value.code == "store_corrupt"
    file.write_bytes(whole)
    assert archive.problems() == []
    segments[1].rename(tmp_path / "elsewhere")
    assert archive.problems() == ["archive: door-0 positions 10 to 19 are missing"]
    assert archive.ranges() == [ArchiveRange("door-0", 0, 10), ArchiveRange("door-0", 20, 30)]
    archive.close()
