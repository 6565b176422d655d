"""A mesibo for tests: the demo's own, with users, their tokens in files, and faults."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from rollcast_cli.local import mesibo_sdk
from rollcast_cli.local.embedded_mesibo import EmbeddedMesibo, Faults
from rollcast_cli.local.mesibo_person import Person

__all__ = ["SDK_PATH", "Faults", "Mesibo", "mesibo"]

SDK_PATH = Path(mesibo_sdk.__path__[0])
"""What puts the SDK's stand-in first on a PYTHONPATH."""

APP_TOKEN = "the-app-token"


class Mesibo(EmbeddedMesibo):
    def __init__(self, folder: Path) -> None:
        super().__init__(APP_TOKEN)
        self.folder = folder
        self.app_token_file = folder / "app-token"
        self.app_token_file.write_text(APP_TOKEN + "\n", encoding="utf-8")

    def token_of(self, address: str) -> str:
        """Of a user who is made if need be."""
        user = {"address": address, "token": {"appid": "com.example.app", "expiry": 525600}}
        token: str = self.backend({"op": "useradd", "token": APP_TOKEN, "user": user})["user"]["token"]
        return token

    def token_file_of(self, address: str) -> Path:
        file = self.folder / f"token-of-{address}"
        file.write_text(self.token_of(address), encoding="utf-8")
        return file

    def person(self, address: str) -> Person:
        return Person(self.origin, self.token_of(address))


@contextlib.contextmanager
def mesibo(folder: Path) -> Iterator[Mesibo]:
    with Mesibo(folder) as server:
        yield server
