"""Options that several commands share, so that they are spelled and explained alike.

Owns: their names, defaults and help texts. Reads and writes nothing.
"""

from pathlib import Path
from typing import Annotated

import typer

DOOR_PORT = 8800
CONSOLE_PORT = 8801

Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="The data folder: all that Waypost keeps.")]
Catalog = Annotated[
    Path | None, typer.Option("--catalog", metavar="PATH", help="The catalog: a YAML file, or a folder of them.")
]
Host = Annotated[str, typer.Option("--host", help="The address to listen on; 0.0.0.0 for all, :: for IPv6 too.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="The door's port (0: any free one).")]
GrpcPort = Annotated[
    int, typer.Option("--grpc-port", min=0, max=65535, help="Take conversions by gRPC too, at this port (0: no).")
]
ConsolePort = Annotated[int, typer.Option("--console-port", min=0, max=65535, help="The console's port.")]
AllowTarget = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-target",
        metavar="CIDR",
        help="Addresses that may be called although they are private or local; may be given several times.",
    ),
]
