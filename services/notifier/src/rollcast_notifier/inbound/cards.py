"""The models that are served now, and what their cards say."""

import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import structlog

from rollcast_common.artifacts import ArtifactStore, S3Params, parse_uri
from rollcast_common.contracts import Assignment, ServedVersion
from rollcast_common.contracts.assignment import decode_assignment
from rollcast_common.errors import ContractError, RollcastError
from rollcast_common.identity import ModelIdentity
from rollcast_common.kafka import KafkaParams, TableFollower
from rollcast_common.models.card import ModelCard, check_card_is_of, decode_card

__all__ = ["Cards", "ModelInfo"]

_log = structlog.get_logger()

_TIMEOUT_SECONDS = 3.0
"""A person waits."""

_AGAIN_SECONDS = 15.0
_MOST_CARDS = 200


@dataclass(frozen=True, slots=True)
class ModelInfo:
    identity: str
    model: str
    assignment: Assignment
    card: ModelCard | None
    """Of the stable version; None where it has none, or it cannot be read now."""


class Cards:
    """Follows the assignments of one installation and namespace, and fetches a card when somebody first asks."""

    def __init__(
        self, kafka: KafkaParams, s3: S3Params | None, *, installation: str = "local", namespace: str = "default"
    ) -> None:
        """Without `s3` no model has a card. Raises ConfigError."""
        self._begin = str(ModelIdentity(installation, namespace, "x"))[:-1]
        self._follower = TableFollower(
            kafka, "assignments", client_id="rollcast-notifier-cards", wanted=lambda key: key.startswith(self._begin)
        )
        self._store = ArtifactStore(s3, timeout_seconds=_TIMEOUT_SECONDS, attempts=1) if s3 else None
        self._cards: dict[str, ModelCard] = {}
        self._try_again_at: dict[str, float] = {}
        self._lock = threading.Lock()

    @property
    def caught_up(self) -> bool:
        """Whether all models are known that there were at the start."""
        return self._follower.caught_up

    @property
    def problem(self) -> str | None:
        """What keeps the models from being known now."""
        return self._follower.problem

    def check(self) -> None:
        """Raises what ended the follower."""
        self._follower.check()

    def start(self) -> None:
        self._follower.start()

    def stop(self) -> None:
        self._follower.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def models(self) -> list[ModelInfo]:
        """By name. May read from S3."""
        found = []
        for key, row in sorted(self._follower.rows().items()):
            if row.value is None:  # its end
                continue
            try:
                assignment = decode_assignment(row.value)
            except ContractError as error:
                _log.warning("an assignment cannot be read", key=key, problem=str(error))
                continue
            found.append(ModelInfo(key, assignment.model, assignment, self._card(assignment.model, assignment.stable)))
        return found

    def card(self, model: str) -> ModelCard | None:
        row = self._follower.get(self._begin + model)
        if row is None or row.value is None:
            return None
        try:
            return self._card(model, decode_assignment(row.value).stable)
        except ContractError:
            return None

    def _card(self, model: str, served: ServedVersion) -> ModelCard | None:
        if self._store is None or served.card_uri is None or served.card_sha256 is None:
            return None
        digest = served.card_sha256
        with self._lock:
            card = self._cards.get(digest)
            if card is not None or time.monotonic() < self._try_again_at.get(digest, 0.0):
                return card
            try:
                card = self._fetched(self._store, model, served)
            except RollcastError as error:
                self._try_again_at[digest] = time.monotonic() + _AGAIN_SECONDS
                _log.warning(
                    "a model's card cannot be read", model=model, version=served.version, uri=served.card_uri,
                    problem=str(error),
                )  # fmt: skip
                return None
            if len(self._cards) >= _MOST_CARDS:
                self._cards.pop(next(iter(self._cards)))
            self._cards[digest] = card
            self._try_again_at.pop(digest, None)
            return card

    def _fetched(self, store: ArtifactStore, model: str, served: ServedVersion) -> ModelCard:
        source = f"{model}@{served.version}"
        place = replace(parse_uri(served.card_uri or "", store.bucket), sha256=served.card_sha256)
        with tempfile.TemporaryDirectory(prefix="rollcast-card-") as folder:
            path = Path(folder) / "card.json"
            store.fetch(place, path)
            card = decode_card(path.read_bytes(), source=source)
        check_card_is_of(card, served.sha256, source=source)
        return card
