"""The operator, put together: what it watches, whom it wakes, and what it shows the outside."""

import threading
import time
from contextlib import ExitStack

import structlog
from kubernetes.config import ConfigException
from prometheus_client import CollectorRegistry

from rollcast_common.artifacts import ArtifactStore, S3Params
from rollcast_common.endpoint import Endpoint, Health
from rollcast_common.errors import ConfigError, RollcastError
from rollcast_common.identity import ModelIdentity
from rollcast_common.kafka import KafkaParams
from rollcast_control.bridge_loop import Bridge
from rollcast_control.control_topics import ControlTopics
from rollcast_control.controller import Controller
from rollcast_control.manager import Clock, Manager
from rollcast_control.resolving import Resolver
from rollcast_control.shell import ShellUnavailable
from rollcast_operator.announced_versions import AnnouncedVersions
from rollcast_operator.cluster_shell import ClusterShell
from rollcast_operator.kinds import (
    COMPONENT_LABEL,
    CONFIG_MAP,
    INSTALLATION_LABEL,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    MODEL_LABEL,
    SCALED_OBJECT,
)
from rollcast_operator.kube import Gone, Kube, connect
from rollcast_operator.metrics import OperatorMetrics
from rollcast_operator.records import RECORD_COMPONENT
from rollcast_operator.resource_cache import Place, ResourceCache
from rollcast_operator.settings import BridgeSettings, OperatorSettings
from rollcast_operator.watching import Watching, look_at_all
from rollcast_operator.workloads import Slots
from rollcast_rollout.answer import Event

__all__ = ["run_operator"]

_log = structlog.get_logger()

_STUCK_SECONDS = 180.0
"""Every model has a turn at least each 15 s."""

_AGAIN_SECONDS = 2.0
_SAY_EVERY_SECONDS = 30.0
_LOOK_SECONDS = 0.5
_READ_SECONDS = 10.0
_KEDA_SECONDS = 60.0


def run_operator(settings: OperatorSettings, kafka: KafkaParams, s3: S3Params, stopping: threading.Event) -> None:
    """Until `stopping` is set. Nothing has to be finished then: whoever comes next plans from what was written.

    Raises RollcastError for what somebody must mend: settings, Kafka's refusal.
    """
    registry = CollectorRegistry()
    metrics = OperatorMetrics(registry)
    try:
        kube = connect(on_write=lambda verb, resource: metrics.api_writes.labels(verb, resource).inc())
    except ConfigException as error:
        raise ConfigError(f"no way to the API server: {error}; run in a pod, or set KUBECONFIG") from None
    with ExitStack() as stack:
        operator = _Operator(settings, kafka, s3, kube, metrics)
        endpoint = stack.enter_context(
            Endpoint(settings.metrics_host, settings.metrics_port, registry, operator.health)
        )
        _log.info(
            "operator starting",
            installation=settings.installation,
            namespaces=list(settings.namespaces) or "all",
            servers=kafka.broker.servers,
            metrics_port=endpoint.port,
        )
        if not operator.look_first(stopping):
            return
        operator.start(stack, stopping)
        _log.info("operator runs", models=len(operator.manager.models()))
        while not stopping.wait(_LOOK_SECONDS):
            operator.check()
        _log.info("operator ends")


