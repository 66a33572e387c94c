"""The group commit on a disk that is slow, hangs or fails: batches, bounds, order, and nobody who waits for ever."""

import itertools
import random
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from support.clock import FakeClock
from support.doors import RING, Client, DoorJournal, RunningDoor, door_settings, running_door
from support.parsed import Turns
from waypost.doors.commit import GATHER_MS, GroupCommit
from waypost.doors.door_time import DoorTime
from waypost.errors import WaypostError
from waypost.model.frames import PostbackIn
from waypost.model.ids import FLAG_UNRECORDED, ClickIdCodec
from waypost.telemetry.stats import Stats

CALL = b"GET /postback?token=s3cret&txn_id=%d HTTP/1.1\r\nHost: d\r\n\r\n"
CLICK = b"GET /c/demo?mode=json HTTP/1.1\r\nHost: d\r\n\r\n"
NOTHING = b"GET /nothing HTTP/1.1\r\nHost: d\r\n\r\n"


def wait(done: Callable[[], Any]) -> None:
    """Until it holds; what is waited for happens in the door's threads."""
    for _ in range(20_000):
        if done():
            return
        threading.Event().wait(0.001)
    raise AssertionError("it never came")


def pending(door: RunningDoor) -> int:
    return int(door.get("/healthz").json["pending"])


def flags(click_id: str) -> int:
    found = ClickIdCodec(RING).decode(click_id)
    assert found is not None
    return found.flags


def sizes(door: RunningDoor) -> list[int]:
    return [len(frames) for frames, _ in door.journal.blocks]


def test_a_batch_is_what_came_while_the_disk_was_busy_and_nobody_waits_for_company(tmp_path: Path) -> None:
    with running_door(tmp_path, settings=door_settings(commit_wait_max_ms=20_000)) as door:
        for nth in range(5):
            assert door.ask(CALL % nth).status == 200
        assert sizes(door) == [1] * 5, "a quick disk: each at once"
        clients = [Client(door.address) for _ in range(41)]
        door.journal.gate.clear()
        clients[0].send(CALL % 5)
        wait(lambda: pending(door) == 1)
        for client in clients[1:]:
            client.send(CALL % 6)
        wait(lambda: pending(door) == 41)
        door.journal.gate.set()
        assert [client.read().status for client in clients] == [200] * 41
        assert sizes(door)[5:] == [1, 40], "a slow one: all that came meanwhile share the next fsync"
        for client in clients:
            client.close()
        door.door.commit.show_gauges()
        values = door.stats.values
        assert (values["door_commits"], values["door_commit_frames"]) == (7, 46)
        assert values["door_commit_us"] >= values["door_commit_max_us"] >= 0


class Loop(Turns):
    """One whose turns the test takes."""

    def call_later(self, delay_s: float, act: Callable[[], None]) -> None:
        pass

    call_soon_threadsafe = Turns.call_soon

    def turn(self) -> None:
        due, self.due = self.due, []
        for act, arguments in due:
            act(*arguments)


class Someone:
    transport = None

    def release(self, response: bytes) -> None:
        pass


def test_a_commit_begins_when_all_that_was_read_is_in_it_or_someone_has_waited_long_enough() -> None:
    clock, journal, loop, unread = FakeClock(), DoorJournal(), Loop(), [b"read"]
    commit = GroupCommit(
        journal, DoorTime(clock, 3, 0), clock, Stats("door-3"), door_settings().door, take_in=lambda: bool(unread)
    )
    commit.start(loop)  # type: ignore[arg-type]
    add = partial(commit.add, Someone(), response=b"", fallback=str.encode, is_click=False)
    for frame in (b"1", b"2", b"3"):
        add(frame=frame)
        loop.turn()
    unread.clear()
    loop.turn()
    wait(lambda: loop.due)
    assert [frames for frames, _ in journal.blocks] == [[b"1", b"2", b"3"]]
    loop.turn()
    unread.append(b"always more")
    add(frame=b"4")
    loop.turn()
    clock.advance(GATHER_MS)
    loop.turn()
    wait(lambda: loop.due)
    assert [frames for frames, _ in journal.blocks][1:] == [[b"4"]]
    loop.turn()
    assert commit.is_idle and commit.stop(5)


