"""Channel `log`: one structured line for each notification, for trying rules out and for what only reads logs."""

import structlog

from rollcast_notifier.channels.channel import ChannelEvents, Sent
from rollcast_notifier.notification import Notification

__all__ = ["LogChannel"]

_log = structlog.get_logger()


class LogChannel:
    """With `redact`, neither the text nor the receiver is in the line: only what the prediction's own log lines say."""

    problem: str | None = None

    def __init__(self, name: str, *, redact: bool = False) -> None:
        self.name = name
        self._redact = redact

    def start(self, events: ChannelEvents) -> None:
        """Nothing to connect to, and no receipts but `sent`."""

    def send(self, notification: Notification) -> Sent:
        personal = {} if self._redact else {"receiver": str(notification.receiver), "text": notification.text}
        _log.info(
            "notification",
            channel=self.name,
            notification_id=notification.id,
            prediction_id=notification.prediction_id,
            request_id=notification.request_id,
            model=notification.model,
            version=notification.version,
            subscription=notification.subscription,
            **personal,
        )
        return Sent()

    def stop(self) -> None:
        """Nothing to let go of."""
