"""Courier against a bare libcurl loop, on the same sink, in one run. Run it as `python bench/courier.py`.

Owns: a temporary data folder and an nginx that answers 200 on loopback. Prints; asserts of what it measures only that
every postback was delivered in one attempt. The sink has core 1, courier and bare loop have core 0, in turn; both keep
their connections and have as many requests in flight. The bare loop makes the same requests with the headers written
out beforehand, and keeps nothing; the courier does all of its work (see `delivery.py`).
"""

import argparse
import cProfile
import json
import os
import pstats
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import pycurl

from delivery import (
    OURS,
    Cost,
    address_of,
    catalog,
    check,
    deliver,
    fill_outbox,
    free_port,
    fsync_ms,
    open_courier,
    partner_numbers,
    sink,
)
from waypost.engines.sqlite.catalog import SqliteCatalogStore
from waypost.model.ids import postback_text
from waypost.runtime.process import collect_rarely
from waypost.settings import Settings, load_settings


def bare(port: int, lanes: int, count: int, in_flight: int) -> tuple[float, float]:
    """Requests a second and CPU microseconds a request of a plain multi loop."""
    multi: Any = pycurl.CurlMulti()
    multi.setopt(pycurl.M_MAXCONNECTS, 2000)
    started = done = 0

    def start(easy: Any) -> None:
        nonlocal started
        lane = 1 + started % lanes
        easy.setopt(pycurl.URL, f"http://{address_of(lane)}:{port}/pb?cid=click-{started}&money=1.20&type=lead")
        easy.setopt(pycurl.HTTPHEADER, [f"Waypost-Id: {postback_text(started, 1)}", "Waypost-Attempt: 1"])
        multi.add_handle(easy)
        started += 1

    handles = []
    for _ in range(in_flight):
        easy = pycurl.Curl()
        easy.setopt(pycurl.NOSIGNAL, 1)
        easy.setopt(pycurl.PROXY, "")
        handles.append(easy)
    began, began_cpu = time.perf_counter(), time.process_time()
    for easy in handles:
        start(easy)
    while done < count:
        multi.perform()
        queued = 1
        while queued:
            queued, whole, failed = multi.info_read()
            if failed:
                raise SystemExit(f"the bare loop failed: {failed[0][2]}")
            for easy in whole:
                easy.getinfo(pycurl.RESPONSE_CODE)
                easy.getinfo(pycurl.TOTAL_TIME_T)
                multi.remove_handle(easy)
                done += 1
                if started < count:
                    start(easy)
        if done < count:
            multi.select(0.05)
    took, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    multi.close()
    return count / took, cpu / count * 1e6


def delivered(folder: Path, settings: Settings, catalogs: SqliteCatalogStore, count: int, *, has_profile: bool) -> Cost:
    """All of the outbox, delivered and durably logged."""
    courier = open_courier(folder, settings, catalogs)
    profiler = cProfile.Profile()
    if has_profile:
        profiler.enable()
    cost = deliver(courier, count)
    courier.drain()
    if has_profile:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(35)
    check(courier)
    attempts = courier._stats.values["courier_attempts"]
    courier.close()
    if attempts != count:
        raise SystemExit(f"the run is not sound: {attempts} attempts")
    return cost


def compare(
    folder: Path, settings: Settings, catalogs: SqliteCatalogStore, port: int, options: argparse.Namespace, number: int
) -> list[dict[str, object]]:
    """Bare loop and courier in turn, with so many requests in flight both; their medians."""
    ours = msgspec.structs.replace(settings.courier, in_flight_max=number)
    settings = msgspec.structs.replace(settings, courier=ours)
    bares: list[tuple[float, float]] = []
    couriers: list[Cost] = []
    for nth in range(options.rounds):
        bares.append(bare(port, options.lanes, options.count // 2, number))
        here = folder / f"{number}-{nth}"
        here.mkdir()
        (here / "outbox").symlink_to(folder / "outbox")
        couriers.append(delivered(here, settings, catalogs, options.count, has_profile=options.profile))
    bares.append(bare(port, options.lanes, options.count // 2, number))  # each courier has one before and one behind
    reference, bare_us = (statistics.median(one[at] for one in bares) for at in (0, 1))
    rate, cpu_us, own_us, a_cycle = (statistics.median(one[at] for one in couriers) for at in range(4))
    each = " ".join(
        f"{one.rate / (before[0] + after[0]) * 2:.2f}"
        for one, before, after in zip(couriers, bares, bares[1:], strict=False)
    )
    print(f"{number:5} in flight, bare libcurl loop   {reference:10.0f}/s {bare_us:8.1f} us CPU each")
    print(f"{number:5} in flight, courier             {rate:10.0f}/s {cpu_us:8.1f} us CPU each")
    print(f"      outside the sender's thread  {own_us:20.1f} us CPU each; {a_cycle:.0f} a cycle")
    print(f"      ratio by rate                {rate / reference:10.2f} (mark 0.40; rounds {each})")
    print(f"      ratio by CPU                 {bare_us / cpu_us:10.2f} (mark 0.40)")
    what = f"courier: {options.lanes} lanes, {number} in flight"
    row: dict[str, object] = {"what": what, "figure": rate, "unit": "/s", "cpu_us": cpu_us}
    row |= {"reference": reference, "against": "bare libcurl loop, as many in flight"}
    by_cpu = {"what": f"{what}, by CPU", "figure": 1e6 / cpu_us, "unit": "/s of CPU", "cpu_us": cpu_us}
    return [row, by_cpu | {"reference": 1e6 / bare_us, "against": "bare libcurl loop"}]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--lanes", type=int, default=50)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[200, 1000], help="of both, one row each")
    parser.add_argument("--rounds", type=int, default=3, help="bare loop and courier in turn; medians are compared")
    parser.add_argument("--data", type=Path, default=Path(), help="where the temporary data folder is made")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures here too (for bench/run.py)")
    options = parser.parse_args()
    settings = load_settings(None, {})
    os.sched_setaffinity(0, {OURS})
    collect_rarely()  # as the role's process does
    port = free_port()
    with tempfile.TemporaryDirectory(dir=options.data, prefix=".bench-") as name:
        folder = Path(name).resolve()
        addresses = [address_of(lane) for lane in range(1, options.lanes + 1)]
        with sink(folder, port, addresses):
            catalogs = catalog(folder, settings, [(f"http://{address}:{port}", "{}") for address in addresses])
            view = catalogs.open(catalogs.current())
            fill_outbox(
                folder, settings, view.version, partner_numbers(view, range(1, options.lanes + 1)), options.count
            )
            disk_ms = fsync_ms(folder)
            print(f"fsync of 4 KiB in the data folder     {disk_ms:10.2f} ms (median)")
            print(f"lanes {options.lanes}, postbacks {options.count}")
            rows = []
            for number in options.in_flight:
                rows += compare(folder, settings, catalogs, port, options, number)
            if options.json:
                options.json.write_text(json.dumps({"fsync_us": disk_ms * 1000, "rows": rows}))


if __name__ == "__main__":
    main()
