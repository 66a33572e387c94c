"""A stand-in for a partner's server: prints each postback that arrives, and answers 200.

Run it beside `waypost run` to see what leaves: `python3 examples/sink.py [PORT]`. It is no part of Waypost.
"""

import contextlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Sink(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        marks = [f"{name}: {value}" for name, value in self.headers.items() if name.startswith("Waypost-")]
        print(self.command, self.path, *marks, sep="\n    ", flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815 (the library's name)

    def log_message(self, format: str, *args: object) -> None:
        return


port = int(sys.argv[1]) if len(sys.argv) > 1 else 9001
print(f"listening on http://127.0.0.1:{port}", flush=True)
with contextlib.suppress(KeyboardInterrupt):
    ThreadingHTTPServer(("127.0.0.1", port), Sink).serve_forever()
