"""The door's parts by themselves: its time, who calls, the choice of a target, keys and locks."""

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.catalogs import MemoryView
from support.clock import FakeClock
from waypost.catalog.model import Advertiser
from waypost.doors.door_time import DoorTime
from waypost.doors.refusal_search import Wanted, search_refusals
from waypost.doors.refusals import NOTES_MAX, RefusalLog, Refused, redacted
from waypost.engines.local.clock import SystemClock
from waypost.engines.local.keyring import (
    door_lock,
    load_key_ring,
    load_or_create_key_ring,
    load_or_create_operator_key,
    process_lock,
)
from waypost.errors import WaypostError
from waypost.layout import Layout
from waypost.model.facts import Facts
from waypost.model.frames import Auth
from waypost.model.ids import CLICK_SEQUENCE_MAX, RECEIPT_SEQUENCE_MAX, receipt_number, receipt_place
from waypost.stages.call_auth import Arrival, Callers, plain_token
from waypost.stages.redirect import LinkPlan, TargetPlan, choose_target, query_value
from waypost.stages.rotation import Rotation
from waypost.stages.targeting import Visit


def test_a_door_borrows_the_next_millisecond_when_one_is_used_up() -> None:
    clock = FakeClock(1000)
    time = DoorTime(clock, 5, 0)
    clicks = [time.next_click() for _ in range(CLICK_SEQUENCE_MAX + 1)]
    assert clicks[0] == (1000, 0)
    assert clicks[-2:] == [(1000, CLICK_SEQUENCE_MAX - 1), (1001, 0)]
    receipts = [time.next_receipt() for _ in range(RECEIPT_SEQUENCE_MAX + 1)]
    assert receipts[0] == receipt_number(1001, 5, 0)
    assert receipts[-1] == receipt_number(1002, 5, 0)
    assert receipts == sorted(set(receipts))
    assert time.next_click() == (1002, 0)


@given(
    st.lists(st.tuples(st.sampled_from(["click", "receipt", "receipts", "advance"]), st.integers(-50, 50)), max_size=60)
)
def test_a_doors_time_never_steps_back_nor_repeats(acts: list[tuple[str, int]]) -> None:
    clock = FakeClock(10_000)
    time = DoorTime(clock, 1, 10_005)
    clicks, receipts, stamps = [], [], [10_005]
    for act, drift in acts:
        clock.advance(drift)
        if act == "click":
            clicks.append(time.next_click())
            stamps.append(clicks[-1][0])
        elif act == "receipt":
            receipts.append(time.next_receipt())
            stamps.append(receipts[-1] >> 22)
        elif act == "receipts":  # of one turn; a negative drift makes it a long one
            made = list(time.receipts(1 + abs(drift) * 40))
            assert len(made) == 1 + abs(drift) * 40
            receipts += made
            stamps += [made[0] >> 22, made[-1] >> 22]
        else:
            stamps.append(time.advance())
    assert stamps == sorted(stamps)
    assert clicks == sorted(set(clicks)) and receipts == sorted(set(receipts))


@given(st.lists(st.tuples(st.sampled_from([0, 5, 4095]), st.integers(1, 1500)), min_size=2, max_size=60))
def test_calls_one_after_the_other_stand_in_that_order_whatever_doors_took_them(acts: list[tuple[int, int]]) -> None:
    clock = FakeClock(10_000)
    times = {door: DoorTime(clock, door, 0) for door in (0, 5, 4095)}
    receipts = []
    for door, later_us in acts:
        clock.advance(later_us / 1000)
        receipts.append(times[door].next_receipt())
    assert receipts == sorted(receipts, key=receipt_place)


def test_a_door_number_that_ids_cannot_carry_is_refused() -> None:
    with pytest.raises(ValueError, match="4096"):
        DoorTime(FakeClock(), 4096, 0)


@given(st.binary(max_size=60))
def test_the_quick_look_sees_the_first_plain_token(query: bytes) -> None:
    wanted = next((pair[6:] for pair in query.split(b"&") if pair.startswith(b"token=")), b"")
    assert plain_token(query) == wanted


