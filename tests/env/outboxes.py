"""What tests say about notifications: short ways to make them, a clock that is told the time, a channel that obeys."""

from collections import deque
from collections.abc import Callable
from threading import Lock

from rollcast_notifier.channels.channel import ChannelEvents, SendFailed, Sent
from rollcast_notifier.notification import Notification, OnUnknown, Receiver, notification_id

__all__ = ["ANN", "Clock", "ScriptedChannel", "made"]

ANN = Receiver("hook", "ann")
Rule = Callable[[Notification], SendFailed | None]


class Clock:
    """Milliseconds; it stands still unless it is told."""

    def __init__(self, now: int = 1_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def made(
    number: int,
    receiver: Receiver = ANN,
    *,
    on_unknown: OnUnknown = OnUnknown.RESEND,
    created: int = 1_000_000,
    expires: int | None = None,
    dropped: str | None = None,
    text: str | None = None,
) -> Notification:
    """About prediction `number`."""
    prediction_id = f"test/default/line:r-{number}"
    return Notification(
        id=notification_id(prediction_id, "all", receiver),
        prediction_id=prediction_id,
        request_id=f"r-{number}",
        key=f"k-{number}",
        model="line",
        version="v1",
        prediction=b"%d" % number,
        subscription="all",
        receiver=receiver,
        text=text or f"number {number}",
        created=created,
        expires=expires,
        on_unknown=on_unknown,
        dropped=dropped,
    )


class ScriptedChannel:
    """Takes everything, but fails as it is told to: `failures` are used up one a call, `rule` is asked after them."""

    def __init__(self, name: str = "hook") -> None:
        self._name = name
        self._lock = Lock()
        self.failures: deque[SendFailed | None] = deque()
        self.rule: Rule = lambda _: None
        self.tried: list[Notification] = []
        self.arrived: list[Notification] = []
        self.problem: str | None = None

    @property
    def name(self) -> str:
        return self._name

    def start(self, events: ChannelEvents) -> None: ...

    def send(self, notification: Notification) -> Sent:
        with self._lock:
            self.tried.append(notification)
            failure = self.failures.popleft() if self.failures else self.rule(notification)
            if failure is not None:
                raise failure
            self.arrived.append(notification)
            return Sent(f"x-{notification.id}")

    def stop(self) -> None: ...

    @property
    def texts(self) -> list[str]:
        return [notification.text for notification in self.arrived]
