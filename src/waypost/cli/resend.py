"""`waypost resend`: postbacks once more, or those that rules of today would have caused, as a job in the background.

Owns: the command's options, and the way from what is selected to steps in the operator's journal. Reads a data folder
while its roles work. Never sends: the pipeline takes the steps, and couriers send behind all that is live.
"""

import getpass
import re
import secrets
import sys
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from waypost.cli.options import Data
from waypost.cli.replay import From, To, time_ms
from waypost.cli.trace import Format, FormatOption

if TYPE_CHECKING:
    from waypost.explain.resend_jobs import JobRow
    from waypost.explain.resends import Pick, Tails, Wanted
    from waypost.explain.sources import ExplainSources
    from waypost.model.frames import Frame

_RATE = re.compile(r"([1-9][0-9]{0,8})\s?/\s?([smhd])\Z")
_PER_US = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_STEPS_AT_ONCE = 500
_WAIT_MS, _POLL_MS = 5_000, 50


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(resend)


def resend(
    data: Data,
    missing: Annotated[
        bool, typer.Option("--missing", help="Tell what rules of today would have told of conversions, and never was.")
    ] = False,
    partner: Annotated[str, typer.Option("--partner", metavar="P", help="Only what goes to this partner.")] = "",
    from_: From = "",
    to: To = "",
    status: Annotated[
        str,
        typer.Option("--status", help="failed, delivered or any; with --missing a conversion's: approved, pending, …"),
    ] = "any",
    goal: Annotated[str, typer.Option("--goal", help="Only what is about this goal.")] = "",
    code: Annotated[str, typer.Option("--code", help="Only what failed with this code once, e.g. http_status.")] = "",
    id: Annotated[
        list[str] | None, typer.Option("--id", help="Only this postback, or all of this conversion; several times.")
    ] = None,
    rate: Annotated[str, typer.Option("--rate", help="At most so many: 50/s, 1000/m, 20000/h; or max.")] = "50/s",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    resume: Annotated[str, typer.Option("--resume", metavar="JOB", help="Go on with a job that was broken off.")] = "",
    list_: Annotated[bool, typer.Option("--list", help="Show all jobs, and what became of their postbacks.")] = False,
    cancel: Annotated[str, typer.Option("--cancel", metavar="JOB", help="Drop what a job has not sent yet.")] = "",
    why: Annotated[str, typer.Option("--why", help="Why it is cancelled; kept with each that is dropped.")] = "",
    format: FormatOption = Format.TEXT,
) -> None:
    """Send postbacks again, or those that were never sent, marked and behind everything live (docs/resend.md).

    Shows what it comes to, and asks. The job goes on without the command; nothing is sent twice by one job."""
    from waypost import assembly
    from waypost.layout import Layout
    from waypost.settings import load_settings

    settings = load_settings(Layout(data).settings)
    sources = assembly.open_explain_sources(data, settings)
    try:
        command = _Command(data, sources, format)
        if list_:
            command.list()
        elif cancel:
            command.cancel(cancel, why)
        elif resume:
            command.resume(resume)
        else:
            asked = _wanted(sources, missing, partner, from_, to, status, goal, code, id or [])
            command.start(asked, _every_us(rate), yes=yes)
    finally:
        sources.close()


