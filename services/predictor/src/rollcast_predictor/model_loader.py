"""Brings assigned models to the point where they could serve, while others serve."""

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, Self

import structlog

from rollcast_common.artifacts import ArtifactRef
from rollcast_common.contracts import Assignment, ServedVersion
from rollcast_common.contracts.predictor_status import LoadState, VersionReport
from rollcast_common.errors import ArtifactError, ConfigError, RollcastError, UntrustedArtifact
from rollcast_common.models.card import card_key
from rollcast_common.signing import SignatureChecker, signature_key
from rollcast_predictor.host_process import HostDied, HostTimedOut, ModelRefused
from rollcast_predictor.lineup import Lineup
from rollcast_predictor.metrics import PredictorMetrics
from rollcast_predictor.model_cache import CachedModel, ModelCache
from rollcast_predictor.pinned import Pinned, pinned
from rollcast_predictor.served_model import ServedModel, start_host
from rollcast_predictor.settings import PredictorSettings
from rollcast_predictor.wire import LoadModel

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AssignmentSource", "ModelLoader"]

_log = structlog.get_logger()

_FIRST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 30.0
_MOST_HOST_FAILURES = 3
_WAIT_SECONDS = 0.5


class AssignmentSource(Protocol):
    def current(self) -> Assignment | None: ...

    def wait(self, timeout_seconds: float) -> bool:
        """Return True when something new may have come, False after the timeout."""
        ...


class _Load:
    """One version on its way: tried in a thread of its own, because another may be ordered meanwhile."""

    def __init__(self, name: str, served: ServedVersion, rollout: int) -> None:
        self.name = name
        self.served = served
        self.rollout = rollout
        """A version that was refused in one rollout may be tried again in the next."""
        self.state: LoadState = "loading"
        self.reason: str | None = None
        self.message: str | None = None
        self.model: ServedModel | None = None
        self.abandoned = threading.Event()

    def report(self) -> VersionReport:
        return VersionReport(
            version=self.served.version,
            sha256=self.served.sha256,
            state=self.state,
            reason=self.reason,
            message=self.message,
        )


