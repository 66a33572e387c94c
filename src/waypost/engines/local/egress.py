"""Which of this machine's addresses requests leave from.

Owns: the question to the kernel: where a datagram to a far address would leave. Nothing is sent.
"""

import socket

# Reserved for documentation (RFC 5737, RFC 3849): routed as any other far address, and nobody's.
_FAR = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def own_addresses() -> list[str]:
    """The source addresses of the routes to the world, IPv4 then IPv6; empty where there is no such route."""
    found = []
    for family, far in _FAR:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((far, 9))
            except OSError:
                continue
            found.append(str(probe.getsockname()[0]))
    return found
