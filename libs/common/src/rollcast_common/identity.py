"""Who a model is, and what is named after it."""

import re
from dataclasses import dataclass

from rollcast_common.errors import ConfigError

__all__ = ["ModelIdentity"]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """`<installation>/<namespace>/<model>`: the key of a model's orders, reports and quality."""

    installation: str
    namespace: str
    model: str

    def __post_init__(self) -> None:
        for field in ("installation", "namespace", "model"):
            value = getattr(self, field)
            if not _NAME.fullmatch(value):
                raise ConfigError(
                    f"{field} was {value!r}, may be lower-case letters, digits and '-' "
                    "(at most 63, beginning and ending with a letter or digit)"
                )

    def __str__(self) -> str:
        return f"{self.installation}/{self.namespace}/{self.model}"

    @property
    def consumer_group(self) -> str:
        return f"rollcast.{self.installation}.{self.namespace}.{self.model}"

    def slot(self, ordinal: int) -> str:
        """The `group.instance.id` and `transactional.id` of a predictor slot: its way back after a crash."""
        return f"{self.consumer_group}-{ordinal}"

    def prediction_id(self, request_id: str) -> str:
        return f"{self}:{request_id}"
