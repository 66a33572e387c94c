"""TLS to 1,000 names whose answers take 50 to 150 ms, against a bare libcurl loop: `python bench/tls.py`.

What it starts: a server of TLS 1.3 on core 1 that answers each request 200 after a time drawn for it; courier and bare
loop in turn on core 0. The names are `p-1.partners.localhost` and so on, which libcurl knows to be loopback; the
server's certificate covers them and is signed by an authority made for the run, which both trust and no one else:
certificates and names are verified as ever. Each name is a partner with a lane and a connection of its own. The first
round makes all connections, the others keep them. Asserts that every postback was delivered in one attempt.
"""

import argparse
import asyncio
import json
import os
import random
import select
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import pycurl
import uvloop

from delivery import OURS, SINKS, Cost, catalog, check, deliver, fill_outbox, free_port, open_courier, partner_numbers
from waypost.courier.courier import Courier
from waypost.model.ids import postback_text
from waypost.runtime.process import collect_rarely
from waypost.settings import Settings, load_settings

ANSWER_MS = (50, 150)
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Slow(asyncio.Protocol):
    """One connection: each request is answered after its time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):
            after_s = random.uniform(*ANSWER_MS) / 1000
            asyncio.get_running_loop().call_later(after_s, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(_OK)


async def serve(port: int, pair: Path) -> None:
    """Until the process is ended."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.with_suffix(".crt"), pair.with_suffix(".key"))
    server = await asyncio.get_running_loop().create_server(
        Slow, ["127.0.0.1", "::1"], port, ssl=context, backlog=4096, ssl_handshake_timeout=60
    )
    print("ready", flush=True)
    await server.serve_forever()


