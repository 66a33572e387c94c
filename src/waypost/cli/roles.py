"""`waypost door|pipeline|courier|archivist|console`: one role as a command of its own.

Owns: the life of a role's process: follow the supervisor, take the role's lock (a successor waits for it, with all
imported), publish counters, work until asked to stop. `waypost run` starts the same commands, and hands the listening
socket by `--fd`.
Never builds anything itself: that is `assembly.py`.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from waypost.cli.options import CONSOLE_PORT, DOOR_PORT, AllowTarget, Catalog, ConsolePort, Data, GrpcPort, Host, Port

if TYPE_CHECKING:
    from socket import socket

    from waypost.assembly import Role

Slot = Annotated[int, typer.Option("--slot", min=0, help="Its number; no two of a data folder may share it.")]
Fd = Annotated[int | None, typer.Option("--fd", hidden=True, help="A listening socket left open by the parent.")]

TlsFd = Annotated[int | None, typer.Option("--tls-fd", hidden=True, help="The same, for TLS.")]


# Every role takes the options of `waypost run`, so that one list of them fits all; those it has no use for are hidden.
AnyHost = Annotated[str, typer.Option("--host", hidden=True)]
AnyPort = Annotated[int, typer.Option("--port", hidden=True)]
AnyGrpcPort = Annotated[int, typer.Option("--grpc-port", hidden=True)]
AnyConsolePort = Annotated[int, typer.Option("--console-port", hidden=True)]
AnyTarget = Annotated[list[str] | None, typer.Option("--allow-target", hidden=True)]


def register(app: typer.Typer) -> None:
    """Adds the roles' commands."""
    for command in (door, pipeline, courier, archivist, console):
        app.command(rich_help_panel="Roles")(command)


def door(
    data: Data,
    catalog: Catalog = None,
    host: Host = "127.0.0.1",
    port: Port = DOOR_PORT,
    slot: Slot = 0,
    fd: Fd = None,
    tls_fd: TlsFd = None,
    grpc_port: GrpcPort = 0,
    console_port: AnyConsolePort = 0,
    allow_target: AnyTarget = None,
) -> None:
    """An HTTP door: clicks and postbacks in, each journaled before it is answered."""
    from waypost import assembly

    with (
        _role(f"door-{slot}", data, catalog) as role,
        _listener(fd, host, port) as listener,
        _tls_listener(role, fd is not None, tls_fd, host) as tls_listeners,
    ):
        address = _grpc_address(host, grpc_port, is_first=fd is None)
        work = assembly.build_door(role, slot, [listener], tls_listeners, address)
        with _publishing(role):
            work.run()


def pipeline(
    data: Data,
    catalog: Catalog = None,
    host: AnyHost = "",
    port: AnyPort = 0,
    console_port: AnyConsolePort = 0,
    allow_target: AnyTarget = None,
    grpc_port: AnyGrpcPort = 0,
) -> None:
    """The pipeline: judges what the doors took, and decides what is sent."""
    from waypost import assembly

    with _role("pipeline", data, catalog) as role:
        stop = _stop(role)
        work = assembly.build_pipeline(role)
        with _publishing(role):
            work.run(stop)


def courier(
    data: Data,
    catalog: Catalog = None,
    allow_target: AllowTarget = None,
    slot: Slot = 0,
    host: AnyHost = "",
    port: AnyPort = 0,
    console_port: AnyConsolePort = 0,
    grpc_port: AnyGrpcPort = 0,
) -> None:
    """The courier: sends postbacks, each partner in its own lane. `--slot` is its shard of lanes."""
    from waypost import assembly

    with _role(f"courier-{slot}", data, catalog) as role:
        stop = _stop(role)
        work = assembly.build_courier(role, slot, allow_target or [])
        with _publishing(role):
            work.run(stop)


