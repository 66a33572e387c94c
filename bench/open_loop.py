"""Load at a constant rate: each request has its time, and its latency counts from that time, sent in time or not.

Owns: one process' worth of connections, driven by epoll. A request whose time has come waits for a free connection if
there is none, and that wait is part of its latency: nothing is left out because the server was slow ("coordinated
omission"). Never retries: an answer other than 200 or 302, or a closed connection, is an error. Never spins: the two
cores of a virtual machine may be two threads of one, and what spins on one takes a third off the other; so a latency
may be 0.1 ms too long.
`python bench/open_loop.py PORT PATH RATE SECONDS CONNECTIONS` prints JSON.
"""

import gc
import itertools
import json
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

WARM_UP_S = 0.5  # these requests are sent and not counted
_PATIENCE_S = 10.0  # after the last was sent
_REST_S = 20e-6  # where there is nothing to do; the kernel makes about 75 us of it


class Answered(NamedTuple):
    """One request: which it was, when it was due and when its answer had come (both monotonic), and the answer."""

    nth: int
    due_s: float
    at_s: float
    answer: bytes


def drive(port: int, requests: Iterable[bytes], rate: float, connections: int) -> tuple[list[Answered], int]:
    """Sends them at this rate (0: as fast as they are answered); answers what came back, and how many were errors."""
    gc.disable()  # what it collects lasts until the end: walking all of it would hold up requests for 40 ms
    poll = select.epoll()
    socks: dict[int, socket.socket] = {}
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        socks[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
    free = deque(socks)
    asked: dict[int, tuple[int, float]] = {}
    found: list[Answered] = []
    errors = 0
    step, clock = 1 / rate if rate else 0.0, time.monotonic
    due = last = clock()
    queue = enumerate(requests)
    following = next(queue, None)
    while following is not None or asked:
        now = clock()
        while following is not None and due <= now and free:
            descriptor = free.popleft()
            nth, request = following
            asked[descriptor] = (nth, due if rate else now)
            socks[descriptor].send(request)
            following = next(queue, None)
            due += step
            last = now
        ready = poll.poll(0)
        if not ready and (following is None or due > now):
            time.sleep(_REST_S)
        for descriptor, _ in ready:
            answer = socks[descriptor].recv(65536)
            nth, was_due = asked.pop(descriptor)
            found.append(Answered(nth, was_due, clock(), answer))
            if answer[9:12] not in (b"200", b"302"):
                errors += 1
                if not answer:
                    raise SystemExit("the server closed a connection")
            free.append(descriptor)
        if now > last + _PATIENCE_S:
            errors += len(asked)
            break
    gc.enable()
    for sock in socks.values():
        sock.close()
    return found, errors


def request_of(port: int, path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


def run(port: int, path: str, rate: float, seconds: float, connections: int) -> dict[str, float]:
    """Latencies in milliseconds, the rate that was reached, and errors."""
    return paced(port, itertools.repeat(request_of(port, path)), rate, seconds, connections)


def paced(port: int, requests: Iterable[bytes], rate: float, seconds: float, connections: int) -> dict[str, float]:
    """The same of requests without end."""
    warm = round(rate * WARM_UP_S)
    found, errors = drive(port, itertools.islice(requests, warm + round(rate * seconds)), rate, connections)
    counted = [one for one in found if one.nth >= warm]
    took = max(one.at_s for one in counted) - min(one.due_s for one in counted)
    return quantiles([one.at_s - one.due_s for one in counted]) | {"rate": len(counted) / took, "errors": errors}


def median_p99(rounds: list[dict[str, float]]) -> float:
    """Prints the round whose 99th percentile is the median, and that of all; answers it, in milliseconds."""
    rounds = sorted(rounds, key=lambda result: result["p99"])
    middle, each = rounds[len(rounds) // 2], " ".join(f"{result['p99']:.1f}" for result in rounds)
    figures = "  ".join(f"{name} {middle[name]:.2f} ms" for name in (*SHARES, "max"))
    print(f"open loop at {middle['rate']:,.0f}/s ({middle['errors']:.0f} errors): {figures} (p99 of rounds: {each})")
    return middle["p99"]


def quantiles(latencies_s: list[float]) -> dict[str, float]:
    """Of latencies in seconds, in milliseconds."""
    ordered = sorted(latencies_s)
    count = len(ordered)
    at = {name: ordered[min(count - 1, int(count * share))] * 1000 for name, share in SHARES.items()}
    return at | {"max": ordered[-1] * 1000}


SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}

if __name__ == "__main__":
    _, port, path, rate, seconds, connections = sys.argv
    print(json.dumps(run(int(port), path, float(rate), float(seconds), int(connections))))
