"""A secret that stands in a file, so that it can be replaced without a restart."""

from pathlib import Path

from pydantic import SecretStr

from rollcast_common.errors import ConfigError
from rollcast_notifier.channels.channel import Unavailable

__all__ = ["SecretFile"]


class SecretFile:
    """Read at each use: that costs microseconds, and whoever rotates the secret needs to tell nobody.

    Raises ConfigError that names the channel and the setting when there is nothing to read at the start.
    """

    def __init__(self, path: Path, *, channel: str, setting: str) -> None:
        self._path = path
        self._what = f"channel {channel}: {setting} {path}"
        try:
            self.read()
        except Unavailable as error:
            raise ConfigError(str(error)) from None

    def read(self) -> SecretStr:
        """Raises Unavailable: a file that is away for a moment is no reason to give a notification up."""
        try:
            text = self._path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            raise Unavailable(f"{self._what}: no such file") from None
        except UnicodeDecodeError:
            raise Unavailable(f"{self._what}: cannot be read: it is not UTF-8 text") from None
        except OSError as error:
            raise Unavailable(f"{self._what}: cannot be read: {error.strerror or error}") from None
        if not text:
            raise Unavailable(f"{self._what}: is empty")
        return SecretStr(text)
