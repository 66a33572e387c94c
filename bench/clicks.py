"""The click door with rules against nginx in one run: `python bench/clicks.py --data FOLDER_ON_A_REAL_DISK`.

What it starts: a door process on core 0, built as `waypost door` builds it, on a catalog whose link has ten targets,
each with targeting, over a geo file of a million networks; nginx with one worker on core 0, which answers 302. wrk on
core 1 sends both the same requests by the same script: 120,000 pairs of user agent and address, no two the same, each
address in `X-Forwarded-For`. Both servers live all the time and are loaded in turn for a second each, because a
machine's speed moves from minute to minute; told are the round whose ratio is the median, and the ratios of all. Beside
the link with rules the same door serves one without, so that the rules' own cost is seen. Then clicks by rules come at
half the rate that the door had at full load just before, whether they are answered or not (`open_loop.py`). Never
judges: `run.py` does.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import cycle, product
from pathlib import Path
from typing import NamedTuple

from door import LOAD_CORE, cpu_s, fdatasync_us, free_port, running
from geo_file import write_geo_file
from open_loop import median_p99, paced

PAIRS = 120_000
OPEN_ROUNDS, OPEN_S = 7, 3  # at a constant rate
RULES, PLAIN = "/c/ten-rules?sub1=fb-7&external_id=abc123", "/c/plain?sub1=fb-7&external_id=abc123"
OFFERS = 10
MODELS = ("SM-G991B", "SM-A515F", "Pixel 8", "Pixel 6a", "M2101K6G", "CPH2247", "moto g54", "SM-S918B")
NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    location /c/ {{ return 302 http://127.0.0.1:9000/land?cid=0A1b2C3d4E5f6G7h8I9j0Kl&s=campaign-7; }}
  }}
}}
"""
CATALOG = """waypost: 1
advertisers:
  acme: {token: s3cret}
offers:
"""
TARGETING = (
    "{country: [DE], device: mobile, os: Android, os_version: '>= 12'}",
    "{country: [FR, ES], device: [mobile, tablet], language: [fr, es]}",
    "{country: [US], device: desktop, schedule: {days: mon-sun, hours: '00:00-23:59', timezone: America/New_York}}",
    "{country: [PL], browser: 'Chrome*', not: {brand: Huawei}}",
    "{device: tablet, sub1: 'fb-*', not: {country: [RU, US]}}",
    "{country: [IT], os: iOS, os_version: '>= 15'}",
    "{country: [TR, ID], isp: '*', ip: [10.0.0.0/8, 93.0.0.0/8]}",
    "{country: [BR, IN], os: [Android, iOS, Windows], browser_version: '>= 90'}",
    "{bot: true}",
    "{bot: false, not: {country: [KP]}}",
)
SCRIPT = """
local agents, n = {}, 0
local chrome = {110, 115, 118, 120, 121, 122, 123, 124, 125, 126}
local models = {"SM-G991B", "SM-A515F", "Pixel 8", "Pixel 6a", "M2101K6G", "CPH2247", "moto g54", "SM-S918B"}
for _, version in ipairs(chrome) do
  for build = 1, 20 do
    for _, model in ipairs(models) do
      n = n + 1
      agents[n] = "Mozilla/5.0 (Linux; Android " .. (9 + build % 6) .. "; " .. model .. ") AppleWebKit/537.36 " ..
        "(KHTML, like Gecko) Chrome/" .. version .. ".0." .. (6000 + build) .. ".1 Mobile Safari/537.36"
    end
    n = n + 1
    agents[n] = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/" ..
      version .. ".0." .. (6000 + build) .. ".1 Safari/537.36"
    n = n + 1
    agents[n] = "Mozilla/5.0 (iPhone; CPU iPhone OS " .. (12 + build % 6) .. "_" .. (version % 7) ..
      " like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/" .. (12 + build % 6) .. ".0 Mobile/15E" ..
      build .. " Safari/604.1"
  end
end
local languages = {"de-DE,de;q=0.9", "fr", "en-US,en;q=0.9", "es-ES", "pl"}
local requests = {}
for i = 0, PAIRS - 1 do
  local address = string.format("%d.%d.%d.%d", 1 + i % 220, (i * 7) % 256, math.floor(i / 220) % 256, (i * 3) % 256)
  requests[i] = wrk.format("GET", "TARGET", {
    ["Host"] = "go.example", ["User-Agent"] = agents[1 + i % n], ["X-Forwarded-For"] = address,
    ["Accept-Language"] = languages[1 + i % 5], ["Accept"] = "*/*",
  })
end
local at = -1
request = function()
  at = (at + 1) % PAIRS
  return requests[at]
end
"""


