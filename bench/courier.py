"""Courier against a bare libcurl loop, on the same sink, in one run. Run it as `python bench/courier.py`.

Owns: a temporary data folder and an nginx that answers 200 on loopback. Prints; asserts nothing. The sink has core 1,
courier and bare loop have core 0. The courier does all of its work: outbox and catalog read from SQLite, templates
rendered, intents durable before each send, outcomes durable in journal and lanes. The bare loop makes the same
requests with the headers written out beforehand, and keeps nothing.
"""

import argparse
import cProfile
import json
import os
import pstats
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import pycurl

from waypost.catalog.view import CatalogView
from waypost.courier.courier import Courier
from waypost.courier.curl import CurlSender
from waypost.courier.guard import AddressGuard
from waypost.engines.local.clock import SystemClock
from waypost.engines.local.positions import FilePositions
from waypost.engines.sqlite.catalog import SqliteCatalogStore, apply_catalog
from waypost.engines.sqlite.journal import SqliteFeed, SqliteJournal
from waypost.engines.sqlite.lanes import SqliteLanes
from waypost.model.frames import PostbackOut
from waypost.model.ids import postback_text
from waypost.model.wire import encode_frame
from waypost.runtime.process import collect_rarely
from waypost.settings import Settings, load_settings
from waypost.telemetry.stats import Stats

OURS, SINKS = 0, 1  # cores
BLOCK = 1000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def address_of(lane: int) -> str:
    """Each lane dials an address of its own, as partners have."""
    return f"127.0.0.{lane + 10}"


@contextmanager
def sink(folder: Path, port: int, lanes: int) -> Iterator[None]:
    """An nginx on its own core that answers every request 200."""
    listens = "".join(f"listen {address_of(lane)}:{port} backlog=4096;\n" for lane in range(1, lanes + 1))
    config = folder / "nginx.conf"
    config.write_text(
        "daemon off; worker_processes 1; worker_rlimit_nofile 16384;\n"
        f"pid {folder}/nginx.pid; error_log {folder}/nginx.log crit;\n"
        "events { worker_connections 8192; }\n"
        "http { access_log off; keepalive_requests 1000000000; keepalive_timeout 300s;\n"
        f"server {{ {listens} location / {{ return 200; }} }} }}\n"
    )
    process = subprocess.Popen(["taskset", "-c", str(SINKS), "nginx", "-c", str(config), "-p", str(folder)])
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex((address_of(1), port)) == 0:
                    break
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait()


def fsync_ms(folder: Path) -> float:
    """Median time of a 4 KiB append made durable in this folder."""
    times = []
    with (folder / "probe").open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - start) * 1000)
    return median(times)


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


def catalog(folder: Path, settings: Settings, port: int, lanes: int) -> SqliteCatalogStore:
    lines = ["waypost: 1", "advertisers:", "  acme: {token: s3cret}", "offers:", "  vpn:", "    advertiser: acme"]
    lines += [
        "    url: http://127.0.0.1/land?cid={click_id}",
        "    goals:",
        "      install: {payout: 1.20 USD}",
        "partners:",
    ]
    for lane in range(1, lanes + 1):
        url = f"http://{address_of(lane)}:{port}/pb?cid={{sub1}}&money={{payout}}&type={{status|map(approved=lead)}}"
        lines += [f"  partner-{lane}:", "    postbacks:", "      - on: {goal: install, status: approved}"]
        lines += [f"        get: {url}"]
    file = folder / "catalog.yaml"
    file.write_text("\n".join(lines) + "\n")
    apply_catalog(file, folder / "catalog", settings.catalog)
    return SqliteCatalogStore(folder / "catalog", cache_items_max=1000)


def fill_outbox(folder: Path, settings: Settings, view: CatalogView, lanes: int, count: int) -> None:
    """`count` postbacks, lane after lane, in blocks as the pipeline commits them."""
    clock = SystemClock()
    journal = SqliteJournal(folder, "outbox", settings.journal, clock)
    partner = view.partner_named
    numbers = [found.no for lane in range(1, lanes + 1) if (found := partner(f"partner-{lane}")) is not None]
    now_ms = clock.now_ms()
    for start in range(0, count, BLOCK):
        frames = []
        for nth in range(start, min(start + BLOCK, count)):
            number = numbers[nth % lanes]
            values = {"sub1": f"click-{nth}", "payout": "1.20", "status": "approved"}
            frames.append(
                encode_frame(
                    PostbackOut(postback_text(nth, 1), number, number, 0, nth, view.version, 1, now_ms, now_ms, values)
                )
            )
        journal.append(frames, at_ms=now_ms, watermark_ms=now_ms)
    journal.close()


