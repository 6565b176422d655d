"""The console's web server, in a thread of its own."""

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from rollcast_common.errors import ConfigError

__all__ = ["ConsoleServer"]

_END_SECONDS = 5


class ConsoleServer:
    """Port 0 takes a free one; `port` tells which. `closing` is true from `stop` on, for streams to end by."""

    def __init__(self, make: Callable[[Callable[[], bool]], ASGIApp], *, host: str, port: int) -> None:
        """Raises ConfigError when the address cannot be had."""
        self._closing = threading.Event()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
            # Who comes before the thread runs waits a moment, instead of being refused.
            self._socket.listen()
        except (OSError, OverflowError) as error:  # OverflowError: no such port number
            self._socket.close()
            why = getattr(error, "strerror", None) or error
            raise ConfigError(f"the console's address {host}:{port} cannot be had: {why}; choose another") from None
        config = uvicorn.Config(
            make(self._closing.is_set),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=_END_SECONDS,
            limit_concurrency=500,
            h11_max_incomplete_event_size=32_768,
            ws="none",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._closing.set()
        self._server.should_exit = True
        self._thread.join(2 * _END_SECONDS)
        self._socket.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _run(self) -> None:
        with contextlib.suppress(SystemExit):  # uvicorn's way to say that it could not start
            self._server.run(sockets=[self._socket])
