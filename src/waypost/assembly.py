"""The one place that names concrete engines: builds each role from settings, a data folder's layout and options.

Owns: which engine stands behind which port. Opens stores; what is opened belongs to the role that is built.
Never runs a role, and holds no logic of one. Engines are imported where they are built, so that a command loads only
what it needs (DuckDB in the archivist, libcurl in the courier).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from importlib import import_module
from pathlib import Path
from socket import socket
from tempfile import TemporaryDirectory, TemporaryFile
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from msgspec.structs import replace

from waypost.assembly_lanes import courier_readers, deal_in_force, open_lanes
from waypost.engines.local.clock import SystemClock
from waypost.errors import WaypostError
from waypost.layout import Layout
from waypost.settings import Settings, load_settings
from waypost.telemetry.stats import Stats

if TYPE_CHECKING:
    from waypost.catalog.additions import NewEntry
    from waypost.catalog.compiled import Compiled
    from waypost.console.server import Console
    from waypost.courier.courier import Courier
    from waypost.doors.door import Door
    from waypost.engines.sqlite.catalog import AppliedCatalog, SqliteCatalogStore
    from waypost.explain.sources import ExplainSources
    from waypost.model.frames import Frame
    from waypost.ports.clock import Clock
    from waypost.ports.recording import RecordingInfo
    from waypost.ports.visitors import Visitors
    from waypost.runtime.archivist import Archivist
    from waypost.runtime.case_run import CaseResult, CaseWorld
    from waypost.runtime.pipeline import Pipeline
    from waypost.runtime.replay_report import ReplayReport

_APPLY_WAIT_MS = 10_000
_Store = TypeVar("_Store")
_MODULES = {
    "door": ("doors.door", "engines.segments.journal", "engines.sqlite.catalog"),
    "pipeline": ("runtime.pipeline", "engines.sqlite.ledger", "engines.sqlite.click_store", "engines.segments.feed"),
    "courier": ("courier.courier", "courier.curl", "engines.sqlite.lanes", "engines.segments.journal"),
    "archivist": ("runtime.archivist", "engines.parquet.archive", "engines.sqlite.ledger", "engines.segments.feed"),
    "console": ("console.server",),
}


class Role(NamedTuple):
    """What every builder is given: where the data is, how it is set, and where the role counts."""

    layout: Layout
    settings: Settings
    clock: SystemClock
    stats: Stats


def make_data_folder(root: Path) -> Layout:
    """The layout of a data folder, made if it is not there. Raises WaypostError `data_unwritable`."""
    layout = Layout(root)
    try:
        for folder in (layout.root, layout.run, layout.logs, layout.refusals, layout.journals):
            folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=layout.run):  # of its own: all roles ask at once when they are started
            pass
    except OSError as error:
        raise WaypostError("data_unwritable", str(error), place=str(root)) from error
    return layout


def existing_data_folder(root: Path) -> Layout:
    """The layout of a data folder that was used before. Raises WaypostError `data_missing`."""
    layout = Layout(root)
    if not layout.catalog.is_dir() and not layout.journals.is_dir():
        raise WaypostError("data_missing", place=str(root))
    return layout


def open_role(root: Path, name: str) -> Role:
    """A role's surroundings in the data folder `root`, which is made if it is not there."""
    layout = make_data_folder(root)
    return Role(layout, load_settings(layout.settings), SystemClock(), Stats(name, layout.run / f"{name}.json"))


@contextmanager
def data_lock(layout: Layout) -> Iterator[None]:
    """Held by `waypost run`. Raises WaypostError `data_in_use` with the holder's pid."""
    from waypost.engines.local.keyring import process_lock

    with process_lock(layout.lock, detail="another waypost runs on this data folder"):
        yield


def data_lock_holder(layout: Layout) -> int:
    """The pid of the `waypost run` on this folder. Raises WaypostError `not_running` if there is none."""
    from waypost.engines.local.keyring import lock_holder

    holder = lock_holder(layout.lock)
    if not holder:
        raise WaypostError("not_running", place=str(layout.root))
    return holder


@contextmanager
def role_lock(layout: Layout, name: str, *, wait: bool = False) -> Iterator[None]:
    """Held by a role while it works: one process of a name. Raises `data_in_use` or `door_in_use`, unless it waits."""
    from waypost.engines.local.keyring import door_lock, process_lock

    kind, _, number = name.partition("-")
    if kind == "door":
        with door_lock(layout, int(number), wait=wait):
            yield
    else:
        with process_lock(layout.run / f"{name}.lock", detail=f"another {name} runs on this data folder", wait=wait):
            yield


