"""`waypost demo` as a newcomer meets it: traffic within seconds, postbacks delivered, a trace to try, a clean end."""

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from support.installation import DEADLINE_S, until
from waypost.errors import WaypostError
from waypost.runtime.sockets import open_listener

pytestmark = pytest.mark.system

COUNTS = r"(\d+) clicks redirected, (\d+) postbacks accepted, (\d+) calls judged, (\d+) postbacks delivered"


def demo(data: Path, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "waypost", "demo", "--data", str(data), "--rate", "40", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_the_demo_shows_traffic_and_ends_by_itself(tmp_path: Path) -> None:
    with demo(tmp_path / "data", "--seconds", "8") as process:
        said, _ = process.communicate(timeout=2 * DEADLINE_S)
    assert process.returncode == 0, said
    clicks, accepted, judged, delivered = map(int, re.findall(COUNTS, said)[-1])
    assert clicks > 100
    assert accepted > 20
    assert judged == accepted
    assert delivered > 10
    traced = re.search(r"try: waypost trace --data \S+ (r[0-9a-f]{16})", said)
    assert traced is not None, said
    trace = subprocess.run(
        [sys.executable, "-m", "waypost", "trace", "--data", str(tmp_path / "data"), traced[1]],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert trace.returncode == 0, trace.stderr
    assert traced[1] in trace.stdout
    audit = subprocess.run(
        [sys.executable, "-m", "waypost", "audit", "--data", str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_the_demo_takes_another_port_and_ends_at_ctrl_c(tmp_path: Path) -> None:
    said: list[str] = []
    try:
        busy = open_listener("127.0.0.1", 8800)
    except WaypostError:  # somebody has it already, which serves as well
        busy = None
    with demo(tmp_path / "data") as process:
        assert process.stdout is not None
        reader = threading.Thread(target=lambda: said.extend(process.stdout or ()), daemon=True)
        reader.start()
        until(lambda: any("postbacks delivered" in line for line in said), "a line of counts", 2 * DEADLINE_S)
        process.send_signal(signal.SIGINT)
        assert process.wait(2 * DEADLINE_S) == 0
        reader.join()
    if busy is not None:
        busy.close()
    assert any("port 8800 (door) is in use, taking " in line for line in said)
    assert not any("Traceback" in line for line in said)
    assert said[-1].strip() == "waypost demo: ending"
