"""A segment's place on disk: one folder for each range of a feed, one Parquet file in it for each table with rows.

Owns: the names, which are the only manifest, and the steps that make a folder appear or go as a whole.
Layout: `FEED/START-END/TABLE.parquet`, positions as 16 digits; names that begin with a dot are unfinished or leftovers.
Never opens a Parquet file.

A folder is filled under a dotted name, everything in it is fsynced, then it is renamed: a crash leaves either nothing
or all of a range, whatever number of tables it has. A merged segment contains the ranges it replaces; those are
ignored from the moment it appears, and removed then or at the next start.
"""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from waypost.engines.local.durable import sync_path
from waypost.errors import WaypostError

_DIGITS = 16


class Segment(NamedTuple):
    """Positions [start, end) of a feed, and the folder that holds their rows."""

    start: int
    end: int
    folder: Path

    @property
    def length(self) -> int:
        return self.end - self.start

    def file(self, table: str) -> Path:
        return self.folder / f"{table}.parquet"


def segment_name(start: int, end: int) -> str:
    return f"{start:0{_DIGITS}d}-{end:0{_DIGITS}d}"


def list_feeds(folder: Path) -> list[str]:
    """Feeds that have a folder, sorted."""
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != ".")
    except FileNotFoundError:
        return []


def list_segments(folder: Path, feed: str) -> tuple[list[Segment], list[Segment]]:
    """Segments in order of positions: those in force, and those that a larger one replaces."""
    found = []
    for name in _steady_names(folder / feed):
        start, dash, end = name.partition("-")
        if dash and start.isdigit() and end.isdigit():
            found.append(Segment(int(start), int(end), folder / feed / name))
    found.sort(key=lambda segment: (segment.start, -segment.end))
    held: list[Segment] = []
    replaced: list[Segment] = []
    for segment in found:
        inside = bool(held) and segment.end <= held[-1].end
        (replaced if inside else held).append(segment)
    return held, replaced


def _steady_names(folder: Path) -> set[str]:
    """A folder's names, listed until two listings agree.

    One listing may miss a merged segment that appears behind it and those it replaces, which go before it comes to
    them. What went before a listing's end was replaced before the next began, so that one differs.
    """
    before: set[str] | None = None
    while True:
        try:
            names = {entry.name for entry in folder.iterdir() if entry.name[0] != "."}
        except FileNotFoundError:
            return set()
        if names == before:
            return names
        before = names


def tables_of(segment: Segment) -> frozenset[str] | None:
    """Tables of which a segment has rows; it never changes. None if the segment has just been replaced."""
    try:
        names = frozenset(entry.stem for entry in segment.folder.iterdir() if entry.suffix == ".parquet")
    except FileNotFoundError:
        return None
    # It is renamed before its files go: if it still has its name, the listing is whole.
    return names if segment.folder.exists() else None


def prepare(folder: Path, feed: str, start: int, end: int) -> Path:
    """An empty folder under a dotted name, to be filled and given to `publish`."""
    feed_folder = folder / feed
    if not feed_folder.exists():
        feed_folder.mkdir(parents=True)
        sync_path(folder)
    temporary = feed_folder / f".new-{segment_name(start, end)}"
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir()
    return temporary


def publish(temporary: Path) -> Path:
    """Makes the filled folder durable and visible, as a whole."""
    for file in temporary.iterdir():
        sync_path(file)
    sync_path(temporary)
    final = temporary.with_name(temporary.name.removeprefix(".new-"))
    temporary.rename(final)
    sync_path(final.parent)
    return final


def discard(segment: Path) -> None:
    """Takes a folder away as a whole: hidden first, then deleted."""
    hidden = segment.with_name(f".old-{segment.name}")
    segment.rename(hidden)
    shutil.rmtree(hidden)


def clean(folder: Path) -> None:
    """Removes what a crash left: unfinished and hidden folders, and replaced segments. For the writer alone."""
    for feed in list_feeds(folder):
        for entry in list(os.scandir(folder / feed)):
            if entry.name.startswith((".new-", ".old-")):
                shutil.rmtree(entry.path)
        for segment in list_segments(folder, feed)[1]:
            discard(segment.folder)


def plan_merges(segments: list[Segment], compact_at: int, rows_max: int) -> list[list[Segment]]:
    """Which neighbours to merge: runs of `compact_at` segments and more of one size class or below.

    A class is a power of `compact_at`; what has half of `rows_max` is left alone for good, and no result exceeds it.
    """
    merges: list[list[Segment]] = []
    taken: set[int] = set()
    for bound in _class_bounds(compact_at, rows_max):
        run: list[Segment] = []
        for segment in [*segments, None]:
            fits = segment is not None and segment.length < bound and segment.start not in taken
            if segment is not None and fits and (not run or run[-1].end == segment.start):
                run.append(segment)
                continue
            if len(run) >= compact_at:
                groups = _pack(run, rows_max)
                merges.extend(groups)
                taken.update(member.start for group in groups for member in group)
            run = [segment] if segment is not None and fits else []
    return merges


def _class_bounds(compact_at: int, rows_max: int) -> list[int]:
    bounds = [max(compact_at, 2)]
    while bounds[-1] * bounds[0] < rows_max // 2:
        bounds.append(bounds[-1] * bounds[0])
    return [*bounds, max(rows_max // 2, 2)]


def _pack(run: list[Segment], rows_max: int) -> list[list[Segment]]:
    groups: list[list[Segment]] = [[]]
    for segment in run:
        if groups[-1] and segment.end - groups[-1][0].start > rows_max:
            groups.append([])
        groups[-1].append(segment)
    return [group for group in groups if len(group) > 1]


def check_feed_name(feed: str) -> None:
    """Raises WaypostError `bad_id` for a name that cannot be a folder's."""
    if not feed or feed.startswith(".") or "/" in feed or "\0" in feed:
        raise WaypostError("bad_id", f"{feed!r} cannot name a feed")