def load_role(kind: str) -> None:
    """Imports what the role's builder imports: for a successor that waits to take over at once."""
    for module in _MODULES[kind]:
        import_module(f"waypost.{module}")


def wait_for_roles(layout: Layout, names: Sequence[str], clock: SystemClock, wait_ms: int) -> None:
    """Waits until no process holds these roles: those that a killed supervisor left over are draining.

    Raises WaypostError `data_in_use` or `door_in_use` if one still holds on after `wait_ms`.
    """
    deadline_ms = clock.monotonic_ms() + wait_ms
    for name in names:
        while True:
            try:
                with role_lock(layout, name):
                    break
            except WaypostError as error:
                if error.code not in ("data_in_use", "door_in_use") or clock.monotonic_ms() >= deadline_ms:
                    raise
            clock.sleep_ms(20)


def open_catalogs(layout: Layout, settings: Settings) -> SqliteCatalogStore:
    """The catalog versions of a data folder."""
    from waypost.engines.sqlite.catalog import SqliteCatalogStore

    return SqliteCatalogStore(layout.catalog, cache_items_max=settings.door.catalog_cache_items_max)


def check_catalog(path: Path, settings: Settings, *, secrets: bool) -> Compiled:
    """Reads and compiles a catalog; with `secrets` also what its tokens refer to. Raises a `catalog_*` code."""
    from waypost.engines.sqlite.catalog import check_catalog as check

    return check(path, settings.catalog, secrets=secrets)


def add_to_catalog(path: Path, entries: Sequence[NewEntry], settings: Settings, *, dry_run: bool) -> list[Path]:
    """Adds entries to a catalog's files; answers those that were (or would be) written. Raises a `catalog_*` code."""
    from waypost.engines.sqlite.catalog_additions import add_entries

    return add_entries(path, entries, settings.catalog, dry_run=dry_run)


def apply_catalog_with_journal(
    path: Path, layout: Layout, settings: Settings, *, secrets: bool = True
) -> AppliedCatalog:
    """Applies the catalog; what comes into force is a frame in the operator's journal.

    Waits a while for another process that applies. Raises WaypostError: a `catalog_*` code, `journal_unavailable`.
    """
    from waypost.engines.sqlite.catalog import apply_catalog

    clock = SystemClock()
    deadline_ms = clock.monotonic_ms() + _APPLY_WAIT_MS
    while True:
        try:
            return apply_catalog(
                path,
                layout.catalog,
                settings.catalog,
                secrets=secrets,
                on_activated=lambda version: _journal_activation(version, layout, settings, clock),
            )
        except WaypostError as error:
            if error.code != "catalog_busy" or clock.monotonic_ms() >= deadline_ms:
                raise
        clock.sleep_ms(50)


def _journal_activation(version: int, layout: Layout, settings: Settings, clock: SystemClock) -> None:
    from waypost.model.frames import OperatorChange

    def activated(at_ms: int) -> list[OperatorChange]:
        return [OperatorChange(at_ms, "catalog_activated", "catalog", str(version))]

    journal_changes(activated, layout, settings, clock)


def journal_changes(
    changes: Callable[[int], Sequence[Frame]], layout: Layout, settings: Settings, clock: Clock | None = None
) -> int:
    """Tells what an operator did to all who must know; see `engines.segments.operator`."""
    from waypost.engines.local.positions import FilePositions
    from waypost.engines.segments.operator import OperatorJournal

    readers = ("pipeline", "archivist", *courier_readers(deal_in_force(layout, settings).shards))
    positions = FilePositions(layout.positions)
    return OperatorJournal(layout.journals, settings.journal, clock or SystemClock(), positions, readers).append(
        changes
    )


