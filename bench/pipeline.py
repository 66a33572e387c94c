"""Pipeline: conversions per second with many clicks stored: `python bench/pipeline.py --data FOLDER_ON_A_REAL_DISK`.

What it does: fills a door's journal with clicks (1M by default) and runs the real pipeline over them, then with calls
that convert clicks chosen at random over the whole store, each with a transaction id; half of them cause a postback.
Everything is the real component: SQLite journal, click store and ledger with an fsync a commit. The reference in the
same run is a bare loop that parses each call's query, looks its click up and inserts one row, in batches of the same
size with an fsync each: what no pipeline on these libraries could do without. Pinned to one core.
"""

import argparse
import json
import os
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import parse_qsl

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.catalogs import MemoryCatalogs, design_view
from support.traffic import RING, START_MS, call, click
from waypost.engines.local.clock import SystemClock
from waypost.engines.local.positions import FilePositions
from waypost.engines.segments.feed import SegmentFeeds
from waypost.engines.segments.journal import SegmentJournal
from waypost.engines.sqlite.click_store import SqliteClickStore
from waypost.engines.sqlite.ledger import SqliteLedger
from waypost.model.ids import ClickIdCodec
from waypost.model.wire import encode_frame
from waypost.runtime.journal_reader import JournalReader
from waypost.runtime.pipeline import Pipeline
from waypost.runtime.process import collect_rarely
from waypost.settings import load_settings
from waypost.telemetry.stats import Stats

CORE = 0
PER_MS = 10  # clicks with one time
BLOCK = 500
PARTS = 5


def fsync_us(folder: Path, rounds: int = 200) -> float:
    """Median time of a 4 KB write with fdatasync in the folder."""
    file = folder / "fsync-probe"
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY)
    taken = []
    for nth in range(rounds):
        os.pwrite(descriptor, b"x" * 4096, nth * 4096)
        began = time.perf_counter()
        os.fdatasync(descriptor)
        taken.append((time.perf_counter() - began) * 1e6)
    os.close(descriptor)
    file.unlink()
    return statistics.median(taken)


def reference(folder: Path, clicks: int, queries: list[str]) -> float:
    """Conversions per second of the bare loop."""
    connection = sqlite3.connect(folder / "reference.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE clicks (key INTEGER PRIMARY KEY, data BLOB)")
    connection.execute("CREATE TABLE conversions (txn_id TEXT PRIMARY KEY, data BLOB)")
    for start in range(0, clicks, 10_000):
        connection.execute("BEGIN")
        rows = [(nth, b"x" * 120) for nth in range(start, min(clicks, start + 10_000))]
        connection.executemany("INSERT INTO clicks VALUES (?, ?)", rows)
        connection.execute("COMMIT")
    began = time.perf_counter()
    for start in range(0, len(queries), BLOCK):
        connection.execute("BEGIN")
        for query in queries[start : start + BLOCK]:
            fields = dict(parse_qsl(query))
            key = int(fields["txn_id"]) % clicks
            connection.execute("SELECT data FROM clicks WHERE key=?", (key,)).fetchone()
            connection.execute("INSERT INTO conversions VALUES (?, ?)", (fields["txn_id"], b"y" * 200))
        connection.execute("COMMIT")
    taken = time.perf_counter() - began
    connection.close()
    return len(queries) / taken


