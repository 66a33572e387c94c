"""The examples of docs/intake.md, run by a shell with curl against an installation with that page's catalog."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from support.installation import until
from support.waypost_process import WaypostProcess

pytestmark = pytest.mark.system

PAGE = (Path(__file__).parents[2] / "docs" / "intake.md").read_text("utf-8")
CATALOG = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0]
EXAMPLES = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
WAYS = len(re.findall(r"^curl ", "\n".join(EXAMPLES), re.MULTILINE))


def script_of(example: str, waypost: WaypostProcess) -> tuple[str, list[str]]:
    """The example as a script that prints each answer's body and status on a line, and what the page says of them."""
    expected = re.findall(r"^# (\d.*)$", example, re.MULTILINE)
    text = example.replace("127.0.0.1:8800", f"127.0.0.1:{waypost.port}")
    text = re.sub(r"\bCLICK(?:_OF_([A-Z]+))?\b", lambda found: waypost.click((found[1] or "vpn").lower()), text)
    return re.sub(r"^curl ", r"curl -sS -w ' %{http_code}\\n' ", text, flags=re.MULTILINE), expected


def as_said(expected: str, line: str) -> bool:
    """Whether `BODY STATUS` is what the page says as `STATUS BODY`; `…` stands for anything."""
    body, _, status = line.rpartition(" ")
    wanted_status, _, wanted = expected.partition(" ")
    pattern = ".*".join(re.escape(piece) for piece in wanted.split("…"))
    return status == wanted_status and re.fullmatch(pattern, body.strip()) is not None


def test_every_example_does_what_the_page_says(tmp_path: Path) -> None:
    ran = 0
    accepted: list[str] = []
    with WaypostProcess(tmp_path, CATALOG) as waypost:
        for example in EXAMPLES:
            script, expected = script_of(example, waypost)
            done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, timeout=30, check=False)
            lines = done.stdout.splitlines()
            assert len(lines) == len(expected), (script, done)
            for said, line in zip(expected, lines, strict=True):
                assert as_said(said, line), (shlex.quote(script), said, line)
                ran += 1
                accepted += re.findall(r"r[0-9a-f]{16}", line)
        until(lambda: set(accepted) <= verdicts(waypost).keys(), "all are judged and archived")
        found = verdicts(waypost)
        assert waypost.stop() == 0
    assert ran == WAYS >= 14
    assert {found[receipt] for receipt in accepted} == {""}  # accepted, and right behind the door as well


def verdicts(waypost: WaypostProcess) -> dict[str, str]:
    sources = waypost.sources()
    try:
        rows = sources.archive.query("SELECT receipt, code FROM decisions")
    finally:
        sources.close()
    return {row["receipt"]: row["code"] for row in rows}