def build_door(
    role: Role,
    number: int,
    sockets: Sequence[socket],
    tls_sockets: Sequence[socket] = (),
    grpc_address: str = "",
) -> Door:
    """The HTTP door `number` on listening sockets; on `tls_sockets` it speaks TLS, at `grpc_address` gRPC."""
    from waypost.doors.door import Door
    from waypost.engines.local.board import FileBoard
    from waypost.engines.local.keyring import load_or_create_key_ring, load_or_create_operator_key
    from waypost.engines.local.positions import FilePositions
    from waypost.engines.local.visitor_keys import FileVisitorKeys
    from waypost.engines.segments.journal import SegmentJournal
    from waypost.engines.visitors.facts import LocalVisitors

    layout, settings, clock, stats = role
    ring = load_or_create_key_ring(layout)  # before the journal: see there
    return Door(
        number=number,
        sockets=list(sockets),
        journal=SegmentJournal(layout.journals, f"door-{number}", settings.journal, clock),
        catalogs=open_catalogs(layout, settings),
        ring=ring,
        operator_key=load_or_create_operator_key(layout),
        refusals_file=layout.refusals / f"door-{number}.db",
        tls_sockets=list(tls_sockets),
        tls_folder=layout.root / settings.door.tls_folder if settings.door.tls_folder else None,
        settings=settings,
        clock=clock,
        stats=stats,
        positions=FilePositions(layout.positions),
        visitors=LocalVisitors(settings.visitors, stats, layout.geo),
        visitor_keys=FileVisitorKeys(layout.visitor_keys),
        board=FileBoard(layout.board),
        grpc_address=grpc_address,
    )


def build_pipeline(role: Role) -> Pipeline:
    """The pipeline: the one writer of click store, ledger and board."""
    from waypost.engines.local.board import FileBoard
    from waypost.engines.local.keyring import load_or_create_key_ring
    from waypost.engines.local.positions import FilePositions
    from waypost.engines.segments.feed import SegmentFeeds
    from waypost.engines.sqlite.click_store import SqliteClickStore
    from waypost.engines.sqlite.ledger import SqliteLedger
    from waypost.runtime.journal_reader import JournalReader
    from waypost.runtime.pipeline import Pipeline

    layout, settings, clock, stats = role
    return Pipeline(
        reading=JournalReader(SegmentFeeds(layout.journals), clock),
        positions=FilePositions(layout.positions),
        clicks=SqliteClickStore(layout.clicks),
        ledger=SqliteLedger(layout.ledger),
        catalogs=open_catalogs(layout, settings),
        ring=load_or_create_key_ring(layout),
        settings=settings.pipeline,
        clock=clock,
        stats=stats,
        outbox_readers=["archivist", *courier_readers(deal_in_force(layout, settings).shards)],
        board=FileBoard(layout.board),
    )


def build_courier(role: Role, shard: int, allowed: Sequence[str]) -> Courier:
    """The courier of one lane shard; `allowed` are the ranges of `--allow-target`."""
    from waypost.courier.control import OPERATOR
    from waypost.courier.courier import Courier
    from waypost.courier.curl import CurlSender
    from waypost.courier.guard import AddressGuard
    from waypost.engines.local.positions import FilePositions
    from waypost.engines.segments.feed import SegmentFeed
    from waypost.engines.segments.journal import SegmentJournal
    from waypost.engines.sqlite.catalog_files import resolve_secret
    from waypost.engines.sqlite.lanes import SqliteLanes
    from waypost.engines.sqlite.ledger import OUTBOX, SqliteFeedOfLedger

    layout, settings, clock, stats = role
    deal = deal_in_force(layout, settings)
    if shard >= deal.shards:
        raise WaypostError("no_such_shard", f"{shard}, lanes are dealt to {deal.shards}", place=str(layout.lanes))
    guard = AddressGuard(allowed, settings.courier.ports_allowed)
    return Courier(
        outbox=SqliteFeedOfLedger(layout.ledger, OUTBOX),
        lanes=SqliteLanes(layout.lane_shard(shard, deal.number), shard=shard, shards=deal.shards),
        journal=SegmentJournal(layout.journals, f"courier-{shard}", settings.journal, clock),
        own_feed=SegmentFeed(layout.journals, f"courier-{shard}"),
        catalogs=open_catalogs(layout, settings),
        sender=CurlSender(settings.courier, guard, stats),
        settings=replace(settings.courier, shards=deal.shards),
        clock=clock,
        stats=stats,
        positions=FilePositions(layout.positions),
        shard=shard,
        resolve=resolve_secret,
        words=SegmentFeed(layout.journals, OPERATOR),
    )


def check_ranges(allowed: Sequence[str]) -> None:
    """Raises WaypostError `bad_address_range` for what `--allow-target` does not take."""
    from waypost.courier.guard import parse_ranges

    parse_ranges(allowed)


