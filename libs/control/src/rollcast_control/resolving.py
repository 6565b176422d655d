"""From a ModelVersion's artifact to exactly which bytes it is, without being waited for."""

import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import structlog

from rollcast_common.artifacts import ArtifactRef, ArtifactStore, parse_uri
from rollcast_common.contracts import PredictionBins, ServedVersion
from rollcast_common.errors import ArtifactNotFound, CacheProblem, RollcastError, StoreProblem
from rollcast_common.models.card import card_key, check_card_is_of, decode_card
from rollcast_common.signing import signature_key
from rollcast_rollout.model_version import ModelVersion
from rollcast_rollout.observed import ArtifactProblem, Pinned

__all__ = ["Resolver"]

_log = structlog.get_logger()


class Resolver:
    """Answers stay until another question about the same ModelVersion is answered, or it is gone."""

    def __init__(self, store: ArtifactStore, *, threads: int = 2) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="resolving")
        self._lock = threading.Lock()
        self._answers: dict[str, Pinned | ArtifactProblem] = {}
        self._asked: set[str] = set()

    def answers(self, uids: Collection[str]) -> dict[str, Pinned | ArtifactProblem]:
        with self._lock:
            return {uid: answer for uid, answer in self._answers.items() if uid in uids}

    def forget(self, uids: Collection[str]) -> None:
        with self._lock:
            for uid in uids:
                self._answers.pop(uid, None)

    def ask(self, version: ModelVersion, on_answer: Callable[[], None]) -> None:
        """Nothing while it is being asked about already; else what was answered before is forgotten."""
        with self._lock:
            if version.uid in self._asked:
                return
            self._asked.add(version.uid)
            self._answers.pop(version.uid, None)
        self._pool.submit(self._answer, version, on_answer)

    def _answer(self, version: ModelVersion, on_answer: Callable[[], None]) -> None:
        try:
            answer: Pinned | ArtifactProblem = self._pin(version)
        except RollcastError as error:
            may_pass = isinstance(error, ArtifactNotFound | StoreProblem | CacheProblem)
            answer = ArtifactProblem(type(error).__name__, str(error), may_pass, version.version)
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits for an answer
            _log.exception("an artifact could not be looked at", uri=version.artifact.uri)
            answer = ArtifactProblem("Unexpected", repr(error), may_pass=True, version=version.version)
        with self._lock:
            self._answers[version.uid] = answer
            self._asked.discard(version.uid)
        on_answer()

    def _pin(self, version: ModelVersion) -> Pinned:
        place = parse_uri(version.artifact.uri, self._store.bucket)
        found = self._store.resolve(ArtifactRef(place.bucket, place.key, version.artifact.sha256))
        assert found.sha256 is not None  # noqa: S101  # resolve always says it
        card, bins = self._card(found)
        signature = self._beside(ArtifactRef(found.bucket, signature_key(found.key)))
        served = ServedVersion(
            version=version.version,
            uri=found.uri,
            format=version.artifact.format,
            sha256=found.sha256,
            size_bytes=found.size_bytes,
            version_id=found.version_id,
            card_uri=card.uri if card else None,
            card_sha256=card.sha256 if card else None,
            signature_uri=signature.uri if signature else None,
            signature_sha256=signature.sha256 if signature else None,
        )
        return Pinned(served, bins)

    def _beside(self, ref: ArtifactRef) -> ArtifactRef | None:
        try:
            return self._store.resolve(ref)
        except ArtifactNotFound:
            return None

    def _card(self, model: ArtifactRef) -> tuple[ArtifactRef | None, PredictionBins | None]:
        """A card that is not about these bytes is refused here, before any slot hears of it."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "card.json"
            try:
                ref = self._store.fetch(ArtifactRef(model.bucket, card_key(model.key)), path)
            except ArtifactNotFound:
                return None, None
            card = decode_card(path.read_bytes(), source=ref.uri)
        check_card_is_of(card, model.sha256, source=ref.uri)
        said = card.predictions
        if said.edges:
            return ref, PredictionBins(edges=said.edges)
        return ref, PredictionBins(classes=said.classes) if said.classes else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