def archivist(
    data: Data,
    catalog: Catalog = None,
    host: AnyHost = "",
    port: AnyPort = 0,
    console_port: AnyConsolePort = 0,
    allow_target: AnyTarget = None,
    grpc_port: AnyGrpcPort = 0,
) -> None:
    """The archivist: writes what happened into columns, for traces, reports and audits."""
    from waypost import assembly

    with _role("archivist", data, catalog) as role:
        os.nice(role.settings.archive.niceness)
        stop = _stop(role)
        work = assembly.build_archivist(role)
        with _publishing(role):
            work.run(stop)


def console(
    data: Data,
    catalog: Catalog = None,
    host: Host = "127.0.0.1",
    console_port: ConsolePort = CONSOLE_PORT,
    fd: Fd = None,
    port: AnyPort = 0,
    allow_target: AnyTarget = None,
    grpc_port: AnyGrpcPort = 0,
) -> None:
    """The console: a page with health and counts, /healthz, /metrics and /api/status."""
    from waypost import assembly

    with _role("console", data, catalog) as role, _listener(fd, host, console_port) as listener:
        work = assembly.build_console(role, listener)
        with _publishing(role):
            work.run()


@contextmanager
def _role(name: str, data: Path, catalog: Path | None) -> "Iterator[Role]":
    """Everything around a role's work; ends the process at once if the supervisor is dead already."""
    from waypost import assembly
    from waypost.runtime.process import follow_supervisor, stand_by
    from waypost.telemetry.log import configure

    if not follow_supervisor():
        sys.exit(0)
    configure(name)
    role = assembly.open_role(data, name)
    is_successor = stand_by(lambda: assembly.load_role(name.partition("-")[0]))
    with assembly.role_lock(role.layout, name, wait=is_successor):
        if catalog is not None:
            assembly.apply_catalog_with_journal(catalog, role.layout, role.settings)
        yield role


@contextmanager
def _publishing(role: "Role") -> Iterator[None]:
    """Publishes counters from when the role is built, and has the process ready for its loop."""
    from waypost.runtime.large_pages import LargePages
    from waypost.runtime.process import Publisher, collect_rarely

    collect_rarely()
    settings = role.settings.supervisor
    with Publisher(role.stats, role.clock, settings.status_ms), LargePages(role.stats, settings.large_pages_ms):
        yield


def _stop(role: "Role") -> Callable[[], bool]:
    from waypost.runtime.process import StopFlag

    return StopFlag(role.settings.supervisor.drain_ms)


def _grpc_address(host: str, port: int, *, is_first: bool) -> str:
    """Where gRPC is listened for, empty if it is not. Its library binds the port itself, and shares it with the doors
    of the same user; so whoever is first looks whether it is free."""
    from waypost.runtime.sockets import bare_host, check_free

    if not port:
        return ""
    if is_first:
        check_free(host, port)
        print(f"waypost: gRPC on port {port}", flush=True)
    host = bare_host(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def _listener(fd: int | None, host: str, port: int) -> "Iterator[socket]":
    """The parent's socket, or one of our own, which is announced."""
    from waypost.runtime.sockets import adopt, open_listener, port_of, url_of

    with ExitStack() as stack:
        listener = stack.enter_context(adopt(fd) if fd is not None else open_listener(host, port))
        if fd is None:
            print(f"waypost: listening on {url_of('http', host, port_of(listener))}", flush=True)
        yield listener


@contextmanager
def _tls_listener(role: "Role", is_handed: bool, fd: int | None, host: str) -> "Iterator[list[socket]]":
    """The socket for TLS, if the settings name a folder of certificates; the parent's where it hands its sockets."""
    from waypost.runtime.sockets import adopt, open_listener, port_of, url_of

    settings = role.settings.door
    with ExitStack() as stack:
        if fd is not None:
            yield [stack.enter_context(adopt(fd))]
        elif is_handed or not settings.tls_folder:
            yield []
        else:
            listener = stack.enter_context(open_listener(host, settings.tls_port))
            print(f"waypost: listening on {url_of('https', host, port_of(listener))}", flush=True)
            yield [listener]
