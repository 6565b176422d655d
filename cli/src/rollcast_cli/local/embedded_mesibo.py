"""A mesibo enough for one machine: its documented backend API, and people who read, answer and are offline.

`python -m rollcast_cli.local.embedded_mesibo --port PORT --app-token-file FILE` serves on the loopback interface:

- `/backend/`: the backend API, as the product calls mesibo's own.
- `/people/<what>`: what clients do. mesibo's own protocol for that is not public; `mesibo_sdk/mesibo.py` beside this
  file puts the SDK's interface over this one, `mesibo_person.py` a plain one. A person is known by their user token.
- `/faults`: what goes wrong from now on, for tests: the fields of `Faults`.

Everything is in memory.
"""

import argparse
import contextlib
import json
import signal
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from rollcast_cli.local.mesibo_world import DELIVERED, READ, MesiboWorld, Message, Refusal, User

__all__ = ["EmbeddedMesibo", "Faults"]

_LONGEST_WAIT_SECONDS = 30.0


@dataclass
class Faults:
    """How the backend API misbehaves; `{}` posted to /faults is the end of it."""

    error: str | None = None
    """Every operation ends in `result: false` and this error."""

    status: int | None = None
    """Every request is answered with this HTTP status, and nothing is done."""

    retry_after: str | None = None
    """The header of that name, with `status`."""

    delay_seconds: float = 0.0
    """Every operation is done at once, its answer comes so much later."""

    drop_answer: bool = False
    """Every operation is done, and the connection closed without an answer."""

    garbage: bool = False
    """Every operation is done, and answered with what is no JSON."""


class EmbeddedMesibo:
    """The server in threads of this process. Port 0 takes a free one; `url` is the backend API's."""

    def __init__(self, app_token: str, port: int = 0) -> None:
        self.faults = Faults()
        self.requests = 0
        """How often the backend API was called, also where a fault answered."""
        self._world = MesiboWorld(app_token)
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
        self._server.daemon_threads = True
        self._server.mesibo = self  # type: ignore[attr-defined]  # for the handler, which http.server makes itself
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="mesibo", daemon=True)
        self.port = int(self._server.server_address[1])
        self.origin = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.origin}/backend/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def messages(self) -> list[Message]:
        """All that were ever accepted, oldest first."""
        with self._changed:
            return list(self._world.messages)

    def backend(self, request: dict[str, Any]) -> dict[str, Any]:
        """One operation of the backend API, also without the network."""
        with self._changed:
            answer = self._world.operate(request, error=self.faults.error)
            self._changed.notify_all()
            return answer

    def client(self, what: str, request: dict[str, Any]) -> dict[str, Any]:
        """What the client of the user with this token does; `{"error": …}` when it may not."""
        with self._changed:
            user = self._world.user_with(str(request.get("token")))
            if user is None:
                return {"error": "AUTHFAIL"}
            try:
                return self._client(user, what, request)
            except Refusal as refusal:
                return {"error": str(refusal)}
            finally:
                self._changed.notify_all()

    def _client(self, user: User, what: str, request: dict[str, Any]) -> dict[str, Any]:
        if what == "events":
            after = int(request.get("after", 0))
            wait = min(float(request.get("wait_seconds", 0)), _LONGEST_WAIT_SECONDS)
            self._changed.wait_for(lambda: len(user.events) > after, wait)
            return {"address": user.address, "uid": user.uid, "events": self._world.fetch(user, after)}
        if what == "send":
            return {"mid": self._world.accept(user.address, request)}
        if what in ("got", "read"):
            self._world.report(int(request["mid"]), user.address, DELIVERED if what == "got" else READ)
            return {}
        raise Refusal("BADOP")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def mesibo(self) -> EmbeddedMesibo:
        mesibo: EmbeddedMesibo = self.server.mesibo  # type: ignore[attr-defined]  # put there by EmbeddedMesibo
        return mesibo

    def do_POST(self) -> None:  # the name http.server calls
        try:
            request = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        except ValueError:
            request = None
        if not isinstance(request, dict):
            self._answer({"result": False, "error": "BADREQUEST"})
        elif self.path == "/backend/":
            self._backend(request)
        elif self.path.startswith("/people/"):
            self._answer(self.mesibo.client(self.path.removeprefix("/people/"), request))
        elif self.path == "/faults":
            self.mesibo.faults = Faults(**request)
            self._answer({})
        else:
            self._say(404, b"")

    def _backend(self, request: dict[str, Any]) -> None:
        faults = self.mesibo.faults
        self.mesibo.requests += 1
        if faults.status is not None:
            self._say(faults.status, b"", faults.retry_after)
            return
        answer = self.mesibo.backend(request)
        time.sleep(faults.delay_seconds)
        if faults.drop_answer:
            self.close_connection = True
        elif faults.garbage:
            self._say(200, b"<html>")
        else:
            self._answer(answer)

    def _answer(self, answer: dict[str, Any]) -> None:
        self._say(200, json.dumps(answer).encode())

    def _say(self, status: int, body: bytes, retry_after: str | None = None) -> None:
        with contextlib.suppress(ConnectionError):  # whoever asked has not waited for the answer
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if retry_after is not None:
                self.send_header("Retry-After", retry_after)
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # http.server's own name
        """One line per request would bury what went wrong."""


def main() -> None:
    parser = argparse.ArgumentParser(description="a mesibo for one machine")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--app-token-file", type=Path, required=True)
    arguments = parser.parse_args()
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    signal.signal(signal.SIGINT, lambda *_: over.set())
    with EmbeddedMesibo(arguments.app_token_file.read_text(encoding="utf-8").strip(), arguments.port):
        over.wait()


if __name__ == "__main__":
    main()
