"""Logs: what is written, and what becomes of who logs when it cannot be."""

import json
import subprocess
import sys

_SCRIPT = """
import sys
from waypost.telemetry.log import configure, logger
configure("door-0", json_lines=True)
for nth in range(5000):
    logger("doors").error("journal_failed", nth=nth)
print("alive", flush=True)
"""


def test_a_log_that_cannot_be_written_ends_nobody() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 (a device that is always full)
        done = subprocess.run([sys.executable, "-c", _SCRIPT], stdout=subprocess.PIPE, stderr=full, check=False)
    assert done.stdout == b"alive\n"


def test_a_line_is_an_event_with_its_role_and_room() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert len(lines) == 5000
    assert (lines[7]["event"], lines[7]["nth"], lines[7]["role"], lines[7]["room"], lines[7]["level"]) == (
        "journal_failed", 7, "door-0", "doors", "error",
    )  # fmt: skip
