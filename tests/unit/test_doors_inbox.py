"""The inbox: what was read is handled at the turn's end, or when the commit that is under way has ended."""

from collections.abc import Callable
from typing import Any

from support.parsed import Turns
from waypost.doors.inbox import HELD_MAX, PIECE_BYTES_MAX, Head, Inbox


class Timer:
    def __init__(self, act: Callable[[], None]) -> None:
        self.act, self.is_cancelled = act, False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop(Turns):
    """One whose turns and timers the test takes."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[Timer] = []

    def call_later(self, delay_s: float, act: Callable[[], None]) -> Timer:
        self.timers.append(Timer(act))
        return self.timers[-1]

    def turn(self) -> None:
        due, self.due = self.due, []
        for act, arguments in due:
            act(*arguments)

    def waits(self) -> int:
        return sum(not timer.is_cancelled for timer in self.timers)


class Taker:
    """A connection that notes what it takes."""

    def __init__(self, taken: list[bytes]) -> None:
        self.taken = taken

    def look(self, data: bytes) -> Head | None:
        return None

    def take(self, data: bytes, head: Head | None) -> None:
        self.taken.append(data)

    def abort(self) -> None:
        raise AssertionError(self.taken)


class Held:
    """An inbox whose commit is as the test says."""

    def __init__(self) -> None:
        self.is_under_way = False
        self.loop = Loop()
        self.inbox = Inbox()
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
    assert held.taken == [] and held.loop.waits() == 1
    assert held.inbox.empty()  # the commit has ended
    assert held.taken == [b"1", b"2"] and held.loop.waits() == 0
    held.is_under_way = False
    held.put(b"3")
    held.loop.turn()
    assert held.taken == [b"1", b"2", b"3"]


def test_a_disk_that_hangs_holds_nothing_up_for_long() -> None:
    held = Held()
    held.is_under_way = True
    held.put(b"1", b"2")
    (timer,) = held.loop.timers
    timer.act()
    assert held.taken == [b"1", b"2"]
    held.put(b"3")
    assert held.loop.waits() == 1 and held.taken == [b"1", b"2"], "each time anew"


def test_so_many_that_the_loop_has_better_to_do_than_wait_are_handled_meanwhile() -> None:
    held = Held()
    held.is_under_way = True
    pieces = [b"%d" % nth for nth in range(HELD_MAX + 2)]
    held.put(*pieces[: HELD_MAX - 1])
    held.loop.turn()
    assert held.taken == []
    held.put(*pieces[HELD_MAX - 1 :])  # what this turn still reads goes with them
    assert held.loop.waits() == 0
    held.loop.turn()
    assert held.taken == pieces


def test_a_large_piece_takes_all_before_it_along_at_once() -> None:
    held = Held()
    held.is_under_way = True
    large = b"x" * (PIECE_BYTES_MAX + 1)
    held.put(b"1", large)
    assert held.taken == [b"1", large] and held.loop.waits() == 0
    held.put(b"2")
    assert held.loop.waits() == 1 and held.inbox.empty() and held.taken[2:] == [b"2"]
