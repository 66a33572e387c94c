"""The demo's servers: the advertisers' landing pages and the partners' postback addresses, on loopback.

Owns: two small HTTP servers and how each partner behaves. Tells the world who has landed; counts what partners get.
Never part of Waypost's own paths: they stand for the systems of others.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_SLOW_S = (0.4, 1.6)
_FAILING_SHARE = 0.2
_PAGE = b"<!doctype html><title>A landing page</title><p>Here would be an offer.\n"

Landed = Callable[[str, str], None]  # offer, click id


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """The demo's view shows counts instead."""


class DemoServer:
    """One server in threads of its own; a context manager."""

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False  # a slow answer must not hold up the demo's end
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "DemoServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def landing_pages(port: int, landed: Landed) -> DemoServer:
    """Answers each visitor with a page, and tells which click brought them."""

    class Pages(_Handler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            landed(parts.path.strip("/"), parse_qs(parts.query).get("cid", [""])[0])
            self.answer(200, _PAGE)

    return DemoServer(port, Pages)


class Partners:
    """What the partners got: `calls` by partner, `repeats` by partner."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.repeats: Counter[str] = Counter()
        self._random = random.Random(1)

    def server(self, port: int) -> DemoServer:
        """geozo is well, slowpoke is slow, flaky fails now and then."""
        partners = self

        class Addresses(_Handler):
            def do_GET(self) -> None:
                name = urlsplit(self.path).path.strip("/")
                partners.calls[name] += 1
                if self.headers.get("Waypost-Repeat"):
                    partners.repeats[name] += 1
                if name == "slowpoke":
                    time.sleep(partners._random.uniform(*_SLOW_S))
                if name == "flaky" and partners._random.random() < _FAILING_SHARE:
                    self.answer(503, b"not now\n")
                else:
                    self.answer(200, b"ok\n")

        return DemoServer(port, Addresses)
