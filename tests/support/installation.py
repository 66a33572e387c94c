"""A real `waypost run` in a temporary folder, for black-box tests: started, asked, ended.

Everything is a process and a socket on loopback; ports are free ones. A test ends it with `stop`, or by leaving the
`with`, which kills what is left.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from waypost.runtime.sockets import free_port

DEADLINE_S = 60


class Answer(NamedTuple):
    """What an HTTP server answered."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def until(done: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Waits for `done` to answer something true, and answers that."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if found := done():
            return found
        threading.Event().wait(0.02)
    raise AssertionError(f"not within {deadline_s} s: {what}")


def fetch(port: int, path: str, parameters: Mapping[str, str] | None = None, **headers: str) -> Answer:
    """A GET on loopback."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        target = f"{path}?{urlencode(parameters)}" if parameters else path
        connection.request("GET", target, headers={name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read().decode())
    finally:
        connection.close()


class Sink:
    """A partner's server that is no part of Waypost: keeps what it is called with, and answers 200."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str]]] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                sink.calls.append((self.path, dict(self.headers.items())))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "Sink":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Installation:
    """`waypost run` on a data folder."""

    def __init__(self, folder: Path, catalog: Path) -> None:
        self.data = folder / "data"
        self.catalog = catalog
        self.port = free_port("127.0.0.1", 0)
        self.console_port = free_port("127.0.0.1", 0)
        self.output = folder / "output"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "waypost", *words]

    def waypost(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A command beside the running installation."""
        return subprocess.run(self.command(*words), capture_output=True, text=True, timeout=DEADLINE_S, check=False)

    def run_words(self) -> list[str]:
        ports = ["--port", str(self.port), "--console-port", str(self.console_port)]
        return [
            "run", "--data", str(self.data), "--catalog", str(self.catalog), *ports, "--allow-target", "127.0.0.0/8",
        ]  # fmt: skip

    def start(self) -> "Installation":
        """Starts it and waits until every role works."""
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(self.command(*self.run_words()), stdout=output, stderr=output)
        try:
            until(lambda: "waypost: ready" in self.said() or self.ended(), "ready")
            assert not self.ended(), self.said()
            until(lambda: self.health().status == 200, "healthy")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __enter__(self) -> "Installation":
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def said(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    def ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> int:
        """SIGTERM; answers the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(DEADLINE_S)

    def kill_supervisor(self) -> None:
        """SIGKILL to the supervisor alone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def health(self) -> Answer:
        return fetch(self.console_port, "/healthz")

    def status(self) -> Any:
        return fetch(self.console_port, "/api/status").json

    def pids(self) -> dict[str, int]:
        """The living roles' pids, by name, as the supervisor published them."""
        return {role["name"]: role["pid"] for role in self.status()["roles"]}

    def kill_role(self, name: str) -> None:
        os.kill(self.pids()[name], signal.SIGKILL)

    def click(self, link: str, **parameters: str) -> str:
        """Clicks; answers the click id."""
        answer = fetch(self.port, f"/c/{link}", parameters | {"mode": "json"})
        assert answer.status == 200, answer
        return str(answer.json["click_id"])

    def postback(self, **parameters: str) -> Answer:
        return fetch(self.port, "/postback", parameters)
