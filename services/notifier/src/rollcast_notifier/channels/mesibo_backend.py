"""Channel `mesibo-backend`: messages through mesibo's backend API.

Outbound only, and the only receipt is `sent`: the API says that it took a message, never what became of it.
"""

import time
from collections.abc import Callable
from typing import Any

from rollcast_notifier.channels.channel import ChannelEvents, Refused, SendFailed, Sent
from rollcast_notifier.channels.mesibo_api import MesiboApi
from rollcast_notifier.notification import Notification

__all__ = ["LONGEST_ADDRESS", "MesiboBackendChannel", "message_of"]

LONGEST_ADDRESS = 63


class MesiboBackendChannel:
    def __init__(self, name: str, api: MesiboApi, *, sender: str, now: Callable[[], float] = time.time) -> None:
        """`sender` is the address of a user of the app: mesibo takes messages from no other."""
        self.name = name
        self.problem: str | None = None
        self._api = api
        self._sender = sender
        self._now = now

    def start(self, events: ChannelEvents) -> None:
        """Each message is a request of its own: nothing is kept open, and nothing comes back."""

    def send(self, notification: Notification) -> Sent:
        message = message_of(notification, self._sender, self._now())
        try:
            answer = self._api.call("message", message=message)
        except SendFailed as error:
            self.problem = None if isinstance(error, Refused) else str(error)
            raise
        self.problem = None
        mid = answer.get("mid")
        return Sent(None if mid is None else str(mid))

    def stop(self) -> None:
        self._api.close()


def message_of(notification: Notification, sender: str, now: float) -> dict[str, Any]:
    """The `message` of operation `message`. Raises Refused for a receiver that mesibo cannot have."""
    message: dict[str, Any] = {"from": sender, **_receiver(notification), "message": notification.text}
    if notification.expires is not None:
        # Zero might mean "for ever"; what is over by now would not have been sent.
        message["expiry"] = max(1, round(notification.expires / 1000 - now))
    return message


def _receiver(notification: Notification) -> dict[str, Any]:
    name = notification.receiver.name
    if notification.receiver.kind == "group":
        if not (name.isascii() and name.isdigit()):
            raise Refused(
                f"receiver was {str(notification.receiver)!r}: a mesibo group is a number, as in group:102529"
            )
        return {"gid": int(name)}
    # A comma separates addresses there: one notification would go to several.
    if "," in name or len(name) > LONGEST_ADDRESS:
        raise Refused(
            f"receiver was {str(notification.receiver)!r}: a mesibo address has at most {LONGEST_ADDRESS} characters "
            "and no comma"
        )
    return {"to": name}
