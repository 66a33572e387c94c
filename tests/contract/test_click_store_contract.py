"""What every click store promises (`ports/click_store.py`)."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.crash import run_and_kill
from waypost.engines.sqlite.click_store import DAY_MS, SqliteClickStore
from waypost.errors import WaypostError
from waypost.model.ids import ClickKey
from waypost.ports.click_store import ClickRange, ClickStore

DAY = 20_000
START = DAY * DAY_MS


class SqliteClicks:
    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self) -> ClickStore:
        return SqliteClickStore(self.root)


ENGINES: dict[str, Callable[[Path], Any]] = {"sqlite": SqliteClicks}


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return ENGINES[request.param](tmp_path)


def taken(start: int, *keys: ClickKey, source: str = "door-0") -> ClickRange:
    return ClickRange(source, start, start + max(1, len(keys)), [(key, repr(key).encode()) for key in keys])


def test_what_was_applied_is_found_by_key(engine: Any) -> None:
    store = engine.open()
    keys = [ClickKey(START, 0, 0), ClickKey(START, 4095, 16383), ClickKey(START + DAY_MS - 1, 7, 1)]
    store.apply([taken(0, *keys)])
    absent = ClickKey(START + 1, 0, 0)
    found = store.get_many([*keys, absent, ClickKey(0, 0, 0)])
    assert found == {key: repr(key).encode() for key in keys}
    assert list(store.keys()) == sorted(keys)
    assert store.positions() == {"door-0": 3}


def test_a_range_may_be_applied_again(engine: Any) -> None:
    store = engine.open()
    key = ClickKey(START, 1, 1)
    store.apply([taken(0, key)])
    store.apply([ClickRange("door-0", 0, 1, [(key, b"other")])])
    assert store.get_many([key]) == {key: repr(key).encode()}, "what is there already stays as it is"
    assert store.positions() == {"door-0": 1}


def test_a_gap_is_refused_and_changes_nothing(engine: Any) -> None:
    store = engine.open()
    with pytest.raises(WaypostError) as caught:
        store.apply([taken(5, ClickKey(START, 0, 0))])
    assert caught.value.code == "store_out_of_order"
    assert store.positions() == {} and list(store.keys()) == []


def test_sources_are_counted_apart(engine: Any) -> None:
    store = engine.open()
    store.apply([taken(0, ClickKey(START, 0, 0)), taken(0, ClickKey(START, 1, 0), source="door-1")])
    store.apply([ClickRange("courier-0", 0, 9, [])])
    assert store.positions() == {"door-0": 1, "door-1": 1, "courier-0": 9}


def test_retention_drops_whole_days_and_remembers_it(engine: Any) -> None:
    store = engine.open()
    keys = [ClickKey(START + nth * DAY_MS, 0, 0) for nth in range(3)]
    store.apply([taken(0, *keys)])
    assert list(store.days()) == [DAY, DAY + 1, DAY + 2]
    assert store.drop_before(DAY + 2) == [DAY, DAY + 1]
    assert list(store.keys()) == [keys[2]]
    assert store.get_many(keys) == {keys[2]: repr(keys[2]).encode()}
    store.close()
    assert engine.open().dropped_before() == DAY + 2


def test_keys_of_a_range_of_time(engine: Any) -> None:
    store = engine.open()
    keys = [ClickKey(START + nth * DAY_MS // 2, 0, nth) for nth in range(6)]
    store.apply([taken(0, *keys)])
    assert list(store.keys(keys[1].ms, keys[4].ms)) == keys[1:4]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.tuples(st.integers(0, (1 << 42) - 1), st.integers(0, 4095), st.integers(0, 16383)), max_size=8))
def test_any_key_keeps_its_bits(tmp_path_factory: pytest.TempPathFactory, parts: set[tuple[int, int, int]]) -> None:
    store = SqliteClickStore(tmp_path_factory.mktemp("clicks"))
    keys = [ClickKey(*part) for part in sorted(parts)]
    store.apply([taken(0, *keys)])
    assert list(store.keys()) == keys
    assert set(store.get_many(keys)) == set(keys)
    store.close()


def test_after_a_kill_between_clicks_and_positions_the_range_is_taken_again(tmp_path: Path) -> None:
    keys = [ClickKey(START, 0, 0), ClickKey(START + DAY_MS, 0, 0)]

    def work(die: Callable[[], None]) -> None:
        store = SqliteClickStore(tmp_path)
        store._day_for_writing(DAY + 1)
        original = store._positions

        class Dying:
            def execute(self, statement: str, *arguments: Any) -> Any:
                if statement.startswith("BEGIN"):
                    die()
                return original.execute(statement, *arguments)

        store._positions = Dying()  # type: ignore[assignment]
        store.apply([taken(0, *keys)])

    run_and_kill(work)
    store = SqliteClickStore(tmp_path)
    assert store.positions() == {}
    store.apply([taken(0, *keys)])
    assert list(store.keys()) == keys and store.positions() == {"door-0": 2}
    assert store.problems() == []


@pytest.mark.parametrize("table", ["positions", "state"])
def test_the_loss_of_a_row_is_a_problem(tmp_path: Path, table: str) -> None:
    store = SqliteClickStore(tmp_path)
    store.apply([taken(0, ClickKey(START, 0, 0))])
    connection = sqlite3.connect(tmp_path / "positions.db")
    connection.execute(f"DELETE FROM {table}")
    connection.commit()
    connection.close()
    assert store.problems()
    assert SqliteClickStore(tmp_path).problems(), "opening does not heal what was lost"
