"""`waypost restart`: has a running `waypost run` replace its roles' processes, one by one, without a failed request.

Owns: the request (DATA/run/replace and a SIGHUP) and what is said of its outcome. Reads the supervisor's snapshot.
The replacing itself is `runtime/supervisor.py`.
"""

import json
import os
import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from waypost.cli.options import Data
from waypost.errors import WaypostError

_WAIT_MS_A_ROLE = 60_000
_POLL_MS = 50

Roles = Annotated[
    list[str] | None, typer.Argument(metavar="[ROLE]...", help="e.g. door, door-1, pipeline. All if none.")
]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(rich_help_panel="Run")(restart)


def restart(data: Data, roles: Roles = None) -> None:
    """Replace the processes of a running installation, one by one: after an upgrade, or for new settings."""
    from waypost import assembly
    from waypost.runtime.supervisor import REPLACE_FILE

    layout = assembly.existing_data_folder(data)
    pid = assembly.data_lock_holder(layout)
    file = layout.run / "supervisor.json"
    before = _shown(file)
    names = [name for name in before if not roles or name in roles or name.partition("-")[0] in roles]
    known = {*before, *(name.partition("-")[0] for name in before)}
    if unknown := [role for role in roles or () if role not in known]:
        hint = f"there are {', '.join(before)}"
        raise WaypostError("not_found", f"no role is called {', '.join(unknown)}", hint=hint)
    request = layout.run / REPLACE_FILE
    partial = request.with_suffix(".partial")
    partial.write_text("\n".join(names) + "\n", "utf-8")
    partial.replace(request)
    os.kill(pid, signal.SIGHUP)
    for name in names:
        _await(request, file, name, before[name]["replaced"])


def _await(request: Path, file: Path, name: str, replaced: int) -> None:
    """Until the role was replaced; prints it. Raises WaypostError `not_replaced`."""
    from waypost.engines.local.clock import SystemClock

    clock = SystemClock()
    deadline_ms = clock.monotonic_ms() + _WAIT_MS_A_ROLE
    while clock.monotonic_ms() < deadline_ms:
        details = _details(file)
        shown = details.get("roles", {}).get(name, {})
        if shown.get("replaced", 0) > replaced:
            print(f"{name}: replaced, pid {shown['pid']}", flush=True)
            return
        if details.get("replacement_failed") and not request.exists():
            raise WaypostError("not_replaced", place=str(details["replacement_failed"]))
        clock.sleep_ms(_POLL_MS)
    raise WaypostError("not_replaced", f"not within {_WAIT_MS_A_ROLE // 1000} s", place=name)


def _shown(file: Path) -> dict[str, dict[str, Any]]:
    return dict(_details(file).get("roles", {}))


def _details(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_bytes())["details"])
    except (OSError, ValueError, KeyError) as error:
        raise WaypostError("not_running", str(error)) from error
