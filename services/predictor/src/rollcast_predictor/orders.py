"""What a slot is ordered to serve. The streamer and loader know only this; where orders come from may change."""

from dataclasses import dataclass
from typing import Protocol

from rollcast_common.artifacts import ArtifactRef
from rollcast_common.contracts import ArtifactFormat

__all__ = ["Order", "Orders"]


@dataclass(frozen=True, slots=True)
class Order:
    """Serve this version. Of two orders the one with the higher generation counts."""

    generation: int
    model: str
    version: str
    artifact: ArtifactRef
    format: ArtifactFormat
    card: ArtifactRef | None = None
    signature: ArtifactRef | None = None

    @property
    def name(self) -> str:
        return f"{self.model}@{self.version}"


class Orders(Protocol):
    def newer_than(self, generation: int) -> list[Order]:
        """Orders above `generation`, newest first."""
        ...

    def wait(self, timeout_seconds: float) -> bool:
        """Return True when something new may have come, False after the timeout."""
        ...