def build_archivist(role: Role) -> Archivist:
    """The archivist: the one writer of the archive."""
    from waypost.engines.local.positions import FilePositions
    from waypost.engines.parquet.archive import ParquetArchive
    from waypost.engines.segments.feed import SegmentFeeds
    from waypost.engines.sqlite.ledger import LOG, OUTBOX, SqliteFeedOfLedger
    from waypost.runtime.archivist import Archivist

    layout, settings, clock, stats = role
    return Archivist(
        feeds=SegmentFeeds(layout.journals),
        log=SqliteFeedOfLedger(layout.ledger, LOG),
        outbox=SqliteFeedOfLedger(layout.ledger, OUTBOX),
        archive=ParquetArchive(layout.archive, settings.archive),
        positions=FilePositions(layout.positions),
        settings=settings.archive,
        clock=clock,
        stats=stats,
    )


def build_console(role: Role, listener: socket) -> Console:
    """The console's page on a listening socket."""
    from waypost.console.server import Console

    layout, settings, clock, stats = role
    return Console(
        listener=listener,
        run_folder=layout.run,
        catalogs=open_catalogs(layout, settings),
        settings=settings.console,
        clock=clock,
        stats=stats,
    )


def operator_key(layout: Layout) -> str:
    """The key that marks a call as the operator's test."""
    from waypost.engines.local.keyring import load_or_create_operator_key

    return load_or_create_operator_key(layout)


def open_explain_sources(data: Path, settings: Settings) -> ExplainSources:
    """Every store of a data folder, read-only, for trace and audit. Raises WaypostError `data_missing`."""
    from waypost.engines.local.keyring import load_key_ring
    from waypost.engines.local.positions import FilePositions
    from waypost.engines.parquet.archive import ParquetArchive
    from waypost.engines.segments.feed import SegmentFeeds
    from waypost.engines.sqlite.click_store import SqliteClickStore
    from waypost.engines.sqlite.ledger import SqliteLedger
    from waypost.explain.sources import ExplainSources

    layout = existing_data_folder(data)
    return ExplainSources(
        feeds=SegmentFeeds(layout.journals),
        clicks=_unless_missing(lambda: SqliteClickStore(layout.clicks, read_only=True)),
        ledger=_unless_missing(lambda: SqliteLedger(layout.ledger, read_only=True)),
        lanes=open_lanes(layout, settings),
        archive=ParquetArchive(layout.archive, settings.archive),
        catalogs=open_catalogs(layout, settings),
        ring=load_key_ring(layout),
        positions=FilePositions(layout.positions),
    )


def _unless_missing(open_store: Callable[[], _Store]) -> _Store | None:
    """A store, or None as long as its writer has not made it."""
    try:
        return open_store()
    except WaypostError as error:
        if error.code != "data_missing":
            raise
        return None


def record_traffic(
    data: Path, out: Path, settings: Settings, *, from_ms: int | None, to_ms: int | None
) -> RecordingInfo:
    """Records a stretch of an installation's traffic into the file `out`; the installation may be at work.

    Raises WaypostError: `recording_exists`, `recording_gone`, `recording_empty`, `data_missing`.
    """
    from waypost.engines.local.keyring import load_key_ring
    from waypost.engines.segments.feed import SegmentFeeds
    from waypost.engines.sqlite.click_store import SqliteClickStore
    from waypost.engines.sqlite.ledger import SqliteLedger
    from waypost.engines.sqlite.recording import SqliteRecordingWriter
    from waypost.runtime.recorder import RecorderSources, record

    layout = existing_data_folder(data)
    with ExitStack() as stack:
        ledger = stack.enter_context(closing(SqliteLedger(layout.ledger, read_only=True)))
        sources = RecorderSources(
            feeds=SegmentFeeds(layout.journals),
            ledger=ledger,
            clicks=stack.enter_context(closing(SqliteClickStore(layout.clicks, read_only=True))),
            catalogs=open_catalogs(layout, settings),
            ring=load_key_ring(layout),
            park_max_ms=settings.pipeline.park_max_ms,
        )
        writer = SqliteRecordingWriter(out, layout.catalog)
        stack.callback(writer.abandon)
        return record(sources, writer, from_ms=from_ms, to_ms=to_ms)


