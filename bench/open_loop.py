"""Load at a constant rate: each request has its time, and its latency counts from that time, sent in time or not.

Owns: one process' worth of connections, driven by epoll without pause. A request whose time has come waits for a free
connection if there is none, and that wait is part of its latency: nothing is left out because the server was slow
("coordinated omission"). Never retries: an answer other than 200 or 302, or a closed connection, is an error.
`python bench/open_loop.py PORT PATH RATE SECONDS CONNECTIONS` prints JSON.
"""

import json
import select
import socket
import sys
import time
from collections import deque

WARM_UP_S = 0.5  # these requests are sent and not counted


def run(port: int, path: str, rate: float, seconds: float, connections: int) -> dict[str, float]:
    """Latencies in milliseconds, the rate that was reached, and errors."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    poll = select.epoll()
    socks: dict[int, socket.socket] = {}
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        socks[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
    free = deque(socks)
    due_of: dict[int, float] = {}
    latencies: list[float] = []
    errors = 0
    step, clock = 1 / rate, time.perf_counter
    begun = clock()
    counted_from, end = begun + WARM_UP_S, begun + WARM_UP_S + seconds
    due = begun
    while due < end or due_of:
        now = clock()
        while due <= now and due < end and free:
            descriptor = free.popleft()
            due_of[descriptor] = due
            socks[descriptor].send(request)
            due += step
        for descriptor, _ in poll.poll(0):
            answer = socks[descriptor].recv(65536)
            asked = due_of.pop(descriptor)
            if asked >= counted_from:
                latencies.append(clock() - asked)
            if answer[9:12] not in (b"200", b"302"):
                errors += 1
                if not answer:
                    raise SystemExit("the server closed a connection")
            free.append(descriptor)
        if now > end + 10:
            errors += len(due_of)
            break
    took = clock() - counted_from
    latencies.sort()
    count = len(latencies)
    for sock in socks.values():
        sock.close()
    at = {name: latencies[min(count - 1, int(count * share))] * 1000 for name, share in SHARES.items()}
    return at | {"max": latencies[-1] * 1000, "rate": count / took, "errors": errors}


SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}

if __name__ == "__main__":
    _, port, path, rate, seconds, connections = sys.argv
    print(json.dumps(run(int(port), path, float(rate), float(seconds), int(connections))))
