"""`waypost run`: every role under one supervisor, on one data folder.

Owns: what is checked before anything is started (folder, lock, ports, catalog), and the commands of the roles.
Writes: the data folder's skeleton. The supervisor itself is `runtime/supervisor.py`.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, NamedTuple

import typer

from waypost.cli.options import CONSOLE_PORT, DOOR_PORT, AllowTarget, Catalog, ConsolePort, Data, GrpcPort, Host, Port

if TYPE_CHECKING:
    from waypost.assembly import Role
    from waypost.runtime.catalog_watch import CatalogWatch
    from waypost.runtime.roles import RoleSpec

_FD_OPTIONS = ("--fd", "--tls-fd")
_LEFT_OVER_EXTRA_MS = 2000  # beyond the drain's bound, for roles of a supervisor that was killed


class _Listeners(NamedTuple):
    doors: list[socket]
    tls: list[socket]  # one a door, where the settings name a folder of certificates
    console: socket


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(rich_help_panel="Run")(run)


def run(
    data: Data,
    catalog: Catalog = None,
    port: Port = DOOR_PORT,
    console_port: ConsolePort = CONSOLE_PORT,
    host: Host = "127.0.0.1",
    grpc_port: GrpcPort = 0,
    allow_target: AllowTarget = None,
) -> None:
    """Run everything: doors, pipeline, courier, archivist and console under a supervisor."""
    from waypost import assembly, assembly_lanes
    from waypost.runtime.process import follow_supervisor
    from waypost.runtime.supervisor import Supervisor
    from waypost.telemetry.log import configure

    if not follow_supervisor():  # a program that starts `waypost run`, as the demo does, may ask to be followed
        sys.exit(0)
    configure("supervisor")
    allowed = allow_target or []
    assembly.check_ranges(allowed)
    role = assembly.open_role(data.absolute(), "supervisor")
    layout, settings, clock, stats = role
    with ExitStack() as stack:
        stack.enter_context(assembly.data_lock(layout))
        assembly.wait_for_roles(layout, _role_names(role), clock, settings.supervisor.drain_ms + _LEFT_OVER_EXTRA_MS)
        listeners = _listen(stack, role, host, port, console_port)
        grpc = _grpc_options(host, grpc_port)
        watch = _applied_catalog(role, catalog)
        assembly_lanes.deal_lanes(layout, settings, clock, stats)
        supervisor = Supervisor(
            _role_specs(role, listeners, allowed, grpc),
            run_folder=layout.run,
            log_folder=layout.logs,
            settings=settings.supervisor,
            clock=clock,
            stats=stats,
            catalog=watch,
            ready_text=_ready_text(role, host, listeners, grpc_port),
        )
        sys.exit(supervisor.run())


def _role_names(role: "Role") -> list[str]:
    from waypost import assembly_lanes

    settings = role.settings
    doors = [f"door-{slot}" for slot in range(settings.door.count)]
    shards = max(settings.courier.shards, assembly_lanes.deal_in_force(role.layout, settings).shards)
    couriers = [f"courier-{shard}" for shard in range(shards)]
    return [*doors, "pipeline", *couriers, "archivist", "console"]


def _listen(stack: ExitStack, role: "Role", host: str, port: int, console_port: int) -> _Listeners:
    from waypost.runtime.sockets import open_listener, open_listeners

    settings = role.settings.door
    doors = open_listeners(host, port, settings.count)
    tls = open_listeners(host, settings.tls_port, settings.count) if settings.tls_folder else []
    for listener in (*doors, *tls):
        stack.enter_context(listener)
    return _Listeners(doors, tls, stack.enter_context(open_listener(host, console_port)))


def _grpc_options(host: str, port: int) -> tuple[str, ...]:
    """What the doors are told of gRPC: each binds the port by itself, beside the others."""
    from waypost.runtime.sockets import check_free

    if not port:
        return ()
    check_free(host, port)
    return ("--host", host, "--grpc-port", str(port))


def _applied_catalog(role: "Role", catalog: Path | None) -> "CatalogWatch | None":
    """Applies the catalog before anything starts; a broken one is fatal unless a version is in force."""
    from waypost import assembly
    from waypost.errors import WaypostError
    from waypost.runtime.catalog_watch import CatalogWatch

    layout, settings = role.layout, role.settings
    in_force = assembly.open_catalogs(layout, settings).current()
    if catalog is None:
        if not in_force:
            raise WaypostError("no_catalog", place=str(layout.root), hint="give one with --catalog PATH")
        return None
    command = [*_waypost(), "catalog", "apply", str(catalog.absolute()), "--data", str(layout.root)]
    watch = CatalogWatch(
        catalog.absolute(), command, layout.run / "catalog-apply.out", settings.supervisor.catalog_watch_ms
    )
    result = watch.apply_now()
    print("\n".join(result.lines), file=sys.stdout if result.applied else sys.stderr, flush=True)
    if not result.applied:
        if not in_force:
            sys.exit(1)
        role.stats.add("catalog_refused")
        role.stats.details["catalog_errors"] = result.lines[:100]
        print(f"waypost: the catalog was refused; version {in_force} goes on", file=sys.stderr, flush=True)
    return watch


def _role_specs(role: "Role", listeners: _Listeners, allowed: Sequence[str], grpc: Sequence[str]) -> "list[RoleSpec]":
    """The commands, in the order of starting; their stages are the order of the drain."""
    from waypost.runtime.roles import RoleSpec

    data = ("--data", str(role.layout.root))
    targets = [part for text in allowed for part in ("--allow-target", text)]

    def spec(stage: int, kind: str, *options: str, number: int | None = None, fds: Sequence[int] = ()) -> RoleSpec:
        slot = () if number is None else ("--slot", str(number))
        handed = [part for option, fd in zip(_FD_OPTIONS, fds, strict=False) for part in (option, str(fd))]
        name = kind if number is None else f"{kind}-{number}"
        command = (*_waypost(), kind, *data, *slot, *handed, *options)
        return RoleSpec(name, command, stage, tuple(fds))

    slots = zip_longest(listeners.doors, listeners.tls)  # none of the second kind, or as many
    door_fds = [[listener.fileno() for listener in pair if listener is not None] for pair in slots]
    return [
        *(spec(0, "door", *grpc, number=slot, fds=fds) for slot, fds in enumerate(door_fds)),
        spec(1, "pipeline"),
        *(spec(2, "courier", *targets, number=shard) for shard in range(role.settings.courier.shards)),
        spec(3, "archivist"),
        spec(4, "console", fds=[listeners.console.fileno()]),
    ]


def _waypost() -> tuple[str, ...]:
    return (sys.executable, "-m", "waypost")


def _ready_text(role: "Role", host: str, listeners: _Listeners, grpc_port: int) -> str:
    from waypost.runtime.sockets import port_of, url_of

    door = url_of("http", host, port_of(listeners.doors[0]))
    tls = f" and {url_of('https', host, port_of(listeners.tls[0]))}" if listeners.tls else ""
    grpc = f" and gRPC on port {grpc_port}" if grpc_port else ""
    return (
        f"waypost: ready: door {door}{tls}{grpc}  console {url_of('http', host, port_of(listeners.console))}  "
        f"data {role.layout.root}  pid {os.getpid()}"
    )
