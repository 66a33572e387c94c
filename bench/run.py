"""All benches, one after the other, and one table: `make bench`, or `python bench/run.py [--quick] [--only door …]`.

Owns: the order, the marks, the table and `history.jsonl`. Each bench is a program of its own, which measures Waypost
and its reference in the same run, pins both to cores, and writes its figures to a file. The data folder must be on a
real disk; the default is `bench/results/` in this checkout, which is not committed. Never measures anything itself.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
MEMORY = ("tmpfs", "ramfs", "devtmpfs")
BUSY = 0.5  # load before the run


class Bench(NamedTuple):
    """A program, its options (full, quick and long), and the programs that it needs beside Python."""

    name: str
    full: tuple[str, ...]
    quick: tuple[str, ...]
    needs: tuple[str, ...] = ()
    takes_data: bool = True
    long: tuple[str, ...] = ()  # instead of `full`, where it has any


BENCHES = (
    Bench(
        "door",
        (),
        ("--seconds", "1", "--rounds", "1", "--connections", "64"),
        ("nginx", "wrk", "taskset"),
        long=("--long",),
    ),
    Bench("batches", (), ("--seconds", "1", "--rounds", "1"), ("wrk", "taskset")),
    Bench("clicks", (), ("--seconds", "1", "--rounds", "1", "--warm", "3"), ("nginx", "wrk", "taskset")),
    Bench("courier", (), ("--count", "10000", "--rounds", "1"), ("nginx", "taskset")),
    Bench("chain", (), ("--count", "3000", "--seconds", "1", "--rounds", "1"), ("taskset",), long=("--seconds", "30")),
    Bench("isolation", (), ("--seconds", "1", "--rounds", "1"), ("taskset",), long=("--long",)),
    Bench("tls", (), ("--count", "2000", "--rounds", "1"), ("taskset",), long=("--count", "100000")),
    Bench("couriers", (), ("--count", "10000", "--rounds", "1"), ("nginx", "taskset"), long=("--count", "400000")),
    Bench("lanes", (), ("--lanes", "10", "1000", "--beside", "1000", "--count", "4000"), ("nginx", "taskset")),
    Bench("backlog", (), ("--count", "50000", "--healthy", "5000"), ("nginx",), long=("--count", "2000000")),
    Bench("pipeline", (), ("--clicks", "50000", "--calls", "10000")),
    Bench("macros", (), (), takes_data=False),
    Bench("rules", (), (), takes_data=False),
    Bench("catalog", (), ("--partners", "1000", "--links", "10000")),
)


class Mark(NamedTuple):
    """What is to be reached: the figure itself, or its ratio to the reference."""

    field: str
    bound: float  # the least that meets it …
    text: str
    at_most: bool = False  # … or the most


MARKS = {
    "clicks: ten rules, 64 connections": Mark("ratio", 0.20, "0.20 of nginx"),
    "clicks: ten rules, 256 connections": Mark("ratio", 0.20, "0.20 of nginx"),
    **{f"macros: render with {count} macros": Mark("ratio", 0.5, "0.5 of str.format") for count in (3, 10, 30)},
    **{f"macros: render with {count} macros, beside Jinja2": Mark("ratio", 3, "3 × Jinja2") for count in (3, 10, 30)},
    "door: postback, 64 connections": Mark("ratio", 0.45, "0.45 of nginx"),
    "door: postback, 256 connections": Mark("ratio", 0.60, "0.60 of nginx"),
    "door: postback, open loop at half the top rate, p99": Mark("figure", 5, "5 ms at most", at_most=True),
    "clicks: ten rules, open loop at half the top rate, p99": Mark("figure", 5, "5 ms at most", at_most=True),
    "door: memory, the last two thirds of many calls": Mark("figure", 2, "2 MiB at most", at_most=True),
    "batches: JSON lines, 100 a request": Mark("ratio", 2, "2 × single calls"),
    "batches: gRPC stream, 100 a message": Mark("ratio", 2, "2 × single calls"),
    "courier: 50 lanes, 200 in flight": Mark("ratio", 0.4, "0.4 of libcurl"),
    "courier: 50 lanes, 1000 in flight": Mark("ratio", 0.4, "0.4 of libcurl"),
    "courier: 50 lanes, 200 in flight, by CPU": Mark("ratio", 0.4, "0.4 of libcurl"),
    "courier: 50 lanes, 1000 in flight, by CPU": Mark("ratio", 0.4, "0.4 of libcurl"),
    "tls: 1,000 names, answers of 50 to 150 ms": Mark("ratio", 0.4, "0.4 of libcurl"),
    "tls: 1,000 names, answers of 50 to 150 ms, by CPU": Mark("ratio", 0.4, "0.4 of libcurl"),
    "couriers: two, by CPU of a postback": Mark("figure", 1.7, "1.7 x"),
    "lanes: 10,000 lanes": Mark("figure", 1.2, "1.2 x of 10 lanes", at_most=True),
    **{
        f"lanes: 100 lanes beside 10,000 {kind}": Mark("figure", 1.2, "1.2 x at most", at_most=True)
        for kind in ("idle", "waiting", "broken", "throttled")
    },
    "chain: accepted to wire at half the top rate, p50": Mark("figure", 25, "25 ms at most", at_most=True),
    "chain: accepted to wire at half the top rate, p99": Mark("figure", 100, "100 ms at most", at_most=True),
    **{
        f"isolation: {sick} of 50 sick, healthy {name}": mark
        for sick in (1, 5, 10)
        for name, mark in (
            ("p99", Mark("figure", 1.2, "1.2 x at most", at_most=True)),
            ("rate", Mark("figure", 0.95, "0.95 x")),
        )
    },
    "rules: 10,000 of one partner, facts repeat": Mark("ratio", 0.67, "1.5 x the time"),
    "rules: 10,000 of one partner, facts never seen": Mark("ratio", 0.67, "1.5 x the time"),
    "rules: 10,000 on everybody's conversions, facts repeat": Mark("ratio", 0.67, "1.5 x the time"),
    "rules: 10,000 on everybody's conversions, facts never seen": Mark("ratio", 0.67, "1.5 x the time"),
    "pipeline: conversions, 1,000,000 clicks stored": Mark("figure", 20_000, "20,000/s"),
}
COLUMNS = ("what", "figure", "reference", "ratio", "CPU each", "fsync", "first mark", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=RESULTS, help="a folder on a real disk")
    parser.add_argument("--quick", action="store_true", help="short rounds: to see that all works, not to measure")
    parser.add_argument("--long", action="store_true", help="long runs, of the benches that have such")
    parser.add_argument("--only", nargs="+", choices=[bench.name for bench in BENCHES], help="these benches only")
    options = parser.parse_args()
    benches = [bench for bench in BENCHES if not options.only or bench.name in options.only]
    os.environ["PATH"] += os.pathsep + "/usr/sbin"  # where Debian puts nginx
    options.data.mkdir(parents=True, exist_ok=True)
    check(benches, options.data)
    machine = describe_machine()
    rows = []
    for bench in benches:
        print(f"--- {bench.name}", flush=True)
        rows += measured(bench, options.data, quick=options.quick, long=options.long)
    print()
    print_table(rows)
    print("\n" + "\n".join(f"{name:10} {value}" for name, value in machine.items() if value))
    if options.quick:
        print("a quick run: short rounds and little data, so figures are rough, and no mark is judged")
    if machine["load"] > BUSY:
        print(f"{machine['load']:.1f} processes ran or waited before the run: on a busy machine even ratios are rough")
    record(rows, machine, quick=options.quick)


def check(benches: list[Bench], data: Path) -> None:
    """Ends with a clear message where a run could not work, or would measure something else."""
    missing = sorted({program for bench in benches for program in bench.needs if shutil.which(program) is None})
    if missing:
        sys.exit(f"bench: {', '.join(missing)} is not installed. `make bench` installs nginx and wrk, or says how.")
    if (os.cpu_count() or 1) < 2:
        sys.exit("bench: two cores are needed, one for what is measured and one for its load.")
    system = subprocess.run(["stat", "-f", "-c", "%T", data], capture_output=True, text=True, check=True).stdout.strip()
    if system in MEMORY:
        sys.exit(f"bench: {data} is in memory ({system}), where fsync costs nothing. Name a real disk with --data.")


def measured(bench: Bench, data: Path, *, quick: bool, long: bool) -> list[dict[str, Any]]:
    """The rows of one bench, ratio included."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "figures.json")
        where = ("--data", str(data)) if bench.takes_data else ()
        script = str(ROOT / "bench" / f"{bench.name}.py")
        size = bench.quick if quick else bench.long or bench.full if long else bench.full
        command = [sys.executable, script, *where, "--json", str(file), *size]
        if subprocess.run(command, cwd=ROOT, check=False).returncode or not file.exists():
            sys.exit(f"bench: {bench.name} failed; nothing was recorded.")
        content = json.loads(file.read_text("utf-8"))
    rows: list[dict[str, Any]] = content["rows"]
    for row in rows:
        if row.get("reference"):
            row["ratio"] = row["figure"] / row["reference"]
        if "fsync_us" in content:
            row["fsync_us"] = content["fsync_us"]
        mark = MARKS.get(row["what"])
        if mark is not None:
            row["mark"] = mark.text
            if not quick:
                met = row[mark.field] <= mark.bound if mark.at_most else row[mark.field] >= mark.bound
                row["met"] = met
    return rows