def catalog_text() -> str:
    """Ten offers for the link with rules, two without: one for the plain link, one to fall back on."""
    lines = [CATALOG]
    for no in range(OFFERS + 2):
        lines.append(f"  offer-{no}:\n    advertiser: acme\n    goals: {{install: {{payout: 1 USD}}}}\n")
        lines.append(f"    url: http://127.0.0.1:9000/land-{no}?cid={{click_id}}&s={{sub1}}&c={{country}}\n")
        if no < OFFERS:
            lines.append(f"    targeting: {TARGETING[no]}\n")
    lines.append("partners: {geozo: {}}\nlinks:\n  plain: {partner: geozo, offer: offer-10}\n")
    lines.append("  ten-rules:\n    partner: geozo\n    fallback: {offer: offer-11}\n    targets:\n")
    lines += [f"      - {{offer: offer-{no}, weight: {no + 1}}}\n" for no in range(OFFERS)]
    return "".join(lines)


def prepare(folder: Path) -> None:
    """The data folder: geo file, settings, catalog; and the load's scripts."""
    from waypost import assembly
    from waypost.settings import load_settings

    write_geo_file(folder / "city.mmdb")
    settings = f'[visitors]\ncity_file = "{folder / "city.mmdb"}"\n'
    data = folder / "data"
    layout = assembly.make_data_folder(data)
    layout.settings.write_text(settings + proxy_setting(), "utf-8")
    (folder / "catalog.yaml").write_text(catalog_text(), "utf-8")
    assembly.apply_catalog_with_journal(folder / "catalog.yaml", layout, load_settings(layout.settings))
    for name, target in (("rules", RULES), ("plain", PLAIN)):
        script = SCRIPT.replace("PAIRS", str(PAIRS)).replace("TARGET", target)
        (folder / f"{name}.lua").write_text(script, "utf-8")


def proxy_setting() -> str:
    """The setting that names the load as a proxy to believe."""
    return '\n[door]\nproxies = ["127.0.0.0/8"]\n'


def serve(folder: Path, port: int) -> None:
    """The door's process."""
    import socket

    from waypost import assembly
    from waypost.runtime.large_pages import LargePages

    role = assembly.open_role(folder / "data", "door-0")
    door = assembly.build_door(role, 0, [socket.create_server(("127.0.0.1", port), backlog=4096)])
    with LargePages(role.stats, role.settings.supervisor.large_pages_ms):
        door.run()
    (folder / "stats.json").write_text(json.dumps(role.stats.values), "utf-8")


def visits(target: str) -> Iterator[bytes]:
    """The script's requests, without end."""
    agents = []
    for version, build in product((110, 115, 118, 120, 121, 122, 123, 124, 125, 126), range(1, 21)):
        chrome = f"Chrome/{version}.0.{6000 + build}.1"
        agents += [
            f"Mozilla/5.0 (Linux; Android {9 + build % 6}; {model}) AppleWebKit/537.36 (KHTML, like Gecko) "
            f"{chrome} Mobile Safari/537.36"
            for model in MODELS
        ]
        agents.append(
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) {chrome} Safari/537.36"
        )
        agents.append(
            f"Mozilla/5.0 (iPhone; CPU iPhone OS {12 + build % 6}_{version % 7} like Mac OS X) AppleWebKit/605.1.15 "
            f"(KHTML, like Gecko) Version/{12 + build % 6}.0 Mobile/15E{build} Safari/604.1"
        )
    languages = ("de-DE,de;q=0.9", "fr", "en-US,en;q=0.9", "es-ES", "pl")
    for nth in cycle(range(PAIRS)):
        address = f"{1 + nth % 220}.{nth * 7 % 256}.{nth // 220 % 256}.{nth * 3 % 256}"
        yield (
            f"GET {target} HTTP/1.1\r\nHost: go.example\r\nUser-Agent: {agents[(nth + 1) % len(agents)]}\r\n"
            f"X-Forwarded-For: {address}\r\nAccept-Language: {languages[nth % 5]}\r\nAccept: */*\r\n\r\n"
        ).encode()


