"""The console's addresses: `/`, `/healthz`, `/metrics`, `/api/status`, `/api/schema` (OpenAPI).

Owns: the Litestar application. Everything is read from the status reader; nothing can be changed here. All handlers
run on the loop's one thread: a request reads a few small files.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from litestar import Litestar, MediaType, Response, get
from litestar.datastructures import ResponseHeader
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from waypost import __version__
from waypost.console.metrics import CONTENT_TYPE, MetricsText
from waypost.console.page import render_page
from waypost.console.status import Status, StatusReader
from waypost.ports.clock import Clock

OBSERVE_INTERVAL_S = 1.0
_HEADERS = [
    ResponseHeader(name="Content-Security-Policy", value="default-src 'none'; style-src 'unsafe-inline'"),
    ResponseHeader(name="X-Content-Type-Options", value="nosniff"),
    ResponseHeader(name="Referrer-Policy", value="no-referrer"),
    ResponseHeader(name="Cache-Control", value="no-store"),
]


def create_app(reader: StatusReader, clock: Clock) -> Litestar:
    """The application over one installation's snapshots."""
    metrics_text = MetricsText(reader.snapshots, clock.now_ms)

    @get("/", media_type=MediaType.HTML, sync_to_thread=False, include_in_schema=False)
    def page() -> str:
        return render_page(reader.status())

    @get("/healthz", sync_to_thread=False, summary="200 if every role works, else 503 and which does not")
    def healthz() -> Response[dict[str, object]]:
        status = reader.status()
        bad = {role.name: role.state for role in status.roles if not role.ok}
        content: dict[str, object] = {"status": "ok" if status.ok else "degraded", "not_ok": bad}
        return Response(content, status_code=200 if status.ok else 503)

    @get("/metrics", media_type=MediaType.TEXT, sync_to_thread=False, summary="Counters in Prometheus' text form")
    def metrics() -> Response[bytes]:
        return Response(metrics_text(), headers={"Content-Type": CONTENT_TYPE})

    @get("/api/status", sync_to_thread=False, summary="Everything that the page shows")
    def status() -> Status:
        return reader.status()

    return Litestar(
        route_handlers=[page, healthz, metrics, status],
        lifespan=[lambda app: _observing(reader)],
        response_headers=_HEADERS,
        openapi_config=OpenAPIConfig(
            title="Waypost console",
            version=__version__,
            path="/api/schema",
            render_plugins=[JsonRenderPlugin()],  # the others load their pages' code from elsewhere
        ),
    )


@contextlib.asynccontextmanager
async def _observing(reader: StatusReader) -> AsyncIterator[None]:
    """Samples the counters as long as the application lives."""

    async def observe() -> None:
        while True:
            reader.observe()
            await asyncio.sleep(OBSERVE_INTERVAL_S)

    task = asyncio.create_task(observe())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
