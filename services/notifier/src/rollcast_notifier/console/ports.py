"""What the console needs of the rest of the service; anything of this shape will do."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rollcast_common.models.card import ModelCard
from rollcast_notifier.notification import Receiver

__all__ = ["Asker", "Cards", "ModelInfo"]


class ModelInfo(Protocol):
    """A model that is served now."""

    @property
    def model(self) -> str: ...

    @property
    def card(self) -> ModelCard | None:
        """None where it has none, or it cannot be read now."""


class Cards(Protocol):
    """The models, and what they were made of."""

    def models(self) -> Sequence[ModelInfo]:
        """May read from S3: it is called where waiting harms nobody."""


class Asker(Protocol):
    """Puts requests to the models."""

    def ask(
        self,
        model: str,
        features: Mapping[str, Any],
        reply_to: Receiver,
        request_id: str | None = None,
        key: str | None = None,
    ) -> str:
        """The request's id, once Kafka has it. Raises KafkaProblem."""
