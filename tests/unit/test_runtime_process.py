"""What a role's process does besides its work."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support.clock import FakeClock
from waypost.assembly import make_data_folder
from waypost.runtime.process import Publisher
from waypost.telemetry.stats import Stats, read_snapshots


def test_a_role_whose_loop_hangs_goes_silent_and_comes_back(tmp_path: Path) -> None:
    stats = Stats("pipeline", tmp_path / "pipeline.json")
    publisher = Publisher(stats, FakeClock(), 1000)
    assert [publisher.is_moving() for _ in range(10)] == [True] * 10, "a role that counts no turns"
    stats.beats += 1
    assert [publisher.is_moving() for _ in range(8)] == [True] * 5 + [False] * 3
    stats.beats += 1
    assert publisher.is_moving()


def test_the_last_snapshot_is_written_at_the_end(tmp_path: Path) -> None:
    stats = Stats("pipeline", tmp_path / "pipeline.json")
    with Publisher(stats, FakeClock(), 1_000_000):
        stats.add("pipeline_calls", 3)
    assert read_snapshots(tmp_path)[0]["values"] == {"pipeline_calls": 3}


def test_many_may_make_a_data_folder_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        layouts = list(pool.map(lambda nth: make_data_folder(tmp_path / f"data-{nth // 40}"), range(200)))
    assert all(list(layout.run.iterdir()) == [] for layout in layouts)
