"""The supervisor on real, tiny processes: restarts, order of the drain, bounds, hand-over of a listening socket."""

import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from support.fake_roles import fake_role
from waypost.engines.local.clock import SystemClock
from waypost.runtime.roles import RoleProcess, RoleSpec, RoleState
from waypost.runtime.sockets import open_listeners, port_of
from waypost.runtime.supervisor import REPLACE_FILE, Supervisor
from waypost.settings import SupervisorSettings, load_settings
from waypost.telemetry.stats import Stats, read_snapshots


@pytest.fixture(autouse=True)
def signals_restored() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


class House:
    """A data folder with a supervisor over fake roles; `run_until` ends it with SIGTERM once `done` holds."""

    def __init__(self, folder: Path, **changes: int) -> None:
        self.run = folder / "run"
        self.logs = folder / "logs"
        self.run.mkdir()
        self.logs.mkdir()
        self.events_file = folder / "events"
        self.events_file.touch()
        fast = {"restart_pause_ms": 10, "restart_pause_max_ms": 80, "status_ms": 20, "drain_ms": 5000}
        self.settings = msgspec.structs.replace(load_settings(environment={}).supervisor, **(fast | changes))
        self.stats = Stats("supervisor", self.run / "supervisor.json")

    def role(self, name: str, stage: int, behaviour: str = "lives", fd: int = 0) -> RoleSpec:
        command = fake_role(name, self.events_file, self.run, behaviour, fd)
        return RoleSpec(name, command, stage, fds=(fd,) if fd else ())

    def events(self) -> list[str]:
        return self.events_file.read_text().splitlines()

    def run_until(self, roles: list[RoleSpec], done: Callable[[], bool], signals: int = 1) -> int:
        supervisor = Supervisor(
            roles,
            run_folder=self.run,
            log_folder=self.logs,
            settings=self.settings,
            clock=SystemClock(),
            stats=self.stats,
        )

        def watch() -> None:
            deadline = time.monotonic() + 20
            try:
                while not done() and time.monotonic() < deadline:
                    threading.Event().wait(0.005)
            finally:
                for _ in range(signals):
                    os.kill(os.getpid(), signal.SIGTERM)
                    threading.Event().wait(0.2 if signals > 1 else 0)

        # A signal that comes before the supervisor listens, or after it has ended, must not end the tests' process.
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGHUP, lambda *_: None)
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            return supervisor.run()
        finally:
            watcher.join()
            signal.signal(signal.SIGTERM, before)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def starts(events: list[str], name: str) -> list[str]:
    return [event for event in events if event.startswith(f"{name} start")]


def test_a_role_that_dies_is_started_again_and_counted(house: House) -> None:
    roles = [house.role("pipeline", 1), house.role("door-0", 0, "dies")]
    assert house.run_until(roles, lambda: len(starts(house.events(), "door-0")) >= 4) == 0
    assert house.stats.values["role_restarts"] >= 3
    assert len(starts(house.events(), "pipeline")) == 1
    assert house.stats.details["roles"]["door-0"]["restarts"] >= 3


def test_a_killed_role_gets_a_successor_with_another_pid(house: House) -> None:
    killed: list[int] = []

    def kill_first() -> bool:
        pids = [int(event.split()[2]) for event in starts(house.events(), "courier-0")]
        if pids and not killed:
            os.kill(pids[0], signal.SIGKILL)
            killed.append(pids[0])
        return len(pids) == 2

    house.run_until([house.role("courier-0", 2)], kill_first)
    first, second = starts(house.events(), "courier-0")
    assert first != second


def test_stages_are_drained_in_order(house: House) -> None:
    names = ["console", "archivist", "courier-0", "pipeline", "door-0", "door-1"]
    stages = [4, 3, 2, 1, 0, 0]
    roles = [house.role(name, stage) for name, stage in zip(names, stages, strict=True)]
    house.run_until(roles, lambda: all(starts(house.events(), name) for name in names))
    ends = [event.split()[0] for event in house.events() if event.endswith(" end")]
    assert sorted(ends[:2]) == ["door-0", "door-1"]
    assert ends[2:] == ["pipeline", "courier-0", "archivist", "console"]
    order = house.events()
    for earlier, later in (("door-0", "pipeline"), ("pipeline", "courier-0"), ("archivist", "console")):
        assert order.index(f"{earlier} end") < order.index(f"{later} term")


