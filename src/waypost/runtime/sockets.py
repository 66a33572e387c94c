"""Listening sockets: bound once, kept by the supervisor, handed to each successor of a role.

Owns: how a port is taken. A socket of a door slot lives as long as its supervisor, so connections that arrive while
a door is replaced wait in its backlog instead of being refused.
Several slots share a port by SO_REUSEPORT (Linux `socket(7)`), which would also let another program of the same user
join in silently; so the port is first bound without it, which fails if anybody listens there.
`::` listens on every address of both families.
Never accepts a connection: that is the role's part.
"""

import errno
import socket

from waypost.errors import WaypostError

BACKLOG = 4096


def open_listeners(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` listening sockets on one port (0: a free one), between which the kernel spreads connections.

    Raises WaypostError `port_in_use` if another program listens there, `cannot_listen` if the address is not ours or
    the port is not allowed.
    """
    sockets: list[socket.socket] = []
    try:
        with _bound(host, port, shared=False) as probe:
            probe.listen(1)
            port = probe.getsockname()[1]
        for _ in range(count):
            sockets.append(_bound(host, port, shared=True))
            sockets[-1].listen(BACKLOG)
    except OSError as error:
        for listener in sockets:
            listener.close()
        raise _explained(error, host, port) from error
    return sockets


def open_listener(host: str, port: int) -> socket.socket:
    """One listening socket that shares its port with nobody. Raises as `open_listeners`."""
    try:
        listener = _bound(host, port, shared=False)
        listener.listen(BACKLOG)
    except OSError as error:
        raise _explained(error, host, port) from error
    return listener


def adopt(fd: int) -> socket.socket:
    """The listening socket that a parent process left open as `fd`. Raises `cannot_listen` if it is none."""
    try:
        listener = socket.socket(fileno=fd)
        listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise WaypostError("cannot_listen", f"file descriptor {fd}: {error.strerror}") from error
    if not listening:
        listener.detach()
        raise WaypostError("cannot_listen", f"file descriptor {fd} is no listening socket")
    return listener


def check_free(host: str, port: int) -> None:
    """Raises as `open_listeners` if the port cannot be taken: for what binds it by itself later."""
    open_listener(host, port).close()


def free_port(host: str, preferred: int) -> int:
    """`preferred` if nobody listens there now, else a free port. Somebody may take it before the caller does."""
    for port in (preferred, 0):
        try:
            with _bound(host, port, shared=False) as probe:
                probe.listen(1)
                return int(probe.getsockname()[1])
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise _explained(error, host, port) from error
    raise WaypostError("port_in_use", "no port is free", place=host)


def url_of(scheme: str, host: str, port: int) -> str:
    """The address of a door as a user types it."""
    host = bare_host(host)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def bare_host(host: str) -> str:
    """A host without the brackets that an IPv6 address has in a URL."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def port_of(listener: socket.socket) -> int:
    """The port that a bound socket has."""
    return int(listener.getsockname()[1])


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    host = bare_host(host)
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if family == socket.AF_INET6:  # `::` takes IPv4 as well; one address takes only its own
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        # Without it a port is refused for a minute after a restart, because of old connections in TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener


def _explained(error: OSError, host: str, port: int) -> WaypostError:
    place = f"[{bare_host(host)}]:{port}" if ":" in host else f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return WaypostError("port_in_use", f"port {port} is taken by another program", place=place)
    hint = "use a port above 1023, or start with the right to bind it" if error.errno == errno.EACCES else ""
    return WaypostError("cannot_listen", f"cannot listen: {error.strerror or error}", place=place, hint=hint)