def fill(journal: SegmentJournal, clicks: int, calls: int, rng: random.Random) -> list[str]:
    """Clicks, then calls; answers the calls' queries."""
    codec = ClickIdCodec(RING)
    for start in range(0, clicks, 2000):
        frames = [
            encode_frame(click(START_MS + nth // PER_MS, nth % PER_MS, query=f"sub1=s{nth}&sub2=banner"))
            for nth in range(start, min(clicks, start + 2000))
        ]
        last_ms = START_MS + (start + len(frames)) // PER_MS
        journal.append(frames, at_ms=last_ms, watermark_ms=last_ms)
    began_ms = START_MS + clicks // PER_MS + 60_000
    queries = []
    for nth in range(calls):
        one = rng.randrange(clicks)
        identifier = codec.encode(START_MS + one // PER_MS, 0, one % PER_MS, 1, 0)
        goal = "install" if nth % 2 else "purchase"
        queries.append(f"click_id={identifier}&goal={goal}&sum=12.50&txn_id={nth * 7919 + 1}&token=s3cret")
    for start in range(0, calls, BLOCK):
        frames = [
            encode_frame(call(began_ms + nth // PER_MS, queries[nth], nth % PER_MS))
            for nth in range(start, min(calls, start + BLOCK))
        ]
        journal.append(frames, at_ms=began_ms, watermark_ms=began_ms + start // PER_MS)
    return queries


def measure(pipeline: Pipeline, stats: Stats, judged: float, calls: int) -> list[tuple[float, float]]:
    """Runs until all is judged; for each fifth of the calls, conversions per second and CPU microseconds each."""
    parts: list[tuple[float, float]] = []
    while True:
        began, cpu, before = time.perf_counter(), time.process_time(), stats.values["pipeline_calls"]
        goal = judged + calls * (len(parts) + 1) / PARTS
        while stats.values["pipeline_calls"] < goal and pipeline.step():
            pass
        done = stats.values["pipeline_calls"] - before
        if not done:
            return parts
        taken, cpu = time.perf_counter() - began, time.process_time() - cpu
        parts.append((done / taken, cpu / done * 1e6))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("bench/results"))
    parser.add_argument("--clicks", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--json", type=Path, help="write the figures here too (for bench/run.py)")
    options = parser.parse_args()
    os.sched_setaffinity(0, {CORE})
    options.data.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=options.data))
    settings, clock, stats = load_settings(None, {}), SystemClock(), Stats("pipeline")
    try:
        disk_us = fsync_us(folder)
        print(f"fdatasync of 4 KB in the data folder: {disk_us:.0f} us")
        collect_rarely()  # as the role's process does
        journal = SegmentJournal(folder / "journal", "door-0", settings.journal, clock)
        queries = fill(journal, options.clicks, options.calls, random.Random(1))
        pipeline = Pipeline(
            reading=JournalReader(SegmentFeeds(folder / "journal"), clock),
            positions=FilePositions(folder / "positions"),
            clicks=SqliteClickStore(folder / "clicks"),
            ledger=SqliteLedger(folder / "ledger" / "ledger.db"),
            catalogs=MemoryCatalogs(design_view(limit=10**9)),
            ring=RING,
            settings=settings.pipeline,
            clock=clock,
            stats=stats,
        )
        began = time.perf_counter()
        while stats.values["pipeline_clicks"] < options.clicks:
            pipeline.step()
        clicks_s = options.clicks / (time.perf_counter() - began)
        judged = stats.values["pipeline_calls"]
        parts = measure(pipeline, stats, judged, options.calls)
        rate, cpu = (statistics.median(part[at] for part in parts) for at in (0, 1))
        assert stats.values["pipeline_new"] == options.calls, "every call is a conversion of its own"
        bare = reference(folder, options.clicks, queries)
        print(f"clicks stored:   {clicks_s:10,.0f} /s")
        rates = sorted(part[0] for part in parts)
        print(f"conversions:     {rate:10,.0f} /s   median of {len(rates)} parts, {rates[0]:,.0f} to {rates[-1]:,.0f}")
        print(f"                 with {options.clicks:,} clicks stored")
        print(f"CPU each:        {cpu:10.1f} us")
        print(f"bare reference:  {bare:10,.0f} /s   (parse, look up, insert)")
        print(f"ratio:           {rate / bare:10.2f}")
        row = {
            "what": f"pipeline: conversions, {options.clicks:,} clicks stored",
            "figure": rate,
            "unit": "/s",
        }
        row |= {"reference": bare, "against": "bare parse, look up, insert", "cpu_us": cpu}
        if options.json:
            stored = {"what": "pipeline: clicks stored", "figure": clicks_s, "unit": "/s"}
            options.json.write_text(json.dumps({"fsync_us": disk_us, "rows": [stored, row]}))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
