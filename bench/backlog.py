"""A dead partner's backlog: memory, the other lanes, and a restart with it: `python bench/backlog.py --count 2000000`.

What it starts: a courier on core 0 and an nginx that answers 200 on core 1. First 49 healthy lanes alone; then a
partner where nothing listens gets all the backlog (one in 20 postbacks is a healthy one's), until all of it stands in
the lanes' store; then the healthy lanes alone again, beside the backlog; then a new process opens the same folder and
delivers: its time counts from before the stores are opened. Memory is what the process has of its own (RssAnon); of
that, each SQLite connection may take 64 MiB for its pages, and has taken them after some 300,000 postbacks.
Asserts that the healthy had all of theirs, and that the lanes hold every one of the dead partner's.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from delivery import (
    OURS,
    Cost,
    address_of,
    catalog,
    check,
    deliver,
    fill_outbox,
    free_port,
    open_courier,
    partner_numbers,
    sink,
)
from waypost.courier.courier import Courier
from waypost.engines.sqlite.catalog import SqliteCatalogStore
from waypost.runtime.process import collect_rarely
from waypost.settings import load_settings

HEALTHY = 49
_PARTS = 5  # in which the backlog comes
_ONE_IN = 20  # of what comes while the backlog grows, for the healthy
_DELIVERY = "{retry: [1d, 1d, 1d], jitter: 0%}"


def own_mib() -> float:
    """Memory of this process' own."""
    found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


class Yard:
    """The folder, its outbox and its courier."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._settings = load_settings(None, {})
        partners = [(f"http://{address_of(lane)}:{port}", "{}") for lane in range(1, HEALTHY + 1)]
        partners.append((f"http://{address_of(HEALTHY + 1)}:{free_port()}", _DELIVERY))
        catalogs = catalog(folder, self._settings, partners)
        view = catalogs.open(catalogs.current())
        self._version = view.version
        *self._healthy, self.dead = partner_numbers(view, range(1, HEALTHY + 2))
        self._filled = 0
        self.courier = open_courier(folder, self._settings, catalogs)

    def fill(self, count: int, *, with_dead: bool) -> int:
        """So many more into the outbox; answers how many of them are the dead partner's."""
        lanes = self._healthy
        if with_dead:
            lanes = [number for nth in range(HEALTHY) for number in [self._healthy[nth], *[self.dead] * (_ONE_IN - 1)]]
        fill_outbox(self._folder, self._settings, self._version, lanes, count, first=self._filled)
        found = sum(1 for nth in range(self._filled, self._filled + count) if lanes[nth % len(lanes)] == self.dead)
        self._filled += count
        return found

    def run(self, count: int) -> Cost:
        """The healthy lanes alone."""
        self.fill(count, with_dead=False)
        return deliver(self.courier, count)

    def take(self, healthy: int) -> None:
        """Until all stands in the lanes and the healthy have theirs."""
        values, courier = self.courier._stats.values, self.courier
        wanted = values["courier_delivered"] + healthy
        end = time.monotonic() + 600
        while courier._reader.position < self._filled or values["courier_delivered"] < wanted:
            courier.step()
            if time.monotonic() > end:
                raise SystemExit(
                    f"{values['courier_delivered']} of {wanted} delivered, {courier._reader.position} taken"
                )


def reopened(folder: Path, count: int, began: float) -> None:
    """In a new process: opens the folder, delivers what is new; prints what it took."""
    opened = time.monotonic()
    settings = load_settings(None, {})
    courier = open_courier(folder, settings, SqliteCatalogStore(folder / "catalog", cache_items_max=1000))
    first: list[float] = []

    def look() -> None:
        if not first and courier._stats.values["courier_delivered"]:
            first.append(time.monotonic())

    cost = deliver(courier, count, each_cycle=look)
    courier.drain()
    print(json.dumps({"process_s": opened - began, "first_s": first[0] - opened, "rate": cost.rate, "mib": own_mib()}))
    courier.close()


def restart(folder: Path, count: int) -> dict[str, float]:
    words = [sys.executable, __file__, "--reopen", str(folder), "--healthy", str(count)]
    done = subprocess.run([*words, "--began", str(time.monotonic())], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def held(courier: Courier, lane: int) -> int:
    """What the lanes hold of one."""
    depth = next(depth for depth in courier._lanes.depths() if depth.lane == lane)
    return depth.queued + depth.in_flight + depth.dead + depth.held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(), help="where the temporary data folder is made")
    parser.add_argument("--count", type=int, default=200_000, help="postbacks of the backlog, about")
    parser.add_argument("--healthy", type=int, default=40_000, help="postbacks of a round without it")
    parser.add_argument("--json", type=Path, help="write the figures here too (for bench/run.py)")
    parser.add_argument("--reopen", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.sched_setaffinity(0, {OURS})
    collect_rarely()  # as the role's process does
    if options.reopen:
        reopened(options.reopen, options.healthy, options.began)
        return
    port = free_port()
    with tempfile.TemporaryDirectory(dir=options.data, prefix=".bench-") as name:
        folder = Path(name).resolve()
        with sink(folder, port, [address_of(lane) for lane in range(1, HEALTHY + 1)]):
            rows = measured(Yard(folder, port), folder, options)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}))


def measured(yard: Yard, folder: Path, options: argparse.Namespace) -> list[dict[str, object]]:
    """Prints, and answers rows for `run.py`."""
    yard.run(options.healthy // 4)
    alone, mib = yard.run(options.healthy), own_mib()
    print(f"healthy lanes alone            {alone.rate:8,.0f}/s {alone.cpu_us:6.1f} us CPU each, {mib:6.1f} MiB")
    dead = 0
    for _ in range(_PARTS):
        count = options.count // _PARTS
        part = yard.fill(count, with_dead=True)
        began = time.monotonic()
        yard.take(count - part)
        dead, took, held_mib = dead + part, time.monotonic() - began, own_mib()
        print(f"{dead:11,} of a dead partner taken, at {count / took:8,.0f}/s; {held_mib:5.1f} MiB", flush=True)
    beside = yard.run(options.healthy)
    ratio = beside.cpu_us / alone.cpu_us
    print(f"healthy lanes beside it        {beside.rate:8,.0f}/s {beside.cpu_us:6.1f} us CPU each, {ratio:.2f} x")
    yard.courier.drain()
    check(yard.courier)
    if held(yard.courier, yard.dead) != dead:
        raise SystemExit(f"{dead} were the dead partner's, the lanes hold {held(yard.courier, yard.dead)}")
    yard.courier.close()
    yard.fill(options.healthy, with_dead=False)
    again = restart(folder, options.healthy)
    print(f"restart with it: the first one delivered after {again['first_s']:.2f} s, {again['mib']:.1f} MiB")
    return [
        {"what": f"backlog: memory with {dead:,} postbacks", "figure": held_mib, "unit": "MiB"},
        {"what": "backlog: a healthy lane's postback beside it", "figure": ratio, "unit": "x", "cpu_us": beside.cpu_us},
        {"what": f"backlog: restart with {dead:,}, to the first delivered", "figure": again["first_s"], "unit": "s"},
    ]


if __name__ == "__main__":
    main()
