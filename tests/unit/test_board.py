"""The board: what it says, until when, how it is written and read, and when the pipeline writes it."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from support.catalogs import MemoryView, design_view
from waypost.catalog.model import Cap
from waypost.engines.local.board import FileBoard
from waypost.ports.board import FORM, NEVER_MS, Board, CapRoom
from waypost.runtime.board import EVERY_MS, BoardKeeper, room_of
from waypost.stages.caps import counter_key, offer_of_key, period_end_ms
from waypost.telemetry.stats import Stats

NOW_MS = 1_700_000_000_000  # 2023-11-14T22:13:20Z
LIFETIME_MS = 60_000


def ms(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@pytest.mark.parametrize(
    ("per", "zone", "at", "end"),
    [
        ("hour", "UTC", "2026-03-01T10:59", ms("2026-03-01T11:00")),
        ("day", "UTC", "2026-03-01T10:59", ms("2026-03-02T00:00")),
        ("day", "Europe/Berlin", "2026-03-01T22:59", ms("2026-03-02T00:00", "Europe/Berlin")),
        ("day", "Asia/Kathmandu", "2026-03-01T10:00", ms("2026-03-02T00:00", "Asia/Kathmandu")),  # +05:45
        ("day", "Europe/Berlin", "2026-03-29T00:30", ms("2026-03-30T00:00", "Europe/Berlin")),  # a day of 23 hours
        ("hour", "Europe/Berlin", "2026-10-25T00:10", ms("2026-10-25T01:00")),  # 02 o'clock comes twice
        ("week", "UTC", "2026-12-31T10:00", ms("2027-01-04T00:00")),
        ("month", "America/New_York", "2026-02-03T10:00", ms("2026-03-01T00:00", "America/New_York")),
    ],
)
def test_a_period_ends_where_the_next_ones_name_begins(per: str, zone: str, at: str, end: int) -> None:
    cap = Cap("o1:x", "conversions", 5, per, zone)
    at_ms = int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp() * 1000)
    assert period_end_ms(cap, at_ms) == end
    assert counter_key(cap, end - 1) == counter_key(cap, at_ms) != counter_key(cap, end)


def test_a_total_never_ends() -> None:
    assert period_end_ms(Cap("o1:x", "conversions", 5, "total"), NOW_MS) is None


def test_a_counters_key_names_its_offer() -> None:
    assert [offer_of_key(key) for key in ("o17:conversions:day:UTC@2026-01-01", "p3:x", "order:1", "o:1")] == [
        17,
        0,
        0,
        0,
    ]


def board(*rooms: CapRoom, at_ms: int = NOW_MS) -> Board:
    return Board(FORM, 1, at_ms, at_ms + LIFETIME_MS, rooms)


def test_a_used_up_offer_is_open_again_when_its_period_ends_or_the_board_expires() -> None:
    soon, late = NOW_MS + 5_000, NOW_MS + 10 * LIFETIME_MS
    held = board(CapRoom(1, "o1:a@x", 5, 0, soon), CapRoom(2, "o2:a@x", 5, 0, late), CapRoom(3, "o3:a@x", 5, 1, late))
    assert held.exhausted(NOW_MS) == (frozenset({1, 2}), soon)
    assert held.exhausted(soon - 1) == (frozenset({1, 2}), soon)
    assert held.exhausted(soon) == (frozenset({2}), NOW_MS + LIFETIME_MS)
    assert held.exhausted(NOW_MS + LIFETIME_MS) == (frozenset(), NEVER_MS)


def test_a_reader_sees_each_board_once_and_whole(tmp_path: Path) -> None:
    writer, reader = FileBoard(tmp_path / "board" / "current.json"), FileBoard(tmp_path / "board" / "current.json")
    assert reader.look() is None
    first = board(CapRoom(1, "o1:a@x", 5, 0, NEVER_MS))
    writer.publish(first)
    assert reader.look() == first
    assert reader.look() is None
    writer.publish(board())
    assert reader.look() == board()


def test_a_damaged_or_newer_board_counts_as_none(tmp_path: Path) -> None:
    file = tmp_path / "current.json"
    reader = FileBoard(file)
    file.write_bytes(b'{"form":1,"cata')
    assert reader.look() is None
    FileBoard(file).publish(Board(FORM + 1, 1, NOW_MS, NOW_MS + 1))
    assert reader.look() is None
    FileBoard(file).publish(board())
    assert reader.look() == board()


class Kept:
    """A keeper over a real file, one view and its counters."""

    def __init__(self, tmp_path: Path, view: MemoryView) -> None:
        self.file = tmp_path / "current.json"
        self.reader = FileBoard(self.file)
        self.keeper = BoardKeeper(FileBoard(self.file), LIFETIME_MS, Stats("pipeline"))
        self.view = view
        self.counters: dict[str, int] = {}
        self.now_ms = NOW_MS

    def count(self, key: str, by: int) -> None:
        self.counters[key] = self.counters.get(key, 0) + by
        self.keeper.touch([key])

    def step(self, after_ms: int = EVERY_MS) -> Board | None:
        self.now_ms += after_ms
        self.keeper.step(self.view, self.counters, self.now_ms, float(self.now_ms - NOW_MS))
        return self.reader.look()


def test_a_cap_is_told_when_a_tenth_is_left_and_taken_off_when_room_comes_back(tmp_path: Path) -> None:
    kept = Kept(tmp_path, design_view(limit=20))
    key = counter_key(kept.view.offer(1).caps[0], NOW_MS)
    first = kept.step()
    assert first is not None and first.caps == ()
    kept.count(key, 17)
    assert kept.step() is None  # three are left
    kept.count(key, 1)
    near = kept.step()
    assert near is not None and [(r.offer, r.limit, r.remaining) for r in near.caps] == [(1, 20, 2)]
    kept.count(key, 5)
    full = kept.step()
    assert full is not None and full.exhausted(kept.now_ms)[0] == {1}
    assert full.caps[0].until_ms == ms("2023-11-16T00:00", "Europe/Berlin") - 86_400_000
    kept.count(key, -10)
    back = kept.step()
    assert back is not None and back.caps == ()


def test_doors_are_told_at_most_every_so_often_and_again_before_the_board_expires(tmp_path: Path) -> None:
    kept = Kept(tmp_path, design_view(limit=1))
    key = counter_key(kept.view.offer(1).caps[0], NOW_MS)
    assert kept.step() is not None
    kept.count(key, 1)
    assert kept.step(EVERY_MS - 1) is None
    told = kept.step(1)
    assert told is not None and told.caps
    assert [kept.step(LIFETIME_MS // 8) for _ in range(1)] == [None]
    again = kept.step(LIFETIME_MS // 8)
    assert again is not None and again.caps == told.caps and again.expires_ms > told.expires_ms


def test_a_higher_limit_in_a_new_catalog_opens_the_offer(tmp_path: Path) -> None:
    kept = Kept(tmp_path, design_view(limit=1))
    kept.count(counter_key(kept.view.offer(1).caps[0], NOW_MS), 1)
    told = kept.step()
    assert told is not None and told.exhausted(kept.now_ms)[0] == {1}
    kept.view = design_view(2, limit=1000)
    told = kept.step()
    assert told is not None and (told.catalog, told.caps) == (2, ())


def test_counters_of_other_periods_and_of_offers_that_are_gone_are_no_room() -> None:
    view = design_view(limit=1)
    cap = view.offer(1).caps[0]
    assert room_of(view, counter_key(cap, NOW_MS), 1, NOW_MS) is not None
    assert room_of(view, counter_key(cap, NOW_MS - 86_400_000), 1, NOW_MS) is None
    assert room_of(view, "o99:conversions:day:UTC@2023-11-14", 1, NOW_MS) is None
    assert room_of(view, "o1:conversions:hour:UTC@2023-11-14T22", 1, NOW_MS) is None


def test_a_board_that_cannot_be_written_holds_up_nobody_and_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    stats = Stats("pipeline")
    keeper = BoardKeeper(FileBoard(tmp_path / "taken" / "current.json"), LIFETIME_MS, stats)
    keeper.step(design_view(), {}, NOW_MS, 0.0)
    assert stats.values["errors"] == 1
    (tmp_path / "taken").unlink()
    keeper.step(design_view(), {}, NOW_MS + EVERY_MS, float(EVERY_MS))
    assert FileBoard(tmp_path / "taken" / "current.json").look() is not None
