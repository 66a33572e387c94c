"""A name server on loopback: answers what a table says, counts what it was asked, and can fall silent."""

import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_address

_A, _AAAA, _SOA = 1, 28, 6
_IN = 1


class NameServer:
    """`table` has the addresses of each name; a name that is not in it does not exist."""

    def __init__(self, table: dict[str, Sequence[str]] | None = None, *, ttl_s: int = 60) -> None:
        self.table: dict[str, Sequence[str]] = dict(table or {})
        self.ttl_s = ttl_s
        self.silent: set[str] = set()  # names for which no answer is given
        self.asked: Counter[str] = Counter()  # by name, for addresses of IPv4
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                query, sender = self._socket.recvfrom(4096)
                if len(query) < 12:  # our own farewell
                    return
                answer = self._answer(query)
                if answer:
                    self._socket.sendto(answer, sender)

    def _answer(self, query: bytes) -> bytes:
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += query[at] + 1
        question = query[12 : at + 5]
        (kind,) = struct.unpack(">H", query[at + 1 : at + 3])
        name = ".".join(labels).lower()
        if kind == _A:
            self.asked[name] += 1
        if name in self.silent:
            return b""
        version = {_A: 4, _AAAA: 6}.get(kind)
        found = [address for one in self.table.get(name, ()) if (address := ip_address(one)).version == version]
        records = b"".join(_record(kind, self.ttl_s, address.packed) for address in found)
        exists = name in self.table
        authority = b"" if exists else _record(_SOA, 600, b"\0\0" + struct.pack(">IIIII", 1, 600, 600, 600, 600))
        flags = 0x8180 if exists else 0x8183
        counts = struct.pack(">HHHHH", flags, 1, len(found), 0 if exists else 1, 0)
        return query[:2] + counts + question + records + authority

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendto(b"bye", self._socket.getsockname())
        self._thread.join()
        self._socket.close()


def _record(kind: int, ttl_s: int, data: bytes) -> bytes:
    return b"\xc0\x0c" + struct.pack(">HHIH", kind, _IN, ttl_s, len(data)) + data