def test_a_role_that_does_not_end_is_killed_within_the_bound(tmp_path: Path) -> None:
    house = House(tmp_path, drain_ms=150)
    started = time.monotonic()
    roles = [house.role("pipeline", 1, "stubborn"), house.role("console", 4)]
    assert house.run_until(roles, lambda: len(house.events()) >= 2) == 0
    assert time.monotonic() - started < 5
    assert "console end" in house.events()
    assert house.stats.details["roles"]["pipeline"]["exit_code"] == -signal.SIGKILL


def test_a_second_signal_ends_the_waiting(tmp_path: Path) -> None:
    house = House(tmp_path, drain_ms=60_000)
    started = time.monotonic()
    house.run_until([house.role("pipeline", 1, "stubborn")], lambda: len(house.events()) >= 1, signals=2)
    assert time.monotonic() - started < 10


def test_roles_are_shown_running_once_they_published(house: House) -> None:
    def shown_running() -> bool:
        snapshots = {snapshot["role"]: snapshot for snapshot in read_snapshots(house.run)}
        roles = snapshots.get("supervisor", {}).get("details", {}).get("roles", {})
        return bool(roles) and roles["pipeline"]["state"] == "running"

    house.run_until([house.role("pipeline", 1)], shown_running)
    assert house.stats.details["roles"]["pipeline"]["state"] == "stopped"


def test_a_snapshot_of_an_earlier_run_is_removed(house: House) -> None:
    (house.run / "door-7.json").write_text('{"role": "door-7", "pid": 1, "at_ms": 0, "values": {}, "details": {}}')
    house.run_until([house.role("pipeline", 1)], lambda: bool(starts(house.events(), "pipeline")))
    assert "door-7" not in {snapshot["role"] for snapshot in read_snapshots(house.run)}


def test_no_connection_fails_while_a_door_is_replaced(house: House) -> None:
    (listener,) = open_listeners("127.0.0.1", 0, 1)
    port = port_of(listener)
    answers: list[str] = []

    def drive() -> bool:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"hello")
            pid = connection.recv(64).decode()
        if len(answers) in (20, 60):  # replaced twice in the middle of the traffic
            os.kill(int(pid), signal.SIGTERM)
        answers.append(pid)
        return len(answers) >= 100

    with listener:
        house.run_until([house.role("door-0", 0, "door", listener.fileno())], drive)
    assert len(answers) == 100
    assert all(answers)
    assert len(set(answers)) == 3


def ask_to_replace(house: House, *names: str) -> None:
    if names:
        (house.run / REPLACE_FILE).write_text("\n".join(names))
    os.kill(os.getpid(), signal.SIGHUP)


