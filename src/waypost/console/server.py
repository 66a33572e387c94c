"""The console's process: the application under uvicorn, on a socket that somebody else bound.

Owns: the server's life. Never writes to any store.
"""

import signal
from pathlib import Path
from socket import socket

import uvicorn

from waypost.console.app import create_app
from waypost.console.status import StatusReader
from waypost.ports.catalog_source import CatalogSource
from waypost.ports.clock import Clock
from waypost.settings import ConsoleSettings
from waypost.telemetry.stats import Stats

_DRAIN_S = 2  # a page is short; an open keep-alive connection must not hold up the end


class Console:
    """`run` blocks until SIGTERM or SIGINT."""

    def __init__(
        self,
        *,
        listener: socket,
        run_folder: Path,
        catalogs: CatalogSource,
        settings: ConsoleSettings,
        clock: Clock,
        stats: Stats,
    ) -> None:
        self._listener = listener
        reader = StatusReader(run_folder, catalogs, settings, clock)
        config = uvicorn.Config(
            create_app(reader, clock),
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="on",
            loop="uvloop",
            timeout_graceful_shutdown=_DRAIN_S,
        )
        self._server = uvicorn.Server(config)
        stats.set("catalog_version", catalogs.current())

    def run(self) -> None:
        """Serves. uvicorn takes the signals while it runs, and raises them again when it has ended."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: None)
        self._server.run(sockets=[self._listener])