def replay_recording(file: Path, settings: Settings, *, catalog: Path | None = None) -> ReplayReport:
    """Replays a recording under its own catalogs, or all of it under the one that `catalog` makes. Never sends.

    Works in a temporary folder. Raises WaypostError: a `catalog_*` code, `data_missing`, `store_corrupt`.
    """
    from waypost.courier.rehearsal import render_of
    from waypost.courier.render import Renderer
    from waypost.engines.sqlite.catalog import SqliteCatalogStore, apply_catalog
    from waypost.engines.sqlite.click_store import SqliteClickStore
    from waypost.engines.sqlite.ledger import SqliteLedger
    from waypost.engines.sqlite.recording import SqliteRecording
    from waypost.runtime.replay import ReplayCatalogs, ReplayStores
    from waypost.runtime.replay_report import Side, compare

    with closing(SqliteRecording(file)) as recording, TemporaryDirectory(prefix="waypost-replay-") as scratch:
        folder = Path(scratch)
        recording.unpack_catalogs(folder / "catalog")
        base = SqliteCatalogStore(folder / "catalog", cache_items_max=settings.door.catalog_cache_items_max)
        in_force = base.current()
        instead = 0
        if catalog is not None:
            instead = apply_catalog(catalog, folder / "catalog", settings.catalog, secrets=False).version
        stores = ReplayStores(SqliteLedger(folder / "ledger" / "ledger.db"), SqliteClickStore(folder / "clicks"), base)
        now = ReplayCatalogs(base, instead)
        was_side = Side(render_of(Renderer(base)), base.open(in_force))
        now_side = Side(render_of(Renderer(now)), base.open(instead or in_force))
        return compare(recording, stores, settings.pipeline, was_side, now_side, instead=instead)


def run_cases(catalog: Path, named: Sequence[Path], settings: Settings) -> list[CaseResult]:
    """Runs the cases of a catalog, or those of the files that are named, in a temporary folder. Never sends.

    No secret is read: each that the catalog refers to stands for itself. Raises WaypostError: a `catalog_*` code.
    """
    from waypost.catalog.cases import Words, read_cases
    from waypost.engines.sqlite.catalog import SqliteCatalogStore, apply_catalog
    from waypost.engines.sqlite.catalog_files import read_case_sources
    from waypost.engines.visitors.facts import LocalVisitors
    from waypost.model.facts import BROWSER_FACTS, GEO_FACTS
    from waypost.runtime.case_run import run_case
    from waypost.stages.checks import CHECKS, OTHER_CODES

    sources = read_case_sources(catalog, named, settings.catalog.bytes_max)
    codes = {check.code for check in CHECKS} | OTHER_CODES.keys() | {"duplicate"}
    words = Words([check.name for check in CHECKS], codes, [*GEO_FACTS, *BROWSER_FACTS])
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # nothing there is to outlive the command
    with TemporaryDirectory(prefix="waypost-cases-", dir=in_memory) as scratch:
        folder = Path(scratch)
        cases = read_cases(sources, check_catalog(catalog, settings, secrets=False), words)
        apply_catalog(catalog, folder / "catalog", settings.catalog, secrets=False)
        store = SqliteCatalogStore(
            folder / "catalog", cache_items_max=settings.door.catalog_cache_items_max, resolve=str
        )
        visitors = LocalVisitors(settings.visitors, Stats("cases"))
        make_world = _worlds(folder, store, visitors, settings)
        return [run_case(case, make_world) for case in cases]


def _worlds(
    folder: Path, store: SqliteCatalogStore, visitors: Visitors, settings: Settings
) -> Callable[[int], CaseWorld]:
    """Makes what a case runs in: stores of its own, and a door and a pipeline over the one catalog."""
    from waypost.courier.rehearsal import render_of
    from waypost.courier.render import Renderer
    from waypost.courier.secrets import Secrets
    from waypost.doors.rehearsal import RehearsalDoor
    from waypost.engines.sqlite.click_store import SqliteClickStore
    from waypost.engines.sqlite.ledger import SqliteLedger
    from waypost.model.ids import ClickIdCodec, KeyRing
    from waypost.runtime.case_run import CaseWorld
    from waypost.runtime.rehearsal import RehearsalPipeline, SetClock

    ring = KeyRing({"0": b"cases: no secret"})
    render = render_of(Renderer(store, Secrets(str, lambda: 0.0)))

    def make(at_ms: int) -> CaseWorld:
        own = TemporaryDirectory(dir=folder)
        clock = SetClock(at_ms)
        ledger, clicks = SqliteLedger(Path(own.name) / "ledger.db"), SqliteClickStore(Path(own.name) / "clicks")
        pipeline = RehearsalPipeline(
            ledger=ledger, clicks=clicks, catalogs=store, ring=ring, settings=settings.pipeline, clock=clock
        )
        view = store.open(store.current())
        door = RehearsalDoor(view=view, ring=ring, visitors=visitors, settings=settings, clock=clock)

        def close() -> None:
            pipeline.close()
            door.close()
            own.cleanup()

        return CaseWorld(view, ClickIdCodec(ring), clock, door, pipeline, render, close)

    return make
