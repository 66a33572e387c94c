"""Structured logs: one JSON line an event on stderr, or coloured lines on a terminal.

Owns: structlog's configuration. Every process calls `configure` once; rooms call `logger(name)`.
Never logs a secret: callers redact before they log.
"""

import contextlib
import sys
from typing import Any, TextIO, cast

import structlog


class _Stderr:
    """Whatever stderr is at the time of writing: it may be replaced after the configuration.

    A line that cannot be written is lost: a full disk, which is when most is logged, must not end who logs.
    """

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


def configure(role: str, *, json_lines: bool | None = None) -> None:
    """Sets up logging for this process; JSON unless stderr is a terminal."""
    as_json = not sys.stderr.isatty() if json_lines is None else json_lines
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(file=cast(TextIO, _Stderr())),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(role=role)


def logger(name: str) -> Any:
    """A logger that stamps its room's name."""
    return structlog.get_logger(room=name)
