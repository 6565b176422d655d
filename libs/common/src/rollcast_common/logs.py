"""Structured logs: JSON lines on a service's stderr, readable lines on a person's terminal."""

import logging
import sys
from typing import Literal

import structlog

from rollcast_common.errors import ConfigError

__all__ = ["LogFormat", "configure_logs"]

LogFormat = Literal["json", "console"]

_LEVELS = ("debug", "info", "warning", "error", "critical")

# structlog's ready-made processor adds each frame's local variables, and passwords are local variables somewhere.
_tracebacks_as_fields = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def configure_logs(service: str, *, fmt: LogFormat = "json", level: str = "info", **fields: str) -> None:
    """Send every log line, also those of libraries, to stderr in one shape, with the service's name in it.

    `fields` go into every line, too.

    Raises ConfigError when there is no such level.
    """
    if level.lower() not in _LEVELS:
        raise ConfigError(f"log level was {level!r}, may be {', '.join(_LEVELS)}")

    def add_service(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        # Not a context variable: a new thread begins with an empty context.
        for name, value in {"service": service, **fields}.items():
            event.setdefault(name, value)
        return event

    shared: list[structlog.typing.Processor] = [
        add_service,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    last: list[structlog.typing.Processor] = (
        [_tracebacks_as_fields, structlog.processors.JSONRenderer()]
        if fmt == "json"
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # boto's debug and info lines carry request headers.
    for noisy in ("boto3", "botocore", "urllib3", "s3transfer"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