class _Keda:
    """Whether the cluster has KEDA; asked now and then, because it may be installed later."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._known = False
        self._asked_at = -_KEDA_SECONDS

    def __call__(self) -> bool:
        """Raises ShellUnavailable."""
        if time.monotonic() - self._asked_at > _KEDA_SECONDS:
            self._known = self._kube.has(SCALED_OBJECT)
            self._asked_at = time.monotonic()
        return self._known


class _Operator:
    def __init__(
        self, settings: OperatorSettings, kafka: KafkaParams, s3: S3Params, kube: Kube, metrics: OperatorMetrics
    ) -> None:
        self._settings = settings
        self._kafka = kafka
        self._kube = kube
        self._metrics = metrics
        self._cache = ResourceCache()
        self._keda = _Keda(kube)
        self._clock = Clock()
        self._resolver = Resolver(ArtifactStore(s3))
        self._left: set[Place] = set()
        """Models of which only a record or slots were found at the start."""
        self._has_looked = False
        self._controllers: dict[str, Controller] = {}
        self.manager = Manager(
            self._controller,
            threads=settings.threads,
            on_reconciled=self._reconciled,
            on_failed=lambda why: metrics.failed_reconciles.labels(why).inc(),
        )
        self._topics = ControlTopics(
            kafka,
            installation=settings.installation,
            client_id=f"rollcast.{settings.installation}.operator",
            on_news=self._heard,
            on_all=self._wake_known,
        )
        self._watching = Watching(kube, self._cache, settings, on_news=self._wake)
        self._bridge = (
            self._made_bridge(settings.bridge, settings.installation, kafka, bucket=s3.bucket)
            if settings.bridge is not None
            else None
        )
        metrics.follow(
            installation=settings.installation,
            versions=self._cache.all_versions,
            oldest_seconds=self.manager.oldest_seconds,
            models=lambda: len(self.manager.models()),
            kafka_problem=lambda: self._topics.problem is not None,
            watch_restarts=lambda: self._watching.restarts,
        )

    def _made_bridge(self, bridge: BridgeSettings, installation: str, kafka: KafkaParams, *, bucket: str) -> Bridge:
        announced = AnnouncedVersions(bridge, kube=self._kube, cache=self._cache, metrics=self._metrics)
        return Bridge(
            kafka,
            installation=installation,
            bucket=bucket,
            namespace=bridge.namespace,
            default_model=bridge.default_model,
            template_of=announced.template_of,
            create=announced.create,
            on_ignored=announced.ignored,
        )

    def start(self, stack: ExitStack, stopping: threading.Event) -> None:
        """All its parts; they are left the other way round. Nobody is reconciled before Kafka's side is known."""
        stack.enter_context(self._resolver)
        stack.enter_context(self._topics)
        self._topics.wait_read(_READ_SECONDS, stopping)
        stack.enter_context(self.manager)
        stack.enter_context(self._watching)
        self.wake_all()
        if self._bridge is not None:
            stack.enter_context(self._bridge)

    # Who is woken.

    def look_first(self, stopping: threading.Event) -> bool:
        """Until the whole cluster was seen once: a half of it would look as if the other half was deleted. False when
        it is time to end.
        """
        said_at = -_SAY_EVERY_SECONDS
        while not stopping.is_set():
            try:
                look_at_all(self._kube, self._cache, self._settings)
                self._left = self._records()
            except (ShellUnavailable, Gone) as problem:
                text = str(problem)
                if isinstance(problem, Gone):
                    text = f"{text}; apply the definition of ModelVersion, charts/rollcast/files/crd/"
                if time.monotonic() - said_at >= _SAY_EVERY_SECONDS:
                    said_at = time.monotonic()
                    _log.warning("waiting for the API server", problem=text)
                stopping.wait(_AGAIN_SECONDS)
            else:
                self._has_looked = True
                return True
        return False

    def _records(self) -> set[Place]:
        labels = {
            MANAGED_BY_LABEL: MANAGED_BY,
            COMPONENT_LABEL: RECORD_COMPONENT,
            INSTALLATION_LABEL: self._settings.installation,
        }
        return {
            (found["metadata"]["namespace"], found["metadata"]["labels"][MODEL_LABEL])
            for namespace in self._settings.namespaces or (None,)
            for found in self._kube.list_all(CONFIG_MAP, namespace, labels=labels)
        }

    def wake_all(self) -> None:
        for place in self._cache.places() | self._left:
            self._wake(place)

    def _wake(self, place: Place) -> None:
        namespace, model = place
        try:
            identity = ModelIdentity(self._settings.installation, namespace, model)
        except ConfigError as error:
            _log.error("a model cannot be looked after", problem=str(error))
            return
        self.manager.wake(str(identity))

    def _wake_known(self) -> None:
        for identity in self.manager.models():
            self.manager.wake(identity)

    def _heard(self, identity: str) -> None:
        """Topics tell of models, too, that have long ended or that another operator looks after."""
        _, _, rest = identity.partition("/")
        namespace, _, model = rest.partition("/")
        known = self._cache.knows((namespace, model)) or identity in self._controllers
        if known and self._settings.watches(namespace):
            self.manager.wake(identity)

    def _controller(self, identity: str) -> Controller:
        _, namespace, model = identity.split("/")
        made = ModelIdentity(self._settings.installation, namespace, model)
        shell: list[ClusterShell] = []
        slots = Slots(
            self._kube,
            self._cache,
            made,
            self._settings,
            self._kafka,
            has_keda=self._keda,
            on_refused=lambda text: self._refused(made, shell[0], text),
        )
        shell.append(ClusterShell(self._kube, self._cache, made, slots, on_event=self._count))
        controller = Controller(
            made, shell[0], self._topics, self._resolver, now=self._clock, wake=lambda: self.manager.wake(identity)
        )
        self._controllers[identity] = controller
        return controller

    def _refused(self, identity: ModelIdentity, shell: ClusterShell, text: str) -> None:
        _log.error("slots cannot run as they are wanted", model=str(identity), problem=text)
        self._metrics.refused.inc()
        versions = self._cache.versions((identity.namespace, identity.model))
        newest = max(versions, key=lambda cached: (cached.version.created, cached.version.name), default=None)
        if newest is not None:
            shell.post(Event(newest.version.uid, "Warning", "WorkloadRefused", text))

    def _count(self, event: Event) -> None:
        self._metrics.transitions.labels(event.reason).inc()
        if event.type == "Warning" and event.reason not in ("ActionRefused", "WorkloadRefused"):
            self._metrics.aborts.labels(event.reason).inc()

    def _reconciled(self, identity: str, seconds: float) -> None:
        self._metrics.reconcile_seconds.observe(seconds)
        controller = self._controllers.get(identity)
        if controller is None or not controller.is_over:
            return
        place = (controller.identity.namespace, controller.identity.model)
        if not self._cache.knows(place):
            self._controllers.pop(identity, None)
            self.manager.forget(identity)
        if self._cache.knows(place):  # it has come back just now
            self.manager.wake(identity)

    # What the outside is told.

    def check(self) -> None:
        """Raises what ended one of the parts."""
        self._topics.check()
        if self._bridge is not None:
            self._bridge.check()
        if (failure := self.manager.failure) is not None:
            raise RollcastError(f"reconciling: {failure!r}; this is a bug of the operator") from failure

    def health(self) -> Health:
        oldest = self.manager.oldest_seconds()
        alive = self.manager.failure is None and oldest < _STUCK_SECONDS
        return Health(
            alive=alive,
            ready=alive and self._has_looked,
            detail={
                "installation": self._settings.installation,
                "models": len(self.manager.models()),
                "oldest_reconcile_seconds": round(oldest, 3),
                "kafka_problem": self._topics.problem,
                "watch_restarts": self._watching.restarts,
            },
        )
