"""What the courier's own benches share: an nginx that answers 200, a catalog, a filled outbox, and a courier on them.

Owns: what it makes in the folder that it is given. The courier does all of its work: outbox and catalog read from
SQLite, templates rendered, intents durable before each send, outcomes durable in journal and lanes.
"""

import os
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from waypost.catalog.view import CatalogView
from waypost.courier.courier import Courier
from waypost.courier.curl import CurlSender
from waypost.courier.guard import AddressGuard
from waypost.engines.local.clock import SystemClock
from waypost.engines.local.positions import FilePositions
from waypost.engines.segments.feed import SegmentFeed
from waypost.engines.segments.journal import SegmentJournal
from waypost.engines.sqlite.catalog import SqliteCatalogStore, apply_catalog
from waypost.engines.sqlite.lanes import SqliteLanes
from waypost.model.frames import PostbackOut
from waypost.model.ids import postback_text
from waypost.model.wire import encode_frame
from waypost.settings import Settings
from waypost.telemetry.stats import Stats

OURS, SINKS = 0, 1  # cores
SICK = "/sick"  # below it all requests are answered 500
_BLOCK = 1000
_TEMPLATE = "/pb?cid={sub1}&money={payout}&type={status|map(approved=lead)}"


class Cost(NamedTuple):
    """What a run took: postbacks a second, CPU microseconds each of all threads and of the courier's own, and how many
    postbacks a cycle had."""

    rate: float
    cpu_us: float
    own_us: float
    a_cycle: float


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def address_of(lane: int) -> str:
    """Each lane dials an address of its own, as partners have."""
    return f"127.0.0.{lane + 10}"


@contextmanager
def sink(folder: Path, port: int, addresses: Iterable[str], core: str = str(SINKS)) -> Iterator[None]:
    """An nginx on its own core that answers every request 200, but for those below SICK."""
    found = list(addresses)
    listens = "".join(f"listen {address}:{port} backlog=4096;\n" for address in found)
    config = folder / "nginx.conf"
    config.write_text(
        "daemon off; worker_processes 1; worker_rlimit_nofile 32768;\n"
        f"pid {folder}/nginx.pid; error_log {folder}/nginx.log crit;\n"
        "events { worker_connections 16384; }\n"
        "http { access_log off; keepalive_requests 1000000000; keepalive_timeout 300s;\n"
        f"server {{ {listens} location / {{ return 200; }} location {SICK} {{ return 500; }} }} }}\n"
    )
    process = subprocess.Popen(["taskset", "-c", core, "nginx", "-c", str(config), "-p", str(folder)])
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex((found[0], port)) == 0:
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
    return statistics.median(times)


def catalog(folder: Path, settings: Settings, partners: Sequence[tuple[str, str]]) -> SqliteCatalogStore:
    """Partners 1, 2, …: of each its host (with scheme and port), and how its lane sends."""
    lines = [
        "waypost: 1",
        "advertisers: {acme: {token: s3cret}}",
        "offers:",
        '  vpn: {advertiser: acme, url: "http://127.0.0.1/land?cid={click_id}", goals: {install: {payout: 1.20 USD}}}',
        "partners:",
    ]
    for lane, (host, delivery) in enumerate(partners, 1):
        lines += [f"  partner-{lane}:", f"    delivery: {delivery}", "    postbacks:"]
        lines += ["      - on: {goal: install, status: approved}", f'        get: "{host}{_TEMPLATE}"']
    file = folder / "catalog.yaml"
    file.write_text("\n".join(lines) + "\n")
    apply_catalog(file, folder / "catalog", settings.catalog)
    return SqliteCatalogStore(folder / "catalog", cache_items_max=1000)


def partner_numbers(view: CatalogView, names: Iterable[int]) -> list[int]:
    """The lanes' numbers of partners 1, 2, …"""
    found = [view.partner_named(f"partner-{name}") for name in names]
    return [partner.no for partner in found if partner is not None]


def fill_outbox(
    folder: Path, settings: Settings, version: int, lanes: Sequence[int], count: int, *, due_ms: int = 0, first: int = 0
) -> None:
    """`count` postbacks, lane after lane, in blocks as the pipeline commits them."""
    clock = SystemClock()
    journal = SegmentJournal(folder, "outbox", settings.journal, clock)
    now_ms = clock.now_ms()
    for start in range(first, first + count, _BLOCK):
        frames = []
        for nth in range(start, min(start + _BLOCK, first + count)):
            lane = lanes[nth % len(lanes)]
            values = {"sub1": f"click-{nth}", "payout": "1.20", "status": "approved"}
            id = postback_text(nth, 1)
            post = PostbackOut(id, lane, lane, 0, nth, version, 1, now_ms, now_ms, values, due_ms=due_ms)
            frames.append(encode_frame(post))
        journal.append(frames, at_ms=now_ms, watermark_ms=now_ms)
    journal.close()


def open_courier(folder: Path, settings: Settings, catalogs: SqliteCatalogStore, *, shard: int = 0) -> Courier:
    """A courier of one shard of this folder."""
    clock = SystemClock()
    return Courier(
        outbox=SegmentFeed(folder, "outbox"),
        lanes=SqliteLanes(folder / "lanes" / f"shard-{shard}.db", shard=shard, shards=settings.courier.shards),
        journal=SegmentJournal(folder, f"courier-{shard}", settings.journal, clock),
        own_feed=SegmentFeed(folder, f"courier-{shard}"),
        catalogs=catalogs,
        sender=CurlSender(settings.courier, AddressGuard(["127.0.0.0/8", "::1"], [])),
        settings=settings.courier,
        clock=clock,
        stats=Stats(f"courier-{shard}"),
        positions=FilePositions(folder / "positions"),
        shard=shard,
    )


def deliver(courier: Courier, count: int, *, each_cycle: Callable[[], None] | None = None) -> Cost:
    """Has it deliver so many more, durably logged."""
    values = courier._stats.values
    wanted = values["courier_delivered"] + count
    steps = 0
    began, began_cpu, began_own = time.perf_counter(), time.process_time(), time.thread_time()
    while values["courier_delivered"] < wanted:
        courier.step()
        steps += 1
        if each_cycle is not None:
            each_cycle()
    took, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    own = time.thread_time() - began_own
    return Cost(count / took, cpu / count * 1e6, own / count * 1e6, count / steps)


def check(courier: Courier) -> None:
    """Ends the program where the lanes do not hold what they should."""
    problems = courier._lanes.problems()
    if problems:
        raise SystemExit(f"the run is not sound: {problems}")