def test_what_was_held_until_a_commit_ended_is_in_the_next_one() -> None:
    clock, journal, loop = FakeClock(), DoorJournal(), Loop()
    held: list[bytes] = []

    def take_in() -> bool:
        had_any = bool(held)
        for frame in held:
            add(frame=frame)
        held.clear()
        return had_any

    commit = GroupCommit(journal, DoorTime(clock, 3, 0), clock, Stats("door-3"), door_settings().door, take_in=take_in)
    commit.start(loop)  # type: ignore[arg-type]
    add = partial(commit.add, Someone(), response=b"", fallback=str.encode, is_click=False)
    journal.gate.clear()
    assert not commit.is_busy
    add(frame=b"1")
    loop.turn()
    assert commit.is_busy, "what comes now waits for its end"
    held += [b"2", b"3"]
    journal.gate.set()
    wait(lambda: loop.due)
    loop.turn()
    assert [frames for frames, _ in journal.blocks] == [[b"1"]], "what the loop reads next is waited for too"
    held.append(b"4")
    clock.advance(GATHER_MS)
    loop.turn()
    wait(lambda: loop.due)
    assert [frames for frames, _ in journal.blocks] == [[b"1"], [b"2", b"3", b"4"]]
    held.append(b"5")
    loop.turn()
    loop.turn()
    wait(lambda: loop.due)
    loop.turn()
    assert [frames for frames, _ in journal.blocks][2:] == [[b"5"]], "held while nothing else waited"
    assert commit.is_idle and commit.stop(5)


def test_what_a_batch_held_is_freed_when_it_is_answered_and_not_when_the_next_one_comes() -> None:
    class Held:
        def __call__(self, code: str) -> bytes:
            return b""

    clock, loop = FakeClock(), Loop()
    commit = GroupCommit(DoorJournal(), DoorTime(clock, 3, 0), clock, Stats("door-3"), door_settings().door)
    commit.start(loop)  # type: ignore[arg-type]
    fallback = Held()
    held = weakref.ref(fallback)
    commit.add(Someone(), b"1", b"", fallback, False)
    del fallback
    loop.turn()
    wait(lambda: loop.due)
    loop.turn()
    wait(lambda: held() is None)  # the thread waits for a job
    assert commit.is_idle and commit.stop(5)


def test_a_disk_that_hangs_keeps_nobody_waiting_beyond_the_bound(tmp_path: Path) -> None:
    with running_door(tmp_path, settings=door_settings(commit_wait_max_ms=60)) as door:
        door.journal.gate.clear()
        caller, visitor, late = (Client(door.address) for _ in range(3))
        caller.send(CALL % 1 + CLICK + NOTHING)  # the disk has this batch …
        wait(lambda: pending(door) >= 2)
        visitor.send(CLICK)  # … and this one waits behind it
        answer = caller.read()
        assert (answer.status, answer.json["error"], answer.headers["retry-after"]) == (503, "journal_stalled", "1")
        assert flags(caller.read().json["click_id"]) == FLAG_UNRECORDED
        assert caller.read().status == 404
        assert flags(visitor.read().json["click_id"]) == FLAG_UNRECORDED

        wait(lambda: door.door.commit.is_full)
        late.send(CALL % 2 + CLICK)  # at once from here on
        assert late.read().json["error"] == "journal_unavailable"
        assert flags(late.read().json["click_id"]) == FLAG_UNRECORDED
        health = door.get("/healthz").json
        assert (health["status"], health["journal"], health["pending"]) == ("degraded", "journal_stalled", 0)
        door.door.commit.show_gauges()
        assert door.stats.values["door_stalled_ms"] >= 60

        door.journal.gate.set()
        wait(lambda: not door.door.commit.is_full)
        for client in (caller, visitor, late):  # each has had its answers, and no second one
            client.send(CALL % 3)
            assert client.read().status == 200
            client.close()
        assert door.get("/healthz").json["journal"] == "ok"
        assert door.stats.values["door_given_up"] == 3
        assert door.stats.values["door_clicks_unrecorded"] == 3
        assert (door.stats.values["door_postbacks"], door.stats.values["door_clicks"]) == (3, 3)
        queries = [frame.query for frame in door.journal.frames if isinstance(frame, PostbackIn)]
        assert queries[0] == b"token=s3cret&txn_id=1", "what the disk had may become durable in the end"
        assert b"token=s3cret&txn_id=2" not in queries
        assert len(door.journal.frames) == 2 + 3, "what waited behind it is dropped"


def test_the_end_is_bounded_though_the_disk_hangs(tmp_path: Path) -> None:
    limits = door_settings(commit_wait_max_ms=50)
    limits = msgspec.structs.replace(limits, supervisor=msgspec.structs.replace(limits.supervisor, drain_ms=400))
    with running_door(tmp_path, settings=limits) as door:
        door.journal.gate.clear()
        client = Client(door.address)
        client.send(CALL % 1)
        wait(lambda: pending(door) == 1)
        door.door.stop()
        assert client.read().status == 503
        door.thread.join(10)
        assert not door.thread.is_alive()
        client.close()
        thread = door.door.commit._thread
        with capture_logs() as said:
            door.journal.gate.set()  # the disk answers after all, and nobody is there any more
            thread.join(10)
        assert [entry["event"] for entry in said] == ["journal_answered_late"]


