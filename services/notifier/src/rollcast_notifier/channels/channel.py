"""What every channel can do, and what it tells.

`send` hands over one notification and returns when the other side has accepted it. Its failures are of four kinds, as
the dispatcher needs to know them: nothing was sent and trying again may help (Unavailable, of which Throttled says
when), trying again will not help (Refused), and nobody knows (OutcomeUnknown).
"""

from dataclasses import dataclass
from typing import Protocol

from rollcast_common.contracts import ReceiptState
from rollcast_notifier.notification import Inbound, Notification

__all__ = [
    "Channel",
    "ChannelEvents",
    "OutcomeUnknown",
    "Refused",
    "SendFailed",
    "Sent",
    "Throttled",
    "Unavailable",
]


class SendFailed(Exception):
    """The base of what `send` raises; its text is one clear line without secrets."""


class Unavailable(SendFailed):
    """Certainly not sent; another try may succeed."""


class Throttled(Unavailable):
    """Certainly not sent; the other side wants fewer. The whole channel waits."""

    def __init__(self, text: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds


class Refused(SendFailed):
    """Certainly not sent, and this notification never will be: a wrong address, a refused token."""


class OutcomeUnknown(SendFailed):
    """Perhaps sent: the connection broke after the request had gone out."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The other side has it. `external_id` is its own name for the message; receipts come under it."""

    external_id: str | None = None


class ChannelEvents(Protocol):
    """What a channel tells the service; from any thread, must not block for long."""

    def receipt(self, channel: str, external_id: str, state: ReceiptState, reason: str | None = None) -> None:
        """The message of this name was sent, delivered, read, or failed after all."""

    def message(self, inbound: Inbound) -> None:
        """A person wrote. Returns when it is recorded durably, so that the channel may acknowledge it."""


class Channel(Protocol):
    """One configured way to reach people; `send` is called from one thread of its own, `start` and `stop` once."""

    @property
    def name(self) -> str:
        """As notifications.yaml calls it."""

    @property
    def problem(self) -> str | None:
        """Why nothing can be sent now, for people; None while it works as far as it knows."""

    def start(self, events: ChannelEvents) -> None:
        """Connect in the background; an unreachable other side is no error here."""

    def send(self, notification: Notification) -> Sent:
        """Raises SendFailed."""

    def stop(self) -> None:
        """Let go of connections and threads; nothing is sent after this."""
