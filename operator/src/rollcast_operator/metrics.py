"""The operator's metrics. Phases and reasons are the rollout brain's words."""

from collections import Counter as Count
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from rollcast_rollout.model_version import ModelVersion
from rollcast_rollout.timestamps import seconds_of

__all__ = ["OperatorMetrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_VERSION = ("installation", "model_namespace", "name", "model", "version")
"""What names a ModelVersion. Not `namespace`: that one is Prometheus' for where it scrapes."""

_FAILED = ("Failed", "RolledBack")
_ANNOUNCEMENTS = ("created", "known", "other", "invalid")

_Sample = tuple[tuple[str, ...], float]
_Versions = list[ModelVersion]


class _Table(Collector):
    """A gauge whose samples are made when somebody reads them: there are never half of them, and those of a
    ModelVersion end with it.
    """

    def __init__(
        self,
        name: str,
        text: str,
        labels: tuple[str, ...],
        samples: Callable[[], Iterable[_Sample]],
        registry: CollectorRegistry,
    ) -> None:
        self._name = f"rollcast_operator_{name}"
        self._text = text
        self._labelnames = labels
        self._samples = samples
        registry.register(self)

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(self._name, self._text, labels=self._labelnames)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield self._family()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = self._family()
        for labels, value in self._samples():
            family.add_metric(labels, value)
        yield family


class OperatorMetrics:
    """Label sets are closed: verbs, resources, phases and reasons. Only what is named after ModelVersions grows with
    their number.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._installation = ""
        self._asked: Callable[[], Iterable[ModelVersion]] = lambda: ()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"rollcast_operator_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"rollcast_operator_{name}", text, labels, registry=registry)

        def table(
            name: str, text: str, *labels: str, samples: Callable[[_Versions], Iterable[tuple[ModelVersion, _Sample]]]
        ) -> _Table:
            return _Table(name, text, (*_VERSION, *labels), lambda: self._named(samples(list(self._asked()))), registry)

        self.reconcile_seconds = Histogram(
            "rollcast_operator_reconcile_seconds",
            "How long a turn took: look at a model, plan, carry out.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.failed_reconciles = counter(
            "failed_reconciles", "Turns that are made again: the API server did not answer, or a bug.", "why"
        )
        self.oldest_reconcile = gauge(
            "oldest_reconcile_seconds", "How long ago the model that has waited longest was reconciled."
        )
        self.models = gauge("models", "Models that are looked after.")
        self.versions = _Table(
            "model_versions",
            "ModelVersions, by phase.",
            ("phase",),
            lambda: (((phase,), float(number)) for phase, number in Count(map(_phase, self._asked())).items()),
            registry,
        )
        self.phase = table(
            "model_version_phase", "1 for the phase that a ModelVersion is in.", "phase", samples=_phases
        )
        self.weight = table("model_version_weight", "Percentage of keys that it answers.", samples=_weights)
        self.condition = table(
            "model_version_condition",
            "1 for each condition of a ModelVersion, with its status and reason.",
            *("type", "status", "reason"),
            samples=_conditions,
        )
        self.slots = table("model_version_slots", "Slots that should serve it or have it ready.", samples=_slots)
        self.ready_slots = table(
            "model_version_ready_slots", "Slots that serve it, or have it ready as a candidate.", samples=_ready_slots
        )
        self.failed_at = table(
            "model_version_failed_timestamp_seconds",
            "When it failed or was rolled back, in seconds since the epoch; only while that is its phase.",
            *("phase", "reason"),
            samples=_failures,
        )
        self.transitions = counter("transitions", "Events of rollouts: phases reached, failures, refusals.", "reason")
        self.aborts = counter("aborted_rollouts", "Versions that failed or were rolled back, by reason.", "reason")
        self.api_writes = counter("api_writes", "Writes to the API server.", "verb", "resource")
        self.refused = counter("workloads_refused", "Slots that the API server would not take as they were wanted.")
        self.kafka_problem = gauge("kafka_problem", "1 while Kafka cannot be asked.")
        self.watch_restarts = gauge("watch_restarts", "How many times watching the cluster had to begin again.")
        self.announced = counter("announcements", "Records of topic train, by what became of them.", "result")

        for why in ("api", "bug"):
            self.failed_reconciles.labels(why)
        for result in _ANNOUNCEMENTS:
            self.announced.labels(result)
        ProcessCollector(registry=registry)

    def follow(
        self,
        *,
        installation: str,
        versions: Callable[[], Iterable[ModelVersion]],
        oldest_seconds: Callable[[], float],
        models: Callable[[], float],
        kafka_problem: Callable[[], bool],
        watch_restarts: Callable[[], float],
    ) -> None:
        """Asked when somebody reads them."""
        self._installation = installation
        self._asked = versions
        self.oldest_reconcile.set_function(oldest_seconds)
        self.models.set_function(models)
        self.kafka_problem.set_function(lambda: float(kafka_problem()))
        self.watch_restarts.set_function(watch_restarts)

    def _named(self, samples: Iterable[tuple[ModelVersion, _Sample]]) -> Iterator[_Sample]:
        for version, (labels, value) in samples:
            names = (self._installation, version.namespace, version.name, version.model, version.version)
            yield (*names, *labels), value


# What statuses say.


def _phase(version: ModelVersion) -> str:
    return str(version.status.get("phase", "Pending"))


def _weight(version: ModelVersion) -> float:
    return float((version.status.get("rollout") or {}).get("weight", 0))


def _phases(versions: _Versions) -> Iterator[tuple[ModelVersion, _Sample]]:
    for version in versions:
        yield version, ((_phase(version),), 1.0)


def _weights(versions: _Versions) -> Iterator[tuple[ModelVersion, _Sample]]:
    """A candidate's status names its weight; the live one has what that leaves."""
    taken: dict[tuple[str, str], float] = defaultdict(float)
    for version in versions:
        if _phase(version) != "Live":
            taken[version.namespace, version.model] += _weight(version)
    for version in versions:
        is_live = _phase(version) == "Live"
        weight = max(0.0, 100.0 - taken[version.namespace, version.model]) if is_live else _weight(version)
        yield version, ((), weight)


def _conditions(versions: _Versions) -> Iterator[tuple[ModelVersion, _Sample]]:
    for version in versions:
        for condition in version.status.get("conditions") or ():
            yield version, ((condition["type"], condition["status"], condition["reason"]), 1.0)


def _slots(versions: _Versions) -> Iterator[tuple[ModelVersion, _Sample]]:
    for version in versions:
        if slots := version.status.get("predictor"):
            yield version, ((), float(slots["slots"]))


def _ready_slots(versions: _Versions) -> Iterator[tuple[ModelVersion, _Sample]]:
    for version in versions:
        if slots := version.status.get("predictor"):
            yield version, ((), float(slots["readySlots"]))


def _failures(versions: _Versions) -> Iterator[tuple[ModelVersion, _Sample]]:
    for version in versions:
        failure = version.status.get("lastFailure")
        if failure and _phase(version) in _FAILED:
            yield version, ((_phase(version), failure["reason"]), seconds_of(failure["time"]))
