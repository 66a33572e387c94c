"""The inbox: what was read is handled at the turn's end, or when the commit that is under way has ended."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

from support.parsed import Recorder, Turns
from waypost.doors.inbox import HELD_MAX, HOLD_MAX_MS, PIECE_BYTES_MAX, Head, Inbox


class Loop(Turns):
    """One whose turns and time the test takes."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 1000.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now_ms / 1000

    def call_later(self, delay_s: float, act: Callable[[], None]) -> object:
        self.timers.append((self.now_ms + delay_s * 1000, act))
        return act

    def wait(self, duration_ms: float) -> None:
        """Lets time go by, and what is due then happen."""
        self.now_ms += duration_ms
        due = [act for at_ms, act in self.timers if at_ms <= self.now_ms + 1e-6]
        self.timers = [timer for timer in self.timers if timer[0] > self.now_ms + 1e-6]
        for act in due:
            act()

    def turn(self) -> None:
        due, self.due = self.due, []
        for act, arguments in due:
            act(*arguments)


class Taker:
    """A connection that notes what it takes."""

    def __init__(self, taken: list[bytes]) -> None:
        self.taken = taken

    def take(self, data: bytes, head: Head | None) -> None:
        self.taken.append(data)

    def abort(self) -> None:
        raise AssertionError(self.taken)


class Held:
    """An inbox whose commit is as the test says."""

    def __init__(self) -> None:
        self.is_under_way = False
        self.loop = Loop()
        self.inbox = Inbox(lambda data: None)
        loop: Any = self.loop
        self.inbox.start(loop, holds=lambda: self.is_under_way)
        self.taken: list[bytes] = []

    def put(self, *pieces: bytes) -> None:
        for data in pieces:
            self.inbox.put(Taker(self.taken), data)


def test_without_a_commit_under_way_all_is_handled_at_the_turns_end() -> None:
    held = Held()
    held.put(b"1", b"2")
    assert held.taken == []
    held.loop.turn()
    assert held.taken == [b"1", b"2"] and not held.inbox.empty() and held.loop.timers == []


def test_while_a_commit_is_under_way_what_is_read_waits_for_its_end() -> None:
    held = Held()
    held.is_under_way = True
    held.put(b"1")
    held.loop.turn()
    held.put(b"2")
    held.loop.turn()
    assert held.taken == [] and len(held.loop.timers) == 1
    assert held.inbox.empty()  # the commit has ended
    assert held.taken == [b"1", b"2"]
    held.is_under_way = False
    held.put(b"3")
    held.loop.turn()
    assert held.taken == [b"1", b"2", b"3"]


def test_a_disk_that_hangs_holds_nothing_up_for_long() -> None:
    held = Held()
    held.is_under_way = True
    held.put(b"1", b"2")
    held.loop.wait(HOLD_MAX_MS - 1)
    assert held.taken == []
    held.loop.wait(1)
    assert held.taken == [b"1", b"2"]
    held.put(b"3")
    held.loop.wait(HOLD_MAX_MS - 1)
    assert held.taken == [b"1", b"2"], "each time anew"
    held.loop.wait(1)
    assert held.taken == [b"1", b"2", b"3"] and held.loop.timers == []


def test_one_timer_serves_all_holds_and_none_of_them_is_cut_short_or_goes_on_for_longer() -> None:
    held = Held()
    held.is_under_way = True
    held.put(b"1")
    held.loop.wait(1)
    assert held.inbox.empty() and len(held.loop.timers) == 1
    held.loop.wait(1)
    held.put(b"2")  # held until 3 ms from here, which is 2 ms behind the timer's end
    assert len(held.loop.timers) == 1
    held.loop.wait(1)
    held.loop.wait(1.5)
    assert held.taken == [b"1"] and len(held.loop.timers) == 1
    held.loop.wait(0.5)
    assert held.taken == [b"1", b"2"] and held.loop.timers == []
    held.put(b"3")
    assert held.inbox.empty()
    held.loop.wait(HOLD_MAX_MS)
    assert held.loop.timers == [], "nothing is held any more"


def test_so_many_that_the_loop_has_better_to_do_than_wait_are_handled_meanwhile() -> None:
    held = Held()
    held.is_under_way = True
    pieces = [b"%d" % nth for nth in range(HELD_MAX + 2)]
    held.put(*pieces[: HELD_MAX - 1])
    held.loop.turn()
    assert held.taken == []
    held.put(*pieces[HELD_MAX - 1 :])  # what this turn still reads goes with them
    held.loop.wait(HOLD_MAX_MS)
    assert held.taken == []
    held.loop.turn()
    assert held.taken == pieces


def test_a_large_piece_takes_all_before_it_along_at_once() -> None:
    held = Held()
    held.is_under_way = True
    large = b"x" * (PIECE_BYTES_MAX + 1)
    held.put(b"1", large)
    assert held.taken == [b"1", large]
    held.put(b"2")
    assert held.taken[2:] == []
    assert held.inbox.empty() and held.taken[2:] == [b"2"]
    held.put(b"3" + large)
    assert held.taken[3:] == [b"3" + large], "also where it is the first"


def test_a_connection_that_is_lost_is_freed_at_once() -> None:
    class Trace:
        pass

    owner = Recorder(knows=False)
    connection, _ = owner.connect()
    connection.data_received(b"GET /a HTTP/1.1\r\nHost: d\r\n\r\n")  # by the parser
    owner.turn()
    trace = Trace()
    kept = weakref.ref(trace)
    connection.url = trace  # type: ignore[assignment]
    del trace
    gc.disable()  # it holds itself in two ways, which end with it
    try:
        connection.connection_lost(None)
        connection.data_received(b"nobody reads this")
        del connection
        assert kept() is None
    finally:
        gc.enable()