class ModelLoader:
    """Assigned versions → files from S3, digests verified → new hosts → golden rows → warm → ready.

    What cannot be served is logged once and not tried again; what may pass (S3 away, disk full) is tried again, ever
    more slowly. Until what is assigned is ready, what serves goes on.
    """

    def __init__(
        self,
        assignments: AssignmentSource,
        cache: ModelCache,
        settings: PredictorSettings,
        metrics: PredictorMetrics,
        *,
        bucket: str,
    ) -> None:
        """Raises ConfigError when the settings' verify key is none."""
        self._assignments = assignments
        self._cache = cache
        self._settings = settings
        self._metrics = metrics
        self._bucket = bucket
        self._checker = SignatureChecker(settings.verify_key) if settings.verify_key else None
        self._lock = threading.Lock()
        self._loads: dict[ServedVersion, _Load] = {}
        self._lineup: Lineup | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model-loader", daemon=True)
        self.failure: BaseException | None = None
        self.on_change: Callable[[], None] = lambda: None
        """Called from any thread when a version's state has changed."""

    @property
    def last_problem(self) -> str | None:
        """Why something that is assigned is not ready. What is wanted no longer is nobody's problem."""
        with self._lock:
            problems = [f"{load.name}: {load.message}" for load in self._loads.values() if load.message is not None]
        return problems[-1] if problems else None

    # What the stream asks.

    def take_lineup(self) -> Lineup | None:
        """The line-up as of now, if it is another one than last time. The models in it stay this loader's to close.

        None also while nothing is assigned, or nothing of it could serve yet.
        """
        assignment = self._assignments.current()
        if assignment is None:
            return None
        with self._lock:
            last = self._lineup
            stable = self._model_of(assignment.stable) or (last.stable if last is not None else None)
            if stable is None:
                return None
            candidate = self._model_of(assignment.candidate)
            if candidate is stable:
                candidate = None
            if (
                last is not None
                and last.assignment is assignment
                and last.stable is stable
                and last.candidate is candidate
            ):
                return None
            self._lineup = lineup = Lineup(assignment, stable, candidate)
            dropped = self._drop_unwanted(assignment)
        _close_all(dropped)
        return lineup

    def end_lineup(self) -> None:
        """Nothing is assigned any longer, and the stream has ended."""
        with self._lock:
            self._lineup = None
            dropped = self._drop_unwanted(None)
        _close_all(dropped)

    def report(self, served: ServedVersion | None) -> VersionReport | None:
        """How this slot stands to an assigned version."""
        with self._lock:
            load = self._loads.get(served) if served is not None else None
            if load is not None:
                return load.report()
        return VersionReport(version=served.version, sha256=served.sha256, state="loading") if served else None

    def _model_of(self, served: ServedVersion | None) -> ServedModel | None:
        load = self._loads.get(served) if served is not None else None
        return load.model if load is not None else None

    def _drop_unwanted(self, assignment: Assignment | None) -> list[ServedModel]:
        """Under the lock. The models that are to be closed now."""
        wanted = {assignment.stable, assignment.candidate} if assignment is not None else set()
        playing = self._lineup.models if self._lineup is not None else []
        dropped: list[ServedModel] = []
        for served, load in list(self._loads.items()):
            if served in wanted or (load.model is not None and load.model in playing):
                continue
            load.abandoned.set()
            del self._loads[served]
            if load.model is not None:
                dropped.append(load.model)
        return dropped

    # The threads.

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._thread.join()
        with self._lock:
            self._lineup = None
            dropped = self._drop_unwanted(None)
        for model in dropped:
            model.close()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._order_missing()
                self._assignments.wait(_WAIT_SECONDS)
        except BaseException as error:  # noqa: BLE001  # a bug here must end the process, not only this thread
            self.failure = error

    def _order_missing(self) -> None:
        assignment = self._assignments.current()
        if assignment is None:
            with self._lock:
                dropped = self._drop_unwanted(None)
            _close_all(dropped)
            return
        with self._lock:
            started: list[_Load] = []
            for served in (assignment.stable, assignment.candidate):
                if served is None:
                    continue
                known = self._loads.get(served)
                if known is not None and (known.state != "refused" or known.rollout == assignment.rollout):
                    continue
                self._loads[served] = load = _Load(f"{assignment.model}@{served.version}", served, assignment.rollout)
                started.append(load)
            dropped = self._drop_unwanted(assignment)
        _close_all(dropped)
        for load in started:
            threading.Thread(
                target=self._bring, args=(assignment.model, load), name=f"loading-{load.served.version}", daemon=True
            ).start()

    def _bring(self, name: str, load: _Load) -> None:
        try:
            self._bring_ready(name, load)
        except BaseException as error:  # noqa: BLE001  # as above
            self.failure = error
        self.on_change()

    def _bring_ready(self, name: str, load: _Load) -> None:
        retry_seconds = _FIRST_RETRY_SECONDS
        host_failures = 0
        while not load.abandoned.is_set() and not self._stopping.is_set():
            try:
                model = self._load(pinned(name, load.served, bucket=self._bucket))
            except (ArtifactError, ConfigError) as error:
                self._refuse(name, load, error)
                return
            except RollcastError as error:
                host_failures += isinstance(error, HostDied | HostTimedOut)
                if host_failures == _MOST_HOST_FAILURES:
                    self._refuse(name, load, error)
                    return
                self._note("model not loaded yet", name, load, error, "failed")
                self._metrics.load_failures.inc()
                load.abandoned.wait(retry_seconds)
                retry_seconds = min(2 * retry_seconds, _LONGEST_RETRY_SECONDS)
                continue
            self._ready(load, model)
            return

    def _ready(self, load: _Load, model: ServedModel) -> None:
        with self._lock:
            wanted = not load.abandoned.is_set() and not self._stopping.is_set()
            if wanted:
                load.model = model
                load.state, load.reason, load.message = "ready", None, None
        if not wanted:
            model.close()

    def _refuse(self, name: str, load: _Load, error: RollcastError) -> None:
        self._note("model refused", name, load, error, "refused")
        self._metrics.models_refused.inc()

    def _note(self, event: str, name: str, load: _Load, error: RollcastError, state: LoadState) -> None:
        reason = error.kind if isinstance(error, ModelRefused) else type(error).__name__
        with self._lock:
            is_news = load.message != str(error) or load.state != state
            load.state, load.reason, load.message = state, reason, str(error)
        if is_news:
            served = load.served
            _log.error(event, model=name, version=served.version, uri=served.uri, problem=str(error), reason=reason)
            self.on_change()

    # One load.

    def _load(self, version: Pinned) -> ServedModel:
        started = time.monotonic()
        cached = self._cache.get(version.artifact)
        card: CachedModel | None
        if version.card is not None:
            card = self._cache.get(version.card)
        else:
            card = self._cache.get_if_exists(ArtifactRef(version.artifact.bucket, card_key(version.artifact.key)))
        fetched = time.monotonic()
        if self._checker is not None:
            self._check_signature(self._checker, version, cached)

        # From now on exactly this card, also where the assignment named none.
        card_artifact = None
        if card is not None:
            place = version.card or ArtifactRef(version.artifact.bucket, card_key(version.artifact.key))
            card_artifact = replace(place, sha256=card.sha256)

        def request() -> LoadModel:
            return LoadModel(
                path=str(self._cache.get(version.artifact).path),
                format=version.format,
                name=version.name,
                sha256=version.sha256,
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
            model=version.model,
            version=version.version,
            sha256=version.sha256,
            estimator=loaded.estimator,
            fetch_seconds=round(fetched - started, 3),
            load_seconds=round(loaded.load_seconds, 3),
            verify_and_warm_seconds=round(loaded.verify_seconds, 3),
            golden_rows=loaded.golden_rows,
            host_pid=host.pid,
        )
        return ServedModel(
            version,
            host,
            request,
            memory_bytes=self._settings.host_memory_bytes,
            load_deadline_seconds=self._settings.load_deadline_seconds,
        )

    def _check_signature(self, checker: SignatureChecker, version: Pinned, model: CachedModel) -> None:
        """Raises UntrustedArtifact unless the file is signed; StoreProblem or CacheProblem when that is not known."""
        place = version.signature or ArtifactRef(version.artifact.bucket, signature_key(version.artifact.key))
        signature = self._cache.get_if_exists(place)
        if signature is None:
            raise UntrustedArtifact(
                f"{version.name}: no signature at {place.uri}, and this slot serves signed models only; "
                "sign it (--signing-key of rollcast-trainer) and announce it under a new version"
            )
        checker.check(model.path, signature.path, name=version.name)


def _close_all(models: list[ServedModel]) -> None:
    """Ending a process may take a moment that the stream does not have."""
    for model in models:
        threading.Thread(target=model.close, name="host-closer", daemon=True).start()
