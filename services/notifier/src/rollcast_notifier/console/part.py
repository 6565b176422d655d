"""The console as a part of the notifier: made of its settings, started and ended with the service."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Self

from rollcast_common.errors import ConfigError
from rollcast_common.kafka import KafkaParams
from rollcast_notifier.console.app import make_console
from rollcast_notifier.console.channel import ConsoleChannel
from rollcast_notifier.console.live import Live
from rollcast_notifier.console.mailbox import Mailbox
from rollcast_notifier.console.server import ConsoleServer
from rollcast_notifier.console.talking import Talk
from rollcast_notifier.console.users import Users
from rollcast_notifier.inbound.ports import Asking, Served
from rollcast_notifier.notification import Receiver
from rollcast_notifier.settings import NotifierSettings

__all__ = ["ConsolePart", "hosts_of"]

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ConsolePart:
    """`channel` is for notifications.yaml's channel of type console; entering it starts server and readers."""

    def __init__(
        self,
        settings: NotifierSettings,
        users: Path,
        kafka: KafkaParams,
        *,
        group: str,
        cards: Served,
        asker: Asking,
        allows: Callable[[Receiver], bool],
        on_sessions: Callable[[int], None],
    ) -> None:
        """`allows` says who may write, `on_sessions` is told how many pages are open.

        Raises ConfigError when the users file or the address cannot be had, CacheProblem when the mailbox cannot.
        """
        self._users = Users(users)
        file = settings.outbox.with_name(f"{settings.outbox.name}.console")
        self._mailbox = Mailbox(file, keep_days=settings.keep_days)
        self._live = Live(kafka, installation=settings.installation, namespace=settings.namespace, group=group)
        talk = Talk(self._mailbox, self._channel_now, cards=cards, asker=asker, allows=allows)
        self._channel: ConsoleChannel | None = None
        self._server = ConsoleServer(
            lambda closing: make_console(
                self._live,
                self._mailbox,
                talk,
                self._users,
                installation=settings.installation,
                hosts=hosts_of(settings),
                on_sessions=on_sessions,
                closing=closing,
            ),
            host=settings.console_host,
            port=settings.console_port,
        )

    @property
    def port(self) -> int:
        return self._server.port

    def channel(self, name: str) -> ConsoleChannel:
        """Raises ConfigError for a second one: a person has one mailbox."""
        if self._channel is not None:
            raise ConfigError(f"channel {name}: type console is {self._channel.name}'s already; there is one console")
        self._channel = ConsoleChannel(name, self._mailbox, knows=lambda user: self._users.credential(user) is not None)
        return self._channel

    def _channel_now(self) -> ConsoleChannel | None:
        return self._channel

    def __enter__(self) -> Self:
        self._live.start()
        self._server.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.stop()
        self._live.stop()
        self._mailbox.close()


def hosts_of(settings: NotifierSettings) -> Collection[str]:
    """The names that the console answers to; none: any. On the loopback interface it is called as that is."""
    if settings.console_host in _LOOPBACK:
        return {*_LOOPBACK, *settings.console_hosts}
    return settings.console_hosts
