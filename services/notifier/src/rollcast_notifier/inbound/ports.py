"""What conversations, also the web console's, need of the rest of the service; anything of this shape will do."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rollcast_common.contracts import GroundTruth
from rollcast_common.models.card import ModelCard
from rollcast_notifier.notification import Notification, Receiver
from rollcast_notifier.rules.document import NotificationsDocument

__all__ = ["Asking", "Feedback", "Model", "Models", "Rules", "Served", "Told"]


class _Book(Protocol):
    @property
    def document(self) -> NotificationsDocument: ...


class Rules(Protocol):
    """LiveRules."""

    @property
    def current(self) -> _Book: ...


class Told(Protocol):
    """The outbox: what was told to whom, and which messages were dealt with."""

    def last_sent_to(self, receiver: Receiver) -> Notification | None: ...

    def find(self, receiver: Receiver, reference: str) -> Notification | None: ...

    def by_id(self, id_: str, /) -> Notification | None: ...

    def inbound_seen(self, channel: str, id_: str, /) -> bool: ...


class Model(Protocol):
    """One that is served now."""

    @property
    def model(self) -> str: ...

    @property
    def card(self) -> ModelCard | None:
        """None where it has none, or it cannot be read now."""


class Served(Protocol):
    """The models that are served now."""

    def models(self) -> Sequence[Model]:
        """May read from S3: it is called where waiting harms nobody."""


class Models(Served, Protocol):
    """Cards."""

    def card(self, model: str) -> ModelCard | None: ...


class Asking(Protocol):
    """Asker."""

    def ask(
        self,
        model: str,
        features: Mapping[str, Any],
        reply_to: Receiver,
        request_id: str | None = None,
        key: str | None = None,
    ) -> str:
        """The request's id, once Kafka has it. Raises KafkaProblem."""


class Feedback(Protocol):
    """Where what really happened is written to."""

    def record(self, truth: GroundTruth) -> None: ...