def drive(port: int) -> str:
    """One user; answers the pid of the door that answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"hello")
        return connection.recv(64).decode()


def test_a_door_is_replaced_by_a_successor_that_was_ready_before(house: House) -> None:
    (listener,) = open_listeners("127.0.0.1", 0, 1)
    answers: list[str] = []

    def use() -> bool:
        answers.append(drive(port_of(listener)))
        if len(answers) == 20:
            ask_to_replace(house)
        return len(set(answers)) == 2 and house.stats.values["role_replacements"] == 1

    with listener:
        house.run_until([house.role("door-0", 0, "door", listener.fileno())], use)
    assert all(answers)
    assert len(starts(house.events(), "door-0")) == 2
    events = [event.split()[1] for event in house.events()]
    assert events[:5] == ["start", "standby", "term", "end", "start"], "nobody is asked to end before that"
    shown = house.stats.details["roles"]["door-0"]
    assert (shown["replaced"], shown["restarts"]) == (1, 0)


def test_roles_are_replaced_one_by_one_doors_first(house: House) -> None:
    names = ["console", "pipeline", "door-0", "door-1", "courier-0"]
    roles = [house.role(name, stage) for name, stage in zip(names, [4, 1, 0, 0, 2], strict=True)]
    asked: list[int] = []

    def replaced() -> bool:
        if not asked and all(starts(house.events(), name) for name in names):
            asked.append(1)
            ask_to_replace(house)
        return house.stats.values["role_replacements"] == len(names)

    house.run_until(roles, replaced)
    after = house.events()[len(names) :]
    order = ["door-0", "door-1", "pipeline", "courier-0", "console"]
    assert [event.split()[0] for event in after if event.endswith("standby")] == order
    for first, second in itertools.pairwise(order):
        assert after.index(f"{first} end") < after.index(f"{second} standby")
    assert house.stats.details["replacing"] == []
    assert not (house.run / REPLACE_FILE).exists()


def test_only_the_roles_that_were_named_are_replaced(house: House) -> None:
    names = ["door-0", "door-1", "pipeline", "console"]
    asked: list[int] = []

    def replaced() -> bool:
        if not asked and all(starts(house.events(), name) for name in names):
            asked.append(1)
            ask_to_replace(house, "door", "console")
        return house.stats.values["role_replacements"] == 3

    house.run_until([house.role(name, 0) for name in names], replaced)
    assert len(starts(house.events(), "pipeline")) == 1
    assert {name: house.stats.details["roles"][name]["replaced"] for name in names} == {
        "door-0": 1, "door-1": 1, "pipeline": 0, "console": 1,
    }  # fmt: skip


def test_a_successor_that_does_not_come_up_leaves_the_old_one_at_work(house: House) -> None:
    (listener,) = open_listeners("127.0.0.1", 0, 1)
    answers: list[str] = []
    roles = [house.role("door-0", 0, "door, no successor", listener.fileno()), house.role("pipeline", 1)]

    def use() -> bool:
        answers.append(drive(port_of(listener)))
        if len(answers) == 5:
            ask_to_replace(house)
        return house.stats.details.get("replacement_failed") == "door-0" and len(answers) > 20

    with listener:
        house.run_until(roles, use)
    assert len(set(answers)) == 1
    assert len(starts(house.events(), "pipeline")) == 1, "what kept the first from coming up might keep the others"
    assert house.stats.values["role_replacements"] == house.stats.values["role_restarts"] == 0


def test_a_role_that_does_not_give_way_is_killed_within_the_bound(tmp_path: Path) -> None:
    house = House(tmp_path, drain_ms=400)
    asked: list[int] = []

    def replaced() -> bool:
        if not asked and starts(house.events(), "pipeline"):
            asked.append(1)
            ask_to_replace(house)
        return house.stats.values["role_replacements"] == 1

    house.run_until([house.role("pipeline", 1, "stubborn")], replaced)
    assert house.stats.values["role_replacements"] == 1
    assert house.stats.values["role_restarts"] == 0


def _role(house: House, settings: SupervisorSettings) -> RoleProcess:
    return RoleProcess(house.role("door-0", 0), settings, house.logs / "door-0.log")


def test_the_pause_doubles_to_its_bound_and_is_reset_after_a_good_life(house: House) -> None:
    settings = msgspec.structs.replace(house.settings, restart_pause_ms=100, restart_pause_max_ms=300)
    role = _role(house, settings)
    role.spec = RoleSpec("door-0", ("/nonexistent/program",), 0)
    now = 1000.0
    pauses = []
    for _ in range(4):
        role.start(now)  # dies at once: there is no such program
        assert role.state is RoleState.PAUSING
        pause = next(step for step in range(1, 1000) if role.due(now + step))
        pauses.append(pause)
        now += pause
    assert pauses == [100, 200, 300, 300]
    assert role.exit_code == 127
    assert "cannot start" in role.last_words()
    role._started_ms = now
    role._ended(1, now + 601)
    assert role.due(now + 601 + 100)


def test_a_log_beyond_its_bound_is_started_anew(house: House) -> None:
    role = _role(house, msgspec.structs.replace(house.settings, log_bytes_max=100))
    with role.log_file.open("ab") as log:
        log.write(b"x" * 90 + b"\n")
        log.flush()
        role.bound_log()
        assert role.log_file.stat().st_size > 0
        log.write(b"y" * 90 + b"\n")
        log.flush()
        role.bound_log()
        assert role.log_file.stat().st_size == 0
        log.write(b"z\n")  # the process goes on with the same open file
        log.flush()
    assert role.log_file.read_bytes() == b"z\n"
    assert role.log_file.with_suffix(".log.1").read_bytes().endswith(b"y\n")
