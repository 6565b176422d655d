"""What a service shows the outside: /metrics for Prometheus, /healthz and /readyz for probes."""

import contextlib
import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from rollcast_common.errors import ConfigError

__all__ = ["Endpoint", "Health"]

_log = logging.getLogger("rollcast.endpoint")


@dataclass(frozen=True, slots=True)
class Health:
    """`alive`: restarting would not help. `ready`: doing its work now. `detail` goes into the answer."""

    alive: bool
    ready: bool
    detail: dict[str, Any]


class Endpoint:
    """A small HTTP server in a thread of its own; `health` is asked at each probe and must not block.

    Raises ConfigError when the address cannot be had. Port 0 takes a free one; `port` tells which.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry, health: Callable[[], Health]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name http.server calls
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry))
                elif path in ("/healthz", "/readyz"):
                    good, body = _probed(health, path)
                    self._answer(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, "application/json", body)
                else:
                    self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"/metrics /healthz /readyz\n")

            def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # whoever asked has not waited for the answer
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # http.server's own name
                """Probes come every second; they are not worth a line."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except (OSError, OverflowError) as error:  # OverflowError: no such port number
            why = getattr(error, "strerror", None) or error
            raise ConfigError(f"the metrics address {host}:{port} cannot be had: {why}; choose another port") from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="endpoint", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _probed(health: Callable[[], Health], path: str) -> tuple[bool, bytes]:
    """Whether the probe passes, and what it is told. A service that cannot say how it is is not well."""
    try:
        state = health()
        good = state.alive if path == "/healthz" else state.ready
        answer = {"alive": state.alive, "ready": state.ready, **state.detail}
    except Exception as error:  # noqa: BLE001  # whatever the service's own code raises
        _log.exception("the health of this service cannot be told")
        good, answer = False, {"alive": False, "ready": False, "error": type(error).__name__}
    return good, json.dumps(answer, default=str).encode()