@given(
    st.lists(st.sampled_from([b"mode=json", b"xmode=a", b"mode", b"mode=", b"a=mode=b", b"mode=%6Ason+"]), max_size=4)
)
def test_a_querys_value_is_its_first(pairs: list[bytes]) -> None:
    query = b"&".join(pairs)
    first = next((pair[5:] for pair in pairs if pair.startswith(b"mode=")), None)
    expected = None if first is None else first.decode().replace("%6A", "j").replace("+", " ")
    assert query_value(query, b"mode") == expected


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=20), st.text(max_size=40))
def test_a_call_without_the_token_is_never_taken_for_an_advertisers(
    query: bytes, body: bytes, path_token: bytes, content_type: str
) -> None:
    secret = "only-this-is-the-secret-0123456789-abcdefghijklmnopqrstuvwxyz-0123456789-abcdefghijklmnop"
    callers = Callers(MemoryView(1, [Advertiser(9, "acme", 4, secret)], [], [], []), 10)
    arrival = Arrival(b"POST", b"/postback", query, {}, body, content_type, "203.0.113.9", path_token)
    caller = callers.judge(arrival, 0)
    assert (caller.auth, caller.advertiser) == (Auth.DEFERRED, 0)
    if not caller.code:
        assert body and not path_token


def test_targets_are_chosen_by_weight_and_always_alike() -> None:
    targets = tuple(TargetPlan(route, 0, weight) for route, weight in ((1, 1), (2, 3)))
    plan = LinkPlan(Rotation(targets))
    chosen = [
        choose_target(plan, Visit(1_700_000_000_000 + nth // 7, "", Facts(), b""), nth % 7).target.route
        for nth in range(8000)
    ]
    assert chosen == [
        choose_target(plan, Visit(1_700_000_000_000 + nth // 7, "", Facts(), b""), nth % 7).target.route
        for nth in range(8000)
    ]
    assert 0.22 < chosen.count(1) / 8000 < 0.28


def test_keys_are_made_once_and_kept_private(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    ring, key = load_or_create_key_ring(layout), load_or_create_operator_key(layout)
    assert load_or_create_key_ring(layout).keys == ring.keys
    assert load_or_create_operator_key(layout) == key
    assert len(bytes.fromhex(key)) == 32
    assert stat.S_IMODE(layout.keys.stat().st_mode) == 0o700
    for file in (layout.key_ring, layout.operator_key):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(file.name for file in layout.keys.iterdir()) == ["click-ids.json", "operator.key"]


def test_several_doors_that_start_at_once_get_one_ring(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    start = threading.Barrier(8)
    rings: list[dict[str, bytes]] = []

    def load() -> None:
        start.wait()
        rings.append(load_or_create_key_ring(layout).keys)

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rings) == 8
    assert all(ring == rings[0] for ring in rings)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"version": 2, "keys": {"0": "00112233445566778899aabbccddeeff"}}',
        b'{"version": 1, "keys": {}}',
        b'{"version": 1, "keys": {"0": "0011"}}',
        b'{"version": 1, "keys": {"?": "00112233445566778899aabbccddeeff"}}',
        b'{"version": 1, "keys": {"0": "not hex"}}',
        b'{"version": 1, "keys": {"0": 7}}',
    ],
)
def test_a_damaged_ring_is_never_replaced(tmp_path: Path, content: bytes) -> None:
    layout = Layout(tmp_path)
    layout.keys.mkdir()
    layout.key_ring.write_bytes(content)
    with pytest.raises(WaypostError) as caught:
        load_or_create_key_ring(layout)
    assert caught.value.code == "bad_key_ring"
    assert layout.key_ring.read_bytes() == content


def test_a_lost_ring_is_not_made_anew_where_doors_have_worked(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(WaypostError) as caught:
        load_key_ring(layout)
    assert caught.value.code == "data_missing"
    ring = load_or_create_key_ring(layout)
    (layout.journal("door-0")).mkdir(parents=True)
    (layout.journal("door-0") / "0000000000000000.db").touch()
    assert load_or_create_key_ring(layout).keys == load_key_ring(layout).keys == ring.keys
    layout.key_ring.unlink()
    for load in (load_or_create_key_ring, load_key_ring):
        with pytest.raises(WaypostError) as caught:
            load(layout)
        assert caught.value.code == "bad_key_ring" and "gone" in str(caught.value)
    assert not layout.key_ring.exists()


def test_the_last_key_of_a_ring_makes_new_ids(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.keys.mkdir()
    layout.key_ring.write_text(json.dumps({"version": 1, "keys": {"0": "00" * 16, "b": "11" * 16}}))
    assert load_or_create_key_ring(layout).current == "b"


def test_a_damaged_operators_key_is_an_error(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.keys.mkdir()
    layout.operator_key.write_text("short\n")
    with pytest.raises(WaypostError) as caught:
        load_or_create_operator_key(layout)
    assert caught.value.code == "bad_key_ring"


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WaypostError) as caught:
        load_or_create_key_ring(Layout(tmp_path / "file"))
    assert caught.value.code == "data_unwritable"


@pytest.mark.parametrize(
    ("take", "code"),
    [
        (lambda layout: door_lock(layout, 7), "door_in_use"),
        (lambda layout: process_lock(layout.lock), "data_in_use"),
    ],
)
def test_a_lock_names_its_holder_and_ends_with_it(tmp_path: Path, take: Callable[..., object], code: str) -> None:
    layout = Layout(tmp_path)
    with take(layout):  # type: ignore[attr-defined]
        with pytest.raises(WaypostError) as caught, take(layout):  # type: ignore[attr-defined]
            raise AssertionError
        assert caught.value.code == code
        assert f"pid {os.getpid()}" in caught.value.detail
    with take(layout):  # type: ignore[attr-defined]
        pass


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    holds = (
        "import sys, pathlib, time\nfrom waypost.engines.local.keyring import door_lock\n"
        "from waypost.layout import Layout\n"
        "with door_lock(Layout(pathlib.Path(sys.argv[1])), 1):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", holds, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(WaypostError, match=f"pid {process.pid}"), door_lock(Layout(tmp_path), 1):
            raise AssertionError
        process.kill()
        process.wait()
    with door_lock(Layout(tmp_path), 1):
        pass


def test_the_system_clock_tells_unix_milliseconds() -> None:
    clock = SystemClock()
    begun = clock.monotonic_ms()
    clock.sleep_ms(0)
    clock.sleep_ms(2)
    assert clock.monotonic_ms() - begun >= 2
    assert 1_600_000_000_000 < clock.now_ms() < 1 << 42


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (b"/postback?token=abc&goal=x", "/postback?token=***&goal=x"),
        (b"/postback?%74oken=abc&Key=1", "/postback?%74oken=***&Key=***"),
        (b"/abc/postback?goal=x", "/***/postback?goal=x"),
        (b"/c/hidden?phrase=hid%64en", "/c/***?phrase=***"),
        (b"/c/\xff\x00?keyword=shoes", "/c/��?keyword=shoes"),
        (b"", ""),
    ],
)
def test_secrets_are_struck_out(url: bytes, shown: str) -> None:
    assert redacted(url, lambda text: text == "hidden") == shown


def test_an_attack_is_counted_and_not_kept_one_by_one(tmp_path: Path) -> None:
    clock = FakeClock()
    log = RefusalLog(tmp_path / "door-1.db", 10_000, clock, lambda text: False)
    for _ in range(NOTES_MAX + 500):
        log.note(Refused("10.0.0.1", "unknown_link", b"GET", b"/c/x"))
    log.start()
    log.close()
    kept = search_refusals(tmp_path, Wanted(), 10_000)
    assert len(kept) == NOTES_MAX + 1
    assert sum(entry.count for entry in kept) == NOTES_MAX + 500
    assert {entry.door for entry in kept} == {"door-1"}


def test_a_log_that_is_no_database_is_an_error_to_the_reader(tmp_path: Path) -> None:
    (tmp_path / "door-0.db").write_bytes(b"something else" * 100)
    with pytest.raises(WaypostError) as caught:
        search_refusals(tmp_path, Wanted())
    assert caught.value.code == "store_corrupt"
