"""All that the notifier can be told on its command line and by its environment."""

from pathlib import Path

from pydantic import Field

from rollcast_common.config import Settings

__all__ = ["NotifierSettings"]


class NotifierSettings(Settings):
    installation: str = "local"
    namespace: str = "default"
    """The models whose predictions are told live there."""

    notifications: Path
    """notifications.yaml: the channels, and who gets told what."""

    outbox: Path = Path("outbox.db")
    """The SQLite file that holds what is to be sent. It must outlive the process."""

    batch_rows: int = Field(default=2000, ge=1, le=100_000)
    """The most predictions that are looked at, and recorded, at once."""

    keep_days: float = Field(default=7.0, gt=0)
    """How long what was sent is remembered: receipts and answers to it are understood for so long."""

    give_up_days: float = Field(default=3.0, gt=0)
    """What could not be sent for so long has failed."""

    give_up_attempts: int = Field(default=20, ge=1)
    """A notification that was tried so often has failed, if meanwhile others on its channel arrived."""

    console_host: str = "127.0.0.1"
    console_port: int = Field(default=8080, ge=0, le=65535)
    console_users: Path | None = None
    """Who may enter the web console; without it there is none."""

    console_hosts: tuple[str, ...] = ()
    """The names that the console is called by, where it is not on the loopback interface; none: any."""

    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=9110, ge=0, le=65535)

    startup_timeout_seconds: float = Field(default=10.0, gt=0)

    @property
    def consumer_group(self) -> str:
        return f"rollcast.{self.installation}.notifier"
