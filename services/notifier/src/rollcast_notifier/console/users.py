"""Who may enter: a YAML file of names and digests of tokens, read again when it changes."""

import hmac
import secrets
import threading
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import structlog
from pydantic import Field

from rollcast_common.config import Settings, load_yaml
from rollcast_common.errors import ConfigError

__all__ = ["NewToken", "Users", "UsersDocument", "new_token"]

_log = structlog.get_logger()

_TOKEN_BYTES = 32
_NOBODY = "0" * 64

UserName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,79}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class UserEntry(Settings):
    token_sha256: Digest


class UsersDocument(Settings):
    """All of the users file."""

    users: dict[UserName, UserEntry]


class NewToken(Settings):
    """A token, which is shown once, and the lines of the users file by which it is recognised."""

    token: str
    lines: str


def new_token(user: str) -> NewToken:
    """Raises ConfigError when the name cannot be a user's."""
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    entry = {user: {"token_sha256": _digest(token)}}
    UsersDocument.from_mapping({"users": entry}, source="console-token")
    return NewToken(token=token, lines=f"  {user}:\n    token_sha256: {_digest(token)}")


class Users:
    """The file as it is now. A wrong new one is said once and the old one stays in force."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError when the file cannot be used."""
        self._path = path
        self._lock = threading.Lock()
        self._mark = self._marked()
        self._digests = self._read()

    def credential(self, name: str) -> str | None:
        """What the user is recognised by now; a session that was opened with another one is over."""
        return self._current().get(name)

    def check(self, name: str, token: str) -> bool:
        """Takes as long for a wrong name as for a wrong token."""
        known = self._current().get(name)
        return hmac.compare_digest(known or _NOBODY, _digest(token)) and known is not None

    def _current(self) -> dict[str, str]:
        with self._lock:
            mark = self._marked()
            if mark != self._mark:
                self._mark = mark
                try:
                    self._digests = self._read()
                except ConfigError as error:
                    _log.error("the console's users file is wrong, the one before stays", problem=str(error))
            return self._digests

    def _marked(self) -> tuple[int, int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def _read(self) -> dict[str, str]:
        document = UsersDocument.from_mapping(load_yaml(self._path), source=str(self._path))
        return {name: entry.token_sha256 for name, entry in document.users.items()}


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
