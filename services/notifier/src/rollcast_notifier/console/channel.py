"""The console as a channel: a message is sent when it is stored, delivered when a browser has it, read when it was
on a screen.
"""

from collections.abc import Callable, Collection

from rollcast_common.errors import CacheProblem
from rollcast_notifier.channels.channel import ChannelEvents, Refused, Sent, Unavailable
from rollcast_notifier.console.mailbox import Mailbox, Mark
from rollcast_notifier.notification import Inbound, Notification, Receiver

__all__ = ["ConsoleChannel"]


class ConsoleChannel:
    def __init__(self, name: str, mailbox: Mailbox, *, knows: Callable[[str], bool]) -> None:
        """`knows` says whether there is a user of that name."""
        self._name = name
        self._mailbox = mailbox
        self._knows = knows
        self._events: ChannelEvents | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def problem(self) -> str | None:
        return None

    def start(self, events: ChannelEvents) -> None:
        self._events = events

    def send(self, notification: Notification) -> Sent:
        receiver = notification.receiver
        if receiver.kind == "group":
            raise Refused(f"{receiver}: the console has no groups; name its users")
        if not self._knows(receiver.name):
            raise Refused(f"{receiver}: the console's users file has no such user")
        try:
            self._mailbox.deliver(notification)
        except CacheProblem as error:
            raise Unavailable(str(error)) from None
        return Sent(notification.id)

    def stop(self) -> None:
        self._events = None

    # What comes from people.

    def say(self, user: str, id_: str, text: str, *, about: str | None, time: int) -> None:
        """Raises RollcastError when the service cannot take it now; the person is told and says it again."""
        if self._events is None:
            raise Unavailable("the service is starting or ending; say it again in a moment")
        self._events.message(Inbound(id_, self.receiver(user), text, time, about))

    def mark(self, user: str, ids: Collection[str], mark: Mark) -> None:
        for id_ in self._mailbox.mark(user, ids, mark):
            if self._events is not None:
                self._events.receipt(self._name, id_, mark)

    def receiver(self, user: str) -> Receiver:
        return Receiver(self._name, user)
