"""Two couriers against one, on two cores and a sink that both share: `python bench/couriers.py`.

What it starts: an nginx that answers 200, and couriers as processes of their own, each with its shard of the same lanes
and of the same outbox: one on core 0 (the sink on core 1), then two, one on each core, the sink on both. With two cores
the sink's work is taken from the couriers', so the rate of two cannot be twice that of one; what a postback costs in
CPU is shown beside it. Where that is the same for two as for one, what is missing to 2 is the machine's.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import msgspec

from delivery import address_of, catalog, check, deliver, fill_outbox, free_port, open_courier, partner_numbers, sink
from waypost.engines.sqlite.catalog import SqliteCatalogStore
from waypost.runtime.process import collect_rarely
from waypost.settings import Settings, load_settings

RATIO = 1.7
LANES = 50


def work(
    folder: str,
    settings: Settings,
    shard: int,
    count: int,
    begin: Barrier,
    answers: "multiprocessing.Queue[tuple[float, float, float]]",
) -> None:
    """One courier's process: delivers its shard's part; answers when it began and ended, and CPU each."""
    os.sched_setaffinity(0, {shard})
    collect_rarely()
    here = Path(folder)
    catalogs = SqliteCatalogStore(here.parent / "catalog", cache_items_max=1000)
    courier = open_courier(here, settings, catalogs, shard=shard)
    begin.wait()
    began = time.monotonic()
    cost = deliver(courier, count)
    ended = time.monotonic()
    courier.drain()
    check(courier)
    courier.close()
    answers.put((began, ended, cost.cpu_us))


def run(folder: Path, settings: Settings, shards: int, lanes: list[int], count: int, nth: int) -> tuple[float, float]:
    """Postbacks a second of so many couriers together, and CPU microseconds each."""
    ours = msgspec.structs.replace(settings.courier, shards=shards)
    settings = msgspec.structs.replace(settings, courier=ours)
    here = folder / f"{shards}-{nth}"
    here.mkdir()
    (here / "outbox").symlink_to(folder / "outbox")
    parts = [sum(1 for n in range(count) if lanes[n % len(lanes)] % shards == shard) for shard in range(shards)]
    context = multiprocessing.get_context("spawn")
    begin, answers = context.Barrier(shards), context.Queue()
    processes = [
        context.Process(target=work, args=(str(here), settings, shard, parts[shard], begin, answers))
        for shard in range(shards)
    ]
    for process in processes:
        process.start()
    found = [answers.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    shutil.rmtree(here, ignore_errors=True)
    took = max(end for _, end, _ in found) - min(begun for begun, _, _ in found)
    return count / took, statistics.mean(cpu_us for _, _, cpu_us in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(), help="where the temporary data folder is made")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here too (for bench/run.py)")
    options = parser.parse_args()
    settings = load_settings(None, {})
    port = free_port()
    found: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory(dir=options.data, prefix=".bench-") as name:
        folder = Path(name).resolve()
        addresses = [address_of(lane) for lane in range(1, LANES + 1)]
        catalogs = catalog(folder, settings, [(f"http://{address}:{port}", "{}") for address in addresses])
        view = catalogs.open(catalogs.current())
        lanes = partner_numbers(view, range(1, LANES + 1))
        fill_outbox(folder, settings, view.version, lanes, options.count)
        for nth in range(options.rounds):
            for shards, core in ((1, "1"), (2, "0,1")):
                with sink(folder, port, addresses, core):
                    found[shards].append(run(folder, settings, shards, lanes, options.count, nth))
    (rate_1, cpu_1), (rate_2, cpu_2) = (
        (statistics.median(rate for rate, _ in runs), statistics.median(cpu for _, cpu in runs))
        for runs in found.values()
    )
    print(f"one courier    {rate_1:10,.0f}/s {cpu_1:8.1f} us CPU each")
    print(f"two couriers   {rate_2:10,.0f}/s {cpu_2:8.1f} us CPU each")
    print(f"ratio by rate  {rate_2 / rate_1:10.2f}   by CPU {2 * cpu_1 / cpu_2:.2f}")
    row = {"what": "couriers: two, the sink on their cores", "figure": rate_2, "unit": "/s", "cpu_us": cpu_2}
    rows = [row | {"reference": rate_1, "against": "one courier, the sink on a core of its own"}]
    rows.append({"what": "couriers: two, by CPU of a postback", "figure": 2 * cpu_1 / cpu_2, "unit": "x"})
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
