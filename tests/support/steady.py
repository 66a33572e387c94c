"""One user after the other, without a pause, in a thread of its own: shows whether anything was ever interrupted."""

import socket
import threading
import time

TIMEOUT_S = 30.0


class Steady:
    """GETs `target` over a new connection each time between `__enter__` and `__exit__`.

    `refused`: connections that were not taken. `broken`: taken, but no whole answer came; with the time at which the
    connection was made. `statuses`: how often each status was answered.
    """

    def __init__(self, port: int, target: str) -> None:
        self.refused: list[str] = []
        self.broken: list[tuple[float, str]] = []
        self.statuses: dict[int, int] = {}
        self.longest_s = 0.0
        self._address = ("127.0.0.1", port)
        self._request = f"GET {target} HTTP/1.1\r\nHost: waypost\r\nConnection: close\r\n\r\n".encode("ascii")
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Steady":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopped.set()
        self._thread.join(TIMEOUT_S)

    @property
    def answered(self) -> int:
        return sum(self.statuses.values())

    def _run(self) -> None:
        while not self._is_stopped.is_set():
            began_s = time.monotonic()
            try:
                connection = socket.create_connection(self._address, timeout=TIMEOUT_S)
            except OSError as error:
                self.refused.append(str(error))
                continue
            with connection:
                self._ask(connection, began_s)
            self.longest_s = max(self.longest_s, time.monotonic() - began_s)

    def _ask(self, connection: socket.socket, began_s: float) -> None:
        answer = b""
        try:
            connection.sendall(self._request)
            while piece := connection.recv(65536):
                answer += piece
        except OSError as error:
            self.broken.append((began_s, str(error)))
            return
        if not answer.startswith(b"HTTP/1.1 ") or b"\r\n\r\n" not in answer:
            self.broken.append((began_s, repr(answer)))
            return
        status = int(answer[9:12])
        self.statuses[status] = self.statuses.get(status, 0) + 1
