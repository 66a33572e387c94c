"""The demo's traffic: visitors that click, and advertisers that post back what the visitors did.

Owns: who does what and when. Calls the door over HTTP as anybody would; knows nothing of Waypost's inside.
Most calls are good; some come twice, some carry a click id that nobody made, some a goal that nobody pays for.
"""

import heapq
import http.client
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

_WORKERS = 8
_BACKLOG_MAX = 200  # calls given to the workers and not done; beyond it visitors stay away
_TIMEOUT_S = 10
_LINKS = ("geozo-vpn", "geozo-vpn", "geozo-shoes", "slowpoke-vpn", "slowpoke-game", "flaky-game", "flaky-shoes")
_KEYWORDS = ("running shoes", "vpn", "best game 2026", "cheap & good")


class _Deed(NamedTuple):
    """Something that an advertiser will report: its parameters, and how often it will be said."""

    parameters: dict[str, str]
    times: int = 1


class Traffic:
    """Runs in threads from `start` to `stop`. Counts what it did, by kind, in `counts`."""

    def __init__(self, door_port: int, clicks_per_s: float, seed: int = 7) -> None:
        self.counts: Counter[str] = Counter()
        self.receipt = ""  # of a conversion that is worth a trace
        self._port = door_port
        self._pause_s = 1 / max(clicks_per_s, 0.1)
        self._random = random.Random(seed)
        self._numbers = itertools.count(1)
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._later: list[tuple[float, int, _Deed]] = []
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="demo")
        self._open = threading.Semaphore(_BACKLOG_MAX)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._click_on, self._report_on)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends clicks and calls; what is under way is finished."""
        self._end.set()
        for thread in self._threads:
            thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def landed(self, offer: str, click_id: str) -> None:
        """A visitor has reached an offer's page: decides what they will do there. Called by the page's server."""
        with self._lock:
            chance = self._random.random()
            if offer == "shopwell-shoes":
                deeds = self._orders(click_id) if chance < 0.3 else []
            else:
                deeds = self._installs(offer, click_id) if chance < 0.4 else []
            now = time.monotonic()
            for delay_s, deed in deeds:
                heapq.heappush(self._later, (now + delay_s, next(self._numbers), deed))

    def _installs(self, offer: str, click_id: str) -> list[tuple[float, _Deed]]:
        luck = self._random.random()
        call = {"click_id": click_id, "goal": "install", "token": "acme-s3cret"}
        if luck < 0.03:
            call["goal"] = "subscribe"  # a goal that the offer does not have
        elif luck < 0.06:
            call["click_id"] = click_id[:-1] + ("a" if click_id[-1:] != "a" else "b")  # forged
        elif luck < 0.08:
            call["click_id"] = "{click_id}"  # their system did not fill it in
        deeds = [(self._random.uniform(0.2, 2), _Deed(call, 2 if self._random.random() < 0.08 else 1))]
        if offer == "acme-vpn" and self._random.random() < 0.3:
            order = {"sum": f"{self._random.uniform(5, 90):.2f}", "currency": "USD", "txn_id": self._txn()}
            deeds.append((self._random.uniform(1, 4), _Deed(call | {"goal": "purchase"} | order)))
        return deeds

    def _orders(self, click_id: str) -> list[tuple[float, _Deed]]:
        """An order in the shop's own words: open at first, paid or cancelled later."""
        order = {"subid": click_id, "goal": "purchase", "token": "shopwell-s3cret", "order": self._txn()}
        order |= {"amount": f"{self._random.uniform(20, 180):.2f}", "currency": "EUR"}
        begin = self._random.uniform(0.3, 2)
        final = "paid" if self._random.random() < 0.75 else "cancelled"
        return [
            (begin, _Deed(order | {"status": "open"})),
            (begin + self._random.uniform(1, 6), _Deed(order | {"status": final})),
        ]

    def _txn(self) -> str:
        return f"T{self._random.randrange(10**9):09d}"

    # --- threads -------------------------------------------------------------------------------------

    def _click_on(self) -> None:
        due = time.monotonic()
        while not self._end.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._pause_s, time.monotonic() - 1)
            if self._open.acquire(blocking=False):
                self._pool.submit(self._visit, self._random.choice(_LINKS), next(self._numbers))

    def _report_on(self) -> None:
        while not self._end.wait(0.02):
            now = time.monotonic()
            with self._lock:
                due = []
                while self._later and self._later[0][0] <= now:
                    due.append(heapq.heappop(self._later)[2])
            for deed in due:
                for _ in range(deed.times):
                    self._open.acquire()
                    self._pool.submit(self._report, deed.parameters)

    def _visit(self, link: str, number: int) -> None:
        try:
            query = urlencode({"sub1": f"visit-{number}", "keyword": _KEYWORDS[number % len(_KEYWORDS)]})
            status, target, _ = self._get(self._port, f"/c/{link}?{query}")
            self.counts["clicks" if status == 302 else f"click answered {status}"] += 1
            if status == 302:
                parts = urlsplit(target)
                self._get(parts.port or 80, f"{parts.path}?{parts.query}")
        finally:
            self._open.release()

    def _report(self, parameters: Mapping[str, str]) -> None:
        try:
            status, _, body = self._get(self._port, f"/postback?{urlencode(parameters)}")
            self.counts["postbacks" if status == 200 else f"postback answered {status}"] += 1
            if status == 200 and parameters.get("goal") == "purchase" and "txn_id" in parameters:
                self.receipt = body.partition(b'"receipt":"')[2].partition(b'"')[0].decode()
        finally:
            self._open.release()

    def _get(self, port: int, target: str) -> tuple[int, str, bytes]:
        """Status, Location and body; status 0 if there was no answer. Connections are kept, one a thread and port."""
        connections: dict[int, http.client.HTTPConnection] = self._local.__dict__.setdefault("connections", {})
        for _ in range(2):  # a kept connection may have been closed meanwhile
            connection = connections.pop(port, None)
            is_new = connection is None
            connection = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
            try:
                connection.request("GET", target)
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                if is_new:
                    break
                continue
            if not answer.will_close:
                connections[port] = connection
            return answer.status, answer.headers.get("Location", ""), body
        return 0, "", b""
