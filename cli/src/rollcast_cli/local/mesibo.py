"""The embedded mesibo as a process of the local stack: people can be reached without an account anywhere."""

import json
import secrets
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollcast_cli.local.mesibo_person import Person
from rollcast_cli.local.ports import accepts, check_free, free_ports
from rollcast_cli.local.processes import Child, start, wait_until
from rollcast_common.errors import RollcastError

__all__ = ["APP_ID", "SDK_FOLDER", "MesiboServer", "start_mesibo"]

APP_ID = "dev.rollcast.local"
SDK_FOLDER = Path(__file__).with_name("mesibo_sdk")
"""First on PYTHONPATH it makes `import mesibo` the embedded one's client."""

_START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class MesiboServer:
    child: Child
    origin: str
    app_token: str

    def sign_up(self, address: str) -> str:
        """The user token of a new user, or a new one of a known user."""
        user = {"address": address, "name": address, "token": {"appid": APP_ID, "expiry": 525_600}}
        body = json.dumps({"op": "useradd", "token": self.app_token, "user": user}).encode()
        request = urllib.request.Request(f"{self.origin}/backend/", body, {"Content-Type": "application/json"})  # noqa: S310  # loopback
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310  # as above
            answer: dict[str, Any] = json.load(response)
        if not answer.get("result"):
            raise RollcastError(f"the embedded mesibo did not take {address}: {answer.get('error')}")
        return str(answer["user"]["token"])

    def person(self, address: str) -> Person:
        return Person(self.origin, self.sign_up(address))

    def stop(self) -> None:
        self.child.stop(grace_seconds=3)


def start_mesibo(folder: Path, *, log: Path) -> MesiboServer:
    """Start it on 127.0.0.1; its app token is kept in `folder`. Raises ChildDied, NotInTime (30 s)."""
    port = free_ports(1)[0]
    check_free(port)
    token = secrets.token_hex(16)
    token_file = folder / "mesibo-app-token"
    token_file.write_text(token, encoding="utf-8")
    child = start(
        [
            sys.executable,
            "-m",
            "rollcast_cli.local.embedded_mesibo",
            "--port",
            str(port),
            "--app-token-file",
            str(token_file),
        ],
        role="mesibo",
        log=log,
    )
    try:
        wait_until(
            lambda: accepts(port), what="the embedded mesibo answers", timeout_seconds=_START_SECONDS, children=[child]
        )
    except BaseException:
        child.kill()
        raise
    return MesiboServer(child, f"http://127.0.0.1:{port}", token)
