"""The order in which journals are read: what was answered first is judged first, whatever doors took it."""

from collections.abc import Callable, Sequence

from support.clock import FakeClock
from support.feeds import MemoryFeed
from waypost.model.frames import Auth, PostbackIn
from waypost.ports.feed import Block
from waypost.runtime.journal_reader import JournalReader


class _Feed(MemoryFeed):
    """Something may happen just after it was read."""

    then: Callable[[], None] = staticmethod(lambda: None)

    def read(self, position: int, frames_max: int) -> list[Block]:
        found = super().read(position, frames_max)
        then, self.then = self.then, lambda: None
        then()
        return found


class _Feeds:
    def __init__(self, *feeds: MemoryFeed) -> None:
        self._feeds = {feed.name: feed for feed in feeds}

    def sources(self) -> list[str]:
        return list(self._feeds)

    def open(self, source: str) -> MemoryFeed:
        return self._feeds[source]


def call(receipt: int, at_ms: int) -> PostbackIn:
    return PostbackIn(receipt, at_ms, 0, 0, 1, Auth.TOKEN, 1, "GET", b"goal=install")


def read_all(reader: JournalReader, clock: FakeClock, feeds: Sequence[MemoryFeed], rounds: int) -> list[list[int]]:
    applied: dict[str, int] = {}
    batches = []
    for _ in range(rounds):
        taken = reader.take(applied, clock.now_ms(), 1000)
        applied |= {one.source: one.end for one in taken.ranges}
        batches.append([frame.receipt for _, frame in taken.calls])
    return batches


def test_calls_one_after_the_other_within_a_millisecond_are_judged_in_that_order() -> None:
    clock = FakeClock()
    one, two = _Feed("door-0"), _Feed("door-1")
    now_ms = clock.now_ms()

    def both() -> None:  # door-0 was read; now it takes a call, and the next one comes to door-1 at once
        one.put([call(1, now_ms)], watermark_ms=now_ms)
        two.put([call(2, now_ms)], watermark_ms=now_ms)

    one.then = both
    reader = JournalReader(_Feeds(one, two), clock)
    assert read_all(reader, clock, (one, two), 2) == [[1, 2], []]


def test_the_second_reading_that_follows_at_once_does_not_split_a_millisecond_either() -> None:
    clock = FakeClock()
    one, two = _Feed("door-0"), _Feed("door-1")
    now_ms = clock.now_ms()
    two.put([call(1, now_ms)], watermark_ms=now_ms)
    reader = JournalReader(_Feeds(one, two), clock)
    later_ms = now_ms + 1

    def second_reading() -> None:  # a millisecond has passed: what comes now is newer than all that was seen
        one.put([call(2, later_ms)], watermark_ms=later_ms)
        two.put([call(3, later_ms)], watermark_ms=later_ms)

    one.then = lambda: setattr(one, "then", second_reading)
    assert read_all(reader, clock, (one, two), 3) == [[1], [2, 3], []]


def test_a_clock_that_was_set_back_does_not_hold_up_what_is_written() -> None:
    clock = FakeClock()
    door = _Feed("door-0")
    door.put([call(1, clock.now_ms())], watermark_ms=clock.now_ms())
    clock.set_back(3_600_000)
    assert read_all(JournalReader(_Feeds(door), clock), clock, (door,), 1) == [[1]]
