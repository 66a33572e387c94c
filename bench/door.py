"""The door against nginx in one run: `python bench/door.py --data FOLDER_ON_A_REAL_DISK`.

What it starts: a door process on core 0 (its journal a real SqliteJournal below --data, fsync before each answer,
token checked, receipt made), nginx with one worker on core 0, wrk on core 1; one server at a time, all on loopback.
Rounds alternate, and the ratio is that of the medians. Prints requests/s, ratio, CPU per request, the time of a commit
and of a bare fdatasync in the same folder. Figures hold for this machine; ratios travel better.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

SERVER_CORE, LOAD_CORE = 0, 1
TOKEN = "s3cret"
POSTBACK = (
    f"/postback?click_id=0A1b2C3d4E5f6G7h8I9j0Kl&goal=install&payout=1.20&sum=30&txn_id=order-1&status=1&token={TOKEN}"
)
CLICK = "/c/demo?sub1=campaign-7&sub2=banner&external_id=abc123"
NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    location = /postback {{ default_type application/json; return 200 '{{"status":1,"receipt":"r0123456789abcdef"}}'; }}
    location /c/ {{ return 302 http://127.0.0.1:9000/land?cid=0A1b2C3d4E5f6G7h8I9j0Kl&s=campaign-7; }}
  }}
}}
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def serve_door(folder: Path, port: int) -> None:
    """The door's process: everything real but the catalog, which is the design's, compiled by hand."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from support.catalogs import MemoryCatalogs, design_view
    from waypost.doors.door import Door
    from waypost.engines.local.clock import SystemClock
    from waypost.engines.local.keyring import load_or_create_key_ring, load_or_create_operator_key
    from waypost.engines.local.visitor_keys import FileVisitorKeys
    from waypost.engines.sqlite.journal import SqliteJournal
    from waypost.layout import Layout
    from waypost.settings import load_settings
    from waypost.telemetry.stats import Stats

    layout, settings, clock = Layout(folder), load_settings(environment={}), SystemClock()
    stats = Stats("door-0")
    listener = socket.create_server(("127.0.0.1", port))
    ring = load_or_create_key_ring(layout)  # before the journal, as `assembly.py` does
    journal = SqliteJournal(layout.journals, "door-0", settings.journal, clock)
    Door(
        number=0,
        sockets=[listener],
        journal=journal,
        catalogs=MemoryCatalogs(design_view()),
        ring=ring,
        operator_key=load_or_create_operator_key(layout),
        refusals_file=layout.refusals / "door-0.db",
        settings=settings,
        clock=clock,
        stats=stats,
        visitor_keys=FileVisitorKeys(layout.visitor_keys),
    ).run()
    journal.close()
    (folder / "stats.json").write_text(json.dumps(stats.values), "utf-8")


def wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


@contextmanager
def running(command: list[str], port: int):
    process = subprocess.Popen(["taskset", "-c", str(SERVER_CORE), *command])
    try:
        wait_for(port)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def cpu_s(pid: int) -> float:
    """User and system time of a process and its children that live (nginx: its worker)."""
    total = 0.0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(entry.name) == pid or int(fields[1]) == pid:
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def load(port: int, path: str, connections: int, seconds: int, pid: int) -> tuple[float, float, str]:
    """Requests/s, CPU microseconds a request, median latency."""
    before = cpu_s(pid)
    output = subprocess.run(
        [
            *("taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"),
            f"http://127.0.0.1:{port}{path}",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    spent = cpu_s(pid) - before
    if "Non-2xx" in output and "/c/" not in path:
        raise SystemExit(output)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])
    count = int(re.search(r"(\d+) requests in", output)[1])
    return rate, spent * 1e6 / count, re.search(r"50%\s+(\S+)", output)[1]


def fdatasync_us(folder: Path) -> float:
    """Median time of a 4 KiB write with fdatasync in this folder."""
    descriptor = os.open(folder / "probe", os.O_RDWR | os.O_CREAT)
    times = []
    for nth in range(200):
        begun = time.perf_counter()
        os.pwrite(descriptor, b"x" * 4096, nth * 4096)
        os.fdatasync(descriptor)
        times.append((time.perf_counter() - begun) * 1e6)
    os.close(descriptor)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("bench-data"), help="a folder on a real disk")
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="*", default=[64, 256])
    parser.add_argument("--only", choices=["postback", "click"])
    parser.add_argument("--json", type=Path, help="write the figures here too (for bench/run.py)")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve_door(options.data, options.serve)
        return
    options.data.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="door-", dir=options.data)).resolve()
    try:
        compare(folder, options)
    finally:
        shutil.rmtree(folder)


def compare(folder: Path, options: argparse.Namespace) -> None:
    ports = {"door": free_port(), "nginx": free_port()}
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=ports["nginx"]))
    commands = {
        "door": [sys.executable, __file__, "--serve", str(ports["door"]), "--data", str(folder)],
        "nginx": ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)],
    }
    fsync_us = fdatasync_us(folder)
    print(f"bare fdatasync of 4 KiB: {fsync_us:.0f} us (median of 200)")
    paths = {name: path for name, path in (("postback", POSTBACK), ("click", CLICK)) if options.only in (None, name)}
    found: dict[tuple[str, int, str], list[tuple[float, float, str]]] = {}
    for _ in range(options.rounds):
        for server, port in ports.items():
            with running(commands[server], port) as pid:
                load(port, "/postback?token=" + TOKEN, 16, 1, pid)  # warm
                for name, path in paths.items():
                    for connections in options.connections:
                        result = load(port, path, connections, options.seconds, pid)
                        found.setdefault((name, connections, server), []).append(result)
    rows = []
    for name in paths:
        for connections in options.connections:
            door, nginx = (found[name, connections, server] for server in ("door", "nginx"))
            rates = [statistics.median(rate for rate, _, _ in results) for results in (door, nginx)]
            costs = [statistics.median(cost for _, cost, _ in results) for results in (door, nginx)]
            print(
                f"{name:9}{connections:4} connections: door {rates[0]:8,.0f}/s  nginx {rates[1]:8,.0f}/s  "
                f"ratio {rates[0] / rates[1]:.2f}  CPU a request {costs[0]:.1f} us against {costs[1]:.1f} us  "
                f"median latency {door[0][2]} against {nginx[0][2]}"
            )
            row = {"what": f"door: {name}, {connections} connections", "figure": rates[0], "unit": "/s"}
            answer = "302" if name == "click" else "200"
            rows.append(row | {"reference": rates[1], "against": f"nginx return {answer}", "cpu_us": costs[0]})
    values = json.loads((folder / "stats.json").read_text())
    commits = max(1, values["door_commits"])
    taken = values["door_clicks"] + values["door_postbacks"]
    print(
        f"last door: {commits:,.0f} commits, {taken / commits:.0f} frames each, "
        f"{values['door_commit_us'] / commits:.0f} us each, fsync included"
    )
    if options.json:
        options.json.write_text(json.dumps({"fsync_us": fsync_us, "rows": rows}))


if __name__ == "__main__":
    main()
