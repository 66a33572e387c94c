"""The catalog's watch: when it applies, and what it says of a broken catalog."""

import os
import sys
import threading
from pathlib import Path

import pytest

from waypost.runtime.catalog_watch import ApplyResult, CatalogWatch, fingerprint

_COMMAND = (
    "import sys, pathlib; text = pathlib.Path(sys.argv[1]).read_text(); print(text.strip()); sys.exit('broken' in text)"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "catalog.yaml"
    path.write_text("one")
    return path


@pytest.fixture
def watch(file: Path, tmp_path: Path) -> CatalogWatch:
    return CatalogWatch(file, [sys.executable, "-S", "-c", _COMMAND, str(file)], tmp_path / "out", interval_ms=100)


def finish(watch: CatalogWatch, now_ms: float) -> ApplyResult:
    for _ in range(5000):
        if (result := watch.step(now_ms)) is not None:
            return result
        threading.Event().wait(0.002)
    raise AssertionError("the child did not end")


def test_what_was_applied_is_not_applied_again(watch: CatalogWatch) -> None:
    assert watch.apply_now() == ApplyResult(True, ["one"])
    assert [watch.step(now) for now in (0, 100, 200, 300)] == [None] * 4
    assert watch._child is None


def test_a_change_is_applied_when_it_has_settled(watch: CatalogWatch, file: Path) -> None:
    watch.apply_now()
    file.write_text("two, half")
    assert watch.step(100) is None
    assert watch._child is None  # seen once: perhaps still being written
    file.write_text("two, whole")
    assert watch.step(200) is None
    assert watch._child is None
    assert watch.step(300) is None
    assert finish(watch, 300) == ApplyResult(True, ["two, whole"])


def test_a_broken_catalog_gives_all_lines_and_is_not_tried_again(watch: CatalogWatch, file: Path) -> None:
    watch.apply_now()
    file.write_text("broken\nand more")
    watch.step(100)
    watch.step(200)
    assert finish(watch, 200) == ApplyResult(False, ["broken", "and more"])
    assert [watch.step(now) for now in (300, 400, 500)] == [None] * 3
    assert watch._child is None


def test_a_file_that_is_removed_is_reported_once(watch: CatalogWatch, file: Path) -> None:
    watch.apply_now()
    file.unlink()
    watch.step(100)
    watch.step(200)
    assert not finish(watch, 200).applied


def test_a_child_is_stopped(watch: CatalogWatch, file: Path) -> None:
    watch.apply_now()
    watch._command = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    file.write_text("two")
    watch.step(100)
    watch.step(200)
    assert watch._child is not None
    pid = watch._child.pid
    watch.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_folder_is_seen_with_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "offers").mkdir()
    (tmp_path / "offers" / "a.yaml").write_text("a")
    before = fingerprint(tmp_path)
    (tmp_path / "offers" / "b.yaml").write_text("b")
    assert fingerprint(tmp_path) != before
    assert fingerprint(tmp_path / "nothing") == ()
