"""The demo's command: starts `waypost run` and the world around it, shows both, ends both.

Owns: ports, the catalog's copy with these ports, and the order of beginning and end. Everything that Waypost does
here it does as a process of its own, as in any other installation.
"""

import http.client
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from rich.console import Console
from rich.live import Live

from waypost.cli.demo.servers import Partners, landing_pages
from waypost.cli.demo.traffic import Traffic
from waypost.cli.demo.view import Addresses, View
from waypost.cli.options import CONSOLE_PORT, DOOR_PORT
from waypost.errors import WaypostError
from waypost.runtime.roles import SUPERVISOR_VARIABLE
from waypost.runtime.sockets import free_port

_PAGES_PORT = 9000
_PARTNERS_PORT = 9001
_START_S = 60
_SETTLE_S = 2.0  # after the last call: what is under way arrives, and is shown
_LINE_EVERY_S = 2.0


class _Ports(NamedTuple):
    door: int
    console: int
    pages: int
    partners: int


def run_demo(data: Path | None, seconds: float, rate: float) -> None:
    """Runs until `seconds` are over (0: never), or SIGINT or SIGTERM."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    with ExitStack() as stack:
        if data is None:
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="waypost-demo-")))
        data = data.absolute()
        (data / "logs").mkdir(parents=True, exist_ok=True)
        ports = _take_ports()
        run = stack.enter_context(_Run(data, _catalog_for(data, ports), ports))
        if not run.wait_until_ready(stop):
            return
        partners = Partners()
        traffic = Traffic(ports.door, rate)
        stack.enter_context(landing_pages(ports.pages, traffic.landed))
        stack.enter_context(partners.server(ports.partners))
        addresses = Addresses(f"http://127.0.0.1:{ports.door}", f"http://127.0.0.1:{ports.console}", data)
        view = View(addresses, traffic, partners)
        traffic.start()
        _show(view, addresses, run, stop, seconds)
        traffic.stop()
        stop.clear()
        stop.wait(_SETTLE_S)
        view.look()
        print(f"waypost demo: {view.line()}", flush=True)
        print("waypost demo: ending", flush=True)


def _take_ports() -> _Ports:
    preferred = _Ports(DOOR_PORT, CONSOLE_PORT, _PAGES_PORT, _PARTNERS_PORT)
    taken = _Ports(*(free_port("127.0.0.1", port) for port in preferred))
    for name, wanted, got in zip(_Ports._fields, preferred, taken, strict=True):
        if wanted != got:
            print(f"waypost demo: port {wanted} ({name}) is in use, taking {got}", flush=True)
    return taken


def _catalog_for(data: Path, ports: _Ports) -> Path:
    """The example catalog with the demo's ports, in the data folder."""
    text = resources.files("waypost.cli").joinpath("example/catalog.yaml").read_text("utf-8")
    text = text.replace(f"127.0.0.1:{_PAGES_PORT}", f"127.0.0.1:{ports.pages}")
    text = text.replace(f"127.0.0.1:{_PARTNERS_PORT}", f"127.0.0.1:{ports.partners}")
    file = data / "catalog.yaml"
    file.write_text(text, "utf-8")
    return file


class _Run:
    """`waypost run` as a process; a context manager that ends it."""

    def __init__(self, data: Path, catalog: Path, ports: _Ports) -> None:
        self._output = data / "logs" / "run.log"
        self._console_port = ports.console
        self._command = [
            *(sys.executable, "-m", "waypost", "run", "--data", str(data), "--catalog", str(catalog)),
            *("--port", str(ports.door), "--console-port", str(ports.console), "--allow-target", "127.0.0.0/8"),
        ]

    def __enter__(self) -> "_Run":
        environment = os.environ | {SUPERVISOR_VARIABLE: str(os.getpid())}  # it ends when the demo is killed
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, process_group=0
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait()

    def wait_until_ready(self, stop: threading.Event) -> bool:
        """True when every role works; False if the user has had enough. Raises WaypostError if it ended."""
        end = time.monotonic() + _START_S
        while not self._is_healthy():
            if stop.wait(0.1):
                return False
            self.check()
            if time.monotonic() > end:
                raise WaypostError("role_crashed", f"not ready within {_START_S} s", place=str(self._output))
        return True

    def check(self) -> None:
        """Raises WaypostError with what it said if the process has ended by itself."""
        if self._process.poll() is not None:
            print(self._output.read_text("utf-8", "replace"), file=sys.stderr, end="", flush=True)
            raise WaypostError("role_crashed", "`waypost run` has ended", hint="see the lines above")

    def _is_healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._console_port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _show(view: View, addresses: Addresses, run: _Run, stop: threading.Event, seconds: float) -> None:
    """Until the time is over, the user has had enough, or Waypost has ended."""
    end = time.monotonic() + seconds if seconds else float("inf")
    print(f"waypost demo: door {addresses.door}  console {addresses.console}  data {addresses.data}", flush=True)
    terminal = Console()
    if terminal.is_terminal:
        with Live(view.rendered(), console=terminal, auto_refresh=False) as live:
            while time.monotonic() < end and not stop.wait(0.5):
                run.check()
                view.look()
                live.update(view.rendered(), refresh=True)
    else:
        next_line = 0.0
        while time.monotonic() < end and not stop.wait(0.5):
            run.check()
            view.look()
            if time.monotonic() >= next_line:
                next_line = time.monotonic() + _LINE_EVERY_S
                print(f"waypost demo: {view.line()}", flush=True)
    print(f"waypost demo: try: {view.trace_command()}", flush=True)