def open_loop(command: list[str], folder: Path, port: int, options: argparse.Namespace) -> dict[str, object]:
    """Clicks by rules at half the rate that the door had at full load in the second before."""
    found = []
    with running(command, port) as pid:
        load(port, folder / "rules.lua", 64, options.warm, pid)
        for _ in range(OPEN_ROUNDS):
            rate = load(port, folder / "rules.lua", 256, 1, pid).rate / 2
            words = ["--paced", str(port), "--rate", str(rate), "--seconds", str(OPEN_S)]
            paces = ["taskset", "-c", str(LOAD_CORE), sys.executable, __file__, *words]
            found.append(json.loads(subprocess.run(paces, capture_output=True, text=True, check=True).stdout))
    return {"what": "clicks: ten rules, open loop at half the top rate, p99", "figure": median_p99(found), "unit": "ms"}


class Loaded(NamedTuple):
    """Requests/s, CPU microseconds a request, median latency."""

    rate: float
    cpu_us: float
    latency: str


def load(port: int, script: Path, connections: int, seconds: int, pid: int) -> Loaded:
    """One round of wrk."""
    before = cpu_s(pid)
    output = subprocess.run(
        [
            *("taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"),
            *("-s", str(script), f"http://127.0.0.1:{port}"),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    spent = cpu_s(pid) - before
    if "Non-2xx" in output:
        raise SystemExit(output)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])
    count = int(re.search(r"(\d+) requests in", output)[1])
    return Loaded(rate, spent * 1e6 / count, re.search(r"^\s+50%\s+(\S+)", output, re.MULTILINE)[1])


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Rounds of door and nginx in turn, then the table."""
    prepare(folder)
    ports = {"door": free_port(), "nginx": free_port()}
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=ports["nginx"]))
    commands = {
        "door": [sys.executable, __file__, "--serve", str(ports["door"]), "--data", str(folder)],
        "nginx": ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)],
    }
    fsync_us = fdatasync_us(folder)
    found: dict[tuple[str, int], list[tuple[Loaded, Loaded]]] = {}  # of door and nginx, next to each other in time
    with running(commands["door"], ports["door"]) as door, running(commands["nginx"], ports["nginx"]) as nginx:
        load(ports["door"], folder / "rules.lua", 64, options.warm, door)
        for nth, name, connections in product(range(options.rounds), ("rules", "plain"), options.connections):
            script, seconds = folder / f"{name}.lua", options.seconds
            pairs = [(ports["door"], door), (ports["nginx"], nginx)]
            results = [load(port, script, connections, seconds, pid) for port, pid in pairs[:: -1 if nth % 2 else 1]]
            ours, theirs = results[:: -1 if nth % 2 else 1]
            found.setdefault((name, connections), []).append((ours, theirs))
    rows = []
    for (name, connections), rounds in found.items():
        what = {"rules": "ten rules", "plain": "no rules"}[name]
        rounds.sort(key=lambda pair: pair[0].rate / pair[1].rate)
        ours, theirs = rounds[len(rounds) // 2]
        each = " ".join(f"{door.rate / nginx.rate:.2f}" for door, nginx in rounds)
        by_cpu = statistics.median(nginx.cpu_us / door.cpu_us for door, nginx in rounds)
        print(
            f"{what:10}{connections:4} connections: door {ours.rate:8,.0f}/s  nginx {theirs.rate:8,.0f}/s  "
            f"ratio {ours.rate / theirs.rate:.2f} ({each}), by CPU {by_cpu:.2f}  "
            f"CPU a request {ours.cpu_us:.1f} us against {theirs.cpu_us:.1f} us  "
            f"median latency {ours.latency} against {theirs.latency}"
        )
        row = {"what": f"clicks: {what}, {connections} connections", "figure": ours.rate, "unit": "/s"}
        rows.append(row | {"reference": theirs.rate, "against": "nginx return 302", "cpu_us": ours.cpu_us})
    rows.append(open_loop(commands["door"], folder, ports["door"], options))
    values = json.loads((folder / "stats.json").read_text())
    print(
        f"last door: {values['door_clicks']:,.0f} clicks, {values['door_clicks_passed_on']:,.0f} of them passed on, "
        f"{values['door_clicks_unplaced']:,.0f} unplaced"
    )
    if options.json:
        options.json.write_text(json.dumps({"fsync_us": fsync_us, "rows": rows}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("bench-data"), help="a folder on a real disk")
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--warm", type=int, default=12, help="seconds in which the door meets all visitors once")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--connections", type=int, nargs="*", default=[64, 256])
    parser.add_argument("--json", type=Path, help="write the figures here too (for bench/run.py)")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--paced", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.paced:
        print(json.dumps(paced(options.paced, visits(RULES), options.rate, options.seconds, 128)))
        return
    if options.serve:
        serve(options.data, options.serve)
        return
    options.data.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="clicks-", dir=options.data)).resolve()
    try:
        compare(folder, options)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
