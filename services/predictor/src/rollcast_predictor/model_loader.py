"""Brings ordered models to the point where they could serve, while another one serves."""

import threading
import time
from dataclasses import replace
from typing import Self

import structlog

from rollcast_common.artifacts import ArtifactRef
from rollcast_common.errors import ArtifactError, ConfigError, RollcastError, UntrustedArtifact
from rollcast_common.models.card import card_key
from rollcast_common.signing import SignatureChecker, signature_key
from rollcast_predictor.metrics import PredictorMetrics
from rollcast_predictor.model_cache import CachedModel, ModelCache
from rollcast_predictor.orders import Order, Orders
from rollcast_predictor.served_model import ServedModel, start_host
from rollcast_predictor.settings import PredictorSettings
from rollcast_predictor.wire import LoadModel

__all__ = ["ModelLoader"]

_log = structlog.get_logger()

_FIRST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 30.0
_WAIT_SECONDS = 0.5


class ModelLoader:
    """A thread: newest order → file from S3, digest verified → new host → golden rows → warm → ready.

    What cannot be served is logged once and never tried again; what may pass (S3 away, disk full, host out
    of memory) is tried again, ever more slowly. Until something newer is ready, what serves goes on.
    """

    def __init__(
        self, orders: Orders, cache: ModelCache, settings: PredictorSettings, metrics: PredictorMetrics
    ) -> None:
        """Raises ConfigError when the settings' verify key is none."""
        self._orders = orders
        self._cache = cache
        self._settings = settings
        self._metrics = metrics
        self._checker = SignatureChecker(settings.verify_key) if settings.verify_key else None
        self._refused: set[int] = set()
        self._generation = -1
        self._lock = threading.Lock()
        self._ready: ServedModel | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model-loader", daemon=True)
        self.last_problem: str | None = None
        self.idle = False
        """Whether everything announced so far has been tried."""
        self.failure: BaseException | None = None

    def take_ready(self) -> ServedModel | None:
        """The newest model that became ready since the last call; the caller owns its host."""
        with self._lock:
            ready, self._ready = self._ready, None
            return ready

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._thread.join()
        if (ready := self.take_ready()) is not None:
            ready.host.kill()

    def _run(self) -> None:
        retry_seconds = _FIRST_RETRY_SECONDS
        try:
            while not self._stopping.is_set():
                if self._try_newest():
                    retry_seconds = _FIRST_RETRY_SECONDS
                    self.idle = not self._orders.wait(_WAIT_SECONDS)
                else:
                    self._wait_for_news(retry_seconds)
                    retry_seconds = min(2 * retry_seconds, _LONGEST_RETRY_SECONDS)
        except BaseException as error:  # noqa: BLE001  # a bug here must end the process, not only this thread
            self.failure = error

    def _wait_for_news(self, seconds: float) -> None:
        """Something newer need not wait until what is broken is tried again."""
        deadline = time.monotonic() + seconds
        while not self._stopping.is_set() and (remaining := deadline - time.monotonic()) > 0:
            if self._orders.wait(min(_WAIT_SECONDS, remaining)):
                return

    def _try_newest(self) -> bool:
        """False when something stands in the way that may pass by itself."""
        for order in self._orders.newer_than(self._generation):
            if order.generation in self._refused:
                continue
            try:
                model = self._load(order)
            except (ArtifactError, ConfigError) as error:
                self._refused.add(order.generation)
                self._note("model refused", order, error)
                self._metrics.models_refused.inc()
                continue
            except RollcastError as error:
                self._note("model not loaded yet", order, error)
                # While nothing serves, an older model is better than none.
                if self._generation >= 0:
                    return False
                continue
            self._generation = order.generation
            self.last_problem = None
            with self._lock:
                superseded, self._ready = self._ready, model
            if superseded is not None:
                superseded.host.kill()
            return True
        # Nothing serves, and what could has not been refused for good: try again.
        open_orders = [o for o in self._orders.newer_than(self._generation) if o.generation not in self._refused]
        return not open_orders

    def _load(self, order: Order) -> ServedModel:
        started = time.monotonic()
        cached = self._cache.get(order.artifact)
        card: CachedModel | None
        if order.card is not None:
            card = self._cache.get(order.card)
        else:
            card = self._cache.get_if_exists(ArtifactRef(order.artifact.bucket, card_key(order.artifact.key)))
        fetched = time.monotonic()
        if self._checker is not None:
            self._check_signature(self._checker, order, cached)

        # From now on exactly these bytes, also where the order named no digest.
        artifact = replace(order.artifact, sha256=cached.sha256)
        card_artifact = None
        if card is not None:
            place = order.card or ArtifactRef(order.artifact.bucket, card_key(order.artifact.key))
            card_artifact = replace(place, sha256=card.sha256)

        def request() -> LoadModel:
            return LoadModel(
                path=str(self._cache.get(artifact).path),
                format=order.format,
                name=order.name,
                sha256=artifact.sha256,
                card_path=str(self._cache.get(card_artifact).path) if card_artifact else None,
                allow_pickle=self._settings.allow_pickle,
                trusted_types=list(self._settings.trusted_types),
                max_unpacked_bytes=self._settings.max_model_bytes,
            )

        host, loaded = start_host(
            request(),
            memory_bytes=self._settings.host_memory_bytes,
            deadline_seconds=self._settings.load_deadline_seconds,
        )
        _log.info(
            "model ready",
            model=order.model,
            version=order.version,
            sha256=cached.sha256,
            estimator=loaded.estimator,
            fetch_seconds=round(fetched - started, 3),
            load_seconds=round(loaded.load_seconds, 3),
            verify_and_warm_seconds=round(loaded.verify_seconds, 3),
            golden_rows=loaded.golden_rows,
            host_pid=host.pid,
        )
        return ServedModel(
            order=order,
            sha256=cached.sha256,
            request=request,
            host=host,
            memory_bytes=self._settings.host_memory_bytes,
            load_deadline_seconds=self._settings.load_deadline_seconds,
        )

    def _check_signature(self, checker: SignatureChecker, order: Order, model: CachedModel) -> None:
        """Raises UntrustedArtifact unless the file is signed; StoreProblem or CacheProblem when that is not known."""
        place = order.signature or ArtifactRef(order.artifact.bucket, signature_key(order.artifact.key))
        signature = self._cache.get_if_exists(place)
        if signature is None:
            raise UntrustedArtifact(
                f"{order.name}: no signature at {place.uri}, and this slot serves signed models only; "
                "sign it (--signing-key of rollcast-trainer) and announce it under a new version"
            )
        checker.check(model.path, signature.path, name=order.name)

    def _note(self, event: str, order: Order, error: RollcastError) -> None:
        problem = f"{order.name}: {error}"
        if problem != self.last_problem:
            _log.error(event, model=order.model, version=order.version, uri=order.artifact.uri, problem=str(error))
        self.last_problem = problem
