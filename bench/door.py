"""The door against nginx in one run: `python bench/door.py --data FOLDER_ON_A_REAL_DISK`.

What it starts: `waypost door` on core 0 (a catalog applied, its journal on a real disk, fsync before each answer,
token checked, receipt made), nginx with one worker on core 0, wrk on core 1, all on loopback. Both servers live all
the time and are loaded in turn for a second each, because a machine's speed moves from minute to minute; told are the
round whose ratio is the median, and the ratios of all. Ways of calling: keep-alive, TLS, a new connection for each
call, and at half the rate that the door had at full load just before (`open_loop.py`). Beside nginx stands a bare
loop that appends to the same kind of journal, as many frames a commit as the door had, and does nothing else.
`--requests 10000000` instead watches the door's memory over so many. Prints requests/s, ratio, CPU per request, the
time of a commit and of a bare fdatasync in the same folder. Figures hold for this machine; ratios travel better.
"""

import argparse
import itertools
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
from typing import NamedTuple

from open_loop import median_p99

OPEN_ROUNDS, OPEN_S = 7, 3  # at a constant rate
WARM_S = 3
SERVER_CORE, LOAD_CORE = 0, 1
TOKEN = "s3cret"
POSTBACK = (
    f"/postback?click_id=0A1b2C3d4E5f6G7h8I9j0Kl&goal=install&payout=1.20&sum=30&txn_id=order-1&status=1&token={TOKEN}"
)
CLICK = "/c/demo?sub1=campaign-7&sub2=banner&external_id=abc123"
WAYS = ("postback", "click", "tls", "new", "open")
REQUESTS_LONG = 10_000_000
FRAME_BYTES = 190  # of the call above, journaled
NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port}; {tls}
    location = /postback {{ default_type application/json; return 200 '{{"status":1,"receipt":"r0123456789abcdef"}}'; }}
    location /c/ {{ return 302 http://127.0.0.1:9000/land?cid=0A1b2C3d4E5f6G7h8I9j0Kl&s=campaign-7; }}
  }}
}}
"""
NGINX_TLS = "listen 127.0.0.1:{port} ssl; ssl_certificate {pair}.crt; ssl_certificate_key {pair}.key;"
CATALOG = """waypost: 1
advertisers:
  acme: {token: s3cret}
offers:
  vpn:
    advertiser: acme
    url: "http://127.0.0.1:9000/land?cid={click_id}&s={sub1}"
    goals: {install: {payout: 1.20 USD}}
partners:
  geozo: {}
links:
  demo: {partner: geozo, offer: vpn}
"""


class Result(NamedTuple):
    """One round: requests/s, CPU microseconds a request, median latency as wrk prints it."""

    rate: float
    cpu_us: float
    median: str


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(port: int) -> None:
    """Until it answers something: a door listens before it has its catalog."""
    for _ in range(600):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
                sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                if sock.recv(1):
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"nothing answers on port {port}")


@contextmanager
def running(command: list[str], port: int):
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(["taskset", "-c", str(SERVER_CORE), *command], stdout=quiet, stderr=quiet)
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


def load(
    port: int,
    path: str,
    connections: int,
    seconds: float,
    pid: int,
    *,
    scheme: str = "http",
    close: bool = False,
    script: Path | None = None,
) -> Result:
    """One round of wrk, with a script of its own or without; with `close` each call has a connection of its own."""
    before = cpu_s(pid)
    headers = ("-H", "Connection: close") if close else ()
    headers += ("-s", str(script)) if script is not None else ()
    output = subprocess.run(
        [
            *("taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"),
            *headers,
            f"{scheme}://127.0.0.1:{port}{path}",
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
    return Result(rate, spent * 1e6 / max(1, count), re.search(r"^\s+50%\s+(\S+)", output, re.MULTILINE)[1])


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


def append_loop(folder: Path, frames: int, seconds: float) -> None:
    """Appends blocks of so many frames for so long; prints frames/s. A process of its own, on the servers' core."""
    from waypost.engines.local.clock import SystemClock
    from waypost.engines.segments.journal import SegmentJournal
    from waypost.settings import load_settings

    clock = SystemClock()
    journal = SegmentJournal(folder / "bare", "door-0", load_settings(environment={}).journal, clock)
    block = [b"x" * FRAME_BYTES] * frames
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        now = clock.now_ms()
        journal.append(block, at_ms=now, watermark_ms=now)
        count += frames
    print(count / (time.perf_counter() - begun))
    journal.close()