def test_frames_that_wait_are_bounded_in_bytes(tmp_path: Path) -> None:
    with running_door(tmp_path, settings=door_settings(pending_bytes_max=3000)) as door:
        door.journal.gate.clear()
        body = b"x" * 2000
        head = b"POST /postback?token=s3cret HTTP/1.1\r\nHost: d\r\nContent-Length: %d\r\n\r\n" % len(body)
        held = [Client(door.address) for _ in range(2)]
        for nth, client in enumerate(held, 1):
            client.send(head + body)
            wait(lambda nth=nth: pending(door) == nth)
        assert door.ask(CALL % 1).json["error"] == "journal_unavailable"
        assert flags(door.ask(CLICK).json["click_id"]) == FLAG_UNRECORDED
        door.journal.gate.set()
        assert [client.read().status for client in held] == [200, 200]
        assert door.ask(CALL % 1).status == 200
        assert door.door.commit.pending_bytes == 0
        for client in held:
            client.close()


def test_a_batch_closes_at_its_bound_in_bytes(tmp_path: Path) -> None:
    with running_door(tmp_path, settings=door_settings(commit_bytes_max=5000)) as door:
        body = b"x" * 2000
        head = b"POST /postback?token=s3cret HTTP/1.1\r\nHost: d\r\nContent-Length: %d\r\n\r\n" % len(body)
        client = Client(door.address)
        client.send((head + body) * 30)
        assert [client.read().status for _ in range(30)] == [200] * 30
        client.close()
        assert sum(sizes(door)) == 30
        assert max(sizes(door)) <= 3


class MoodyJournal(DoorJournal):
    """Takes a batch, refuses it, hangs until its callers were given up, or hangs and then refuses."""

    def __init__(self, moods: Sequence[str]) -> None:
        super().__init__()
        self._moods = itertools.cycle(moods)
        self.given_up: Callable[[], float] = lambda: 0.0

    def append(self, frames: Sequence[bytes], *, at_ms: int, watermark_ms: int) -> int:
        mood = next(self._moods)
        if "hangs" in mood:
            before = self.given_up()
            wait(lambda: self.given_up() > before)
        if "fails" in mood:
            raise WaypostError("journal_unavailable", "the test says so")
        return super().append(frames, at_ms=at_ms, watermark_ms=watermark_ms)


@pytest.mark.parametrize("seed", range(4))
def test_every_request_gets_one_answer_in_its_turn_whatever_the_disk_does(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    journal = MoodyJournal(dice.choices(["works", "fails", "hangs", "hangs, fails"], [6, 2, 1, 1], k=20))
    limits = door_settings(commit_wait_max_ms=25, commit_frames_max=5)
    with running_door(tmp_path, journal=journal, settings=limits) as door:
        journal.given_up = lambda: door.stats.values["door_given_up"]
        right = {CALL: {200, 503}, CLICK: {200}, NOTHING: {404}}
        clients = [(Client(door.address), dice.choices(list(right), [5, 3, 2], k=120)) for _ in range(6)]
        for start in range(0, 120, 10):
            for client, asked in clients:
                client.send(b"".join(kind % start if kind is CALL else kind for kind in asked[start : start + 10]))
            for client, asked in clients:
                for kind in asked[start : start + 10]:
                    answer = client.read()
                    assert answer.status in right[kind]
                    assert (kind is CLICK) == (b"click_id" in answer.body)
        accepted = door.stats.values["door_postbacks"]
        for client, _ in clients:
            client.send(NOTHING)
            assert client.read().status == 404, "no answer came twice"
            client.close()
        assert sum(isinstance(frame, PostbackIn) for frame in journal.frames) >= accepted
        assert door.door.commit.pending == door.door.commit.pending_bytes == 0


def test_an_answer_that_cannot_be_written_keeps_no_other_waiting(tmp_path: Path) -> None:
    class Broken:
        transport = None

        def release(self, response: bytes) -> None:
            raise OSError("gone")

    with running_door(tmp_path) as door:
        assert door.ask(NOTHING).status == 404  # it serves
        door.journal.gate.clear()
        commit = door.door.commit
        assert door.door._loop is not None
        door.door._loop.call_soon_threadsafe(commit.add_behind, Broken(), b"")
        client = Client(door.address)
        client.send(CALL % 1)
        door.journal.gate.set()
        assert client.read().status == 200
        client.close()
        assert door.stats.values["errors"] == 1
