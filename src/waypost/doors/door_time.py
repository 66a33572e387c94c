"""A door's own time: never steps back, and never gives the same (ms, sequence) twice.

A receipt's sequence is the microsecond within its millisecond, or the next one that is free: so calls that came one
after the other through several doors of a machine stand in that order, though their milliseconds are the same.

Owns: the millisecond that ids and watermarks are made from, and the sequences within it. Reads the clock.
When a millisecond's numbers are used up, or the system's clock was set back, it runs ahead of the clock; so
whatever is stamped after a watermark was taken is not older than the watermark.
"""

from collections.abc import Sequence

from waypost.model.ids import CLICK_SEQUENCE_MAX, DOORS_MAX, RECEIPT_SEQUENCE_MAX
from waypost.ports.clock import Clock


class DoorTime:
    """`ms` is the door's time as of the last number given; door numbers go up to 4095."""

    __slots__ = ("_click", "_door_bits", "_now_ms", "_now_us", "_receipt", "door", "ms")

    def __init__(self, clock: Clock, door: int, start_ms: int) -> None:
        if not 0 <= door < DOORS_MAX:
            raise ValueError(f"door number {door} is not within 0…{DOORS_MAX - 1}")
        self._now_ms, self._now_us = clock.now_ms, clock.now_us
        self.door = door
        self._door_bits = door << 10
        self.ms = max(clock.now_ms(), start_ms)
        self._click = 0
        self._receipt = 0

    def advance(self) -> int:
        """Follows the clock, and answers the door's time."""
        now = self._now_ms()
        if now > self.ms:
            self._step(now)
        return self.ms

    def next_click(self) -> tuple[int, int]:
        """(ms, sequence) of a new click."""
        now = self._now_ms()
        if now > self.ms:
            self._step(now)
        elif self._click >= CLICK_SEQUENCE_MAX:
            self._step(self.ms + 1)
        seq = self._click
        self._click = seq + 1
        return self.ms, seq

    def clicks(self, count: int) -> list[tuple[int, int]]:
        """(ms, sequence) of new clicks that are all there already, by one look at the clock."""
        ms, first = self.next_click()
        if first + count > CLICK_SEQUENCE_MAX:
            return [(ms, first), *(self.next_click() for _ in range(count - 1))]
        self._click = first + count
        return [(ms, seq) for seq in range(first, first + count)]

    def next_receipt(self) -> int:
        """A new receipt's number (model/ids.py `receipt_number`, written out: this is the hottest line of a door)."""
        now_us = self._now_us()
        now = now_us // 1000
        seq = self._receipt
        if now >= self.ms:
            if now > self.ms:
                self._step(now)
                seq = 0
            now_us -= now * 1000
            if now_us > seq:
                seq = now_us
        if seq >= RECEIPT_SEQUENCE_MAX:
            self._step(self.ms + 1)
            seq = 0
        self._receipt = seq + 1
        return self.ms << 22 | self._door_bits | seq

    def receipts(self, count: int) -> Sequence[int]:
        """New receipts for calls that are all there already, by one look at the clock."""
        first = self.next_receipt()
        seq = self._receipt
        if seq + count > RECEIPT_SEQUENCE_MAX:
            return [first, *(self.next_receipt() for _ in range(count - 1))]
        self._receipt = seq + count - 1
        return range(first, first + count)

    def _step(self, ms: int) -> None:
        self.ms = ms
        self._click = 0
        self._receipt = 0
