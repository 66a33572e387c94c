"""A `waypost run` that a test kills: single roles, or all at once; and what its commands say of it.

Whatever happens in a test, no process is left over: at the end every process that works on the data folder is killed.
"""

import contextlib
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.installation import Installation, until
from waypost import assembly
from waypost.engines.sqlite.ledger import LOG, SqliteFeedOfLedger
from waypost.explain.sources import ExplainSources
from waypost.model.frames import Decision
from waypost.model.ids import receipt_text
from waypost.model.wire import decode_block
from waypost.settings import load_settings

ROLES = ("door-0", "door-1", "pipeline", "courier-0", "archivist", "console")


class WaypostProcess(Installation):
    """See `Installation`; `settings` go to DATA/settings.toml."""

    def __init__(self, folder: Path, catalog: str, settings: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "catalog.yaml"
        file.write_text(catalog, "utf-8")
        super().__init__(folder, file)
        self.data.mkdir()
        (self.data / "settings.toml").write_text(settings, "utf-8")

    def __exit__(self, *_: object) -> None:
        try:
            super().__exit__()
        finally:
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def processes(self) -> list[int]:
        """Every living process that was started on this data folder."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if str(self.data).encode() in words and b"waypost" in words:
                    found.append(int(folder.name))
        return found

    def kill_and_await(self, name: str) -> None:
        """SIGKILL to a role; waits until its successor works."""
        before = self.snapshot(name)["pid"]
        os.kill(before, signal.SIGKILL)
        until(lambda: self.snapshot(name).get("pid") not in (None, before), f"{name} works again")

    def kill_everything(self) -> None:
        """SIGKILL to all processes at once, the supervisor first: nothing is drained, nothing started again."""
        assert self._process is not None
        pids = [self._process.pid, *(pid for pid in self.processes() if pid != self._process.pid)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        until(lambda: not self.processes(), "all are dead")

    def snapshot(self, name: str) -> dict[str, Any]:
        """What a role published last; empty if nothing."""
        try:
            return dict(json.loads((self.data / "run" / f"{name}.json").read_bytes()))
        except FileNotFoundError:
            return {}

    def answers(self, *words: str, exit_code: int = 0) -> Any:
        """What a command prints with `--format json`."""
        done = self.waypost(*words, "--data", str(self.data), "--format", "json")
        assert done.returncode == exit_code, (words, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return json.loads(done.stdout)

    def trace(self, id: str) -> Any:
        return self.answers("trace", id)

    def audit(self) -> Any:
        """The report of an audit that finds nothing wrong."""
        report = self.answers("audit")
        assert report["ok"], report
        return report

    def sources(self) -> ExplainSources:
        """Every store, read-only, in this process; the caller closes them."""
        return assembly.open_explain_sources(self.data, load_settings(self.data / "settings.toml"))


def of_event(story: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """The events of one kind in a story that `waypost trace --format json` told."""
    return [event for event in story["events"] if event["event"] == kind]


def decided_receipts(house: WaypostProcess) -> set[str]:
    """Receipts of all calls that have their verdict: in the archive, or beyond it in the ledger's log."""
    sources = house.sources()
    try:
        found = {str(row["receipt"]) for row in sources.archive.query("SELECT receipt FROM decisions")}
    finally:
        sources.close()
    log = SqliteFeedOfLedger(house.data / "ledger" / "ledger.db", LOG)
    position = log.head().first
    while blocks := log.read(position, 10_000):
        frames = [frame for block in blocks for frame in decode_block(block.data, block.count)]
        found |= {receipt_text(frame.receipt) for frame in frames if isinstance(frame, Decision)}
        position = blocks[-1].end
    log.close()
    return found