def appended(folder: Path, frames: int, seconds: float) -> float:
    words = ["--data", str(folder), "--append", str(max(1, frames)), "--seconds", str(seconds)]
    command = ["taskset", "-c", str(SERVER_CORE), sys.executable, __file__, *words]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


class Servers:
    """The door and nginx, each by the command that starts it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        names = ("door", "nginx", "door tls", "nginx tls")
        self.ports = {name: free_port() for name in names}
        self._write_pair(self.data / "tls")
        tls = NGINX_TLS.format(port=self.ports["nginx tls"], pair=self.data / "tls" / "bench")
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=self.ports["nginx"], tls=tls))
        (folder / "catalog.yaml").write_text(CATALOG)
        (self.data / "settings.toml").write_text(f'[door]\ntls_folder = "tls"\ntls_port = {self.ports["door tls"]}\n')
        self.apply()
        self.commands = {
            "door": [
                sys.executable,
                "-m",
                "waypost",
                "door",
                "--data",
                str(self.data),
                "--port",
                str(self.ports["door"]),
            ],
            "nginx": ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)],
        }

    def apply(self) -> None:
        words = ["catalog", "apply", str(self.folder / "catalog.yaml"), "--data", str(self.data)]
        subprocess.run([sys.executable, "-m", "waypost", *words], check=True, stdout=subprocess.DEVNULL)

    def stats(self) -> dict[str, float]:
        return json.loads((self.data / "run" / "door-0.json").read_text())["values"]

    @staticmethod
    def _write_pair(folder: Path) -> None:
        sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
        from support.certificates import Authority

        Authority(folder.parent / "authority").issue(folder / "bench.crt", folder / "bench.key", "127.0.0.1")


def rounds(servers: Servers, options: argparse.Namespace) -> dict[tuple[str, int], list[tuple[Result, Result]]]:
    """All closed-loop results by (way, connections): of door and nginx, next to each other in time."""
    found: dict[tuple[str, int], list[tuple[Result, Result]]] = {}
    ways = [way for way in WAYS if way != "open" and options.only in (None, way)]
    with (
        running(servers.commands["door"], servers.ports["door"]) as door,
        running(servers.commands["nginx"], servers.ports["nginx"]) as nginx,
    ):
        pids = {"door": door, "nginx": nginx}
        load(servers.ports["door"], POSTBACK, 16, WARM_S, door)
        for nth, way, connections in itertools.product(range(options.rounds), ways, options.connections):
            results = {
                server: load(
                    servers.ports[f"{server} tls" if way == "tls" else server],
                    CLICK if way == "click" else POSTBACK,
                    connections,
                    options.seconds,
                    pids[server],
                    scheme="https" if way == "tls" else "http",
                    close=way == "new",
                )
                for server in sorted(pids, reverse=nth % 2 == 1)
            }
            found.setdefault((way, connections), []).append((results["door"], results["nginx"]))
    return found


def rows_of(found: dict[tuple[str, int], list[tuple[Result, Result]]]) -> list[dict[str, object]]:
    """Prints each way's line, of the round whose ratio is the median, and answers the rows for `run.py`."""
    rows: list[dict[str, object]] = []
    for (way, connections), pairs in found.items():
        pairs.sort(key=lambda pair: pair[0].rate / max(1, pair[1].rate))
        door, nginx = pairs[len(pairs) // 2]
        each = " ".join(f"{ours.rate / max(1, theirs.rate):.2f}" for ours, theirs in pairs)
        by_cpu = statistics.median(theirs.cpu_us / ours.cpu_us for ours, theirs in pairs)
        print(
            f"{way:9}{connections:4} connections: door {door.rate:8,.0f}/s  nginx {nginx.rate:8,.0f}/s  "
            f"ratio {door.rate / max(1, nginx.rate):.2f} ({each}), by CPU {by_cpu:.2f}  "
            f"CPU {door.cpu_us:.1f} us against {nginx.cpu_us:.1f} us  "
            f"median latency {door.median} against {nginx.median}"
        )
        text = {"tls": "postback by TLS", "new": "postback, each on a new connection"}.get(way, way)
        answer = "302" if way == "click" else "200"
        row = {"what": f"door: {text}, {connections} connections", "figure": door.rate, "unit": "/s"}
        rows.append(row | {"reference": nginx.rate, "against": f"nginx return {answer}", "cpu_us": door.cpu_us})
    return rows


def compare(servers: Servers, options: argparse.Namespace) -> None:
    fsync_us = fdatasync_us(servers.folder)
    print(f"bare fdatasync of 4 KiB: {fsync_us:.0f} us (median of 200)")
    found = rounds(servers, options)
    rows = rows_of(found)
    values = servers.stats()
    commits = max(1, values.get("door_commits", 0))
    frames = (values.get("door_clicks", 0) + values.get("door_postbacks", 0)) / commits
    took = values.get("door_commit_us", 0) / commits
    print(f"last door: {commits:,.0f} commits, {frames:.0f} frames each, {took:.0f} us each, fsync included")
    best = [door.rate for (way, _), pairs in found.items() if way == "postback" for door, _ in pairs]
    if best:
        bare = appended(servers.folder, round(frames), options.seconds)
        print(f"bare loop: {bare:,.0f} frames/s in blocks of {frames:.0f}")
        top = max(best)
        rows.append(
            {"what": "door: postback, best, against a bare append and fsync", "figure": top, "unit": "/s"}
            | {"reference": bare, "against": f"frames, {frames:.0f} a commit"}
        )
    if options.only in (None, "open"):
        rows.append(open_loop(servers, options))
    if options.long:
        rows.append(watch_memory(servers, options))
    if options.json:
        options.json.write_text(json.dumps({"fsync_us": fsync_us, "rows": rows}))


def open_loop(servers: Servers, options: argparse.Namespace) -> dict[str, object]:
    """Latency at half the rate that the door had at full load in the second before."""
    script = str(Path(__file__).with_name("open_loop.py"))
    port, found = servers.ports["door"], []
    with running(servers.commands["door"], port) as pid:
        load(port, POSTBACK, 16, 1, pid)
        for _ in range(OPEN_ROUNDS):
            rate = load(port, POSTBACK, 256, 1, pid).rate / 2
            words = [str(port), POSTBACK, str(rate), str(OPEN_S), "128"]
            command = ["taskset", "-c", str(LOAD_CORE), sys.executable, script, *words]
            found.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    return {"what": "door: postback, open loop at half the top rate, p99", "figure": median_p99(found), "unit": "ms"}


def watch_memory(servers: Servers, options: argparse.Namespace) -> dict[str, object]:
    """Sends many calls, and prints the door's memory after each tenth."""
    wanted = options.requests or REQUESTS_LONG
    with running(servers.commands["door"], servers.ports["door"]) as pid:
        sent, kib = 0, []
        while sent < wanted:
            result = load(servers.ports["door"], POSTBACK, 256, options.seconds, pid)
            sent += round(result.rate * options.seconds)
            if sent >= (len(kib) + 1) * wanted / 10:
                status = Path(f"/proc/{pid}/status").read_text()
                own, files = (int(re.search(rf"{name}:\s+(\d+)", status)[1]) for name in ("RssAnon", "RssFile"))
                kib.append(own)  # files that are mapped are the system's to keep or to drop
                print(
                    f"{sent:12,} requests: {own / 1024:.1f} MiB of its own, {files / 1024:.1f} MiB of files", flush=True
                )
    settled = kib[len(kib) // 3]  # by then a segment of the journal was closed and the memos are full
    grown = (kib[-1] - settled) / 1024
    print(f"over the last two thirds: {grown:+.1f} MiB")
    return {"what": "door: memory, the last two thirds of many calls", "figure": grown, "unit": "MiB"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("bench-data"), help="a folder on a real disk")
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--connections", type=int, nargs="*", default=[64, 256])
    parser.add_argument("--only", choices=WAYS)
    parser.add_argument("--requests", type=int, help="watch the door's memory over so many instead")
    parser.add_argument("--long", action="store_true", help=f"watch it over {REQUESTS_LONG:,} as well")
    parser.add_argument("--json", type=Path, help="write the figures here too (for bench/run.py)")
    parser.add_argument("--append", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.data.mkdir(parents=True, exist_ok=True)
    if options.append:
        append_loop(options.data, options.append, options.seconds)
        return
    folder = Path(tempfile.mkdtemp(prefix="door-", dir=options.data)).resolve()
    try:
        (folder / "data").mkdir()
        servers = Servers(folder)
        if options.requests:
            watch_memory(servers, options)
        else:
            compare(servers, options)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
