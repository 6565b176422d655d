"""How a service's command begins and ends: its logs, its signals, its exit code."""

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from rollcast_common.errors import ConfigError, KafkaDenied, RollcastError, TopicMissing
from rollcast_common.logs import LogFormat, configure_logs
from rollcast_common.sparing_logs import Sparingly

__all__ = ["EXIT_PERMANENT", "EXIT_RETRY", "service_run"]

EXIT_PERMANENT = 1
"""A person must act: starting again would end the same way."""

EXIT_RETRY = 75
"""What sysexits.h calls EX_TEMPFAIL: the same again may do better."""


@contextmanager
def service_run(
    service: str, log_format: str, *, retry_code: int = EXIT_RETRY
) -> Iterator[tuple[LogFormat, threading.Event]]:
    """The log's format, and an event that SIGTERM and Ctrl-C set. Whatever ends the block is told as a log line.

    Ends the process with EXIT_PERMANENT where a person must act, else, and after a bug, with `retry_code`.
    """
    fmt: LogFormat = "console" if log_format == "console" else "json"
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        # Before all else, so that what is wrong with the settings is told in the log's shape, too.
        configure_logs(service, fmt=fmt)
        if log_format not in ("json", "console"):
            raise ConfigError(f"log format was {log_format!r}, may be json or console")  # noqa: TRY301  # as others
        # During an outage librdkafka says "Connection refused" 20 times a second.
        logging.getLogger("rollcast.kafka").addFilter(Sparingly(every_seconds=30))
        yield fmt, stopping
    except RollcastError as error:
        structlog.get_logger().error(f"{service} stopped", problem=str(error), kind=type(error).__name__)
        sys.exit(EXIT_PERMANENT if isinstance(error, ConfigError | KafkaDenied | TopicMissing) else retry_code)
    except Exception:  # noqa: BLE001  # a bug; its traceback belongs into the log, in the log's shape
        structlog.get_logger().exception(f"{service} failed")
        sys.exit(retry_code)