def deliver(folder: Path, settings: Settings, catalogs: SqliteCatalogStore, count: int, profile: bool) -> list[float]:
    """Postbacks a second and CPU microseconds each, delivered and durably logged."""
    clock = SystemClock()
    stats = Stats("courier-0")
    courier = Courier(
        outbox=SqliteFeed(folder, "outbox"),
        lanes=SqliteLanes(folder / "lanes" / "shard-0.db", shard=0, shards=1),
        journal=SqliteJournal(folder, "courier-0", settings.journal, clock),
        own_feed=SqliteFeed(folder, "courier-0"),
        catalogs=catalogs,
        sender=CurlSender(settings.courier, AddressGuard(["127.0.0.0/8"], [])),
        settings=settings.courier,
        clock=clock,
        stats=stats,
        positions=FilePositions(folder / "positions"),
    )
    profiler = cProfile.Profile()
    began, began_cpu = time.perf_counter(), time.process_time()
    steps = 0
    thread_cpu = time.thread_time()
    if profile:
        profiler.enable()
    while stats.values["courier_delivered"] < count:
        courier.step()
        steps += 1
    courier.drain()
    if profile:
        profiler.disable()
    took, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    thread_cpu = time.thread_time() - thread_cpu
    problems = courier._lanes.problems()
    courier.close()
    if problems or stats.values["courier_attempts"] != count:
        raise SystemExit(f"the run is not sound: {problems}, {stats.values['courier_attempts']} attempts")
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(35)
    return [count / took, cpu / count * 1e6, thread_cpu / count * 1e6, steps]


def compare(
    folder: Path, settings: Settings, catalogs: SqliteCatalogStore, port: int, options: argparse.Namespace, number: int
) -> dict[str, object]:
    """Bare loop and courier in turn, with so many requests in flight both; their medians."""
    ours = msgspec.structs.replace(settings.courier, in_flight_max=number)
    settings = msgspec.structs.replace(settings, courier=ours)
    bares, couriers = [], []
    for nth in range(options.rounds):
        bares.append(bare(port, options.lanes, options.count // 2, number))
        here = folder / f"{number}-{nth}"
        here.mkdir()
        (here / "outbox").symlink_to(folder / "outbox")
        couriers.append(deliver(here, settings, catalogs, options.count, options.profile))
    reference, bare_cpu = (statistics.median(one[at] for one in bares) for at in (0, 1))
    rate, cpu, own, steps = (statistics.median(one[at] for one in couriers) for at in range(4))
    print(f"{number:5} in flight, bare libcurl loop   {reference:10.0f}/s {bare_cpu:8.1f} us CPU each")
    print(f"{number:5} in flight, courier             {rate:10.0f}/s {cpu:8.1f} us CPU each")
    print(f"      outside the sender's thread  {own:20.1f} us CPU each; {options.count / steps:.0f} a cycle")
    print(f"      ratio                        {rate / reference:10.2f} (mark 0.40)")
    row: dict[str, object] = {
        "what": f"courier: {options.lanes} lanes, {number} in flight",
        "figure": rate,
        "unit": "/s",
    }
    return row | {"cpu_us": cpu, "reference": reference, "against": "bare libcurl loop, as many in flight"}


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
        with sink(folder, port, options.lanes):
            catalogs = catalog(folder, settings, port, options.lanes)
            fill_outbox(folder, settings, catalogs.open(catalogs.current()), options.lanes, options.count)
            disk_ms = fsync_ms(folder)
            print(f"fsync of 4 KiB in the data folder     {disk_ms:10.2f} ms (median)")
            print(f"lanes {options.lanes}, postbacks {options.count}")
            rows = [compare(folder, settings, catalogs, port, options, number) for number in options.in_flight]
            if options.json:
                options.json.write_text(json.dumps({"fsync_us": disk_ms * 1000, "rows": rows}))


if __name__ == "__main__":
    main()
