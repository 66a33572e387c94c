"""What a door remembers of visitors, and the keys it tells them apart by."""

import json
import multiprocessing
from pathlib import Path

from waypost.doors.recent import RecentVisitors
from waypost.engines.local.visitor_keys import FileVisitorKeys
from waypost.ports.visitor_keys import DAY_MS

NOON_MS = 20_000 * DAY_MS + DAY_MS // 2


def test_a_second_touch_of_the_same_link_within_the_window_is_a_duplicate() -> None:
    recent = RecentVisitors(100, 1000)
    assert recent.note(b"anna", b"demo", 5_000) == (False, False)
    assert recent.note(b"anna", b"demo", 5_999) == (True, True)
    assert recent.note(b"anna", b"other", 6_000) == (True, False)
    assert recent.note(b"bert", b"demo", 6_000) == (False, False)
    assert recent.note(b"anna", b"demo", 6_999) == (True, False)  # the window runs from the last touch
    assert recent.note(b"anna", b"demo", 7_500) == (True, True)


def test_who_touched_any_link_is_returning() -> None:
    recent = RecentVisitors(100, 1000)
    assert not recent.has_seen(b"anna")
    recent.note(b"anna", b"demo", 5_000)
    assert recent.has_seen(b"anna") and not recent.has_seen(b"bert")


def test_the_memory_is_bounded_and_forgets_the_oldest_half() -> None:
    recent = RecentVisitors(1000, 10**9)
    for number in range(10_000):
        recent.note(b"%d" % number, b"demo", number)
        assert len(recent._young) + len(recent._old) <= 1000
    assert recent.has_seen(b"9999") and recent.has_seen(b"9800") and not recent.has_seen(b"9000")


def test_doors_of_one_folder_share_a_days_key_and_the_day_before_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "visitors.json"
    one, other = FileVisitorKeys(file), FileVisitorKeys(file)
    one.refresh(NOON_MS)
    other.refresh(NOON_MS)
    today, tomorrow = one.of(NOON_MS), one.of(NOON_MS + DAY_MS)
    assert today == other.of(NOON_MS) != tomorrow == other.of(NOON_MS + DAY_MS)
    assert file.stat().st_mode & 0o777 == 0o600
    one.refresh(NOON_MS + DAY_MS)
    assert today.hex() not in file.read_text()
    assert sorted(json.loads(file.read_text())["keys"]) == ["20001", "20002"]
    assert one.of(NOON_MS + DAY_MS) == tomorrow != one.of(NOON_MS)
    other.refresh(NOON_MS + DAY_MS)
    assert other.of(NOON_MS + DAY_MS) == tomorrow


def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "visitors.json"
    file.write_text('{"version": 1, "keys": {"20000": "beef"}}')
    keys = FileVisitorKeys(file)
    keys.refresh(NOON_MS)
    again = FileVisitorKeys(file)
    again.refresh(NOON_MS)
    assert keys.of(NOON_MS) == again.of(NOON_MS) and len(keys.of(NOON_MS)) == 32


def test_a_door_that_cannot_share_a_key_has_one_of_its_own_for_the_day(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file where the folder should be")
    keys = FileVisitorKeys(tmp_path / "keys" / "visitors.json")
    keys.refresh(NOON_MS)
    assert keys.of(NOON_MS) == keys.of(NOON_MS + 1) != keys.of(NOON_MS + DAY_MS)


def _key_of(file: str, results: "multiprocessing.Queue[bytes]") -> None:
    keys = FileVisitorKeys(Path(file))
    keys.refresh(NOON_MS)
    results.put(keys.of(NOON_MS))


def test_processes_that_start_at_once_agree_on_the_key(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[bytes] = context.Queue()
    processes = [
        context.Process(target=_key_of, args=(str(tmp_path / "keys" / "visitors.json"), results)) for _ in range(6)
    ]
    for process in processes:
        process.start()
    found = {results.get(timeout=20) for _ in processes}
    for process in processes:
        process.join(20)
    assert len(found) == 1
