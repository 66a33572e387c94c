"""A whole `waypost run` on core 0 with partners and callers on core 1: what the benches of the chain share.

Owns: a temporary data folder, the processes, the calls' clock. A postback's latency is the monotonic time at which its
partner had read the request, less the time at which the call that caused it was due: whatever made it late counts.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from open_loop import drive, request_of
from partners import address_of

OURS, THEIRS = 0, 1  # cores: of Waypost, of partners and callers
CONNECTIONS = 64
_SETTINGS = "[door]\ncount = 1\n"


class Sent(NamedTuple):
    """A call that was accepted: when it was due and answered, in seconds; the number that its postback carries."""

    n: int
    due_s: float
    answered_s: float


class Arrived(NamedTuple):
    """A postback's request, as its partner read it."""

    partner: int
    n: int
    at_ns: int
    is_repeat: bool
    was_well: bool  # and was answered 200

    @property
    def at_s(self) -> float:
        return self.at_ns / 1e9


class House:
    """Use it through `house`."""

    def __init__(self, folder: Path, partners: int, delivery: str, settings: str) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._data.mkdir()
        (self._data / "settings.toml").write_text(_SETTINGS + settings, "utf-8")
        self.partners = partners
        self.port, self._console_port, self._partner_port = free_port(), free_port(), free_port()
        self._catalog = folder / "catalog.yaml"
        self._catalog.write_text(_catalog(partners, self._partner_port, delivery), "utf-8")
        self._clicks: list[str] = []  # ids that nobody has called for yet, partner after partner
        self._used = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._sinks: subprocess.Popen[str] | None = None

    # --- processes -----------------------------------------------------------------------------------

    def start(self) -> None:
        sink = str(Path(__file__).with_name("partners.py"))
        self._sinks = subprocess.Popen(
            ["taskset", "-c", str(THEIRS), sys.executable, sink, str(self._partner_port), str(self.partners)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.tell("count")
        words = ["run", "--data", str(self._data), "--catalog", str(self._catalog), "--port", str(self.port)]
        words += ["--console-port", str(self._console_port), "--allow-target", "127.0.0.0/8"]
        with (self._folder / "output").open("wb") as output:
            self._process = subprocess.Popen(
                ["taskset", "-c", str(OURS), sys.executable, "-m", "waypost", *words], stdout=output, stderr=output
            )
        wait(lambda: b"waypost: ready" in (self._folder / "output").read_bytes(), "ready")
        wait(lambda: self.values("courier-0") and self.values("pipeline"), "all roles at work")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)
        if self._sinks is not None:
            self._sinks.communicate()  # the end of its input ends it

    def tell(self, command: str) -> str:
        """A command to the partners; answers theirs."""
        assert self._sinks is not None and self._sinks.stdin is not None and self._sinks.stdout is not None
        self._sinks.stdin.write(command + "\n")
        self._sinks.stdin.flush()
        return self._sinks.stdout.readline().strip()

    def arrived(self) -> list[Arrived]:
        """What the partners got since they were asked last."""
        file = self._folder / "arrived.json"
        self.tell(f"dump {file}")
        return [Arrived(*row) for row in json.loads(file.read_text("utf-8"))]

    def values(self, role: str) -> dict[str, float]:
        """A role's counters, as it published them last."""
        try:
            return dict(json.loads((self._data / "run" / f"{role}.json").read_bytes())["values"])
        except (OSError, ValueError):
            return {}

    def audit(self) -> dict[str, object]:
        """What `waypost audit` says."""
        words = ["audit", "--data", str(self._data), "--format", "json"]
        done = subprocess.run([sys.executable, "-m", "waypost", *words], capture_output=True, text=True, check=False)
        return dict(json.loads(done.stdout))

    # --- traffic -------------------------------------------------------------------------------------

    def click(self, count: int) -> None:
        """So many clicks, each on the next partner's link."""
        first = len(self._clicks)
        paths = (f"/c/link-{1 + n % self.partners}?sub1={n}&mode=json" for n in range(first, first + count))
        found, errors = drive(self.port, (request_of(self.port, path) for path in paths), 0, CONNECTIONS)
        if errors:
            raise SystemExit(f"{errors} clicks failed")
        found.sort()
        self._clicks += [re.search(rb'"click_id":\s*"(\w+)"', one.answer)[1].decode() for one in found]  # type: ignore[index]

    def call(self, count: int, rate: float) -> list[Sent]:
        """Conversions for so many clicks at this rate (0: as fast as they are answered)."""
        first = self._used
        self._used += count
        if self._used > len(self._clicks):
            raise SystemExit("more calls than clicks")
        paths = (f"/postback?click_id={id}&goal=install&token=s3cret" for id in self._clicks[first : self._used])
        found, errors = drive(self.port, (request_of(self.port, path) for path in paths), rate, CONNECTIONS)
        if errors:
            raise SystemExit(f"{errors} calls failed")
        return [Sent(first + one.nth, one.due_s, one.at_s) for one in found]

    def partner_of(self, n: int) -> int:
        """Whose postback number n is."""
        return 1 + n % self.partners


@contextmanager
def house(data: Path, partners: int, *, delivery: str = "{}", settings: str = "") -> Iterator[House]:
    """A house at work in a temporary folder; this process moves to the partners' core."""
    os.sched_setaffinity(0, {THEIRS})
    folder = Path(tempfile.mkdtemp(prefix="house-", dir=data)).resolve()
    made = House(folder, partners, delivery, settings)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)


def wait(done: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Until it is so."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise SystemExit(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _catalog(partners: int, port: int, delivery: str) -> str:
    lines: Sequence[str] = [
        "waypost: 1",
        "advertisers: {acme: {token: s3cret}}",
        "offers:",
        '  vpn: {advertiser: acme, url: "http://127.0.0.1/land?cid={click_id}", goals: {install: {payout: 1.20 USD}}}',
        "partners:",
        *(
            f"  partner-{n}: {{delivery: {delivery}, postbacks: [{{on: {{goal: install}}, "
            f'get: "http://{address_of(n)}:{port}/pb?n={{sub1}}"}}]}}'
            for n in range(1, partners + 1)
        ),
        "links:",
        *(f"  link-{n}: {{partner: partner-{n}, offer: vpn}}" for n in range(1, partners + 1)),
    ]
    return "\n".join(lines) + "\n"