class _Command:
    """One run of the command."""

    def __init__(self, data: Path, sources: "ExplainSources", format: Format) -> None:
        from waypost.explain.names import Names

        self._data, self._sources, self._format = data, sources, format
        self._names = Names(sources.catalogs)

    def start(self, wanted: "Wanted", every_us: int, *, yes: bool) -> None:
        """Preview, and if that is wished the job."""
        import msgspec

        from waypost.explain.resend_report import preview_json, preview_text
        from waypost.explain.resends import Tails, counted
        from waypost.model.frames import Resend
        from waypost.stages.resends import BEGIN

        tails = Tails(self._sources)
        preview = counted(self._picks(wanted, tails, "", -1))
        said: dict[str, Any] = preview_json(preview, self._names, tails.behind)
        if self._format is Format.TEXT:
            print(preview_text(preview, wanted, self._names, tails.behind))
        job = ""
        if preview.steps and (yes or self._is_wished()):
            job = f"j{int(time.time() * 1000):x}{secrets.token_hex(2)}"
            begin = Resend(_now_ms(), job, BEGIN, -1, _user(), msgspec.json.encode(wanted).decode(), every_us)
            self._append([begin])
            self._add(job, self._picks(wanted, tails, job, -1))
        if self._format is Format.JSON:
            self._print_json({**said, "job": job})
        elif job:
            print(f"job        {job}: it goes on by itself; see `waypost resend --list`")

    def _is_wished(self) -> bool:
        if self._format is Format.JSON or not sys.stdin.isatty():
            if self._format is Format.TEXT:
                print("nothing was sent: add --yes")
            return False
        return typer.confirm("send them?")

    def resume(self, name: str) -> None:
        """Writes the steps that a command which was broken off did not write."""
        from waypost.explain.resends import Tails

        row = self._job(name)
        added = 0
        if row.state == "adding":
            added = self._add(name, self._picks(row.wanted, Tails(self._sources), name, row.last))
        if self._format is Format.JSON:
            self._print_json({"job": name, "state": row.state, "steps": added})
        else:
            print(
                f"job        {name}: {added} steps added"
                if row.state == "adding"
                else f"job        {name} is {row.state}"
            )

    def list(self) -> None:
        """All jobs."""
        from waypost.explain.resend_jobs import count, jobs
        from waypost.explain.resend_report import jobs_text

        rows = jobs(self._sources)
        count(self._sources, rows)
        if self._format is Format.JSON:
            self._print_json(list(rows.values()))
        else:
            print(jobs_text(rows.values(), self._names))

    def cancel(self, name: str, why: str) -> None:
        """The pipeline adds no more of the job, and couriers drop what they have not sent."""
        from waypost.explain.resend_jobs import lanes_of
        from waypost.model.frames import Resend
        from waypost.model.lane_words import DROP, LaneWord, change_of
        from waypost.ports.lanes import ItemState
        from waypost.stages.resends import CANCEL

        self._job(name)
        why = why or f"resend {name} was cancelled"
        place = self._append([Resend(_now_ms(), name, CANCEL, 0, _user(), why)])
        is_taken = self._wait_for_pipeline(place)
        outbox = self._sources.feed("outbox")
        until = outbox.head().end if outbox is not None else 0
        states = (ItemState.QUEUED, ItemState.HELD, ItemState.DEAD)
        lanes = lanes_of(self._sources, name)
        words = [LaneWord(lane, why, until, states, job=name) for lane in lanes]
        if words:
            self._append([change_of(DROP, str(word.lane), word, at_ms=_now_ms(), by=_user()) for word in words])
        if self._format is Format.JSON:
            self._print_json({"job": name, "state": "cancelled", "lanes": lanes, "is_taken": is_taken})
            return
        print(f"job        {name} is cancelled; {len(lanes)} lanes drop what they have not sent of it")
        if not is_taken:
            print("           the pipeline has not taken that yet: cancel it once more when it works")

    # --- steps -----------------------------------------------------------------------------------------

    def _picks(self, wanted: "Wanted", tails: "Tails", job: str, after: int) -> "Iterable[Pick]":
        from waypost.explain.resends import Again
        from waypost.explain.resends_missing import Missing

        kind = Missing if wanted.missing else Again
        return kind(self._sources, wanted, tails).picks(job, _now_ms(), after)

    def _add(self, job: str, picks: "Iterable[Pick]") -> int:
        """Writes the steps in blocks, and that these are all; answers how many."""
        from waypost.model.frames import Resend
        from waypost.stages.resends import END

        steps = (pick.step for pick in picks if pick.step is not None)
        count = 0
        while block := list(islice(steps, _STEPS_AT_ONCE)):
            self._append(block)
            count += len(block)
        self._append([Resend(_now_ms(), job, END, 0, _user())])
        return count

    def _append(self, frames: "Iterable[Frame]") -> int:
        from waypost import assembly
        from waypost.layout import Layout
        from waypost.settings import load_settings

        layout = Layout(self._data)
        block = list(frames)
        return assembly.journal_changes(lambda _: block, layout, load_settings(layout.settings))

    def _wait_for_pipeline(self, place: int) -> bool:
        ledger = self._sources.ledger
        deadline = time.monotonic() + _WAIT_MS / 1000
        while ledger is not None:
            if ledger.positions().get("operator", 0) > place:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_MS / 1000)
        return False

    def _job(self, name: str) -> "JobRow":
        from waypost.errors import WaypostError
        from waypost.explain.resend_jobs import jobs

        row = jobs(self._sources).get(name)
        if row is None:
            raise WaypostError("unknown_job", place=name)
        return row

    def _print_json(self, said: Any) -> None:
        import msgspec

        sys.stdout.write(msgspec.json.format(msgspec.json.encode(said)).decode() + "\n")


def _wanted(
    sources: "ExplainSources",
    missing: bool,
    partner: str,
    from_: str,
    to: str,
    status: str,
    goal: str,
    code: str,
    ids: list[str],
) -> "Wanted":
    """The options, checked."""
    from waypost.errors import WaypostError
    from waypost.explain.resends import Wanted
    from waypost.model.frames import Status

    statuses = [one.value for one in Status] if missing else ["failed", "delivered"]
    if status not in (*statuses, "any"):
        raise typer.BadParameter(f"--status is {', '.join(statuses)} or any")
    if missing and code:
        raise typer.BadParameter("--code is of what was sent, and goes without --missing")
    wrong = [one for one in ids if not one.startswith("c" if missing else ("p", "c"))]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]!r} is no id of a {'conversion' if missing else 'postback or conversion'}")
    number = 0
    if partner:
        view = sources.catalogs.open(sources.catalogs.current())
        found = view.partner_named(partner) or (view.partner(int(partner)) if partner.isdecimal() else None)
        if found is None:
            raise WaypostError("unknown_lane", f"the catalog has no partner {partner}", place=partner)
        number = found.no
    outbox = sources.feed("outbox")
    return Wanted(
        missing=missing,
        partner=number,
        from_ms=time_ms(from_) or 0,
        to_ms=min(time_ms(to) or 1 << 62, _now_ms()),
        status="" if status == "any" else status,
        goal=goal,
        code=code,
        ids=tuple(dict.fromkeys(ids)),
        until=outbox.head().end if outbox is not None else 0,
    )


def _every_us(rate: str) -> int:
    if rate == "max":
        return 0
    match = _RATE.match(rate)
    if match is None:
        raise typer.BadParameter(f"{rate!r} is no rate: such as 50/s, 1000/m, 20000/h, or max")
    return max(1, _PER_US[match[2]] // int(match[1]))


def _now_ms() -> int:
    return int(time.time() * 1000)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return ""