def certified(folder: Path) -> tuple[Path, Path]:
    """Makes the server's pair and the authority that signed it; answers the pair without ending, and its file."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from support.certificates import Authority

    authority, pair = Authority(folder / "authority"), folder / "server"
    authority.issue(pair.with_suffix(".crt"), pair.with_suffix(".key"), "*.partners.localhost")
    return pair, authority.file


def host_of(name: int, port: int) -> str:
    return f"https://p-{name}.partners.localhost:{port}"


class Bare:
    """A plain multi loop, which keeps its connections from round to round. It waits in epoll as our sender does, for
    libcurl's own `select` takes no more than 1,024 descriptors."""

    def __init__(self, port: int, names: int, in_flight: int, authorities_file: str) -> None:
        self._port, self._names = port, names
        self._multi: Any = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, 2 * names)
        self._started = 0
        self._epoll = select.epoll()
        self._handles = [pycurl.Curl() for _ in range(in_flight)]
        for easy in self._handles:
            easy.setopt(pycurl.NOSIGNAL, 1)
            easy.setopt(pycurl.PROXY, "")
            easy.setopt(pycurl.CAINFO, authorities_file)
            easy.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
            easy.setopt(pycurl.WRITEFUNCTION, len)
            easy.setopt(pycurl.OPENSOCKETFUNCTION, self._open)

    def run(self, count: int) -> Cost:
        began, began_cpu = time.perf_counter(), time.process_time()
        multi, done, end = self._multi, 0, self._started + count
        for easy in self._handles:
            self._start(easy)
        while done < count:
            multi.perform()
            _, whole, failed = multi.info_read()
            if failed:
                raise SystemExit(f"the bare loop failed: {failed[0][2]}")
            for easy in whole:
                multi.remove_handle(easy)
                done += 1
                if self._started < end:
                    self._start(easy)
            if done < count and not whole:
                self._epoll.poll(min(0.1, max(0, multi.timeout()) / 1000), 1024)
        took, cpu = time.perf_counter() - began, time.process_time() - began_cpu
        return Cost(count / took, cpu / count * 1e6, 0, 0)

    def _open(self, purpose: int, address: Any) -> socket.socket:
        opened = socket.socket(address.family, address.socktype, address.protocol)
        self._epoll.register(opened.fileno(), select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        return opened  # libcurl has a duplicate of it, to which the registration belongs from now on

    def _start(self, easy: Any) -> None:
        nth = self._started
        url = host_of(1 + nth % self._names, self._port)
        easy.setopt(pycurl.URL, f"{url}/pb?cid=click-{nth}&money=1.20&type=lead")
        easy.setopt(pycurl.HTTPHEADER, [f"Waypost-Id: {postback_text(nth, 1)}", "Waypost-Attempt: 1"])
        self._multi.add_handle(easy)
        self._started += 1


def compare(folder: Path, settings: Settings, port: int, options: argparse.Namespace) -> list[dict[str, object]]:
    """Bare loop and courier in turn; rows for `run.py`."""
    names, count = options.names, options.count
    bare = Bare(port, names, options.in_flight, settings.courier.authorities_file)
    catalogs = catalog(folder, settings, [(host_of(name, port), "{}") for name in range(1, names + 1)])
    view = catalogs.open(catalogs.current())
    lanes = partner_numbers(view, range(1, names + 1))
    fill_outbox(folder, settings, view.version, lanes, names)
    courier: Courier = open_courier(folder, settings, catalogs)
    first = bare.run(names), deliver(courier, names)
    for whose, cost in zip(("bare libcurl loop", "courier"), first, strict=True):
        print(f"{whose:18} with {names:,} handshakes  {cost.rate:8,.0f}/s {cost.cpu_us:8.1f} us CPU each")
    bares, ours = [], []
    for nth in range(options.rounds):
        bares.append(bare.run(count))
        fill_outbox(folder, settings, view.version, lanes, count, first=names + nth * count)
        ours.append(deliver(courier, count))
    courier.drain()
    check(courier)
    attempts, wanted = courier._stats.values["courier_attempts"], names + options.rounds * count
    courier.close()
    if attempts != wanted:
        raise SystemExit(f"{wanted} postbacks, {attempts} attempts")
    (bare_rate, bare_us), (rate, cpu_us) = (
        (statistics.median(one.rate for one in runs), statistics.median(one.cpu_us for one in runs))
        for runs in (bares, ours)
    )
    print(f"bare libcurl loop, connections kept   {bare_rate:8,.0f}/s {bare_us:8.1f} us CPU each")
    print(f"courier, connections kept             {rate:8,.0f}/s {cpu_us:8.1f} us CPU each")
    print(f"ratio by rate {rate / bare_rate:.2f}, by CPU {bare_us / cpu_us:.2f}; {options.in_flight} in flight")
    what = f"tls: {names:,} names, answers of 50 to 150 ms"
    row: dict[str, object] = {"what": what, "figure": rate, "unit": "/s", "cpu_us": cpu_us}
    row |= {"reference": bare_rate, "against": "bare libcurl loop, as many in flight"}
    by_cpu = {"what": f"{what}, by CPU", "figure": 1e6 / cpu_us, "unit": "/s of CPU", "cpu_us": cpu_us}
    return [row, by_cpu | {"reference": 1e6 / bare_us, "against": "bare libcurl loop"}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(), help="where the temporary data folder is made")
    parser.add_argument("--names", type=int, default=1000)
    parser.add_argument("--count", type=int, default=20_000, help="postbacks of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=500)
    parser.add_argument("--json", type=Path, help="write the figures here too (for bench/run.py)")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(int(options.serve[0]), Path(options.serve[1])))
        return
    settings = load_settings(None, {})
    os.sched_setaffinity(0, {OURS})
    collect_rarely()  # as the role's process does
    port = free_port()
    with tempfile.TemporaryDirectory(dir=options.data, prefix=".bench-") as name:
        folder = Path(name).resolve()
        pair, authority = certified(folder)
        ours = msgspec.structs.replace(
            settings.courier, in_flight_max=options.in_flight, authorities_file=str(authority)
        )
        settings = msgspec.structs.replace(settings, courier=ours)
        words = [sys.executable, __file__, "--serve", str(port), str(pair)]
        server = subprocess.Popen(["taskset", "-c", str(SINKS), *words], stdout=subprocess.PIPE)
        try:
            assert server.stdout is not None
            server.stdout.readline()
            rows = compare(folder, settings, port, options)
        finally:
            server.terminate()
            server.wait()
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
