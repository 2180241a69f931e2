"""Logging: structlog, to the console in a terminal and as JSON otherwise, with session, turn and worker bound."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import Any

import orjson
import structlog

Logger = structlog.stdlib.BoundLogger

_process: dict[str, str] = {}
"""What every line of this process says of itself."""


_turn: ContextVar[tuple[str, str] | None] = ContextVar("parley_log_turn", default=None)
"""The session and the turn that the code at work belongs to."""


def bind_process(**values: str) -> None:
    """Have every further line of this process hold these values."""
    _process.update(values)


def bind_turn(session: str, turn: str) -> None:
    """Have every further line of this context hold these ids. Cheap: every turn does it, and few write a line."""
    _turn.set((session, turn))


def _add_bound(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    turn = _turn.get()
    return {**_process, **({} if turn is None else {"session": turn[0], "turn": turn[1]}), **event}


_SHARED: list[Any] = [
    _add_bound,
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


def configure(level: str = "info", log_format: str = "auto") -> None:
    """Send every log line of this process, Parley's and the libraries', to standard error in one format."""
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(console=console)],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # uvicorn says the same as our own lines, and its access log is a line a request
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").disabled = True
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def get(name: str) -> Logger:
    """The logger of one module."""
    logger: Logger = structlog.stdlib.get_logger(name)
    return logger


def _renderers(*, console: bool) -> list[Any]:
    if console:
        # plain: the default one prints local variables, and with them what users wrote
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_as_json)]


def _as_json(event: dict[str, Any], **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()