def print_table(rows: list[dict[str, Any]]) -> None:
    table = [COLUMNS, *(cells(row) for row in rows)]
    widths = [max(len(line[nth]) for line in table) for nth in range(len(COLUMNS))]
    for nth, line in enumerate(table):
        aligned = [
            cell.ljust(width) if column in (0, 2, 6, 7) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(aligned).rstrip())
        if not nth:
            print("  ".join("-" * width for width in widths).rstrip())


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A row's cells, in the order of COLUMNS."""
    places = 2 if row["unit"] in ("ms", "s", "x", "us") and row["figure"] < 100 else 0
    met = {True: "met", False: "MISSED", None: ""}[row.get("met")]
    return (
        row["what"],
        f"{row['figure']:,.{places}f} {row['unit']}".replace(" /s", "/s"),
        f"{row['reference']:,.0f}{row['unit']} {row['against']}" if "reference" in row else "",
        f"{row['ratio']:.2f}" if "ratio" in row else "",
        f"{row['cpu_us']:.1f} us" if "cpu_us" in row else "",
        f"{row['fsync_us']:.0f} us" if "fsync_us" in row else "",
        row.get("mark", ""),
        met,
    )


def describe_machine() -> dict[str, Any]:
    """What figures depend on; `load` is the last minute's."""
    import pycurl

    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text("utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "machine": f"{os.cpu_count()} cores, {model or platform.machine()}, {platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 1),
        "versions": f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {pycurl.version.split()[1]}",
        "nginx": _said(["nginx", "-v"]),
        "commit": _said(["git", "describe", "--always", "--dirty"]),
    }


def _said(command: list[str]) -> str:
    """The first line that a program prints; empty if it is not there."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].rpartition(": ")[2] if lines and not done.returncode else ""


def record(rows: list[dict[str, Any]], machine: dict[str, Any], *, quick: bool) -> None:
    """Appends the run to `history.jsonl`."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    line = {"at": at, "quick": quick, "machine": machine, "rows": rows}
    with (RESULTS / "history.jsonl").open("a", encoding="utf-8") as history:
        history.write(json.dumps(line) + "\n")
    print(f"recorded in {(RESULTS / 'history.jsonl').relative_to(ROOT)}")


if __name__ == "__main__":
    main()
