"""How an operator's word is asked for, shown beforehand, and told to couriers.

Owns: the preview and the prompt. Reads shards; writes the operator's journal, nothing else.
"""

import getpass
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from waypost.cli.reporting import Format

if TYPE_CHECKING:
    from waypost.explain.lanes import LaneSources
    from waypost.layout import Layout
    from waypost.model.frames import OperatorChange
    from waypost.settings import Settings

_BULK = ("lane_retry", "lane_drop")
_WHY_CHARACTERS_MAX = 500


@dataclass
class Asking:
    """What is asked of the lanes with these names; of all lanes if there is none."""

    kind: str
    names: Sequence[str]
    why: str = ""
    by: str = ""
    states: Sequence[int] = ()  # of the items that are meant, where it is about items
    codes: Sequence[str] = ()
    ids: Sequence[str] = ()
    from_ms: int = 0
    to_ms: int = 0


@contextmanager
def lane_sources(data: Path) -> "Iterator[tuple[LaneSources, Layout, Settings]]":
    """The lanes of a data folder, read-only."""
    from waypost import assembly, assembly_lanes
    from waypost.engines.local.clock import SystemClock
    from waypost.settings import load_settings

    layout = assembly.existing_data_folder(data)
    settings = load_settings(layout.settings)
    with assembly_lanes.open_lane_sources(layout, settings, SystemClock()) as sources:
        yield sources, layout, settings


def ask(data: Path, asking: Asking, *, yes: bool, format: Format) -> None:
    """Shows what it is about, asks, and tells couriers."""
    import json

    from waypost import assembly
    from waypost.explain.lanes import couriers_work, not_taken

    if len(asking.why) > _WHY_CHARACTERS_MAX:
        raise typer.BadParameter(f"--why has more than {_WHY_CHARACTERS_MAX} characters")
    with lane_sources(data) as (sources, layout, settings):
        rows = _preview(sources, asking)
        said: dict[str, Any] = {
            "kind": asking.kind.removeprefix("lane_"),
            "items": sum(row["items"] for row in rows),
            "lanes": rows,
            "not_taken": not_taken(sources),
            "couriers_work": couriers_work(sources),
            "by": asking.by or _user(),
            "why": asking.why,
            "asked": False,
        }
        if format is Format.TEXT:
            typer.echo(_preview_text(said))
        if rows and (yes or (format is Format.TEXT and typer.confirm("Go on?"))):
            changes = _changes(sources, asking, rows, said["by"])
            assembly.journal_changes(changes, layout, settings, sources.clock)
            said["asked"] = True
    if format is Format.JSON:
        typer.echo(json.dumps(said, ensure_ascii=False))
    elif said["asked"]:
        when = "take it up within a second" if said["couriers_work"] else "do not work; they take it up when they start"
        typer.echo(f"asked; couriers {when}")
    if rows and not said["asked"]:
        raise typer.Exit(1)


def _preview(sources: "LaneSources", asking: Asking) -> list[dict[str, Any]]:
    """Each lane with how many postbacks it is about; of bulk work only lanes that have some, or may have."""
    from waypost.explain.lanes import count_meant, depths_of, known_lanes, lanes_named, name_of
    from waypost.ports.lanes import ItemState

    names = asking.names
    lanes = (
        dict.fromkeys(lane for name in names for lane in lanes_named(sources, name)) if names else known_lanes(sources)
    )
    may_come = ItemState.QUEUED in asking.states  # what no courier has taken yet is meant, too
    depths = depths_of(sources)
    rows = []
    for lane in lanes:
        items = count_meant(
            sources, lane, depths.get(lane), asking.states, asking.codes, asking.ids, asking.from_ms, asking.to_ms
        )
        if items or may_come or asking.kind not in _BULK:
            rows.append({"lane": name_of(sources, lane), "number": lane, "items": items})
    return sorted(rows, key=lambda row: str(row["lane"]))


def _changes(
    sources: "LaneSources", asking: Asking, rows: Sequence[dict[str, Any]], by: str
) -> "Callable[[int], list[OperatorChange]]":
    from waypost.model.lane_words import LaneWord, change_of

    def made(at_ms: int) -> "list[OperatorChange]":
        return [
            change_of(
                asking.kind,
                row["lane"],
                LaneWord(
                    row["number"],
                    asking.why,
                    sources.outbox_end,
                    tuple(int(state) for state in asking.states),
                    tuple(asking.codes),
                    tuple(asking.ids),
                    asking.from_ms,
                    asking.to_ms,
                ),
                at_ms=at_ms,
                by=by,
            )
            for row in rows
        ]

    return made


def _preview_text(said: dict[str, Any]) -> str:
    rows = said["lanes"]
    if not rows:
        return f"{said['kind']}: nothing to do"
    what = "are meant" if said["kind"] in ("retry", "drop") else "wait there"
    lanes = "1 lane" if len(rows) == 1 else f"{len(rows)} lanes"
    lines = [f"{said['kind']}: {lanes}; {said['items']:,} postbacks {what}"]
    lines += [f"  {row['lane']:30}  {row['items']:>10,}" for row in rows[:50]]
    if len(rows) > 50:
        lines.append(f"  and {len(rows) - 50} more")
    if said["not_taken"]:
        lines.append(
            f"  {said['not_taken']:,} postbacks of all lanes are not taken by couriers yet; they are not counted"
        )
    return "\n".join(lines)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"
