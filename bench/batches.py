"""Many calls at once against one by one: `python bench/batches.py --data FOLDER_ON_A_REAL_DISK`.

What it starts: `waypost door` on core 0, as `door.py` does, and on core 1 in turn: wrk with single calls, wrk with
`POST /postbacks` of a hundred JSON lines, and a gRPC client whose streams send messages of a hundred conversions. All
payloads are made beforehand. What counts is calls made durable a second, each with its receipt answered; the single
calls of the same round are the reference. Prints the CPU time of a call, the door's and, of gRPC, the client's too.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from door import LOAD_CORE, POSTBACK, Result, Servers, cpu_s, fdatasync_us, free_port, load, running

CALLS = 100  # in a request or message
CALL = {
    "click_id": "0A1b2C3d4E5f6G7h8I9j0Kl",
    "goal": "install",
    "payout": "1.20",
    "sum": "30",
    "txn_id": "order-1",
    "status": "1",
}
WRK = """
wrk.method = "POST"
wrk.headers["Waypost-Token"] = "s3cret"
local file = io.open("{body}", "rb")
wrk.body = file:read("*all")
file:close()
"""


def lines(folder: Path, port: int, connections: int, seconds: float, pid: int) -> Result:
    """One round of JSON lines: calls/s."""
    body, script = folder / "lines", folder / "lines.lua"
    body.write_text("".join(json.dumps(CALL, separators=(",", ":")) + "\n" for _ in range(CALLS)))
    script.write_text(WRK.format(body=body))
    found = load(port, "/postbacks", connections, seconds, pid, script=script)
    return Result(found.rate * CALLS, found.cpu_us / CALLS, found.median)


def streams(port: int, count: int, seconds: float, pid: int) -> tuple[Result, float]:
    """One round of gRPC: calls/s, and the client's CPU microseconds a call."""
    words = [str(port), str(count), str(seconds)]
    before = cpu_s(pid)
    command = ["taskset", "-c", str(LOAD_CORE), sys.executable, __file__, "--send", *words]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    spent = cpu_s(pid) - before
    calls = found["calls"]
    return Result(calls / found["seconds"], spent * 1e6 / calls, ""), found["cpu_s"] * 1e6 / calls


def send(port: int, count: int, seconds: float) -> None:
    """The gRPC client, a process of its own: messages are bytes made beforehand, answers are counted, not read."""
    import grpc

    from waypost.doors.proto.waypost_pb2 import Answers, Conversions

    message = Conversions(conversions=[CALL] * CALLS).SerializeToString()
    ends = threading.Event()
    answered = [0] * count

    def work(nth: int) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            stream = channel.stream_stream("/waypost.v1.Intake/Stream")

            def messages():
                while not ends.is_set():
                    yield message

            last = b""
            for answer in stream(messages(), metadata=(("waypost-token", "s3cret"),)):
                answered[nth] += 1
                last = answer
            found = Answers.FromString(last).answers
            assert len(found) == CALLS and all(one.receipt for one in found)

    begun = time.perf_counter()
    threads = [threading.Thread(target=work, args=(nth,)) for nth in range(count)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    ends.set()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begun
    print(json.dumps({"calls": sum(answered) * CALLS, "seconds": took, "cpu_s": time.process_time()}))


def compare(folder: Path, options: argparse.Namespace) -> None:
    servers = Servers(folder)
    grpc_port = free_port()
    fsync_us = fdatasync_us(folder)
    found: dict[str, list[Result]] = {"single": [], "lines": [], "gRPC": []}
    clients: list[float] = []
    port = servers.ports["door"]
    with running([*servers.commands["door"], "--grpc-port", str(grpc_port)], port) as pid:
        load(port, POSTBACK, 16, 1, pid)  # warm
        for _ in range(options.rounds):
            found["single"].append(load(port, POSTBACK, options.connections, options.seconds, pid))
            found["lines"].append(lines(folder, port, options.streams, options.seconds, pid))
            result, client_us = streams(grpc_port, options.streams, options.seconds, pid)
            found["gRPC"].append(result)
            clients.append(client_us)
    single = statistics.median(result.rate for result in found["single"])
    rows = []
    for name, text in (("lines", "JSON lines, 100 a request"), ("gRPC", "gRPC stream, 100 a message")):
        results = found[name]
        rate = statistics.median(result.rate for result in results)
        cpu_us = statistics.median(result.cpu_us for result in results)
        each = [round(ours.rate / one.rate, 2) for ours, one in zip(results, found["single"], strict=True)]
        more = f", the client's {statistics.median(clients):.2f} us" if name == "gRPC" else ""
        ratio = f"{rate / single:.2f} of single calls (rounds {each})"
        print(f"{text}: {rate:9,.0f} calls/s, {ratio}, CPU {cpu_us:.2f} us{more}")
        row = {"what": f"batches: {text}", "figure": rate, "unit": "/s", "cpu_us": cpu_us}
        rows.append(row | {"reference": single, "against": f"single calls, {options.connections} connections"})
    one = statistics.median(result.cpu_us for result in found["single"])
    print(f"single calls: {single:9,.0f}/s, CPU {one:.2f} us; bare fdatasync of 4 KiB: {fsync_us:.0f} us")
    if options.json:
        options.json.write_text(json.dumps({"fsync_us": fsync_us, "rows": rows}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("bench-data"), help="a folder on a real disk")
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64, help="of the single calls")
    parser.add_argument("--streams", type=int, default=4, help="of gRPC, and connections of the JSON lines")
    parser.add_argument("--json", type=Path, help="write the figures here too (for bench/run.py)")
    parser.add_argument("--send", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        send(int(options.send[0]), int(options.send[1]), float(options.send[2]))
        return
    os.environ["WAYPOST_DOOR_TLS_FOLDER"] = ""  # single calls and batches alike without TLS
    os.environ["PATH"] += os.pathsep + "/usr/sbin"
    options.data.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="batches-", dir=options.data)).resolve()
    try:
        (folder / "data").mkdir()
        compare(folder, options)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
