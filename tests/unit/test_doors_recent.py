"""What a door remembers of visitors, and the keys it tells them apart by."""

import json
import multiprocessing
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from waypost.doors.recent import DUPLICATE, NEW, RETURNING, Mark, RecentVisitors
from waypost.engines.local.visitor_keys import FileVisitorKeys
from waypost.ports.visitor_keys import DAY_MS

NOON_MS = 20_000 * DAY_MS + DAY_MS // 2


def mark(recent: RecentVisitors, user: bytes, link: bytes | None, ms: int) -> Mark:
    (found,) = recent.note_each([user], [link], ms)
    return found


def test_a_second_touch_of_the_same_link_within_the_window_is_a_duplicate() -> None:
    recent = RecentVisitors(100, 1000)
    assert mark(recent, b"anna", b"demo", 5_000) == NEW
    assert mark(recent, b"anna", b"demo", 5_999) == DUPLICATE
    assert mark(recent, b"anna", b"other", 6_000) == RETURNING
    assert mark(recent, b"bert", b"demo", 6_000) == NEW
    assert mark(recent, b"anna", b"demo", 6_999) == RETURNING  # the window runs from the last touch
    assert mark(recent, b"anna", b"demo", 7_500) == DUPLICATE


def test_who_touched_any_link_is_returning_and_who_only_looked_is_not() -> None:
    recent = RecentVisitors(100, 1000)
    assert mark(recent, b"anna", None, 5_000) == mark(recent, b"anna", None, 5_000) == NEW
    assert mark(recent, b"anna", b"demo", 5_000) == NEW
    assert mark(recent, b"anna", None, 5_000) == RETURNING
    assert mark(recent, b"bert", None, 5_000) == NEW


def test_touches_of_one_turn_come_one_after_the_other() -> None:
    recent = RecentVisitors(100, 1000)
    users = [b"anna", b"bert", b"anna", b"anna", b"anna", b"bert"]
    links = [b"demo", None, b"demo", b"other", None, b"demo"]
    assert recent.note_each(users, links, 5_000) == [NEW, NEW, DUPLICATE, RETURNING, RETURNING, NEW]


touches = st.tuples(st.sampled_from([b"a", b"b", b"c", b"d", b"e"]), st.sampled_from([b"x", b"y", b"z", None]))


@given(
    st.lists(st.tuples(st.integers(0, 400), st.lists(touches, max_size=9))), st.integers(1, 12), st.integers(0, 1000)
)
def test_a_turn_is_marked_by_definition_and_as_one_by_one(
    turns: list[tuple[int, list[tuple[bytes, bytes | None]]]], items_max: int, window_ms: int
) -> None:
    recent, one_by_one, ms = RecentVisitors(items_max, window_ms), RecentVisitors(items_max, window_ms), 0
    never_full = RecentVisitors(10_000, window_ms)
    last_ms: dict[tuple[bytes, bytes], int] = {}
    for pause, turn in turns:
        ms += pause
        users, links = [user for user, _ in turn], [link for _, link in turn]
        marks = recent.note_each(users, links, ms)
        assert marks == [mark(one_by_one, user, link, ms) for user, link in turn]
        assert (recent._young, recent._old) == (one_by_one._young, one_by_one._old)
        assert len(recent._young) + len(recent._old) <= max(4, items_max)
        defined: list[Mark] = []
        for user, link in turn:
            found = RETURNING if any(other == user for other, _ in last_ms) else NEW
            if link is not None:
                if (user, link) in last_ms and ms - last_ms[user, link] < window_ms:
                    found = DUPLICATE
                last_ms[user, link] = ms
            defined.append(found)
        assert never_full.note_each(users, links, ms) == defined
        assert all(len(found) <= len(known) for found, known in zip(marks, defined, strict=True))


def test_the_memory_is_bounded_and_forgets_the_oldest_half() -> None:
    recent = RecentVisitors(1000, 10**9)
    for number in range(10_000):
        mark(recent, b"%d" % number, b"demo", number)
        assert len(recent._young) + len(recent._old) <= 1000
    assert [mark(recent, user, None, 10_000) for user in (b"9999", b"9800", b"9000")] == [RETURNING, RETURNING, NEW]


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
