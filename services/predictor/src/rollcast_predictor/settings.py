"""All that a predictor slot can be told, in one frozen place."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from rollcast_common.config import Settings
from rollcast_common.identity import ModelIdentity

__all__ = ["Guarantee", "PredictorSettings", "default_cache_dir"]

Guarantee = Literal["exactly_once", "at_least_once"]


def default_cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "rollcast" / "models"


class PredictorSettings(Settings):
    model: str
    """The model's name: which announcements this slot follows."""

    ordinal: int = Field(default=0, ge=0)
    """Which of the model's slots this is; a StatefulSet's ordinal."""

    installation: str = "local"
    namespace: str = "default"

    guarantee: Guarantee = "exactly_once"
    """`at_least_once` only for brokers without transactions, such as the embedded one."""

    batch_rows: int = Field(default=2000, ge=1, le=100_000)
    """The most rows in a batch, hence in a transaction."""

    batch_interval_seconds: float = Field(default=0.01, ge=0, le=10)
    """The least time from one batch to the next, unless a batch was full. A batch of one row costs a model about as
    much as one of a hundred, so below full load this decides how busy the slot and the broker are."""

    max_request_bytes: int = Field(default=1_048_576, ge=1)
    """A larger value is dead-lettered without asking the model."""

    max_dead_letter_bytes: int = Field(default=4_194_304, ge=1024)
    """A dead letter keeps this much of a larger original."""

    include_features: bool = True
    """Whether a prediction carries its request's features."""

    batch_deadline_seconds: float = Field(default=5.0, gt=0)
    """How long a host may take over a batch before it is killed."""

    candidate_deadline_seconds: float = Field(default=1.0, gt=0)
    """How long a candidate's answer is waited for once stable's is there; then stable answers for it, too."""

    shadow_predictions: bool = True
    """Whether what a candidate says in shadow is written to its topic."""

    load_deadline_seconds: float = Field(default=300.0, gt=0)
    """How long a host may take to load, verify and warm a model."""

    host_memory_bytes: int | None = Field(default=None, ge=1)
    """The most memory a host may ask for; None is no limit of its own."""

    session_timeout_seconds: float = Field(default=6.0, gt=0)
    startup_timeout_seconds: float = Field(default=10.0, gt=0)
    """How long Kafka may take to answer when the slot starts."""

    allow_pickle: bool = False
    """Lets model files run code when they are loaded. Off, unless someone vouches for every file."""

    trusted_types: tuple[str, ...] = ()
    """Types of this installation's own images that a skops file may hold."""

    max_model_bytes: int | None = Field(default=None, ge=1)
    """The most that a skops file may unpack to; None is 200 times its size, at least 256 MiB and at most 8 GiB."""

    verify_key: Path | None = None
    """A public key in PEM: then only model files that its owner signed are loaded."""

    cache_dir: Path = Field(default_factory=default_cache_dir)
    cache_models: int = Field(default=5, ge=1)
    """How many model files the cache keeps."""

    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=9108, ge=0, le=65535)

    @property
    def identity(self) -> ModelIdentity:
        return ModelIdentity(self.installation, self.namespace, self.model)

    @property
    def slot(self) -> str:
        return self.identity.slot(self.ordinal)
